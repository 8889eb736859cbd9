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
 * it stopped; what a later batch finds is presumed to be no nearer than the
 * last of this one.  A row for which that turns out wrong is dropped in
 * strict order and returned late in relaxed order.  When a tenth of the
 * elements have been visited, or the graph leads no further, the scan turns
 * into a sweep: the rest is ranked in one pass and sorted, and then feeds the
 * queue as the graph did.  So whatever rows the graph cannot reach are found.
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

#include "access/relscan.h"
#include "compat.h"
#include "index/allrows.h"
#include "index/index.h"
#include "index/source.h"
#include "index/sorter.h"
#include "lib/binaryheap.h"
#include "lib/pairingheap.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/guard.h"
#include "storage/log.h"
#include "storage/part.h"
#include "utils/float.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A scan past this share of the elements sweeps the rest. */
#define SWEEP_SHARE		10

/* Elements that a sweep sorts by TID at a time. */
#define SWEEP_CHUNK		65536

typedef enum ScanPhase
{
	PHASE_RANKED,				/* graph and log, then the tail */
	PHASE_TAIL,
	PHASE_SORTED,				/* every row was compared exactly */
	PHASE_UNORDERED,			/* every row, in any order */
	PHASE_END
} ScanPhase;

/* A fetched row that waits for its turn. */
typedef struct ReadyRow
{
	pairingheap_node node;
	HmRowKey	key;
	ItemPointerData tid;
} ReadyRow;

typedef struct HmScan
{
	MemoryContext context;		/* the scan's */
	MemoryContext run;			/* one (re)scan's */
	MemoryContextCallback cleanup;
	bool		started;
	bool		counted;		/* hm_last_scan is this scan's, rescans included */
	bool		reader_open;
	bool		rows_open;

	const HmOpclass *opclass;
	HmDirectory directory;
	HmReader	reader;
	HmRowFetcher rows;
	HmQuery		query;
	HmSource   *source;
	HmSearch   *search;
	bool		exact_copies;
	float		max_norm;

	ScanPhase	phase;

	/* candidates of the graph: a batch of results, or a sweep */
	bool		more;			/* there may be more than what is at hand */
	bool		first_batch;
	int			result_next;
	double		presumed;		/* what comes later is presumed no nearer */
	HmSorter   *sorter;			/* a sweep, or all rows by exact key */
	bool		sweep_has;		/* its next candidate was taken out */
	double		sweep_distance;
	int64		sweep_number;

	HmLogRows	log;
	binaryheap *log_heap;		/* indexes of log.rows, nearest first */

	pairingheap *ready;
	ReadyRow   *free_rows;		/* nodes to use again, linked by node.next_sibling */
	HmRowKey	last_key;		/* of the last row returned */
	bool		any_returned;

	HmAllRows	all;
} HmScan;

HmScanStats hm_last_scan;

/* Working memory of a search that no scan uses at present. */
static HmSearch *idle_search;

static void *
search_alloc(void *state, size_t size)
{
	if (size > MaxAllocHugeSize)
		return NULL;
	return MemoryContextAllocExtended(TopMemoryContext, size,
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
}

static void
search_release(void *state, void *pointer)
{
	if (pointer != NULL)
		pfree(pointer);
}

static const HmAllocator search_allocator = {search_alloc, search_release, NULL};

static void
out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("Failed while searching an hnsw_mmap index with ef_search %d.", hm_ef_search)));
}

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
	{
		if (idle_search == NULL)
			idle_search = scan->search;
		else
			hm_search_destroy(scan->search);
	}
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

/*
 * The log.
 */

static void
collect_log_entry(void *state, const HmLogEntry *entry, const uint16 *copy)
{
	HmScan	   *scan = state;
	HmLogRows  *log = &scan->log;
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
	if (copy != NULL && scan->query.kind == HM_QUERY_RANKED)
	{
		double		distance = hm_query_copy_distance(&scan->query,
													  hm_query_rank_copy(&scan->query, copy));

		row->lower = distance - hm_query_copy_error(&scan->query, distance, entry->norm,
													scan->exact_copies);
	}
	hm_last_scan.log_entries++;
}

