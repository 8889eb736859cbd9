/*-------------------------------------------------------------------------
 *
 * grow_list.c
 *	  Reading and changing one list of a growing graph.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "graph/grow_state.h"
#include "graph/select.h"

/* Nearest that a repair's heuristic sees: so many times m, but not fewer than these. */
#define REPAIR_NEAREST	3
#define REPAIR_FEWEST	32

const uint32_t *
hm_grow_read_list(HmGrower *grower, uint32_t id, int level, int *n)
{
	HmStore    *store = &grower->state->overlay->store;
	int			most = hm_overlay_slots(grower->state->overlay, level);
	int			slots;
	const uint32_t *links = store->links(store, id, level, &slots);

	if (links == NULL)
	{
		grower->links_id = id;
		grower->links_level = level;
		hm_grow_need(grower, HM_GROW_LINKS);
		return NULL;
	}
	*n = hm_used_slots(links, slots < most ? slots : most);
	return links;
}

uint32_t *
hm_grow_take_list(HmGrower *grower, uint32_t id, int level, int *n)
{
	HmOverlay  *overlay = grower->state->overlay;
	int			slots;
	uint32_t   *list = hm_overlay_list(overlay, id, level, &slots);

	if (list == NULL)
	{
		const uint32_t *links = hm_grow_read_list(grower, id, level, n);

		HM_ASSERT(!hm_overlay_is_own(overlay, id));
		if (links == NULL)
			return NULL;
		if (hm_overlay_change(overlay, id, level, links, *n) != HM_OK)
		{
			hm_grow_need(grower, HM_GROW_NO_MEMORY);
			return NULL;
		}
		list = hm_overlay_list(overlay, id, level, &slots);
	}
	*n = hm_used_slots(list, slots);
	return list;
}

int
hm_grow_free_slot(const HmGrower *grower, const uint32_t *list, int n, int level)
{
	const HmOverlay *overlay = grower->state->overlay;

	if (n < hm_overlay_slots(overlay, level))
		return n;
	while (--n >= 0 && hm_overlay_is_live(overlay, list[n], level))
		 /* the last that can go is the farthest, more or less */ ;
	return n;
}

/* hm_select_neighbours scores through this. */
static void
score_pairs(void *state, uint32_t from, const uint32_t *ids, int n, float *distance)
{
	hm_grow_score(state, from, ids, n, distance);
}

int
hm_grow_select(HmGrower *grower, HmCandidate *candidates, int n, int limit)
{
	return hm_select_neighbours(candidates, n, limit, score_pairs, grower);
}

/*
 * Whether one of the others of these elements links to an element, as far as
 * that can be told without help.
 */
static bool
is_linked_from(HmOverlay *overlay, const uint32_t *ids, int n, uint32_t id, int level)
{
	HmStore    *store = &overlay->store;
	int			i;

	for (i = 0; i < n; i++)
	{
		const uint32_t *links;
		int			slots;

		if (ids[i] == id || !hm_overlay_is_live(overlay, ids[i], level))
			continue;
		links = store->links(store, ids[i], level, &slots);
		if (links != NULL && hm_list_contains(links, hm_used_slots(links, slots), id))
			return true;
	}
	return false;
}

/* How many of the sorted candidates the heuristic of a repair sees; equal distances count once. */
static int
count_nearest(const HmCandidate *candidates, int n, int m)
{
	int			limit = m * REPAIR_NEAREST > REPAIR_FEWEST ? m * REPAIR_NEAREST : REPAIR_FEWEST;
	int			distances = 0;
	int			i;

	for (i = 0; i < n; i++)
	{
		if ((i == 0 || candidates[i].distance != candidates[i - 1].distance) && ++distances > limit)
			break;
	}
	return i;
}

