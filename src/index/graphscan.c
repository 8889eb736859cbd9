/*-------------------------------------------------------------------------
 *
 * graphscan.c
 *	  The graph's elements by approximate distance, as many as are wanted.
 *
 * Batches: the search returns the ef_search nearest elements that it finds,
 * and when those are used up, resumes for as many more.  A later batch may
 * find an element nearer than one of an earlier batch; who needs order presumes
 * that none does, and deals with those that come late.
 *
 * Sweep: when a tenth of the elements have been visited, or the graph leads no
 * further, walking it costs more than reading everything: the rest is ranked
 * in one pass, in the order of the table, and sorted.  Elements that the graph
 * cannot reach are found then.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "index/graphscan.h"
#include "index/index.h"
#include "index/memory.h"
#include "miscadmin.h"
#include "storage/guard.h"
#include "storage/testpoint.h"
#include "utils/float.h"
#include "utils/memutils.h"

#define SWEEP_SHARE		10		/* a scan past 1/10 of the elements sweeps the rest */
#define SWEEP_CHUNK		65536	/* elements sorted by TID at a time */
#define SWEEP_BATCH		128		/* elements ranked at a time */

/* Working memory that no scan uses at present. */
static HmSearch *idle_search;

static void
out_of_memory(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("Failed while searching an hnsw_mmap index with ef_search %d.", hm_ef_search)));
}

HmSearch *
hm_graph_search_get(void)
{
	HmAllocator allocator = hm_context_allocator(TopMemoryContext);
	HmSearch   *search = idle_search;

	idle_search = NULL;
	if (search == NULL)
		search = hm_search_create(&allocator);
	if (search == NULL)
		out_of_memory();
	return search;
}

void
hm_graph_search_put(HmSearch *search)
{
	if (idle_search == NULL)
		idle_search = search;
	else
		hm_search_destroy(search);
}

void
hm_graph_scan_begin(HmGraphScan *scan, HmReader *reader, HmSource *source, HmSearch *search)
{
	memset(scan, 0, sizeof(HmGraphScan));
	scan->reader = reader;
	scan->source = source;
	scan->search = search;
	scan->max_norm = reader->max_norm;
	scan->exact_copies = reader->directory->meta.element_kind == HM_F16;
	scan->more = true;
	scan->presumed = -get_float8_infinity();
}

void
hm_graph_scan_end(HmGraphScan *scan)
{
	if (scan->sorter != NULL)
		hm_sorter_end(scan->sorter);
	scan->sorter = NULL;
}

/* How far an approximate distance may be from the exact one. */
static double
error_of(const HmGraphScan *scan, double distance)
{
	const HmQuery *query = scan->source->query;

	if (scan->reader->directory->meta.vectors == HM_VECTORS_FP16)
		return hm_query_copy_error(query, distance, scan->max_norm, scan->exact_copies);
	return hm_query_row_error(query, distance, scan->max_norm);
}

static double
result_distance(const HmGraphScan *scan, int i)
{
	return scan->source->distance(scan->source->query, scan->search->results[i].distance);
}

typedef struct StepCall
{
	HmSearch   *search;
	HmStep		step;
} StepCall;

/* Guarded: reads lists out of the mapping. */
static void
step_call(void *argument)
{
	StepCall   *call = argument;

	call->step = hm_search_step(call->search);
}

/* Runs the search to the end of its batch. */
static void
run_search(HmGraphScan *scan, HmSearch **owner)
{
	HmSearch   *search = scan->search;
	HmSource   *source = scan->source;
	StepCall	call = {search, HM_STEP_DONE};
	HmSearchCounters before = search->counters;
	uint64		scored;
	uint64		expanded;

	do
	{
		CHECK_FOR_INTERRUPTS();
		if (!hm_guarded_call(step_call, &call))
		{
			/* ended anywhere: its state is unknown, so nobody may use it again */
			*owner = NULL;
			hm_mapping_fault(scan->reader->index);
		}
		switch (call.step)
		{
			case HM_STEP_SCORE:
				source->score(source, search->batch_ids, search->batch_n,
							  search->batch_distance, search->batch_flags);
				break;
			case HM_STEP_LINKS:
				hm_reader_fetch_links(scan->reader, search->links_id, search->links_level);
				break;
			case HM_STEP_NO_MEMORY:
				out_of_memory();
				break;
			case HM_STEP_DONE:
				break;
		}
	} while (call.step != HM_STEP_DONE);

	scan->result_next = 0;
	scored = search->counters.scored - before.scored;
	expanded = search->counters.expanded - before.expanded;
	hm_last_scan.distances += scored;
	hm_last_scan.expanded += expanded;
	hm_mapping_touched(2 * scored + expanded, (uint64) hm_max_mapped_touched * 1024 * 1024);
}

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

