/*-------------------------------------------------------------------------
 *
 * select.c
 *	  The neighbour selection heuristic (Malkov & Yashunin 2018, algorithm 4).
 *
 * Instead of comparing each candidate with all that were chosen before it, a
 * candidate that has been chosen at once strikes out all that are nearer to it
 * than to the centre.  The pairs compared are the same, but one vector meets a
 * batch of others, which can be prefetched.
 *
 * Ties: a copy of the centre strikes out nobody (it is as near to everyone as
 * the centre is), so a crowd of copies would take all the links and become an
 * island.  Therefore at most a quarter of the links go to candidates at one
 * and the same distance.  In data without copies or a grid there are no ties.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/select.h"

#include "graph/key.h"

#define BATCH 128

/* Shell's sort, with Ciura's gaps: lists are short, and often nearly sorted. */
void
hm_sort_candidates(HmCandidate *candidates, int n)
{
	static const int gaps[] = {57, 23, 10, 4, 1};
	size_t		at;

	for (at = 0; at < sizeof(gaps) / sizeof(gaps[0]); at++)
	{
		int			gap = gaps[at];
		int			i;

		for (i = gap; i < n; i++)
		{
			HmCandidate candidate = candidates[i];
			uint64_t	key = hm_key(candidate.distance, candidate.id);
			int			j = i;

			for (; j >= gap && hm_key(candidates[j - gap].distance, candidates[j - gap].id) > key; j -= gap)
				candidates[j] = candidates[j - gap];
			candidates[j] = candidate;
		}
	}
}

/*
 * Strikes out those of the n candidates that are nearer to `chosen` than to
 * the centre; returns how many remain.
 */
static int
strike_out(HmCandidate *candidates, int n, uint32_t chosen, HmScoreFunction score, void *state)
{
	uint32_t	ids[BATCH];
	float		distance[BATCH];
	int			kept = 0;
	int			start;

	for (start = 0; start < n; start += BATCH)
	{
		int			batch_n = n - start < BATCH ? n - start : BATCH;
		int			i;

		for (i = 0; i < batch_n; i++)
			ids[i] = candidates[start + i].id;
		score(state, chosen, ids, batch_n, distance);
		for (i = 0; i < batch_n; i++)
		{
			HmCandidate candidate = candidates[start + i];

			candidates[kept] = candidate;
			kept += !(distance[i] < candidate.distance);
		}
	}
	return kept;
}

int
hm_select_neighbours(HmCandidate *candidates, int n, int limit,
					 HmScoreFunction score, void *state)
{
	int			most_ties = limit / 4 > 2 ? limit / 4 : 2;
	int			chosen = 0;
	int			ties = 0;

	/* candidates[0 .. chosen - 1] are chosen, the n after them undecided */
	while (n > 0 && chosen < limit)
	{
		HmCandidate *next = &candidates[chosen];

		ties = chosen > 0 && next[-1].distance == next->distance ? ties + 1 : 1;
		if (ties > most_ties)
		{
			int			run = 1;
			int			i;

			while (run < n && next[run].distance == next->distance)
				run++;
			for (i = run; i < n; i++)
				next[i - run] = next[i];
			n -= run;
			continue;
		}
		chosen++;
		n--;
		if (chosen < limit)
			n = strike_out(next + 1, n, next->id, score, state);
	}
	return chosen;
}
