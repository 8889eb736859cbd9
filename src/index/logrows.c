/*-------------------------------------------------------------------------
 *
 * logrows.c
 *	  The log as one scan sees it: every entry compared, nearest first.
 *
 * The log is read once, at the beginning of a scan.  Entries added later are
 * of rows that the scan's snapshot does not see.
 *
 * Entries at hand in this process's memory have codes, which give a lower bound
 * of an entry's rank.  That is all that is computed of most entries: only when
 * one comes to the top of the heap is its copy ranked, and it sinks to its
 * place.  If the copies are gone by then, because another scan of this process
 * has met a changed log, the bound serves as well, and a row more is fetched.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "graph/key.h"
#include "index/index.h"
#include "index/logrows.h"
#include "simd/simd.h"

#define CODED_BATCH	64			/* entries whose codes are compared at once */

/* Makes room for so many rows in all. */
static void
make_room(HmLogRows *log, uint32 count)
{
	if (count <= log->space)
		return;
	log->space = Max(Max(256, count), log->space * 2);
	if (log->rows == NULL)
	{
		log->rows = MemoryContextAllocHuge(CurrentMemoryContext, log->space * sizeof(HmLogRow));
		log->nearest = MemoryContextAllocHuge(CurrentMemoryContext, log->space * sizeof(uint64));
		return;
	}
	log->rows = repalloc_huge(log->rows, log->space * sizeof(HmLogRow));
	log->nearest = repalloc_huge(log->nearest, log->space * sizeof(uint64));
}

static inline void
add_row(HmLogRows *log, const HmLogEntry *entry, bool coarse)
{
	HmLogRow   *row = &log->rows[log->count++];

	row->tid = entry->tid;
	row->kind = (uint8) entry->kind;
	row->coarse = coarse;
}

/* Puts the row that is added next among those with a vector. */
static inline void
add_rank(HmLogRows *log, const HmLogEntry *entry, float rank)
{
	log->nearest[log->nearest_count++] = hm_key(rank, log->count);
	log->max_norm = Max(log->max_norm, entry->norm);
}

static void
collect(void *argument, const HmLogEntry *entry, const uint16 *copy)
{
	HmLogRows  *log = argument;

	make_room(log, log->count + 1);
	if (copy != NULL && log->query->kind == HM_QUERY_RANKED)
		add_rank(log, entry, hm_query_rank_copy(log->query, copy));
	add_row(log, entry, false);
}

/* Lower bounds of the ranks that entries' copies have. */
static void
least_ranks(const HmLogRows *log, const HmCoarse *coarse, const int32 *dots, int n, float *least)
{
	const HmCoarse query = log->coarse;

	switch (log->query->metric)
	{
		case HM_L2:
			for (int i = 0; i < n; i++)
				least[i] = hm_coarse_least_l2sq(&query, &coarse[i], dots[i]);
			break;
		case HM_INNER_PRODUCT:
			for (int i = 0; i < n; i++)
				least[i] = -hm_coarse_most_dot(&query, &coarse[i], dots[i]);
			break;
		case HM_COSINE:
			for (int i = 0; i < n; i++)
				least[i] = 1 - hm_coarse_most_dot(&query, &coarse[i], dots[i]);
			break;
	}
}

/* The next entries at hand, up to CODED_BATCH of them, by their codes. */
static void
collect_coded(HmLogRows *log, const HmLogCached *cached, uint32 first, int n)
{
	int32		(*dot_i8) (const int8 *, const int8 *, size_t) = hm_kernels->dot_i8;
	const int8 *codes = cached->codes + first * cached->code_stride;
	int32		dots[CODED_BATCH];
	float		least[CODED_BATCH];

	for (int i = 0; i < n; i++)
		dots[i] = dot_i8(log->codes, codes + i * cached->code_stride, log->query->dim);
	least_ranks(log, &cached->coarse[first], dots, n, least);
	for (int i = 0; i < n; i++)
	{
		const HmLogEntry *entry = &cached->entries[first + i];

		if (entry->kind == HM_LOG_VECTOR)
			add_rank(log, entry, least[i]);
		add_row(log, entry, true);
	}
}

/* The entries at hand: an HmLogCachedVisitor. */
static void
collect_cached(void *argument, const HmLogCached *cached)
{
	HmLogRows  *log = argument;
	const HmQuery *query = log->query;

	make_room(log, cached->count);
	log->stamp = cached->stamp;
	if (query->kind == HM_QUERY_RANKED && cached->codes != NULL)
	{
		log->codes = palloc(query->dim);
		hm_coarse_encode(query->prepared, query->dim, log->codes, &log->coarse);
		for (uint32 i = 0; i < cached->count; i += CODED_BATCH)
			collect_coded(log, cached, i, Min(CODED_BATCH, cached->count - i));
		return;
	}
	for (uint32 i = 0; i < cached->count; i++)
		collect(log, &cached->entries[i],
				cached->entries[i].kind == HM_LOG_VECTOR ? hm_log_copy(cached->stamp, i) : NULL);
}

/* Lets a key sink from a place of the heap to where no smaller one is below it. */
static inline void
sink(uint64 *heap, uint32 count, uint32 at)
{
	uint64		key = heap[at];

	for (;;)
	{
		uint64		below = 2 * (uint64) at + 1;

		if (below >= count)
			break;
		if (below + 1 < count && heap[below + 1] < heap[below])
			below++;
		if (heap[below] >= key)
			break;
		heap[at] = heap[below];
		at = (uint32) below;
	}
	heap[at] = key;
}

void
hm_log_rows_collect(HmLogRows *log, Relation index, const HmDirectory *directory,
					const HmQuery *query)
{
	memset(log, 0, sizeof(HmLogRows));
	log->query = query;
	log->exact_copies = directory->meta.element_kind == HM_F16;
	hm_log_scan(index, directory, collect_cached, collect, log);
	hm_last_scan.log_entries += log->count;
	hm_last_scan.distances += log->nearest_count;
	for (uint32 at = log->nearest_count / 2; at-- > 0;)
		sink(log->nearest, log->nearest_count, at);
}

/* Has a row with its rank at the top of the heap, if one is to be had. */
static void
rank_top(HmLogRows *log)
{
	uint32		row;

	while (log->rows[row = hm_key_id(log->nearest[0])].coarse)
	{
		const uint16 *copy = hm_log_copy(log->stamp, row);

		if (copy == NULL)
			return;
		log->rows[row].coarse = false;
		log->nearest[0] = hm_key(hm_query_rank_copy(log->query, copy), row);
		sink(log->nearest, log->nearest_count, 0);
		hm_last_scan.distances++;
	}
}

/*
 * The bound is the same function of the rank for all, with the largest norm of
 * any: so the order of ranks is that of bounds, and hardly any is computed.
 */
bool
hm_log_rows_lower(HmLogRows *log, double *lower)
{
	double		distance;

	if (log->nearest_count == 0)
		return false;
	rank_top(log);
	distance = hm_query_copy_distance(log->query, hm_key_distance(log->nearest[0]));
	*lower = distance - hm_query_copy_error(log->query, distance, log->max_norm, log->exact_copies);
	return true;
}

ItemPointerData
hm_log_rows_take(HmLogRows *log)
{
	uint32		row = hm_key_id(log->nearest[0]);

	log->nearest[0] = log->nearest[--log->nearest_count];
	sink(log->nearest, log->nearest_count, 0);
	return log->rows[row].tid;
}