/* The heap's root is the largest in its comparator's order. */
static int
compare_log_rows(Datum a, Datum b, void *argument)
{
	const HmLogRow *rows = ((const HmScan *) argument)->log.rows;
	double		la = rows[DatumGetUInt32(a)].lower;
	double		lb = rows[DatumGetUInt32(b)].lower;

	return la < lb ? 1 : la > lb ? -1 : 0;
}

static void
collect_log(HmScan *scan)
{
	uint32		vectors = 0;

	memset(&scan->log, 0, sizeof(scan->log));
	scan->log_heap = NULL;
	hm_log_scan(scan->reader.index, &scan->directory, collect_log_entry, scan);
	hm_last_scan.distances += scan->query.kind == HM_QUERY_RANKED ? scan->log.count : 0;

	for (uint32 i = 0; i < scan->log.count; i++)
		vectors += scan->log.rows[i].kind == HM_LOG_VECTOR;
	if (vectors == 0)
		return;
	scan->log_heap = binaryheap_allocate(vectors, compare_log_rows, scan);
	for (uint32 i = 0; i < scan->log.count; i++)
	{
		if (scan->log.rows[i].kind == HM_LOG_VECTOR)
			binaryheap_add_unordered(scan->log_heap, UInt32GetDatum(i));
	}
	binaryheap_build(scan->log_heap);
}

/*
 * The queue of fetched rows.
 */

static int
compare_ready(const pairingheap_node *a, const pairingheap_node *b, void *argument)
{
	return hm_row_compare(&((const ReadyRow *) b)->key, &((const ReadyRow *) a)->key);
}

static void
put_ready(HmScan *scan, const HmRowKey *key, const ItemPointerData *tid)
{
	ReadyRow   *row = scan->free_rows;

	if (row != NULL)
		scan->free_rows = (ReadyRow *) row->node.next_sibling;
	else
		row = MemoryContextAlloc(scan->run, sizeof(ReadyRow));
	row->key = *key;
	row->tid = *tid;
	pairingheap_add(scan->ready, &row->node);
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
	put_ready(scan, &key, tid);
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

/*
 * The graph.
 */

typedef struct StepCall
{
	HmSearch   *search;
	HmStep		step;
} StepCall;

static void
step_call(void *argument)
{
	StepCall   *call = argument;

	call->step = hm_search_step(call->search);
}

/* Runs the search to the end of its batch. */
static void
run_search(HmScan *scan)
{
	HmSearch   *search = scan->search;
	StepCall	call = {search, HM_STEP_DONE};
	HmSearchCounters before = search->counters;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		if (!hm_guarded_call(step_call, &call))
		{
			/* its state is unknown: never use it again */
			scan->search = NULL;
			hm_mapping_fault(scan->reader.index);
		}
		if (call.step == HM_STEP_DONE)
			break;
		switch (call.step)
		{
			case HM_STEP_SCORE:
				scan->source->score(scan->source, search->batch_ids, search->batch_n,
									search->batch_distance, search->batch_flags);
				break;
			case HM_STEP_LINKS:
				hm_reader_fetch_links(&scan->reader, search->links_id, search->links_level);
				break;
			case HM_STEP_NO_MEMORY:
				out_of_memory();
				break;
			case HM_STEP_DONE:
				break;
		}
	}

	hm_last_scan.distances += search->counters.scored - before.scored;
	hm_last_scan.expanded += search->counters.expanded - before.expanded;
	hm_mapping_touched(2 * (search->counters.scored - before.scored) +
					   search->counters.expanded - before.expanded,
					   (uint64) hm_max_mapped_touched * 1024 * 1024);
	scan->result_next = 0;
}

/* An approximate distance's lower bound. */
static double
candidate_error(HmScan *scan, double distance)
{
	if (scan->directory.meta.vectors == HM_VECTORS_FP16)
		return hm_query_copy_error(&scan->query, distance, scan->max_norm, scan->exact_copies);
	return hm_query_row_error(&scan->query, distance, scan->max_norm);
}

static double
result_distance(HmScan *scan, int i)
{
	return scan->source->distance(&scan->query, scan->search->results[i].distance);
}

/*
 * The sweep.
 */

