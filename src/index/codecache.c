/*-------------------------------------------------------------------------
 *
 * codecache.c
 *	  Eight-bit codes of those elements that a merge has met.
 *
 * An array of records, and a table that knows where each element's is: chunks
 * of numbers, made when the first of its elements is met, so that a lookup is
 * two loads and memory follows what is met.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "graph/search.h"
#include "index/codecache.h"
#include "simd/simd.h"
#include "utils/memutils.h"

#define CHUNK_BITS		10
#define CHUNK_SIZE		(1 << CHUNK_BITS)
#define NO_RECORD		UINT32_MAX
#define ABSENT_RECORD	(UINT32_MAX - 1)	/* there is no vector to be had */

#define FEWEST_RECORDS	16384	/* an operation may need some thousands at once */
#define RECORD_ALIGNMENT	64
#define CACHE_LINE			64

struct HmCodeCache
{
	MemoryContext context;
	HmCodec		codec;
	uint32	  **chunks;			/* of record numbers, by element; NULL: none is there */
	uint32		chunk_count;
	char	   *allocation;
	char	   *records;		/* aligned, within allocation */
	uint32		count;
	uint32		space;
	uint32		limit;			/* records kept between operations */
	float	   *vector;			/* dim values each */
	float	   *scratch;
};

/* Makes room for so many records. */
static void
resize(HmCodeCache *cache, uint32 space)
{
	char	   *allocation = MemoryContextAllocHuge(cache->context,
													space * cache->codec.record_size + RECORD_ALIGNMENT);
	char	   *records = (char *) TYPEALIGN(RECORD_ALIGNMENT, allocation);

	if (cache->allocation != NULL)
	{
		memcpy(records, cache->records, cache->count * cache->codec.record_size);
		pfree(cache->allocation);
	}
	cache->allocation = allocation;
	cache->records = records;
	cache->space = space;
}

static inline uint32
find(const HmCodeCache *cache, uint32 id)
{
	const uint32 *chunk;

	if (unlikely(id >> CHUNK_BITS >= cache->chunk_count))
		return NO_RECORD;
	chunk = cache->chunks[id >> CHUNK_BITS];
	return chunk == NULL ? NO_RECORD : chunk[id % CHUNK_SIZE];
}

/* Where an element's record number is kept. */
static uint32 *
place_of(HmCodeCache *cache, uint32 id)
{
	uint32		chunk = id >> CHUNK_BITS;

	if (chunk >= cache->chunk_count)
	{
		uint32		count = Max(chunk + 1, 2 * cache->chunk_count);
		uint32	  **chunks = MemoryContextAllocExtended(cache->context, count * sizeof(uint32 *),
														MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);

		if (cache->chunks != NULL)
		{
			memcpy(chunks, cache->chunks, cache->chunk_count * sizeof(uint32 *));
			pfree(cache->chunks);
		}
		cache->chunks = chunks;
		cache->chunk_count = count;
	}
	if (cache->chunks[chunk] == NULL)
	{
		cache->chunks[chunk] = MemoryContextAlloc(cache->context, CHUNK_SIZE * sizeof(uint32));
		memset(cache->chunks[chunk], 0xFF, CHUNK_SIZE * sizeof(uint32));
	}
	return &cache->chunks[chunk][id % CHUNK_SIZE];
}

HmCodeCache *
hm_codecache_create(HmMetric metric, uint32 dim, const float *mean, Size bytes)
{
	HmCodeCache *cache = palloc0(sizeof(HmCodeCache));

	cache->context = CurrentMemoryContext;
	hm_codec_init(&cache->codec, metric, dim, mean);
	cache->limit = (uint32) Min(Max(bytes / cache->codec.record_size, FEWEST_RECORDS), UINT32_MAX / 4);
	cache->vector = palloc(dim * sizeof(float));
	cache->scratch = palloc(dim * sizeof(float));
	resize(cache, 1024);
	return cache;
}

uint8
hm_codecache_known(const HmCodeCache *cache, uint32 id)
{
	uint32		number = find(cache, id);

	if (unlikely(number >= ABSENT_RECORD))
		return number == ABSENT_RECORD ? HM_ABSENT : HM_SKIPPED;

	/* whoever asks for a batch will compare all of it next */
	for (size_t at = 0; at < cache->codec.record_size; at += CACHE_LINE)
		__builtin_prefetch(cache->records + number * cache->codec.record_size + at);
	return HM_SCORED;
}

void
hm_codecache_add_absent(HmCodeCache *cache, uint32 id)
{
	*place_of(cache, id) = ABSENT_RECORD;
}

void
hm_codecache_add(HmCodeCache *cache, uint32 id, const uint16 *copy)
{
	uint32	   *number = place_of(cache, id);

	if (cache->count == cache->space)
		resize(cache, cache->space * 2);
	if (*number >= ABSENT_RECORD)
		*number = cache->count++;
	hm_kernels->f16_to_f32(copy, cache->vector, cache->codec.dim);
	hm_codec_encode(&cache->codec, cache->vector, cache->scratch,
					cache->records + *number * cache->codec.record_size);
}

void
hm_codecache_forget(HmCodeCache *cache, uint32 id)
{
	*place_of(cache, id) = NO_RECORD;
}

void
hm_codecache_trim(HmCodeCache *cache)
{
	if (cache->count < cache->limit)
		return;
	for (uint32 i = 0; i < cache->chunk_count; i++)
	{
		if (cache->chunks[i] != NULL)
			memset(cache->chunks[i], 0xFF, CHUNK_SIZE * sizeof(uint32));
	}
	cache->count = 0;
}

void
hm_codecache_score(const HmCodeCache *cache, uint32 from, const uint32 *ids, int n, float *distance)
{
	const HmCodec *codec = &cache->codec;
	uint32		from_number = find(cache, from);
	uint32		numbers[HM_MAX_BATCH];
	bool		complete = from_number < ABSENT_RECORD;

	Assert(n <= HM_MAX_BATCH);
	for (int i = 0; i < n && from_number < ABSENT_RECORD; i++)
	{
		uint32		number = find(cache, ids[i]);

		complete &= number < ABSENT_RECORD;
		numbers[i] = number < ABSENT_RECORD ? number : from_number;
	}
	if (from_number < ABSENT_RECORD)
		hm_codec_distances(codec, cache->records,
						   cache->records + from_number * codec->record_size,
						   numbers, n, distance);
	if (likely(complete))
		return;
	for (int i = 0; i < n; i++)
	{
		if (from_number >= ABSENT_RECORD || find(cache, ids[i]) >= ABSENT_RECORD)
			distance[i] = INFINITY;
	}
}
