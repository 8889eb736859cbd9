/*-------------------------------------------------------------------------
 *
 * logrows.c
 *	  The log as one scan sees it: every entry compared, nearest first.
 *
 * The log is read once, at the beginning of a scan.  Entries added later are
 * of rows that the scan's snapshot does not see.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "graph/key.h"
#include "index/index.h"
#include "index/logrows.h"

static void
make_room(HmLogRows *log)
{
	if (log->rows == NULL)
	{
		log->space = 256;
		log->rows = palloc(log->space * sizeof(HmLogRow));
		log->nearest = palloc(log->space * sizeof(uint64));
		return;
	}
	log->space *= 2;
	log->rows = repalloc_huge(log->rows, log->space * sizeof(HmLogRow));
	log->nearest = repalloc_huge(log->nearest, log->space * sizeof(uint64));
}

static void
collect(void *argument, const HmLogEntry *entry, const uint16 *copy)
{
	HmLogRows  *log = argument;

	if (log->count == log->space)
		make_room(log);
	log->rows[log->count].tid = entry->tid;
	log->rows[log->count].kind = entry->kind;
	if (copy != NULL && log->query->kind == HM_QUERY_RANKED)
	{
		log->nearest[log->nearest_count++] = hm_key(hm_query_rank_copy(log->query, copy), log->count);
		log->max_norm = Max(log->max_norm, entry->norm);
	}
	log->count++;
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
	hm_log_scan(index, directory, collect, log);
	hm_last_scan.log_entries += log->count;
	hm_last_scan.distances += log->nearest_count;
	for (uint32 at = log->nearest_count / 2; at-- > 0;)
		sink(log->nearest, log->nearest_count, at);
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
