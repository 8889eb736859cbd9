/*-------------------------------------------------------------------------
 *
 * format.c
 *	  Arithmetic of the format: where the arrays of a part lie.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/format.h"

uint64
hm_array_entry_count(const HmMeta *meta, const HmPartDesc *part, HmArray array)
{
	uint64		count = 0;

	switch (array)
	{
		case HM_ARRAY_LINKS:
		case HM_ARRAY_REFS:
			return part->element_count;
		case HM_ARRAY_UPPER:
			for (int level = 1; level < HM_MAX_LEVELS; level++)
				count += part->level_count[level];
			return count;
		case HM_ARRAY_POSTINGS:
			return part->posting_count;
		case HM_ARRAY_TAIL:
			return part->tail_count;
		case HM_ARRAY_ROWS:
			return hm_has_rows(meta) ? part->element_count : 0;
		case HM_ARRAY_PATCH_KEYS:
			return part->patch_count;
		case HM_ARRAY_PATCH_LISTS:
			return part->patch_slots;
		case HM_ARRAY_VECTORS:
			return meta->vectors == HM_VECTORS_FP16 ? part->element_count : 0;
		case HM_ARRAYS:
			break;
	}
	return 0;
}

bool
hm_part_layout(const HmMeta *meta, HmPartDesc *part)
{
	uint64		page = 0;

	for (int array = 0; array < HM_ARRAYS; array++)
	{
		uint64		count = hm_array_entry_count(meta, part, array);

		part->array_page[array] = (uint32) page;
		if (count > 0)
			page += hm_entries_pages(count, hm_array_entry_size(meta, array));
		if (page >= MaxBlockNumber - HM_RUN_ALIGNMENT)
			return false;
	}
	part->array_page[HM_ARRAYS] = (uint32) page;
	return true;
}

BlockNumber
hm_part_block(const HmPartDesc *part, uint32 page)
{
	for (uint32 i = 0; i < part->run_count; i++)
	{
		if (page < part->runs[i].pages)
			return part->runs[i].block + page;
		page -= part->runs[i].pages;
	}
	return InvalidBlockNumber;
}
