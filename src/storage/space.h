/*-------------------------------------------------------------------------
 *
 * space.h
 *	  Which blocks of an index's file are used for what.
 *
 * The directory accounts for every block: see HmMeta.  Space is handed out by
 * changing the locked metapage, so two processes never get the same, and a
 * crash loses none.  The file itself is made longer after that; a block that
 * the directory knows and the file does not have yet is made by the next one
 * who needs it.
 *
 * Retiring.  What a merge replaces (parts, their tombstones, log pages) stays
 * readable for whoever has read an older directory.  Every such process holds
 * a snapshot that it took before reading the directory (or, VACUUM, the publish
 * lock), so its xmin is at most the next transaction id at the time when the
 * new directory was published.
 * That id is stamped on the retired space, in a second record after the
 * publication, and the space is freed once no snapshot has an xmin as old.
 * Standbys are told by a recovery conflict record before the space is freed,
 * as nbtree does when it reuses a deleted page.  Of a temporary index only its
 * own process's snapshots count.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_SPACE_H
#define HM_STORAGE_SPACE_H

#include "storage/format.h"
#include "storage/metapage.h"
#include "utils/rel.h"

/*
 * Changes to a directory that the caller has locked (hm_meta_update).  None
 * touches the file.
 */

/*
 * Hands out `blocks` contiguous blocks (rounded up to runs), which become a
 * space of that state: from free space, or behind the end of the file.
 * ERRCODE_PROGRAM_LIMIT_EXCEEDED when the file cannot grow so far.
 */
extern BlockNumber hm_space_take(Relation index, HmMeta *meta, uint32 blocks, HmSpaceState state);

/* The same in at most HM_MAX_RUNS runs, largest free ones first; fills run_count and runs. */
extern void hm_space_take_runs(Relation index, HmMeta *meta, HmPartDesc *part, HmSpaceState state);

/* Makes the range a space of that state, whatever it was. */
extern void hm_space_set(HmMeta *meta, BlockNumber block, uint32 blocks, HmSpaceState state);

/* Takes the range out of the spaces: it becomes a part's or its tombstones'. */
extern void hm_space_claim(HmMeta *meta, BlockNumber block, uint32 blocks);

/* Both for all of a part: its runs and its tombstones. */
extern void hm_space_set_part(HmMeta *meta, const HmPartDesc *part, HmSpaceState state);
extern void hm_space_claim_part(HmMeta *meta, const HmPartDesc *part);

/* Blocks of all spaces of a state. */
extern uint64 hm_space_count(const HmMeta *meta, HmSpaceState state);

/* Makes the file at least `end` blocks long, with zeros.  Errors: as of any extension. */
extern void hm_space_extend(Relation index, BlockNumber end);

/*
 * Makes the file as long as it will be when so many pages of tombstones or, if
 * that is 0, the part's pages are taken.  To be called before, without locks:
 * who then takes space behind them, with the metapage locked, finds the file
 * long enough.
 */
extern void hm_space_prepare(Relation index, const HmPartDesc *part, uint32 tombstone_pages);

/* Stamps what is RETIRED and not stamped yet; after the publication. */
extern void hm_space_stamp(Relation index);

/*
 * Frees retired space that nobody can be reading any more and, unless VACUUM
 * is at work, what a merge that died had reserved.  Unless `all`, retired space
 * is left until there is so much that using it again is worth the queries that
 * it may cancel on standbys.  The caller holds the merge lock.
 */
extern void hm_space_recycle(Relation heap, Relation index, bool all);

/*
 * Cuts free space off the end of the file, if nobody else uses the index at
 * this moment.  The caller holds the merge lock.
 */
extern void hm_space_truncate(Relation index);

/*
 * Merge lock: one merge at a time per index.  Publish lock: held by VACUUM
 * while it looks at TIDs, and by a merge while it switches the directory, so
 * that neither misses what the other does.  A merge takes it after the merge
 * lock; VACUUM takes no merge lock.  Both last until released or the
 * transaction ends.  False: not available, and `wait` was not set.  An error
 * (ERRCODE_OBJECT_IN_USE) if this process has it already.
 */
extern bool hm_merge_lock(Relation index, bool wait);
extern void hm_merge_unlock(Relation index);
extern bool hm_merge_lock_held(Relation index); /* by another process, at this moment */
extern bool hm_publish_lock(Relation index, bool wait);
extern void hm_publish_unlock(Relation index);

#endif							/* HM_STORAGE_SPACE_H */
