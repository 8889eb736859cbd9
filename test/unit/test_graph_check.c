/*-------------------------------------------------------------------------
 *
 * test_graph_check.c
 *	  The structural check finds every defect, and no others.
 *
 *-------------------------------------------------------------------------
 */
#include "test_graph.h"

#define N 800
#define M 6

static TestData data;
static TestGraph *graph;

static HmGraphReport
check(HmStatus expected)
{
	HmGraphReport report;
	HmStatus	status = hm_graph_check(&graph->store, graph->level_count, &test_allocator, &report);

	UNIT_CHECK(status == expected, "status %d", status);
	return report;
}

static uint32_t *
list(uint32_t id)
{
	return graph->links[0] + (size_t) id * 2 * M;
}

/* An element of level 0 only, whose list holds at least three links and one hole. */
static uint32_t
victim(void)
{
	uint32_t	id = graph->level_count[1];

	while (list(id)[3] == HM_NO_ID || list(id)[2 * M - 1] != HM_NO_ID)
		id++;
	return id;
}

static void
test_sound(void)
{
	HmGraphReport report = check(HM_OK);
	uint64_t	links = 0;
	uint64_t	base_links = 0;

	for (int level = 0; level < HM_MAX_LEVELS; level++)
	{
		uint32_t	slots = level == 0 ? 2 * M : M;

		for (size_t i = 0; i < (size_t) graph->level_count[level] * slots; i++)
			links += graph->links[level][i] != HM_NO_ID;
		if (level == 0)
			base_links = links;
	}
	UNIT_CHECK(report.links == links && report.degree_sum == base_links, "%llu links, %llu at level 0",
			   (unsigned long long) report.links, (unsigned long long) report.degree_sum);
	UNIT_CHECK(report.degree_min >= 1 && report.degree_max <= 2 * M, "%u to %u",
			   report.degree_min, report.degree_max);
	UNIT_CHECK(report.first_bad == HM_NO_ID && report.unreachable == 0, "%u", report.first_bad);
}

static void
test_bad_id(void)
{
	uint32_t	id = victim();
	uint32_t	saved = list(id)[1];
	static const uint32_t bad[] = {N, N + 1, HM_NO_ID - 1, 0x80000000};
	HmGraphReport report;

	for (int i = 0; i < 4; i++)
	{
		list(id)[1] = bad[i];
		report = check(HM_CORRUPT);
		UNIT_CHECK(report.bad_ids == 1 && report.first_bad == id, "%u: %u", report.bad_ids, report.first_bad);
	}
	list(id)[1] = saved;

	/* on level 1, an element that is only of level 0 */
	saved = graph->links[1][0];
	graph->links[1][0] = graph->level_count[1];
	report = check(HM_CORRUPT);
	UNIT_CHECK(report.bad_ids == 1 && report.first_bad == 0, "%u: %u", report.bad_ids, report.first_bad);
	graph->links[1][0] = saved;
}

static void
test_self_and_duplicate(void)
{
	uint32_t	id = victim();
	uint32_t	saved = list(id)[1];
	HmGraphReport report;

	list(id)[1] = id;
	report = check(HM_CORRUPT);
	UNIT_CHECK(report.self_links == 1 && report.first_bad == id, "%u", report.self_links);
	list(id)[1] = list(id)[0];
	report = check(HM_CORRUPT);
	UNIT_CHECK(report.duplicate_links == 1 && report.first_bad == id, "%u", report.duplicate_links);
	list(id)[1] = saved;
}

static void
test_hole(void)
{
	uint32_t	id = victim();
	uint32_t	saved = list(id)[0];
	HmGraphReport report;

	list(id)[0] = HM_NO_ID;
	report = check(HM_CORRUPT);
	UNIT_CHECK(report.holes >= 1 && report.first_bad == id, "%u", report.holes);
	list(id)[0] = saved;
}

static void
test_unreachable(void)
{
	uint32_t	id = victim();
	HmGraphReport report;
	uint32_t   *saved = unit_malloc((size_t) N * 2 * M * sizeof(uint32_t));

	/* take away every link to one element */
	memcpy(saved, graph->links[0], (size_t) N * 2 * M * sizeof(uint32_t));
	for (uint32_t i = 0; i < N; i++)
	{
		int			kept = 0;

		for (int j = 0; j < 2 * M; j++)
			if (list(i)[j] != id)
				list(i)[kept++] = list(i)[j];
		while (kept < 2 * M)
			list(i)[kept++] = HM_NO_ID;
	}
	report = check(HM_OK);
	UNIT_CHECK(report.unreachable == 1, "%u", report.unreachable);

	/* and the entry point's links: nothing else is reached */
	for (int j = 0; j < 2 * M; j++)
		list(0)[j] = HM_NO_ID;
	report = check(HM_OK);
	UNIT_CHECK(report.unreachable == N - 1 && report.degree_min == 0, "%u", report.unreachable);
	memcpy(graph->links[0], saved, (size_t) N * 2 * M * sizeof(uint32_t));
	free(saved);
}

static void
test_forged_header(void)
{
	uint32_t	saved = graph->level_count[1];
	HmGraphReport report;

	graph->store.entry_point = N;
	report = check(HM_CORRUPT);
	UNIT_CHECK(report.unreachable == N, "%u", report.unreachable);
	graph->store.entry_point = 0;

	/* a level that claims more elements than there are below; its array is that long */
	graph->level_count[1] = graph->level_count[2] > 0 ? graph->level_count[2] - 1 : 0;
	report = check(HM_CORRUPT);
	UNIT_CHECK(report.bad_ids >= 1, "%u", report.bad_ids);
	graph->level_count[1] = saved;
}

static void
test_empty(void)
{
	HmStore		store = {0, HM_NO_ID, 0, M, test_links, NULL};
	uint32_t	level_count[HM_MAX_LEVELS] = {0};
	HmGraphReport report;

	UNIT_CHECK(hm_graph_check(&store, level_count, &test_allocator, &report) == HM_OK &&
			   report.unreachable == 0 && report.degree_min == 0, "%u", report.unreachable);
}

int
main(void)
{
	HmUnitRandom random;

	unit_start();
	random = unit_random(1);
	data = test_data(&random, N, 6, HM_L2, 0);
	graph = test_build(&data, M, 40, 3, NULL);
	unit_run("a sound graph", test_sound);
	unit_run("ids out of range", test_bad_id);
	unit_run("links to itself, links twice", test_self_and_duplicate);
	unit_run("a hole in a list", test_hole);
	unit_run("elements out of reach", test_unreachable);
	unit_run("a forged header", test_forged_header);
	unit_run("the empty graph", test_empty);
	test_free_graph(graph);
	free(data.vectors);
	return unit_finish();
}
