/*-------------------------------------------------------------------------
 *
 * worker.c
 *	  The background worker that merges, and who starts it.
 *
 * A worker is started for one index when somebody finds that a merge of it is
 * due, merges, and ends.  It needs no preloaded library: what it must know is
 * in its registration.  If there is no free slot for it, or it cannot have its
 * locks, nothing happens, and whoever writes to the index next asks again.
 *
 * Nobody ever waits for a worker.  The server cancels an autovacuum that keeps
 * somebody waiting; a worker has to see for itself.  Once a second it looks
 * whether another process waits for one of these, and if so exits, leaving
 * some blocks that the next merge frees:
 *
 *	  the index		ShareUpdateExclusiveLock: it keeps out no reader, no writer
 *					and no VACUUM, but every change of the index, and other
 *					workers
 *	  the table		AccessShareLock: it keeps out changes of the table
 *	  the worker's	which CREATE INDEX, REINDEX and DROP INDEX CONCURRENTLY wait
 *	  transaction	for, whatever its locks; also those of its parallel workers
 *	  the database	which it does not lock, but DROP DATABASE and its like
 *					wait five seconds for others to leave it
 *
 * A merge holds a snapshot, and with it back what VACUUM may remove, for as
 * long as hm_merge does not renew it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amapi.h"
#include "access/genam.h"
#include "access/parallel.h"
#include "access/table.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "am/merge_run.h"
#include "am/worker.h"
#include "catalog/index.h"
#include "catalog/pg_database.h"
#include "catalog/pg_index.h"
#include "common/pg_prng.h"
#include "compat.h"
#include "fmgr.h"
#include "index/index.h"
#include "index/merge.h"
#include "index/options.h"
#include "index/request.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "postmaster/bgworker.h"
#include "storage/holders.h"
#include "storage/ipc.h"
#include "storage/latch.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/metapage.h"
#include "storage/proc.h"
#include "tcop/tcopprot.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/hsearch.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"

#define WORKER_TYPE		"hnsw_mmap merge worker"

/* The locks of a worker: see above. */
#define TABLE_LOCK		AccessShareLock
#define INDEX_LOCK		ShareUpdateExclusiveLock

/*
 * Milliseconds between two requests of a process for the same index.  A random
 * part of STAGGER is added.
 */
#define MIN_PAUSE		1000
#define MAX_PAUSE		60000
#define STAGGER			200

/* Of so many processes that find a merge due, one asks at once. */
#define HASTY_ONE_IN	4

/* So many rows inserted meanwhile are reason enough to ask. */
#define MANY_SIGHTINGS	128

/* Milliseconds between two looks at who waits for a worker. */
#define WATCH_INTERVAL	1000

/* Milliseconds that VACUUM is given to end, and between two looks at it. */
#define VACUUM_PATIENCE 5000
#define VACUUM_INTERVAL 100

/*
 * Merges that a worker makes one after the other, if inserters are so fast.
 * Then it ends, so that other indexes get a slot.
 */
#define MAX_MERGES		8

/* What a worker must know; in bgw_extra. */
typedef struct WorkerTask
{
	Oid			database;
	Oid			index;
	Oid			vacuumed;		/* the table that whoever asked is vacuuming */
	int			merge_log_entries;	/* his setting: what is due for him must be so
									 * for the worker */
} WorkerTask;

StaticAssertDecl(sizeof(WorkerTask) <= BGW_EXTRALEN, "task fits");

/* What this process remembers of having asked for merges of an index. */
typedef struct Request
{
	Oid			index;			/* hash key */
	int			pause;			/* after the last request; 0: there was none */
	int64		not_before;		/* when to ask again */
	int64		seen;			/* when a merge was last found due */
	int64		staggered;		/* when to ask after it was first found due */
	int			sightings;		/* times since then */
	uint64		merges;			/* published when last asked */
} Request;

/* What a worker looks at once a second. */
typedef struct Watch
{
	Relation	heap;
	Relation	index;
	int64		looked;
	bool		leaving;		/* as soon as no other processes merge with it */
} Watch;

static HTAB *requests = NULL;

PGDLLEXPORT void hm_merge_worker_main(Datum argument);

/* Milliseconds of a clock that nobody sets. */
static int64
now_ms(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MILLISEC(now);
}

/* ---- Asking for a merge ---- */

/*
 * Whether there is any use in asking.  A worker sees neither an index that this
 * transaction made nor temporary tables, and can write nothing in recovery.
 */
