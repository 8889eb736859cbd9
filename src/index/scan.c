/*-------------------------------------------------------------------------
 *
 * scan.c
 *	  Ordered scans: the rows of a table by distance from a query.
 *
 * Candidates come from the graph, nearest first as far as approximate
 * distances tell, a batch of ef_search at a time, and from the log, every
 * entry of which is compared.  A row is fetched under the scan's snapshot, its
 * exact key computed by the operator itself, and put into a queue; it leaves
 * the queue when its key is no more than the lower bound of every candidate
 * that has not been fetched yet: rows come out in exact order, and few are
 * fetched that are not returned.
 *
 *		graph batch ─┐ lower bound
 *		             ├────────────► fetch ──► queue ──► key <= all bounds? row
 *		log ─────────┘              (visible? exact key)
 *
 * When a batch is used up and more rows are wanted, the search resumes where
 * it stopped, and in the end turns into a sweep of all the rest (see
 * graphscan.c).  What a later batch finds is presumed to be no nearer than the
 * last of this one.  A row for which that turns out wrong is dropped in strict
 * order, and returned late in relaxed order.
 *
 * Last come rows that cannot be ranked, distance NaN before NULL, as in a
 * sequential scan.
 *
 * No page is pinned or locked between calls, so that tombstones and TIDs are
 * protected by the snapshot alone; see storage/tombstone.h.  Therefore scans
 * without an MVCC snapshot are refused.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/itup.h"
#include "access/relscan.h"
#include "compat.h"
#include "index/allrows.h"
#include "index/attached.h"
#include "index/graphscan.h"
#include "index/index.h"
#include "index/queue.h"
#include "miscadmin.h"
#include "storage/testpoint.h"
#include "utils/float.h"
#include "utils/memutils.h"

typedef enum ScanPhase
{
	PHASE_RANKED,				/* graph and log */
	PHASE_SORTED,				/* every row was compared exactly */
	PHASE_UNORDERED,			/* every row, in any order */
	PHASE_TAIL,					/* rows that cannot be ranked */
	PHASE_END
} ScanPhase;

typedef struct HmScan
{
	MemoryContext context;		/* the scan's */
	MemoryContext run;			/* one (re)scan's */
	MemoryContextCallback cleanup;
	bool		started;
	bool		counted;		/* hm_last_scan is this scan's, rescans included */
	bool		reader_open;
	bool		rows_open;
	bool		has_graph;
	bool		rows_unseen;	/* the executor may not look at the rows itself */

	const HmOpclass *opclass;
	HmDirectory directory;
	HmReader	reader;
	HmRowFetcher rows;
	HmQuery		query;
	HmFile	   *file;			/* of a column of extvec, else NULL */

	ScanPhase	phase;
	HmSearch   *search;			/* kept across rescans */
	HmGraphScan graph;
	HmLogRows	log;
	HmAllRows	all;
	HmSorter   *sorter;			/* PHASE_SORTED */

	IndexTuple	null_tuple;		/* for index-only scans, see hm_gettuple */

	HmRowQueue	queue;
	HmRowKey	last_key;		/* of the last row returned */
	bool		any_returned;
} HmScan;

HmScanStats hm_last_scan;

/*
 * Lets go of what does not belong to a memory context.  Also called on error,
 * when amendscan is not: everything here is process-local memory.
 */
static void
scan_cleanup(void *argument)
{
	HmScan	   *scan = argument;

	if (scan->reader_open)
		hm_reader_close(&scan->reader);
	scan->reader_open = false;
	if (scan->search != NULL)
		hm_graph_search_put(scan->search);
	scan->search = NULL;
}

