/*-------------------------------------------------------------------------
 *
 * test_graph_build.c
 *	  Building a graph: alone, by threads, by processes; and what follows.
 *
 *-------------------------------------------------------------------------
 */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "graph/build_graph.h"
#include "test_graph.h"

#define QUERIES 60

static void
test_levels(void)
{
	static const uint32_t ms[] = {2, 8, 16, 100};

	for (size_t i = 0; i < sizeof(ms) / sizeof(ms[0]); i++)
	{
		uint32_t	n = 400000;
		uint32_t	count[HM_MAX_LEVELS] = {0};
		double		expected = n;

		for (uint32_t id = 0; id < n; id++)
			for (int level = hm_level_of(7, id, ms[i]); level >= 0; level--)
				count[level]++;
		for (int level = 0; level < HM_MAX_LEVELS; level++, expected /= ms[i])
		{
			/* five standard deviations */
			UNIT_CHECK(fabs(count[level] - expected) <= 5 * sqrt(expected) + 3,
					   "m %u, level %d: %u for %.1f", ms[i], level, count[level], expected);
		}
	}
	UNIT_CHECK(hm_level_of(1, 5, 16) == hm_level_of(1, 5, 16), "not deterministic");
}

static void
test_order(void)
{
	static const uint32_t sizes[] = {1, 2, 3, 4, 5, 63, 64, 65, 1000, 16384, 16385, 70000};
	uint8_t    *seen = calloc(70000, 1);

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		HmBuildParams params = {.element_count = sizes[i], .m = 16, .ef_construction = 100, .seed = 1234 + i};
		void	   *memory = test_build_memory(&params);
		HmBuildGraph *graph = hm_build_init(memory, &params);
		uint32_t	fixed = 0;

		memset(seen, 0, sizes[i]);
		for (uint32_t j = 0; j < sizes[i]; j++)
		{
			uint32_t	id = hm_build_order(graph, j);

			UNIT_CHECK(id < sizes[i] && !seen[id], "n %u: %u gives %u", sizes[i], j, id);
			if (id < sizes[i])
				seen[id] = 1;
			fixed += id == j;
		}
		UNIT_CHECK(sizes[i] < 1000 || fixed < 10, "n %u: %u stay in place", sizes[i], fixed);
		free(memory);
	}
	free(seen);
}

static void
test_sizes(void)
{
	HmBuildParams params = {.element_count = 1000, .m = 16, .ef_construction = 100, .seed = 1};
	size_t		size = hm_build_size(&params);

	UNIT_CHECK(size > 1000 * 32 * 8 && size < 1000 * 300, "%zu", size);
	params.m = 1;
	UNIT_CHECK(hm_build_size(&params) == 0, "m = 1");
	params.m = HM_MAX_M + 1;
	UNIT_CHECK(hm_build_size(&params) == 0, "m = 101");
}

static void
test_small_graphs(void)
{
	static const uint32_t ms[] = {2, 16, 100};

	for (size_t i = 0; i < sizeof(ms) / sizeof(ms[0]); i++)
	{
		for (uint32_t n = 0; n <= 40; n++)
		{
			HmUnitRandom random = unit_random(n);
			TestData	data = test_data(&random, n, 4, HM_L2, 0);
			TestGraph  *graph = test_build(&data, ms[i], 100, n, NULL);
			float		origin[4] = {0};
			TestQuery	query = {&data, origin, NULL};
			HmSearch   *search = hm_search_create(&test_allocator);

			test_check(graph);
			test_search(search, graph, &query, 50);
			UNIT_CHECK(search->result_n == (int) n, "n %u: %d results", n, search->result_n);
			hm_search_destroy(search);
			test_free_graph(graph);
			free(data.vectors);
		}
	}
}

/* Builds, checks, and measures recall at ef with queries drawn like the data. */
static double
build_and_measure(uint64_t stream, uint32_t n, uint32_t dim, uint32_t m, uint32_t clusters,
				  int ef, uint32_t *linked)
{
	HmUnitRandom random = unit_random(stream);
	TestData	data = test_data(&random, n + QUERIES, dim, HM_L2, clusters);
	TestData	queries = data;
	TestGraph  *graph;
	double		recall;

	queries.n = QUERIES;
	queries.vectors = data.vectors + (size_t) n * dim;
	data.n = n;
	graph = test_build(&data, m, m > 60 ? m : 60, stream, linked);
	test_check(graph);
	recall = test_recall(graph, &data, &queries, NULL, ef);
	free(data.vectors);
	test_free_graph(graph);
	return recall;
}