typedef struct SweepItem
{
	ItemPointerData tid;
	uint32		id;
} SweepItem;

static int
compare_sweep_items(const void *a, const void *b)
{
	return ItemPointerCompare((ItemPointer) &((const SweepItem *) a)->tid,
							  (ItemPointer) &((const SweepItem *) b)->tid);
}

/* Ranks a chunk of elements in the order in which their rows lie in the table. */
static void
sweep_chunk(HmScan *scan, SweepItem *items, int n)
{
	uint32		ids[HM_MAX_BATCH];
	float		rank[HM_MAX_BATCH];
	uint8		flags[HM_MAX_BATCH];

	if (scan->directory.meta.vectors == HM_VECTORS_HEAP)
		qsort(items, n, sizeof(SweepItem), compare_sweep_items);

	for (int first = 0; first < n; first += HM_MAX_BATCH / 4)
	{
		int			count = Min(n - first, HM_MAX_BATCH / 4);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < count; i++)
			ids[i] = items[first + i].id;
		scan->source->score(scan->source, ids, count, rank, flags);
		hm_last_scan.distances += count;
		for (int i = 0; i < count; i++)
		{
			if (flags[i] == HM_SCORED)
				hm_sorter_put(scan->sorter, scan->source->distance(&scan->query, rank[i]), ids[i]);
		}
	}
}

/* Ranks and sorts all elements that the graph search has not returned. */
static void
start_sweep(HmScan *scan)
{
	HmSearch   *search = scan->search;
	uint32		count = scan->reader.store.element_count;
	SweepItem  *items = palloc(Min(count, SWEEP_CHUNK) * sizeof(SweepItem));
	int			n = 0;

	hm_last_scan.sweeps++;
	scan->sorter = hm_sorter_begin();

	if (hm_search_drain(search) != HM_OK)
		out_of_memory();
	for (int i = 0; i < search->result_n; i++)
		hm_sorter_put(scan->sorter, result_distance(scan, i), search->results[i].id);

	for (uint32 id = 0; id < count; id++)
	{
		if (hm_search_visited(search, id))
			continue;
		items[n].id = id;
		if (scan->directory.meta.vectors == HM_VECTORS_HEAP)
			items[n].tid = hm_reader_ref(&scan->reader, id).tid;
		if (++n == SWEEP_CHUNK)
		{
			sweep_chunk(scan, items, n);
			n = 0;
		}
	}
	sweep_chunk(scan, items, n);
	pfree(items);
	hm_sorter_sort(scan->sorter);
	scan->sweep_has = hm_sorter_next(scan->sorter, &scan->sweep_distance, &scan->sweep_number);
}

/*
 * Gets more candidates out of the graph, or finds that there are none: then
 * scan->more is false.
 */
static void
get_more_candidates(HmScan *scan)
{
	HmSearch   *search = scan->search;
	uint32		count = scan->reader.store.element_count;
	bool		sweep = false;

	if (scan->sorter != NULL)
	{
		scan->more = false;
		return;
	}

	if (scan->first_batch)
	{
		scan->first_batch = false;
		if (hm_search_begin(search, &scan->reader.store, hm_ef_search) != HM_OK)
			out_of_memory();
		run_search(scan);
		if (search->result_n == 0)
			sweep = true;
	}
	else if (hm_iterative_scan == HM_ITERATIVE_OFF ||
			 (hm_max_scan_tuples > 0 && search->visited_count >= (uint32) hm_max_scan_tuples))
	{
		scan->more = false;
		return;
	}
	else if (search->visited_count >= count / SWEEP_SHARE)
		sweep = true;
	else
	{
		hm_last_scan.resumptions++;
		if (hm_search_resume(search, hm_ef_search) != HM_OK)
			out_of_memory();
		run_search(scan);
		if (search->result_n == 0)
			sweep = true;
	}

	if (sweep)
	{
		/* nothing is left, or more than the bound allows */
		if (hm_iterative_scan == HM_ITERATIVE_OFF ||
			(hm_max_scan_tuples > 0 && count > (uint32) hm_max_scan_tuples))
		{
			scan->more = false;
			return;
		}
		start_sweep(scan);
	}
	else if (search->result_n > 0)
	{
		double		last = result_distance(scan, search->result_n - 1);

		scan->presumed = Max(scan->presumed, last + candidate_error(scan, last));
	}
}

