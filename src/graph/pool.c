/*-------------------------------------------------------------------------
 *
 * pool.c
 *	  The candidates of a search: a short sorted array, and a heap for the rest.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/pool.h"

#define MIN_OVERFLOW 4096

/*
 * Most entries, dead ones included.  Dead ones nearer than the last live one
 * must be walked through, but where thousands lie side by side the sorted
 * array would grow without bound; the farthest then wait in the overflow.
 */
static inline int
most_entries(int limit)
{
	return 4 * limit + 64;
}

void
hm_pool_init(HmPool *pool, const HmAllocator *allocator)
{
	memset(pool, 0, sizeof(*pool));
	pool->allocator = allocator;
}

void
hm_pool_free(HmPool *pool)
{
	pool->allocator->release(pool->allocator->state, pool->entries);
	pool->allocator->release(pool->allocator->state, pool->overflow);
	memset(pool, 0, sizeof(*pool));
}

void
hm_pool_clear(HmPool *pool)
{
	pool->size = 0;
	pool->live = 0;
	pool->cursor = 0;
	pool->spilled = false;
	pool->overflow_size = 0;
	pool->overflow_ordered = 0;
}

/* A larger copy of an array of entries; NULL (and the old one intact) without memory. */
static HmPoolEntry *
grow(HmPool *pool, HmPoolEntry *old, size_t used, size_t capacity)
{
	const HmAllocator *allocator = pool->allocator;
	HmPoolEntry *entries;

	if (capacity > SIZE_MAX / sizeof(*entries))
		return NULL;
	entries = allocator->alloc(allocator->state, capacity * sizeof(*entries));
	if (entries == NULL)
		return NULL;
	if (used > 0)
		memcpy(entries, old, used * sizeof(*entries));
	allocator->release(allocator->state, old);
	return entries;
}

bool
hm_pool_reserve(HmPool *pool, int n)
{
	/* the worst case: all the new ones go in, and everything else falls off */
	size_t		needed = pool->overflow_size + (size_t) n + (size_t) pool->size;

	if (needed > pool->overflow_capacity)
	{
		HmPoolEntry *overflow;

		needed = needed < MIN_OVERFLOW / 2 ? MIN_OVERFLOW : 2 * needed;
		overflow = grow(pool, pool->overflow, pool->overflow_size, needed);
		if (overflow == NULL)
			return false;
		pool->overflow = overflow;
		pool->overflow_capacity = needed;
	}
	return true;
}

/* Removes dead entries that have been expanded: nobody needs them any more. */
static void
drop_expanded_dead(HmPool *pool)
{
	int			kept = 0;
	int			i;

	for (i = 0; i < pool->size; i++)
	{
		if (pool->entries[i].flags == (HM_ENTRY_DEAD | HM_ENTRY_EXPANDED))
			continue;
		pool->entries[kept++] = pool->entries[i];
	}
	pool->size = kept;
	pool->cursor = 0;
}

static inline void
drop_last(HmPool *pool)
{
	HmPoolEntry last = pool->entries[--pool->size];

	if (!(last.flags & HM_ENTRY_DEAD))
		pool->live--;
	if (last.flags != (HM_ENTRY_DEAD | HM_ENTRY_EXPANDED))
		hm_pool_put_overflow(pool, last);
}

/*
 * Restores the pool's shape: at most `limit` live entries, and when there are
 * as many, the last entry is one of them, so that everything left in the pool
 * is worth expanding.
 */
static void
trim(HmPool *pool)
{
	while (pool->live > pool->limit ||
		   (pool->live == pool->limit &&
			(pool->entries[pool->size - 1].flags & HM_ENTRY_DEAD)))
		drop_last(pool);

	if (HM_UNLIKELY(pool->size > most_entries(pool->limit)))
	{
		drop_expanded_dead(pool);
		while (pool->size > most_entries(pool->limit))
		{
			drop_last(pool);
			pool->spilled = true;
		}
	}
}

