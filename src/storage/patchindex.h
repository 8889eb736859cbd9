/*-------------------------------------------------------------------------
 *
 * patchindex.h
 *	  Which lists of older parts a part replaces, in memory.
 *
 * A search asks this for every list that it reads, of every part newer than
 * the element, and the answer is nearly always no.  So level 0 has a bitmap of
 * blocks of ids, in words that hold 32 bits and the number of bits set in all
 * words before: one load says no, or where to look.  A block is one id where
 * the part replaces many lists, and more where a bit per id would be out of
 * proportion to them.
 *
 * Higher levels, of which a search reads few lists, are searched by bisection.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_PATCHINDEX_H
#define HM_STORAGE_PATCHINDEX_H

#include "storage/format.h"
#include "storage/metapage.h"

#define HM_PATCH_SLOTS_PER_PAGE	((uint32) (HM_PAGE_DATA / sizeof(uint32)))

/* Where a replaced list lies. */
typedef struct HmPatch
{
	uint32		page;			/* of PATCH_LISTS */
	uint16		offset;			/* data offset of the first slot, in bytes */
	uint16		count;			/* used slots; 0: the list is nowhere */
} HmPatch;

typedef struct HmPatchIndex
{
	/* by (level, element), those of level L from level_first[L] on */
	const uint32 *elements;
	const HmPatch *patches;
	uint32		level_first[HM_MAX_LEVELS + 1];

	/* level 0 */
	int			shift;			/* a block is 2^shift ids */
	const uint64 *words;		/* low half: a bit per block; high half: blocks
								 * with patches before this word's */
	const uint32 *block_first;	/* per block with patches: its first patch, and
								 * behind the last where it ends; NULL when a
								 * block is one id */
	MemoryContext context;		/* holds all of this */
} HmPatchIndex;

/*
 * Reads and verifies the keys of a part.  Raises ERRCODE_INDEX_CORRUPTED when
 * they are not in order, name an element that is not of an older part, or a
 * list that PATCH_LISTS does not hold.  The index is in a memory context of its
 * own, a child of the given one.
 */
extern HmPatchIndex *hm_patch_index_make(Relation index, const HmDirectory *directory,
										 const HmPartDesc *part, MemoryContext parent);
extern void hm_patch_index_free(HmPatchIndex *patches);

/* Finds an element's patch among numbers first .. end - 1. */
static inline const HmPatch *
hm_patch_bisect(const HmPatchIndex *patches, uint32 first, uint32 end, uint32 element)
{
	uint32		low = first;
	uint32		high = end;

	while (low < high)
	{
		uint32		middle = low + (high - low) / 2;

		if (patches->elements[middle] < element)
			low = middle + 1;
		else
			high = middle;
	}
	return low < end && patches->elements[low] == element ? &patches->patches[low] : NULL;
}

/*
 * The patch for an element's list at a level, or NULL.  The element is of an
 * older part than the index's.
 */
static inline const HmPatch *
hm_patch_find(const HmPatchIndex *patches, uint32 element, int level)
{
	uint32		block;
	uint32		rank;
	uint64		word;

	if (HM_UNLIKELY(level > 0))
		return hm_patch_bisect(patches, patches->level_first[level],
							   patches->level_first[level + 1], element);

	block = element >> patches->shift;
	word = patches->words[block / 32];
	if (HM_LIKELY(((word >> (block % 32)) & 1) == 0))
		return NULL;
	rank = (uint32) (word >> 32) +
		__builtin_popcount((uint32) word & ((UINT32_C(1) << (block % 32)) - 1));
	if (patches->block_first == NULL)
		return &patches->patches[rank];
	return hm_patch_bisect(patches, patches->block_first[rank],
						   patches->block_first[rank + 1], element);
}

#endif							/* HM_STORAGE_PATCHINDEX_H */