static void
test_extreme_m(void)
{
	uint32_t	linked;
	double		recall = build_and_measure(1, 3000, 8, 2, 0, 200, &linked);

	printf("# m = 2: recall %.4f, %u hooked\n", recall, linked);
	UNIT_CHECK(recall > 0.85, "m = 2: %.4f", recall);
	recall = build_and_measure(2, 2000, 16, 100, 0, 40, &linked);
	printf("# m = 100: recall %.4f, %u hooked\n", recall, linked);
	UNIT_CHECK(recall > 0.99, "m = 100: %.4f", recall);
}

/* Tight clusters far apart: few links lead from one to another. */
static void
test_tight_clusters(void)
{
	HmUnitRandom random = unit_random(3);
	uint32_t	n = 4000;
	TestData	data = test_data(&random, n, 8, HM_L2, 0);
	TestGraph  *graph;
	uint32_t	linked;
	double		recall;

	for (uint32_t id = 0; id < n; id++)
		for (uint32_t i = 0; i < 8; i++)
			data.vectors[id * 8 + i] = (float) (id % 50 * ((i * 7 + id % 50) % 13)) +
				data.vectors[id * 8 + i] * 1e-3f;
	graph = test_build(&data, 8, 60, 3, &linked);
	test_check(graph);
	data.n = QUERIES;
	recall = test_recall(graph, &data, &data, NULL, 100);
	data.n = n;
	printf("# tight clusters: recall %.4f, %u hooked\n", recall, linked);
	UNIT_CHECK(recall > 0.9, "%.4f", recall);
	test_free_graph(graph);
	free(data.vectors);
}

static uint64_t scored_in_build;

static void
counting_score(const HmBuildScorer *scorer, uint32_t from, const uint32_t *ids, int n, float *distance)
{
	scored_in_build += n;
	test_score(scorer, from, ids, n, distance);
}

/* Distances computed per element of a build, so many tenths of it copies of five vectors. */
static double
build_duplicates(HmUnitRandom *random, uint32_t n, HmMetric metric, uint32_t tenths)
{
	uint32_t	dim = 12;
	TestData	data = test_data(random, n, dim, metric, 0);
	HmBuildParams params = {.element_count = n, .m = 12, .ef_construction = 80, .seed = 5};
	HmBuildScorer scorer = {.score = counting_score, .state = &data};
	void	   *memory = test_build_memory(&params);
	HmBuildGraph *built = hm_build_init(memory, &params);
	HmBuilder  *builder = hm_builder_create(built, &scorer, &test_allocator);
	HmSearch   *search = hm_search_create(&test_allocator);
	TestGraph  *graph;
	uint32_t	linked;
	uint32_t	found = 0;
	uint32_t	tried = 0;
	double		cost;

	for (uint32_t id = 0; id < n; id++)
	{
		if (unit_random_below(random, 10) < tenths)
			memcpy(data.vectors + (size_t) id * dim,
				   data.vectors + (size_t) (id % 5) * dim, dim * sizeof(float));
	}
	scored_in_build = 0;
	for (uint32_t i = 0; i < n; i++)
		hm_build_insert(builder, hm_build_order(built, i));
	UNIT_CHECK(hm_build_connect(builder, &linked) == HM_OK, "n %u", n);
	cost = (double) scored_in_build / n;
	graph = test_store(builder, built, n, params.m);
	test_check(graph);

	/* every vector that is not a copy finds itself */
	for (uint32_t id = 5; id < n; id += 7)
	{
		TestQuery	query = {&data, test_vector(&data, id), NULL};

		if (memcmp(query.vector, test_vector(&data, id % 5), dim * sizeof(float)) == 0)
			continue;
		test_search(search, graph, &query, 100);
		tried++;
		found += test_recall_of(search, graph, &query, 10) >= 0.9;
	}
	printf("# metric %d, %u tenths copies: %.0f distances each, %u hooked, %u of %u found\n",
		   metric, tenths, cost, linked, found, tried);
	UNIT_CHECK(found >= tried * 0.97, "metric %d: %u of %u", metric, found, tried);
	hm_search_destroy(search);
	hm_builder_destroy(builder);
	test_free_graph(graph);
	free(memory);
	free(data.vectors);
	return cost;
}

