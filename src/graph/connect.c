/*-------------------------------------------------------------------------
 *
 * connect.c
 *	  The connectivity pass at the end of a build.
 *
 * Pruning can take an element's last in-link away; no search would ever find
 * it again.  The pass floods each level from the entry point, keeping the tree
 * of who was first reached from whom, and hooks every element that was not
 * reached into that tree.  Links that the tree does not use may be replaced
 * without losing anybody.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/build.h"

#include "graph/build_graph.h"

typedef struct Flood
{
	HmBuilder  *builder;
	int			level;
	uint32_t   *parent;			/* the tree; HM_NO_ID: not reached */
	uint32_t   *queue;
} Flood;

/* Marks everything that can be reached from an element, whose parent is given. */
static void
flood_from(Flood *flood, uint32_t start, uint32_t parent)
{
	HmBuildGraph *graph = flood->builder->graph;
	int			size = hm_list_size(graph, flood->level);
	uint32_t	head = 0;
	uint32_t	tail = 0;

	flood->parent[start] = parent;
	flood->queue[tail++] = start;
	while (head < tail)
	{
		uint32_t	id = flood->queue[head++];
		const uint64_t *list = hm_build_list(graph, id, flood->level);
		int			i;

		for (i = 0; i < size; i++)
		{
			uint64_t	key = hm_link_load(&list[i]);
			uint32_t	next = hm_key_id(key);

			if (key == HM_NO_LINK)
				break;
			if (flood->parent[next] != HM_NO_ID)
				continue;
			flood->parent[next] = id;
			flood->queue[tail++] = next;
		}
	}
}

static int
used_slots(const Flood *flood, uint32_t id)
{
	const HmBuildGraph *graph = flood->builder->graph;
	const uint64_t *list = hm_build_list(graph, id, flood->level);
	int			size = hm_list_size(graph, flood->level);
	int			n = 0;

	while (n < size && hm_link_load(&list[n]) != HM_NO_LINK)
		n++;
	return n;
}

static inline bool
is_reached(const Flood *flood, uint32_t id)
{
	return flood->parent[id] != HM_NO_ID;
}

/* Of the candidates, the nearest one reached that has room, or HM_NO_ID. */
static HmCandidate
nearest_with_room(const Flood *flood, uint32_t id, const HmCandidate *candidates, int n)
{
	int			size = hm_list_size(flood->builder->graph, flood->level);
	HmCandidate best = {0, HM_NO_ID};
	int			i;

	for (i = 0; i < n; i++)
	{
		if (candidates[i].id == id || !is_reached(flood, candidates[i].id))
			continue;
		if (best.id != HM_NO_ID &&
			hm_key(candidates[i].distance, candidates[i].id) > hm_key(best.distance, best.id))
			continue;
		if (used_slots(flood, candidates[i].id) < size)
			best = candidates[i];
	}
	return best;
}

/* The slot of a list's farthest link, of those that the tree does not use if so asked; -1: none. */
static int
farthest_slot(const Flood *flood, uint32_t id, bool unused_by_tree)
{
	const HmBuildGraph *graph = flood->builder->graph;
	const uint64_t *list = hm_build_list(graph, id, flood->level);
	int			n = used_slots(flood, id);
	uint64_t	farthest = 0;
	int			slot = -1;
	int			i;

	for (i = 0; i < n; i++)
	{
		uint64_t	key = hm_link_load(&list[i]);

		if (unused_by_tree && flood->parent[hm_key_id(key)] == id)
			continue;
		if (slot < 0 || key > farthest)
		{
			slot = i;
			farthest = key;
		}
	}
	return slot;
}

/*
 * Links `from`, which has been reached and has no room, to an element that has
 * not: in place of a link that the tree does not use; or else the element
 * takes over the farthest of from's children.  It can always make room for
 * that one, since the tree uses no link of an element that is not in it.
 */
