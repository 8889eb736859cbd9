/*-------------------------------------------------------------------------
 *
 * hm_inject.c
 *	  For tests only: makes a process pause, fail or die at a named point.
 *
 * The library must be in shared_preload_libraries, so that background and
 * parallel workers have it too.  A point is armed by hm_inject(point, action,
 * skip): the hit after `skip` others fires the action, once, in whichever
 * process makes it.  Later hits are counted and nothing else, so that a test
 * may do beside a paused process what would otherwise pause as well.
 *
 *		pause	waits until hm_inject_release(point); cancel and terminate end
 *				the wait as they end any other
 *		error	raises an error, SQLSTATE XX000
 *		crash	the process kills itself; the postmaster restarts all others,
 *				and forgets what was armed
 *		count	nothing
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <signal.h>
#include <unistd.h>

#include "fmgr.h"
#include "miscadmin.h"
#include "storage/condition_variable.h"
#include "storage/ipc.h"
#include "storage/lwlock.h"
#include "storage/shmem.h"
#include "storage/testpoint.h"
#include "utils/builtins.h"
#include "utils/wait_event.h"

PG_MODULE_MAGIC;

#define MAX_POINTS	64

typedef enum Action
{
	ACTION_COUNT,
	ACTION_PAUSE,
	ACTION_ERROR,
	ACTION_CRASH
} Action;

static const char *const action_names[] = {"count", "pause", "error", "crash"};

/*
 * A point that has been armed at some time since the last hm_inject_clear.
 * Protected by the lock; a waiter learns from the release counter that it may
 * go on, so that arming a point again does not free who waits there.
 */
typedef struct Point
{
	char		name[NAMEDATALEN];
	Action		action;
	int			skip;			/* hits to come before the action; negative: fired */
	int64		hits;			/* since it was armed */
	int			waiting;		/* processes paused */
	uint32		releases;
	ConditionVariable released;
} Point;

typedef struct Shared
{
	LWLock	   *lock;
	int			count;
	Point		points[MAX_POINTS];
} Shared;

static Shared *shared = NULL;
static shmem_request_hook_type previous_request_hook = NULL;
static shmem_startup_hook_type previous_startup_hook = NULL;

void		_PG_init(void);

static void
request_memory(void)
{
	if (previous_request_hook)
		previous_request_hook();
	RequestAddinShmemSpace(MAXALIGN(sizeof(Shared)));
	RequestNamedLWLockTranche("hm_inject", 1);
}

static void
attach_memory(void)
{
	bool		found;

	if (previous_startup_hook)
		previous_startup_hook();
	LWLockAcquire(AddinShmemInitLock, LW_EXCLUSIVE);
	shared = ShmemInitStruct("hm_inject", sizeof(Shared), &found);
	if (!found)
	{
		memset(shared, 0, sizeof(Shared));
		shared->lock = &GetNamedLWLockTranche("hm_inject")->lock;
		for (int i = 0; i < MAX_POINTS; i++)
			ConditionVariableInit(&shared->points[i].released);
	}
	LWLockRelease(AddinShmemInitLock);
}

/* The point of that name, or NULL.  The caller holds the lock. */
static Point *
find_point(const char *name)
{
	for (int i = 0; i < shared->count; i++)
	{
		if (strcmp(shared->points[i].name, name) == 0)
			return &shared->points[i];
	}
	return NULL;
}

/* However the wait ends: an error and the end of the process come here too. */
static void
stop_waiting(int code, Datum argument)
{
	Point	   *point = (Point *) DatumGetPointer(argument);

	ConditionVariableCancelSleep();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	point->waiting--;
	LWLockRelease(shared->lock);
}

static bool
is_released(Point *point, uint32 releases)
{
	bool		released;

	LWLockAcquire(shared->lock, LW_SHARED);
	released = point->releases != releases;
	LWLockRelease(shared->lock);
	return released;
}

/* The caller has counted this process as waiting. */
static void
pause_at(Point *point, uint32 releases)
{
	PG_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(point));
	{
		ConditionVariablePrepareToSleep(&point->released);
		while (!is_released(point, releases))
			ConditionVariableSleep(&point->released, PG_WAIT_EXTENSION);
	}
	PG_END_ENSURE_ERROR_CLEANUP(stop_waiting, PointerGetDatum(point));
	stop_waiting(0, PointerGetDatum(point));
}