void
hm_grow_choose_list(HmGrower *grower, uint32_t *list, uint32_t id, int level,
					const uint32_t *ids, int member_n, int id_n, bool keep_members)
{
	HmOverlay  *overlay = grower->state->overlay;
	int			slots = hm_overlay_slots(overlay, level);

	/* leave some room, or the next link would have the list chosen anew again */
	int			most = keep_members ? slots : slots - slots / 8;
	HmCandidate candidates[2 * HM_MAX_M + HM_REPAIR_EXTRA];
	uint32_t	scored[2 * HM_MAX_M + HM_REPAIR_EXTRA];
	uint32_t	unscored[2 * HM_MAX_M + HM_REPAIR_EXTRA];
	float		distance[2 * HM_MAX_M + HM_REPAIR_EXTRA];
	bool		blind = hm_grow_is_absent(grower, id);
	int			scored_n = 0;
	int			unscored_n = 0;
	int			newcomers = slots;	/* there is room for */
	int			considered;
	int			chosen;
	int			n = 0;
	int			i;

	HM_ASSERT(id_n <= 2 * HM_MAX_M + HM_REPAIR_EXTRA);
	for (i = 0; i < id_n; i++)
	{
		bool		absent = hm_grow_is_absent(grower, ids[i]);

		if (!hm_overlay_is_live(overlay, ids[i], level) || (absent && i >= member_n))
			continue;
		newcomers -= i < member_n && keep_members;
		if (absent || blind)
			unscored[unscored_n++] = ids[i];
		else
			scored[scored_n++] = ids[i];
	}
	hm_grow_score(grower, id, scored, scored_n, distance);
	for (i = 0; i < scored_n; i++)
	{
		candidates[i].id = scored[i];
		candidates[i].distance = distance[i];
	}
	hm_sort_candidates(candidates, scored_n);
	for (i = 0; i < scored_n; i++)
		scored[i] = candidates[i].id;
	considered = keep_members ? count_nearest(candidates, scored_n, (int) overlay->store.m) : scored_n;
	chosen = hm_grow_select(grower, candidates, considered, slots);
	for (i = 0; i < chosen; i++)
	{
		bool		stays = keep_members && hm_list_contains(ids, member_n, candidates[i].id);

		if (stays || newcomers-- > 0)
			list[n++] = candidates[i].id;
	}

	/* what the heuristic can do without, but others perhaps not */
	for (i = 0; i < scored_n && n < most; i++)
	{
		if (keep_members && !hm_list_contains(ids, member_n, scored[i]))
			continue;
		if (!hm_list_contains(list, n, scored[i]) &&
			(keep_members || !is_linked_from(overlay, list, n, scored[i], level)))
			list[n++] = scored[i];
	}
	for (i = 0; i < unscored_n && n < slots; i++)
		list[n++] = unscored[i];
	HM_ASSERT(n <= slots);
	memset(list + n, 0xFF, (size_t) (slots - n) * sizeof(*list));
}

bool
hm_grow_pick_victim(HmGrower *grower, uint32_t id, int level, const uint32_t *list,
					int n, const bool *fixed, int *slot)
{
	HmCandidate members[2 * HM_MAX_M];
	uint32_t	ids[2 * HM_MAX_M + 1];
	float		distance[2 * HM_MAX_M];
	int			member_n = 0;
	int			i;

	memcpy(ids, list, (size_t) n * sizeof(*ids));
	ids[n] = id;
	if (!hm_grow_load(grower, ids, n + 1))
		return false;

	/* in `members`, id is the slot */
	for (i = 0; i < n; i++)
	{
		if (fixed != NULL && fixed[i])
			continue;
		members[member_n].id = (uint32_t) i;
		members[member_n++].distance = INFINITY;
	}
	if (!hm_grow_is_absent(grower, id))
	{
		int			scored_n = 0;

		for (i = 0; i < member_n; i++)
		{
			if (!hm_grow_is_absent(grower, list[members[i].id]))
				ids[scored_n++] = list[members[i].id];
		}
		hm_grow_score(grower, id, ids, scored_n, distance);
		scored_n = 0;
		for (i = 0; i < member_n; i++)
		{
			if (!hm_grow_is_absent(grower, list[members[i].id]))
				members[i].distance = distance[scored_n++];
		}
		hm_sort_candidates(members, member_n);
	}
	*slot = member_n > 0 ? (int) members[member_n - 1].id : -1;
	for (i = member_n - 1; i >= 0; i--)
	{
		if (is_linked_from(grower->state->overlay, list, n, list[members[i].id], level))
		{
			*slot = (int) members[i].id;
			break;
		}
	}
	return true;
}
