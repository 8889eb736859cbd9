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
 * A scan that needs many rows ends in a sweep over all elements.  Where the
 * LIMIT tells that it will, the sweep is a startup cost too: it has to end
 * before it gives the first row.
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

/* Share of the elements that a scan meets before it sweeps the rest; see scan.c. */
#define SWEEP_SHARE			0.1

/* Candidates that the search of level 1 hands to level 0; see graph/search.h. */
#define LEVEL1_BEAM			16

/*
 * Distances per element whose neighbours are followed, in terms of m.  Most of
 * the neighbours on level 0 have been met before; higher up, few.  Measured on
 * 117,000 text embeddings of 384 dimensions, with m of 8 and 16 and ef_search
 * from 10 to 1,000: the sum is within 15 percent.
 */
#define FRESH_SHARE			0.4
#define FRESH_SHARE_UPPER	1.0

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

static double
array_pages(const HmPartDesc *part, HmArray array)
{
	return part->array_page[array + 1] - part->array_page[array];
}

/* The size of the log, as if it were full to its last page; counting would read it. */
static void
log_shape(const HmMeta *meta, double index_pages, IndexShape *shape)
{
	double		chain = Min((double) (meta->log_next_sequence - meta->log_head_sequence), index_pages);
	double		entry = sizeof(HmLogEntry) + meta->dim * sizeof(uint16);

	shape->log_entries = chain * Max(floor(HM_LOG_PAGE_SLOTS / entry), 1);
	shape->log_pages = chain * Max(ceil(entry / HM_PAGE_DATA), 1);
}

static void
shape_from_directory(const HmDirectory *directory, double index_pages, IndexShape *shape)
{
	const HmMeta *meta = &directory->meta;

	shape->m = meta->m;
	shape->has_copies = meta->vectors == HM_VECTORS_FP16;
	for (uint32 i = 0; i < meta->part_count; i++)
	{
		const HmPartDesc *part = &meta->parts[i];

		shape->elements += part->element_count;
		shape->link_pages += array_pages(part, HM_ARRAY_LINKS) + array_pages(part, HM_ARRAY_PATCH_LISTS);
		shape->copy_pages += array_pages(part, HM_ARRAY_VECTORS);
	}
	if (meta->log_head != InvalidBlockNumber)
		log_shape(meta, index_pages, shape);
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

/* Elements followed above level 0: greedily, then the beam of level 1. */
static double
upper_steps(const IndexShape *shape)
{
	double		levels = shape->elements > shape->m ? log(shape->elements) / log(shape->m) : 0;

	return 2 * levels + LEVEL1_BEAM;
}

/* Distances that following so many elements on level 0 takes. */
static double
distances_for(const IndexShape *shape, double followed)
{
	return Min(shape->elements, followed * shape->m * FRESH_SHARE);
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
 * True when the query is known to need so many rows of the index that the scan
 * will become a sweep: those of its LIMIT, and those that the WHERE clause
 * rejects on the way.
 */
static bool
sweep_expected(PlannerInfo *root, const IndexPath *path, const IndexShape *shape, double rows)
{
	const RelOptInfo *table = path->indexinfo->rel;
	double		passing = path->path.param_info ? path->path.param_info->ppi_rows : table->rows;
	double		needed = root->limit_tuples * rows / Max(passing, 1);

	return root->limit_tuples >= 0 &&
		bms_membership(root->all_baserels) == BMS_SINGLETON &&
		needed > hm_ef_search &&
		distances_for(shape, needed) > SWEEP_SHARE * shape->elements;
}

/*
 * amcostestimate.  Reads the metapage, and so raises ERRCODE_INDEX_CORRUPTED
 * where that is damaged, for queries that could use the index.
 */
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
	double		followed;
	double		scored;

	*correlation = 0;
	*pages = info->pages;

	/*
	 * Without an order by distance there is nothing to be had here that the
	 * table does not give for less.  Worse, and not to be taken in its place:
	 * rows of equal distance come in any order, so that a second distance to
	 * break ties needs a sort; and the planner believes that any index can do
	 * an index-only scan for count(*), of which this one has no tuples to give.
	 */
	if (list_length(path->indexorderbys) != 1 || path->path.pathtype == T_IndexOnlyScan)
	{
		int			weight = path->path.pathtype == T_IndexScan && path->indexorderbys == NIL ? 1 : 10;

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
	followed = Min(shape.elements, hm_ef_search + upper_steps(&shape));
	scored = Min(shape.elements, distances_for(&shape, hm_ef_search) +
				 upper_steps(&shape) * shape.m * FRESH_SHARE_UPPER);
	*startup_cost = operator_cost.startup +
		index_other_operands_eval_cost(root, path->indexorderbys) +
		SETUP_TUPLES * cpu_tuple_cost +
		scored * distance_cost +
		random_access_cost(path, info->reltablespace, followed, shape.link_pages) +
		random_access_cost(path, vectors_tablespace, scored, vector_pages) +
		sequential_access_cost(info->reltablespace, shape.log_pages) +
		shape.log_entries * distance_cost;

	/* Further rows: by continuing the search, every one fetched for its exact distance. */
	scored = SWEEP_SHARE * shape.elements;
	followed = scored / (shape.m * FRESH_SHARE);
	run_cost = scored * distance_cost +
		random_access_cost(path, info->reltablespace, followed, shape.link_pages) +
		random_access_cost(path, vectors_tablespace, scored, vector_pages) +
		rows * (distance_cost + cpu_tuple_cost);

	/* Most of them by a sweep, which has to end before it gives the first. */
	sweep_cost = shape.elements * distance_cost +
		sequential_access_cost(vectors_tablespace, vector_pages) +
		2 * cpu_operator_cost * shape.elements * log2(Max(shape.elements, 2));
	if (sweep_expected(root, path, &shape, rows))
		*startup_cost += sweep_cost;
	else
		run_cost += sweep_cost;

	*total_cost = *startup_cost + run_cost;
	*selectivity = Min(1, rows / Max(table->tuples, 1));
}
