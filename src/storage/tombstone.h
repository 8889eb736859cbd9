/*-------------------------------------------------------------------------
 *
 * tombstone.h
 *	  One bit per TID of a part: its row is dead, and the TID may by now
 *	  belong to another row.
 *
 * VACUUM sets bits on ordinary pages through shared buffers, then raises the
 * directory's tombstone version, all of it logged before ambulkdelete returns
 * and so before any of the TIDs can be used again.  A scan reads the directory
 * after its snapshot was taken: a TID reused before that is tombstoned in what
 * it reads, and a row that reuses one later is invisible to it.
 *
 * A process keeps a copy of the bits for as long as the version is the same.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_TOMBSTONE_H
#define HM_STORAGE_TOMBSTONE_H

#include "storage/format.h"
#include "storage/metapage.h"

/*
 * The bits of a part as of directory->meta.tombstone_version, or NULL when
 * none is set.  Valid until released; the bits may become newer ones meanwhile,
 * which are right for an older scan too.
 */
extern const uint64 *hm_tombstones_load(Relation index, const HmDirectory *directory,
										const HmPartDesc *part);

extern void hm_tombstones_release(const uint64 *bits);

/* The same past this process's copy, for VACUUM: see hm_tombstones_set. */
extern const uint64 *hm_tombstones_reload(Relation index, const HmDirectory *directory,
										  const HmPartDesc *part);

/*
 * Sets bits (ascending numbers, none set before), and publishes that
 * total_dead are set in all.  The directory is reread.  The caller holds the
 * publish lock, so that the directory's parts stay.
 *
 * A VACUUM that was cancelled may have set bits and not published them, so
 * that other processes do not look for them.  Therefore VACUUM reloads, counts
 * what is set, and calls this also with no new bits when the directory's
 * dead_count is not what it counted.
 */
extern void hm_tombstones_set(Relation index, HmDirectory *directory, uint32 part_number,
							  const uint64 *bits, uint64 count, uint64 total_dead);

/*
 * The two halves of it, for a merge, whose part is not listed yet: makes the
 * pages of a part, all bits clear, in space that is PENDING; sets bits.
 */
extern BlockNumber hm_tombstones_create(Relation index, const HmDirectory *directory,
										const HmPartDesc *part);
extern void hm_tombstones_write(Relation index, const HmDirectory *directory,
								const HmPartDesc *part, BlockNumber first,
								const uint64 *bits, uint64 count);

static inline bool
hm_tombstone_is_set(const uint64 *tombstones, uint64 bit)
{
	return tombstones != NULL && ((tombstones[bit / 64] >> (bit % 64)) & 1);
}

#endif							/* HM_STORAGE_TOMBSTONE_H */
