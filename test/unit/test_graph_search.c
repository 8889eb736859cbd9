/*-------------------------------------------------------------------------
 *
 * test_graph_search.c
 *	  Searching a stored graph: recall, resuming, the dead and the absent.
 *
 *-------------------------------------------------------------------------
 */
#include "test_graph.h"

#define N 3000
#define DIM 16
#define QUERIES 60

typedef struct Fixture
{
	TestData	data;
	TestData	queries;
	TestGraph  *graph;
} Fixture;

static Fixture
set_up(HmUnitRandom *random, uint32_t n, uint32_t dim, HmMetric metric, uint32_t clusters)
{
	Fixture		fixture;

	/* queries are drawn with the data, from the same clusters */
	fixture.data = test_data(random, n + QUERIES, dim, metric, clusters);
	fixture.queries = fixture.data;
	fixture.queries.n = QUERIES;
	fixture.queries.vectors = fixture.data.vectors + (size_t) n * dim;
	fixture.data.n = n;
	fixture.graph = test_build(&fixture.data, 12, 80, unit_random_u64(random), NULL);
	return fixture;
}

static void
tear_down(Fixture *fixture)
{
	free(fixture->data.vectors);
	test_free_graph(fixture->graph);
}

static void
test_recall_of_metrics(void)
{
	static const struct
	{
		HmMetric	metric;
		uint32_t	dim;
		uint32_t	clusters;
		double		at_40;
		double		at_200;
	}			cases[] = {
		{HM_L2, 2, 0, 0.99, 0.999},
		{HM_L2, DIM, 0, 0.93, 0.995},
		{HM_L2, DIM, 20, 0.97, 0.999},
		{HM_L2, 100, 20, 0.90, 0.995},
		{HM_COSINE, DIM, 0, 0.93, 0.995},
		{HM_COSINE, 48, 20, 0.93, 0.995},
		{HM_INNER_PRODUCT, DIM, 0, 0.90, 0.99},
		{HM_INNER_PRODUCT, 48, 20, 0.85, 0.97},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		HmUnitRandom random = unit_random(i);
		Fixture		fixture = set_up(&random, N, cases[i].dim, cases[i].metric, cases[i].clusters);
		double		at_40 = test_recall(fixture.graph, &fixture.data, &fixture.queries, NULL, 40);
		double		at_200 = test_recall(fixture.graph, &fixture.data, &fixture.queries, NULL, 200);

		printf("# metric %d, %u dimensions, %u clusters: recall %.4f at 40, %.4f at 200\n",
			   cases[i].metric, cases[i].dim, cases[i].clusters, at_40, at_200);
		UNIT_CHECK(at_40 >= cases[i].at_40, "case %zu: %.4f", i, at_40);
		UNIT_CHECK(at_200 >= cases[i].at_200, "case %zu: %.4f", i, at_200);
		test_check(fixture.graph);
		tear_down(&fixture);
	}
}

static void
test_results_are_sorted(void)
{
	HmUnitRandom random = unit_random(1);
	Fixture		fixture = set_up(&random, N, DIM, HM_L2, 0);
	HmSearch   *search = hm_search_create(&test_allocator);
	static const int efs[] = {1, 2, 15, 16, 17, 100, 1023, 1024, 1025, 2500, N, 10 * N, INT32_MAX};

	for (size_t i = 0; i < sizeof(efs) / sizeof(efs[0]); i++)
	{
		TestQuery	query = {&fixture.data, test_vector(&fixture.queries, i % QUERIES), NULL};
		int			expected = efs[i] < N ? efs[i] : N;

		test_search(search, fixture.graph, &query, efs[i]);
		UNIT_CHECK(search->result_n == expected, "ef %d: %d results", efs[i], search->result_n);
		for (int j = 1; j < search->result_n; j++)
			UNIT_CHECK(test_compare(&search->results[j - 1], &search->results[j]) < 0,
					   "ef %d: results %d and %d", efs[i], j - 1, j);
		for (int j = 0; j < search->result_n; j++)
			UNIT_CHECK(hm_search_visited(search, search->results[j].id), "ef %d: %d", efs[i], j);
		UNIT_CHECK(search->counters.scored == search->visited_count, "ef %d: %llu, %u", efs[i],
				   (unsigned long long) search->counters.scored, search->visited_count);

		/* everything, in order */
		if (efs[i] >= N)
		{
			uint32_t	n;
			HmCandidate *all = test_brute_force(fixture.graph, &query, &n);

			UNIT_CHECK(memcmp(all, search->results, n * sizeof(HmCandidate)) == 0, "ef %d", efs[i]);
			free(all);
		}
	}
	hm_search_destroy(search);
	tear_down(&fixture);
}

