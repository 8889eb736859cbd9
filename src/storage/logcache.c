/*-------------------------------------------------------------------------
 *
 * logcache.c
 *	  What a process has read of a log, side by side in its own memory.
 *
 * A few indexes at a time, those used last.  A log that does not fit is kept as
 * far as it does; the pages behind that are read each time.
 *
 * Comparing an entry takes the time of reading it from memory, so beside the
 * copies lie codes of half their size, which tell most entries from the nearest
 * (graph/coarse.h).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "simd/simd.h"
#include "storage/logcache.h"
#include "utils/memutils.h"

#define MOST_CACHES		4
#define MOST_BYTES		(8 << 20)	/* of copies, for each; codes come on top */
#define KEPT_BYTES		(1 << 20)	/* of copies, that an emptied one does not give back */
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
	uint64		stamp;			/* what a view has, until the cache is emptied */

	/* arrays in one allocation; undefined where an entry has no vector */
	Size		stride;			/* bytes of a copy, whole cache lines */
	Size		code_stride;	/* and of codes; 0: there are none */
	char	   *copies;
	char	   *codes;
	HmCoarse   *coarse;
	HmLogEntry *entries;
	char	   *allocation;
};

static HmLogCache caches[MOST_CACHES];
static uint64 uses;
static uint64 stamps;

/* Empties a cache, for vectors of so many dimensions. */
static void
empty(HmLogCache *cache, uint32 dim)
{
	cache->count = cache->added = 0;
	cache->full = false;
	cache->stamp = ++stamps;
	if (cache->allocation != NULL &&
		(dim != cache->dim || (Size) cache->space * cache->stride > KEPT_BYTES))
	{
		pfree(cache->allocation);
		cache->allocation = NULL;
		cache->space = 0;
	}
	cache->dim = dim;
	cache->stride = TYPEALIGN(CACHE_LINE, dim * sizeof(uint16));
	cache->code_stride = dim < HM_LOG_CODES_FROM ? 0 : TYPEALIGN(CACHE_LINE, dim);
}

/* Makes room for twice as many entries, or for the first. */
static void
grow(HmLogCache *cache)
{
	HmLogCache	old = *cache;
	Size		space = old.space == 0 ? 64 : (Size) old.space * 2;
	Size		each = old.stride + old.code_stride + sizeof(HmCoarse) + sizeof(HmLogEntry);

	cache->allocation = MemoryContextAllocHuge(TopMemoryContext, space * each + CACHE_LINE);
	cache->space = (uint32) space;
	cache->copies = (char *) TYPEALIGN(CACHE_LINE, cache->allocation);
	cache->codes = cache->copies + space * old.stride;
	cache->coarse = (HmCoarse *) (cache->codes + space * old.code_stride);
	cache->entries = (HmLogEntry *) (cache->coarse + space);
	if (old.allocation == NULL)
		return;

	memcpy(cache->copies, old.copies, old.added * old.stride);
	memcpy(cache->codes, old.codes, old.added * old.code_stride);
	memcpy(cache->coarse, old.coarse, old.added * sizeof(HmCoarse));
	memcpy(cache->entries, old.entries, old.added * sizeof(HmLogEntry));
	pfree(old.allocation);
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
		empty(cache, meta->dim);
		cache->incarnation = directory->incarnation;
		cache->version = meta->tombstone_version;
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
hm_logcache_view(const HmLogCache *cache, HmLogCached *cached)
{
	cached->stamp = cache->stamp;
	cached->count = cache->count;
	cached->entries = cache->entries;
	cached->codes = cache->code_stride == 0 ? NULL : (const int8 *) cache->codes;
	cached->code_stride = cache->code_stride;
	cached->coarse = cache->coarse;
}

const uint16 *
hm_log_copy(uint64 stamp, uint32 number)
{
	for (int i = 0; i < MOST_CACHES; i++)
		if (caches[i].used > 0 && caches[i].stamp == stamp)
			return (const uint16 *) (caches[i].copies + number * caches[i].stride);
	return NULL;
}

/* Puts a vector into the next place. */
static void
put_vector(HmLogCache *cache, const uint16 *copy)
{
	float		values[HM_MAX_DIM];

	memcpy(cache->copies + cache->added * cache->stride, copy, cache->dim * sizeof(uint16));
	if (cache->code_stride == 0)
		return;
	hm_kernels->f16_to_f32(copy, values, cache->dim);
	hm_coarse_encode(values, cache->dim, (int8 *) cache->codes + cache->added * cache->code_stride,
					 &cache->coarse[cache->added]);
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
		put_vector(cache, copy);
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
