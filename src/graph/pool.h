/*-------------------------------------------------------------------------
 *
 * pool.h
 *	  The candidates of a search: a short sorted array, and a heap for the rest.
 *
 * The pool proper holds the nearest `limit` live candidates, and the dead ones
 * that lie among them, sorted.  Sorting a batch of new ones and merging it in
 * one pass is cheaper than keeping two heaps.  Whatever does not fit goes to
 * the overflow, which only a resumed search ever looks at: entries are
 * appended there, and put in heap order when the first is wanted back.
 *
 * Everything in the overflow is at least as far as everything in the pool.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_POOL_H
#define HM_GRAPH_POOL_H

#include "base.h"
#include "graph/key.h"

#define HM_ENTRY_EXPANDED	1	/* its list on this level has been followed */
#define HM_ENTRY_DEAD		2	/* walked through, never a result */

typedef struct HmPoolEntry
{
	uint64_t	key;			/* see key.h */
	uint32_t	flags;
} HmPoolEntry;

typedef struct HmPool
{
	const HmAllocator *allocator;

	HmPoolEntry *entries;		/* sorted by key */
	int			size;
	int			capacity;		/* entries allocated */
	int			limit;			/* most live entries that are kept */
	int			live;			/* how many entries are not dead */
	int			cursor;			/* everything before it has been expanded */
	bool		spilled;		/* the dead outgrew the pool: see trim */

	HmPoolEntry *overflow;
	size_t		overflow_size;
	size_t		overflow_ordered;	/* a prefix of this length is a min-heap */
	size_t		overflow_capacity;
} HmPool;

extern void hm_pool_init(HmPool *pool, const HmAllocator *allocator);
extern void hm_pool_free(HmPool *pool);

/* Forgets all candidates; keeps the memory. */
extern void hm_pool_clear(HmPool *pool);

/* Sets the most live entries kept; the farthest go if there are more.  False: no memory. */
extern bool hm_pool_set_limit(HmPool *pool, int limit);

/* Makes sure that n entries may be inserted or put into the overflow.  False: no memory. */
extern bool hm_pool_reserve(HmPool *pool, int n);

/*
 * Merges n entries (at most HM_MAX_BATCH, reserved before) into the pool;
 * sorts them first, in place.
 */
extern void hm_pool_insert(HmPool *pool, HmPoolEntry *fresh, int n);

/* Fills the pool from the overflow; true if anything was there. */
extern bool hm_pool_refill(HmPool *pool);

/* Marks all candidates as not expanded: the search goes on to another level. */
extern void hm_pool_restart(HmPool *pool);

/* Takes the nearest entry out of the overflow, which must not be empty. */
extern HmPoolEntry hm_pool_pop_overflow(HmPool *pool);

/*
 * Candidates whose distance bits are not below this one go to the overflow.
 * Ties with the last are turned away, or a thousand copies of one vector would
 * all have to be expanded.
 */
static inline uint64_t
hm_pool_bound(const HmPool *pool)
{
	if (pool->live < pool->limit && !pool->spilled)
		return UINT64_MAX;
	return pool->entries[pool->size - 1].key >> 32;
}

static inline void
hm_pool_put_overflow(HmPool *pool, HmPoolEntry entry)
{
	HM_ASSERT(pool->overflow_size < pool->overflow_capacity);
	pool->overflow[pool->overflow_size++] = entry;
}

/* The first entry from `from` on that has not been expanded; size if none. */
static inline int
hm_pool_unexpanded(const HmPool *pool, int from)
{
	while (from < pool->size && (pool->entries[from].flags & HM_ENTRY_EXPANDED))
		from++;
	return from;
}

#endif							/* HM_GRAPH_POOL_H */
