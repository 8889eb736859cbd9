/*-------------------------------------------------------------------------
 *
 * functions.c
 *	  hnsw_mmap_stats and hnsw_mmap_last_scan.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/htup_details.h"
#include "access/xlog.h"
#include "am/am.h"
#include "catalog/index.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "fmgr.h"
#include "funcapi.h"
#include "index/index.h"
#include "miscadmin.h"
#include "simd/simd.h"
#include "storage/bufmgr.h"
#include "storage/log.h"
#include "storage/mapping.h"
#include "storage/metapage.h"
#include "storage/part.h"
#include "types/typeinfo.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Level-0 lists that are read at a time. */
#define LISTS_PER_READ	1024

/* A row under construction: columns are set in the order of the SQL declaration. */
typedef struct RowBuilder
{
	TupleDesc	descriptor;
	int			columns;
	Datum		values[MaxTupleAttributeNumber];
	bool		nulls[MaxTupleAttributeNumber];
} RowBuilder;

/* What is counted in the parts of an index, and in its log. */
typedef struct IndexSummary
{
	uint64		elements;
	uint64		rows;
	uint64		unrankable;
	uint64		tombstones;
	int			levels;

	uint32		degree_min;
	uint32		degree_max;
	uint64		degree_sum;

	uint64		array_pages[HM_ARRAYS];
	uint64		tombstone_pages;
	uint64		verified_pages;
	uint64		overlaid_pages;
	bool		mapped;			/* every part is */

	uint64		log_entries;
	uint64		log_live;
	uint32		log_pages;
} IndexSummary;

