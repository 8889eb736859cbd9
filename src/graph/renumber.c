/*-------------------------------------------------------------------------
 *
 * renumber.c
 *	  The order in which a built graph's elements are stored.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/build.h"

#include "graph/build_graph.h"

/* Appends the elements reachable at level 0 from queue[*n], which is marked. */
static void
append_reachable(const HmBuildGraph *graph, uint32_t *queue, uint32_t *mark, uint32_t *n)
{
	uint32_t	head = *n;
	uint32_t	tail = head + 1;

	while (head < tail)
	{
		HmBuildList list = hm_build_list(graph, queue[head++], 0);
		int			i;

		for (i = 0; i < list.size; i++)
		{
			uint32_t	next = hm_link_id(&list, i);

			if (next == HM_NO_ID)
				break;
			if (mark[next] != HM_NO_ID)
				continue;
			mark[next] = 0;
			queue[tail++] = next;
		}
	}
	*n = tail;
}

HmStatus
hm_build_renumber(HmBuilder *builder, uint32_t *new_of_old, uint32_t *old_of_new,
				  uint32_t level_count[HM_MAX_LEVELS])
{
	const HmBuildGraph *graph = builder->graph;
	uint32_t	n = graph->params.element_count;
	uint64_t	entry = hm_build_entry(graph);
	uint32_t	next[HM_MAX_LEVELS];
	uint32_t	queued = 0;
	uint32_t	i;
	int			level;

	/* breadth-first order, in old_of_new; whoever is in it is marked in new_of_old */
	memset(new_of_old, 0xFF, (size_t) n * sizeof(uint32_t));
	if (entry != HM_NO_ENTRY)
	{
		new_of_old[(uint32_t) entry] = 0;
		old_of_new[0] = (uint32_t) entry;
		append_reachable(graph, old_of_new, new_of_old, &queued);
	}
	for (i = 0; i < n; i++)
	{
		if (new_of_old[i] != HM_NO_ID)
			continue;
		new_of_old[i] = 0;
		old_of_new[queued] = i;
		append_reachable(graph, old_of_new, new_of_old, &queued);
	}

	/* a counting sort by level, which keeps that order within each level */
	memset(level_count, 0, HM_MAX_LEVELS * sizeof(level_count[0]));
	for (i = 0; i < n; i++)
		level_count[hm_build_level(graph, i)]++;
	for (level = HM_MAX_LEVELS - 2; level >= 0; level--)
		level_count[level] += level_count[level + 1];
	for (level = 0; level < HM_MAX_LEVELS; level++)
		next[level] = level + 1 < HM_MAX_LEVELS ? level_count[level + 1] : 0;
	for (i = 0; i < n; i++)
		new_of_old[old_of_new[i]] = next[hm_build_level(graph, old_of_new[i])]++;
	for (i = 0; i < n; i++)
		old_of_new[new_of_old[i]] = i;
	return HM_OK;
}
