/*-------------------------------------------------------------------------
 *
 * element.h
 *	  From a row's vector to what the index keeps of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_ELEMENT_H
#define HM_INDEX_ELEMENT_H

#include "postgres.h"

#include "storage/format.h"
#include "types/typeinfo.h"

/* A vector as the index sees it: HM_LOG_VECTOR, or why it stays outside the graph. */
typedef struct HmElement
{
	int			kind;			/* HM_LOG_VECTOR, or an HmTailKind */
	uint16		fingerprint;	/* of the original bytes */
	float		norm;			/* Euclidean norm of the copy, unscaled; of the vector, if only the
								 * scale keeps it from having a copy; else 0 */
} HmElement;

/*
 * Sixteen bits out of a few fixed words of the vector's bytes: enough to tell
 * that bytes found at a TID are not the element's vector any more.  Reads at
 * most four components.
 */
extern uint16 hm_fingerprint(const HmVector *vector);

/*
 * Sixty-four bits out of all of the vector's bytes.  seed: the incarnation, so
 * that vectors which collide in one index do not in another.
 */
extern uint64 hm_vector_hash(const HmVector *vector, uint64 seed);

/*
 * Classifies a vector and, when it can be ranked, writes its half-precision
 * copy: dim values, normalised for cosine, otherwise times 2^scale.
 * scratch: dim floats.
 */
extern HmElement hm_element_make(HmMetric metric, int scale, const HmVector *vector,
								 float *scratch, uint16 *copy);

/* Powers of two that a vector's largest component may have: see frexp. */
#define HM_LEAST_EXPONENT	(-148)
#define HM_MOST_EXPONENT	128

/* How large some vectors are: for each power of two, how many. */
typedef struct HmSizes
{
	uint32		count;
	uint32		with_exponent[HM_MOST_EXPONENT - HM_LEAST_EXPONENT + 1];
} HmSizes;

/*
 * Counts a vector, unless it has no finite component but zeros, or is of half
 * precision, which needs no scale.
 */
extern void hm_sizes_add(HmSizes *sizes, const HmVector *vector);

/*
 * The scale for an index of such vectors, see HmMeta.scale: that of the median,
 * whatever the size of a few.
 */
extern int	hm_element_scale(HmMetric metric, const HmSizes *sizes);

#endif							/* HM_INDEX_ELEMENT_H */
