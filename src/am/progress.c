/*-------------------------------------------------------------------------
 *
 * progress.c
 *	  What hnsw_mmap_merge_progress() shows.
 *
 * The library need not be preloaded, so it has no shared memory of its own.
 * But every process has a slot for the progress of a command in the server's:
 * a number saying which command, a relation, and twenty counters.  The server
 * only ever compares the number, each of its own views with its own command's,
 * so one that no command of any release has marks our merges and is shown by
 * none of those views.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "am/progress.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "compat.h"
#include "fmgr.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

#define MERGE_COMMAND	((ProgressCommandType) 0x4D4D4E48)	/* as HM_MAGIC */

/* Counters. */
enum
{
	COUNTER_PHASE,
	COUNTER_DONE,
	COUNTER_TOTAL,
	COUNTERS
};

#define COLUMNS 5

/* Whether this process has its slot for a merge. */
static bool shown = false;

void
hm_progress_begin(Oid index)
{
	shown = MyBEEntry != NULL && MyBEEntry->st_progress_command == PROGRESS_COMMAND_INVALID;
	if (shown)
		pgstat_progress_start_command(MERGE_COMMAND, index);
}

void
hm_progress_report(const HmMergeReport *report)
{
	static const int counters[COUNTERS] = {COUNTER_PHASE, COUNTER_DONE, COUNTER_TOTAL};
	int64		values[COUNTERS];

	if (!shown)
		return;
	values[COUNTER_PHASE] = report->phase;
	values[COUNTER_DONE] = report->done;
	values[COUNTER_TOTAL] = report->total;
	pgstat_progress_update_multi_param(COUNTERS, counters, values);
}

void
hm_progress_end(void)
{
	if (shown)
		pgstat_progress_end_command();
	shown = false;
}

static const char *
phase_name(int64 phase)
{
	switch ((HmMergePhase) phase)
	{
		case HM_MERGE_IDLE:
			return "waiting";
		case HM_MERGE_PREPARE:
			return "preparing";
		case HM_MERGE_INSERT:
			return "inserting";
		case HM_MERGE_REPAIR:
			return "repairing";
		case HM_MERGE_CONNECT:
			return "connecting";
		case HM_MERGE_WRITE:
			return "writing";
		case HM_MERGE_PUBLISH:
			return "publishing";
	}
	return "unknown";
}

/*
 * Whether the current user may see a merge: whose process it is, who owns the
 * index (a background worker is nobody's in particular), or who may read all
 * statistics.  No error if the index was dropped since.
 */
static bool
may_see(const PgBackendStatus *process)
{
	Oid			user = GetUserId();
	HeapTuple	tuple;
	bool		owned;

	if (has_privs_of_role(user, ROLE_PG_READ_ALL_STATS) ||
		has_privs_of_role(user, process->st_userid))
		return true;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(process->st_progress_command_target));
	if (!HeapTupleIsValid(tuple))
		return false;
	owned = has_privs_of_role(user, ((Form_pg_class) GETSTRUCT(tuple))->relowner);
	ReleaseSysCache(tuple);
	return owned;
}

/*
 * hnsw_mmap_merge_progress(): the merges that go on in this database.  Like the
 * server's own views, they are those of one moment throughout a transaction
 * (pg_stat_clear_snapshot).
 */
PG_FUNCTION_INFO_V1(hm_sql_merge_progress);

Datum
hm_sql_merge_progress(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	int			processes = pgstat_fetch_stat_numbackends();

	InitMaterializedSRF(fcinfo, 0);
	if (result->setDesc->natts != COLUMNS)
		elog(ERROR, "function returns %d columns, but is declared with %d",
			 COLUMNS, result->setDesc->natts);

	for (int i = 1; i <= processes; i++)
	{
		const PgBackendStatus *process = hm_backend_status(i);
		Datum		values[COLUMNS];
		bool		nulls[COLUMNS] = {false};

		if (process == NULL || process->st_progress_command != MERGE_COMMAND ||
			process->st_databaseid != MyDatabaseId || !may_see(process))
			continue;

		values[0] = Int32GetDatum(process->st_procpid);
		values[1] = ObjectIdGetDatum(process->st_progress_command_target);
		values[2] = CStringGetTextDatum(phase_name(process->st_progress_param[COUNTER_PHASE]));
		values[3] = Int64GetDatum(process->st_progress_param[COUNTER_DONE]);
		values[4] = Int64GetDatum(process->st_progress_param[COUNTER_TOTAL]);
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
