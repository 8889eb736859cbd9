/*-------------------------------------------------------------------------
 *
 * grow.c
 *	  A grower: its steps, what is loaded, and the search of one level.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/grow.h"

#include <string.h>

#include "graph/grow_state.h"

#define FEWEST_LOADED	4096	/* entries of the smallest table */

/* --- what is loaded --- */

/* The entry of an element, or the free one where it would be put. */
static inline HmLoadedEntry *
find_loaded(const HmLoaded *loaded, uint32_t id)
{
	uint32_t	mask = loaded->slots - 1;
	uint32_t	at = (uint32_t) hm_mix64(id) & mask;

	while (loaded->entries[at].stamp >> 1 == loaded->operation && loaded->entries[at].id != id)
		at = (at + 1) & mask;
	return &loaded->entries[at];
}

/* What is known of an element: see HmBuildScorer.known. */
static inline uint8_t
knowledge(const HmGrowState *state, uint32_t id)
{
	const HmLoadedEntry *entry;

	if (state->scorer->known != NULL)
		return state->scorer->known(state->scorer, id);
	entry = find_loaded(&state->loaded, id);
	if (entry->stamp >> 1 != state->loaded.operation)
		return HM_SKIPPED;
	return entry->stamp & 1 ? HM_ABSENT : HM_SCORED;
}

static void
put_loaded(HmLoaded *loaded, uint32_t id, bool absent)
{
	HmLoadedEntry *entry = find_loaded(loaded, id);

	loaded->used += entry->stamp >> 1 != loaded->operation;
	entry->id = id;
	entry->stamp = loaded->operation << 1 | absent;
}

/* Makes room for n more, the table never being more than half full.  False: no memory. */
static bool
reserve_loaded(HmGrowState *state, int n)
{
	HmLoaded   *loaded = &state->loaded;
	HmLoaded	old = *loaded;
	uint32_t	slots = old.slots > 0 ? old.slots : FEWEST_LOADED;
	uint32_t	i;

	while (old.used + (uint32_t) n > slots / 2)
		slots *= 2;
	if (slots == old.slots)
		return true;
	loaded->entries = state->allocator.alloc(state->allocator.state, slots * sizeof(*loaded->entries));
	if (loaded->entries == NULL)
	{
		*loaded = old;
		return false;
	}
	memset(loaded->entries, 0, slots * sizeof(*loaded->entries));
	loaded->slots = slots;
	loaded->used = 0;
	for (i = 0; i < old.slots; i++)
	{
		if (old.entries[i].stamp >> 1 == old.operation)
			put_loaded(loaded, old.entries[i].id, old.entries[i].stamp & 1);
	}
	state->allocator.release(state->allocator.state, old.entries);
	return true;
}

void
hm_grow_unload(HmGrower *grower)
{
	HmLoaded   *loaded = &grower->state->loaded;

	loaded->used = 0;
	if (++loaded->operation > UINT32_MAX >> 1)
	{
		memset(loaded->entries, 0, loaded->slots * sizeof(*loaded->entries));
		loaded->operation = 1;
	}
}

/* Asks for load_ids, if there are any. */
static inline bool
ask_to_load(HmGrower *grower)
{
	if (HM_LIKELY(grower->load_n == 0))
		return true;
	if (grower->state->scorer->known == NULL && !reserve_loaded(grower->state, grower->load_n))
	{
		grower->load_n = 0;
		return hm_grow_need(grower, HM_GROW_NO_MEMORY);
	}
	return hm_grow_need(grower, HM_GROW_LOAD);
}

bool
hm_grow_load(HmGrower *grower, const uint32_t *ids, int n)
{
	int			i;

	HM_ASSERT(n <= HM_MAX_BATCH);
	grower->load_n = 0;
	for (i = 0; i < n; i++)
	{
		if (HM_UNLIKELY(knowledge(grower->state, ids[i]) == HM_SKIPPED))
			grower->load_ids[grower->load_n++] = ids[i];
	}
	return ask_to_load(grower);
}

bool
hm_grow_note_loaded(HmGrower *grower, uint32_t id)
{
	if (grower->state->scorer->known != NULL)
		return true;
	if (!reserve_loaded(grower->state, 1))
		return hm_grow_need(grower, HM_GROW_NO_MEMORY);
	put_loaded(&grower->state->loaded, id, false);
	return true;
}

bool
hm_grow_is_known(const HmGrower *grower, uint32_t id)
{
	return knowledge(grower->state, id) == HM_SCORED;
}

bool
hm_grow_is_absent(const HmGrower *grower, uint32_t id)
{
	uint8_t		known = knowledge(grower->state, id);

	HM_ASSERT(known != HM_SKIPPED);
	return known == HM_ABSENT;
}

void
hm_grow_score(HmGrower *grower, uint32_t from, const uint32_t *ids, int n, float *distance)
{
	const HmBuildScorer *scorer = grower->state->scorer;

	if (n == 0)
		return;
	grower->counters.distances += n;
	scorer->score(scorer, from, ids, n, distance);
}

/* --- the search of one level --- */

bool
hm_grow_begin_search(HmGrower *grower, uint32_t id, int level,
					 const HmCandidate *starts, int start_n, int ef)
{
	HmGrowState *state = grower->state;

	state->search_id = id;
	state->search_level = level;
	state->search_step = HM_STEP_LINKS; /* nothing to score yet */
	hm_ties_begin(&state->ties);
	if (hm_search_begin_level(state->search, &state->overlay->store, level,
							  starts, start_n, ef) != HM_OK)
		return hm_grow_need(grower, HM_GROW_NO_MEMORY);
	return true;
}

