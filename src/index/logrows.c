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

#include "index/index.h"
#include "index/logrows.h"
#include "utils/float.h"

typedef struct CollectState
{
	HmLogRows  *log;
	const HmDirectory *directory;
	const HmQuery *query;
	uint32		vectors;
} CollectState;

static void
collect(void *argument, const HmLogEntry *entry, const uint16 *copy)
{
	CollectState *state = argument;
	const HmQuery *query = state->query;
	HmLogRows  *log = state->log;
	HmLogRow   *row;

	if (log->count == log->space)
	{
		log->space = log->space == 0 ? 256 : log->space * 2;
		log->rows = log->rows == NULL ?
			palloc(log->space * sizeof(HmLogRow)) :
			repalloc_huge(log->rows, log->space * sizeof(HmLogRow));
	}
	row = &log->rows[log->count++];
	row->tid = entry->tid;
	row->kind = entry->kind;
	row->lower = -get_float8_infinity();
	if (copy != NULL && query->kind == HM_QUERY_RANKED)
	{
		double		distance = hm_query_copy_distance(query, hm_query_rank_copy(query, copy));

		row->lower = distance - hm_query_copy_error(query, distance, entry->norm,
													state->directory->meta.element_kind == HM_F16);
		state->vectors++;
	}
}

/* A binary heap's first is the largest of its order. */
static int
compare_rows(Datum a, Datum b, void *argument)
{
	const HmLogRow *rows = ((const HmLogRows *) argument)->rows;
	double		lower_a = rows[DatumGetUInt32(a)].lower;
	double		lower_b = rows[DatumGetUInt32(b)].lower;

	return lower_a < lower_b ? 1 : lower_a > lower_b ? -1 : 0;
}

void
hm_log_rows_collect(HmLogRows *log, Relation index, const HmDirectory *directory,
					const HmQuery *query)
{
	CollectState state = {log, directory, query, 0};

	memset(log, 0, sizeof(HmLogRows));
	hm_log_scan(index, directory, collect, &state);
	hm_last_scan.log_entries += log->count;
	hm_last_scan.distances += state.vectors;
	if (state.vectors == 0)
		return;

	log->nearest = binaryheap_allocate(state.vectors, compare_rows, log);
	for (uint32 i = 0; i < log->count; i++)
	{
		if (log->rows[i].kind == HM_LOG_VECTOR)
			binaryheap_add_unordered(log->nearest, UInt32GetDatum(i));
	}
	binaryheap_build(log->nearest);
}

bool
hm_log_rows_lower(HmLogRows *log, double *lower)
{
	if (log->nearest == NULL || binaryheap_empty(log->nearest))
		return false;
	*lower = log->rows[DatumGetUInt32(binaryheap_first(log->nearest))].lower;
	return true;
}

ItemPointerData
hm_log_rows_take(HmLogRows *log)
{
	return log->rows[DatumGetUInt32(binaryheap_remove_first(log->nearest))].tid;
}
