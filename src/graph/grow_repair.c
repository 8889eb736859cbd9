/*-------------------------------------------------------------------------
 *
 * grow_repair.c
 *	  Choosing a list anew that has lost members.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "graph/grow_state.h"

static bool
end_repair(HmGrower *grower)
{
	grower->state->phase = NULL;
	return true;
}

/*
 * Has those who are new to a list link back, where that costs nothing: where
 * their lists are in memory and have room.
 */
static void
link_back(HmGrower *grower, const uint32_t *list)
{
	HmOverlay  *overlay = grower->state->overlay;
	const HmRepairState *repair = &grower->state->repair;
	int			slots;
	int			i;

	for (i = 0; i < hm_overlay_slots(overlay, repair->level) && list[i] != HM_NO_ID; i++)
	{
		uint32_t   *other;
		int			n;

		if (hm_list_contains(repair->ids, repair->member_n, list[i]))
			continue;
		other = hm_overlay_list(overlay, list[i], repair->level, &slots);
		if (other == NULL)
			continue;
		n = hm_used_slots(other, slots);
		if (n < slots && !hm_list_contains(other, n, repair->id))
			other[n] = repair->id;
	}
}

static bool
choose_anew(HmGrower *grower)
{
	HmRepairState *repair = &grower->state->repair;
	uint32_t	ids[2 * HM_MAX_M + HM_REPAIR_EXTRA + 1];
	uint32_t   *list;
	int			n;

	/* nobody lives here: the dead may still lead to somebody */
	if (repair->id_n == 0)
		return end_repair(grower);
	memcpy(ids, repair->ids, (size_t) repair->id_n * sizeof(*ids));
	ids[repair->id_n] = repair->id;
	if (!hm_grow_load(grower, ids, repair->id_n + 1))
		return false;
	list = hm_grow_take_list(grower, repair->id, repair->level, &n);
	if (list == NULL)
		return false;
	hm_grow_choose_list(grower, list, repair->id, repair->level,
						repair->ids, repair->member_n, repair->id_n, true);
	link_back(grower, list);
	grower->counters.repaired++;
	return end_repair(grower);
}

/* Adds live neighbours of the lost, each of whom may contribute its share. */
static bool
gather_heirs(HmGrower *grower)
{
	const HmOverlay *overlay = grower->state->overlay;
	HmRepairState *repair = &grower->state->repair;

	for (; repair->lost_at < repair->lost_n; repair->lost_at++)
	{
		int			lost_n = repair->lost_n - repair->lost_at;
		int			room = HM_REPAIR_EXTRA - (repair->id_n - repair->member_n);
		int			share = (room + lost_n - 1) / lost_n;
		int			n;
		int			i;
		const uint32_t *links = hm_grow_read_list(grower, repair->lost[repair->lost_at],
												  repair->level, &n);

		if (links == NULL)
			return false;
		for (i = 0; i < n && share > 0; i++)
		{
			if (links[i] == repair->id || !hm_overlay_is_live(overlay, links[i], repair->level) ||
				hm_list_contains(repair->ids, repair->id_n, links[i]))
				continue;
			repair->ids[repair->id_n++] = links[i];
			share--;
		}
	}
	grower->state->phase = choose_anew;
	return true;
}

static bool
find_lost(HmGrower *grower)
{
	const HmOverlay *overlay = grower->state->overlay;
	HmRepairState *repair = &grower->state->repair;
	int			n;
	int			i;
	const uint32_t *links = hm_grow_read_list(grower, repair->id, repair->level, &n);

	if (links == NULL)
		return false;
	repair->id_n = repair->lost_n = repair->lost_at = 0;
	for (i = 0; i < n; i++)
	{
		/* a list that was not taken into memory may contain anything */
		if (!hm_overlay_has(overlay, links[i], repair->level) || links[i] == repair->id)
			continue;
		if (hm_overlay_is_dead(overlay, links[i]))
			repair->lost[repair->lost_n++] = links[i];
		else if (!hm_list_contains(repair->ids, repair->id_n, links[i]))
			repair->ids[repair->id_n++] = links[i];
	}
	repair->member_n = repair->id_n;
	if (repair->lost_n == 0)
		return end_repair(grower);
	grower->state->phase = gather_heirs;
	return true;
}

void
hm_grow_repair(HmGrower *grower, uint32_t id, int level)
{
	HmRepairState *repair = &grower->state->repair;

	repair->id = id;
	repair->level = level;
	hm_grow_begin(grower, hm_overlay_is_live(grower->state->overlay, id, level) ? find_lost : end_repair);
}
