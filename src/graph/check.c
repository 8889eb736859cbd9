/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Structural check of a stored graph.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/check.h"

#include <string.h>

static void
note_defect(HmGraphReport *report, uint32_t id, uint32_t *counter)
{
	(*counter)++;
	if (report->first_bad == HM_NO_ID)
		report->first_bad = id;
}

/*
 * Checks one list.  `members` is how many elements the level has: the first
 * ones.  Returns the number of used slots.
 */
static uint32_t
check_list(HmGraphReport *report, uint32_t id, const uint32_t *links, int slots, uint32_t members)
{
	uint32_t	used = 0;
	bool		ended = false;
	int			i;
	int			j;

	for (i = 0; i < slots; i++)
	{
		if (links[i] == HM_NO_ID)
		{
			ended = true;
			continue;
		}
		used++;
		if (ended)
			note_defect(report, id, &report->holes);
		if (links[i] >= members)
			note_defect(report, id, &report->bad_ids);
		if (links[i] == id)
			note_defect(report, id, &report->self_links);
		for (j = 0; j < i && links[j] != links[i]; j++)
			 /* look for the same link */ ;
		if (j < i)
			note_defect(report, id, &report->duplicate_links);
	}
	return used;
}

static HmStatus
check_levels(HmStore *store, const uint32_t level_count[HM_MAX_LEVELS], HmGraphReport *report)
{
	int			level;

	for (level = 0; level < HM_MAX_LEVELS; level++)
	{
		uint32_t	members = level_count[level] < store->element_count ?
			level_count[level] : store->element_count;
		uint32_t	id;

		if (members != level_count[level] || (level == 0 && members != store->element_count) ||
			(level > 0 && members > level_count[level - 1]))
			note_defect(report, 0, &report->bad_ids);
		for (id = 0; id < members; id++)
		{
			int			slots;
			const uint32_t *links = store->links(store, id, level, &slots);
			uint32_t	used;

			if (links == NULL)
			{
				note_defect(report, id, &report->bad_ids);
				continue;
			}
			used = check_list(report, id, links, slots, members);
			report->links += used;
			if (level > 0)
				continue;
			report->degree_sum += used;
			if (used < report->degree_min)
				report->degree_min = used;
			if (used > report->degree_max)
				report->degree_max = used;
		}
	}
	if (store->element_count > 0 && store->entry_point >= store->element_count)
		note_defect(report, HM_NO_ID, &report->bad_ids);
	return HM_OK;
}

/* Counts the elements that level 0 does not reach from the entry point. */
static HmStatus
count_unreachable(HmStore *store, const HmAllocator *allocator, HmGraphReport *report)
{
	uint32_t	n = store->element_count;
	size_t		words = (size_t) n / 64 + 1;
	uint64_t   *reached = allocator->alloc(allocator->state, words * sizeof(*reached));
	uint32_t   *queue = allocator->alloc(allocator->state, ((size_t) n + 1) * sizeof(*queue));
	uint32_t	head = 0;
	uint32_t	tail = 0;

	if (reached == NULL || queue == NULL)
	{
		allocator->release(allocator->state, reached);
		allocator->release(allocator->state, queue);
		return HM_NO_MEMORY;
	}
	memset(reached, 0, words * sizeof(*reached));
	if (store->entry_point < n)
	{
		reached[store->entry_point / 64] |= UINT64_C(1) << (store->entry_point % 64);
		queue[tail++] = store->entry_point;
	}
	while (head < tail)
	{
		int			slots;
		const uint32_t *links = store->links(store, queue[head++], 0, &slots);
		int			i;

		for (i = 0; links != NULL && i < slots && links[i] != HM_NO_ID; i++)
		{
			uint64_t	bit = UINT64_C(1) << (links[i] % 64);

			if (links[i] >= n || (reached[links[i] / 64] & bit))
				continue;
			reached[links[i] / 64] |= bit;
			queue[tail++] = links[i];
		}
	}
	report->unreachable = n - tail;
	allocator->release(allocator->state, reached);
	allocator->release(allocator->state, queue);
	return HM_OK;
}

HmStatus
hm_graph_check(HmStore *store, const uint32_t level_count[HM_MAX_LEVELS],
			   const HmAllocator *allocator, HmGraphReport *report)
{
	HmStatus	status;

	memset(report, 0, sizeof(*report));
	report->first_bad = HM_NO_ID;
	report->degree_min = UINT32_MAX;
	check_levels(store, level_count, report);
	if (store->element_count == 0)
		report->degree_min = 0;
	status = count_unreachable(store, allocator, report);
	if (status != HM_OK)
		return status;
	if (report->bad_ids || report->self_links || report->duplicate_links || report->holes)
		return HM_CORRUPT;
	return HM_OK;
}
