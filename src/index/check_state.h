/*-------------------------------------------------------------------------
 *
 * check_state.h
 *	  What the stages of a check share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_CHECK_STATE_H
#define HM_INDEX_CHECK_STATE_H

#include "postgres.h"

#include "index/check.h"
#include "index/row.h"
#include "index/sorter.h"
#include "storage/metapage.h"

/* The page of an array that was read last. */
typedef struct HmCheckPage
{
	uint32		part;
	uint32		page;			/* of the array */
	char	   *data;			/* HM_PAGE_DATA bytes; NULL: none read yet */
} HmCheckPage;

typedef struct HmCheckPart
{
	const HmPartDesc *desc;
	uint64	   *tombstones;		/* as read; NULL: none */
	uint64		upper_first[HM_MAX_LEVELS]; /* where a level's lists begin in UPPER */

	/*
	 * Elements whose level-0 list this part replaces, ascending: their keys
	 * are the part's first ones.
	 */
	uint32	   *patched;
	uint32		patched_count;
} HmCheckPart;

typedef struct HmCheck
{
	Relation	heap;
	Relation	index;
	Snapshot	snapshot;
	bool		full;
	HmCheckReport *report;

	HmDirectory directory;
	HmCheckPart parts[HM_MAX_PARTS];
	uint32		elements;		/* of all parts */
	HmCheckPage pages[HM_ARRAYS];

	uint64	   *live;			/* a bit per element: some row of it has no tombstone */

	/* The log: its pages in the order of the chain, and room for one of them. */
	BlockNumber *log_blocks;
	uint32		log_page_count;
	uint32		log_space;
	char	   *log_page;

	/*
	 * Every TID that is not known to be dead, with its location: see
	 * check_rows.c.
	 */
	HmSorter   *entries;
	HmRowFetcher fetcher;
} HmCheck;

/* ---- check.c: directory, blocks, pages, tombstones ---- */

/*
 * The data of a page of an array, verified.  Valid until another page of the
 * same array is asked for.  May be interrupted.
 */
extern const char *hm_check_page(HmCheck *check, uint32 part, HmArray array, uint32 page);

/* An entry of an array whose entries fit into a page, likewise. */
extern const void *hm_check_entry(HmCheck *check, uint32 part, HmArray array, uint64 number);

/* The block on which that entry lies, for messages. */
extern BlockNumber hm_check_entry_block(const HmCheck *check, uint32 part, HmArray array, uint64 number);

/* The part that an element was written with. */
extern uint32 hm_check_part_of(const HmCheck *check, uint32 element);

/* Whether the parts are still those of the directory that is being checked. */
extern bool hm_check_is_current(HmCheck *check);

/* Looks at a tombstone anew; false if it is set, or the parts are not current. */
extern bool hm_check_still_live(HmCheck *check, uint32 part, uint64 bit);

static inline bool
hm_check_is_dead(const HmCheckPart *part, uint64 bit)
{
	return part->tombstones != NULL && ((part->tombstones[bit / 64] >> (bit % 64)) & 1);
}

/* ---- check_graph.c: lists, patches, reachability ---- */

extern void hm_check_lists(HmCheck *check);
extern void hm_check_reach(HmCheck *check);

/* ---- check_log.c ---- */

/* Follows the chain; notes the TIDs of its entries. */
extern void hm_check_log(HmCheck *check);

/*
 * Reads an entry of the log again, past what was read before; it may be blank
 * by now.  copy, if not NULL: room for the half-precision copy of an
 * HM_LOG_VECTOR.
 */
extern HmLogEntry hm_check_log_entry(HmCheck *check, uint32 page, uint32 slot, uint16 *copy);

/* ---- check_rows.c: TIDs, and the table ---- */

/* Reads refs, postings and tails: their order and TIDs, and who is alive. */
extern void hm_check_tids(HmCheck *check);

/* Notes a TID of the log. */
extern void hm_check_note_log_tid(HmCheck *check, const ItemPointerData *tid, uint32 page, uint32 slot);

/* Raises an error for a TID that no table can have. */
extern void hm_check_tid(HmCheck *check, const ItemPointerData *tid, BlockNumber block);

/* Looks for TIDs that occur twice and, if `full`, compares with the table. */
extern void hm_check_rows(HmCheck *check);

#endif							/* HM_INDEX_CHECK_STATE_H */
