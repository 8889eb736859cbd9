/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  A part as a scan reads it: through its mapping where there is one,
 *	  through shared buffers where not, page by page.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_READER_H
#define HM_INDEX_READER_H

#include "postgres.h"

#include "graph/search.h"
#include "storage/mapping.h"
#include "storage/metapage.h"
#include "storage/tombstone.h"

typedef struct HmReader
{
	HmStore		store;			/* the graph; must be first */

	Relation	index;
	const HmDirectory *directory;
	const HmPartDesc *part;
	HmMapping  *mapping;		/* NULL: shared buffers only */
	const uint64 *tombstones;	/* NULL: none */

	/* where entries lie, kept at hand */
	uint32		links_per_page;
	uint32		upper_per_page;
	uint64		upper_first[HM_MAX_LEVELS]; /* first entry of each level in UPPER */

	/* the one list that was read through shared buffers, see hm_reader_fetch_links */
	uint32		staged_id;
	int			staged_level;
	uint32		staged[2 * HM_MAX_M];
} HmReader;

/*
 * Opens a part (or an empty graph, part NULL).  The directory and part must
 * outlive the reader.
 */
extern void hm_reader_open(HmReader *reader, Relation index, const HmDirectory *directory,
						   const HmPartDesc *part);
extern void hm_reader_close(HmReader *reader);

/* Answers HM_STEP_LINKS: makes the list available to the next step. */
extern void hm_reader_fetch_links(HmReader *reader, uint32 id, int level);

/*
 * The address of bytes `offset` .. of page `array_page` of an array if that
 * page is mapped and has been or now is verified; else NULL, and the caller
 * copies them with hm_part_read_page.  Not for use inside a guarded call.
 */
extern const char *hm_reader_page(HmReader *reader, HmArray array, uint32 array_page);

/* Copies an element's ref. */
extern HmRef hm_reader_ref(HmReader *reader, uint32 id);

/* Number of the first posting whose element is not below `id`. */
extern uint32 hm_reader_find_posting(HmReader *reader, uint32 id);
extern HmPosting hm_reader_posting(HmReader *reader, uint32 number);

/* Bits of the part's tombstones. */
static inline bool
hm_reader_ref_is_dead(const HmReader *reader, uint32 id)
{
	return hm_tombstone_is_set(reader->tombstones, id);
}

static inline bool
hm_reader_posting_is_dead(const HmReader *reader, uint32 number)
{
	return hm_tombstone_is_set(reader->tombstones,
							   (uint64) reader->part->element_count + number);
}

static inline bool
hm_reader_tail_is_dead(const HmReader *reader, uint32 number)
{
	return hm_tombstone_is_set(reader->tombstones,
							   (uint64) reader->part->element_count +
							   reader->part->posting_count + number);
}

/*
 * The TIDs of an element that are not tombstoned, one after the other.
 *
 *		HmTidIterator iterator;
 *		hm_reader_tids(id, &iterator);
 *		while (hm_reader_next_tid(reader, &iterator, &tid)) ...
 */
typedef struct HmTidIterator
{
	uint32		id;
	bool		ref_done;
	bool		postings_found;
	uint32		posting;
} HmTidIterator;

static inline void
hm_reader_tids(uint32 id, HmTidIterator *iterator)
{
	iterator->id = id;
	iterator->ref_done = false;
	iterator->postings_found = false;
	iterator->posting = 0;
}

extern bool hm_reader_next_tid(HmReader *reader, HmTidIterator *iterator, ItemPointer tid);

#endif							/* HM_INDEX_READER_H */
