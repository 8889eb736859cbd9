/*-------------------------------------------------------------------------
 *
 * check_graph.c
 *	  Checks the graph: lists, patches, and what level 0 reaches.
 *
 * Lists are read in the order in which they are stored, and followed only
 * after their links were found to be in range.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/check_state.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/error.h"
#include "storage/part.h"
#include "utils/memutils.h"

static int
list_slots(const HmCheck *check, int level)
{
	return level == 0 ? 2 * check->directory.meta.m : check->directory.meta.m;
}

static bool
has_level(const HmCheck *check, uint32 element, int level)
{
	const HmPartDesc *part = check->parts[hm_check_part_of(check, element)].desc;

	return element - part->first_element < part->level_count[level];
}

/* Checks a list of so many slots, stored on `block`: unused ones come last. */
static void
check_list(HmCheck *check, uint32 element, int level, const uint32 *links, int slots,
		   BlockNumber block)
{
	int			used = 0;

	while (used < slots && links[used] != HM_NO_ID)
		used++;
	for (int i = used; i < slots; i++)
	{
		if (links[i] != HM_NO_ID)
			hm_corrupt(check->index, block, "Element %u has a hole in its list on level %d.", element, level);
	}

	for (int i = 0; i < used; i++)
	{
		if (links[i] >= check->elements)
			hm_corrupt(check->index, block, "Element %u of %u is linked to element %u on level %d.",
					   element, check->elements, links[i], level);
		if (links[i] == element)
			hm_corrupt(check->index, block, "Element %u is linked to itself on level %d.", element, level);
		if (level > 0 && !has_level(check, links[i], level))
			hm_corrupt(check->index, block, "Element %u is linked on level %d to element %u, which is not there.",
					   element, level, links[i]);
		for (int j = 0; j < i; j++)
		{
			if (links[j] == links[i])
				hm_corrupt(check->index, block, "Element %u is linked to element %u twice on level %d.",
						   element, links[i], level);
		}
	}
}

/* The lists that elements of a part were written with. */
static void
check_own_lists(HmCheck *check, uint32 number)
{
	const HmCheckPart *part = &check->parts[number];
	uint32		first = part->desc->first_element;

	for (uint32 i = 0; i < part->desc->element_count; i++)
		check_list(check, first + i, 0, hm_check_entry(check, number, HM_ARRAY_LINKS, i),
				   list_slots(check, 0), hm_check_entry_block(check, number, HM_ARRAY_LINKS, i));

	for (int level = 1; level < HM_MAX_LEVELS; level++)
	{
		for (uint32 i = 0; i < part->desc->level_count[level]; i++)
		{
			uint64		entry = part->upper_first[level] + i;

			check_list(check, first + i, level, hm_check_entry(check, number, HM_ARRAY_UPPER, entry),
					   list_slots(check, level), hm_check_entry_block(check, number, HM_ARRAY_UPPER, entry));
		}
	}
}

/* The slots of a patch that has any. */
static const uint32 *
patch_list(HmCheck *check, uint32 part, const HmPatchKey *key)
{
	return hm_check_entry(check, part, HM_ARRAY_PATCH_LISTS, key->offset);
}

/* The lists of older elements that a part replaces. */
static void
check_patches(HmCheck *check, uint32 number)
{
	HmCheckPart *part = &check->parts[number];
	const HmPartDesc *desc = part->desc;
	HmPatchKey	last = {0};

	part->patched = MemoryContextAllocHuge(CurrentMemoryContext, (Size) desc->patch_count * sizeof(uint32));
	for (uint32 i = 0; i < desc->patch_count; i++)
	{
		HmPatchKey	key = *(const HmPatchKey *) hm_check_entry(check, number, HM_ARRAY_PATCH_KEYS, i);
		BlockNumber block = hm_check_entry_block(check, number, HM_ARRAY_PATCH_KEYS, i);
		const uint32 *links;

		if (key.level >= HM_MAX_LEVELS || key.element >= desc->first_element ||
			!has_level(check, key.element, key.level))
			hm_corrupt(check->index, block, "Part %u replaces a list of element %u on level %u, which no older part has.",
					   desc->part, key.element, key.level);
		if (i > 0 && (key.level < last.level || (key.level == last.level && key.element <= last.element)))
			hm_corrupt(check->index, block, "Part %u replaces lists of element %u on level %u out of order.",
					   desc->part, key.element, key.level);
		if (key.count > list_slots(check, key.level) ||
			key.offset > desc->patch_slots || key.count > desc->patch_slots - key.offset ||
			key.offset % HM_PATCH_PAGE_SLOTS + key.count > HM_PATCH_PAGE_SLOTS)
			hm_corrupt(check->index, block, "The list of element %u on level %u has %u slots from slot " UINT64_FORMAT " of " UINT64_FORMAT ".",
					   key.element, key.level, key.count, key.offset, desc->patch_slots);

		if (key.count > 0)
		{
			block = hm_check_entry_block(check, number, HM_ARRAY_PATCH_LISTS, key.offset);
			links = patch_list(check, number, &key);
			if (links[key.count - 1] == HM_NO_ID)
				hm_corrupt(check->index, block, "The list of element %u on level %u has unused slots.",
						   key.element, key.level);
			check_list(check, key.element, key.level, links, key.count, block);
		}
		if (key.level == 0)
			part->patched[part->patched_count++] = key.element;
		last = key;
	}

	/* Pages that hold no list are verified all the same. */
	for (uint32 page = desc->array_page[HM_ARRAY_PATCH_LISTS];
		 page < desc->array_page[HM_ARRAY_PATCH_LISTS + 1]; page++)
		(void) hm_check_page(check, number, HM_ARRAY_PATCH_LISTS,
							 page - desc->array_page[HM_ARRAY_PATCH_LISTS]);
}