static void
row_begin(RowBuilder *row, FunctionCallInfo fcinfo)
{
	if (get_call_result_type(fcinfo, NULL, &row->descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	row->descriptor = BlessTupleDesc(row->descriptor);
	row->columns = 0;
}

static void
row_add(RowBuilder *row, Datum value)
{
	Assert(row->columns < row->descriptor->natts);
	row->values[row->columns] = value;
	row->nulls[row->columns++] = false;
}

/* The value, or NULL where there is none to speak of. */
static void
row_add_if(RowBuilder *row, bool known, Datum value)
{
	row_add(row, value);
	row->nulls[row->columns - 1] = !known;
}

static void
row_add_bytes(RowBuilder *row, uint64 pages)
{
	row_add(row, Int64GetDatum(pages * BLCKSZ));
}

static Datum
row_end(RowBuilder *row)
{
	if (row->columns != row->descriptor->natts)
		elog(ERROR, "function returns %d columns, but is declared with %d",
			 row->columns, row->descriptor->natts);
	return HeapTupleGetDatum(heap_form_tuple(row->descriptor, row->values, row->nulls));
}

/*
 * Opens an index of this access method for reading, or raises an error that
 * says why not.  Its numbers tell as much of the table as a few rows of it, so
 * they are for those who may read the table, or any table's statistics.
 */
static Relation
open_index(Oid index_oid)
{
	Oid			table_oid = IndexGetRelation(index_oid, true);
	Relation	index;

	if (OidIsValid(table_oid) &&
		!has_privs_of_role(GetUserId(), ROLE_PG_STAT_SCAN_TABLES))
	{
		AclResult	result = pg_class_aclcheck(table_oid, GetUserId(), ACL_SELECT);

		if (result != ACLCHECK_OK)
			aclcheck_error(result, get_relkind_objtype(get_rel_relkind(table_oid)),
						   get_rel_name(table_oid));
	}

	if (get_rel_relkind(index_oid) == '\0')
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", index_oid)));

	index = index_open(index_oid, AccessShareLock);

	if (index->rd_indam->ambuild != hm_build)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an hnsw_mmap index", RelationGetRelationName(index))));
	if (index->rd_rel->relkind == RELKIND_PARTITIONED_INDEX)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is a partitioned index", RelationGetRelationName(index)),
				 errhint("Name the index of one of its partitions; pg_partition_tree lists them.")));
	if (RELATION_IS_OTHER_TEMP(index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot access temporary indexes of other sessions")));
	if (!index->rd_index->indisvalid)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" is not valid", RelationGetRelationName(index)),
				 errhint("It was left by a CREATE INDEX CONCURRENTLY or REINDEX CONCURRENTLY that failed. Please REINDEX or drop it.")));
	if (RecoveryInProgress() && !RelationIsPermanent(index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot access temporary or unlogged relations during recovery")));
	return index;
}

/* Reads every list of level 0 of a part. */
static void
summarize_degrees(Relation index, const HmDirectory *directory, const HmPartDesc *part,
				  IndexSummary *summary)
{
	uint32		slots = 2 * directory->meta.m;
	uint32	   *lists = palloc(LISTS_PER_READ * slots * sizeof(uint32));

	for (uint64 first = 0; first < part->element_count; first += LISTS_PER_READ)
	{
		uint64		count = Min(LISTS_PER_READ, part->element_count - first);

		CHECK_FOR_INTERRUPTS();
		hm_part_read(index, directory->incarnation, &directory->meta, part,
					 HM_ARRAY_LINKS, first, count, lists);
		for (uint64 i = 0; i < count; i++)
		{
			const uint32 *list = lists + i * slots;
			uint32		degree = 0;

			while (degree < slots && list[degree] != HM_NO_ID)
				degree++;
			summary->degree_min = Min(summary->degree_min, degree);
			summary->degree_max = Max(summary->degree_max, degree);
			summary->degree_sum += degree;
		}
	}
	pfree(lists);
}

static void
summarize_part(Relation index, const HmDirectory *directory, const HmPartDesc *part,
			   IndexSummary *summary)
{
	HmMapping  *mapping = hm_mapping_acquire(index, directory, part);

	if (mapping != NULL)
	{
		summary->verified_pages += mapping->verified_count;
		summary->overlaid_pages += mapping->overlaid_count;
		hm_mapping_release(mapping);
	}
	else
		summary->mapped = false;

	summary->elements += part->element_count;
	summary->rows += HM_TOMBSTONE_COUNT(part);
	summary->unrankable += part->tail_count;
	summary->tombstones += part->dead_count;
	while (summary->levels < HM_MAX_LEVELS && part->level_count[summary->levels] > 0)
		summary->levels++;

	for (int array = 0; array < HM_ARRAYS; array++)
		summary->array_pages[array] += part->array_page[array + 1] - part->array_page[array];
	if (part->tombstone_block != InvalidBlockNumber)
		summary->tombstone_pages += HM_TOMBSTONE_PAGES(part);

	summarize_degrees(index, directory, part, summary);
}

static void
summarize(Relation index, const HmDirectory *directory, IndexSummary *summary)
{
	const HmMeta *meta = &directory->meta;

	memset(summary, 0, sizeof(IndexSummary));
	summary->degree_min = UINT32_MAX;
	summary->mapped = true;
	for (uint32 i = 0; i < meta->part_count; i++)
		summarize_part(index, directory, &meta->parts[i], summary);
	hm_log_count(index, directory, &summary->log_entries, &summary->log_live, &summary->log_pages);
}

static const char *
metric_name(uint8 metric)
{
	switch ((HmMetric) metric)
	{
		case HM_L2:
			return "l2";
		case HM_INNER_PRODUCT:
			return "ip";
		case HM_COSINE:
			return "cosine";
	}
	return "unknown";
}

/*
 * hnsw_mmap_stats(index regclass): one row about an index.  Reads every page of
 * the links array, so it takes as long as that.
 */
PG_FUNCTION_INFO_V1(hm_sql_stats);

Datum
hm_sql_stats(PG_FUNCTION_ARGS)
{
	Relation	index = open_index(PG_GETARG_OID(0));
	HmDirectory directory;
	const HmMeta *meta = &directory.meta;
	IndexSummary summary;
	uint64		total_pages;
	RowBuilder	row;

	hm_directory_read(index, &directory);
	summarize(index, &directory, &summary);
	total_pages = RelationGetNumberOfBlocks(index);

	row_begin(&row, fcinfo);

	/* how many rows, and where */
	row_add(&row, Int64GetDatum(summary.elements));
	row_add(&row, Int64GetDatum(summary.rows));
	row_add(&row, Int64GetDatum(summary.unrankable));
	row_add(&row, Int64GetDatum(summary.tombstones));
	row_add(&row, Int64GetDatum(summary.log_entries));
	row_add(&row, Int64GetDatum(summary.log_live));

	/* the graph */
	row_add(&row, Int32GetDatum(meta->part_count));
	row_add(&row, Int32GetDatum(summary.levels));
	row_add_if(&row, summary.elements > 0, Int32GetDatum(summary.degree_min));
	row_add_if(&row, summary.elements > 0,
			   Float8GetDatum((double) summary.degree_sum / Max(summary.elements, 1)));
	row_add_if(&row, summary.elements > 0, Int32GetDatum(summary.degree_max));

	/* the file, page headers included */
	row_add_bytes(&row, total_pages);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_LINKS]);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_UPPER]);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_REFS]);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_POSTINGS] +
				  summary.array_pages[HM_ARRAY_TAIL]);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_VECTORS]);
	row_add_bytes(&row, summary.log_pages);
	row_add_bytes(&row, summary.tombstone_pages);
	row_add_if(&row, summary.elements > 0,
			   Float8GetDatum((double) total_pages * BLCKSZ / Max(summary.elements, 1)));

	/* what it was built for, and with */
	row_add_if(&row, meta->dim > 0, Int32GetDatum(meta->dim));
	row_add(&row, CStringGetTextDatum(hm_opclass(index)->type->name));
	row_add(&row, CStringGetTextDatum(metric_name(meta->metric)));
	row_add(&row, CStringGetTextDatum(meta->vectors == HM_VECTORS_FP16 ? "fp16" : "heap"));
	row_add(&row, Int32GetDatum(meta->m));
	row_add(&row, Int32GetDatum(meta->ef_construction));
	row_add(&row, CStringGetTextDatum(psprintf("%016llx", (unsigned long long) directory.incarnation)));

	/* how this session reads it */
	row_add_if(&row, meta->part_count > 0,
			   CStringGetTextDatum(summary.mapped ? "mmap" : "buffers"));
	row_add(&row, Int64GetDatum(summary.verified_pages));
	row_add(&row, Int64GetDatum(summary.overlaid_pages));

	index_close(index, AccessShareLock);
	return row_end(&row);
}

