/*-------------------------------------------------------------------------
 *
 * mapping.h
 *	  Parts of an index, mapped into this process.
 *
 * All pages of a part appear at consecutive addresses, whatever runs of the
 * file they lie in, so that an entry's address is arithmetic.  A page may be
 * used once this process has found the right identity and CRC on it; a bitmap
 * remembers which.  Published pages never change, so that lasts as long as the
 * mapping.
 *
 * A mapping is process-local, shared by all scans of this process, keyed by
 * the relation's file and the part's incarnation and id, and survives the scan
 * that made it.  It is unmapped only while nobody refers to it: when its file
 * has gone, or a newer directory does not list its part.
 *
 * Where mapping is impossible or useless (temporary tables, direct I/O, no
 * address space, a platform without mmap for the file), hm_mapping_acquire
 * returns NULL and the caller reads through shared buffers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_MAPPING_H
#define HM_STORAGE_MAPPING_H

#include "compat.h"
#include "storage/format.h"
#include "storage/metapage.h"
#include "storage/patchindex.h"

typedef struct HmMapping
{
	const char *base;			/* page p is at base + p * BLCKSZ */
	uint64	   *verified;		/* a bit per page */
	uint32		pages;
	HmPartDesc	part;
	HmPatchIndex *patches;		/* NULL: not made yet, or there are none */

	uint64		verified_count; /* pages that passed, since the mapping was made */
	uint64		overlaid_count; /* of which private copies */
} HmMapping;

/* Finds or makes the mapping of a part of the directory; the caller holds a lock on the index. */
extern HmMapping *hm_mapping_acquire(Relation index, const HmDirectory *directory,
									 const HmPartDesc *part);
extern void hm_mapping_release(HmMapping *mapping);

/*
 * The mapped part's patches, or NULL if it has none.  They are read when first
 * asked for, and stay as long as the mapping.
 */
extern const HmPatchIndex *hm_mapping_patches(Relation index, const HmDirectory *directory,
											  HmMapping *mapping);

/*
 * Verifies a page, flushing its buffer or overlaying it with a private copy
 * where the file does not have it yet.  False: the page can be read through
 * shared buffers only.  Raises an error when it is wrong there too.
 */
extern bool hm_mapping_verify(Relation index, HmMapping *mapping, uint64 incarnation, uint32 page);

/* Raises the error for a fault that hm_guarded_call reported. */
extern void hm_mapping_fault(Relation index) pg_attribute_noreturn();

/*
 * Notes that up to `pages` pages were touched by a scan.  When the mappings of
 * this process are larger than the limit (in bytes, 0: none) and so much may
 * have been touched, gives the page table entries back to the kernel.
 */
extern void hm_mapping_touched(uint64 pages, uint64 limit);

/* The address of a page, or NULL while it has not been verified. */
static inline const char *
hm_mapping_page(const HmMapping *mapping, uint32 page)
{
	if (HM_LIKELY((mapping->verified[page / 64] >> (page % 64)) & 1))
		return mapping->base + (size_t) page * BLCKSZ;
	return NULL;
}

#endif							/* HM_STORAGE_MAPPING_H */