IndexScanDesc
hm_beginscan(Relation index, int nkeys, int norderbys)
{
	IndexScanDesc desc = RelationGetIndexScan(index, nkeys, norderbys);
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap scan",
												  ALLOCSET_DEFAULT_SIZES);
	HmScan	   *scan = MemoryContextAllocZero(context, sizeof(HmScan));

	scan->context = context;
	scan->run = AllocSetContextCreate(context, "hnsw_mmap scan run", ALLOCSET_DEFAULT_SIZES);
	scan->cleanup.func = scan_cleanup;
	scan->cleanup.arg = scan;
	MemoryContextRegisterResetCallback(context, &scan->cleanup);
	scan->opclass = hm_opclass(index);
	desc->opaque = scan;
	return desc;
}

/* Forgets one (re)scan. */
static void
end_run(HmScan *scan)
{
	if (scan->has_graph)
		hm_graph_scan_end(&scan->graph);
	scan->has_graph = false;
	if (scan->sorter != NULL)
		hm_sorter_end(scan->sorter);
	scan->sorter = NULL;
	if (scan->rows_open)
		hm_row_end(&scan->rows);
	scan->rows_open = false;
	if (scan->reader_open)
		hm_reader_close(&scan->reader);
	scan->reader_open = false;
	scan->started = false;
	MemoryContextReset(scan->run);
}

void
hm_rescan(IndexScanDesc desc, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys)
{
	end_run(desc->opaque);
	if (orderbys != NULL && desc->numberOfOrderBys > 0)
		memmove(desc->orderByData, orderbys, desc->numberOfOrderBys * sizeof(ScanKeyData));
}

void
hm_endscan(IndexScanDesc desc)
{
	HmScan	   *scan = desc->opaque;

	end_run(scan);
	MemoryContextDelete(scan->context);
	desc->opaque = NULL;
}

/* Fetches the row at a TID and queues it, if it is visible and in time. */
static void
fetch_row(HmScan *scan, const ItemPointerData *tid)
{
	Datum		value;
	bool		isnull;
	HmRowKey	key;

	CHECK_FOR_INTERRUPTS();
	if (!hm_row_fetch(&scan->rows, tid, &value, &isnull))
		return;
	key = hm_row_key(&scan->rows, value, isnull);
	hm_last_scan.distances++;
	if (scan->any_returned && hm_iterative_scan != HM_ITERATIVE_RELAXED &&
		hm_row_compare(&key, &scan->last_key) < 0)
	{
		hm_last_scan.dropped++;
		return;
	}
	hm_queue_put(&scan->queue, &key, tid);
}

/* Queues all rows of an element. */
static void
fetch_element(HmScan *scan, uint32 id)
{
	HmTidIterator iterator;
	ItemPointerData tid;

	hm_reader_tids(id, &iterator);
	while (hm_reader_next_tid(&scan->reader, &iterator, &tid))
		fetch_row(scan, &tid);
}

static bool
next_ranked(HmScan *scan, ItemPointer tid)
{
	for (;;)
	{
		double		graph_bound = get_float8_infinity();
		double		log_bound = get_float8_infinity();
		bool		from_graph = scan->has_graph && hm_graph_scan_lower(&scan->graph, &graph_bound);
		bool		from_log = hm_log_rows_lower(&scan->log, &log_bound);

		if (scan->has_graph && !from_graph)
			graph_bound = hm_graph_scan_presumed(&scan->graph);

		if (hm_queue_take(&scan->queue, Min(graph_bound, log_bound), &scan->last_key, tid))
		{
			scan->any_returned = true;
			return true;
		}

		if (from_log && log_bound <= graph_bound)
		{
			ItemPointerData log_tid = hm_log_rows_take(&scan->log);

			fetch_row(scan, &log_tid);
		}
		else if (from_graph)
			fetch_element(scan, hm_graph_scan_take(&scan->graph));
		else if (scan->has_graph && !hm_graph_scan_ended(&scan->graph))
			hm_graph_scan_more(&scan->graph, &scan->search);
		else
			return false;
	}
}

