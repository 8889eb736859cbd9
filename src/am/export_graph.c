/*-------------------------------------------------------------------------
 *
 * export_graph.c
 *	  hnsw_mmap_export_graph: an index's graph as a file of hnswlib.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "am/am.h"
#include "am/output_file.h"
#include "am/sql.h"
#include "catalog/objectaddress.h"
#include "commands/progress.h"
#include "fmgr.h"
#include "index/export.h"
#include "index/labels.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/ipc.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

static HmGraphFormat
parse_format(const char *format)
{
	if (strcmp(format, "hnswlib-mmap") == 0)
		return HM_GRAPH_MMAP;
	if (strcmp(format, "hnswlib") == 0)
		return HM_GRAPH_HNSWLIB;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized format \"%s\"", format),
			 errhint("It is \"hnswlib-mmap\" (save_graph: the graph only) or \"hnswlib\" (save_index: with vectors).")));
}

/* What is told of a graph tells of every row, so it is for who may read them all. */
static void
check_may_read(Relation table)
{
	AclResult	result = pg_class_aclcheck(RelationGetRelid(table), GetUserId(), ACL_SELECT);

	if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(table->rd_rel->relkind),
					   RelationGetRelationName(table));
	if (check_enable_rls(RelationGetRelid(table), InvalidOid, false) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("row security of table \"%s\" applies to role \"%s\"",
						RelationGetRelationName(table), GetUserNameFromId(GetUserId(), false)),
				 errhint("A graph tells of all rows. Ask the owner of the table.")));
}

static void
write_bytes(void *state, const void *bytes, size_t size)
{
	hm_output_write(state, bytes, size);
}

static void
show_progress(void *state, uint64 elements)
{
	pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED, elements);
	pgstat_progress_update_param(PROGRESS_COPY_BYTES_PROCESSED, ((HmOutput *) state)->written);
}

/*
 * hnsw_mmap_export_graph(index regclass, path text, label_column name, format
 * text): what was written.  Progress is in pg_stat_progress_copy.
 */
PG_FUNCTION_INFO_V1(hm_sql_export_graph);

Datum
hm_sql_export_graph(PG_FUNCTION_ARGS)
{
	const int	progress[] = {PROGRESS_COPY_COMMAND, PROGRESS_COPY_TYPE};
	const int64 progress_values[] = {PROGRESS_COPY_COMMAND_TO, PROGRESS_COPY_TYPE_FILE};
	HmOutput	output;
	HmExportTarget target = {.write = write_bytes, .progress = show_progress, .state = &output};
	HmExportReport report;
	Relation	heap;
	Relation	index;
	char	   *path;
	HmResult	row;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(3))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("index, path and format must not be null")));
	path = text_to_cstring(PG_GETARG_TEXT_PP(1));
	target.format = parse_format(text_to_cstring(PG_GETARG_TEXT_PP(3)));
	index = hm_open_index(PG_GETARG_OID(0), AccessShareLock, &heap);
	check_may_read(heap);
	target.label = hm_label_column(heap, PG_ARGISNULL(2) ? NULL : NameStr(*PG_GETARG_NAME(2)));
	hm_label_check(heap, index, target.label);

	hm_output_open(&output, path);
	PG_ENSURE_ERROR_CLEANUP(hm_output_abandon, PointerGetDatum(&output));
	{
		pgstat_progress_start_command(PROGRESS_COMMAND_COPY, RelationGetRelid(heap));
		pgstat_progress_update_multi_param(lengthof(progress), progress, progress_values);
		hm_graph_export(heap, index, GetActiveSnapshot(), &target, &report);
		hm_output_close(&output);
		pgstat_progress_end_command();
	}
	PG_END_ENSURE_ERROR_CLEANUP(hm_output_abandon, PointerGetDatum(&output));
	index_close(index, AccessShareLock);
	table_close(heap, AccessShareLock);

	hm_result_begin(&row, fcinfo);
	hm_result_add(&row, Int64GetDatum(report.elements));
	hm_result_add(&row, Int32GetDatum(report.levels));
	hm_result_add(&row, Int64GetDatum(report.dropped));
	hm_result_add(&row, Int64GetDatum(report.unlisted));
	return hm_result_end(&row);
}
