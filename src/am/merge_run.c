/*-------------------------------------------------------------------------
 *
 * merge_run.c
 *	  A merge as whoever calls it wants it run: safely, and visibly.
 *
 * Merging may evaluate an index expression, which is code of the table's
 * owner, or of whom the owner trusts.  So it runs with the owner's rights, as
 * it would in REINDEX, whoever asked for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "am/merge_run.h"
#include "am/progress.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/snapmgr.h"

/* pg_temp last: it would be searched first if it were not named. */
#define SAFE_SEARCH_PATH "pg_catalog, pg_temp"

typedef struct RunState
{
	bool		(*watch) (void *state);
	void	   *watch_state;
} RunState;

static bool
progress(const HmMergeReport *report, void *state)
{
	RunState   *run = state;

	CHECK_FOR_INTERRUPTS();
	hm_progress_report(report);
	return run->watch == NULL || run->watch(run->watch_state);
}

HmMergeResult
hm_merge_run(Relation heap, Relation index, HmMergeMode mode, bool wait, HmMergeReport *report,
			 bool (*watch) (void *state), void *watch_state)
{
	RunState	run = {.watch = watch, .watch_state = watch_state};
	HmMergeResult result;
	Oid			user;
	int			security_context;
	int			settings_level;

	/* After an error, the end of the (sub)transaction puts all this back. */
	GetUserIdAndSecContext(&user, &security_context);
	SetUserIdAndSecContext(heap->rd_rel->relowner,
						   security_context | SECURITY_RESTRICTED_OPERATION);
	settings_level = NewGUCNestLevel();
	(void) set_config_option("search_path", SAFE_SEARCH_PATH, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
	PushActiveSnapshot(GetLatestSnapshot());
	hm_progress_begin(RelationGetRelid(index));

	memset(report, 0, sizeof(HmMergeReport));
	result = hm_merge(heap, index, mode, wait, report, progress, &run);

	hm_progress_end();
	PopActiveSnapshot();
	AtEOXact_GUC(false, settings_level);
	SetUserIdAndSecContext(user, security_context);
	return result;
}
