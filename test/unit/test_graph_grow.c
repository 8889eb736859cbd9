/*-------------------------------------------------------------------------
 *
 * test_graph_grow.c
 *	  Growing, repairing and connecting a stored graph: what becomes of recall.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "graph/key.h"
#include "graph/select.h"
#include "test_grow.h"

typedef enum Way
{
	APPEND,						/* each merge adds a part */
	FOLD,						/* each replaces all but the base */
	REPLACE						/* each replaces everything */
} Way;

static void
grow_in_merges(Way way, uint32_t clusters, bool reluctant)
{
	static const char *const ways[] = {"append", "fold", "replace"};
	HmUnitRandom random = unit_random(clusters);
	uint32_t	n = 5000;
	uint32_t	base = n * 8 / 10;
	uint32_t	each = (n - base) / 10;
	TestData	queries;
	TestData	data = make_data(&random, n, clusters, &queries);
	Stored	   *at_once = build_stored(&data, n, M, 1);
	Stored	   *stored = build_stored(&data, base, M, 1);
	HmGrowCounters sum = {0};
	uint64_t	changed = 0;
	uint32_t	unreachable;
	double		best = measure(at_once, &data, &queries, NULL, 20, &unreachable);
	double		recall;

	stored->reluctant = reluctant;
	for (uint32_t from = base; from < n; from += each)
	{
		uint32_t	first = way == APPEND ? from : way == FOLD ? base : 0;
		uint32_t	linked;
		Merge		merge;

		UNIT_CHECK(begin_merge(&merge, &data, stored, first, each, &test_allocator), "no memory");
		for (uint32_t row = from; row < from + each; row++)
			UNIT_CHECK(insert_row(&merge, row), "row %u", row);
		UNIT_CHECK(connect_all(&merge, &linked), "no memory");
		check_in_links(&merge);
		sum.distances += merge.grower->counters.distances;
		sum.pruned += merge.grower->counters.pruned;
		sum.forced += merge.grower->counters.forced;
		sum.linked += linked;
		changed += from + each == n || way == APPEND ? merge.overlay->change_count : 0;
		UNIT_CHECK((merge.steps[HM_GROW_LINKS] > 0) == (reluctant && first > 0), "links %u",
				   (unsigned) merge.steps[HM_GROW_LINKS]);
		stored = write_merge(&merge);
	}
	stored->reluctant = false;
	recall = measure(stored, &data, &queries, NULL, 20, &unreachable);
	printf("# %s, %u clusters: recall %.4f, at once %.4f; per element %.0f distances, %.1f pruned, "
		   "%.2f changed; %u forced, %u linked, %u unreachable\n", ways[way], clusters, recall, best,
		   (double) sum.distances / (n - base), (double) sum.pruned / (n - base),
		   (double) changed / (n - base), (unsigned) sum.forced, (unsigned) sum.linked, unreachable);
	UNIT_CHECK(recall >= best - 0.015, "%s: %.4f, at once %.4f", ways[way], recall, best);
	UNIT_CHECK(unreachable <= (way == REPLACE ? 0 : n / 200), "%s: %u unreachable", ways[way], unreachable);
	free_stored(stored);
	free_stored(at_once);
	free(data.vectors);
}

static void
test_growing(void)
{
	for (int way = APPEND; way <= REPLACE; way++)
	{
		grow_in_merges(way, 0, false);
		grow_in_merges(way, 30, way == FOLD);
	}
	grow_in_merges(APPEND, 30, true);
}


/*
 * Deletes rows, merges with everything replaced, and compares with a build
 * over the survivors.  clustered: those nearest to a few points, else any.
 */
