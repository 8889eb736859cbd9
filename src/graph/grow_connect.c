/*-------------------------------------------------------------------------
 *
 * grow_connect.c
 *	  The connectivity pass over what has grown.
 *
 * As at the end of a build (connect.c), but over an overlay: elements under it
 * count as reached, dead own ones as gone, and distances have to be computed.
 * Each level is flooded from the entry point and from all changed lists of
 * elements under the overlay, keeping the tree of who was first reached from
 * whom, and every own element that was not reached is hooked into that tree.
 * Links that the tree does not use may be replaced without losing an own
 * element.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "graph/grow_state.h"
#include "graph/select.h"

#define FLOOD_AT_ONCE	65536	/* elements followed between two pauses */

static bool flood(HmGrower *grower);
static bool find_unreached(HmGrower *grower);
static bool hook_to_candidate(HmGrower *grower);
static bool begin_level(HmGrower *grower);
static bool finish(HmGrower *grower);

/* Whether an element will be there: a dead own one will not. */
static inline bool
is_kept(const HmOverlay *overlay, uint32_t id, int level)
{
	return hm_overlay_is_own(overlay, id) ? hm_overlay_is_live(overlay, id, level) :
		id < overlay->store.element_count;
}

static inline bool
is_reached(const HmGrowState *state, uint32_t id)
{
	return is_kept(state->overlay, id, state->connect.level) &&
		(!hm_overlay_is_own(state->overlay, id) ||
		 state->connect.parent[id - state->overlay->first] != HM_NO_ID);
}

/* Marks an element as reached, if it is an own one that has not been. */
static inline void
reach(HmGrowState *state, uint32_t id, uint32_t parent)
{
	HmConnectState *connect = &state->connect;
	const HmOverlay *overlay = state->overlay;

	if (!hm_overlay_is_own(overlay, id) || !is_kept(overlay, id, connect->level) ||
		connect->parent[id - overlay->first] != HM_NO_ID)
		return;
	connect->parent[id - overlay->first] = parent;
	connect->queue[connect->tail++] = id;
}

/* Whether the tree uses a link. */
static inline bool
tree_uses(const HmGrowState *state, uint32_t from, uint32_t to)
{
	return hm_overlay_is_own(state->overlay, to) && is_reached(state, to) &&
		state->connect.parent[to - state->overlay->first] == from;
}

/* Marks everything that can be reached from what is queued. */
static bool
flood(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	int			followed = 0;

	while (connect->head < connect->tail)
	{
		uint32_t	id = connect->queue[connect->head++];
		int			slots;
		const uint32_t *links = hm_overlay_list(state->overlay, id, connect->level, &slots);
		int			i;

		for (i = 0; i < slots && links[i] != HM_NO_ID; i++)
			reach(state, links[i], id);
		if (++followed == FLOOD_AT_ONCE)
		{
			hm_grow_unload(grower);
			return hm_grow_need(grower, HM_GROW_PAUSE);
		}
	}
	connect->head = connect->tail = 0;
	state->phase = find_unreached;
	return true;
}

/* The element has been linked from another: whatever it leads to is reached too. */
static bool
hooked(HmGrower *grower, uint32_t from)
{
	reach(grower->state, grower->state->connect.id, from);
	grower->counters.linked++;
	grower->state->phase = flood;
	hm_grow_unload(grower);
	return hm_grow_need(grower, HM_GROW_PAUSE);
}

/*
 * The tree uses all links of `from`: the element takes over one of its
 * children.  It can always make room for that, since the tree uses no link of
 * an element that is not in it.
 */
static bool
take_over_child(HmGrower *grower, uint32_t from, uint32_t *from_list, int from_n)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	int			n;
	int			child_slot;
	int			slot;
	uint32_t   *list = hm_grow_take_list(grower, connect->id, connect->level, &n);
	uint32_t	child;

	if (!hm_grow_pick_victim(grower, from, connect->level, from_list, from_n, NULL, &child_slot))
		return false;
	child = from_list[child_slot];
	if (!hm_list_contains(list, n, child))
	{
		slot = hm_grow_free_slot(grower, list, n, connect->level);
		if (slot < 0 &&
			!hm_grow_pick_victim(grower, connect->id, connect->level, list, n, NULL, &slot))
			return false;
		list[slot] = child;
	}
	from_list[child_slot] = connect->id;
	connect->parent[child - state->overlay->first] = connect->id;
	return hooked(grower, from);
}

