/*-------------------------------------------------------------------------
 *
 * logcache.c
 *	  What a process has read of a log, side by side in its own memory.
 *
 * A few indexes at a time, those used last.  A log that does not fit is kept as
 * far as it does; the pages behind that are read each time.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/logcache.h"
#include "utils/memutils.h"

#define MOST_CACHES		4
#define MOST_BYTES		(8 << 20)	/* of copies, for each */
#define KEPT_BYTES		(1 << 20)	/* memory that an emptied one does not give back */
#define CACHE_LINE		64

struct HmLogCache
{
	/* of what: an incarnation is random, so it is an index's alone */
	uint64		incarnation;
	uint64		version;
	uint32		first_sequence;
	uint32		dim;
	uint64		used;			/* when, by a counter; 0: never */

	/* the page to go on with */
	BlockNumber next_block;
	uint32		next_sequence;

	uint32		count;			/* entries of ended pages */
	uint32		added;			/* and of the page to go on with */
	uint32		space;
	bool		full;
	Size		stride;			/* bytes of a copy, whole cache lines */
	HmLogEntry *entries;
	char	   *copies;			/* aligned, within allocation; undefined where there is none */
	char	   *allocation;
};

static HmLogCache caches[MOST_CACHES];
static uint64 uses;

/* Empties a cache, for copies of so many bytes. */
static void
empty(HmLogCache *cache, Size stride)
{
	cache->count = cache->added = 0;
	cache->full = false;
	if (cache->entries != NULL &&
		(stride != cache->stride || (Size) cache->space * stride > KEPT_BYTES))
	{
		pfree(cache->entries);
		pfree(cache->allocation);
		cache->entries = NULL;
		cache->allocation = cache->copies = NULL;
		cache->space = 0;
	}
	cache->stride = stride;
}

/* Makes room for twice as many entries, or for the first. */
static void
grow(HmLogCache *cache)
{
	uint32		space = cache->space == 0 ? 64 : cache->space * 2;
	char	   *allocation = MemoryContextAllocHuge(TopMemoryContext,
													space * cache->stride + CACHE_LINE);
	char	   *copies = (char *) TYPEALIGN(CACHE_LINE, allocation);

	if (cache->entries == NULL)
		cache->entries = MemoryContextAlloc(TopMemoryContext, space * sizeof(HmLogEntry));
	else
	{
		cache->entries = repalloc(cache->entries, space * sizeof(HmLogEntry));
		memcpy(copies, cache->copies, cache->added * cache->stride);
		pfree(cache->allocation);
	}
	cache->allocation = allocation;
	cache->copies = copies;
	cache->space = space;
}

/* The cache of an index, or the one used longest ago. */
static HmLogCache *
find(uint64 incarnation)
{
	HmLogCache *oldest = &caches[0];

	for (int i = 0; i < MOST_CACHES; i++)
	{
		if (caches[i].used > 0 && caches[i].incarnation == incarnation)
			return &caches[i];
		if (caches[i].used < oldest->used)
			oldest = &caches[i];
	}
	return oldest;
}

HmLogCache *
hm_logcache_get(const HmDirectory *directory, BlockNumber *block, uint32 *sequence)
{
	const HmMeta *meta = &directory->meta;
	HmLogCache *cache = find(directory->incarnation);

	if (cache->used == 0 || cache->incarnation != directory->incarnation ||
		cache->version != meta->tombstone_version ||
		cache->first_sequence != meta->log_head_sequence || cache->dim != meta->dim)
	{
		empty(cache, TYPEALIGN(CACHE_LINE, meta->dim * sizeof(uint16)));
		cache->incarnation = directory->incarnation;
		cache->version = meta->tombstone_version;
		cache->dim = meta->dim;
		cache->first_sequence = cache->next_sequence = meta->log_head_sequence;
		cache->next_block = meta->log_head;
	}
	cache->added = cache->count;	/* a page that an error has ended */
	cache->used = ++uses;
	*block = cache->next_block;
	*sequence = cache->next_sequence;
	return cache;
}

void
hm_logcache_visit(const HmLogCache *cache, HmLogVisitor visit, void *state)
{
	for (uint32 i = 0; i < cache->count; i++)
		visit(state, &cache->entries[i],
			  cache->entries[i].kind == HM_LOG_VECTOR ?
			  (const uint16 *) (cache->copies + i * cache->stride) : NULL);
}

void
hm_logcache_add(HmLogCache *cache, const HmLogEntry *entry, const uint16 *copy)
{
	if (cache->full)
		return;
	if (cache->added == cache->space)
	{
		if ((Size) cache->space * 2 * Max(cache->stride, sizeof(HmLogEntry)) > MOST_BYTES)
		{
			cache->full = true;
			return;
		}
		grow(cache);
	}
	cache->entries[cache->added] = *entry;
	if (copy != NULL)
		memcpy(cache->copies + cache->added * cache->stride, copy, cache->dim * sizeof(uint16));
	cache->added++;
}

void
hm_logcache_end_page(HmLogCache *cache, BlockNumber next)
{
	if (cache->full)
		return;
	cache->count = cache->added;
	cache->next_block = next;
	cache->next_sequence++;
}