static void
delete_and_merge(uint32_t clusters, bool clustered, double share)
{
	HmUnitRandom random = unit_random(20 + clusters);
	uint32_t	n = 5000;
	TestData	queries;
	TestData	data = make_data(&random, n, clusters, &queries);
	Stored	   *stored = build_stored(&data, n, M, 2);
	TestData	survivors = {0, DIM, HM_L2, unit_malloc((size_t) n * DIM * sizeof(float))};
	uint8_t    *dead_rows = calloc(n, 1);
	Stored	   *fresh;
	Merge		merge;
	uint32_t	linked;
	uint32_t	unreachable;
	uint32_t	lists = 0;
	uint64_t	distances;
	double		best;
	double		recall;

	for (uint32_t killed = 0; killed < n * share;)
	{
		uint32_t	row = unit_random_below(&random, n);

		for (uint32_t other = clustered ? 0 : row; other < (clustered ? n : row + 1); other++)
		{
			if (dead_rows[other] || (clustered &&
									 test_distance(&data, test_vector(&data, row), test_vector(&data, other)) > DIM * 1.2f))
				continue;
			dead_rows[other] = 1;
			killed++;
		}
	}
	for (uint32_t row = 0; row < n; row++)
	{
		if (!dead_rows[row])
			memcpy(survivors.vectors + (size_t) survivors.n++ * DIM, test_vector(&data, row), DIM * sizeof(float));
	}
	fresh = build_stored(&survivors, survivors.n, M, 2);
	best = measure(fresh, &survivors, &queries, NULL, 20, &unreachable);

	UNIT_CHECK(begin_merge(&merge, &data, stored, 0, 0, &test_allocator), "no memory");
	for (uint32_t id = 0; id < n; id++)
	{
		if (dead_rows[merge.row[id]])
			merge_kill(&merge, id);
	}
	UNIT_CHECK(repair_all(&merge, false), "no memory");
	for (uint32_t id = 0; id < n; id++)
	{
		for (int level = hm_overlay_level(merge.overlay, id); level >= 0; level--)
		{
			bool		lost;

			UNIT_CHECK(hm_overlay_has_lost(merge.overlay, id, level, &lost), "%u", id);
			lists += lost && !merge_is_dead(&merge, id);
		}
	}
	distances = merge.grower->counters.distances;
	merge.steps[HM_GROW_LOAD] = 0;
	UNIT_CHECK(repair_all(&merge, false), "no memory");
	UNIT_CHECK(lists > 0 || merge.steps[HM_GROW_LOAD] == 0, "a list is repaired that has lost nobody");
	printf("# %u repaired, %.0f distances each; %u left with dead members\n",
		   (unsigned) merge.grower->counters.repaired,
		   (double) distances / merge.grower->counters.repaired, lists);
	UNIT_CHECK(connect_all(&merge, &linked), "no memory");
	stored = write_merge(&merge);
	UNIT_CHECK(stored->store.element_count == survivors.n, "%u", stored->store.element_count);
	recall = measure(stored, &data, &queries, NULL, 20, &unreachable);
	printf("# %s deletes, %u clusters: recall %.4f, fresh %.4f; %u of %u linked\n",
		   clustered ? "clustered" : "scattered", clusters, recall, best, linked, survivors.n);

	/* a hole in the middle of one cloud is the hardest: heirs are few there */
	UNIT_CHECK(recall >= best - (clustered && clusters == 0 ? 0.03 : 0.015), "%.4f, fresh %.4f", recall, best);
	UNIT_CHECK(unreachable == 0, "%u unreachable", unreachable);
	free_stored(stored);
	free_stored(fresh);
	free(survivors.vectors);
	free(dead_rows);
	free(data.vectors);
}

static void
test_deleting(void)
{
	delete_and_merge(0, false, 0.2);
	delete_and_merge(30, false, 0.2);
	delete_and_merge(0, true, 0.2);
	delete_and_merge(30, true, 0.2);
	delete_and_merge(30, false, 0.7);
}

/*
 * Deletes from base and newest part, repairs and grows, with the base staying
 * where it is; the dead of the base stay in the graph.
 */
