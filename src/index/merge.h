/*-------------------------------------------------------------------------
 *
 * merge.h
 *	  Merging: the log becomes part of the graph, parts become fewer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_MERGE_H
#define HM_INDEX_MERGE_H

#include "postgres.h"

#include "storage/metapage.h"
#include "utils/rel.h"

typedef enum HmMergeMode
{
	HM_MERGE_LOG,				/* the log; fold parts as the policy says */
	HM_MERGE_SMALL,				/* the log; fold small parts only: by inserters */
	HM_MERGE_FULL				/* everything into one part */
} HmMergeMode;

typedef enum HmMergeResult
{
	HM_MERGE_DONE,				/* published */
	HM_MERGE_NOTHING,			/* there was nothing to merge */
	HM_MERGE_BUSY				/* somebody else merges, or VACUUM is at work */
} HmMergeResult;

/* Phases, for progress. */
typedef enum HmMergePhase
{
	HM_MERGE_IDLE,
	HM_MERGE_PREPARE,			/* reading the log and the parts to be folded */
	HM_MERGE_INSERT,			/* inserting elements */
	HM_MERGE_REPAIR,			/* choosing neighbours anew where some died */
	HM_MERGE_CONNECT,			/* linking unreachable elements */
	HM_MERGE_WRITE,				/* writing the part */
	HM_MERGE_PUBLISH			/* waiting for VACUUM to end, and switching the directory */
} HmMergePhase;

typedef struct HmMergeReport
{
	HmMergePhase phase;
	uint64		done;			/* of the phase: elements or pages */
	uint64		total;
	uint64		log_entries;	/* entries of the log taken in */
	uint64		inserted;		/* elements that were inserted into the graph */
	uint64		duplicates;		/* rows that joined an element */
	uint64		dropped;		/* rows left out because VACUUM had found them dead */
	uint64		repaired;		/* lists chosen anew */
	uint64		linked;			/* unreachable elements linked */
	uint64		parts_folded;	/* parts replaced */
	uint64		blocks_written;
	uint64		distances;
} HmMergeReport;

/*
 * Merges.  The caller holds RowExclusiveLock or more on the index and
 * AccessShareLock or more on the table, and has pushed an active MVCC snapshot,
 * under which rows may be looked at, and which is exchanged for a newer one now
 * and then unless mode is HM_MERGE_SMALL.  May take long; calls `progress` (may be NULL)
 * every few milliseconds, from where an error may be raised to stop it: that
 * is safe at any time, and what has been done is lost but for some blocks that
 * the next merge frees.  In parallel mode, an error would have the other
 * processes complain; returning false there has them end, and then progress is
 * called again and has to raise one, or exit.
 *
 * wait: whether to wait for another merge to end.  For a VACUUM of the index a
 * merge waits before it publishes, but HM_MERGE_SMALL does not begin during one.
 */
extern HmMergeResult hm_merge(Relation heap, Relation index, HmMergeMode mode, bool wait,
							  HmMergeReport *report,
							  bool (*progress) (const HmMergeReport *report, void *state),
							  void *state);

/*
 * Whether an index is due to be merged, judging by its directory alone: the
 * log has passed its bound, or a tenth of the rows are tombstoned.
 */
extern bool hm_merge_is_due(const HmDirectory *directory);

/* Entries of the log, as far as the directory tells. */
extern uint64 hm_log_length(const HmMeta *meta);

/*
 * After an insertion: asks for a merge if one is due, or merges if it is
 * overdue, or takes a little longer if queries would suffer; see backlog.c.
 * directory: as read for the insertion, or since.
 */
extern void hm_merge_consider(Relation heap, Relation index, const HmDirectory *directory);

/* After a VACUUM: asks for a merge if one is due. */
extern void hm_merge_after_vacuum(Relation index, const HmDirectory *directory);

#endif							/* HM_INDEX_MERGE_H */
