/*-------------------------------------------------------------------------
 *
 * check_function.c
 *	  hnsw_mmap_check: a verdict on an index.
 *
 * Damage is an error, whose SQLSTATE a monitoring script can tell from other
 * failures, and which stops a script that goes on only if all is well.  What
 * is returned are figures of a sound index.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/table.h"
#include "access/xlog.h"
#include "am/am.h"
#include "fmgr.h"
#include "funcapi.h"
#include "index/check.h"
#include "miscadmin.h"
#include "storage/space.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/rel.h"
#include "utils/rls.h"
#include "utils/snapmgr.h"

/*
 * Row security.  The comparison tells nothing of a row but its TID, yet an
 * index expression sees them all; whoever may not see them must not have it
 * evaluated on them.
 */
static void
refuse_row_security(Relation heap)
{
	if (check_enable_rls(RelationGetRelid(heap), InvalidOid, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("cannot compare the index with table \"%s\", whose row security applies to role \"%s\"",
						RelationGetRelationName(heap), GetUserNameFromId(GetUserId(), false)),
				 errhint("Leave out \"full\", or ask the owner of the table.")));
}

/*
 * Runs the check under a fresh snapshot, so that it sees what the index has by
 * now also in a transaction of a higher isolation level.  The merge lock comes
 * first: waiting for it may take long.  In recovery nobody merges here, and a
 * merge that is replayed is harmless: see index/check.c.
 */
static void
check_locked(Relation heap, Relation index, bool full, HmCheckReport *report)
{
	bool		lock = !RecoveryInProgress();
	Snapshot	snapshot;

	if (lock)
		(void) hm_merge_lock(index, true);
	snapshot = RegisterSnapshot(GetLatestSnapshot());
	hm_check(heap, index, snapshot, full, report);
	UnregisterSnapshot(snapshot);
	if (lock)
		hm_merge_unlock(index);
}

/*
 * The same as the table's owner, unable to do anything but compute, and with
 * nothing on the search path that others may write to: index expressions are
 * code of whoever owns the table.
 */
static void
check_as_owner(Relation heap, Relation index, HmCheckReport *report)
{
	Oid			user;
	int			security;
	int			nest_level;

	GetUserIdAndSecContext(&user, &security);
	SetUserIdAndSecContext(heap->rd_rel->relowner, security | SECURITY_RESTRICTED_OPERATION);
	nest_level = NewGUCNestLevel();
	(void) set_config_option("search_path", "pg_catalog, pg_temp", PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);

	check_locked(heap, index, true, report);

	AtEOXact_GUC(false, nest_level);
	SetUserIdAndSecContext(user, security);
}

/* The figures in the order of the SQL declaration. */
static Datum
report_to_row(FunctionCallInfo fcinfo, const HmCheckReport *report, bool full)
{
	const int64 figures[] = {
		report->elements,
		report->live_elements,
		report->unreachable,
		report->rows,
		report->dead_rows,
		report->log_entries,
		report->log_live,
		report->log_pages,
		report->parts,
		report->patches,
		report->levels,
		report->blocks_total,
		report->blocks_metapage,
		report->blocks_parts,
		report->blocks_tombstones,
		report->blocks_log,
		report->blocks_free,
		report->blocks_retired,
		report->blocks_pending,
		report->blocks_lost,
		report->blocks_behind_end
	};
	Datum		values[lengthof(figures) + 2];
	bool		nulls[lengthof(figures) + 2] = {false};
	TupleDesc	descriptor;

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (descriptor->natts != lengthof(values))
		elog(ERROR, "function returns %d columns, but is declared with %d",
			 (int) lengthof(values), descriptor->natts);

	for (int i = 0; i < lengthof(figures); i++)
		values[i] = Int64GetDatum(figures[i]);
	values[lengthof(figures)] =
		Float8GetDatum((double) report->unreachable / Max(report->live_elements, 1));
	values[lengthof(figures) + 1] = Int64GetDatum(report->table_rows);
	nulls[lengthof(figures) + 1] = !full;
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), values, nulls));
}

/* hnsw_mmap_check(index regclass, full boolean). */
PG_FUNCTION_INFO_V1(hm_sql_check);

Datum
hm_sql_check(PG_FUNCTION_ARGS)
{
	bool		full = PG_GETARG_BOOL(1);
	Relation	heap;
	Relation	index = hm_open_index(PG_GETARG_OID(0), AccessShareLock, &heap);
	HmCheckReport report;

	if (full)
	{
		refuse_row_security(heap);
		check_as_owner(heap, index, &report);
	}
	else
		check_locked(heap, index, false, &report);

	index_close(index, AccessShareLock);
	table_close(heap, AccessShareLock);
	return report_to_row(fcinfo, &report, full);
}
