/*-------------------------------------------------------------------------
 *
 * log.h
 *	  The log: rows inserted since the last merge.
 *
 * A chain of ordinary pages in shared buffers, each entry holding the row's
 * TID and a half-precision copy of its vector.  Scans compare every entry.
 *
 * Locks: an inserter holds the exclusive lock of the last page while it adds
 * an entry, and takes the metapage's after it when the chain grows.  A scan
 * holds one page's share lock at a time.  A merge takes pages out of the
 * directory's chain; they stay as they are, and linked to what follows, until
 * nobody can be reading them (storage/space.h), so a scan or inserter may let
 * go of a page before it takes the next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_LOG_H
#define HM_STORAGE_LOG_H

#include "graph/coarse.h"
#include "storage/format.h"
#include "storage/metapage.h"

/*
 * Appends an entry.  copy: directory->meta.dim values if the entry is of kind
 * HM_LOG_VECTOR, else NULL.  The directory may be reread.
 */
extern void hm_log_append(Relation index, HmDirectory *directory, const HmLogEntry *entry,
						  const uint16 *copy);

/* Entries with a vector that a page holds. */
extern uint32 hm_log_entries_per_page(const HmMeta *meta);

/*
 * Called for each entry.  copy: the vector (kind HM_LOG_VECTOR), else NULL.  A
 * page is share-locked meanwhile: no buffers, no waiting.
 */
typedef void (*HmLogVisitor) (void *state, const HmLogEntry *entry, const uint16 *copy);

/*
 * Entries that this process has side by side in its memory, none of them blank.
 * Of one that has no vector (kind), what belongs to it elsewhere is undefined.
 * Changes with the next scan of a log; what is numbered below count does not,
 * unless hm_log_copy says so.
 */
typedef struct HmLogCached
{
	uint64		stamp;			/* for hm_log_copy */
	uint32		count;
	const HmLogEntry *entries;
	const int8 *codes;			/* code_stride bytes each; NULL: there are none */
	Size		code_stride;
	const HmCoarse *coarse;		/* the same vectors' bounds */
} HmLogCached;

typedef void (*HmLogCachedVisitor) (void *state, const HmLogCached *cached);

/*
 * The half-precision copy of an entry with a vector that has been among those;
 * NULL: it is not there any more.
 */
extern const uint16 *hm_log_copy(uint64 stamp, uint32 number);

/*
 * Visits all entries that are not blank, in the order of insertion: those at
 * hand together, if there are any, then the others.
 */
extern void hm_log_scan(Relation index, const HmDirectory *directory,
						HmLogCachedVisitor visit_cached, HmLogVisitor visit, void *state);

/* Where the log ends for a merge, and goes on for everybody else. */
typedef struct HmLogSeal
{
	BlockNumber next_head;		/* the page that it goes on with; InvalidBlockNumber:
								 * there is no log */
	uint32		next_sequence;
	uint32		count;			/* space of the pages before that one */
	HmRun		ranges[HM_MAX_SPACES + 1];
} HmLogSeal;

/*
 * Begins a new page at the end of the chain, so that no entry is added to the
 * pages before it any more, and rereads the directory.
 */
extern void hm_log_seal(Relation index, HmDirectory *directory, HmLogSeal *seal);

/* Visits the entries of the pages before the seal, blank ones too. */
extern void hm_log_scan_sealed(Relation index, const HmDirectory *directory, const HmLogSeal *seal,
							   HmLogVisitor visit, void *state);

/*
 * Blanks the entries whose TID `is_dead` says is.  Returns how many were
 * blanked; *live: how many remain.
 */
extern uint64 hm_log_blank(Relation index, const HmDirectory *directory,
						   bool (*is_dead) (ItemPointer tid, void *state), void *state,
						   uint64 *live);

/* Counts entries (blank ones included), those not blank, and pages. */
extern void hm_log_count(Relation index, const HmDirectory *directory,
						 uint64 *entries, uint64 *live, uint32 *pages);

/*
 * Sets the dimension, scale and attached file of an index that has none yet,
 * and rereads the directory; another inserter may have been faster.
 */
extern void hm_log_set_dimension(Relation index, HmDirectory *directory, uint32 dim, int scale,
								 const HmIndexedFile *file);

#endif							/* HM_STORAGE_LOG_H */
