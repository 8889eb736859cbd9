/*-------------------------------------------------------------------------
 *
 * progress.h
 *	  What hnsw_mmap_merge_progress() shows.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_AM_PROGRESS_H
#define HM_AM_PROGRESS_H

#include "postgres.h"

#include "index/merge.h"

/*
 * Shows, until the end, that this process merges an index.  An error that ends
 * the transaction or a subtransaction ends it too.  Nothing is shown inside a
 * command with a progress of its own (COPY (SELECT hnsw_mmap_merge(...))), nor
 * with track_activities off.
 */
extern void hm_progress_begin(Oid index);
extern void hm_progress_report(const HmMergeReport *report);
extern void hm_progress_end(void);

#endif							/* HM_AM_PROGRESS_H */
