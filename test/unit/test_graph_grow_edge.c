/*-------------------------------------------------------------------------
 *
 * test_graph_grow_edge.c
 *	  Growing at the edges: nothing, the dead, garbage, no memory, copies.
 *
 *-------------------------------------------------------------------------
 */
#include "test_grow.h"
/* Into nothing, and into a graph of the dead, with vectors and without. */
static void
test_from_nothing(void)
{
	HmUnitRandom random = unit_random(50);
	uint32_t	n = 600;
	uint32_t	base = 200;
	TestData	queries;
	TestData	data = make_data(&random, n, 0, &queries);
	uint8_t    *absent = calloc(n, 1);
	Stored	   *stored = new_stored(0, M);
	Merge		merge;
	uint32_t	linked;
	uint32_t	unreachable;
	double		recall;

	UNIT_CHECK(begin_merge(&merge, &data, stored, 0, n, &test_allocator), "no memory");
	UNIT_CHECK(connect_all(&merge, &linked) && linked == 0, "connecting nothing");
	for (uint32_t row = 0; row < n; row++)
		UNIT_CHECK(insert_row(&merge, row), "row %u", row);
	UNIT_CHECK(connect_all(&merge, &linked), "no memory");
	stored = write_merge(&merge);
	recall = measure(stored, &data, &queries, NULL, 40, &unreachable);
	UNIT_CHECK(recall > 0.95 && unreachable == 0, "%.4f, %u unreachable", recall, unreachable);
	free_stored(stored);

	/* nothing stays nothing, and everything may become nothing */
	stored = build_stored(&data, base, M, 5);
	UNIT_CHECK(begin_merge(&merge, &data, stored, 0, 0, &test_allocator), "no memory");
	for (uint32_t id = 0; id < base; id++)
		merge_kill(&merge, id);
	UNIT_CHECK(repair_all(&merge, false) && connect_all(&merge, &linked), "no memory");
	stored = write_merge(&merge);
	UNIT_CHECK(stored->store.element_count == 0, "%u", stored->store.element_count);
	free_stored(stored);

	for (int turn = 0; turn < 8; turn++)
	{
		uint32_t	first = turn % 2 == 0 ? 0 : base;
		bool		one_lives = turn >= 4;

		stored = build_stored(&data, base, M, 6);
		memset(absent, turn % 4 >= 2, base);
		UNIT_CHECK(begin_merge(&merge, &data, stored, first, n - base, &test_allocator), "no memory");
		merge.absent = absent;
		for (uint32_t id = 0; id < base; id++)
		{
			if (!one_lives || id != base - 7)
				merge_kill(&merge, id);
		}
		for (uint32_t row = base; row < n; row++)
			UNIT_CHECK(insert_row(&merge, row), "row %u", row);
		for (uint32_t row = 0; row < base; row++)
			absent[row] |= 2;		/* from here on: dead, for measuring */
		if (one_lives)
			absent[merge.row[base - 7]] = 0;
		UNIT_CHECK(connect_all(&merge, &linked), "no memory");
		check_in_links(&merge);
		stored = write_merge(&merge);
		UNIT_CHECK(stored->store.element_count == n - base + first + (one_lives && first == 0),
				   "turn %d: %u", turn, stored->store.element_count);
		recall = measure(stored, &data, &queries, absent, 40, &unreachable);
		UNIT_CHECK(recall > 0.95 && unreachable == 0, "turn %d: %.4f, %u unreachable", turn, recall, unreachable);
		free_stored(stored);
	}
	free(absent);
	free(data.vectors);
}

