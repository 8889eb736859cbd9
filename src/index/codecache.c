/*-------------------------------------------------------------------------
 *
 * codecache.c
 *	  Eight-bit codes of those elements that a merge has met.
 *
 * An array of records, and a table that knows where each element's is: chunks
 * of numbers, made when the first of its elements is met, so that a lookup is
 * two loads and memory follows what is met.
 *
 * What is kept between merges is of one state of one index: its incarnation,
 * which is random, and the number of merges that have been published, which
 * tells whether somebody else has given numbers meanwhile.  An element's code
 * may be older than its row; see "What may be stale" in src/README.md.  That an
 * element had no vector to be had is not kept, as its row may have been somebody
 * else's who had not committed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>
#include <sys/mman.h>

#include "graph/search.h"
#include "index/codecache.h"
#include "miscadmin.h"
#include "simd/simd.h"
#include "utils/memutils.h"

#define CHUNK_BITS		10
#define CHUNK_SIZE		(1 << CHUNK_BITS)
#define NO_RECORD		UINT32_MAX
#define ABSENT_RECORD	(UINT32_MAX - 1)	/* there is no vector to be had */

#define FEWEST_RECORDS	16384	/* an operation may need some thousands at once */
#define FEWEST_BYTES	((Size) 64 << 20)	/* as many of them as take up so much, but */
#define FEWEST_LARGE	1024	/* these, or all operations begin with none */
#define SPARE_RECORDS	1024	/* room for, beyond what is expected */
#define CODEC_LIFE		4		/* times the elements: then codes are made anew */
#define RECORD_ALIGNMENT	64
#define HUGE_PAGE			((Size) 2 << 20)

struct HmCodeCache
{
	MemoryContext context;
	HmCodec		codec;
	uint32		fitted;			/* elements when the codec was chosen */
	uint32	  **chunks;			/* of record numbers, by element; NULL: none is there */
	uint32		chunk_count;
	char	   *allocation;
	char	   *records;		/* aligned, within allocation */
	uint32		count;
	uint32		space;
	float	   *vector;			/* dim values each */
	float	   *scratch;

	/* of what state of which index: see above */
	uint64		incarnation;
	uint64		merges;
};

/* What this process has kept; its context is in TopMemoryContext. */
static HmCodeCache *kept = NULL;

/*
 * Makes room for so many records.  They are read all over the place, so where
 * there are many, huge pages save a fifth of a merge's time.
 */
static void
resize(HmCodeCache *cache, uint32 space)
{
	Size		size = (Size) space * cache->codec.record_size;
	Size		alignment = size > 4 * HUGE_PAGE ? HUGE_PAGE : RECORD_ALIGNMENT;
	char	   *allocation = MemoryContextAllocHuge(cache->context, size + alignment);
	char	   *records = (char *) TYPEALIGN(alignment, allocation);

#ifdef MADV_HUGEPAGE
	if (alignment == HUGE_PAGE)
		(void) madvise(records, size, MADV_HUGEPAGE);
#endif
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

/* Records kept between operations. */
static uint32
limit(const HmCodeCache *cache)
{
	Size		size = cache->codec.record_size;
	Size		least = Max(Min(FEWEST_RECORDS, FEWEST_BYTES / size), FEWEST_LARGE);

	return (uint32) Min(Max((Size) maintenance_work_mem * 1024 / size, least), UINT32_MAX / 4);
}

bool
hm_codecache_holds(const HmCodeCache *cache, uint32 elements)
{
	return elements <= limit(cache);
}

/*
 * Makes room for all that may come, as far as there may be so much: memory that
 * is not touched costs nothing, and records that move do.
 */
static void
reserve(HmCodeCache *cache, uint32 elements)
{
	uint32		most = limit(cache);

	if (Min(elements, most) > cache->space)
		resize(cache, Min(elements + elements / 4, most) + SPARE_RECORDS);
}

HmCodeCache *
hm_codecache_create(HmMetric metric, const HmSample *sample, uint32 elements)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap codes",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	HmCodeCache *cache = palloc0(sizeof(HmCodeCache));

	cache->context = context;
	hm_codec_fit(&cache->codec, metric, sample, palloc(sample->dim * sizeof(float)));
	cache->fitted = elements;
	cache->vector = palloc(sample->dim * sizeof(float));
	cache->scratch = palloc(sample->dim * sizeof(float));
	reserve(cache, elements);
	MemoryContextSwitchTo(caller);
	return cache;
}

HmCodeCache *
hm_codecache_take(const HmDirectory *directory, uint32 elements)
{
	HmCodeCache *cache = kept;

	if (cache == NULL)
		return NULL;
	kept = NULL;
	if (cache->incarnation != directory->incarnation ||
		cache->merges != directory->meta.merges ||
		cache->fitted < elements / CODEC_LIFE)
	{
		MemoryContextDelete(cache->context);
		return NULL;
	}
	MemoryContextSetParent(cache->context, CurrentMemoryContext);
	reserve(cache, elements);
	return cache;
}

void
hm_codecache_keep(HmCodeCache *cache, const HmDirectory *directory,
				  uint32 first, const uint32 *new_of_old, uint32 count)
{
	uint32	   *numbers = MemoryContextAllocHuge(cache->context, (Size) count * sizeof(uint32) + 1);

	for (uint32 i = 0; i < count; i++)
	{
		numbers[i] = find(cache, first + i);
		if (numbers[i] != NO_RECORD)
			*place_of(cache, first + i) = NO_RECORD;
	}
	for (uint32 i = 0; i < count; i++)
	{
		if (numbers[i] != NO_RECORD && new_of_old[i] != HM_NO_ID)
			*place_of(cache, new_of_old[i]) = numbers[i];
	}
	pfree(numbers);
	for (uint32 i = 0; i < cache->chunk_count; i++)
	{
		for (int j = 0; cache->chunks[i] != NULL && j < CHUNK_SIZE; j++)
		{
			if (cache->chunks[i][j] == ABSENT_RECORD)
				cache->chunks[i][j] = NO_RECORD;
		}
	}

	cache->incarnation = directory->incarnation;
	cache->merges = directory->meta.merges;
	MemoryContextSetParent(cache->context, TopMemoryContext);
	kept = cache;
}

uint8
hm_codecache_known(const HmCodeCache *cache, uint32 id)
{
	uint32		number = find(cache, id);

	if (unlikely(number >= ABSENT_RECORD))
		return number == ABSENT_RECORD ? HM_ABSENT : HM_SKIPPED;
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
	if (cache->count < limit(cache))
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
