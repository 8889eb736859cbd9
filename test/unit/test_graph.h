/*-------------------------------------------------------------------------
 *
 * test_graph.h
 *	  What the tests of src/graph share: data, a build, a stored graph, and
 *	  brute force to compare with.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_TEST_GRAPH_H
#define HM_TEST_GRAPH_H

#include <math.h>
#include <string.h>

#include "graph/build.h"
#include "graph/check.h"
#include "graph/search.h"
#include "simd/simd.h"
#include "unit.h"

static void *
test_alloc(void *state, size_t size)
{
	return malloc(size > 0 ? size : 1);
}

static void
test_release(void *state, void *pointer)
{
	free(pointer);
}

static const HmAllocator test_allocator = {test_alloc, test_release, NULL};

/* Vectors and how they are compared. */
typedef struct TestData
{
	uint32_t	n;
	uint32_t	dim;
	HmMetric	metric;
	float	   *vectors;
} TestData;

static inline const float *
test_vector(const TestData *data, uint32_t id)
{
	return data->vectors + (size_t) id * data->dim;
}

static inline float
test_distance(const TestData *data, const float *a, const float *b)
{
	HmDotNorms	norms;

	switch (data->metric)
	{
		case HM_L2:
			return hm_kernels->l2sq_f32(a, b, data->dim);
		case HM_INNER_PRODUCT:
			return -hm_kernels->dot_f32(a, b, data->dim);
		case HM_COSINE:
			break;
	}
	norms = hm_kernels->dot_norms_f32(a, b, data->dim);
	return 1 - norms.dot / sqrtf(norms.norm_a * norms.norm_b);
}

/* A sum of uniform numbers is normal enough. */
static inline float
test_normal(HmUnitRandom *random)
{
	double		sum = 0;

	for (int i = 0; i < 6; i++)
		sum += unit_random_between(random, -1, 1);
	return (float) (sum * 0.7071);
}

/* Normal vectors around `clusters` normal centres of three times the spread (0: no centres). */
static inline TestData
test_data(HmUnitRandom *random, uint32_t n, uint32_t dim, HmMetric metric, uint32_t clusters)
{
	TestData	data = {n, dim, metric, unit_malloc((size_t) n * dim * sizeof(float))};
	float	   *centres = unit_malloc((size_t) (clusters + 1) * dim * sizeof(float));

	for (size_t i = 0; i < (size_t) clusters * dim; i++)
		centres[i] = 3 * test_normal(random);
	for (uint32_t id = 0; id < n; id++)
	{
		const float *centre = clusters == 0 ? NULL :
			centres + (size_t) unit_random_below(random, clusters) * dim;

		for (uint32_t i = 0; i < dim; i++)
			data.vectors[(size_t) id * dim + i] = test_normal(random) + (centre ? centre[i] : 0);
	}
	free(centres);
	return data;
}

static void
test_score(const HmBuildScorer *scorer, uint32_t from, const uint32_t *ids, int n, float *distance)
{
	const TestData *data = scorer->state;

	for (int i = 0; i < n; i++)
		distance[i] = test_distance(data, test_vector(data, from), test_vector(data, ids[i]));
}

/* A graph as it is stored: numbered anew, in plain arrays. */
typedef struct TestGraph
{
	HmStore		store;
	uint32_t   *links[HM_MAX_LEVELS];
	uint32_t	level_count[HM_MAX_LEVELS];
	uint32_t   *new_of_old;
	uint32_t   *old_of_new;

	/* a store that refuses lists now and then, and hands out copies */
	HmUnitRandom *refuse;
	uint32_t	granted_id;
	int			granted_level;
	uint64_t	refusals;
	uint32_t	copy[2][2 * HM_MAX_M];
	int			copy_turn;
} TestGraph;

