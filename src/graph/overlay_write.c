/*-------------------------------------------------------------------------
 *
 * overlay_write.c
 *	  What of a changed graph is to be stored, and under which numbers.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/overlay.h"

#include <stdlib.h>
#include <string.h>

/*
 * Appends the own elements that level 0 reaches from old_of_new[*n], which is
 * marked, to the breadth-first order.  What is not to be kept bears the mark
 * `dropped` already.
 */
static void
append_reachable(HmOverlay *overlay, uint32_t *old_of_new, uint32_t *new_of_old, uint32_t *n)
{
	uint32_t	head = *n;
	uint32_t	tail = head + 1;

	while (head < tail)
	{
		int			slots;
		const uint32_t *links = hm_overlay_list(overlay, old_of_new[head++], 0, &slots);
		int			i;

		for (i = 0; i < slots && links[i] != HM_NO_ID; i++)
		{
			uint32_t	own = links[i] - overlay->first;

			if (!hm_overlay_has(overlay, links[i], 0) || links[i] < overlay->first ||
				new_of_old[own] != 0)
				continue;
			new_of_old[own] = 1;
			old_of_new[tail++] = links[i];
		}
	}
	*n = tail;
}

/*
 * Writes the own elements to be kept into old_of_new in the order that they
 * shall have within their levels.  Marks in new_of_old: 0 kept and not in it
 * yet, 1 in it, HM_NO_ID dropped.
 */
static void
order_elements(HmOverlay *overlay, uint32_t *old_of_new, uint32_t *new_of_old)
{
	bool		breadth_first = overlay->first == 0;
	uint32_t	entry = overlay->store.entry_point;
	uint32_t	n = 0;
	uint32_t	own;

	if (breadth_first && entry < overlay->own_count && new_of_old[entry] == 0)
	{
		new_of_old[entry] = 1;
		old_of_new[0] = entry;
		append_reachable(overlay, old_of_new, new_of_old, &n);
	}
	for (own = 0; own < overlay->own_count; own++)
	{
		if (new_of_old[own] != 0)
			continue;
		new_of_old[own] = 1;
		old_of_new[n] = overlay->first + own;
		if (breadth_first)
			append_reachable(overlay, old_of_new, new_of_old, &n);
		else
			n++;
	}
}

uint32_t
hm_overlay_number(HmOverlay *overlay, bool keep_dead, uint32_t *new_of_old,
				  uint32_t *old_of_new, uint32_t level_count[HM_MAX_LEVELS])
{
	uint32_t	next[HM_MAX_LEVELS];
	uint32_t	kept = 0;
	uint32_t	own;
	uint32_t	i;
	int			level;

	if (!keep_dead)
		hm_overlay_move_entry(overlay);
	memset(level_count, 0, HM_MAX_LEVELS * sizeof(level_count[0]));
	for (own = 0; own < overlay->own_count; own++)
	{
		bool		drop = !keep_dead && hm_overlay_is_dead(overlay, overlay->first + own);

		new_of_old[own] = drop ? HM_NO_ID : 0;
		if (!drop)
		{
			kept++;
			level_count[overlay->levels[own]]++;
		}
	}
	order_elements(overlay, old_of_new, new_of_old);

	/* a counting sort by level, which keeps that order within each level */
	for (level = HM_MAX_LEVELS - 2; level >= 0; level--)
		level_count[level] += level_count[level + 1];
	for (level = 0; level < HM_MAX_LEVELS; level++)
		next[level] = level + 1 < HM_MAX_LEVELS ? level_count[level + 1] : 0;
	for (i = 0; i < kept; i++)
	{
		own = old_of_new[i] - overlay->first;
		new_of_old[own] = overlay->first + next[overlay->levels[own]]++;
	}
	for (own = 0; own < overlay->own_count; own++)
	{
		if (new_of_old[own] != HM_NO_ID)
			old_of_new[new_of_old[own] - overlay->first] = overlay->first + own;
	}
	return kept;
}

