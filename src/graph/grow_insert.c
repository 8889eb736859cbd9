/*-------------------------------------------------------------------------
 *
 * grow_insert.c
 *	  Inserting an element into a growing graph.
 *
 * As in a build, an insertion has two halves.  The first only reads: it
 * descends, searches each of the element's levels and selects its neighbours;
 * the caller may cancel it then.  The second writes the element's own lists
 * and a link from each chosen neighbour back to it.
 *
 * Where nothing alive can be found to link to (all are dead, or without a
 * vector), the element is linked with the entry point, whatever that is, so
 * that searches, which walk through the dead, get from there to it.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "graph/grow_state.h"

#define SEEDS 64

static bool search_level(HmGrower *grower);
static bool link_back(HmGrower *grower);

/* Makes the element the entry point if none has a level as high, and ends the insertion. */
static bool
finish(HmGrower *grower)
{
	HmStore    *store = &grower->state->overlay->store;
	const HmInsertState *insert = &grower->state->insert;

	if (store->entry_point >= store->element_count || store->top_level < insert->own_level)
	{
		store->entry_point = insert->id;
		store->top_level = insert->own_level;
	}
	grower->counters.inserted++;
	grower->state->phase = NULL;
	return true;
}

/*
 * The last of the neighbours have pruned the element away: puts it into the
 * nearest one's list.
 */
static bool
force_link(HmGrower *grower)
{
	HmInsertState *insert = &grower->state->insert;
	uint32_t	neighbour = insert->chosen[0][0].id;
	int			n;
	uint32_t   *list = hm_grow_take_list(grower, neighbour, 0, &n);
	int			slot;

	if (list == NULL)
		return false;
	slot = hm_grow_free_slot(grower, list, n, 0);
	if (slot < 0 && !hm_grow_pick_victim(grower, neighbour, 0, list, n, NULL, &slot))
		return false;
	list[slot] = insert->id;
	grower->counters.forced++;
	insert->level = 1;
	insert->at = 0;
	grower->state->phase = link_back;
	return true;
}

/* Adds a link to an element's list, choosing the list anew if it is full.  False: asked. */
static bool
add_link(HmGrower *grower, uint32_t to, int level, uint32_t id, bool *linked)
{
	uint32_t	ids[2 * HM_MAX_M + 2];
	int			n;
	uint32_t   *list = hm_grow_take_list(grower, to, level, &n);
	int			slot;

	*linked = true;
	if (list == NULL)
		return false;
	if (hm_list_contains(list, n, id))
		return true;
	slot = hm_grow_free_slot(grower, list, n, level);
	if (slot >= 0)
	{
		list[slot] = id;
		return true;
	}

	memcpy(ids, list, (size_t) n * sizeof(*ids));
	ids[n] = id;
	ids[n + 1] = to;
	if (!hm_grow_load(grower, ids, n + 2))
		return false;
	hm_grow_choose_list(grower, list, to, level, ids, n, n + 1, false);
	grower->counters.pruned++;
	*linked = hm_list_contains(list, hm_used_slots(list, n), id);
	return true;
}

/* Links the chosen ones back, level by level. */
static bool
link_back(HmGrower *grower)
{
	HmInsertState *insert = &grower->state->insert;

	for (; insert->level <= insert->from_level; insert->level++, insert->at = 0)
	{
		for (; insert->at < insert->chosen_n[insert->level]; insert->at++)
		{
			uint32_t	neighbour = insert->chosen[insert->level][insert->at].id;
			bool		linked;

			if (!add_link(grower, neighbour, insert->level, insert->id, &linked))
				return false;
			if (insert->level == 0)
				insert->linked |= linked;
		}
		if (insert->level == 0 && !insert->linked)
		{
			grower->state->phase = force_link;
			return true;
		}
	}
	grower->state->phase = finish;
	return true;
}

/*
 * On a level where nobody has been found, links the element with the entry
 * point, if it has to be reached there: at level 0, and on all levels if it is
 * to be the entry point, or what the present one leads to would be lost.
 */
static void
bridge(HmGrower *grower, int level)
{
	const HmStore *store = &grower->state->overlay->store;
	HmInsertState *insert = &grower->state->insert;

	if (insert->chosen_n[level] > 0 || (level > 0 && insert->own_level <= store->top_level))
		return;
	insert->chosen[level][0].id = store->entry_point;
	insert->chosen[level][0].distance = INFINITY;
	insert->chosen_n[level] = 1;
}

/* Writes the element's own lists, and goes on to link back. */
static bool
link_own(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmInsertState *insert = &state->insert;
	int			level;

	if (insert->from_level >= 0)
	{
		HmSearch   *search = state->search;
		int			n = hm_grow_select(grower, search->results, search->result_n,
									   (int) state->overlay->store.m);

		memcpy(insert->chosen[0], search->results, (size_t) n * sizeof(HmCandidate));
		insert->chosen_n[0] = n;
	}
	for (level = 0; level <= insert->from_level; level++)
	{
		uint32_t	links[HM_MAX_M];
		int			i;

		bridge(grower, level);
		for (i = 0; i < insert->chosen_n[level]; i++)
			links[i] = insert->chosen[level][i].id;
		hm_overlay_set(state->overlay, insert->id, level, links, i);
	}
	insert->level = 0;
	insert->at = 0;
	insert->linked = false;
	state->phase = link_back;
	return true;
}

/* Everything has been read: what has been found is in the search's results. */
static bool
report_found(HmGrower *grower)
{
	HmGrowState *state = grower->state;

	grower->found = state->search->results;
	grower->found_n = state->insert.from_level < 0 ? 0 : state->search->result_n;
	state->phase = link_own;
	return hm_grow_need(grower, HM_GROW_FOUND);
}

