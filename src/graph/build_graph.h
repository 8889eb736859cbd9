/*-------------------------------------------------------------------------
 *
 * build_graph.h
 *	  The graph under construction: its memory, and how its words are read.
 *
 * Private to build.c, connect.c and renumber.c.
 *
 *	  header | level[n] (and HM_LEVEL_ADOPTED) | lock[n] | upper_start[n] | base ids | base distances |
 *	  upper ids | upper distances
 *
 * A list is 2m slots at level 0, m above.  Used slots come first, in no
 * particular order; the first HM_NO_ID ends the list.  The lists of an element
 * of level L >= 1 for levels 1 .. L follow one another, from upper_start[id] on.
 *
 * Distances are kept apart from ids, so that a search reads half as much.
 * They are read and written under the element's lock only.  Ids are read
 * without it, one 32-bit word at a time.  An element's lists are undefined
 * until it is inserted: nothing links to it before.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_BUILD_GRAPH_H
#define HM_GRAPH_BUILD_GRAPH_H

#include "graph/build.h"
#include "graph/key.h"
#include "graph/ties.h"

#define HM_NO_ENTRY UINT64_MAX

/* In an element's level: its lists come from another graph. */
#define HM_LEVEL_ADOPTED 0x80

struct HmBuildGraph
{
	HmBuildParams params;
	uint32_t	aborted;		/* atomic */
	uint64_t	entry;			/* atomic: level << 32 | id, or HM_NO_ENTRY */

	/* bytes from here */
	size_t		level_offset;
	size_t		lock_offset;
	size_t		upper_start_offset;
	size_t		base_offset;
	size_t		base_distance_offset;
	size_t		upper_offset;
	size_t		upper_distance_offset;
};

/* The graph as a store: what the search reads. */
typedef struct HmBuildStore
{
	HmStore		store;
	HmBuildGraph *graph;
} HmBuildStore;

/* One list. */
typedef struct HmBuildList
{
	uint32_t   *ids;
	float	   *distance;
	int			size;			/* slots */
} HmBuildList;

struct HmBuilder
{
	HmBuildGraph *graph;
	const HmBuildScorer *scorer;
	HmAllocator allocator;
	HmBuildStore store;
	HmSearch   *search;
	HmTies	   *ties;
	HmCandidate chosen[HM_MAX_LEVELS][HM_MAX_M];
	int			chosen_n[HM_MAX_LEVELS];
	HmCandidate *starts;		/* a level's results, for the next level */
	int			starts_capacity;
};

/* Locks one element's lists; false when the build has been aborted. */
extern bool hm_build_lock(HmBuildGraph *graph, uint32_t id);
extern void hm_build_unlock(HmBuildGraph *graph, uint32_t id);

/*
 * Finds the elements nearest to one on the given level, coming down from the
 * entry point.  The result is in builder->search->results; it may contain the
 * element itself if that is linked already.
 */
extern HmStatus hm_build_find(HmBuilder *builder, uint32_t id, int level);

/* Searches one level for the ef nearest, from starting points with known distances. */
extern HmStatus hm_build_search_level(HmBuilder *builder, uint32_t id, int level,
									  const HmCandidate *starts, int start_n, int ef);

static inline uint8_t *
hm_build_levels(const HmBuildGraph *graph)
{
	return (uint8_t *) graph + graph->level_offset;
}

static inline HmBuildList
hm_build_list(const HmBuildGraph *graph, uint32_t id, int level)
{
	char	   *memory = (char *) graph;
	size_t		m = graph->params.m;
	size_t		at;
	HmBuildList list;

	if (level == 0)
	{
		at = 2 * m * id;
		list.ids = (uint32_t *) (memory + graph->base_offset) + at;
		list.distance = (float *) (memory + graph->base_distance_offset) + at;
		list.size = (int) (2 * m);
	}
	else
	{
		at = m * (((const uint32_t *) (memory + graph->upper_start_offset))[id] + (size_t) level - 1);
		list.ids = (uint32_t *) (memory + graph->upper_offset) + at;
		list.distance = (float *) (memory + graph->upper_distance_offset) + at;
		list.size = (int) m;
	}
	return list;
}

static inline uint32_t
hm_link_id(const HmBuildList *list, int slot)
{
	return __atomic_load_n(&list->ids[slot], __ATOMIC_RELAXED);
}

/* Sets a link, the element being locked. */
static inline void
hm_link_set(HmBuildList *list, int slot, HmCandidate link)
{
	list->distance[slot] = link.distance;
	__atomic_store_n(&list->ids[slot], link.id, __ATOMIC_RELEASE);
}

static inline void
hm_link_clear(HmBuildList *list, int slot)
{
	__atomic_store_n(&list->ids[slot], HM_NO_ID, __ATOMIC_RELAXED);
}

/* Reads a link, the element being locked (or nobody inserting any more). */
static inline HmCandidate
hm_link_get(const HmBuildList *list, int slot)
{
	HmCandidate link;

	link.id = hm_link_id(list, slot);
	link.distance = list->distance[slot];
	return link;
}

static inline int
hm_list_used(const HmBuildList *list)
{
	int			n = 0;

	while (n < list->size && hm_link_id(list, n) != HM_NO_ID)
		n++;
	return n;
}

static inline uint64_t
hm_build_entry(const HmBuildGraph *graph)
{
	return __atomic_load_n(&graph->entry, __ATOMIC_ACQUIRE);
}

#endif							/* HM_GRAPH_BUILD_GRAPH_H */