/* The lower bound of the graph's next candidate; false: none at hand. */
static bool
graph_candidate(HmScan *scan, double *lower)
{
	double		distance;

	if (scan->sorter != NULL)
	{
		if (!scan->sweep_has)
			return false;
		distance = scan->sweep_distance;
	}
	else
	{
		if (scan->first_batch || scan->result_next >= scan->search->result_n)
			return false;
		distance = result_distance(scan, scan->result_next);
	}
	*lower = distance - candidate_error(scan, distance);
	return true;
}

static void
fetch_graph_candidate(HmScan *scan)
{
	if (scan->sorter != NULL)
	{
		fetch_element(scan, (uint32) scan->sweep_number);
		scan->sweep_has = hm_sorter_next(scan->sorter, &scan->sweep_distance, &scan->sweep_number);
	}
	else
		fetch_element(scan, scan->search->results[scan->result_next++].id);
}

/* True when the queue's first row may leave: nothing nearer can follow. */
static bool
take_ready(HmScan *scan, double bound, ItemPointer tid)
{
	ReadyRow   *row;

	if (pairingheap_is_empty(scan->ready))
		return false;
	row = (ReadyRow *) pairingheap_first(scan->ready);
	if (row->key.class != HM_ROW_NUMBER ? bound != get_float8_infinity() : row->key.distance > bound)
		return false;

	pairingheap_remove_first(scan->ready);
	*tid = row->tid;
	scan->last_key = row->key;
	scan->any_returned = true;
	row->node.next_sibling = (pairingheap_node *) scan->free_rows;
	scan->free_rows = row;
	return true;
}

static bool
next_ranked(HmScan *scan, ItemPointer tid)
{
	for (;;)
	{
		double		graph_bound;
		double		log_bound = get_float8_infinity();
		bool		has_graph = graph_candidate(scan, &graph_bound);
		bool		has_log = scan->log_heap != NULL && !binaryheap_empty(scan->log_heap);
		uint32		log_row = 0;

		if (!has_graph)
			graph_bound = !scan->more ? get_float8_infinity() :
				scan->sorter != NULL ? get_float8_infinity() : scan->presumed;
		if (has_log)
		{
			log_row = DatumGetUInt32(binaryheap_first(scan->log_heap));
			log_bound = scan->log.rows[log_row].lower;
		}

		if (take_ready(scan, Min(graph_bound, log_bound), tid))
			return true;
		if (has_log && log_bound <= graph_bound)
		{
			binaryheap_remove_first(scan->log_heap);
			fetch_row(scan, &scan->log.rows[log_row].tid);
		}
		else if (has_graph)
			fetch_graph_candidate(scan);
		else if (scan->more)
			get_more_candidates(scan);
		else
			return false;
	}
}

/*
 * Beginning.
 */

static void
begin_ranked(HmScan *scan)
{
	ItemPointerData tid;
	const HmPartDesc *part = scan->reader.part;

	scan->phase = PHASE_RANKED;
	scan->more = part != NULL && part->element_count > 0;
	scan->first_batch = true;
	scan->presumed = -get_float8_infinity();
	scan->max_norm = part != NULL ? part->max_norm : 0;

	if (scan->more)
	{
		if (scan->directory.meta.vectors == HM_VECTORS_FP16)
			scan->source = hm_source_copies(&scan->reader, &scan->query, &scan->rows);
		else
			scan->source = hm_source_heap(&scan->reader, &scan->query, &scan->rows,
										  scan->opclass->type, hm_heap_mmap);
		if (scan->search == NULL)
		{
			scan->search = idle_search != NULL ? idle_search : hm_search_create(&search_allocator);
			idle_search = NULL;
		}
		if (scan->search == NULL)
			out_of_memory();
	}

	/* Rows whose distance only the row itself can tell. */
	hm_all_rows_begin(&scan->all, &scan->reader, &scan->log, HM_STAGE_TAIL_WIDE);
	while (hm_all_rows_next(&scan->all, HM_STAGE_LOG_WIDE, &tid))
		fetch_row(scan, &tid);
}