/*
 * hnsw_mmap_last_scan(): what this session's last scan of an hnsw_mmap index
 * did.  Scans in parallel workers are theirs and not seen here.
 */
PG_FUNCTION_INFO_V1(hm_sql_last_scan);

Datum
hm_sql_last_scan(PG_FUNCTION_ARGS)
{
	const HmScanStats *scan = &hm_last_scan;
	RowBuilder	row;

	row_begin(&row, fcinfo);
	row_add_if(&row, OidIsValid(scan->index), ObjectIdGetDatum(scan->index));
	row_add(&row, Int64GetDatum(scan->distances));
	row_add(&row, Int64GetDatum(scan->expanded));
	row_add(&row, Int64GetDatum(scan->vectors_mmap));
	row_add(&row, Int64GetDatum(scan->vectors_buffers));
	row_add(&row, Int64GetDatum(scan->vectors_absent));
	row_add(&row, Int64GetDatum(scan->pages_verified));
	row_add(&row, Int64GetDatum(scan->pages_overlaid));
	row_add(&row, Int64GetDatum(scan->resumptions));
	row_add(&row, Int64GetDatum(scan->sweeps));
	row_add(&row, Int64GetDatum(scan->dropped));
	row_add(&row, Int64GetDatum(scan->log_entries));
	row_add(&row, Int64GetDatum(scan->rows));
	row_add(&row, CStringGetTextDatum(hm_kernels->name));
	return row_end(&row);
}