/* Cancelling leaves no trace. */
static void
test_cancelling(void)
{
	HmUnitRandom random = unit_random(60);
	uint32_t	n = 1000;
	TestData	queries;
	TestData	data = make_data(&random, n, 5, &queries);
	Stored	   *a = build_stored(&data, n / 2, M, 7);
	Stored	   *b = build_stored(&data, n / 2, M, 7);
	Merge		plain;
	Merge		with;

	UNIT_CHECK(begin_merge(&plain, &data, a, n / 4, n / 2, &test_allocator), "no memory");
	UNIT_CHECK(begin_merge(&with, &data, b, n / 4, n / 2, &test_allocator), "no memory");
	for (uint32_t row = n / 2; row < n; row++)
	{
		uint32_t	copied = row - n / 2;
		uint32_t	id = hm_overlay_add(with.overlay, (int) (row % 4));

		UNIT_CHECK(insert_row(&plain, row) , "row %u", row);

		/* a copy of a row that is there finds it first, and so need not be inserted */
		with.row[id] = copied;
		with.loaded[id] = ++with.operation;
		hm_grow_insert(with.grower, id);
		UNIT_CHECK(run_steps(&with) == HM_GROW_FOUND, "row %u", row);
		UNIT_CHECK(with.grower->found_n > 0 && with.grower->found[0].distance == 0 &&
				   with.row[with.grower->found[0].id] == copied, "row %u", row);
		hm_grow_cancel(with.grower);
		UNIT_CHECK(hm_grow_step(with.grower) == HM_GROW_DONE, "row %u", row);
		hm_overlay_remove_last(with.overlay);
		UNIT_CHECK(insert_row(&with, row), "row %u", row);
	}
	a = write_merge(&plain);
	b = write_merge(&with);
	for (uint32_t id = 0; id < n; id++)
	{
		UNIT_CHECK(a->level[id] == b->level[id] && a->row[id] == b->row[id], "%u", id);
		UNIT_CHECK(memcmp(a->lists[id], b->lists[id], (a->level[id] + 2) * M * sizeof(uint32_t)) == 0, "%u", id);
	}
	free_stored(a);
	free_stored(b);
	free(data.vectors);
}

/* Lists full of garbage: nothing crashes, what is written is sound where it was changed. */
static void
test_hostile(void)
{
	HmUnitRandom random = unit_random(70);
	uint32_t	n = 800;
	uint32_t	base = 500;
	TestData	queries;
	TestData	data = make_data(&random, n, 5, &queries);

	for (int turn = 0; turn < 30; turn++)
	{
		Stored	   *stored = build_stored(&data, base, M, 8);
		uint32_t	first = turn % 3 == 0 ? 0 : turn % 3 == 1 ? base : base / 2;
		uint32_t	share = 1 + unit_random_below(&random, 8);
		Merge		merge;
		uint32_t	linked;

		for (uint32_t id = 0; id < base; id++)
		{
			for (uint32_t i = 0; i < (stored->level[id] + 2u) * M; i++)
			{
				uint32_t   *link = &stored->lists[id][i];

				if (unit_random_below(&random, 8) >= share)
					continue;
				switch (unit_random_below(&random, 6))
				{
					case 0:
						*link = id;
						break;
					case 1:
						*link = base + unit_random_below(&random, 2 * (n - base));
						break;
					case 2:
						*link = (uint32_t) unit_random_u64(&random);
						break;
					case 3:
						*link = i > 0 ? link[-1] : 0;
						break;
					case 4:
						*link = HM_NO_ID;
						break;
					case 5:
						*link = unit_random_below(&random, base);
						break;
				}
			}
		}
		if (turn % 5 == 0)
			stored->store.entry_point = (uint32_t) unit_random_u64(&random);
		if (turn % 7 == 0)
			stored->store.top_level = 1000;
		stored->reluctant = turn % 2 == 0;
		UNIT_CHECK(begin_merge(&merge, &data, stored, first, n - base, &test_allocator), "no memory");
		for (uint32_t id = 0; id < base; id++)
		{
			if (unit_random_below(&random, 4) == 0)
				merge_kill(&merge, id);
		}
		for (uint32_t row = base; row < n; row++)
			UNIT_CHECK(insert_row(&merge, row), "row %u", row);
		UNIT_CHECK(repair_all(&merge, true), "no memory");
		UNIT_CHECK(connect_all(&merge, &linked), "no memory");
		check_in_links(&merge);
		{
			uint32_t	own = merge.overlay->store.element_count - first;
			uint32_t   *new_of_old = unit_malloc(own * sizeof(uint32_t));
			uint32_t   *old_of_new = unit_malloc(own * sizeof(uint32_t));
			uint32_t	level_count[HM_MAX_LEVELS];
			uint32_t	kept = hm_overlay_number(merge.overlay, false, new_of_old, old_of_new, level_count);
			uint32_t	slots[2 * HM_MAX_M];

			for (uint32_t i = 0; i < kept; i++)
			{
				for (int level = hm_overlay_level(merge.overlay, old_of_new[i]); level >= 0; level--)
				{
					int			used = hm_overlay_read(merge.overlay, old_of_new[i], level, new_of_old, slots);

					for (int j = 0; j < used; j++)
					{
						UNIT_CHECK(slots[j] < first + kept && slots[j] != first + i, "%u", slots[j]);
						UNIT_CHECK(slots[j] < first || slots[j] - first < level_count[level], "%u", slots[j]);
						for (int k = 0; k < j; k++)
							UNIT_CHECK(slots[j] != slots[k], "%u twice", slots[j]);
					}
				}
			}
			UNIT_CHECK(hm_overlay_entry(merge.overlay, new_of_old) < first + kept, "turn %d", turn);
			free(new_of_old);
			free(old_of_new);
		}
		end_merge(&merge);
		free_stored(stored);
	}
	free(data.vectors);
}