/* No candidate has room: replaces a link of the nearest one's, or of the entry point. */
static bool
hook_by_replacing(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	uint32_t	from = connect->candidate_n > 0 ? connect->candidates[0].id :
		state->overlay->store.entry_point;
	bool		fixed[2 * HM_MAX_M];
	int			n;
	int			slot;
	int			i;
	uint32_t   *list = hm_grow_take_list(grower, from, connect->level, &n);

	if (list == NULL)
		return false;
	slot = hm_grow_free_slot(grower, list, n, connect->level);
	if (slot < 0)
	{
		for (i = 0; i < n; i++)
			fixed[i] = tree_uses(state, from, list[i]);
		if (!hm_grow_pick_victim(grower, from, connect->level, list, n, fixed, &slot))
			return false;
		if (slot < 0)
			return take_over_child(grower, from, list, n);
	}
	list[slot] = connect->id;
	return hooked(grower, from);
}

/* Makes room for so many candidates.  False: no memory, said so. */
static bool
reserve_candidates(HmGrower *grower, int n)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	HmAllocator *allocator = &state->allocator;

	if (n <= connect->candidate_capacity)
		return true;
	allocator->release(allocator->state, connect->candidates);
	connect->candidate_capacity = 0;
	connect->candidates = allocator->alloc(allocator->state, (size_t) n * sizeof(HmCandidate));
	if (connect->candidates == NULL)
		return hm_grow_need(grower, HM_GROW_NO_MEMORY);
	connect->candidate_capacity = n;
	return true;
}

static bool
take_search_results(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	const HmSearch *search = state->search;
	int			i;

	if (!hm_grow_run_search(grower) || !reserve_candidates(grower, search->result_n))
		return false;
	connect->candidate_n = 0;
	for (i = 0; i < search->result_n; i++)
	{
		if (is_reached(state, search->results[i].id) &&
			!hm_overlay_is_dead(state->overlay, search->results[i].id))
			connect->candidates[connect->candidate_n++] = search->results[i];
	}
	connect->at = 0;
	connect->searched = true;
	state->phase = hook_to_candidate;
	return true;
}

/* Searches for candidates from the entry point, so that those found are reached. */
static bool
search_candidates(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	uint32_t	ids[2] = {state->overlay->store.entry_point, connect->id};
	HmCandidate start = {INFINITY, ids[0]};

	if (!hm_grow_load(grower, ids, 2))
		return false;
	if (hm_grow_is_absent(grower, connect->id))
	{
		state->phase = hook_by_replacing;
		return true;
	}
	if (!hm_grow_is_absent(grower, start.id))
		hm_grow_score(grower, connect->id, &start.id, 1, &start.distance);
	if (!hm_grow_begin_search(grower, connect->id, connect->level, &start, 1, state->ef))
		return false;
	state->phase = take_search_results;
	return true;
}

/* Links the element from the nearest candidate that has room. */
static bool
hook_to_candidate(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;

	for (; connect->at < connect->candidate_n; connect->at++)
	{
		uint32_t	from = connect->candidates[connect->at].id;
		int			n;
		const uint32_t *links = hm_grow_read_list(grower, from, connect->level, &n);
		uint32_t   *list;

		if (links == NULL)
			return false;
		if (hm_grow_free_slot(grower, links, n, connect->level) < 0)
			continue;
		list = hm_grow_take_list(grower, from, connect->level, &n);
		if (list == NULL)
			return false;
		list[hm_grow_free_slot(grower, list, n, connect->level)] = connect->id;
		return hooked(grower, from);
	}
	state->phase = connect->searched ? hook_by_replacing : search_candidates;
	return true;
}

