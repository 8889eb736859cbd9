/*-------------------------------------------------------------------------
 *
 * sql.c
 *	  What the SQL functions share: indexes as arguments, rows as results.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/relation.h"
#include "am/sql.h"
#include "catalog/pg_class.h"
#include "catalog/pg_index.h"
#include "funcapi.h"
#include "index/index.h"

void
hm_result_begin(HmResult *result, FunctionCallInfo fcinfo)
{
	if (get_call_result_type(fcinfo, NULL, &result->descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	result->descriptor = BlessTupleDesc(result->descriptor);
	result->columns = 0;
}

void
hm_result_add(HmResult *result, Datum value)
{
	Assert(result->columns < result->descriptor->natts);
	result->values[result->columns] = value;
	result->nulls[result->columns++] = false;
}

void
hm_result_add_if(HmResult *result, bool known, Datum value)
{
	hm_result_add(result, value);
	result->nulls[result->columns - 1] = !known;
}

Datum
hm_result_end(HmResult *result)
{
	if (result->columns != result->descriptor->natts)
		elog(ERROR, "function returns %d columns, but is declared with %d",
			 result->columns, result->descriptor->natts);
	return HeapTupleGetDatum(heap_form_tuple(result->descriptor, result->values, result->nulls));
}

void
hm_lock_relation(Oid relation, LOCKMODE lock)
{
	Relation	locked = try_relation_open(relation, lock);

	if (locked == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("relation with OID %u does not exist", relation)));
	relation_close(locked, NoLock);
}

void
hm_check_index(Relation index)
{
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
}
