/*-------------------------------------------------------------------------
 *
 * build.h
 *	  Building an HNSW graph in shared memory, by several processes at once.
 *
 * The graph under construction lives in one block of memory without pointers
 * (a mapped file, an array in a unit test), so that every process may map it
 * at another address.  Each link keeps its distance beside its id, so pruning
 * a list recomputes only distances between candidates.
 *
 * Who locks what: hm_build_insert takes one element's lock (a byte, spinning)
 * to change that element's lists, never two at once.  Readers take no lock:
 * an id is one 32-bit word, read and written whole, and once written is valid
 * for ever, so the worst that a reader sees is a list half old and half new.  Spinners give up when hm_build_abort has been called, so a process
 * that dies inside a lock cannot hang the others.
 *
 * Malkov & Yashunin (2018), algorithms 1 (insert), 3 and 4 (selection).
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_BUILD_H
#define HM_GRAPH_BUILD_H

#include "base.h"
#include "graph/search.h"

typedef struct HmBuildParams
{
	uint32_t	element_count;
	uint32_t	m;				/* 2 .. HM_MAX_M */
	uint32_t	ef_construction;	/* >= m */
	uint64_t	seed;			/* levels and insertion order follow from it */

	/*
	 * Levels of elements that have one already, below HM_MAX_LEVELS; the others
	 * have HM_LEVEL_FROM_SEED.  NULL: all have.  Read by hm_build_size and
	 * hm_build_init only.
	 */
	const uint8_t *levels;
} HmBuildParams;

#define HM_LEVEL_FROM_SEED 0xFF

/* Distances between elements of the graph.  Neither function may fail or throw. */
typedef struct HmBuildScorer
{
	/* distances from element `from` to ids[0 .. n-1] */
	void		(*score) (const struct HmBuildScorer *scorer, uint32_t from,
						  const uint32_t *ids, int n, float *distance);
	const void *state;

	/*
	 * For growing a graph (graph/grow.h), optional: whether an element's
	 * vector has been loaded (HM_SCORED), is known to be absent (HM_ABSENT),
	 * or is to be asked for (HM_SKIPPED).
	 */
	uint8_t		(*known) (const struct HmBuildScorer *scorer, uint32_t id);
} HmBuildScorer;

/* The shared block's header; the rest of it follows (layout in build.c). */
typedef struct HmBuildGraph HmBuildGraph;

/* One process's view of a graph under construction, with its working memory. */
typedef struct HmBuilder HmBuilder;

/* Bytes of shared memory that a graph needs; 0 when that overflows size_t. */
extern size_t hm_build_size(const HmBuildParams *params);

/* Lays out an empty graph in `memory` (64-byte aligned, zeroed). One process does this. */
extern HmBuildGraph *hm_build_init(void *memory, const HmBuildParams *params);

/* Working memory for one process; NULL when there is none. */
extern HmBuilder *hm_builder_create(HmBuildGraph *graph, const HmBuildScorer *scorer,
									const HmAllocator *allocator);
extern void hm_builder_destroy(HmBuilder *builder);

/*
 * The element to insert as the i-th (0-based): a seeded permutation of all
 * ids, since insertion in the order of the table builds worse graphs.
 */
extern uint32_t hm_build_order(const HmBuildGraph *graph, uint32_t i);

/* Inserts one element; each id exactly once, by any process.  HM_ABORTED after hm_build_abort. */
extern HmStatus hm_build_insert(HmBuilder *builder, uint32_t id);

/*
 * Gives an element the neighbours that it has in another graph, in place of
 * hm_build_insert: once for each of its levels, the highest first, by one
 * process before anybody inserts.  Of ids, at most HM_MAX_BATCH, those are
 * passed over that are the element itself or occur twice; if more are left
 * than the list has slots, or `choose` is set, the selection heuristic chooses.
 * Each must be adopted too, in the end, and have that level.
 */
extern void hm_build_adopt(HmBuilder *builder, uint32_t id, int level,
						   const uint32_t *ids, int n, bool choose);

/* Whether it was: such elements are not inserted. */
extern bool hm_build_is_adopted(const HmBuildGraph *graph, uint32_t id);

/* Tells every process to stop. Async-signal-safe. */
extern void hm_build_abort(HmBuildGraph *graph);

/*
 * The connectivity pass, by one process when all elements are in: floods level
 * 0 from the entry point and gives every unreached element an in-link from its
 * nearest reached neighbour that has room (making room, where none has, by
 * replacing a link whose loss leaves nothing unreached).  Also links every
 * element of an upper level that cannot be reached there.  *linked: how many
 * needed one.
 */
extern HmStatus hm_build_connect(HmBuilder *builder, uint32_t *linked);

/*
 * Numbers the elements for storing: by descending level, within a level
 * breadth-first from the entry point over level-0 links, so that neighbours
 * share pages; the entry point is number 0.  Both arrays have element_count
 * entries; level_count[L] is set to the number of elements of level >= L.
 */
extern HmStatus hm_build_renumber(HmBuilder *builder, uint32_t *new_of_old,
								  uint32_t *old_of_new, uint32_t level_count[HM_MAX_LEVELS]);

/*
 * Copies an element's list as stored: ids mapped through new_of_old (NULL: as
 * they are), nearest first, unused slots HM_NO_ID.  `slots` has room for 2m (level 0) or m.
 * Returns the number of used slots.
 */
extern int	hm_build_links(const HmBuildGraph *graph, uint32_t id, int level,
						   const uint32_t *new_of_old, uint32_t *slots);

extern int	hm_build_level(const HmBuildGraph *graph, uint32_t id);

/* Where searches begin, and its level; HM_NO_ID: nothing has been inserted. */
extern uint32_t hm_build_entry_point(const HmBuildGraph *graph, int *level);

/* The level that an element gets from the seed: geometric with ratio 1/m. */
extern int	hm_level_of(uint64_t seed, uint32_t id, uint32_t m);

#endif							/* HM_GRAPH_BUILD_H */