/* Begins with the element's own neighbours: most often one of them will do. */
static bool
try_neighbours(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	uint32_t	ids[2 * HM_MAX_M + 1];
	float		distance[2 * HM_MAX_M];
	int			scored_n = 0;
	int			slots;
	const uint32_t *links = hm_overlay_list(state->overlay, connect->id, connect->level, &slots);
	int			n = 0;
	int			i;

	for (i = 0; i < slots && links[i] != HM_NO_ID; i++)
	{
		if (is_reached(state, links[i]) && !hm_overlay_is_dead(state->overlay, links[i]))
			ids[n++] = links[i];
	}
	ids[n] = connect->id;
	if (!hm_grow_load(grower, ids, n + 1) || !reserve_candidates(grower, n))
		return false;

	/* without a vector there are no distances: first come, first served */
	for (i = 0; i < n; i++)
	{
		bool		absent = hm_grow_is_absent(grower, ids[i]) ||
			hm_grow_is_absent(grower, connect->id);

		connect->candidates[i].id = ids[i];
		connect->candidates[i].distance = INFINITY;
		if (!absent)
			ids[scored_n++] = ids[i];
	}
	hm_grow_score(grower, connect->id, ids, scored_n, distance);
	connect->candidate_n = n;
	for (i = 0, n = 0; n < scored_n; i++)
	{
		if (connect->candidates[i].id == ids[n])
			connect->candidates[i].distance = distance[n++];
	}
	hm_sort_candidates(connect->candidates, connect->candidate_n);
	connect->at = 0;
	connect->searched = false;
	state->phase = hook_to_candidate;
	return true;
}

/* Looks for the next element that has not been reached, and hooks it. */
static bool
find_unreached(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	const HmOverlay *overlay = state->overlay;

	for (; connect->scanned < overlay->own_count; connect->scanned++)
	{
		connect->id = overlay->first + connect->scanned;
		if (hm_overlay_is_live(overlay, connect->id, connect->level) &&
			!is_reached(state, connect->id))
		{
			state->phase = try_neighbours;
			return true;
		}
	}
	connect->level--;
	state->phase = begin_level;
	return true;
}

/* Queues whatever is reached on a level without further ado. */
static bool
begin_level(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	HmOverlay  *overlay = state->overlay;
	HmChange	change;
	uint32_t	at = 0;
	int			slots;
	int			i;

	if (connect->level < 0)
		return finish(grower);
	connect->head = connect->tail = connect->scanned = 0;
	memset(connect->parent, 0xFF, (size_t) overlay->own_count * sizeof(uint32_t));
	reach(state, overlay->store.entry_point, overlay->store.entry_point);
	while (hm_overlay_next_change(overlay, &at, &change))
	{
		const uint32_t *links;

		if (change.level != (uint32_t) connect->level)
			continue;
		links = hm_overlay_list(overlay, change.id, connect->level, &slots);
		for (i = 0; i < slots && links[i] != HM_NO_ID; i++)
			reach(state, links[i], change.id);
	}
	state->phase = flood;
	return true;
}

/* Nothing is left to do. */
static bool
finish(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;

	state->allocator.release(state->allocator.state, connect->parent);
	state->allocator.release(state->allocator.state, connect->queue);
	connect->parent = connect->queue = NULL;
	state->phase = NULL;
	return true;
}

static bool
prepare(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmConnectState *connect = &state->connect;
	HmAllocator *allocator = &state->allocator;
	HmOverlay  *overlay = state->overlay;
	size_t		size = ((size_t) overlay->own_count + 1) * sizeof(uint32_t);

	hm_overlay_move_entry(overlay);
	finish(grower);				/* should the last pass have been given up */
	if (!is_kept(overlay, overlay->store.entry_point, 0))
		return true;			/* nobody is left */
	state->own_dead_flag = HM_SKIPPED;
	connect->parent = allocator->alloc(allocator->state, size);
	connect->queue = allocator->alloc(allocator->state, size);
	if (connect->parent == NULL || connect->queue == NULL)
		return hm_grow_need(grower, HM_GROW_NO_MEMORY);
	connect->level = overlay->store.top_level < HM_MAX_LEVELS ?
		overlay->store.top_level : HM_MAX_LEVELS - 1;
	state->phase = begin_level;
	return true;
}

void
hm_grow_connect(HmGrower *grower)
{
	hm_grow_begin(grower, prepare);
}