bool
hm_pool_set_limit(HmPool *pool, int limit)
{
	int			needed = most_entries(limit) + HM_MAX_BATCH;

	if (!hm_pool_reserve(pool, 0))
		return false;
	if (needed > pool->capacity)
	{
		HmPoolEntry *entries = grow(pool, pool->entries, pool->size, needed);

		if (entries == NULL)
			return false;
		pool->entries = entries;
		pool->capacity = needed;
	}
	pool->limit = limit;
	trim(pool);
	pool->cursor = 0;
	return true;
}

static void
sort_few(HmPoolEntry *entries, int n)
{
	int			i;

	for (i = 1; i < n; i++)
	{
		HmPoolEntry entry = entries[i];
		int			j = i;

		for (; j > 0 && entries[j - 1].key > entry.key; j--)
			entries[j] = entries[j - 1];
		entries[j] = entry;
	}
}

void
hm_pool_insert(HmPool *pool, HmPoolEntry *fresh, int n)
{
	HmPoolEntry *entries = pool->entries;
	int			to = pool->size + n;
	int			from = pool->size;
	int			i;

	if (n == 0)
		return;
	HM_ASSERT(n <= HM_MAX_BATCH && to <= pool->capacity);
	sort_few(fresh, n);

	/* from the far end, so that each entry moves once, to its final place */
	pool->size = to;
	for (i = n - 1; i >= 0; i--)
	{
		while (from > 0 && entries[from - 1].key > fresh[i].key)
			entries[--to] = entries[--from];
		entries[--to] = fresh[i];
		pool->live += !(fresh[i].flags & HM_ENTRY_DEAD);
	}
	if (to < pool->cursor)
		pool->cursor = to;
	trim(pool);
	if (pool->cursor > pool->size)
		pool->cursor = pool->size;
}

/* Extends the heap by the entries appended since it was last in order. */
static void
order_overflow(HmPool *pool)
{
	HmPoolEntry *heap = pool->overflow;

	for (; pool->overflow_ordered < pool->overflow_size; pool->overflow_ordered++)
	{
		size_t		at = pool->overflow_ordered;
		HmPoolEntry entry = heap[at];

		while (at > 0 && heap[(at - 1) / 2].key > entry.key)
		{
			heap[at] = heap[(at - 1) / 2];
			at = (at - 1) / 2;
		}
		heap[at] = entry;
	}
}

HmPoolEntry
hm_pool_pop_overflow(HmPool *pool)
{
	HmPoolEntry *heap = pool->overflow;
	HmPoolEntry first;
	HmPoolEntry last;
	size_t		n;
	size_t		at = 0;

	HM_ASSERT(pool->overflow_size > 0);
	order_overflow(pool);
	first = heap[0];
	n = --pool->overflow_size;
	pool->overflow_ordered = n;
	last = heap[n];
	while (2 * at + 1 < n)
	{
		size_t		child = 2 * at + 1;

		if (child + 1 < n && heap[child + 1].key < heap[child].key)
			child++;
		if (heap[child].key >= last.key)
			break;
		heap[at] = heap[child];
		at = child;
	}
	heap[at] = last;
	return first;
}

bool
hm_pool_refill(HmPool *pool)
{
	HmPoolEntry fresh[HM_MAX_BATCH];
	bool		found = false;

	pool->spilled = false;
	drop_expanded_dead(pool);
	while (pool->overflow_size > 0 && pool->live < pool->limit &&
		   pool->size < most_entries(pool->limit))
	{
		int			live = pool->live;
		int			room = most_entries(pool->limit) - pool->size;
		int			n = 0;

		while (n < HM_MAX_BATCH && n < room && live < pool->limit && pool->overflow_size > 0)
		{
			fresh[n] = hm_pool_pop_overflow(pool);
			live += !(fresh[n].flags & HM_ENTRY_DEAD);
			n++;
		}
		hm_pool_insert(pool, fresh, n);
		found = true;
	}
	pool->spilled = pool->live < pool->limit && pool->overflow_size > 0;
	return found;
}

void
hm_pool_restart(HmPool *pool)
{
	size_t		i;

	for (i = 0; i < (size_t) pool->size; i++)
		pool->entries[i].flags &= ~(uint32_t) HM_ENTRY_EXPANDED;
	for (i = 0; i < pool->overflow_size; i++)
		pool->overflow[i].flags &= ~(uint32_t) HM_ENTRY_EXPANDED;
	pool->cursor = 0;
}