/* Resumes until nothing is left, each time for ef more; every live element must come once. */
static void
exhaust(Fixture *fixture, const uint8_t *flags, int ef, bool drain)
{
	HmSearch   *search = hm_search_create(&test_allocator);
	uint8_t    *seen = calloc(fixture->data.n, 1);
	TestQuery	query = {&fixture->data, test_vector(&fixture->queries, 0), flags};
	uint32_t	total = 0;
	uint32_t	live;
	HmCandidate *all = test_brute_force(fixture->graph, &query, &live);

	test_search(search, fixture->graph, &query, ef);
	for (int round = 0; search->result_n > 0; round++)
	{
		for (int i = 0; i < search->result_n; i++)
		{
			uint32_t	id = search->results[i].id;

			UNIT_CHECK(id < fixture->data.n && !seen[id], "round %d: %u comes twice", round, id);
			UNIT_CHECK(flags == NULL || flags[id] == HM_SCORED, "round %d: %u is dead", round, id);
			seen[id] = 1;
		}
		total += search->result_n;
		if (drain && round == 3)
		{
			UNIT_CHECK(hm_search_drain(search) == HM_OK, "round %d", round);
			for (int i = 0; i < search->result_n; i++)
				seen[search->results[i].id]++;
			for (uint32_t id = 0; id < fixture->data.n; id++)
			{
				bool		met = hm_search_visited(search, id) && (flags == NULL || flags[id] == HM_SCORED);

				UNIT_CHECK(seen[id] == met, "%u: seen %d times, met %d", id, seen[id], met);
			}
			break;
		}
		hm_search_resume(search, ef);
		test_run(search, fixture->graph, &query);
	}
	if (!drain)
		UNIT_CHECK(total == live, "%u of %u", total, live);
	free(all);
	free(seen);
	hm_search_destroy(search);
}

static void
test_resuming(void)
{
	HmUnitRandom random = unit_random(2);
	Fixture		fixture = set_up(&random, N, DIM, HM_L2, 10);
	uint8_t    *flags = calloc(N, 1);
	static const int efs[] = {1, 7, 40, 333, 1500};

	for (size_t i = 0; i < sizeof(efs) / sizeof(efs[0]); i++)
	{
		exhaust(&fixture, NULL, efs[i], false);
		exhaust(&fixture, NULL, efs[i], true);
	}

	/* the dead are passed through, so everything alive is reached */
	for (uint32_t id = 0; id < N; id++)
		flags[id] = unit_random_below(&random, 100) < 40 ? HM_DEAD : HM_SCORED;
	exhaust(&fixture, flags, 40, false);
	exhaust(&fixture, flags, 40, true);
	for (uint32_t id = 0; id < N; id++)
		flags[id] = unit_random_below(&random, 100) < 98 ? HM_DEAD : HM_SCORED;
	exhaust(&fixture, flags, 10, false);
	free(flags);
	tear_down(&fixture);
}

/* Resumed results are as good as those of one search with the sum of the efs. */
static void
test_resumed_recall(void)
{
	HmUnitRandom random = unit_random(3);
	Fixture		fixture = set_up(&random, N, DIM, HM_L2, 0);
	HmSearch   *search = hm_search_create(&test_allocator);
	double		recall = 0;

	for (uint32_t i = 0; i < QUERIES; i++)
	{
		TestQuery	query = {&fixture.data, test_vector(&fixture.queries, i), NULL};
		HmCandidate merged[100];

		test_search(search, fixture.graph, &query, 20);
		memcpy(merged, search->results, 20 * sizeof(HmCandidate));
		for (int round = 1; round < 5; round++)
		{
			hm_search_resume(search, 20);
			test_run(search, fixture.graph, &query);
			memcpy(merged + 20 * round, search->results, 20 * sizeof(HmCandidate));
		}
		qsort(merged, 100, sizeof(HmCandidate), test_compare);
		memcpy(search->results, merged, 10 * sizeof(HmCandidate));
		recall += test_recall_of(search, fixture.graph, &query, 10) / QUERIES;
	}
	UNIT_CHECK(recall >= 0.97, "%.4f", recall);
	hm_search_destroy(search);
	tear_down(&fixture);
}