static void
test_deleting_under(void)
{
	HmUnitRandom random = unit_random(30);
	uint32_t	n = 4000;
	uint32_t	base = 2500;
	uint32_t	middle = 3500;
	TestData	queries;
	TestData	data = make_data(&random, n, 20, &queries);
	Stored	   *at_once = build_stored(&data, n, M, 3);
	Stored	   *stored = build_stored(&data, base, M, 3);
	uint8_t    *dead_rows = calloc(n, 1);
	Merge		merge;
	uint32_t	linked;
	uint32_t	unreachable;
	double		best;
	double		recall;

	UNIT_CHECK(begin_merge(&merge, &data, stored, base, middle - base, &test_allocator), "no memory");
	for (uint32_t row = base; row < middle; row++)
		UNIT_CHECK(insert_row(&merge, row), "row %u", row);
	stored = write_merge(&merge);

	stored->reluctant = true;
	UNIT_CHECK(begin_merge(&merge, &data, stored, base, n - middle, &test_allocator), "no memory");
	for (uint32_t id = 0; id < middle; id++)
	{
		if (unit_random_below(&random, 10) < 3)
		{
			merge_kill(&merge, id);
			dead_rows[merge.row[id]] = 1;
		}
	}
	for (uint32_t row = middle; row < n; row++)
		UNIT_CHECK(insert_row(&merge, row), "row %u", row);
	UNIT_CHECK(repair_all(&merge, true), "no memory");
	UNIT_CHECK(connect_all(&merge, &linked), "no memory");
	check_in_links(&merge);
	stored = write_merge(&merge);
	stored->reluctant = false;
	recall = measure(stored, &data, &queries, dead_rows, 20, &unreachable);
	best = measure(at_once, &data, &queries, dead_rows, 20, &linked);
	printf("# dead under: recall %.4f, at once %.4f, %u unreachable\n", recall, best, unreachable);
	UNIT_CHECK(recall >= best - 0.015, "%.4f, at once %.4f", recall, best);
	UNIT_CHECK(unreachable <= n / 200, "%u unreachable", unreachable);
	free_stored(stored);
	free_stored(at_once);
	free(dead_rows);
	free(data.vectors);
}

/* A tenth, or all of one region, has no vector for the time being. */
static void
test_absent(void)
{
	HmUnitRandom random = unit_random(40);
	uint32_t	n = 3000;
	uint32_t	base = 2400;
	TestData	queries;
	TestData	data = make_data(&random, n, 20, &queries);
	uint8_t    *absent = calloc(n, 1);

	for (int turn = 0; turn < 4; turn++)
	{
		uint32_t	first = turn % 2 == 0 ? 0 : base;
		Stored	   *stored = build_stored(&data, base, M, 4);
		Merge		merge;
		uint32_t	linked;
		uint32_t	unreachable;
		double		recall;

		memset(absent, 0, n);
		for (uint32_t row = 0; row < base; row++)
			absent[row] = turn < 2 ? unit_random_below(&random, 10) == 0 :
				test_distance(&data, test_vector(&data, row), test_vector(&data, 1)) < 200;
		absent[stored->row[stored->store.entry_point]] = 1;
		UNIT_CHECK(begin_merge(&merge, &data, stored, first, n - base, &test_allocator), "no memory");
		merge.absent = absent;
		for (uint32_t row = base; row < n; row++)
			UNIT_CHECK(insert_row(&merge, row), "row %u", row);
		for (uint32_t id = first; id < base; id++)
		{
			if (id % 5 == 0)
				merge_kill(&merge, id);
		}
		UNIT_CHECK(repair_all(&merge, false), "no memory");
		UNIT_CHECK(connect_all(&merge, &linked), "no memory");
		stored = write_merge(&merge);
		recall = measure(stored, &data, &queries, NULL, 40, &unreachable);
		printf("# absent, turn %d: recall %.4f, %u linked, %u unreachable\n", turn, recall, linked, unreachable);
		UNIT_CHECK(recall > 0.9 && (first > 0 || unreachable == 0), "turn %d: %.4f, %u", turn, recall, unreachable);
		free_stored(stored);
	}
	free(absent);
	free(data.vectors);
}

static int
compare_candidates(const void *a, const void *b)
{
	uint64_t	x = hm_key(((const HmCandidate *) a)->distance, ((const HmCandidate *) a)->id);
	uint64_t	y = hm_key(((const HmCandidate *) b)->distance, ((const HmCandidate *) b)->id);

	return (x > y) - (x < y);
}

/* Sizes around the gaps of the sort, with ties, infinities and NaN. */
static void
test_sorting(void)
{
	static const float odd[] = {0.0f, -0.0f, INFINITY, -INFINITY, NAN, 1.0f};
	HmUnitRandom random = unit_random(7);

	for (int n = 0; n <= 400; n++)
	{
		HmCandidate sorted[400] = {0};
		HmCandidate expected[400];

		for (int i = 0; i < n; i++)
		{
			uint32_t	kind = unit_random_below(&random, 8);

			sorted[i].id = unit_random_below(&random, 1000);
			sorted[i].distance = kind < 6 ? odd[kind] : (float) unit_random_below(&random, 100);
		}
		memcpy(expected, sorted, sizeof(sorted));
		qsort(expected, n, sizeof(*expected), compare_candidates);
		hm_sort_candidates(sorted, n);
		for (int i = 0; i < n; i++)
			UNIT_CHECK(compare_candidates(&sorted[i], &expected[i]) == 0, "%d of %d", i, n);
	}
}