static const uint32_t *
test_links(HmStore *store, uint32_t id, int level, int *slots)
{
	TestGraph  *graph = (TestGraph *) store;
	const uint32_t *links;

	*slots = (int) (level == 0 ? 2 * store->m : store->m);
	links = graph->links[level] + (size_t) id * *slots;
	if (graph->refuse == NULL)
		return links;
	if (graph->granted_id != id || graph->granted_level != level)
	{
		if (unit_random_below(graph->refuse, 4) > 0)
		{
			graph->refusals++;
			return NULL;
		}
	}
	graph->granted_id = HM_NO_ID;

	/* the last answer's memory becomes garbage, as it may */
	memset(graph->copy[graph->copy_turn], 0x5A, sizeof(graph->copy[0]));
	graph->copy_turn ^= 1;
	memcpy(graph->copy[graph->copy_turn], links, *slots * sizeof(uint32_t));
	return graph->copy[graph->copy_turn];
}

/* Copies a finished build into the form that is stored. */
static inline TestGraph *
test_store(HmBuilder *builder, HmBuildGraph *built, uint32_t n, uint32_t m)
{
	TestGraph  *graph = unit_malloc(sizeof(*graph));

	memset(graph, 0, sizeof(*graph));
	graph->granted_id = HM_NO_ID;
	graph->new_of_old = unit_malloc(n * sizeof(uint32_t));
	graph->old_of_new = unit_malloc(n * sizeof(uint32_t));
	UNIT_CHECK(hm_build_renumber(builder, graph->new_of_old, graph->old_of_new,
								 graph->level_count) == HM_OK, "n %u", n);
	graph->store.element_count = n;
	graph->store.entry_point = n > 0 ? 0 : HM_NO_ID;
	graph->store.m = m;
	graph->store.links = test_links;
	for (int level = 0; level < HM_MAX_LEVELS; level++)
	{
		uint32_t	slots = level == 0 ? 2 * m : m;

		graph->links[level] = unit_malloc((size_t) graph->level_count[level] * slots * sizeof(uint32_t));
		if (graph->level_count[level] > 0)
			graph->store.top_level = level;
		for (uint32_t id = 0; id < graph->level_count[level]; id++)
			hm_build_links(built, graph->old_of_new[id], level, graph->new_of_old,
						   graph->links[level] + (size_t) id * slots);
	}
	return graph;
}

static inline void
test_free_graph(TestGraph *graph)
{
	for (int level = 0; level < HM_MAX_LEVELS; level++)
		free(graph->links[level]);
	free(graph->new_of_old);
	free(graph->old_of_new);
	free(graph);
}

static inline void *
test_build_memory(const HmBuildParams *params)
{
	size_t		size = hm_build_size(params);
	void	   *memory = NULL;

	unit_require(size > 0 && posix_memalign(&memory, 64, size) == 0, "posix_memalign");
	memset(memory, 0, size);
	return memory;
}

/* Builds in this process and stores; *linked (optional) as of the connectivity pass. */
static inline TestGraph *
test_build(const TestData *data, uint32_t m, uint32_t ef_construction, uint64_t seed, uint32_t *linked)
{
	HmBuildParams params = {.element_count = data->n, .m = m, .ef_construction = ef_construction, .seed = seed};
	HmBuildScorer scorer = {.score = test_score, .state = data};
	void	   *memory = test_build_memory(&params);
	HmBuildGraph *built = hm_build_init(memory, &params);
	HmBuilder  *builder = hm_builder_create(built, &scorer, &test_allocator);
	uint32_t	hooked;
	TestGraph  *graph;

	unit_require(builder != NULL, "hm_builder_create");
	for (uint32_t i = 0; i < data->n; i++)
		UNIT_CHECK(hm_build_insert(builder, hm_build_order(built, i)) == HM_OK, "insert %u", i);
	UNIT_CHECK(hm_build_connect(builder, &hooked) == HM_OK, "n %u", data->n);
	if (linked != NULL)
		*linked = hooked;
	graph = test_store(builder, built, data->n, m);
	hm_builder_destroy(builder);
	free(memory);
	return graph;
}

/* Checks that the structure is sound and nothing is out of reach. */
static inline void
test_check(TestGraph *graph)
{
	HmGraphReport report;
	HmStatus	status = hm_graph_check(&graph->store, graph->level_count, &test_allocator, &report);

	UNIT_CHECK(status == HM_OK && report.unreachable == 0,
			   "status %d, unreachable %u, bad ids %u, self %u, duplicates %u, holes %u, first %u",
			   status, report.unreachable, report.bad_ids, report.self_links,
			   report.duplicate_links, report.holes, report.first_bad);
}