static bool
may_request(Relation index)
{
	return hm_background_merge &&
		IsUnderPostmaster && IsNormalProcessingMode() &&
		!IsParallelWorker() && CritSectionCount == 0 && !RecoveryInProgress() &&
		index->rd_rel->relpersistence != RELPERSISTENCE_TEMP &&
		index->rd_index->indisvalid && !hm_made_in_transaction(index);
}

/* What this process remembers of an index; made if there is nothing. */
static Request *
request_of(Oid index)
{
	Request    *request;
	bool		found;

	if (requests == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(Oid),
			.entrysize = sizeof(Request),
			.hcxt = TopMemoryContext
		};

		requests = hash_create("hnsw_mmap merge requests", 16, &control,
							   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	request = hash_search(requests, &index, HASH_ENTER, &found);
	if (!found)
	{
		request->pause = 0;
		request->not_before = 0;
		request->seen = PG_INT64_MIN / 2;
		request->staggered = 0;
		request->sightings = 0;
		request->merges = 0;
	}
	return request;
}

static int
random_below(int bound)
{
	return (int) pg_prng_uint64_range(&pg_global_prng_state, 0, bound - 1);
}

/* Whether this process is in the middle of a VACUUM. */
static bool
is_vacuuming(void)
{
	return (MyProc->statusFlags & PROC_IN_VACUUM) != 0;
}

static bool
start_worker(Relation index)
{
	BackgroundWorker worker;
	WorkerTask	task = {
		.database = MyDatabaseId,
		.index = RelationGetRelid(index),
		.vacuumed = is_vacuuming() ? index->rd_index->indrelid : InvalidOid,
		.merge_log_entries = hm_merge_log_entries
	};

	memset(&worker, 0, sizeof(worker));
	snprintf(worker.bgw_name, BGW_MAXLEN, "%s for index %u", WORKER_TYPE, task.index);
	strlcpy(worker.bgw_type, WORKER_TYPE, BGW_MAXLEN);
	worker.bgw_flags = BGWORKER_SHMEM_ACCESS | BGWORKER_BACKEND_DATABASE_CONNECTION;
	worker.bgw_start_time = BgWorkerStart_RecoveryFinished;
	worker.bgw_restart_time = BGW_NEVER_RESTART;
	strlcpy(worker.bgw_library_name, "$libdir/hnsw_mmap", sizeof(worker.bgw_library_name));
	strlcpy(worker.bgw_function_name, "hm_merge_worker_main", sizeof(worker.bgw_function_name));
	memcpy(worker.bgw_extra, &task, sizeof(task));
	return RegisterDynamicBackgroundWorker(&worker, NULL);
}

/*
 * Many processes may find at the same moment that a merge is due, and it takes
 * some milliseconds until a worker can be seen.  If all of them asked, workers
 * that have nothing to do would take every slot for that long.  So most look
 * again after a random while, or when they have inserted some more rows.  Not
 * all, as a process may insert one row and end; and VACUUM asks only once.
 *
 * As long as nothing comes of it, a process waits twice as long each time.
 */
void
hm_request_merge(Relation index)
{
	Oid			index_oid = RelationGetRelid(index);
	HmDirectory directory;
	Request    *request;
	int64		now;
	bool		news;

	if (!may_request(index))
		return;
	request = request_of(index_oid);
	now = now_ms();
	news = now - request->seen > MIN_PAUSE;
	request->seen = now;
	if (news)
	{
		request->sightings = 0;
		request->staggered = now;
		if (!is_vacuuming() && random_below(HASTY_ONE_IN) != 0)
			request->staggered += random_below(STAGGER);
	}
	request->sightings++;
	if (now < request->not_before)
		return;
	if (now < request->staggered && request->sightings < MANY_SIGHTINGS)
		return;

	request->not_before = now + MIN_PAUSE + random_below(STAGGER);
	if (hm_lock_holders(index_oid, INDEX_LOCK) > 0)
		return;

	hm_directory_read(index, &directory);
	if (directory.meta.merges != request->merges || request->pause == 0)
		request->pause = MIN_PAUSE;
	else
		request->pause = Min(request->pause * 2, MAX_PAUSE);
	request->not_before = now + request->pause + random_below(STAGGER);
	request->merges = directory.meta.merges;

	if (!start_worker(index))
		ereport(DEBUG1,
				(errmsg_internal("no background worker is free to merge index \"%s\"",
								 RelationGetRelationName(index))));
}

void
hm_worker_register(void)
{
	hm_request_merge_hook = hm_request_merge;
}

/* ---- Being in nobody's way ---- */

/*
 * Whether a lock that this process has no mode of could not be had at once,
 * because somebody has one that conflicts, or waits for one.
 */
static bool
is_refused(const LOCKTAG *tag, LOCKMODE mode)
{
	if (LockAcquire(tag, mode, false, true) == LOCKACQUIRE_NOT_AVAIL)
		return true;
	LockRelease(tag, mode, false);
	return false;
}

/*
 * Whether a transaction that somebody waits for is that of a parallel worker of
 * this process, who has its snapshot too.
 */
static bool
is_helpers(const LOCKTAG *tag, const LockData *all)
{
	for (int i = 0; i < all->nelements; i++)
	{
		const LockInstanceData *lock = &all->locks[i];

		if (lock->waitLockMode == NoLock && lock->leaderPid == MyProcPid &&
			memcmp(&lock->locktag, tag, sizeof(LOCKTAG)) == 0)
			return true;
	}
	return false;
}

/*
 * Whether somebody waits for a lock that one of this process's own conflicts
 * with.
 *
 * That is looked up among all locks of the server, as pg_locks does.
 * LockHasWaiters would be the way to ask, but cannot be used for weak locks on
 * relations, of which the lock table knows nothing, nor for the transaction.
 * Nor does it help to request another mode: from 17, whoever has a lock goes
 * ahead of those that wait for him.
 */
static bool
is_waited_for(const Watch *watch)
{
	struct
	{
		LOCKTAG		tag;
		LOCKMODE	mode;
	}			own[3];
	VirtualTransactionId transaction;
	LockData   *all;
	bool		found = false;

	SET_LOCKTAG_RELATION(own[0].tag, MyDatabaseId, RelationGetRelid(watch->heap));
	own[0].mode = TABLE_LOCK;
	SET_LOCKTAG_RELATION(own[1].tag, MyDatabaseId, RelationGetRelid(watch->index));
	own[1].mode = INDEX_LOCK;
	GET_VXID_FROM_PGPROC(transaction, *MyProc);
	SET_LOCKTAG_VIRTUALTRANSACTION(own[2].tag, transaction);
	own[2].mode = ExclusiveLock;

	all = GetLockStatusData();
	for (int i = 0; i < all->nelements && !found; i++)
	{
		const LockInstanceData *lock = &all->locks[i];

		if (lock->waitLockMode == NoLock)
			continue;
		if (lock->locktag.locktag_type == LOCKTAG_VIRTUALTRANSACTION &&
			is_helpers(&lock->locktag, all))
			found = true;
		for (int j = 0; j < lengthof(own); j++)
			if (memcmp(&lock->locktag, &own[j].tag, sizeof(LOCKTAG)) == 0 &&
				DoLockModesConflict(lock->waitLockMode, own[j].mode))
				found = true;
	}
	pfree(all->locks);
	pfree(all);
	return found;
}

static bool
keeps_somebody_waiting(const Watch *watch)
{
	LOCKTAG		tag;

	/*
	 * DROP DATABASE, and ALTER DATABASE where nobody else may be connected,
	 * have AccessExclusiveLock while they wait; CREATE DATABASE has ShareLock
	 * on its template.
	 */
	SET_LOCKTAG_OBJECT(tag, InvalidOid, DatabaseRelationId, MyDatabaseId, 0);
	return is_refused(&tag, RowExclusiveLock) || is_waited_for(watch);
}

/*
 * Exits as FATAL does, only without a word: the transaction is aborted, and
 * nobody did anything wrong.  False: parallel workers, who would not be silent,
 * are to end first.
 */
static bool
leave_if_in_the_way(void *state)
{
	Watch	   *watch = state;
	int64		now = now_ms();

	if (!watch->leaving)
	{
		if (now - watch->looked < WATCH_INTERVAL)
			return true;
		watch->looked = now;
		if (!keeps_somebody_waiting(watch))
			return true;
		watch->leaving = true;
	}
	if (IsInParallelMode())
		return false;
	ereport(DEBUG1,
			(errmsg_internal("merge of index \"%s\" makes way for another process",
							 RelationGetRelationName(watch->index))));
	proc_exit(0);
}

/* ---- The worker ---- */

/*
 * Opens an index and its table if they can be locked at once, and if the index
 * is still what it was when the worker was asked for.  An index that is not
 * there may be one whose creation is not committed, or one that was dropped.
 * The locks last until the transaction ends, also if it could not be opened.
 */
static bool
open_if_free(Oid index_oid, Relation *heap, Relation *index)
{
	Oid			heap_oid = IndexGetRelation(index_oid, true);

	if (!OidIsValid(heap_oid) ||
		!ConditionalLockRelationOid(heap_oid, TABLE_LOCK) ||
		!ConditionalLockRelationOid(index_oid, INDEX_LOCK) ||
		IndexGetRelation(index_oid, true) != heap_oid)
		return false;

	*heap = table_open(heap_oid, NoLock);
	*index = index_open(index_oid, NoLock);
	if ((*index)->rd_indam->ambuild == hm_build &&
		(*index)->rd_rel->relkind == RELKIND_INDEX &&
		(*index)->rd_rel->relpersistence != RELPERSISTENCE_TEMP &&
		(*index)->rd_index->indisvalid &&
		(*index)->rd_index->indisready &&
		(*index)->rd_index->indislive)
		return true;
	index_close(*index, NoLock);
	table_close(*heap, NoLock);
	return false;
}

/*
 * Merges, if that is due.  Returns whether it was done, and may be due again.
 */
static bool
merge_if_due(Relation heap, Relation index)
{
	Watch		watch = {.heap = heap, .index = index, .looked = now_ms()};
	HmDirectory directory;
	HmMergeReport report;
	HmMergeResult result;

	hm_directory_read(index, &directory);
	if (!hm_merge_is_due(&directory))
		return false;

	/* For pg_stat_activity, and for the log should there be an error. */
	debug_query_string = psprintf("hnsw_mmap: merging index %s",
								  quote_qualified_identifier(get_namespace_name(RelationGetNamespace(index)),
															 RelationGetRelationName(index)));
	pgstat_report_activity(STATE_RUNNING, debug_query_string);
	result = hm_merge_run(heap, index, HM_MERGE_LOG, false, &report,
						  leave_if_in_the_way, &watch);
	pgstat_report_activity(STATE_IDLE, NULL);
	debug_query_string = NULL;
	return result == HM_MERGE_DONE;
}

/* One transaction.  Between two of them everybody else gets his locks. */
static bool
merge_once(Oid index_oid)
{
	Relation	heap;
	Relation	index;
	bool		done = false;

	SetCurrentStatementStartTimestamp();
	StartTransactionCommand();
	if (open_if_free(index_oid, &heap, &index))
	{
		done = merge_if_due(heap, index);
		index_close(index, NoLock);
		table_close(heap, NoLock);
	}
	CommitTransactionCommand();
	pgstat_report_stat(true);
	return done;
}

/*
 * VACUUM asks for merges just before it cuts empty pages off the table's end,
 * for which it must be alone with the table; it does not wait for that, nor
 * does it insist.  So let it end first, unless that takes long.
 */
static void
let_vacuum_end(Oid table)
{
	for (int waited = 0;
		 waited < VACUUM_PATIENCE && hm_lock_holders(table, ShareUpdateExclusiveLock) > 0;
		 waited += VACUUM_INTERVAL)
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 VACUUM_INTERVAL, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Settings that a database may have for its users' sake.  Under a stricter
 * isolation level the first snapshot would be kept to the end.
 */
static void
override_settings(const WorkerTask *task)
{
	SetConfigOption("application_name", WORKER_TYPE, PGC_USERSET, PGC_S_OVERRIDE);
	SetConfigOption("default_transaction_isolation", "read committed", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("lock_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("statement_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);

	/* from 17 on */
	if (GetConfigOption("transaction_timeout", true, false) != NULL)
		SetConfigOption("transaction_timeout", "0", PGC_SUSET, PGC_S_OVERRIDE);

	/* a merge may cut the file, and should not wait for a standby because of it */
	SetConfigOption("synchronous_commit", "local", PGC_SUSET, PGC_S_OVERRIDE);
	SetConfigOption("hnsw_mmap.merge_log_entries", psprintf("%d", task->merge_log_entries),
					PGC_SUSET, PGC_S_OVERRIDE);
}

/*
 * The worker's entry point.  It connects as nobody in particular, which is the
 * bootstrap superuser, as owners need not be allowed to log in; merges run as
 * the owner.  An error is reported in the server's log and ends it; it is not
 * started again for that.
 */
void
hm_merge_worker_main(Datum argument)
{
	WorkerTask	task;
	int			merges = 0;

	memcpy(&task, MyBgworkerEntry->bgw_extra, sizeof(task));
	pqsignal(SIGTERM, die);
	BackgroundWorkerUnblockSignals();
	BackgroundWorkerInitializeConnectionByOid(task.database, InvalidOid, 0);
	override_settings(&task);

	if (OidIsValid(task.vacuumed))
		let_vacuum_end(task.vacuumed);
	while (merge_once(task.index) && ++merges < MAX_MERGES)
		CHECK_FOR_INTERRUPTS();
}