static void
test_duplicates(void)
{
	HmUnitRandom random = unit_random(4);

	for (int metric = HM_L2; metric <= HM_COSINE; metric++)
	{
		double		plain = build_duplicates(&random, 6000, metric, 0);
		double		copies = build_duplicates(&random, 6000, metric, 9);

		UNIT_CHECK(copies < 1.7 * plain, "metric %d: %.0f, copies %.0f", metric, plain, copies);
	}
}

/* Nothing but copies of one vector, and nothing but points of a grid. */
static void
test_ties(void)
{
	HmUnitRandom random = unit_random(5);
	uint32_t	n = 3000;
	TestData	data = test_data(&random, n, 4, HM_L2, 0);
	TestGraph  *graph;
	uint32_t	linked;
	double		recall;

	for (uint32_t i = 0; i < n * 4; i++)
		data.vectors[i] = 0.25f;
	graph = test_build(&data, 8, 60, 1, &linked);
	test_check(graph);
	printf("# all the same: %u hooked\n", linked);
	test_free_graph(graph);

	for (uint32_t i = 0; i < n * 4; i++)
		data.vectors[i] = (float) unit_random_below(&random, 6);
	graph = test_build(&data, 8, 60, 1, &linked);
	test_check(graph);
	data.n = QUERIES;
	recall = test_recall(graph, &data, &data, NULL, 60);
	printf("# grid: recall %.4f, %u hooked\n", recall, linked);
	UNIT_CHECK(recall > 0.97, "%.4f", recall);
	test_free_graph(graph);
	free(data.vectors);
}

static void
test_determinism(void)
{
	HmUnitRandom random = unit_random(6);
	TestData	data = test_data(&random, 1500, 8, HM_L2, 0);
	TestGraph  *a = test_build(&data, 8, 60, 77, NULL);
	TestGraph  *b = test_build(&data, 8, 60, 77, NULL);
	TestGraph  *c = test_build(&data, 8, 60, 78, NULL);

	UNIT_CHECK(memcmp(a->level_count, b->level_count, sizeof(a->level_count)) == 0, "level counts");
	UNIT_CHECK(memcmp(a->links[0], b->links[0], 1500 * 16 * sizeof(uint32_t)) == 0, "links");
	UNIT_CHECK(memcmp(a->links[0], c->links[0], 1500 * 16 * sizeof(uint32_t)) != 0, "another seed");
	test_free_graph(a);
	test_free_graph(b);
	test_free_graph(c);
	free(data.vectors);
}

static void
test_renumbering(void)
{
	HmUnitRandom random = unit_random(7);
	TestData	data = test_data(&random, 5000, 6, HM_L2, 0);
	uint64_t	seed = 99;
	TestGraph  *graph = test_build(&data, 6, 40, seed, NULL);
	uint64_t	spread = 0;
	uint64_t	links = 0;

	for (uint32_t id = 0; id < data.n; id++)
	{
		uint32_t	old = graph->old_of_new[id];

		UNIT_CHECK(old < data.n && graph->new_of_old[old] == id, "%u is %u", id, old);
		UNIT_CHECK(id == 0 || hm_level_of(seed, old, 6) <= hm_level_of(seed, graph->old_of_new[id - 1], 6),
				   "%u has a higher level than the one before", id);
		for (int level = 0; level < HM_MAX_LEVELS; level++)
			UNIT_CHECK((hm_level_of(seed, old, 6) >= level) == (id < graph->level_count[level]),
					   "%u at level %d", id, level);
	}
	for (uint32_t id = graph->level_count[1]; id < data.n; id++)
	{
		for (int i = 0; i < 12 && graph->links[0][id * 12 + i] != HM_NO_ID; i++, links++)
			spread += abs((int) graph->links[0][id * 12 + i] - (int) id);
	}
	UNIT_CHECK((double) spread / links < 0.25 * data.n, "neighbours are %.0f apart", (double) spread / links);
	test_free_graph(graph);
	free(data.vectors);
}

