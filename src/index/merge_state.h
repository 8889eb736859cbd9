/*-------------------------------------------------------------------------
 *
 * merge_state.h
 *	  What the steps of a merge hand to each other.
 *
 * A merge replaces the parts from first_part on.  Their elements, numbered
 * from `first` on, are its own: it has all their lists in memory and writes
 * them anew, together with the log's.  Older elements stay where they are; of
 * them, only the lists that change are in memory, and written as patches.
 *
 * While it works, own elements keep their numbers, and new ones follow the
 * last stored one.  Numbers as stored are given when everything is in.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_MERGE_STATE_H
#define HM_INDEX_MERGE_STATE_H

#include "postgres.h"

#include "files/file.h"
#include "graph/grow.h"
#include "graph/overlay.h"
#include "index/codecache.h"
#include "index/memory.h"
#include "index/merge.h"
#include "index/reader.h"
#include "index/row.h"
#include "index/source.h"
#include "storage/log.h"
#include "types/typeinfo.h"
#include "utils/timestamp.h"

#define HM_FROM_LOG		(-1)

/*
 * A TID that goes into the new part, and where it comes from: its row may be
 * found dead by VACUUM until the part is published.
 */
typedef struct HmMergeTid
{
	ItemPointerData tid;		/* invalid: an element that has lost all of its TIDs */
	uint16		info;			/* an element's fingerprint, or an HmTailKind */
	uint32		element;		/* of a ref or posting */
	int32		part;			/* in the old directory, or HM_FROM_LOG */
	uint64		bit;			/* its tombstone's number there; or the entry's in the log */
} HmMergeTid;

/* A growing array of them. */
typedef struct HmMergeTids
{
	HmMergeTid *tids;
	uint64		count;
	uint64		space;
} HmMergeTids;

/* A vector of the log that is to be inserted. */
typedef struct HmMergeEntry
{
	ItemPointerData tid;
	uint16		fingerprint;
	uint64		hash;
	uint64		row;			/* of the attached file, if there is one */
	uint64		ordinal;		/* among all entries of the log */
} HmMergeEntry;

typedef struct HmMergeEqual HmMergeEqual;

typedef struct HmMergeState
{
	Relation	heap;
	Relation	index;
	const HmOpclass *opclass;
	HmFile	   *file;			/* that the column refers to, or NULL */
	HmDirectory directory;		/* as of the beginning */
	HmLogSeal	seal;
	HmMergeMode mode;

	int			first_part;
	uint32		first;			/* number of the first own element */
	uint32		stored;			/* elements of the old directory */

	/* the graph, as stored and as changed */
	HmReader	reader;
	bool		reader_open;
	HmRowFetcher rows;
	HmSource   *source;
	HmOverlay  *overlay;
	HmGrower   *grower;
	HmCodeCache *codes;
	uint64	   *dead;			/* bitmap: elements without a live TID */
	uint32		dead_own;		/* own elements of them */

	/* the log */
	HmMergeEntry *entries;		/* those with a vector */
	uint16	   *copies;			/* dim values each */
	uint32		entry_count;
	uint32		entry_space;
	uint64		log_entries;	/* blank ones too */
	uint32		too_small;		/* vectors whose copies are nearly or wholly zero */
	uint32		too_large;		/* for a copy */
	uint32	   *entry_of;		/* by new element, from `stored` on: number of its entry */
	uint32		new_count;
	HmMergeEqual *equal;

	/* every TID of the new part */
	HmMergeTids refs;			/* one per own or new element, in their order */
	HmMergeTids postings;
	HmMergeTids tail;
	float		max_norm;

	/* numbers as stored */
	uint32	   *new_of_old;		/* by own or new element */
	uint32	   *old_of_new;

	HmMergeReport *report;
	bool		(*progress) (const HmMergeReport *report, void *state);
	void	   *progress_state;
	TimestampTz snapshot_taken;
} HmMergeState;

/* merge.c */
/* Begins a phase of so many steps. */
extern void hm_merge_enter(HmMergeState *merge, HmMergePhase phase, uint64 total);

/* Notes that so many steps of the phase are done; a place where a merge may be stopped. */
extern void hm_merge_progress(HmMergeState *merge, uint64 done);

extern void hm_merge_out_of_memory(const HmMergeState *merge) pg_attribute_noreturn();

/* Appends a TID. */
extern void hm_merge_add_tid(HmMergeTids *tids, const HmMergeTid *tid);

static inline bool
hm_merge_is_dead(const HmMergeState *merge, uint32 id)
{
	return merge->dead != NULL && ((merge->dead[id / 64] >> (id % 64)) & 1);
}

/* merge_read.c */
/* Reads the sealed log: entries, copies, tail. */
extern void hm_merge_read_log(HmMergeState *merge);

/* Reads the parts that are replaced into the overlay, which it creates. */
extern void hm_merge_read_parts(HmMergeState *merge);

/* merge_grow.c */
/* Inserts the log's vectors, repairs lists, and reaches what cannot be reached. */
extern void hm_merge_grow(HmMergeState *merge);

/* merge_build.c */
/*
 * Does the same as a build does, by several processes, if that is worth while.
 * False: it is not, and nothing has been changed.
 */
extern bool hm_merge_build(HmMergeState *merge);

/* merge_equal.c */
extern void hm_merge_equal_begin(HmMergeState *merge);

/* The half-precision copy of an entry of the log. */
static inline const uint16 *
hm_merge_entry_copy(const HmMergeState *merge, uint32 number)
{
	return merge->copies + (Size) number * merge->directory.meta.dim;
}

/*
 * The element of an entry before this one that has the very same vector, or
 * HM_NO_ID: then the caller sets *noted to the entry's element, before the next
 * call.
 */
extern uint32 hm_merge_equal_entry(HmMergeState *merge, uint32 number, uint32 **noted);

/* Whether a stored element has the very vector of an entry. */
extern bool hm_merge_has_vector(HmMergeState *merge, uint32 id, uint32 number);

/*
 * For those who have the copies of all stored elements: notes one, and finds
 * the one that has the very vector of an entry, or HM_NO_ID.
 */
extern void hm_merge_note_stored(HmMergeState *merge, uint32 id, const uint16 *copy);
extern uint32 hm_merge_equal_stored(HmMergeState *merge, uint32 number);

/* Makes an entry's row a further one of an element. */
extern void hm_merge_join(HmMergeState *merge, uint32 id, uint32 number);

/* Makes it that of a new element, the next one. */
extern void hm_merge_add_ref(HmMergeState *merge, uint32 id, uint32 number);

/* merge_write.c */
/* Writes the part; *part: as to be listed. */
extern void hm_merge_write(HmMergeState *merge, HmPartDesc *part);

/* Switches the directory to it. */
extern void hm_merge_publish(HmMergeState *merge, HmPartDesc *part);

#endif							/* HM_INDEX_MERGE_STATE_H */