static bool
begin_level(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmInsertState *insert = &state->insert;
	bool		descending = insert->level > insert->own_level;

	/* above the element's own levels a dead one shows the way as well as any */
	state->own_dead_flag = state->under_dead_flag = descending ? HM_SCORED : HM_DEAD;

	/* one more, as the first starting point need not be fit for a result */
	if (!hm_grow_begin_search(grower, insert->id, insert->level, insert->starts, insert->start_n,
							  descending ? 1 : state->ef + 1))
		return false;
	state->phase = search_level;
	return true;
}

/*
 * Removes from the results what may not be linked to: starting points that are
 * dead or absent.  At most ef are left.
 */
static int
keep_fit(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmSearch   *search = state->search;
	int			n = 0;
	int			i;

	for (i = 0; i < search->result_n && n < state->ef; i++)
	{
		HmCandidate result = search->results[i];

		if (hm_overlay_is_live(state->overlay, result.id, state->search_level) &&
			result.id != state->insert.id && !hm_grow_is_absent(grower, result.id))
			search->results[n++] = result;
	}
	return search->result_n = n;
}

/*
 * Level 0 has led to nobody alive.  Starts again from live elements wherever
 * they are; with none of them, ends with nothing found.
 */
static bool
search_elsewhere(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	const HmOverlay *overlay = state->overlay;
	HmInsertState *insert = &state->insert;
	uint32_t	n = overlay->store.element_count;
	uint32_t	id = (uint32_t) (hm_mix64(insert->id) % n);
	HmCandidate start;
	uint32_t	ids[SEEDS];
	int			id_n = 0;
	uint32_t	i;
	int			at;

	insert->start_n = 0;
	for (i = 0; i < n && id_n < SEEDS; i++, id = id + 1 < n ? id + 1 : 0)
	{
		/* whole words of dead elements are passed over at once */
		if (id % 64 == 0 && id + 64 <= overlay->dead_count && i + 64 < n &&
			overlay->dead[id / 64] == UINT64_MAX)
		{
			i += 63;
			id += 63;
			continue;
		}
		if (id != insert->id && !hm_overlay_is_dead(overlay, id))
			ids[id_n++] = id;
	}
	if (!hm_grow_load(grower, ids, id_n))
		return false;
	for (at = 0; at < id_n && insert->start_n < insert->starts_capacity; at++)
	{
		if (hm_grow_is_absent(grower, ids[at]))
			continue;
		start.id = ids[at];
		hm_grow_score(grower, insert->id, &start.id, 1, &start.distance);
		insert->starts[insert->start_n++] = start;
	}
	insert->seeded = true;
	insert->level = 0;
	if (insert->start_n > 0)
		return begin_level(grower);
	state->search->result_n = 0;
	state->phase = report_found;
	return true;
}

/* Searches one level: to pass through above the element's levels, else to select from. */
static bool
search_level(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmInsertState *insert = &state->insert;
	HmSearch   *search = state->search;
	int			n;

	if (!hm_grow_run_search(grower))
		return false;
	if (insert->level > insert->own_level)
		n = search->result_n;
	else
		n = keep_fit(grower);
	if (n > 0)
	{
		insert->start_n = n < insert->starts_capacity ? n : insert->starts_capacity;
		memcpy(insert->starts, search->results, (size_t) insert->start_n * sizeof(HmCandidate));
	}
	if (insert->level == 0)
	{
		state->phase = n > 0 || insert->seeded ? report_found : search_elsewhere;
		return true;
	}
	if (insert->level <= insert->own_level)
	{
		n = hm_grow_select(grower, search->results, n, (int) state->overlay->store.m);
		memcpy(insert->chosen[insert->level], search->results, (size_t) n * sizeof(HmCandidate));
		insert->chosen_n[insert->level] = n;
	}
	insert->level--;
	return begin_level(grower);
}

/* From the entry point down. */
static bool
enter(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	const HmStore *store = &state->overlay->store;
	HmInsertState *insert = &state->insert;
	uint32_t	entry = store->entry_point;
	int			top = store->top_level < HM_MAX_LEVELS ? store->top_level : HM_MAX_LEVELS - 1;

	if (!hm_grow_note_loaded(grower, insert->id))
		return false;
	if (entry >= store->element_count || entry == insert->id)
	{
		insert->from_level = -1;
		state->phase = report_found;
		return true;
	}
	if (!hm_grow_load(grower, &entry, 1))
		return false;
	insert->starts[0].id = entry;
	insert->starts[0].distance = INFINITY;
	if (!hm_grow_is_absent(grower, entry))
		hm_grow_score(grower, insert->id, &entry, 1, &insert->starts[0].distance);
	insert->start_n = 1;
	insert->level = top > 0 ? top : 0;
	insert->from_level = insert->level < insert->own_level ? insert->level : insert->own_level;
	return begin_level(grower);
}

void
hm_grow_insert(HmGrower *grower, uint32_t id)
{
	HmInsertState *insert = &grower->state->insert;

	HM_ASSERT(hm_overlay_is_own(grower->state->overlay, id));
	insert->id = id;
	insert->own_level = hm_overlay_level(grower->state->overlay, id);
	insert->seeded = false;
	memset(insert->chosen_n, 0, sizeof(insert->chosen_n));
	hm_grow_begin(grower, enter);
}

void
hm_grow_cancel(HmGrower *grower)
{
	grower->state->phase = NULL;
	grower->load_n = grower->found_n = 0;
}
