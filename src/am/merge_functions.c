/*-------------------------------------------------------------------------
 *
 * merge_functions.c
 *	  hnsw_mmap_merge: a merge in the caller's session.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/table.h"
#include "access/xlog.h"
#include "am/merge_run.h"
#include "am/sql.h"
#include "catalog/index.h"
#include "compat.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"

/* What hm_merge asks for.  Neither keeps readers, writers or VACUUM waiting. */
#define TABLE_LOCK	AccessShareLock
#define INDEX_LOCK	RowExclusiveLock

static void
check_maintain(Oid table_oid, Oid index_oid)
{
	AclResult	result = hm_maintain_check(table_oid, GetUserId());

	if (result == ACLCHECK_NOT_OWNER)
		aclcheck_error(result, OBJECT_INDEX, get_rel_name(index_oid));
	else if (result != ACLCHECK_OK)
		aclcheck_error(result, get_relkind_objtype(get_rel_relkind(table_oid)),
					   get_rel_name(table_oid));
}

/*
 * Locks and opens an index and its table, or raises an error that says why it
 * cannot be merged.  Who may not merge it does not get to wait for locks.
 */
static void
open_for_merge(Oid index_oid, Relation *table, Relation *index)
{
	Oid			table_oid = IndexGetRelation(index_oid, true);

	if (!OidIsValid(table_oid))
	{
		const char *name = get_rel_name(index_oid);

		if (name == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_TABLE),
					 errmsg("relation with OID %u does not exist", index_oid)));
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not an hnsw_mmap index", name)));
	}
	check_maintain(table_oid, index_oid);

	/* The table first, as everybody does; it may have gone, or changed hands. */
	hm_lock_relation(table_oid, TABLE_LOCK);
	*table = table_open(table_oid, NoLock);
	hm_lock_relation(index_oid, INDEX_LOCK);
	*index = index_open(index_oid, NoLock);
	if (IndexGetRelation(index_oid, true) != table_oid)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("could not open the table of index \"%s\"", RelationGetRelationName(*index))));
	check_maintain(table_oid, index_oid);
	hm_check_index(*index);
}

/*
 * hnsw_mmap_merge(index regclass, full boolean): merges the log into the graph,
 * or everything into one part, and returns a row that says what was done.
 *
 * What was merged stays so if the transaction is rolled back: it is the same
 * index, stored another way.  So the locks need not be kept to its end either.
 */
PG_FUNCTION_INFO_V1(hm_sql_merge);

Datum
hm_sql_merge(PG_FUNCTION_ARGS)
{
	Oid			index_oid = PG_GETARG_OID(0);
	bool		full = PG_GETARG_BOOL(1);
	Relation	table;
	Relation	index;
	HmMergeReport report;
	HmMergeResult result;
	HmResult	row;

	if (RecoveryInProgress())
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("recovery is in progress"),
				 errhint("Indexes are merged on the primary server.")));

	open_for_merge(index_oid, &table, &index);
	result = hm_merge_run(table, index, full ? HM_MERGE_FULL : HM_MERGE_LOG, true,
						  &report, NULL, NULL);
	if (result == HM_MERGE_BUSY)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("index \"%s\" is being merged or vacuumed", RelationGetRelationName(index)),
				 errhint("Try again later.")));
	index_close(index, INDEX_LOCK);
	table_close(table, TABLE_LOCK);

	hm_result_begin(&row, fcinfo);
	hm_result_add(&row, Int64GetDatum(report.log_entries));
	hm_result_add(&row, Int64GetDatum(report.inserted));
	hm_result_add(&row, Int64GetDatum(report.duplicates));
	hm_result_add(&row, Int64GetDatum(report.dropped));
	hm_result_add(&row, Int64GetDatum(report.repaired));
	hm_result_add(&row, Int64GetDatum(report.linked));
	hm_result_add(&row, Int64GetDatum(report.parts_folded));
	hm_result_add(&row, Int64GetDatum(report.blocks_written));
	hm_result_add(&row, Int64GetDatum(report.distances));
	return hm_result_end(&row);
}
