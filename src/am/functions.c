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
#include "access/table.h"
#include "access/xlog.h"
#include "am/am.h"
#include "am/sql.h"
#include "catalog/index.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "fmgr.h"
#include "funcapi.h"
#include "index/index.h"
#include "index/reader.h"
#include "miscadmin.h"
#include "simd/simd.h"
#include "storage/bufmgr.h"
#include "storage/log.h"
#include "storage/part.h"
#include "types/typeinfo.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* Level-0 lists that are read at a time. */
#define LISTS_PER_READ	1024

/* What is counted in the parts of an index, and in its log. */
typedef struct IndexSummary
{
	uint64		elements;
	uint64		rows;
	uint64		unrankable;
	uint64		tombstones;
	uint64		patches;
	int			levels;

	uint32		degree_min;
	uint32		degree_max;
	uint64		degree_sum;

	uint64		array_pages[HM_ARRAYS];
	uint64		tombstone_pages;
	uint64		free_blocks;
	uint64		verified_pages;
	uint64		overlaid_pages;
	bool		mapped;			/* every part is */

	uint64		log_entries;
	uint64		log_live;
	uint32		log_pages;
} IndexSummary;

static void
row_add_bytes(HmResult *row, uint64 pages)
{
	hm_result_add(row, Int64GetDatum(pages * BLCKSZ));
}

/*
 * Opens an index of this access method for reading, or raises an error that
 * says why not.  Its numbers tell as much of the table as a few rows of it, so
 * they are for those who may read the table, or any table's statistics.
 */
Relation
hm_open_index(Oid index_oid, LOCKMODE lock, Relation *heap)
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

	/* The table before the index, as everybody locks them. */
	if (heap != NULL)
	{
		*heap = NULL;
		if (OidIsValid(table_oid))
		{
			hm_lock_relation(table_oid, AccessShareLock);
			*heap = table_open(table_oid, NoLock);
		}
	}
	hm_lock_relation(index_oid, lock);
	index = index_open(index_oid, NoLock);

	/* Between the two the index may have been dropped and its OID used again. */
	if (heap != NULL && (*heap == NULL || table_oid != IndexGetRelation(index_oid, false)))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("could not open the table of index \"%s\"", RelationGetRelationName(index))));

	hm_check_index(index);
	if (RecoveryInProgress() && !RelationIsPermanent(index))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("cannot access temporary or unlogged relations during recovery")));
	return index;
}

static uint32
used_slots(const uint32 *list, uint32 slots)
{
	uint32		used = 0;

	while (used < slots && list[used] != HM_NO_ID)
		used++;
	return used;
}

/*
 * Counts the neighbours that the elements of a part have on level 0: in their
 * own lists, all of which are read, or in those that newer parts put in their
 * place, whose sizes are known.
 */
static void
summarize_degrees(const HmReader *reader, const HmPartDesc *part, IndexSummary *summary)
{
	const HmDirectory *directory = reader->directory;
	uint32		slots = 2 * directory->meta.m;
	uint32	   *lists = palloc(LISTS_PER_READ * slots * sizeof(uint32));

	for (uint64 first = 0; first < part->element_count; first += LISTS_PER_READ)
	{
		uint32		count = (uint32) Min(LISTS_PER_READ, part->element_count - first);

		CHECK_FOR_INTERRUPTS();
		hm_part_read(reader->index, directory->incarnation, &directory->meta, part,
					 HM_ARRAY_LINKS, first, count, lists);
		for (uint32 i = 0; i < count; i++)
		{
			int			newer;
			const HmPatch *patch = hm_reader_find_patch(reader, part->first_element + (uint32) first + i,
														0, &newer);
			uint32		degree = patch != NULL ? patch->count : used_slots(lists + i * slots, slots);

			summary->degree_min = Min(summary->degree_min, degree);
			summary->degree_max = Max(summary->degree_max, degree);
			summary->degree_sum += degree;
		}
	}
	pfree(lists);
}

static void
summarize_part(const HmReader *reader, const HmReaderPart *read, IndexSummary *summary)
{
	const HmPartDesc *part = read->desc;
	int			levels = 0;

	if (read->mapping != NULL)
	{
		summary->verified_pages += read->mapping->verified_count;
		summary->overlaid_pages += read->mapping->overlaid_count;
	}
	else
		summary->mapped = false;

	summary->elements += part->element_count;
	summary->rows += HM_TOMBSTONE_COUNT(part);
	summary->unrankable += part->tail_count;
	summary->tombstones += part->dead_count;
	summary->patches += part->patch_count;
	while (levels < HM_MAX_LEVELS && part->level_count[levels] > 0)
		levels++;
	summary->levels = Max(summary->levels, levels);

	for (int array = 0; array < HM_ARRAYS; array++)
		summary->array_pages[array] += part->array_page[array + 1] - part->array_page[array];
	if (part->tombstone_block != InvalidBlockNumber)
		summary->tombstone_pages += HM_TOMBSTONE_PAGES(part);

	summarize_degrees(reader, part, summary);
}

/* Blocks that hold nothing: to be used again at once, later, or by the log. */
static uint64
free_blocks(const HmMeta *meta)
{
	uint64		blocks = meta->log_reserve_blocks;

	for (uint32 i = 0; i < meta->space_count; i++)
	{
		if (meta->spaces[i].state != HM_SPACE_LOG)
			blocks += meta->spaces[i].blocks;
	}
	return blocks;
}