/* --- several at once --- */

typedef struct Parallel
{
	HmBuildGraph *graph;
	const HmBuildScorer *scorer;
	uint32_t   *next;
} Parallel;

static void *
insert_share(void *argument)
{
	Parallel   *parallel = argument;
	HmBuilder  *builder = hm_builder_create(parallel->graph, parallel->scorer, &test_allocator);
	uint32_t	n = parallel->graph->params.element_count;
	uint32_t	i;
	HmStatus	status = HM_OK;

	while (status == HM_OK && (i = __atomic_fetch_add(parallel->next, 1, __ATOMIC_RELAXED)) < n)
		status = hm_build_insert(builder, hm_build_order(parallel->graph, i));
	hm_builder_destroy(builder);
	return (void *) (intptr_t) status;
}

/* Builds with threads or child processes and measures; the data is the same each time. */
static double
build_in_parallel(int workers, bool by_fork, uint32_t n, int ef)
{
	HmUnitRandom random = unit_random(8);
	TestData	data = test_data(&random, n + QUERIES, 16, HM_L2, 30);
	TestData	queries = data;
	HmBuildParams params = {.element_count = n, .m = 10, .ef_construction = 60, .seed = 8};
	HmBuildScorer scorer = {.score = test_score, .state = &data};
	size_t		size = hm_build_size(&params) + 64;
	char	   *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	Parallel	parallel = {hm_build_init(memory, &params), &scorer, (uint32_t *) (memory + size - 64)};
	HmBuilder  *builder;
	TestGraph  *graph;
	uint32_t	linked;
	double		recall;

	unit_require(memory != MAP_FAILED, "mmap");
	queries.n = QUERIES;
	queries.vectors = data.vectors + (size_t) n * 16;
	data.n = n;
	if (by_fork)
	{
		fflush(stdout);
		for (int i = 0; i < workers; i++)
		{
			pid_t		child = fork();

			unit_require(child >= 0, "fork");
			if (child == 0)
				_exit((int) (intptr_t) insert_share(&parallel));
		}
		for (int i = 0; i < workers; i++)
		{
			int			status;

			UNIT_CHECK(wait(&status) > 0 && status == 0, "status %d", status);
		}
	}
	else
	{
		pthread_t	threads[8];

		for (int i = 0; i < workers; i++)
			pthread_create(&threads[i], NULL, insert_share, &parallel);
		for (int i = 0; i < workers; i++)
		{
			void	   *status;

			pthread_join(threads[i], &status);
			UNIT_CHECK((intptr_t) status == HM_OK, "status %d", (int) (intptr_t) status);
		}
	}
	builder = hm_builder_create(parallel.graph, &scorer, &test_allocator);
	UNIT_CHECK(hm_build_connect(builder, &linked) == HM_OK, "workers %d", workers);
	graph = test_store(builder, parallel.graph, n, params.m);
	test_check(graph);
	recall = test_recall(graph, &data, &queries, NULL, ef);
	printf("# %d %s: recall %.4f, %u hooked\n", workers, by_fork ? "processes" : "threads", recall, linked);
	hm_builder_destroy(builder);
	test_free_graph(graph);
	munmap(memory, size);
	free(data.vectors);
	return recall;
}

static void
test_parallel(void)
{
	double		alone = build_in_parallel(1, true, 4000, 20);

	UNIT_CHECK(build_in_parallel(2, true, 4000, 20) > alone - 0.015, "alone %.4f", alone);
	UNIT_CHECK(build_in_parallel(4, true, 4000, 20) > alone - 0.015, "alone %.4f", alone);
	UNIT_CHECK(build_in_parallel(4, false, 4000, 20) > alone - 0.015, "alone %.4f", alone);

	/* many on little: most insertions meet each other */
	for (int i = 0; i < 20; i++)
		build_in_parallel(8, false, 40, 20);
}