/* --- memory that runs out --- */

static int64_t allocations_left;
static int64_t allocations_held;

static void *
failing_alloc(void *state, size_t size)
{
	if (allocations_left-- <= 0)
		return NULL;
	allocations_held++;
	return malloc(size > 0 ? size : 1);
}

static void
failing_release(void *state, void *pointer)
{
	allocations_held -= pointer != NULL;
	free(pointer);
}

static void
test_no_memory(void)
{
	static const HmAllocator failing = {failing_alloc, failing_release, NULL};
	HmUnitRandom random = unit_random(80);
	uint32_t	n = 500;
	uint32_t	base = 400;
	TestData	queries;
	TestData	data = make_data(&random, n, 0, &queries);
	uint64_t	seed = unit_random_u64(&random);

	for (int way = 0; way < 2; way++)
	{
		bool		done = false;
		int			n_allocations;

		for (n_allocations = 0; !done; n_allocations++)
		{
			Stored	   *stored = build_stored(&data, 64 + base * (n_allocations % 16 == 0), M, seed);
			uint32_t	linked;
			uint32_t	count;
			Merge		merge;
			bool		going;

			allocations_left = n_allocations;
			going = begin_merge(&merge, &data, stored, way == 0 ? 0 : 60, n - base, &failing);
			for (uint32_t id = 0; going && id < 64; id += 3)
				merge_kill(&merge, id);
			for (uint32_t row = base; going && row < n; row++)
				going = insert_row(&merge, row);
			done = going && repair_all(&merge, true) && connect_all(&merge, &linked) &&
				hm_overlay_changes(merge.overlay, &count) != NULL;

			/* what there is can be gone on with */
			if (going && !done)
			{
				allocations_left = INT64_MAX;
				UNIT_CHECK(connect_all(&merge, &linked), "after %d", n_allocations);
				check_in_links(&merge);
			}
			end_merge(&merge);
			UNIT_CHECK(allocations_held == 0, "%d leaked after %d", (int) allocations_held, n_allocations);
			free_stored(stored);
		}
		printf("# way %d: %d allocations\n", way, n_allocations);
		UNIT_CHECK(n_allocations > 10, "%d", n_allocations);
	}
	free(data.vectors);
}

/*
 * Inserts what is to be a copy, unless one is found to be there: true if so.
 */
