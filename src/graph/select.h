/*-------------------------------------------------------------------------
 *
 * select.h
 *	  The neighbour selection heuristic (Malkov & Yashunin 2018, algorithm 4),
 *	  aware of ties and duplicates.  It decides and touches nothing.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_SELECT_H
#define HM_GRAPH_SELECT_H

#include "base.h"
#include "graph/search.h"

/* Sorts candidates nearest first; there are few. */
extern void hm_sort_candidates(HmCandidate *candidates, int n);

/* Distances from `from` to ids[0 .. n-1]. */
typedef void (*HmScoreFunction) (void *state, uint32_t from, const uint32_t *ids, int n, float *distance);

/*
 * Chooses at most `limit` of the candidates, which are sorted nearest first
 * and distinct, so that no chosen one is nearer to another chosen one than to
 * the centre.  Writes the chosen ones, nearest first, over the array's
 * beginning and returns their number.
 */
extern int	hm_select_neighbours(HmCandidate *candidates, int n, int limit,
								 HmScoreFunction score, void *state);

#endif							/* HM_GRAPH_SELECT_H */