/* A process that died holding a lock keeps nobody waiting for ever. */
static void
test_abort(void)
{
	HmUnitRandom random = unit_random(9);
	TestData	data = test_data(&random, 200, 4, HM_L2, 0);
	HmBuildParams params = {.element_count = 200, .m = 4, .ef_construction = 20, .seed = 9};
	HmBuildScorer scorer = {.score = test_score, .state = &data};
	void	   *memory = test_build_memory(&params);
	uint32_t	next = 0;
	Parallel	parallel = {hm_build_init(memory, &params), &scorer, &next};
	HmBuilder  *builder = hm_builder_create(parallel.graph, &scorer, &test_allocator);
	pthread_t	spinner;
	void	   *status;

	for (; next < 100; next++)
		hm_build_insert(builder, hm_build_order(parallel.graph, next));
	for (uint32_t id = 0; id < 200; id++)
		UNIT_CHECK(hm_build_lock(parallel.graph, id), "%u", id);
	pthread_create(&spinner, NULL, insert_share, &parallel);
	usleep(50000);
	hm_build_abort(parallel.graph);
	pthread_join(spinner, &status);
	UNIT_CHECK((intptr_t) status == HM_ABORTED, "status %d", (int) (intptr_t) status);
	UNIT_CHECK(hm_build_insert(builder, hm_build_order(parallel.graph, 150)) == HM_ABORTED, "insert goes on");
	hm_builder_destroy(builder);
	free(memory);
	free(data.vectors);
}

/*
 * The connectivity pass on a graph made for it: every list full, and a third of
 * the elements without any in-link, whatever their distances.
 */
static void
test_connecting(void)
{
	HmUnitRandom random = unit_random(10);
	uint32_t	n = 600;
	TestData	data = test_data(&random, n, 4, HM_L2, 0);
	HmBuildParams params = {.element_count = n, .m = 2, .ef_construction = 20, .seed = 10};
	HmBuildScorer scorer = {.score = test_score, .state = &data};
	void	   *memory = test_build_memory(&params);
	HmBuildGraph *built = hm_build_init(memory, &params);
	HmBuilder  *builder = hm_builder_create(built, &scorer, &test_allocator);
	TestGraph  *graph;
	uint32_t	linked;

	for (uint32_t i = 0; i < n; i++)
		hm_build_insert(builder, hm_build_order(built, i));
	for (uint32_t id = 0; id < n; id++)
	{
		for (int level = 0; level <= hm_build_level(built, id); level++)
		{
			HmBuildList list = hm_build_list(built, id, level);
			uint32_t	used[4];

			for (int i = 0; i < list.size; i++)
			{
				bool		again = true;

				/* distinct, not itself, of this level, and not of the third that is shunned */
				while (again)
				{
					used[i] = unit_random_below(&random, n);
					again = used[i] == id || (used[i] % 3 == 0 && level == 0) ||
						hm_build_level(built, used[i]) < level;
					for (int j = 0; j < i; j++)
						again |= used[j] == used[i];
					if (level > 0 && again && unit_random_below(&random, 1000) == 0)
						break;
				}
				if (again)
				{
					hm_link_clear(&list, i);
					break;
				}
				hm_link_set(&list, i, (HmCandidate) {1, used[i]});
			}
		}
	}
	UNIT_CHECK(hm_build_connect(builder, &linked) == HM_OK, "linked %u", linked);
	UNIT_CHECK(linked >= n / 4, "linked %u", linked);
	graph = test_store(builder, built, n, params.m);
	test_check(graph);
	UNIT_CHECK(hm_build_connect(builder, &linked) == HM_OK && linked == 0, "linked %u again", linked);
	hm_builder_destroy(builder);
	test_free_graph(graph);
	free(memory);
	free(data.vectors);
}

/* Takes over the lists of elements below `adopted`, without those that lead further. */
static void
adopt_lists(HmUnitRandom *random, const HmBuildGraph *from, HmBuilder *builder, uint32_t adopted,
			const uint32_t *identity)
{
	for (uint32_t id = 0; id < adopted; id++)
	{
		for (int level = hm_build_level(from, id); level >= 0; level--)
		{
			uint32_t	slots[2 * HM_MAX_M];
			uint32_t	ids[2 * HM_MAX_M + 2];
			int			used = hm_build_links(from, id, level, identity, slots);
			int			n = 0;

			for (int i = used - 1; i >= 0; i--)
			{
				if (slots[i] < adopted)
					ids[n++] = slots[i];
			}
			/* itself, and one of them again */
			ids[n++] = id;
			ids[n] = ids[unit_random_below(random, n)];
			hm_build_adopt(builder, id, level, ids, n + 1, false);
		}
	}
}