/* What an element is to the search, as long as it is not absent. */
static inline uint8_t
search_flag(const HmGrowState *state, uint32_t id)
{
	const HmOverlay *overlay = state->overlay;

	if (id == state->search_id || !hm_overlay_has(overlay, id, state->search_level))
		return HM_SKIPPED;
	if (!hm_overlay_is_dead(overlay, id))
		return HM_SCORED;
	return hm_overlay_is_own(overlay, id) ? state->own_dead_flag : state->under_dead_flag;
}

/* Scores the search's batch; false: vectors have been asked for. */
static bool
score_batch(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	HmSearch   *search = state->search;
	uint32_t	ids[HM_MAX_BATCH];
	float		distance[HM_MAX_BATCH];
	int			n = 0;
	int			at = 0;
	int			i;

	grower->load_n = 0;
	for (i = 0; i < search->batch_n; i++)
	{
		uint32_t	id = search->batch_ids[i];
		uint8_t		flag = search_flag(state, id);

		if (flag != HM_SKIPPED)
		{
			switch (knowledge(state, id))
			{
				case HM_SCORED:
					ids[n++] = id;
					break;
				case HM_ABSENT:
					flag = HM_ABSENT;
					break;
				default:
					grower->load_ids[grower->load_n++] = id;
					break;
			}
		}
		search->batch_flags[i] = flag;
	}
	if (!ask_to_load(grower))
		return false;

	hm_grow_score(grower, state->search_id, ids, n, distance);
	for (i = 0; i < search->batch_n; i++)
	{
		if (search->batch_flags[i] >= HM_ABSENT)
			continue;
		search->batch_distance[i] = distance[at++];
		if (hm_ties_turn_away(&state->ties, search->batch_distance[i]))
			search->batch_flags[i] = HM_SKIPPED;
	}
	return true;
}

bool
hm_grow_run_search(HmGrower *grower)
{
	HmGrowState *state = grower->state;

	for (;;)
	{
		if (state->search_step == HM_STEP_SCORE && !score_batch(grower))
			return false;
		state->search_step = hm_search_step(state->search);
		switch (state->search_step)
		{
			case HM_STEP_SCORE:
				break;
			case HM_STEP_LINKS:
				grower->links_id = state->search->links_id;
				grower->links_level = state->search->links_level;
				return hm_grow_need(grower, HM_GROW_LINKS);
			case HM_STEP_DONE:
				return true;
			case HM_STEP_NO_MEMORY:
				return hm_grow_need(grower, HM_GROW_NO_MEMORY);
		}
	}
}

/* --- steps --- */

void
hm_grow_begin(HmGrower *grower, HmGrowPhase phase)
{
	grower->load_n = 0;
	grower->found_n = 0;
	hm_grow_unload(grower);
	grower->state->phase = phase;
	grower->state->own_dead_flag = HM_DEAD;
	grower->state->under_dead_flag = HM_DEAD;
}

HmGrowStep
hm_grow_step(HmGrower *grower)
{
	HmGrowState *state = grower->state;
	int			i;

	for (i = 0; i < grower->load_n && state->scorer->known == NULL; i++)
		put_loaded(&state->loaded, grower->load_ids[i], grower->load_flags[i] == HM_ABSENT);
	grower->load_n = 0;
	while (state->phase != NULL)
	{
		if (state->phase(grower))
			continue;
		if (state->wanted == HM_GROW_NO_MEMORY)
			state->phase = NULL;
		return state->wanted;
	}
	return HM_GROW_DONE;
}

HmGrower *
hm_grower_create(HmOverlay *overlay, const HmBuildScorer *scorer,
				 uint32_t ef_construction, const HmAllocator *allocator)
{
	HmGrower   *grower = allocator->alloc(allocator->state, sizeof(*grower));
	HmGrowState *state = allocator->alloc(allocator->state, sizeof(*state));
	HmStore		whole = overlay->store;

	if (grower == NULL || state == NULL)
	{
		allocator->release(allocator->state, grower);
		allocator->release(allocator->state, state);
		return NULL;
	}
	memset(grower, 0, sizeof(*grower));
	memset(state, 0, sizeof(*state));
	grower->state = state;
	state->overlay = overlay;
	state->scorer = scorer;
	state->allocator = *allocator;
	state->loaded.operation = 1;
	state->ef = (int) ef_construction;
	hm_ties_init(&state->ties, ef_construction);

	/* a level's search returns ef_construction at most, but begins with one more */
	state->insert.starts_capacity = state->ef + 1;
	state->insert.starts = allocator->alloc(allocator->state, state->insert.starts_capacity *
											sizeof(*state->insert.starts));
	state->search = hm_search_create(allocator);

	/*
	 * The search sizes its visited set by the graph, which grows by one element
	 * at a time: have it sized for all that will come.
	 */
	whole.element_count = overlay->first + overlay->capacity;
	if (state->insert.starts == NULL || state->search == NULL || !reserve_loaded(state, 1) ||
		hm_search_begin_level(state->search, &whole, 0, NULL, 0, 1) != HM_OK)
	{
		hm_grower_destroy(grower);
		return NULL;
	}
	return grower;
}

void
hm_grower_destroy(HmGrower *grower)
{
	HmGrowState *state;
	HmAllocator allocator;

	if (grower == NULL)
		return;
	state = grower->state;
	allocator = state->allocator;
	hm_search_destroy(state->search);
	allocator.release(allocator.state, state->insert.starts);
	allocator.release(allocator.state, state->loaded.entries);
	allocator.release(allocator.state, state->connect.parent);
	allocator.release(allocator.state, state->connect.queue);
	allocator.release(allocator.state, state->connect.candidates);
	allocator.release(allocator.state, state);
	allocator.release(allocator.state, grower);
}