static void
test_refusing_store(void)
{
	HmUnitRandom random = unit_random(4);
	Fixture		fixture = set_up(&random, N, DIM, HM_L2, 5);
	HmSearch   *plain = hm_search_create(&test_allocator);
	HmSearch   *refused = hm_search_create(&test_allocator);
	uint8_t    *flags = calloc(N, 1);

	for (uint32_t id = 0; id < N; id++)
		flags[id] = unit_random_below(&random, 10) == 0 ? HM_ABSENT : HM_SCORED;
	for (uint32_t i = 0; i < QUERIES; i++)
	{
		TestQuery	query = {&fixture.data, test_vector(&fixture.queries, i), i % 2 ? flags : NULL};

		test_search(plain, fixture.graph, &query, 50);
		fixture.graph->refuse = &random;
		test_search(refused, fixture.graph, &query, 50);
		fixture.graph->refuse = NULL;
		for (int round = 0; round < 3; round++)
		{
			UNIT_CHECK(plain->result_n == refused->result_n &&
					   memcmp(plain->results, refused->results, plain->result_n * sizeof(HmCandidate)) == 0,
					   "query %u, round %d: %d and %d results", i, round, plain->result_n, refused->result_n);
			UNIT_CHECK(memcmp(&plain->counters, &refused->counters, sizeof(plain->counters)) == 0,
					   "query %u, round %d", i, round);
			hm_search_resume(plain, 50);
			test_run(plain, fixture.graph, &query);
			hm_search_resume(refused, 50);
			fixture.graph->refuse = &random;
			test_run(refused, fixture.graph, &query);
			fixture.graph->refuse = NULL;
		}
	}
	UNIT_CHECK(fixture.graph->refusals > 1000, "%llu", (unsigned long long) fixture.graph->refusals);
	free(flags);
	hm_search_destroy(plain);
	hm_search_destroy(refused);
	tear_down(&fixture);
}

/* Marks a share of the elements at random, or those nearest to one of them. */
static void
mark(HmUnitRandom *random, const Fixture *fixture, uint8_t *flags, int percent, uint8_t flag, bool clustered)
{
	uint32_t	n = fixture->data.n;

	memset(flags, HM_SCORED, n);
	if (!clustered)
	{
		for (uint32_t id = 0; id < n; id++)
			flags[id] = unit_random_below(random, 100) < (uint32_t) percent ? flag : HM_SCORED;
	}
	else
	{
		TestQuery	centre = {&fixture->data, test_vector(&fixture->data, 0), NULL};
		uint32_t	all_n;
		HmCandidate *all = test_brute_force(fixture->graph, &centre, &all_n);

		for (uint32_t i = 0; i < n * percent / 100; i++)
			flags[all[i].id] = flag;
		free(all);
	}
}

static void
test_dead_and_absent(void)
{
	static const struct
	{
		int			percent;
		uint8_t		flag;
		bool		clustered;
		double		recall;
	}			cases[] = {
		{10, HM_DEAD, false, 0.97}, {40, HM_DEAD, false, 0.97}, {90, HM_DEAD, false, 0.97},
		{10, HM_DEAD, true, 0.97}, {40, HM_DEAD, true, 0.97},
		{10, HM_ABSENT, false, 0.97}, {40, HM_ABSENT, false, 0.95},
		{10, HM_ABSENT, true, 0.95}, {40, HM_ABSENT, true, 0.90},
	};
	HmUnitRandom random = unit_random(5);
	Fixture		fixture = set_up(&random, N, DIM, HM_L2, 0);
	uint8_t    *flags = calloc(N, 1);

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		for (int entry_gone = 0; entry_gone <= 1; entry_gone++)
		{
			double		recall;

			mark(&random, &fixture, flags, cases[i].percent, cases[i].flag, cases[i].clustered);
			flags[0] = entry_gone ? cases[i].flag : HM_SCORED;
			recall = test_recall(fixture.graph, &fixture.data, &fixture.queries, flags, 100);
			printf("# %d %% %s%s%s: recall %.4f\n", cases[i].percent,
				   cases[i].flag == HM_DEAD ? "dead" : "absent", cases[i].clustered ? ", clustered" : "",
				   entry_gone ? ", entry point too" : "", recall);
			UNIT_CHECK(recall >= cases[i].recall, "case %zu: %.4f", i, recall);
		}
	}

	/* nobody is left: no results, and an end */
	for (int flag = HM_DEAD; flag <= HM_SKIPPED; flag++)
	{
		HmSearch   *search = hm_search_create(&test_allocator);
		TestQuery	query = {&fixture.data, test_vector(&fixture.queries, 0), flags};

		memset(flags, flag, N);
		test_search(search, fixture.graph, &query, 40);
		UNIT_CHECK(search->result_n == 0, "flag %d: %d results", flag, search->result_n);
		hm_search_resume(search, 40);
		test_run(search, fixture.graph, &query);
		UNIT_CHECK(search->result_n == 0, "flag %d: %d results", flag, search->result_n);
		hm_search_destroy(search);
	}

	/* all but a few are absent, the entry point and its neighbours among them */
	memset(flags, HM_ABSENT, N);
	for (int i = 0; i < 400; i++)
		flags[100 + unit_random_below(&random, N - 100)] = HM_SCORED;
	UNIT_CHECK(test_recall(fixture.graph, &fixture.data, &fixture.queries, flags, 100) > 0.25,
			   "%.4f", test_recall(fixture.graph, &fixture.data, &fixture.queries, flags, 100));
	free(flags);
	tear_down(&fixture);
}