void
hm_check_lists(HmCheck *check)
{
	for (uint32 part = 0; part < check->directory.meta.part_count; part++)
	{
		check_own_lists(check, part);
		check_patches(check, part);
	}
}

/* The key under which a part replaces an element's list on level 0; false: it does not. */
static bool
find_patch(HmCheck *check, uint32 part, uint32 element, HmPatchKey *key)
{
	const uint32 *patched = check->parts[part].patched;
	uint32		low = 0;
	uint32		high = check->parts[part].patched_count;

	while (low < high)
	{
		uint32		middle = low + (high - low) / 2;

		if (patched[middle] < element)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == check->parts[part].patched_count || patched[low] != element)
		return false;
	*key = *(const HmPatchKey *) hm_check_entry(check, part, HM_ARRAY_PATCH_KEYS, low);
	return true;
}

/* The present list of an element on level 0. */
static const uint32 *
current_list(HmCheck *check, uint32 element, int *slots)
{
	uint32		own = hm_check_part_of(check, element);
	HmPatchKey	key;

	for (uint32 part = check->directory.meta.part_count - 1; part > own; part--)
	{
		if (!find_patch(check, part, element, &key))
			continue;
		*slots = key.count;
		return key.count > 0 ? patch_list(check, part, &key) : NULL;
	}
	*slots = list_slots(check, 0);
	return hm_check_entry(check, own, HM_ARRAY_LINKS, element - check->parts[own].desc->first_element);
}

/* A bit per element, all clear. */
static uint64 *
make_bitmap(const HmCheck *check)
{
	return MemoryContextAllocExtended(CurrentMemoryContext,
									  ((Size) check->elements / 64 + 1) * sizeof(uint64),
									  MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
}

/*
 * Marks the elements that level 0 reaches from the entry point, through live
 * and dead ones.  Those whose lists are still to be followed are taken in
 * ascending order, again and again until there are none, rather than in the
 * order in which they were found: so neighbours on a page are read together,
 * and there is no queue to hold or sort.
 */
static uint64 *
flood(HmCheck *check)
{
	uint64	   *reached = make_bitmap(check);
	uint64	   *waiting = make_bitmap(check);
	uint32		entry = check->directory.meta.entry_point;
	uint64		count = 1;		/* of those waiting */

	reached[entry / 64] = waiting[entry / 64] = UINT64CONST(1) << (entry % 64);
	while (count > 0)
	{
		for (uint32 word = 0; word <= (check->elements - 1) / 64; word++)
		{
			CHECK_FOR_INTERRUPTS();
			while (waiting[word] != 0)
			{
				int			bit = pg_rightmost_one_pos64(waiting[word]);
				int			slots;
				const uint32 *links = current_list(check, word * 64 + bit, &slots);

				waiting[word] &= ~(UINT64CONST(1) << bit);
				count--;
				for (int i = 0; i < slots && links[i] != HM_NO_ID; i++)
				{
					uint64		link_bit = UINT64CONST(1) << (links[i] % 64);

					if (reached[links[i] / 64] & link_bit)
						continue;
					reached[links[i] / 64] |= link_bit;
					waiting[links[i] / 64] |= link_bit;
					count++;
				}
			}
		}
	}
	pfree(waiting);
	return reached;
}

/*
 * Counts the live elements that level 0 does not reach.  Their rows are found
 * only by a scan that goes on until it sweeps, which is no damage, but costs
 * recall.
 */
void
hm_check_reach(HmCheck *check)
{
	uint64	   *reached;

	if (check->elements == 0)
		return;
	reached = flood(check);
	for (uint32 element = 0; element < check->elements; element++)
	{
		uint64		bit = UINT64CONST(1) << (element % 64);

		if ((check->live[element / 64] & bit) == 0)
			continue;
		check->report->live_elements++;
		if ((reached[element / 64] & bit) == 0)
			check->report->unreachable++;
	}
	pfree(reached);
}