static void
summarize(Relation index, const HmDirectory *directory, IndexSummary *summary)
{
	HmReader	reader;

	memset(summary, 0, sizeof(IndexSummary));
	summary->degree_min = UINT32_MAX;
	summary->mapped = true;
	summary->free_blocks = free_blocks(&directory->meta);

	hm_reader_open(&reader, index, directory);
	PG_TRY();
	{
		for (int i = 0; i < reader.part_count; i++)
			summarize_part(&reader, &reader.parts[i], summary);
	}
	PG_FINALLY();
	{
		hm_reader_close(&reader);
	}
	PG_END_TRY();
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
	Relation	index = hm_open_index(PG_GETARG_OID(0), AccessShareLock, NULL);
	HmDirectory directory;
	const HmMeta *meta = &directory.meta;
	IndexSummary summary;
	uint64		total_pages;
	int			dim;
	HmResult	row;

	hm_directory_read(index, &directory);
	summarize(index, &directory, &summary);
	total_pages = RelationGetNumberOfBlocks(index);

	hm_result_begin(&row, fcinfo);

	/* how many rows, and where */
	hm_result_add(&row, Int64GetDatum(summary.elements));
	hm_result_add(&row, Int64GetDatum(summary.rows));
	hm_result_add(&row, Int64GetDatum(summary.unrankable));
	hm_result_add(&row, Int64GetDatum(summary.tombstones));
	hm_result_add(&row, Int64GetDatum(summary.log_entries));
	hm_result_add(&row, Int64GetDatum(summary.log_live));

	/* the graph */
	hm_result_add(&row, Int32GetDatum(meta->part_count));
	hm_result_add(&row, Int64GetDatum(summary.patches));
	hm_result_add(&row, Int64GetDatum(meta->merges));
	hm_result_add(&row, Int32GetDatum(summary.levels));
	hm_result_add_if(&row, summary.elements > 0, Int32GetDatum(summary.degree_min));
	hm_result_add_if(&row, summary.elements > 0,
			   Float8GetDatum((double) summary.degree_sum / Max(summary.elements, 1)));
	hm_result_add_if(&row, summary.elements > 0, Int32GetDatum(summary.degree_max));

	/* the file, page headers included */
	row_add_bytes(&row, total_pages);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_LINKS]);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_UPPER]);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_PATCH_KEYS] +
				  summary.array_pages[HM_ARRAY_PATCH_LISTS]);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_REFS] +
				  summary.array_pages[HM_ARRAY_ROWS]);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_POSTINGS] +
				  summary.array_pages[HM_ARRAY_TAIL]);
	row_add_bytes(&row, summary.array_pages[HM_ARRAY_VECTORS]);
	row_add_bytes(&row, summary.log_pages);
	row_add_bytes(&row, summary.tombstone_pages);
	row_add_bytes(&row, summary.free_blocks);
	hm_result_add_if(&row, summary.elements > 0,
			   Float8GetDatum((double) total_pages * BLCKSZ / Max(summary.elements, 1)));

	/* what it was built for, and with */
	dim = meta->dim > 0 ? (int) meta->dim : hm_declared_dimension(index);
	hm_result_add_if(&row, dim > 0, Int32GetDatum(dim));
	hm_result_add(&row, CStringGetTextDatum(hm_opclass(index)->type->name));
	hm_result_add(&row, CStringGetTextDatum(metric_name(meta->metric)));
	hm_result_add(&row, CStringGetTextDatum(meta->vectors == HM_VECTORS_FP16 ? "fp16" : "heap"));
	hm_result_add(&row, Int32GetDatum(meta->m));
	hm_result_add(&row, Int32GetDatum(meta->ef_construction));
	hm_result_add(&row, CStringGetTextDatum(psprintf("%016llx", (unsigned long long) directory.incarnation)));

	/* how this session reads it */
	hm_result_add_if(&row, meta->part_count > 0,
			   CStringGetTextDatum(summary.mapped ? "mmap" : "buffers"));
	hm_result_add(&row, Int64GetDatum(summary.verified_pages));
	hm_result_add(&row, Int64GetDatum(summary.overlaid_pages));

	index_close(index, AccessShareLock);
	return hm_result_end(&row);
}

/*
 * hnsw_mmap_index_file(index regclass): the number of the attached file that an
 * index on extvec was built over; NULL if it has no vector yet, or another type.
 */
PG_FUNCTION_INFO_V1(hm_sql_index_file);

Datum
hm_sql_index_file(PG_FUNCTION_ARGS)
{
	Relation	index = hm_open_index(PG_GETARG_OID(0), AccessShareLock, NULL);
	HmDirectory directory;

	hm_directory_read(index, &directory);
	index_close(index, AccessShareLock);
	if (directory.meta.file.number == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT64(directory.meta.file.number);
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
	HmResult	row;

	hm_result_begin(&row, fcinfo);
	hm_result_add_if(&row, OidIsValid(scan->index), ObjectIdGetDatum(scan->index));
	hm_result_add(&row, Int64GetDatum(scan->distances));
	hm_result_add(&row, Int64GetDatum(scan->expanded));
	hm_result_add(&row, Int64GetDatum(scan->vectors_mmap));
	hm_result_add(&row, Int64GetDatum(scan->vectors_buffers));
	hm_result_add(&row, Int64GetDatum(scan->vectors_absent));
	hm_result_add(&row, Int64GetDatum(scan->pages_verified));
	hm_result_add(&row, Int64GetDatum(scan->pages_overlaid));
	hm_result_add(&row, Int64GetDatum(scan->resumptions));
	hm_result_add(&row, Int64GetDatum(scan->sweeps));
	hm_result_add(&row, Int64GetDatum(scan->dropped));
	hm_result_add(&row, Int64GetDatum(scan->log_entries));
	hm_result_add(&row, Int64GetDatum(scan->rows));
	hm_result_add(&row, CStringGetTextDatum(hm_kernels->name));
	return hm_result_end(&row);
}
