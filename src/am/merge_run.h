/*-------------------------------------------------------------------------
 *
 * merge_run.h
 *	  A merge as whoever calls it wants it run: safely, and visibly.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_AM_MERGE_RUN_H
#define HM_AM_MERGE_RUN_H

#include "postgres.h"

#include "index/merge.h"

/*
 * hm_merge (see there for the locks) as the table's owner, who may do nothing
 * but that meanwhile, with a safe search path and a snapshot of this moment;
 * shown by hnsw_mmap_merge_progress().  Can be cancelled.
 *
 * watch: called every few milliseconds; may raise an error, or exit, to stop
 * the merge; returns whether to go on, see hm_merge.  May be NULL.
 */
extern HmMergeResult hm_merge_run(Relation heap, Relation index, HmMergeMode mode, bool wait,
								  HmMergeReport *report,
								  bool (*watch) (void *state), void *watch_state);

#endif							/* HM_AM_MERGE_RUN_H */