int
hm_overlay_read(HmOverlay *overlay, uint32_t id, int level, const uint32_t *new_of_old, uint32_t *slots)
{
	int			size;
	const uint32_t *links = hm_overlay_list(overlay, id, level, &size);
	int			used = 0;
	int			i;

	for (i = 0; links != NULL && i < size && links[i] != HM_NO_ID; i++)
	{
		uint32_t	link = links[i];

		if (!hm_overlay_has(overlay, link, level))
			continue;
		if (new_of_old != NULL && hm_overlay_is_own(overlay, link))
			link = new_of_old[link - overlay->first];
		if (link != HM_NO_ID)
			slots[used++] = link;
	}
	memset(slots + used, 0xFF, (size_t) (size - used) * sizeof(*slots));
	return used;
}

static int
compare_changes(const void *a, const void *b)
{
	const HmChange *x = a;
	const HmChange *y = b;

	if (x->level != y->level)
		return x->level < y->level ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

const HmChange *
hm_overlay_changes(HmOverlay *overlay, uint32_t *count)
{
	HmAllocator *allocator = &overlay->allocator;
	uint32_t	at = 0;

	*count = 0;
	allocator->release(allocator->state, overlay->sorted);
	overlay->sorted = NULL;
	/* no overflow: the hash table is at least twice as large */
	overlay->sorted = allocator->alloc(allocator->state,
									   ((size_t) overlay->change_count + 1) * sizeof(HmChange));
	if (overlay->sorted == NULL)
		return NULL;
	while (hm_overlay_next_change(overlay, &at, &overlay->sorted[*count]))
		(*count)++;
	qsort(overlay->sorted, *count, sizeof(HmChange), compare_changes);
	return overlay->sorted;
}

/*
 * A kept element of the highest level that any has, and the level: kept as
 * new_of_old says or, if that is NULL, if alive.  A dead element of the store
 * under this one is there still, but comes after a live own one as high.
 */
static uint32_t
highest_element(const HmOverlay *overlay, const uint32_t *new_of_old, int *top_level)
{
	const HmStore *under = overlay->under;
	uint32_t	highest = HM_NO_ID;
	uint32_t	own;

	*top_level = -1;
	for (own = 0; own < overlay->own_count; own++)
	{
		bool		kept = new_of_old != NULL ? new_of_old[own] != HM_NO_ID :
			!hm_overlay_is_dead(overlay, overlay->first + own);

		if (kept && overlay->levels[own] > *top_level)
		{
			highest = overlay->first + own;
			*top_level = overlay->levels[own];
		}
	}
	if (under != NULL && under->entry_point < overlay->first &&
		(under->top_level > *top_level ||
		 (under->top_level == *top_level && !hm_overlay_is_dead(overlay, under->entry_point))))
	{
		highest = under->entry_point;
		*top_level = under->top_level;
	}
	return highest;
}

uint32_t
hm_overlay_entry(const HmOverlay *overlay, const uint32_t *new_of_old)
{
	uint32_t	entry = overlay->store.entry_point;
	int			level;

	if (entry >= overlay->store.element_count ||
		(hm_overlay_is_own(overlay, entry) && new_of_old[entry - overlay->first] == HM_NO_ID))
		entry = highest_element(overlay, new_of_old, &level);
	return entry != HM_NO_ID && hm_overlay_is_own(overlay, entry) ?
		new_of_old[entry - overlay->first] : entry;
}

void
hm_overlay_move_entry(HmOverlay *overlay)
{
	HmStore    *store = &overlay->store;
	uint32_t	entry = store->entry_point;
	int			level;

	if (entry < store->element_count &&
		(!hm_overlay_is_own(overlay, entry) || !hm_overlay_is_dead(overlay, entry)))
		return;
	entry = highest_element(overlay, NULL, &level);
	if (entry == HM_NO_ID)
		return;
	store->entry_point = entry;
	store->top_level = level;
}
