/*-------------------------------------------------------------------------
 *
 * patchindex.c
 *	  Which lists of older parts a part replaces, in memory.
 *
 * Made from PATCH_KEYS, which is on disk what bisection needs and no more: 16
 * bytes a patch there, 12 here and the bitmap.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/error.h"
#include "storage/part.h"
#include "storage/patchindex.h"
#include "utils/memutils.h"

#define KEYS_PER_READ	512

/*
 * Bytes of bitmap allowed per patch of level 0, and in any case.  At 32 bytes,
 * 128 blocks, fewer than one in a hundred ids without a patch share their block
 * with one that has, and have to be looked for.
 */
#define BITMAP_BYTES_PER_PATCH	32
#define BITMAP_BYTES_FREE		4096

/* Raises an error for the key of that number. */
static void
bad_key(Relation index, const HmPartDesc *part, uint32 number, const HmPatchKey *key,
		const char *what)
{
	uint32		page = part->array_page[HM_ARRAY_PATCH_KEYS] +
		number / (HM_PAGE_DATA / sizeof(HmPatchKey));

	hm_corrupt(index, hm_part_block(part, page),
			   "Key %u of part %u, for a list of %u at slot " UINT64_FORMAT
			   " that replaces element %u's at level %u, %s.",
			   number, part->part, key->count, key->offset, key->element, key->level, what);
}

static void
check_key(Relation index, const HmMeta *meta, const HmPartDesc *part, uint32 number,
		  const HmPatchKey *key, const HmPatchKey *before)
{
	uint32		slots = key->level == 0 ? 2 * meta->m : meta->m;

	if (key->level >= HM_MAX_LEVELS)
		bad_key(index, part, number, key, "names a level that no element has");
	if (key->element >= part->first_element)
		bad_key(index, part, number, key, "names no element of an older part");
	if (before != NULL &&
		(before->level > key->level ||
		 (before->level == key->level && before->element >= key->element)))
		bad_key(index, part, number, key, "does not come after the one before it");
	if (key->count > slots)
		bad_key(index, part, number, key, "has more slots than a list");
	if (key->offset > part->patch_slots || key->count > part->patch_slots - key->offset)
		bad_key(index, part, number, key, "leads behind the end of the lists");
	if (key->offset % HM_PATCH_SLOTS_PER_PAGE + key->count > HM_PATCH_SLOTS_PER_PAGE)
		bad_key(index, part, number, key, "crosses the end of a page");
}

/* Reads all keys; sets level_first. */
static void
read_keys(Relation index, const HmDirectory *directory, const HmPartDesc *part,
		  HmPatchIndex *patches, uint32 *elements, HmPatch *places)
{
	HmPatchKey	keys[KEYS_PER_READ];
	HmPatchKey	before;
	uint32		levels = 0;		/* whose level_first is set */

	for (uint32 first = 0; first < part->patch_count; first += KEYS_PER_READ)
	{
		uint32		count = Min(KEYS_PER_READ, part->patch_count - first);

		CHECK_FOR_INTERRUPTS();
		hm_part_read(index, directory->incarnation, &directory->meta, part,
					 HM_ARRAY_PATCH_KEYS, first, count, keys);
		for (uint32 i = 0; i < count; i++)
		{
			const HmPatchKey *key = &keys[i];
			HmPatch    *place = &places[first + i];

			check_key(index, &directory->meta, part, first + i, key,
					  first + i > 0 ? &before : NULL);
			before = *key;
			while (levels <= key->level)
				patches->level_first[levels++] = first + i;

			/* an empty list may begin where the array ends, on no page of it */
			elements[first + i] = key->element;
			place->count = key->count;
			place->page = key->count > 0 ? (uint32) (key->offset / HM_PATCH_SLOTS_PER_PAGE) : 0;
			place->offset = (uint16) (key->offset % HM_PATCH_SLOTS_PER_PAGE * sizeof(uint32));
		}
	}
	while (levels <= HM_MAX_LEVELS)
		patches->level_first[levels++] = part->patch_count;
}

static uint64
bitmap_words(uint32 ids, int shift)
{
	return (ids >> shift) / 32 + UINT64CONST(1);
}

/* Makes the bitmap over the ids below the part's, and block_first where blocks need it. */
static void
make_bitmap(const HmPartDesc *part, HmPatchIndex *patches)
{
	uint32		count = patches->level_first[1];
	uint64		allowed = Max((uint64) count * BITMAP_BYTES_PER_PATCH, BITMAP_BYTES_FREE);
	uint64		word_count;
	uint64	   *words;
	uint32	   *block_first = NULL;
	uint32		blocks = 0;

	patches->shift = 0;
	while (bitmap_words(part->first_element, patches->shift) * sizeof(uint64) > allowed)
		patches->shift++;
	word_count = bitmap_words(part->first_element, patches->shift);
	words = MemoryContextAllocExtended(patches->context, word_count * sizeof(uint64),
									   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (patches->shift > 0)
		block_first = MemoryContextAllocHuge(patches->context,
											 ((Size) count + 1) * sizeof(uint32));

	for (uint32 i = 0; i < count; i++)
	{
		uint32		block = patches->elements[i] >> patches->shift;
		uint64		bit = UINT64CONST(1) << (block % 32);

		if (words[block / 32] & bit)
			continue;
		words[block / 32] |= bit;
		if (block_first != NULL)
			block_first[blocks] = i;
		blocks++;
	}
	if (block_first != NULL)
		block_first[blocks] = count;

	blocks = 0;
	for (uint64 i = 0; i < word_count; i++)
	{
		uint32		bits = (uint32) words[i];

		words[i] |= (uint64) blocks << 32;
		blocks += __builtin_popcount(bits);
	}
	patches->words = words;
	patches->block_first = block_first;
}

HmPatchIndex *
hm_patch_index_make(Relation index, const HmDirectory *directory, const HmPartDesc *part,
					MemoryContext parent)
{
	/* Not the parent's child before it is whole: it would outlive an error. */
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap patches",
												  ALLOCSET_START_SMALL_SIZES);
	HmPatchIndex *patches = MemoryContextAllocZero(context, sizeof(HmPatchIndex));
	uint32	   *elements = MemoryContextAllocHuge(context, (Size) part->patch_count * sizeof(uint32));
	HmPatch    *places = MemoryContextAllocHuge(context, (Size) part->patch_count * sizeof(HmPatch));

	patches->context = context;
	read_keys(index, directory, part, patches, elements, places);
	patches->elements = elements;
	patches->patches = places;
	make_bitmap(part, patches);

	MemoryContextSetParent(context, parent);
	return patches;
}

void
hm_patch_index_free(HmPatchIndex *patches)
{
	MemoryContextDelete(patches->context);
}