/* Mean length of the lists at level 0. */
static double
mean_length(Stored *stored)
{
	uint32_t	slots = 2 * stored->store.m;
	uint64_t	sum = 0;

	for (uint32_t id = 0; id < stored->store.element_count; id++)
	{
		const uint32_t *list = stored_list(stored, id, 0);

		for (uint32_t i = 0; i < slots && list[i] != HM_NO_ID; i++)
			sum++;
	}
	return (double) sum / stored->store.element_count;
}

/*
 * Many small deletions, each of them repaired: lists must neither wear out nor
 * fill up with links that the heuristic would not choose if it knew more, which
 * every search would pay for.
 */
static void
delete_often(bool frugal)
{
	HmUnitRandom random = unit_random(31);
	uint32_t	n = 6000;
	uint32_t	rounds = 40;
	TestData	queries;
	TestData	data = make_data(&random, n, 0, &queries);
	Stored	   *stored = build_stored(&data, n, M, 3);
	TestData	survivors = {0, DIM, HM_L2, unit_malloc((size_t) n * DIM * sizeof(float))};
	uint8_t    *dead_rows = calloc(n, 1);
	Stored	   *fresh;
	uint32_t	linked;
	uint32_t	unreachable;
	double		length;
	double		best;
	double		recall;

	for (uint32_t round = 0; round < rounds; round++)
	{
		Merge		merge;

		UNIT_CHECK(begin_merge(&merge, &data, stored, 0, 0, &test_allocator), "no memory");
		merge.grower->frugal = frugal;
		for (uint32_t killed = 0; killed < n / 60; killed++)
		{
			uint32_t	id = unit_random_below(&random, stored->store.element_count);

			if (merge_is_dead(&merge, id))
				continue;
			dead_rows[merge.row[id]] = 1;
			merge_kill(&merge, id);
		}
		UNIT_CHECK(repair_all(&merge, false) && connect_all(&merge, &linked), "no memory");
		stored = write_merge(&merge);
	}
	for (uint32_t row = 0; row < n; row++)
	{
		if (!dead_rows[row])
			memcpy(survivors.vectors + (size_t) survivors.n++ * DIM, test_vector(&data, row), DIM * sizeof(float));
	}
	fresh = build_stored(&survivors, survivors.n, M, 3);
	best = measure(fresh, &survivors, &queries, NULL, 20, &unreachable);
	recall = measure(stored, &data, &queries, NULL, 20, &unreachable);
	length = mean_length(stored) / mean_length(fresh);
	printf("# %s%u of %u left after %u deletions: recall %.4f, fresh %.4f; lists of %.1f, by fresh %.3f\n",
		   frugal ? "frugal, " : "", survivors.n, n, rounds, recall, best, mean_length(stored), length);
	UNIT_CHECK(recall >= best - (frugal ? 0.03 : 0.015), "%.4f, fresh %.4f", recall, best);
	UNIT_CHECK(length > 0.85 && length < (frugal ? 1.25 : 1.15), "%.3f", length);
	UNIT_CHECK(unreachable == 0, "%u unreachable", unreachable);
	free_stored(stored);
	free_stored(fresh);
	free(survivors.vectors);
	free(dead_rows);
	free(data.vectors);
}

static void
test_many_deletions(void)
{
	delete_often(false);
	delete_often(true);
}

int
main(void)
{
	unit_start();
	hm_simd_init();
	unit_run("growing by a fifth in ten merges", test_growing);
	unit_run("deleting, repairing, dropping", test_deleting);
	unit_run("deleting from what stays where it is", test_deleting_under);
	unit_run("sorting candidates", test_sorting);
	unit_run("deleting little, often", test_many_deletions);
	unit_run("elements without a vector", test_absent);
	return unit_finish();
}