/* Begins to rank: rows whose distance only they themselves can tell come first. */
static void
begin_ranked(HmScan *scan)
{
	ItemPointerData tid;

	scan->phase = PHASE_RANKED;
	if (scan->reader.store.element_count > 0)
	{
		HmSource   *source;

		if (scan->directory.meta.vectors == HM_VECTORS_FP16)
			source = hm_source_copies(&scan->reader, &scan->query, &scan->rows);
		else if (scan->file != NULL)
			source = hm_source_file(&scan->reader, &scan->query, &scan->rows, scan->file);
		else
			source = hm_source_heap(&scan->reader, &scan->query, &scan->rows,
									scan->opclass->type, hm_heap_mmap);
		if (scan->search == NULL)
			scan->search = hm_graph_search_get();
		hm_graph_scan_begin(&scan->graph, &scan->reader, source, scan->search);
		scan->has_graph = true;
	}

	hm_all_rows_begin(&scan->all, &scan->reader, &scan->log, HM_STAGE_TAIL_WIDE);
	while (hm_all_rows_next(&scan->all, HM_STAGE_LOG_WIDE, &tid))
		fetch_row(scan, &tid);
}

/* Compares every row exactly and sorts them: for queries that cannot be ranked. */
static void
begin_sorted(HmScan *scan)
{
	ItemPointerData tid;

	scan->phase = PHASE_SORTED;
	scan->sorter = hm_sorter_begin();
	hm_all_rows_begin(&scan->all, &scan->reader, &scan->log, HM_STAGE_REFS);
	while (hm_all_rows_next(&scan->all, HM_STAGE_LOG_NAN, &tid))
	{
		Datum		value;
		bool		isnull;
		HmRowKey	key;

		CHECK_FOR_INTERRUPTS();
		if (!hm_row_fetch(&scan->rows, &tid, &value, &isnull))
			continue;
		key = hm_row_key(&scan->rows, value, isnull);
		hm_last_scan.distances++;
		hm_sorter_put(scan->sorter,
					  key.class == HM_ROW_NUMBER ? key.distance : get_float8_nan(),
					  ((int64) ItemPointerGetBlockNumber(&tid) << 16) |
					  ItemPointerGetOffsetNumber(&tid));
	}
	hm_sorter_sort(scan->sorter);
}

/* Reads the query out of the scan key. */
static void
prepare_query(HmScan *scan, IndexScanDesc desc)
{
	ScanKey		order = desc->numberOfOrderBys > 0 ? &desc->orderByData[0] : NULL;
	const HmTypeInfo *type;
	HmVector	vector;
	void	   *copied;			/* goes with the run's context */

	if (order == NULL || (order->sk_flags & SK_ISNULL))
	{
		hm_query_prepare(&scan->query, &scan->directory.meta, scan->opclass->type, NULL);
		return;
	}
	type = hm_query_type(scan->opclass, desc->indexRelation->rd_opcintype[0], order->sk_subtype);
	vector = type->view(order->sk_argument, &copied);
	hm_query_prepare(&scan->query, &scan->directory.meta, scan->opclass->type, &vector);
}

static void
begin_run(IndexScanDesc desc)
{
	HmScan	   *scan = desc->opaque;
	Relation	index = desc->indexRelation;

	if (!IsMVCCSnapshot(desc->xs_snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" cannot be scanned without an MVCC snapshot",
						RelationGetRelationName(index))));

	hm_count_index_scan(desc);
	if (!scan->counted)
		memset(&hm_last_scan, 0, sizeof(hm_last_scan));
	scan->counted = true;
	hm_last_scan.index = RelationGetRelid(index);

	hm_directory_read(index, &scan->directory);
	hm_test_old_snapshot(index, desc->xs_snapshot, HM_META_BLOCK);
	scan->file = hm_attached_file(index, scan->opclass, &scan->directory.meta);
	prepare_query(scan, desc);

	hm_reader_open(&scan->reader, index, &scan->directory);
	scan->reader_open = true;
	hm_row_begin(&scan->rows, index, desc->heapRelation, desc->xs_snapshot,
				 desc->numberOfOrderBys > 0 ? &desc->orderByData[0] : NULL);
	scan->rows_open = true;
	hm_queue_begin(&scan->queue);
	HM_TEST_POINT("scan-begun");
	scan->any_returned = false;
	hm_log_rows_collect(&scan->log, index, &scan->directory, &scan->query);

	switch (scan->query.kind)
	{
		case HM_QUERY_NONE:
			scan->phase = PHASE_UNORDERED;
			hm_all_rows_begin(&scan->all, &scan->reader, &scan->log, HM_STAGE_REFS);
			break;
		case HM_QUERY_RANKED:
			begin_ranked(scan);
			break;
		case HM_QUERY_EXTREME:
			begin_sorted(scan);
			break;
	}
	scan->started = true;
}

