/*-------------------------------------------------------------------------
 *
 * log.h
 *	  The log: rows inserted since the graph was built.
 *
 * A chain of ordinary pages in shared buffers, each entry holding the row's
 * TID and a half-precision copy of its vector.  Scans compare every entry.
 *
 * Locks: an inserter holds the exclusive lock of the last page while it adds
 * an entry, and takes the metapage's after it when the chain grows.  A scan
 * holds one page's share lock at a time.  Pages are never removed from the
 * chain while the index exists, so a scan may let go of a page before it
 * takes the next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_LOG_H
#define HM_STORAGE_LOG_H

#include "storage/format.h"
#include "storage/metapage.h"

/*
 * Appends an entry.  kind: HM_LOG_VECTOR, with `copy` of directory->meta.dim
 * values, or an HmTailKind, without.
 */
extern void hm_log_append(Relation index, const HmDirectory *directory, ItemPointer tid,
						  int kind, float norm, const uint16 *copy);

/*
 * Called for each entry that is not blank.  copy: the vector (kind
 * HM_LOG_VECTOR), else NULL.  A page is share-locked meanwhile: no buffers, no
 * waiting.
 */
typedef void (*HmLogVisitor) (void *state, const HmLogEntry *entry, const uint16 *copy);

extern void hm_log_scan(Relation index, const HmDirectory *directory,
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
 * Sets the dimension and scale of an index that has none yet, and rereads the
 * directory; another inserter may have been faster.
 */
extern void hm_log_set_dimension(Relation index, HmDirectory *directory, uint32 dim, int scale);

#endif							/* HM_STORAGE_LOG_H */
