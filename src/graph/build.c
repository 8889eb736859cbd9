/*-------------------------------------------------------------------------
 *
 * build.c
 *	  Building an HNSW graph in shared memory, by several processes at once.
 *
 * An insertion has two halves.  The first only reads: it descends, searches
 * each of the new element's levels and selects its neighbours.  The second
 * writes: first the new element's own lists, which nobody can reach yet, then
 * a link from each chosen neighbour back to it.  So whoever meets the element
 * finds all its lists complete.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/build.h"

#include <sched.h>

#include "graph/build_graph.h"
#include "graph/select.h"

#define SPINS_BEFORE_YIELD	128

#define ALIGN_UP(x)	(((x) + 63) & ~(uint64_t) 63)

int
hm_level_of(uint64_t seed, uint32_t id, uint32_t m)
{
	uint64_t	random = hm_mix64(seed ^ hm_mix64(id));
	int			level = 0;

	while (level < HM_MAX_LEVELS - 1 && random % m == 0)
	{
		random = hm_mix64(random);
		level++;
	}
	return level;
}

static inline int
given_level(const HmBuildParams *params, uint32_t id)
{
	if (params->levels != NULL && params->levels[id] != HM_LEVEL_FROM_SEED)
		return params->levels[id];
	return hm_level_of(params->seed, id, params->m);
}

/*
 * Where each array lies, and how long all of it is; 0 when it does not fit a
 * size_t.
 */
static size_t
lay_out(const HmBuildParams *params, HmBuildGraph *graph)
{
	uint64_t	n = params->element_count;
	uint64_t	upper_lists = 0;
	uint64_t	level_offset = ALIGN_UP(sizeof(HmBuildGraph));
	uint64_t	lock_offset = ALIGN_UP(level_offset + n);
	uint64_t	upper_start_offset = ALIGN_UP(lock_offset + n);
	uint64_t	base_offset = ALIGN_UP(upper_start_offset + n * sizeof(uint32_t));
	uint64_t	base_distance_offset = ALIGN_UP(base_offset + n * 2 * params->m * sizeof(uint32_t));
	uint64_t	upper_offset = ALIGN_UP(base_distance_offset + n * 2 * params->m * sizeof(float));
	uint64_t	upper_distance_offset;
	uint64_t	size;
	uint32_t	id;

	if (params->m < 2 || params->m > HM_MAX_M)
		return 0;
	for (id = 0; id < params->element_count; id++)
		upper_lists += (uint64_t) given_level(params, id);
	upper_distance_offset = ALIGN_UP(upper_offset + upper_lists * params->m * sizeof(uint32_t));
	size = ALIGN_UP(upper_distance_offset + upper_lists * params->m * sizeof(float));
	if (upper_lists > UINT32_MAX || size > SIZE_MAX)
		return 0;

	if (graph != NULL)
	{
		graph->level_offset = (size_t) level_offset;
		graph->lock_offset = (size_t) lock_offset;
		graph->upper_start_offset = (size_t) upper_start_offset;
		graph->base_offset = (size_t) base_offset;
		graph->base_distance_offset = (size_t) base_distance_offset;
		graph->upper_offset = (size_t) upper_offset;
		graph->upper_distance_offset = (size_t) upper_distance_offset;
	}
	return (size_t) size;
}

size_t
hm_build_size(const HmBuildParams *params)
{
	return lay_out(params, NULL);
}

HmBuildGraph *
hm_build_init(void *memory, const HmBuildParams *params)
{
	HmBuildGraph *graph = memory;
	uint8_t    *levels;
	uint32_t   *upper_start;
	uint32_t	upper_lists = 0;
	uint32_t	id;

	HM_ASSERT((uintptr_t) memory % 64 == 0);
	if (lay_out(params, graph) == 0)
		return NULL;
	graph->params = *params;
	graph->aborted = 0;
	graph->entry = HM_NO_ENTRY;
	levels = hm_build_levels(graph);
	upper_start = (uint32_t *) ((char *) graph + graph->upper_start_offset);
	for (id = 0; id < params->element_count; id++)
	{
		int			level = given_level(params, id);

		levels[id] = (uint8_t) level;
		upper_start[id] = upper_lists;
		upper_lists += (uint32_t) level;
	}
	graph->params.levels = NULL;
	return graph;
}