/* Ranks elements, those of a table in the order in which their rows lie there. */
static void
sweep_chunk(HmGraphScan *scan, SweepItem *items, int n)
{
	HmSource   *source = scan->source;
	uint32		ids[SWEEP_BATCH];
	float		rank[SWEEP_BATCH];
	uint8		flags[SWEEP_BATCH];

	if (scan->reader->directory->meta.vectors == HM_VECTORS_HEAP)
		qsort(items, n, sizeof(SweepItem), compare_sweep_items);

	for (int first = 0; first < n; first += SWEEP_BATCH)
	{
		int			count = Min(n - first, SWEEP_BATCH);

		CHECK_FOR_INTERRUPTS();
		for (int i = 0; i < count; i++)
			ids[i] = items[first + i].id;
		source->score(source, ids, count, rank, flags);
		hm_last_scan.distances += count;
		for (int i = 0; i < count; i++)
		{
			if (flags[i] == HM_SCORED)
				hm_sorter_put(scan->sorter, source->distance(source->query, rank[i]), ids[i]);
		}
	}
}

/* Ranks and sorts all elements that have not been taken. */
static void
start_sweep(HmGraphScan *scan)
{
	HmSearch   *search = scan->search;
	uint32		count = scan->reader->store.element_count;
	bool		by_tid = scan->reader->directory->meta.vectors == HM_VECTORS_HEAP;
	SweepItem  *items = palloc(Min(count, SWEEP_CHUNK) * sizeof(SweepItem));
	int			n = 0;

	hm_last_scan.sweeps++;
	scan->sorter = hm_sorter_begin();

	for (int i = scan->result_next; i < search->result_n; i++)
		hm_sorter_put(scan->sorter, result_distance(scan, i), search->results[i].id);
	if (hm_search_drain(search) != HM_OK)
		out_of_memory();
	for (int i = 0; i < search->result_n; i++)
		hm_sorter_put(scan->sorter, result_distance(scan, i), search->results[i].id);

	for (uint32 id = 0; id < count; id++)
	{
		if (hm_search_visited(search, id))
			continue;
		items[n].id = id;
		if (by_tid)
			items[n].tid = hm_reader_ref(scan->reader, id).tid;
		if (++n == SWEEP_CHUNK)
		{
			sweep_chunk(scan, items, n);
			n = 0;
		}
	}
	sweep_chunk(scan, items, n);
	pfree(items);
	hm_sorter_sort(scan->sorter);
	scan->sweep_has = hm_sorter_next(scan->sorter, &scan->sweep_distance, &scan->sweep_id);
}

bool
hm_graph_scan_lower(HmGraphScan *scan, double *lower)
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
		if (!scan->begun || scan->result_next >= scan->search->result_n)
			return false;
		distance = result_distance(scan, scan->result_next);
	}

	/* Bytes read in the middle of a change may give anything. */
	*lower = isfinite(distance) ? distance - error_of(scan, distance) : get_float8_infinity();
	return true;
}

uint32
hm_graph_scan_take(HmGraphScan *scan)
{
	uint32		id;

	if (scan->sorter == NULL)
		return scan->search->results[scan->result_next++].id;
	id = (uint32) scan->sweep_id;
	scan->sweep_has = hm_sorter_next(scan->sorter, &scan->sweep_distance, &scan->sweep_id);
	return id;
}

double
hm_graph_scan_presumed(const HmGraphScan *scan)
{
	if (!scan->more || scan->sorter != NULL)
		return get_float8_infinity();
	return scan->presumed;
}

/* True when max_scan_tuples allows that so many elements are visited. */
static bool
within_bound(uint32 visited)
{
	return hm_max_scan_tuples == 0 || visited < (uint32) hm_max_scan_tuples;
}

static void
next_batch(HmGraphScan *scan, HmSearch **owner)
{
	HmSearch   *search = scan->search;
	HmStatus	status;

	if (!scan->begun)
		status = hm_search_begin(search, &scan->reader->store, hm_ef_search);
	else
	{
		hm_last_scan.resumptions++;
		status = hm_search_resume(search, hm_ef_search);
	}
	if (status != HM_OK)
		out_of_memory();
	run_search(scan, owner);
	HM_TEST_POINT("scan-batch");
	scan->begun = true;

	if (search->result_n < hm_ef_search)
		scan->exhausted = true;
	else
	{
		double		last = result_distance(scan, search->result_n - 1);

		if (isfinite(last))
			scan->presumed = Max(scan->presumed, last + error_of(scan, last));
	}
}

void
hm_graph_scan_more(HmGraphScan *scan, HmSearch **search)
{
	uint32		count = scan->reader->store.element_count;
	bool		may_go_on = scan->sorter == NULL && hm_iterative_scan != HM_ITERATIVE_OFF;

	Assert(scan->more);
	if (!scan->begun ||
		(may_go_on && !scan->exhausted && within_bound(scan->search->visited_count) &&
		 scan->search->visited_count < count / SWEEP_SHARE))
	{
		next_batch(scan, search);
		if (!scan->exhausted)
			return;
	}

	/*
	 * A batch that is not full has come to the end of what the graph reaches,
	 * and says nothing about the rest: dead elements may lie between.  So it
	 * goes into the sweep with everything else.
	 */
	if (may_go_on && !hm_graph_scan_complete(scan) && within_bound(count))
		start_sweep(scan);
	else if (scan->sorter != NULL || scan->result_next >= scan->search->result_n)
		scan->more = false;
}

bool
hm_graph_scan_complete(const HmGraphScan *scan)
{
	if (scan->sorter != NULL)
		return true;
	return scan->exhausted &&
		scan->search->visited_count == scan->reader->store.element_count;
}
