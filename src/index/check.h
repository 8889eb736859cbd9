/*-------------------------------------------------------------------------
 *
 * check.h
 *	  Is an index whole?  What hnsw_mmap_check looks at and counts.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_CHECK_H
#define HM_INDEX_CHECK_H

#include "postgres.h"

#include "utils/rel.h"
#include "utils/snapshot.h"

/* What a sound index consists of. */
typedef struct HmCheckReport
{
	uint64		elements;
	uint64		live_elements;	/* with a row that has no tombstone */
	uint64		unreachable;	/* live elements that level 0 does not reach */
	uint64		rows;			/* TIDs of all parts */
	uint64		dead_rows;		/* of them, with a tombstone */
	uint64		log_entries;	/* blank ones included */
	uint64		log_live;
	uint64		log_pages;		/* with entries, or the rest of a large one */
	uint32		parts;
	uint64		patches;
	uint32		levels;

	/* These add up to blocks_total. */
	uint64		blocks_total;
	uint64		blocks_metapage;
	uint64		blocks_parts;
	uint64		blocks_tombstones;
	uint64		blocks_log;
	uint64		blocks_free;
	uint64		blocks_retired;
	uint64		blocks_pending;
	uint64		blocks_lost;
	uint64		blocks_behind_end;	/* added to the file and not accounted for yet */

	uint64		table_rows;		/* rows compared; 0 unless `full` */
} HmCheckReport;

/*
 * Reads every page of an index through shared buffers and raises
 * ERRCODE_INDEX_CORRUPTED, naming the block or the row, for the first thing
 * that contradicts the format (storage/format.h) or itself.
 *
 * full: also compares it with the table, both ways: every row that `snapshot`
 * sees and the index should have is there, and what is there describes the row
 * it points to.  Evaluates index expressions, as the current user.
 *
 * The caller holds AccessShareLock or more on both relations, has registered
 * the snapshot, and on a primary holds the merge lock, taken before the
 * snapshot, so that no part is replaced meanwhile.  Rows may be inserted,
 * updated, deleted and vacuumed.
 */
extern void hm_check(Relation heap, Relation index, Snapshot snapshot, bool full,
					 HmCheckReport *report);

#endif							/* HM_INDEX_CHECK_H */