/* Compares every row exactly and sorts them. */
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

static void
begin_run(IndexScanDesc desc)
{
	HmScan	   *scan = desc->opaque;
	MemoryContext old;
	HmVector	vector;
	void	   *copied;
	ScanKey		order = desc->numberOfOrderBys > 0 ? &desc->orderByData[0] : NULL;

	if (!IsMVCCSnapshot(desc->xs_snapshot))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" cannot be scanned without an MVCC snapshot",
						RelationGetRelationName(desc->indexRelation))));

	old = MemoryContextSwitchTo(scan->run);
	hm_count_index_scan(desc);
	if (!scan->counted)
		memset(&hm_last_scan, 0, sizeof(hm_last_scan));
	scan->counted = true;
	hm_last_scan.index = RelationGetRelid(desc->indexRelation);

	hm_directory_read(desc->indexRelation, &scan->directory);
	hm_test_old_snapshot(desc->indexRelation, desc->xs_snapshot, HM_META_BLOCK);

	if (order == NULL || (order->sk_flags & SK_ISNULL))
		hm_query_prepare(&scan->query, &scan->directory.meta, NULL);
	else
	{
		const HmTypeInfo *type = hm_query_type(scan->opclass,
											   desc->indexRelation->rd_opcintype[0],
											   order->sk_subtype);

		vector = type->view(order->sk_argument, &copied);
		hm_query_prepare(&scan->query, &scan->directory.meta, &vector);
	}
	scan->exact_copies = scan->directory.meta.element_kind == HM_F16;

	hm_reader_open(&scan->reader, desc->indexRelation, &scan->directory,
				   scan->directory.meta.part_count > 0 ? &scan->directory.meta.parts[0] : NULL);
	scan->reader_open = true;
	hm_row_begin(&scan->rows, desc);
	scan->rows_open = true;

	scan->ready = pairingheap_allocate(compare_ready, NULL);
	scan->free_rows = NULL;
	scan->any_returned = false;
	scan->sweep_has = false;
	collect_log(scan);

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
	MemoryContextSwitchTo(old);
}

/* After the last ranked row: does the tail follow? */
static bool
tail_follows(HmScan *scan)
{
	/*
	 * With iterative_scan off, and at max_scan_tuples, the scan ends early;
	 * rows that come after all others are then not its business, unless all
	 * others were there.
	 */
	if (scan->reader.store.element_count == 0 || scan->sorter != NULL)
		return true;
	return scan->search->visited_count == scan->reader.store.element_count;
}

bool
hm_gettuple(IndexScanDesc desc, ScanDirection direction)
{
	HmScan	   *scan = desc->opaque;
	MemoryContext old;
	ItemPointerData tid;
	bool		found = false;

	Assert(ScanDirectionIsForward(direction));
	if (!scan->started)
		begin_run(desc);

	old = MemoryContextSwitchTo(scan->run);
	while (!found && scan->phase != PHASE_END)
	{
		double		distance;
		int64		number;

		switch (scan->phase)
		{
			case PHASE_RANKED:
				found = next_ranked(scan, &tid);
				if (!found)
					scan->phase = tail_follows(scan) ? PHASE_TAIL : PHASE_END;
				break;
			case PHASE_SORTED:
				found = hm_sorter_next(scan->sorter, &distance, &number);
				if (found)
					ItemPointerSet(&tid, (BlockNumber) (number >> 16), (OffsetNumber) (number & 0xFFFF));
				else
					scan->phase = PHASE_TAIL;
				break;
			case PHASE_TAIL:
			case PHASE_UNORDERED:
				found = hm_all_rows_next(&scan->all, HM_STAGE_LOG_NULL, &tid);
				if (!found)
					scan->phase = PHASE_END;
				break;
			case PHASE_END:
				break;
		}
	}
	MemoryContextSwitchTo(old);

	if (!found)
		return false;
	hm_last_scan.rows++;
	desc->xs_heaptid = tid;
	desc->xs_recheck = false;
	desc->xs_recheckorderby = false;
	return true;
}