int
hm_build_level(const HmBuildGraph *graph, uint32_t id)
{
	return hm_build_levels(graph)[id] & ~HM_LEVEL_ADOPTED;
}

bool
hm_build_is_adopted(const HmBuildGraph *graph, uint32_t id)
{
	return (hm_build_levels(graph)[id] & HM_LEVEL_ADOPTED) != 0;
}

/*
 * A Feistel network over the smallest even number of bits that holds all ids,
 * walked until it lands on one: a permutation without a table.
 */
uint32_t
hm_build_order(const HmBuildGraph *graph, uint32_t i)
{
	uint32_t	n = graph->params.element_count;
	int			half_bits = 1;
	uint32_t	half_mask;
	uint64_t	x = i;

	while (half_bits < 16 && (UINT64_C(1) << (2 * half_bits)) < n)
		half_bits++;
	half_mask = (UINT32_C(1) << half_bits) - 1;
	do
	{
		uint32_t	left = (uint32_t) (x >> half_bits);
		uint32_t	right = (uint32_t) x & half_mask;
		int			round;

		for (round = 0; round < 4; round++)
		{
			uint64_t	mixed = hm_mix64(graph->params.seed ^ ((uint64_t) round << 40 | right));
			uint32_t	swapped = left ^ ((uint32_t) (mixed >> 32) & half_mask);

			left = right;
			right = swapped;
		}
		x = (uint64_t) left << half_bits | right;
	} while (x >= n);
	return (uint32_t) x;
}

static const uint32_t *
store_links(HmStore *store, uint32_t id, int level, int *slots)
{
	HmBuildList list = hm_build_list(((HmBuildStore *) store)->graph, id, level);

	*slots = list.size;
	return list.ids;
}

static void
store_prefetch(HmStore *store, uint32_t id, int level)
{
	HmBuildList list = hm_build_list(((HmBuildStore *) store)->graph, id, level);
	int			slot;

	for (slot = 0; slot < list.size; slot += 16)
		__builtin_prefetch(&list.ids[slot]);
}

HmBuilder *
hm_builder_create(HmBuildGraph *graph, const HmBuildScorer *scorer, const HmAllocator *allocator)
{
	HmBuilder  *builder = allocator->alloc(allocator->state, sizeof(*builder));

	if (builder == NULL)
		return NULL;
	memset(builder, 0, sizeof(*builder));
	builder->graph = graph;
	builder->scorer = scorer;
	builder->allocator = *allocator;
	builder->store.store.element_count = graph->params.element_count;
	builder->store.store.m = graph->params.m;
	builder->store.store.links = store_links;
	builder->store.store.prefetch = store_prefetch;
	builder->store.graph = graph;

	/* a level's search returns ef_construction at most, but begins with one */
	builder->starts_capacity = (int) graph->params.ef_construction + 1;
	builder->starts = allocator->alloc(allocator->state,
									   builder->starts_capacity * sizeof(*builder->starts));
	builder->ties = allocator->alloc(allocator->state, sizeof(*builder->ties));
	builder->search = hm_search_create(allocator);
	if (builder->starts == NULL || builder->ties == NULL || builder->search == NULL)
	{
		hm_builder_destroy(builder);
		return NULL;
	}
	hm_ties_init(builder->ties, graph->params.ef_construction);
	return builder;
}

void
hm_builder_destroy(HmBuilder *builder)
{
	HmAllocator allocator;

	if (builder == NULL)
		return;
	allocator = builder->allocator;
	hm_search_destroy(builder->search);
	allocator.release(allocator.state, builder->ties);
	allocator.release(allocator.state, builder->starts);
	allocator.release(allocator.state, builder);
}

