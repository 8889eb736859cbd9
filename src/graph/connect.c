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
	uint32_t	head = 0;
	uint32_t	tail = 0;

	flood->parent[start] = parent;
	flood->queue[tail++] = start;
	while (head < tail)
	{
		uint32_t	id = flood->queue[head++];
		HmBuildList list = hm_build_list(graph, id, flood->level);
		int			i;

		for (i = 0; i < list.size; i++)
		{
			uint32_t	next = hm_link_id(&list, i);

			if (next == HM_NO_ID)
				break;
			if (flood->parent[next] != HM_NO_ID)
				continue;
			flood->parent[next] = id;
			flood->queue[tail++] = next;
		}
	}
}

static inline HmBuildList
list_of(const Flood *flood, uint32_t id)
{
	return hm_build_list(flood->builder->graph, id, flood->level);
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
	HmCandidate best = {0, HM_NO_ID};
	int			i;

	for (i = 0; i < n; i++)
	{
		HmBuildList list;

		if (candidates[i].id == id || !is_reached(flood, candidates[i].id))
			continue;
		if (best.id != HM_NO_ID &&
			hm_key(candidates[i].distance, candidates[i].id) > hm_key(best.distance, best.id))
			continue;
		list = list_of(flood, candidates[i].id);
		if (hm_list_used(&list) < list.size)
			best = candidates[i];
	}
	return best;
}

/*
 * The slot of an element's farthest link, of those that the tree does not use
 * if so asked; -1 if there is none.
 */
static int
farthest_slot(const Flood *flood, uint32_t id, bool unused_by_tree)
{
	HmBuildList list = list_of(flood, id);
	int			n = hm_list_used(&list);
	uint64_t	farthest = 0;
	int			slot = -1;
	int			i;

	for (i = 0; i < n; i++)
	{
		HmCandidate link = hm_link_get(&list, i);
		uint64_t	key = hm_key(link.distance, link.id);

		if (unused_by_tree && flood->parent[link.id] == id)
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
static void
replace_link(Flood *flood, HmCandidate from, uint32_t id)
{
	const HmBuildScorer *scorer = flood->builder->scorer;
	HmBuildList from_list = list_of(flood, from.id);
	int			slot = farthest_slot(flood, from.id, true);

	if (slot < 0)
	{
		HmBuildList list = list_of(flood, id);
		int			used = hm_list_used(&list);
		HmCandidate child;
		int			i;

		slot = farthest_slot(flood, from.id, false);
		child.id = hm_link_id(&from_list, slot);
		scorer->score(scorer, id, &child.id, 1, &child.distance);
		for (i = 0; i < used && hm_link_id(&list, i) != child.id; i++)
			 /* it may have that link already */ ;
		if (i == list.size)
			i = farthest_slot(flood, id, false);
		hm_link_set(&list, i, child);
		flood->parent[child.id] = id;
	}
	hm_link_set(&from_list, slot, (HmCandidate) {from.distance, id});
}

/* Gives an element that has not been reached a link from one that has. */
static HmStatus
hook(Flood *flood, uint32_t id)
{
	HmBuilder  *builder = flood->builder;
	HmBuildList list = list_of(flood, id);
	int			used = hm_list_used(&list);
	HmCandidate neighbours[2 * HM_MAX_M];
	HmCandidate from;
	int			i;

	/* most often one of its own neighbours will do */
	for (i = 0; i < used; i++)
		neighbours[i] = hm_link_get(&list, i);
	from = nearest_with_room(flood, id, neighbours, used);

	if (from.id == HM_NO_ID)
	{
		HmSearch   *search = builder->search;
		HmCandidate entry;
		HmStatus	status;

		/* from the entry point on this level, so that all found are reached */
		entry.id = (uint32_t) hm_build_entry(builder->graph);
		builder->scorer->score(builder->scorer, id, &entry.id, 1, &entry.distance);
		status = hm_build_search_level(builder, id, flood->level, &entry, 1,
									   (int) builder->graph->params.ef_construction);
		if (status != HM_OK)
			return status;
		from = nearest_with_room(flood, id, search->results, search->result_n);
		if (from.id == HM_NO_ID)
		{
			from = search->results[0];
			replace_link(flood, from, id);
			flood_from(flood, id, from.id);
			return HM_OK;
		}
	}
	list = list_of(flood, from.id);
	hm_link_set(&list, hm_list_used(&list), (HmCandidate) {from.distance, id});
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
