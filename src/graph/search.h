/*-------------------------------------------------------------------------
 *
 * search.h
 *	  Best-first search of an HNSW graph, turned inside out.
 *
 * The search knows neither pages nor tuples, and calls nobody that could
 * fail: it is a state machine that hands out work and is fed the results.
 * hm_search_step runs until it needs something and says what:
 *
 *		HM_STEP_SCORE	distances for batch_ids[0 .. batch_n - 1]
 *		HM_STEP_LINKS	a neighbour list that the store could not give
 *		HM_STEP_DONE	nothing: results[0 .. result_n - 1] are ready
 *
 * so that whoever reads vectors and pages may raise errors, longjmp, or wait
 * for a buffer without a graph frame on the stack, and a batch is scored in
 * one tight loop, where prefetching lives.
 *
 * Based on Malkov & Yashunin, "Efficient and robust approximate nearest
 * neighbor search using Hierarchical Navigable Small World graphs" (2018),
 * algorithms 2 and 5.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_SEARCH_H
#define HM_GRAPH_SEARCH_H

#include "base.h"

#define HM_NO_ID		UINT32_MAX	/* an unused slot; no element has this id */
#define HM_MAX_LEVELS	16			/* levels 0 .. 15 */
#define HM_MAX_M		100			/* most links per element above level 0 */
#define HM_MAX_BATCH	512			/* most ids in one HM_STEP_SCORE */

typedef struct HmCandidate
{
	float		distance;
	uint32_t	id;
} HmCandidate;

/*
 * A graph that can be read.  Ids from it are untrusted: the search checks each
 * against element_count before using it, and ignores those that fail.
 */
typedef struct HmStore HmStore;
struct HmStore
{
	uint32_t	element_count;	/* ids are 0 .. element_count - 1 */
	uint32_t	entry_point;	/* HM_NO_ID in an empty graph */
	int			top_level;		/* the entry point's level */
	uint32_t	m;				/* slots: 2m at level 0, m above */

	/*
	 * The slots of an element's list at a level, or NULL if it cannot be had
	 * without help (its page has not been verified yet): the search then
	 * stops with HM_STEP_LINKS, and asks again at the next step.  *slots is
	 * how many may be read; unused ones hold HM_NO_ID and come last.  The
	 * pointer need only stay valid until the next call.
	 */
	const uint32_t *(*links) (HmStore *store, uint32_t id, int level, int *slots);

	/* Optional hint that the list will be read soon. */
	void		(*prefetch) (HmStore *store, uint32_t id, int level);
};

typedef enum HmStep
{
	HM_STEP_SCORE,
	HM_STEP_LINKS,
	HM_STEP_DONE,
	HM_STEP_NO_MEMORY
} HmStep;

/* What the scorer says of each id of a batch, in batch_flags. */
#define HM_SCORED	0			/* batch_distance is set */
#define HM_DEAD		1			/* scored, walk through it, never return it */
#define HM_ABSENT	2			/* no vector: its neighbours stand in for it */
#define HM_SKIPPED	3			/* to be forgotten: no candidate, nothing stands in for it */

/* Counters of one search, for statistics and tests. */
typedef struct HmSearchCounters
{
	uint64_t	scored;			/* ids handed out by HM_STEP_SCORE */
	uint64_t	expanded;		/* lists followed */
	uint64_t	absent;			/* ids found absent */
} HmSearchCounters;

/*
 * A search and its working memory, which is kept from one search to the next.
 * The fields above the line are the interface; the rest belongs to search.c.
 */
typedef struct HmSearch
{
	/* HM_STEP_SCORE: in */
	int			batch_n;
	uint32_t	batch_ids[HM_MAX_BATCH];
	/* HM_STEP_SCORE: out */
	float		batch_distance[HM_MAX_BATCH];	/* NaN counts as infinitely far */
	uint8_t		batch_flags[HM_MAX_BATCH];

	/* HM_STEP_LINKS: in */
	uint32_t	links_id;
	int			links_level;

	/* HM_STEP_DONE: live elements, nearest first (ties by id) */
	int			result_n;
	HmCandidate *results;

	HmSearchCounters counters;

	/*
	 * Elements met so far (scored or absent), as a bitmap over ids, and how
	 * many.  A caller that gives up on the graph and sweeps the rest takes
	 * those scored but not returned yet from hm_search_drain, and need not
	 * look at any visited one again.
	 */
	uint64_t   *visited;
	uint32_t	visited_count;
	/* ---- */
	struct HmSearchState *state;
} HmSearch;

extern HmSearch *hm_search_create(const HmAllocator *allocator);
extern void hm_search_destroy(HmSearch *search);

/*
 * Prepares a search for the ef nearest elements of level 0: descends from the
 * entry point greedily, searches level 1 with a beam of 16 and hands all of it
 * to level 0.  ef >= 1, without an upper limit.  Clears what the last search
 * visited in time proportional to it.
 */
extern HmStatus hm_search_begin(HmSearch *search, HmStore *store, int ef);

/*
 * Prepares a search of one level from given starting points, whose distances
 * are known: what an insertion does on each level.  Starting points count as
 * visited and as results.
 */
extern HmStatus hm_search_begin_level(HmSearch *search, HmStore *store, int level,
									  const HmCandidate *starts, int start_n, int ef);

extern HmStep hm_search_step(HmSearch *search);

/*
 * After HM_STEP_DONE: continue where the search stopped, for the next ef
 * results.  Those already returned are not returned again; new ones may be
 * nearer than the last of the old.  When a following HM_STEP_DONE has
 * result_n == 0, everything reachable has been returned.
 */
extern HmStatus hm_search_resume(HmSearch *search, int ef);

/*
 * After HM_STEP_DONE: ends the search.  The results are now all live elements
 * that were scored and have not been returned before, nearest first.
 */
extern HmStatus hm_search_drain(HmSearch *search);

static inline bool
hm_search_visited(const HmSearch *search, uint32_t id)
{
	return (search->visited[id / 64] >> (id % 64)) & 1;
}

#endif							/* HM_GRAPH_SEARCH_H */