/* A query, and what becomes of elements (by their stored id). */
typedef struct TestQuery
{
	const TestData *data;
	const float *vector;
	const uint8_t *flags;		/* HM_SCORED, HM_DEAD, HM_ABSENT; NULL: all scored */
} TestQuery;

/* Steps a search to its end. */
static inline void
test_run(HmSearch *search, TestGraph *graph, const TestQuery *query)
{
	HmStep		step;

	while ((step = hm_search_step(search)) != HM_STEP_DONE)
	{
		if (step == HM_STEP_LINKS)
		{
			graph->granted_id = search->links_id;
			graph->granted_level = search->links_level;
			continue;
		}
		UNIT_CHECK(step == HM_STEP_SCORE && search->batch_n > 0 && search->batch_n <= HM_MAX_BATCH,
				   "step %d, batch %d", step, search->batch_n);
		if (step != HM_STEP_SCORE)
			return;
		for (int i = 0; i < search->batch_n; i++)
		{
			uint32_t	id = search->batch_ids[i];

			search->batch_flags[i] = query->flags ? query->flags[id] : HM_SCORED;
			search->batch_distance[i] = search->batch_flags[i] == HM_ABSENT ? NAN :
				test_distance(query->data, query->vector,
							  test_vector(query->data, graph->old_of_new[id]));
		}
	}
}

static inline void
test_search(HmSearch *search, TestGraph *graph, const TestQuery *query, int ef)
{
	UNIT_CHECK(hm_search_begin(search, &graph->store, ef) == HM_OK, "ef %d", ef);
	test_run(search, graph, query);
}

static int
test_compare(const void *a, const void *b)
{
	const HmCandidate *x = a;
	const HmCandidate *y = b;

	if (x->distance != y->distance)
		return x->distance < y->distance ? -1 : 1;
	return (x->id > y->id) - (x->id < y->id);
}

/* All live elements by distance; *n of them.  The caller frees it. */
static inline HmCandidate *
test_brute_force(const TestGraph *graph, const TestQuery *query, uint32_t *n)
{
	HmCandidate *all = unit_malloc(graph->store.element_count * sizeof(HmCandidate));

	*n = 0;
	for (uint32_t id = 0; id < graph->store.element_count; id++)
	{
		if (query->flags != NULL && query->flags[id] != HM_SCORED)
			continue;
		all[*n].id = id;
		all[(*n)++].distance = test_distance(query->data, query->vector,
											 test_vector(query->data, graph->old_of_new[id]));
	}
	qsort(all, *n, sizeof(HmCandidate), test_compare);
	return all;
}

/* Which part of the k nearest a search has found; a tie with the k-th counts. */
static inline double
test_recall_of(const HmSearch *search, TestGraph *graph, const TestQuery *query, uint32_t k)
{
	uint32_t	n;
	HmCandidate *all = test_brute_force(graph, query, &n);
	uint32_t	found = 0;

	if (k > n)
		k = n;
	for (uint32_t i = 0; i < k && i < (uint32_t) search->result_n; i++)
		found += search->results[i].distance <= all[k - 1].distance;
	free(all);
	return k > 0 ? (double) found / k : 1;
}

/* Mean recall@10 over queries drawn like the data (rows of `queries`). */
static inline double
test_recall(TestGraph *graph, const TestData *data, const TestData *queries,
			const uint8_t *flags, int ef)
{
	HmSearch   *search = hm_search_create(&test_allocator);
	double		sum = 0;

	for (uint32_t i = 0; i < queries->n; i++)
	{
		TestQuery	query = {data, test_vector(queries, i), flags};

		test_search(search, graph, &query, ef);
		sum += test_recall_of(search, graph, &query, 10);
	}
	hm_search_destroy(search);
	return sum / queries->n;
}

#endif							/* HM_TEST_GRAPH_H */