static HmStatus
replace_link(Flood *flood, HmCandidate from, uint32_t id)
{
	HmBuilder  *builder = flood->builder;
	HmBuildGraph *graph = builder->graph;
	uint64_t   *from_list = hm_build_list(graph, from.id, flood->level);
	int			slot = farthest_slot(flood, from.id, true);

	if (slot < 0)
	{
		uint64_t   *list = hm_build_list(graph, id, flood->level);
		int			n = used_slots(flood, id);
		uint32_t	child;
		float		distance;
		int			i;

		slot = farthest_slot(flood, from.id, false);
		child = hm_key_id(hm_link_load(&from_list[slot]));
		builder->scorer->score(builder->scorer, id, &child, 1, &distance);
		for (i = 0; i < n && hm_key_id(hm_link_load(&list[i])) != child; i++)
			 /* it may have that link already */ ;
		if (i == hm_list_size(graph, flood->level))
			i = farthest_slot(flood, id, false);
		hm_link_store(&list[i], hm_key(distance, child));
		flood->parent[child] = id;
	}
	hm_link_store(&from_list[slot], hm_key(from.distance, id));
	return HM_OK;
}

/* Gives an element that has not been reached a link from one that has. */
static HmStatus
hook(Flood *flood, uint32_t id)
{
	HmBuilder  *builder = flood->builder;
	HmBuildGraph *graph = builder->graph;
	uint64_t   *list = hm_build_list(graph, id, flood->level);
	int			n = used_slots(flood, id);
	HmCandidate neighbours[2 * HM_MAX_M];
	HmCandidate from;
	HmStatus	status = HM_OK;
	int			i;

	/* most often one of its own neighbours will do */
	for (i = 0; i < n; i++)
		neighbours[i] = hm_key_candidate(hm_link_load(&list[i]));
	from = nearest_with_room(flood, id, neighbours, n);

	if (from.id == HM_NO_ID)
	{
		HmSearch   *search = builder->search;
		HmCandidate entry;

		/* from the entry point on this level, so that all found are reached */
		entry.id = (uint32_t) hm_build_entry(graph);
		builder->scorer->score(builder->scorer, id, &entry.id, 1, &entry.distance);
		status = hm_build_search_level(builder, id, flood->level, &entry, 1,
									   (int) graph->params.ef_construction);
		if (status != HM_OK)
			return status;
		from = nearest_with_room(flood, id, search->results, search->result_n);
		if (from.id == HM_NO_ID)
		{
			status = replace_link(flood, search->results[0], id);
			flood_from(flood, id, search->results[0].id);
			return status;
		}
	}
	list = hm_build_list(graph, from.id, flood->level);
	hm_link_store(&list[used_slots(flood, from.id)], hm_key(from.distance, id));
	flood_from(flood, id, from.id);
	return HM_OK;
}

HmStatus
hm_build_connect(HmBuilder *builder, uint32_t *linked)
{
	HmBuildGraph *graph = builder->graph;
	const HmAllocator *allocator = &builder->allocator;
	uint32_t	n = graph->params.element_count;
	uint64_t	entry = hm_build_entry(graph);
	HmStatus	status = HM_OK;
	Flood		flood;

	*linked = 0;
	if (entry == HM_NO_ENTRY)
		return HM_OK;
	flood.builder = builder;
	flood.parent = allocator->alloc(allocator->state, (size_t) n * sizeof(uint32_t));
	flood.queue = allocator->alloc(allocator->state, (size_t) n * sizeof(uint32_t));
	if (flood.parent == NULL || flood.queue == NULL)
		status = HM_NO_MEMORY;

	for (flood.level = (int) (entry >> 32); flood.level >= 0 && status == HM_OK; flood.level--)
	{
		uint32_t	id;

		memset(flood.parent, 0xFF, (size_t) n * sizeof(uint32_t));
		flood_from(&flood, (uint32_t) entry, (uint32_t) entry);
		for (id = 0; id < n && status == HM_OK; id++)
		{
			if (hm_build_level(graph, id) < flood.level || is_reached(&flood, id))
				continue;
			status = hook(&flood, id);
			(*linked)++;
		}
	}
	allocator->release(allocator->state, flood.parent);
	allocator->release(allocator->state, flood.queue);
	return status;
}
