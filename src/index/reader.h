/*-------------------------------------------------------------------------
 *
 * reader.h
 *	  The parts of an index as a scan reads them: one graph, through mappings
 *	  where there are any, through shared buffers where not, page by page.
 *
 * Elements are numbered across parts.  What is read by an element's number (its
 * lists, its ref) finds the part by itself; what is numbered within a part
 * (postings, tail) takes the part's number.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_READER_H
#define HM_INDEX_READER_H

#include "postgres.h"

#include "graph/search.h"
#include "storage/mapping.h"
#include "storage/metapage.h"
#include "storage/patchindex.h"
#include "storage/tombstone.h"

typedef struct HmReaderPart
{
	const HmPartDesc *desc;
	HmMapping  *mapping;		/* NULL: shared buffers only */
	const HmPatchIndex *patches;	/* NULL: it replaces no list */
	const uint64 *tombstones;	/* NULL: none */
	uint64		upper_first[HM_MAX_LEVELS]; /* first entry of each level in UPPER */
} HmReaderPart;

typedef struct HmReader
{
	HmStore		store;			/* the graph; must be first */

	Relation	index;
	const HmDirectory *directory;
	float		max_norm;		/* of a vector in the graph */
	bool		any_dead;		/* some part has tombstones */

	/* the parts, oldest first, and behind which element each ends */
	int			part_count;
	uint32		part_end[HM_MAX_PARTS];
	HmReaderPart parts[HM_MAX_PARTS];

	/* where entries lie, kept at hand */
	uint32		links_per_page;
	uint32		upper_per_page;

	/* the one list that was read through shared buffers, see hm_reader_fetch_links */
	uint32		staged_id;
	int			staged_level;
	uint32		staged[2 * HM_MAX_M];
} HmReader;

/*
 * Opens all parts of a directory, which must outlive the reader.  What cannot
 * be kept with a mapping is allocated in the current memory context.  The
 * caller sees to it that hm_reader_close is called after an error, too; it may
 * be called twice.
 */
extern void hm_reader_open(HmReader *reader, Relation index, const HmDirectory *directory);
extern void hm_reader_close(HmReader *reader);

/* The number of an element's part.  Nearly all elements are the oldest part's. */
static inline int
hm_reader_part_of(const HmReader *reader, uint32 id)
{
	int			part = 0;

	while (HM_UNLIKELY(id >= reader->part_end[part]))
		part++;
	return part;
}

/* Answers HM_STEP_LINKS: makes the list available to the next step. */
extern void hm_reader_fetch_links(HmReader *reader, uint32 id, int level);

/*
 * Copies an element's list at a level, whatever it takes to read it.  slots:
 * room for 2m on level 0, m above.  Returns how many are used.  The ids are as
 * untrusted as in HmStore.links.
 */
extern int	hm_reader_copy_links(HmReader *reader, uint32 id, int level, uint32 *slots);

/* The patch of the newest part that replaces an element's list, or NULL; *part: that part. */
extern const HmPatch *hm_reader_find_patch(const HmReader *reader, uint32 id, int level,
										   int *part);

/* Verifies a mapped page; NULL when it can be read through buffers only. */
extern const char *hm_reader_verify_page(HmReader *reader, int part, uint32 page);

/*
 * The address of page `array_page` of a part's array if that page is mapped and
 * has been or now is verified; else NULL, and the caller copies what it needs
 * with hm_part_read_page.  Not for use inside a guarded call.
 */
static inline const char *
hm_reader_page(HmReader *reader, int part, HmArray array, uint32 array_page)
{
	const HmReaderPart *read = &reader->parts[part];
	uint32		page = read->desc->array_page[array] + array_page;
	const char *address;

	if (HM_UNLIKELY(read->mapping == NULL))
		return NULL;
	address = hm_mapping_page(read->mapping, page);
	return HM_LIKELY(address != NULL) ? address : hm_reader_verify_page(reader, part, page);
}

/* Copies an element's ref. */
extern HmRef hm_reader_ref(HmReader *reader, uint32 id);

/* Flags those of a batch as HM_DEAD none of whose rows lives; see HM_STEP_SCORE. */
extern void hm_reader_mark_dead(HmReader *reader, const uint32 *ids, int n, uint8 *flags);

/* An element's row in the attached file. */
extern uint64 hm_reader_row(HmReader *reader, uint32 id);

/* Number of a part's first posting whose element is not below `id`. */
extern uint32 hm_reader_find_posting(HmReader *reader, int part, uint32 id);

/* Copies a posting of a part. */
extern HmPosting hm_reader_posting(HmReader *reader, int part, uint32 number);

/* Bits of a part's tombstones. */
static inline bool
hm_reader_ref_is_dead(const HmReader *reader, uint32 id)
{
	const HmReaderPart *part = &reader->parts[hm_reader_part_of(reader, id)];

	return hm_tombstone_is_set(part->tombstones, id - part->desc->first_element);
}

static inline bool
hm_reader_posting_is_dead(const HmReader *reader, int part, uint32 number)
{
	const HmPartDesc *desc = reader->parts[part].desc;

	return hm_tombstone_is_set(reader->parts[part].tombstones,
							   (uint64) desc->element_count + number);
}

static inline bool
hm_reader_tail_is_dead(const HmReader *reader, int part, uint32 number)
{
	const HmPartDesc *desc = reader->parts[part].desc;

	return hm_tombstone_is_set(reader->parts[part].tombstones,
							   (uint64) desc->element_count + desc->posting_count + number);
}

/*
 * The TIDs of an element that are not tombstoned, one after the other: its ref,
 * then its postings in its own part and in newer ones.
 *
 *		HmTidIterator iterator;
 *		hm_reader_tids(id, &iterator);
 *		while (hm_reader_next_tid(reader, &iterator, &tid)) ...
 */
typedef struct HmTidIterator
{
	uint32		id;
	int			part;			/* whose postings are next; -1: first the ref */
	bool		found;			/* where they begin */
	uint32		posting;		/* the next */
} HmTidIterator;

static inline void
hm_reader_tids(uint32 id, HmTidIterator *iterator)
{
	iterator->id = id;
	iterator->part = -1;
	iterator->found = false;
	iterator->posting = 0;
}

extern bool hm_reader_next_tid(HmReader *reader, HmTidIterator *iterator, ItemPointer tid);

/* True when an element has no TID left that is not tombstoned. */
extern bool hm_reader_is_dead(HmReader *reader, uint32 id);

#endif							/* HM_INDEX_READER_H */