void
hm_build_abort(HmBuildGraph *graph)
{
	__atomic_store_n(&graph->aborted, 1, __ATOMIC_RELEASE);
}

static inline bool
is_aborted(const HmBuildGraph *graph)
{
	return __atomic_load_n(&graph->aborted, __ATOMIC_ACQUIRE) != 0;
}

bool
hm_build_lock(HmBuildGraph *graph, uint32_t id)
{
	uint8_t    *lock = (uint8_t *) graph + graph->lock_offset + id;
	int			spins = 0;

	while (__atomic_exchange_n(lock, 1, __ATOMIC_ACQUIRE) != 0)
	{
		do
		{
			if (++spins < SPINS_BEFORE_YIELD)
			{
#if defined(__x86_64__) || defined(__i386__)
				__builtin_ia32_pause();
#endif
				continue;
			}
			if (is_aborted(graph))
				return false;
			sched_yield();
		} while (__atomic_load_n(lock, __ATOMIC_RELAXED) != 0);
	}
	return true;
}

void
hm_build_unlock(HmBuildGraph *graph, uint32_t id)
{
	__atomic_store_n((uint8_t *) graph + graph->lock_offset + id, 0, __ATOMIC_RELEASE);
}

/* Says of a scored batch which elements are too many at one distance. */
static void
turn_away_ties(HmBuilder *builder)
{
	HmSearch   *search = builder->search;
	int			i;

	for (i = 0; i < search->batch_n; i++)
		search->batch_flags[i] = hm_ties_turn_away(builder->ties, search->batch_distance[i]) ?
			HM_SKIPPED : HM_SCORED;
}

HmStatus
hm_build_search_level(HmBuilder *builder, uint32_t id, int level,
					  const HmCandidate *starts, int start_n, int ef)
{
	HmSearch   *search = builder->search;
	HmStatus	status = hm_search_begin_level(search, &builder->store.store, level,
											   starts, start_n, ef);

	hm_ties_begin(builder->ties);
	while (status == HM_OK)
	{
		switch (hm_search_step(search))
		{
			case HM_STEP_SCORE:
				builder->scorer->score(builder->scorer, id, search->batch_ids,
									   search->batch_n, search->batch_distance);
				turn_away_ties(builder);
				break;
			case HM_STEP_DONE:
				return HM_OK;
			case HM_STEP_LINKS:	/* this store always has the list */
			case HM_STEP_NO_MEMORY:
				status = HM_NO_MEMORY;
				break;
		}
	}
	return status;
}

/*
 * Begins a descent: the entry point and its distance.  *level: the entry
 * point's level, or -1 when the graph is empty.
 */
static HmCandidate
begin_descent(HmBuilder *builder, uint32_t id, int *level)
{
	uint64_t	entry = hm_build_entry(builder->graph);
	HmCandidate start;

	start.id = (uint32_t) entry;
	start.distance = 0;
	*level = -1;
	if (entry != HM_NO_ENTRY)
	{
		*level = (int) (entry >> 32);
		builder->scorer->score(builder->scorer, id, &start.id, 1, &start.distance);
	}
	return start;
}

/* Descends greedily from *level until it is `to`; returns where it has arrived. */
static HmStatus
descend(HmBuilder *builder, uint32_t id, HmCandidate *start, int *level, int to)
{
	for (; *level > to; (*level)--)
	{
		HmStatus	status = hm_build_search_level(builder, id, *level, start, 1, 1);

		if (status != HM_OK)
			return status;
		if (builder->search->result_n > 0)
			*start = builder->search->results[0];
	}
	return HM_OK;
}

HmStatus
hm_build_find(HmBuilder *builder, uint32_t id, int level)
{
	int			at;
	HmCandidate start = begin_descent(builder, id, &at);
	HmStatus	status = descend(builder, id, &start, &at, level);

	if (status != HM_OK)
		return status;
	return hm_build_search_level(builder, id, level, &start, 1,
								 (int) builder->graph->params.ef_construction);
}