/*
 * What follows the last ranked row.  A scan that iterative_scan or
 * max_scan_tuples ended early does not go on to the rows that come last.
 */
static ScanPhase
phase_after_ranked(const HmScan *scan)
{
	if (!scan->has_graph || hm_graph_scan_complete(&scan->graph))
		return PHASE_TAIL;
	return PHASE_END;
}

/* The next row's TID; false: there is none. */
static bool
next_row(HmScan *scan, ItemPointer tid)
{
	double		distance;
	int64		number;
	Datum		value;
	bool		isnull;

	for (;;)
	{
		switch (scan->phase)
		{
			case PHASE_RANKED:
				if (next_ranked(scan, tid))
					return true;
				scan->phase = phase_after_ranked(scan);
				break;
			case PHASE_SORTED:
				if (hm_sorter_next(scan->sorter, &distance, &number))
				{
					ItemPointerSet(tid, (BlockNumber) (number >> 16), (OffsetNumber) (number & 0xFFFF));
					return true;
				}
				scan->phase = PHASE_TAIL;
				break;
			case PHASE_TAIL:
			case PHASE_UNORDERED:
				if (hm_all_rows_next(&scan->all, HM_STAGE_LOG_NULL, tid))
				{
					if (!scan->rows_unseen)
						hm_row_check(&scan->rows, tid);
					else if (!hm_row_fetch(&scan->rows, tid, &value, &isnull))
						break;
					return true;
				}
				scan->phase = PHASE_END;
				break;
			case PHASE_END:
				return false;
		}
	}
}

/* An index tuple of NULLs. */
static IndexTuple
make_null_tuple(HmScan *scan, Relation index)
{
	Datum		value = (Datum) 0;
	bool		isnull = true;
	MemoryContext old = MemoryContextSwitchTo(scan->context);
	IndexTuple	tuple = index_form_tuple(RelationGetDescr(index), &value, &isnull);

	MemoryContextSwitchTo(old);
	return tuple;
}

bool
hm_gettuple(IndexScanDesc desc, ScanDirection direction)
{
	HmScan	   *scan = desc->opaque;
	MemoryContext old = MemoryContextSwitchTo(scan->run);
	ItemPointerData tid;
	bool		found;

	Assert(ScanDirectionIsForward(direction));
	scan->rows_unseen = desc->xs_want_itup;
	if (!scan->started)
		begin_run(desc);
	found = next_row(scan, &tid);
	MemoryContextSwitchTo(old);

	if (!found)
		return false;
	hm_last_scan.rows++;
	desc->xs_heaptid = tid;
	desc->xs_recheck = false;
	desc->xs_recheckorderby = false;

	/*
	 * The index cannot return its column, but the planner may ask for an
	 * index-only scan when it needs none, as for count(*) with the predicate
	 * of a partial index.
	 */
	if (desc->xs_want_itup)
	{
		if (scan->null_tuple == NULL)
			scan->null_tuple = make_null_tuple(scan, desc->indexRelation);
		desc->xs_itup = scan->null_tuple;
		desc->xs_itupdesc = RelationGetDescr(desc->indexRelation);
	}
	return true;
}
