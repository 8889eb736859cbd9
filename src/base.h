/*-------------------------------------------------------------------------
 *
 * base.h
 *	  What every floor shares: status codes, allocator, assertions.
 *
 * Only the C library is included here.  src/simd and src/graph are built on
 * this file alone, so that they can be tested, sanitised and fuzzed without a
 * server.  Nothing below the storage floor raises a PostgreSQL error: it
 * returns an HmStatus and the caller decides.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_BASE_H
#define HM_BASE_H

#include <assert.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Result of an operation that can fail without the server's error machinery. */
typedef enum HmStatus
{
	HM_OK = 0,
	HM_NO_MEMORY,				/* the allocator returned NULL */
	HM_CORRUPT,					/* stored data broke an invariant */
	HM_ABORTED					/* another process asked everyone to stop */
} HmStatus;

/*
 * Where memory comes from: palloc in the server, malloc in unit tests.  alloc
 * returns NULL when there is none (never longjmps); the memory need not be
 * zeroed.  release accepts NULL.
 */
typedef struct HmAllocator
{
	void	   *(*alloc) (void *state, size_t size);
	void		(*release) (void *state, void *pointer);
	void	   *state;
} HmAllocator;

/* Distances that an index can be built for. */
typedef enum HmMetric
{
	HM_L2 = 1,					/* Euclidean distance; ranked by its square */
	HM_INNER_PRODUCT = 2,		/* negative inner product */
	HM_COSINE = 3				/* 1 - cosine similarity */
} HmMetric;

/* How a vector's components are stored. */
typedef enum HmElementKind
{
	HM_F32 = 1,					/* IEEE binary32 */
	HM_F16 = 2					/* IEEE binary16 */
} HmElementKind;

/* Most dimensions that a vector may have. */
#define HM_MAX_DIM 16000

#ifdef USE_ASSERT_CHECKING
#define HM_ASSERT(condition) assert(condition)
#elif defined(HM_UNIT_TEST)
#define HM_ASSERT(condition) assert(condition)
#else
#define HM_ASSERT(condition) ((void) 0)
#endif

#define HM_LIKELY(x)	__builtin_expect((x) != 0, 1)
#define HM_UNLIKELY(x)	__builtin_expect((x) != 0, 0)

#endif							/* HM_BASE_H */