/* hm_select_neighbours scores through this. */
static void
score_pairs(void *state, uint32_t from, const uint32_t *ids, int n, float *distance)
{
	const HmBuildScorer *scorer = state;

	scorer->score(scorer, from, ids, n, distance);
}

static inline int
select_neighbours(HmBuilder *builder, HmCandidate *candidates, int n, int limit)
{
	return hm_select_neighbours(candidates, n, limit, score_pairs, (void *) builder->scorer);
}

/*
 * The reading half: fills chosen[L] for the element's levels from the lower of
 * its own and the entry point's down to 0, and says which that is (-1 when the
 * graph is empty).
 */
static HmStatus
choose_neighbours(HmBuilder *builder, uint32_t id, int *from_level)
{
	HmSearch   *search = builder->search;
	int			ef = (int) builder->graph->params.ef_construction;
	int			own_level = hm_build_level(builder->graph, id);
	int			start_n = 1;
	int			level;
	HmStatus	status;

	builder->starts[0] = begin_descent(builder, id, &level);
	status = descend(builder, id, &builder->starts[0], &level, own_level);
	*from_level = level;
	if (status != HM_OK)
		return status;

	for (; level >= 0; level--)
	{
		int			n;

		status = hm_build_search_level(builder, id, level, builder->starts, start_n, ef);
		if (status != HM_OK)
			return status;
		n = search->result_n;
		if (n > 0)
		{
			start_n = n < builder->starts_capacity ? n : builder->starts_capacity;
			memcpy(builder->starts, search->results, start_n * sizeof(HmCandidate));
		}
		n = select_neighbours(builder, search->results, n, (int) builder->graph->params.m);
		memcpy(builder->chosen[level], search->results, n * sizeof(HmCandidate));
		builder->chosen_n[level] = n;
	}
	return HM_OK;
}

/* Overwrites a list; the element is locked. */
static void
set_list(HmBuildList *list, const HmCandidate *links, int n)
{
	int			i;

	for (i = 0; i < n; i++)
		hm_link_set(list, i, links[i]);
	for (; i < list->size; i++)
		hm_link_clear(list, i);
}

/*
 * Adds to a neighbour's list the link back to the new element.  If the list is
 * full, it is chosen anew; readers may see some old links beside some new
 * ones, all of them valid.
 */
static HmStatus
link_back(HmBuilder *builder, uint32_t neighbour, int level, HmCandidate link)
{
	HmBuildList list = hm_build_list(builder->graph, neighbour, level);
	int			used;

	if (!hm_build_lock(builder->graph, neighbour))
		return HM_ABORTED;
	used = hm_list_used(&list);
	if (used < list.size)
		hm_link_set(&list, used, link);
	else
	{
		HmCandidate links[2 * HM_MAX_M + 1];
		int			i;

		for (i = 0; i < used; i++)
			links[i] = hm_link_get(&list, i);
		links[used] = link;
		hm_sort_candidates(links, used + 1);
		set_list(&list, links, select_neighbours(builder, links, used + 1, list.size));
	}
	hm_build_unlock(builder->graph, neighbour);
	return HM_OK;
}