static void
test_adopting(void)
{
	HmUnitRandom random = unit_random(11);
	uint32_t	n = 900;
	TestData	data = test_data(&random, n, 6, HM_L2, 0);
	HmBuildParams params = {.element_count = n, .m = 6, .ef_construction = 60, .seed = 5};
	HmBuildScorer scorer = {.score = test_score, .state = &data};
	void	   *memory = test_build_memory(&params);
	HmBuildGraph *built = hm_build_init(memory, &params);
	HmBuilder  *builder = hm_builder_create(built, &scorer, &test_allocator);
	uint32_t   *identity = unit_malloc(n * sizeof(uint32_t));
	uint8_t    *levels = unit_malloc(n);

	for (uint32_t i = 0; i < n; i++)
	{
		identity[i] = i;
		hm_build_insert(builder, hm_build_order(built, i));
	}

	/* all of them, then two thirds, the rest being inserted */
	for (uint32_t adopted = n; adopted >= 2 * n / 3; adopted -= n / 3)
	{
		HmBuildParams given = {.element_count = n, .m = 6, .ef_construction = 60, .seed = 99, .levels = levels};
		HmBuilder  *taker;
		HmBuildGraph *taken;
		TestGraph  *graph;
		void	   *other;
		uint32_t	linked;

		for (uint32_t i = 0; i < n; i++)
			levels[i] = i < adopted ? (uint8_t) hm_build_level(built, i) : HM_LEVEL_FROM_SEED;
		other = test_build_memory(&given);
		taken = hm_build_init(other, &given);
		taker = hm_builder_create(taken, &scorer, &test_allocator);
		adopt_lists(&random, built, taker, adopted, identity);

		for (uint32_t i = 0; i < n; i++)
		{
			uint32_t	id = hm_build_order(taken, i);

			UNIT_CHECK(hm_build_is_adopted(taken, id) == (id < adopted), "element %u of %u", id, adopted);
			if (id >= adopted)
				UNIT_CHECK(hm_build_insert(taker, id) == HM_OK, "insert %u", id);
			else
				UNIT_CHECK(hm_build_level(taken, id) == hm_build_level(built, id), "level of %u", id);
		}
		for (uint32_t id = 0; id < n && adopted == n; id++)
		{
			uint32_t	a[2 * HM_MAX_M];
			uint32_t	b[2 * HM_MAX_M];
			int			a_n = hm_build_links(built, id, 0, identity, a);
			int			b_n = hm_build_links(taken, id, 0, identity, b);

			UNIT_CHECK(a_n == b_n && memcmp(a, b, a_n * sizeof(a[0])) == 0, "list of %u: %d and %d", id, a_n, b_n);
		}
		UNIT_CHECK(hm_build_connect(taker, &linked) == HM_OK, "linked %u", linked);
		graph = test_store(taker, taken, n, params.m);
		test_check(graph);
		test_free_graph(graph);
		hm_builder_destroy(taker);
		free(other);
	}
	hm_builder_destroy(builder);
	free(memory);
	free(identity);
	free(levels);
	free(data.vectors);
}

int
main(void)
{
	unit_start();
	hm_simd_init();
	unit_run("levels are geometric", test_levels);
	unit_run("the insertion order is a permutation", test_order);
	unit_run("sizes and limits", test_sizes);
	unit_run("graphs of up to forty elements", test_small_graphs);
	unit_run("the least and the largest m", test_extreme_m);
	unit_run("tight clusters", test_tight_clusters);
	unit_run("mostly copies", test_duplicates);
	unit_run("nothing but ties", test_ties);
	unit_run("the same seed gives the same graph", test_determinism);
	unit_run("renumbering", test_renumbering);
	unit_run("threads and processes", test_parallel);
	unit_run("aborting", test_abort);
	unit_run("the connectivity pass", test_connecting);
	unit_run("lists of another graph", test_adopting);
	return unit_finish();
}