/* The work that absent elements cause stays within bounds. */
static void
test_cost_of_absence(void)
{
	HmUnitRandom random = unit_random(6);
	Fixture		fixture = set_up(&random, N, DIM, HM_L2, 0);
	HmSearch   *search = hm_search_create(&test_allocator);
	uint8_t    *flags = calloc(N, 1);
	uint64_t	scored[2] = {0, 0};

	mark(&random, &fixture, flags, 10, HM_ABSENT, false);
	for (uint32_t i = 0; i < QUERIES; i++)
	{
		for (int absent = 0; absent <= 1; absent++)
		{
			TestQuery	query = {&fixture.data, test_vector(&fixture.queries, i), absent ? flags : NULL};

			test_search(search, fixture.graph, &query, 40);
			scored[absent] += search->counters.scored - search->counters.absent;
		}
	}
	printf("# distances per query: %.0f, with 10 %% absent %.0f\n",
		   (double) scored[0] / QUERIES, (double) scored[1] / QUERIES);
	UNIT_CHECK(scored[1] < scored[0] * 1.6, "%llu against %llu",
			   (unsigned long long) scored[1], (unsigned long long) scored[0]);
	free(flags);
	hm_search_destroy(search);
	tear_down(&fixture);
}

/* NaN and infinite distances are the farthest, and do no harm. */
static void
test_not_a_number(void)
{
	HmUnitRandom random = unit_random(7);
	Fixture		fixture = set_up(&random, 500, DIM, HM_L2, 0);
	HmSearch   *search = hm_search_create(&test_allocator);
	HmStep		step;
	int			i;

	hm_search_begin(search, &fixture.graph->store, 500);
	while ((step = hm_search_step(search)) == HM_STEP_SCORE)
	{
		for (i = 0; i < search->batch_n; i++)
		{
			uint32_t	id = search->batch_ids[i];

			search->batch_flags[i] = HM_SCORED;
			search->batch_distance[i] = id % 5 == 0 ? NAN : id % 5 == 1 ? -NAN :
				id % 5 == 2 ? -INFINITY : id % 5 == 3 ? -0.0f : 0.0f;
		}
	}
	UNIT_CHECK(step == HM_STEP_DONE && search->result_n == 500, "%d results", search->result_n);
	for (i = 1; i < search->result_n; i++)
		UNIT_CHECK(test_compare(&search->results[i - 1], &search->results[i]) < 0, "%d", i);
	for (i = 0; i < search->result_n; i++)
		UNIT_CHECK(i < 100 ? search->results[i].distance == -INFINITY : i < 300 ?
				   search->results[i].distance == 0 : search->results[i].distance == INFINITY,
				   "%d: %g", i, search->results[i].distance);
	hm_search_destroy(search);
	tear_down(&fixture);
}

/* A search object serves graphs of any size, one after another, and is clean each time. */
static void
test_reuse(void)
{
	HmUnitRandom random = unit_random(8);
	HmSearch   *search = hm_search_create(&test_allocator);
	static const uint32_t sizes[] = {300, 5, 2000, 0, 64, 1, 700};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++)
	{
		Fixture		fixture = set_up(&random, sizes[i], 8, HM_L2, 0);
		TestQuery	query = {&fixture.data, test_vector(&fixture.queries, 0), NULL};

		for (int again = 0; again < 3; again++)
		{
			test_search(search, fixture.graph, &query, 10);
			UNIT_CHECK(search->result_n == (sizes[i] < 10 ? (int) sizes[i] : 10),
					   "n %u: %d results", sizes[i], search->result_n);
			UNIT_CHECK(search->visited_count <= sizes[i], "n %u: %u", sizes[i], search->visited_count);
			UNIT_CHECK(sizes[i] == 0 || test_recall_of(search, fixture.graph, &query, 1) == 1 || sizes[i] > 1000,
					   "n %u", sizes[i]);
		}
		tear_down(&fixture);
	}
	hm_search_destroy(search);
}

