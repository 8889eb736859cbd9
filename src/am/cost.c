/*-------------------------------------------------------------------------
 *
 * cost.c
 *	  What the planner is told about a scan.
 *
 * A scan finds its first ef_search rows in one search of the graph, before it
 * returns anything; that and the comparison with every row in the log is the
 * startup cost.  What further rows cost is spread evenly over all of them, as
 * the planner interpolates between startup and total cost by the share of the
 * rows that a query needs: LIMIT k needs k rows of those that pass the WHERE
 * clause, so a clause that one row in a hundred passes makes it a hundred times
 * as many rows of the index.  The planner itself adds the random accesses to
 * the table for the rows that the scan returns, which is most of the total.
 *
 * So the index wins where a query needs few of its rows; without LIMIT it loses
 * against sorting the table, and under a clause that nearly nothing passes
 * against whatever finds those rows directly.
 *
 * hnsw_mmap.iterative_scan and max_scan_tuples do not enter: a plan must not
 * look cheap for leaving out rows that another plan would return.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/genam.h"
#include "am/am.h"
#include "compat.h"
#include "index/options.h"
#include "optimizer/cost.h"
#include "optimizer/optimizer.h"
#include "storage/metapage.h"
#include "utils/selfuncs.h"
#include "utils/spccache.h"

/* As much as core once charged for a path that was switched off. */
#define PROHIBITIVE_COST	1.0e10

/*
 * What a scan costs whatever it finds, in rows processed: reading the
 * directory and the tombstones, checking the mappings, allocating.
 */
#define SETUP_TUPLES		1000

/*
 * A page that is in memory already, in terms of seq_page_cost: the search
 * reads it where it is mapped, without a buffer lookup, lock or copy.
 */
#define CACHED_PAGE_SHARE	0.25

/* Part of the elements after which a scan turns into a sweep over the rest. */
#define SWEEP_SHARE			0.1

/* What the estimate needs to know of an index. */
typedef struct IndexShape
{
	double		elements;
	uint32		m;
	double		link_pages;
	bool		has_copies;		/* searches read half-precision copies, not the table */
	double		copy_pages;
	double		log_pages;
	double		log_entries;
} IndexShape;

static void
shape_from_directory(const HmDirectory *directory, double index_pages, IndexShape *shape)
{
	const HmMeta *meta = &directory->meta;
	double		other_pages = 1;

	shape->m = meta->m;
	shape->has_copies = meta->vectors == HM_VECTORS_FP16;
	for (uint32 i = 0; i < meta->part_count; i++)
	{
		const HmPartDesc *part = &meta->parts[i];

		shape->elements += part->element_count;
		shape->link_pages += part->array_page[HM_ARRAY_LINKS + 1] - part->array_page[HM_ARRAY_LINKS];
		shape->copy_pages += part->array_page[HM_ARRAY_VECTORS + 1] - part->array_page[HM_ARRAY_VECTORS];
		other_pages += part->array_page[HM_ARRAYS];
		if (part->tombstone_block != InvalidBlockNumber)
			other_pages += HM_TOMBSTONE_PAGES(part);
	}

	/* Whatever is in the file and belongs to nothing else; counting would read it. */
	if (meta->log_head != InvalidBlockNumber)
	{
		shape->log_pages = Max(index_pages - other_pages, 1);
		shape->log_entries = shape->log_pages * HM_PAGE_DATA /
			(sizeof(HmLogEntry) + meta->dim * sizeof(uint16));
	}
}

static IndexShape
index_shape(const IndexOptInfo *info)
{
	IndexShape	shape = {0};

	if (info->hypothetical)
	{
		shape.m = HM_DEFAULT_M;
		shape.elements = info->tuples;
		shape.link_pages = info->pages;
	}
	else
	{
		/* The planner holds a lock already. */
		Relation	index = index_open(info->indexoid, NoLock);
		HmDirectory directory;

		hm_directory_read(index, &directory);
		index_close(index, NoLock);
		shape_from_directory(&directory, info->pages, &shape);
	}
	return shape;
}

/* Unvisited neighbours that following one element's list finds, on average. */
static double
fresh_neighbours(const IndexShape *shape)
{
	return 0.5 * shape->m;
}

/* Greedy descent: a few steps on each level above the lowest. */
static double
descent_steps(const IndexShape *shape)
{
	return shape->elements > shape->m ? 2 * log(shape->elements) / log(shape->m) : 1;
}

/*
 * What reaching so many rows or elements costs in page accesses, when they are
 * spread at random over so many pages.  In the long run the part of table and
 * index that fits effective_cache_size is in memory.
 */