/* What HM_TEST_POINT calls. */
static void
hit(const char *name)
{
	Point	   *point;
	Action		action = ACTION_COUNT;
	uint32		releases = 0;

	if (shared == NULL || shared->count == 0)
		return;
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	point = find_point(name);
	if (point != NULL)
	{
		point->hits++;
		if (point->skip >= 0 && point->skip-- == 0)
			action = point->action;
		releases = point->releases;
		if (action == ACTION_PAUSE)
			point->waiting++;
	}
	LWLockRelease(shared->lock);

	switch (action)
	{
		case ACTION_COUNT:
			break;
		case ACTION_PAUSE:
			pause_at(point, releases);
			break;
		case ACTION_ERROR:
			ereport(ERROR,
					(errcode(ERRCODE_INTERNAL_ERROR),
					 errmsg("error injected at \"%s\"", name)));
			break;
		case ACTION_CRASH:
			kill(getpid(), SIGKILL);
			pause();
			break;
	}
}

static void
require_memory(void)
{
	if (shared == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("hm_inject must be loaded via shared_preload_libraries")));
}

static Action
parse_action(const char *name)
{
	for (int i = 0; i < lengthof(action_names); i++)
	{
		if (strcmp(action_names[i], name) == 0)
			return (Action) i;
	}
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized action \"%s\"", name),
			 errhint("Actions are \"count\", \"pause\", \"error\" and \"crash\".")));
	return ACTION_COUNT;
}

/* Arms a point anew.  Who is paused there remains so. */
PG_FUNCTION_INFO_V1(hm_inject);

Datum
hm_inject(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Action		action = parse_action(text_to_cstring(PG_GETARG_TEXT_PP(1)));
	int			skip = PG_GETARG_INT32(2);
	Point	   *point;

	require_memory();
	if (strlen(name) >= NAMEDATALEN || skip < 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("a name of less than %d bytes and a number of hits to skip that is not negative were expected, not \"%s\" and %d",
						NAMEDATALEN, name, skip)));
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	point = find_point(name);
	if (point == NULL)
	{
		if (shared->count == MAX_POINTS)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("there is room for %d points only", MAX_POINTS)));
		point = &shared->points[shared->count];
		strlcpy(point->name, name, NAMEDATALEN);
		point->waiting = 0;
		shared->count++;
	}
	point->action = action;
	point->skip = skip;
	point->hits = 0;
	LWLockRelease(shared->lock);
	PG_RETURN_VOID();
}

/* Lets those go on who are paused at a point, and disarms it. */
static void
release_point(Point *point)
{
	point->skip = -1;
	point->releases++;
	ConditionVariableBroadcast(&point->released);
}

PG_FUNCTION_INFO_V1(hm_inject_release);

Datum
hm_inject_release(PG_FUNCTION_ARGS)
{
	Point	   *point;

	require_memory();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	point = find_point(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	if (point != NULL)
		release_point(point);
	LWLockRelease(shared->lock);
	PG_RETURN_VOID();
}

/* Releases and disarms all points, and sets their counts to zero. */
PG_FUNCTION_INFO_V1(hm_inject_clear);

Datum
hm_inject_clear(PG_FUNCTION_ARGS)
{
	require_memory();
	LWLockAcquire(shared->lock, LW_EXCLUSIVE);
	for (int i = 0; i < shared->count; i++)
	{
		release_point(&shared->points[i]);
		shared->points[i].hits = 0;
	}
	LWLockRelease(shared->lock);
	PG_RETURN_VOID();
}

/* How many processes are paused at a point. */
PG_FUNCTION_INFO_V1(hm_inject_waiting);

Datum
hm_inject_waiting(PG_FUNCTION_ARGS)
{
	Point	   *point;
	int			waiting;

	require_memory();
	LWLockAcquire(shared->lock, LW_SHARED);
	point = find_point(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	waiting = point != NULL ? point->waiting : 0;
	LWLockRelease(shared->lock);
	PG_RETURN_INT32(waiting);
}

/* How often a point was hit since it was armed. */
PG_FUNCTION_INFO_V1(hm_inject_hits);

Datum
hm_inject_hits(PG_FUNCTION_ARGS)
{
	Point	   *point;
	int64		hits;

	require_memory();
	LWLockAcquire(shared->lock, LW_SHARED);
	point = find_point(text_to_cstring(PG_GETARG_TEXT_PP(0)));
	hits = point != NULL ? point->hits : 0;
	LWLockRelease(shared->lock);
	PG_RETURN_INT64(hits);
}

void
_PG_init(void)
{
	if (!process_shared_preload_libraries_in_progress)
		return;
	previous_request_hook = shmem_request_hook;
	shmem_request_hook = request_memory;
	previous_startup_hook = shmem_startup_hook;
	shmem_startup_hook = attach_memory;
	*(HmTestPointHook *) find_rendezvous_variable(HM_TEST_POINT_VARIABLE) = hit;
}
