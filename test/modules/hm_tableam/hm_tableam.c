/*-------------------------------------------------------------------------
 *
 * hm_tableam.c
 *	  For tests only: a table access method that is not heap.
 *
 * It stores what heap stores, but as some columnar ones it can be scanned for
 * an index as a whole only, and nobody may take its files for heap's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/heapam.h"
#include "access/tableam.h"
#include "catalog/pg_am_d.h"
#include "fmgr.h"
#include "utils/rel.h"

PG_MODULE_MAGIC;

static TableAmRoutine routine;

static double
build_range_scan(Relation table, Relation index, struct IndexInfo *index_info, bool allow_sync,
				 bool anyvisible, bool progress, BlockNumber start, BlockNumber blocks,
				 IndexBuildCallback callback, void *callback_state, TableScanDesc scan)
{
	const TableAmRoutine *own = table->rd_tableam;
	double		rows;

	if (start != 0 || blocks != InvalidBlockNumber)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("access method \"hm_tableam\" cannot scan a range of blocks")));

	/* heap's scans refuse what is not heap */
	table->rd_tableam = GetHeapamTableAmRoutine();
	PG_TRY();
	{
		rows = table->rd_tableam->index_build_range_scan(table, index, index_info, allow_sync,
														 anyvisible, progress, start, blocks,
														 callback, callback_state, scan);
	}
	PG_FINALLY();
	{
		table->rd_tableam = own;
	}
	PG_END_TRY();
	return rows;
}

static void
validate_scan(Relation table, Relation index, struct IndexInfo *index_info, Snapshot snapshot,
			  struct ValidateIndexState *state)
{
	const TableAmRoutine *own = table->rd_tableam;

	table->rd_tableam = GetHeapamTableAmRoutine();
	PG_TRY();
	{
		table->rd_tableam->index_validate_scan(table, index, index_info, snapshot, state);
	}
	PG_FINALLY();
	{
		table->rd_tableam = own;
	}
	PG_END_TRY();
}

static Oid
toast_access_method(Relation table)
{
	return HEAP_TABLE_AM_OID;
}

PG_FUNCTION_INFO_V1(hm_tableam_handler);

Datum
hm_tableam_handler(PG_FUNCTION_ARGS)
{
	routine = *GetHeapamTableAmRoutine();
	routine.index_build_range_scan = build_range_scan;
	routine.index_validate_scan = validate_scan;
	routine.relation_toast_am = toast_access_method;
	PG_RETURN_POINTER(&routine);
}