/* Level searches from given points, as an insertion does them. */
static void
test_begin_level(void)
{
	HmUnitRandom random = unit_random(9);
	Fixture		fixture = set_up(&random, N, DIM, HM_L2, 0);
	HmSearch   *search = hm_search_create(&test_allocator);
	TestQuery	query = {&fixture.data, test_vector(&fixture.queries, 0), NULL};
	HmCandidate starts[1200];

	for (uint32_t i = 0; i < 1200; i++)
	{
		starts[i].id = i / 2;	/* each twice */
		starts[i].distance = test_distance(&fixture.data, query.vector,
										   test_vector(&fixture.data, fixture.graph->old_of_new[i / 2]));
	}
	starts[3].id = N;			/* and one that does not exist */
	for (int n = 0; n <= 1200; n += 240)
	{
		UNIT_CHECK(hm_search_begin_level(search, &fixture.graph->store, 0, starts, n, 50) == HM_OK, "%d", n);
		test_run(search, fixture.graph, &query);
		UNIT_CHECK(search->result_n == (n == 0 ? 0 : 50), "%d starts: %d results", n, search->result_n);
		UNIT_CHECK(n == 0 || test_recall_of(search, fixture.graph, &query, 10) > 0.8, "%d starts", n);
	}
	hm_search_destroy(search);
	tear_down(&fixture);
}

/* An allocator that fails after so many calls. */
static int	allocations_left;

static void *
failing_alloc(void *state, size_t size)
{
	return allocations_left-- > 0 ? test_alloc(state, size) : NULL;
}

static void
test_no_memory(void)
{
	static const HmAllocator failing = {failing_alloc, test_release, NULL};
	HmUnitRandom random = unit_random(10);
	Fixture		fixture = set_up(&random, N, DIM, HM_L2, 0);
	TestQuery	query = {&fixture.data, test_vector(&fixture.queries, 0), NULL};
	bool		succeeded = false;
	int			refused = 0;

	for (int allowed = 0; !succeeded && allowed < 100; allowed++)
	{
		HmSearch   *search;
		HmStep		step = HM_STEP_NO_MEMORY;

		allocations_left = allowed;
		search = hm_search_create(&failing);
		if (search != NULL && hm_search_begin(search, &fixture.graph->store, 2000) == HM_OK)
		{
			while ((step = hm_search_step(search)) == HM_STEP_SCORE)
			{
				for (int i = 0; i < search->batch_n; i++)
				{
					search->batch_flags[i] = HM_SCORED;
					search->batch_distance[i] = test_distance(&fixture.data, query.vector,
															  test_vector(&fixture.data, fixture.graph->old_of_new[search->batch_ids[i]]));
				}
			}
			if (step == HM_STEP_NO_MEMORY)
			{
				/* memory has come back: the search goes on where it was */
				allocations_left = 100;
				test_run(search, fixture.graph, &query);
				UNIT_CHECK(search->result_n == 2000, "%d", search->result_n);
			}
		}
		succeeded = step == HM_STEP_DONE;
		refused += !succeeded;
		hm_search_destroy(search);
	}
	UNIT_CHECK(succeeded && refused > 5, "refused %d times", refused);
	tear_down(&fixture);
}

int
main(void)
{
	unit_start();
	hm_simd_init();
	unit_run("recall of all metrics", test_recall_of_metrics);
	unit_run("results are sorted and as many as asked for", test_results_are_sorted);
	unit_run("resuming returns every element once", test_resuming);
	unit_run("resumed results are good", test_resumed_recall);
	unit_run("a store that refuses lists changes nothing", test_refusing_store);
	unit_run("dead and absent elements", test_dead_and_absent);
	unit_run("absent elements cost little", test_cost_of_absence);
	unit_run("distances that are not numbers", test_not_a_number);
	unit_run("one search for many graphs", test_reuse);
	unit_run("searching one level", test_begin_level);
	unit_run("running out of memory", test_no_memory);
	return unit_finish();
}
