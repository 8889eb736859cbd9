/*-------------------------------------------------------------------------
 *
 * build_graph.h
 *	  The graph under construction: its memory, and how its words are read.
 *
 * Private to build.c, connect.c and renumber.c.
 *
 *	  header | level[n] | lock[n] | upper_start[n] | lists of level 0 | upper lists
 *
 * A list is 2m words at level 0, m above.  A word is the complement of a
 * link's key (key.h), so that zeroed memory is an empty list; used words come
 * first, in no particular order.  The lists of an element of level L >= 1 for
 * levels 1 .. L follow one another, from upper_start[id] on.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_BUILD_GRAPH_H
#define HM_GRAPH_BUILD_GRAPH_H

#include "graph/build.h"
#include "graph/key.h"

#define HM_NO_ENTRY UINT64_MAX

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
	size_t		upper_offset;
};

/* The graph as a store: what the search reads. */
typedef struct HmBuildStore
{
	HmStore		store;
	HmBuildGraph *graph;
	uint32_t	ids[2 * HM_MAX_M];
} HmBuildStore;

/* How often a search has met one and the same distance. */
typedef struct HmTieCount
{
	uint32_t	distance_bits;
	uint32_t	search_number;
	uint32_t	count;
} HmTieCount;

struct HmBuilder
{
	HmBuildGraph *graph;
	const HmBuildScorer *scorer;
	HmAllocator allocator;
	HmBuildStore store;
	HmSearch   *search;
	HmTieCount *ties;			/* see build.c */
	uint32_t	search_number;
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

static inline int
hm_list_size(const HmBuildGraph *graph, int level)
{
	return (int) (level == 0 ? 2 * graph->params.m : graph->params.m);
}

static inline uint8_t *
hm_build_levels(const HmBuildGraph *graph)
{
	return (uint8_t *) graph + graph->level_offset;
}

static inline uint64_t *
hm_build_list(const HmBuildGraph *graph, uint32_t id, int level)
{
	const char *memory = (const char *) graph;
	size_t		m = graph->params.m;

	if (level == 0)
		return (uint64_t *) (memory + graph->base_offset) + 2 * m * id;
	return (uint64_t *) (memory + graph->upper_offset) +
		m * (((const uint32_t *) (memory + graph->upper_start_offset))[id] + (size_t) level - 1);
}

/* A word's key; UINT64_MAX where there is no link. */
static inline uint64_t
hm_link_load(const uint64_t *word)
{
	return ~__atomic_load_n(word, __ATOMIC_ACQUIRE);
}

static inline void
hm_link_store(uint64_t *word, uint64_t key)
{
	__atomic_store_n(word, ~key, __ATOMIC_RELEASE);
}

#define HM_NO_LINK UINT64_MAX

static inline uint64_t
hm_build_entry(const HmBuildGraph *graph)
{
	return __atomic_load_n(&graph->entry, __ATOMIC_ACQUIRE);
}

#endif							/* HM_GRAPH_BUILD_GRAPH_H */