/* Makes the element the entry point if none has a level as high. */
static void
offer_entry(HmBuildGraph *graph, uint32_t id)
{
	uint64_t	mine = (uint64_t) hm_build_level(graph, id) << 32 | id;
	uint64_t	entry = hm_build_entry(graph);

	while (entry == HM_NO_ENTRY || (entry >> 32) < (mine >> 32))
	{
		if (__atomic_compare_exchange_n(&graph->entry, &entry, mine, false,
										__ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
			return;
	}
}

/*
 * Writes the new element's own lists, empty ones above from_level.  The lock
 * is for whoever locks the element next, and has to see the distances.
 */
static HmStatus
set_own_lists(HmBuilder *builder, uint32_t id, int from_level)
{
	HmBuildGraph *graph = builder->graph;
	int			level;

	if (!hm_build_lock(graph, id))
		return HM_ABORTED;
	for (level = hm_build_level(graph, id); level >= 0; level--)
	{
		HmBuildList list = hm_build_list(graph, id, level);

		set_list(&list, builder->chosen[level], level <= from_level ? builder->chosen_n[level] : 0);
	}
	hm_build_unlock(graph, id);
	return HM_OK;
}

HmStatus
hm_build_insert(HmBuilder *builder, uint32_t id)
{
	HmBuildGraph *graph = builder->graph;
	int			from_level;
	int			level;
	int			i;
	HmStatus	status;

	if (is_aborted(graph))
		return HM_ABORTED;
	status = choose_neighbours(builder, id, &from_level);
	if (status == HM_OK)
		status = set_own_lists(builder, id, from_level);

	/*
	 * The very first element has no neighbours.  When two processes have both
	 * found the graph empty, the second looks again.
	 */
	if (status == HM_OK && from_level < 0)
	{
		offer_entry(graph, id);
		if ((uint32_t) hm_build_entry(graph) == id)
			return HM_OK;
		status = choose_neighbours(builder, id, &from_level);
		if (status == HM_OK)
			status = set_own_lists(builder, id, from_level);
	}

	for (level = 0; level <= from_level && status == HM_OK; level++)
	{
		for (i = 0; i < builder->chosen_n[level] && status == HM_OK; i++)
		{
			HmCandidate link = builder->chosen[level][i];
			uint32_t	neighbour = link.id;

			link.id = id;
			status = link_back(builder, neighbour, level, link);
		}
	}
	if (status == HM_OK)
		offer_entry(graph, id);
	return status;
}

void
hm_build_adopt(HmBuilder *builder, uint32_t id, int level, const uint32_t *ids, int n, bool choose)
{
	HmBuildList list = hm_build_list(builder->graph, id, level);
	HmSearch   *search = builder->search;
	HmCandidate links[HM_MAX_BATCH];
	int			used = 0;
	int			i;

	HM_ASSERT(n <= HM_MAX_BATCH);
	for (i = 0; i < n; i++)
	{
		if (ids[i] != id)
			search->batch_ids[used++] = ids[i];
	}
	n = used;
	if (n > 0)
		builder->scorer->score(builder->scorer, id, search->batch_ids, n, search->batch_distance);
	for (i = 0; i < n; i++)
		links[i] = (HmCandidate) {search->batch_distance[i], search->batch_ids[i]};

	/* those that are there twice follow each other now, their distances being the same */
	hm_sort_candidates(links, n);
	used = 0;
	for (i = 0; i < n; i++)
	{
		if (used == 0 || links[i].id != links[used - 1].id)
			links[used++] = links[i];
	}
	if (choose || used > list.size)
		used = select_neighbours(builder, links, used, list.size);
	set_list(&list, links, used);

	hm_build_levels(builder->graph)[id] |= HM_LEVEL_ADOPTED;
	offer_entry(builder->graph, id);
}

int
hm_build_links(const HmBuildGraph *graph, uint32_t id, int level,
			   const uint32_t *new_of_old, uint32_t *slots)
{
	HmBuildList list = hm_build_list(graph, id, level);
	HmCandidate links[2 * HM_MAX_M];
	int			n = hm_list_used(&list);
	int			i;

	for (i = 0; i < n; i++)
		links[i] = hm_link_get(&list, i);
	hm_sort_candidates(links, n);
	for (i = 0; i < n; i++)
		slots[i] = new_of_old != NULL ? new_of_old[links[i].id] : links[i].id;
	for (; i < list.size; i++)
		slots[i] = HM_NO_ID;
	return n;
}

uint32_t
hm_build_entry_point(const HmBuildGraph *graph, int *level)
{
	uint64_t	entry = hm_build_entry(graph);

	*level = entry == HM_NO_ENTRY ? 0 : (int) (entry >> 32);
	return entry == HM_NO_ENTRY ? HM_NO_ID : (uint32_t) entry;
}