static bool
join_or_insert(Merge *merge, uint32_t row)
{
	uint32_t	id = hm_overlay_add(merge->overlay, hm_level_of(4711, row, M));
	bool		joins;

	merge->row[id] = row;
	merge->loaded[id] = ++merge->operation;
	hm_grow_insert(merge->grower, id);
	UNIT_CHECK(run_steps(merge) == HM_GROW_FOUND, "row %u", row);
	joins = merge->grower->found_n > 0 && merge->grower->found[0].distance == 0;
	if (joins)
	{
		hm_grow_cancel(merge->grower);
		hm_overlay_remove_last(merge->overlay);
	}
	else
		UNIT_CHECK(run_steps(merge) == HM_GROW_DONE, "row %u", row);
	return joins;
}

/*
 * Ten thousand copies of five vectors beside others, half of them there before:
 * the worst that a graph can be given.  Whoever merges joins copies, so that
 * these never come to be; but rounding may make the like.
 */
static void
test_copies(void)
{
	HmUnitRandom random = unit_random(90);
	uint32_t	n = 12000;
	uint32_t	base = 7000;
	TestData	queries;
	TestData	data = make_data(&random, n, 0, &queries);
	uint64_t	plain = 0;

	for (int turn = 0; turn < 4; turn++)
	{
		static const char *const turns[] = {"no copies", "copies", "copies above a base", "copies joined"};
		uint32_t	stored_n = turn == 3 ? 6 : base;
		Stored	   *stored;
		Merge		merge;
		HmSearch   *search = hm_search_create(&test_allocator);
		TestGraph  *graph;
		HmGraphReport report;
		uint32_t	linked;
		uint32_t	tried = 0;
		uint32_t	found = 0;
		uint32_t	joined = 0;
		uint64_t	distances;

		for (uint32_t row = 0; row < n && turn == 1; row++)
		{
			if (row % 6 > 0)
				memcpy(data.vectors + (size_t) row * DIM, data.vectors + (size_t) (row % 5) * 6 * DIM,
					   DIM * sizeof(float));
		}
		stored = build_stored(&data, stored_n, M, 9);
		UNIT_CHECK(begin_merge(&merge, &data, stored, turn == 2 ? base : 0, n - stored_n, &test_allocator), "no memory");
		for (uint32_t row = stored_n; row < n; row++)
		{
			if (turn == 3)
				joined += join_or_insert(&merge, row);
			else
				UNIT_CHECK(insert_row(&merge, row), "row %u", row);
		}
		UNIT_CHECK(connect_all(&merge, &linked), "no memory");
		check_in_links(&merge);
		distances = merge.grower->counters.distances / (n - stored_n);
		stored = write_merge(&merge);
		graph = flatten(stored);
		UNIT_CHECK(hm_graph_check(&graph->store, graph->level_count, &test_allocator, &report) == HM_OK,
				   "turn %d", turn);
		UNIT_CHECK(report.unreachable <= (turn == 2 ? n / 5 : 0), "%u unreachable", report.unreachable);

		/* every vector that is not a copy finds itself and its neighbours */
		for (uint32_t row = 6; row < n; row += 60)
		{
			TestQuery	query = {&data, test_vector(&data, row), NULL};

			test_search(search, graph, &query, 100);
			tried++;
			found += test_recall_of(search, graph, &query, 10) >= 0.9;
		}
		printf("# %s: %u distances each, %u linked, %u unreachable, %u joined; %u of %u found\n",
			   turns[turn], (unsigned) distances, linked, report.unreachable, joined, found, tried);
		UNIT_CHECK(found >= tried * 0.95, "%u of %u", found, tried);
		if (turn == 0)
			plain = distances;
		UNIT_CHECK(distances < 2.5 * plain, "%u, without copies %u", (unsigned) distances, (unsigned) plain);
		UNIT_CHECK(turn != 3 || joined > (n - stored_n) / 6 * 4.95, "%u joined", joined);
		hm_search_destroy(search);
		test_free_graph(graph);
		free_stored(stored);
	}
	free(data.vectors);
}

int
main(void)
{
	unit_start();
	hm_simd_init();
	unit_run("from nothing, and among the dead", test_from_nothing);
	unit_run("cancelling", test_cancelling);
	unit_run("hostile lists", test_hostile);
	unit_run("memory runs out", test_no_memory);
	unit_run("mostly copies", test_copies);
	return unit_finish();
}