static Cost
random_access_cost(const IndexPath *path, Oid tablespace,
				   double accesses, double pages)
{
	double		working_set = (double) path->indexinfo->rel->pages + path->indexinfo->pages;
	double		cached = Min(1, effective_cache_size / Max(working_set, 1));
	double		distinct = 2 * pages * accesses / Max(2 * pages + accesses, 1);
	double		random_cost;
	double		sequential_cost;

	get_tablespace_page_costs(tablespace, &random_cost, &sequential_cost);
	return Min(distinct, pages) *
		(cached * CACHED_PAGE_SHARE * sequential_cost + (1 - cached) * random_cost);
}

static Cost
sequential_access_cost(Oid tablespace, double pages)
{
	double		random_cost;
	double		sequential_cost;

	get_tablespace_page_costs(tablespace, &random_cost, &sequential_cost);
	return pages * sequential_cost;
}

/*
 * True when the query is known to need so many of the index's rows that the
 * scan will become a sweep: those of its LIMIT, and those that the WHERE clause
 * rejects on the way.
 */
static bool
sweep_expected(PlannerInfo *root, const IndexPath *path)
{
	const RelOptInfo *table = path->indexinfo->rel;
	double		passing = path->path.param_info ? path->path.param_info->ppi_rows : table->rows;

	return root->limit_tuples >= 0 &&
		bms_membership(root->all_baserels) == BMS_SINGLETON &&
		root->limit_tuples > SWEEP_SHARE * Max(passing, 1);
}

void
hm_cost_estimate(PlannerInfo *root, IndexPath *path, double loop_count,
				 Cost *startup_cost, Cost *total_cost, Selectivity *selectivity,
				 double *correlation, double *pages)
{
	const IndexOptInfo *info = path->indexinfo;
	const RelOptInfo *table = info->rel;
	double		rows = Max(Min(info->tuples, table->tuples), 1);
	IndexShape	shape;
	QualCost	operator_cost;
	Cost		distance_cost;
	Cost		run_cost;
	Cost		sweep_cost;
	Oid			vectors_tablespace;
	double		vector_pages;
	double		scored;
	double		expanded;

	*correlation = 0;
	*pages = info->pages;

	/*
	 * Without an order by distance there is nothing to be had here that the
	 * table does not give for less.  And rows of equal distance come in any
	 * order: a second distance to break ties needs a sort.
	 */
	if (list_length(path->indexorderbys) != 1)
	{
		int			weight = path->indexorderbys == NIL ? 1 : 10;

		*startup_cost = *total_cost = weight * PROHIBITIVE_COST;
		*selectivity = 0;
		hm_disable_path(&path->path, weight);
		return;
	}

	shape = index_shape(info);
	vector_pages = shape.has_copies ? shape.copy_pages : table->pages;
	vectors_tablespace = shape.has_copies ? info->reltablespace : table->reltablespace;

	cost_qual_eval_node(&operator_cost, linitial(path->indexorderbys), root);
	distance_cost = operator_cost.per_tuple + cpu_index_tuple_cost;

	/* The first ef_search rows. */
	expanded = Min(shape.elements, hm_ef_search + descent_steps(&shape));
	scored = Min(shape.elements, expanded * fresh_neighbours(&shape));
	*startup_cost = operator_cost.startup +
		index_other_operands_eval_cost(root, path->indexorderbys) +
		SETUP_TUPLES * cpu_tuple_cost +
		scored * distance_cost +
		random_access_cost(path, info->reltablespace, expanded, shape.link_pages) +
		random_access_cost(path, vectors_tablespace, scored, vector_pages) +
		sequential_access_cost(info->reltablespace, shape.log_pages) +
		shape.log_entries * distance_cost;

	/* Further rows: by continuing the search, every one fetched for its exact distance. */
	expanded = SWEEP_SHARE * shape.elements;
	scored = Min(shape.elements, expanded * fresh_neighbours(&shape));
	run_cost = scored * distance_cost +
		random_access_cost(path, info->reltablespace, expanded, shape.link_pages) +
		random_access_cost(path, vectors_tablespace, scored, vector_pages) +
		rows * (distance_cost + cpu_tuple_cost);

	/* Most of them by a sweep, which has to end before it gives the first. */
	sweep_cost = shape.elements * distance_cost +
		sequential_access_cost(vectors_tablespace, vector_pages) +
		2 * cpu_operator_cost * shape.elements * log2(Max(shape.elements, 2));
	if (sweep_expected(root, path))
		*startup_cost += sweep_cost;
	else
		run_cost += sweep_cost;

	*total_cost = *startup_cost + run_cost;
	*selectivity = Min(1, rows / Max(table->tuples, 1));
}
