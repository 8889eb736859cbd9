/*-------------------------------------------------------------------------
 *
 * test_grow.h
 *	  What the tests of growing share: a stored graph in which every element
 *	  has its own level, and a merge into it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_TEST_GROW_H
#define HM_TEST_GROW_H

#include "graph/grow.h"
#include "test_graph.h"

#define M 12
#define EF_CONSTRUCTION 80
#define DIM 16
#define QUERIES 300

/*
 * A stored graph whose elements may have been numbered by several merges.
 * lists[id] has 2m slots, then m for each level above 0.
 */
typedef struct Stored
{
	HmStore		store;
	uint8_t    *level;
	uint32_t   *row;			/* of the data, by id */
	uint32_t  **lists;

	/* gives a list once after it was asked for, if so wanted */
	bool		reluctant;
	uint32_t	granted_id;
	int			granted_level;
	uint64_t	refusals;
} Stored;

static inline uint32_t *
stored_list(const Stored *stored, uint32_t id, int level)
{
	uint32_t	m = stored->store.m;

	return stored->lists[id] + (level == 0 ? 0 : (uint32_t) (level + 1) * m);
}

static const uint32_t *
stored_links(HmStore *store, uint32_t id, int level, int *slots)
{
	static const uint32_t none[1] = {HM_NO_ID};
	static uint32_t copy[2 * HM_MAX_M];
	Stored	   *stored = (Stored *) store;

	unit_require(id < store->element_count && level >= 0, "stored_links");
	if (stored->reluctant && (stored->granted_id != id || stored->granted_level != level))
	{
		stored->refusals++;
		return NULL;
	}
	if (stored->level[id] < level)
	{
		*slots = 1;
		return none;
	}
	*slots = (int) (level == 0 ? 2 * store->m : store->m);
	if (!stored->reluctant)
		return stored_list(stored, id, level);
	memcpy(copy, stored_list(stored, id, level), (size_t) *slots * sizeof(uint32_t));
	return copy;
}

static inline Stored *
new_stored(uint32_t n, uint32_t m)
{
	Stored	   *stored = unit_malloc(sizeof(*stored));

	memset(stored, 0, sizeof(*stored));
	stored->store = (HmStore) {n, HM_NO_ID, 0, m, stored_links, NULL};
	stored->granted_id = HM_NO_ID;
	stored->level = unit_malloc(n);
	stored->row = unit_malloc(n * sizeof(uint32_t));
	stored->lists = unit_malloc(n * sizeof(uint32_t *));
	return stored;
}

static inline void
free_stored(Stored *stored)
{
	for (uint32_t id = 0; id < stored->store.element_count; id++)
		free(stored->lists[id]);
	free(stored->level);
	free(stored->row);
	free(stored->lists);
	free(stored);
}

static inline void
new_lists(Stored *stored, uint32_t id, int level)
{
	size_t		size = (size_t) (level + 2) * stored->store.m * sizeof(uint32_t);

	stored->level[id] = (uint8_t) level;
	stored->lists[id] = unit_malloc(size);
	memset(stored->lists[id], 0xFF, size);
}

/* Builds a graph over the first n rows at once. */
static inline Stored *
build_stored(const TestData *data, uint32_t n, uint32_t m, uint64_t seed)
{
	TestData	part = *data;
	TestGraph  *graph;
	Stored	   *stored = new_stored(n, m);

	part.n = n;
	graph = test_build(&part, m, EF_CONSTRUCTION, seed, NULL);
	stored->store.entry_point = graph->store.entry_point;
	stored->store.top_level = graph->store.top_level;
	for (uint32_t id = 0; id < n; id++)
	{
		int			level = 0;

		while (level + 1 < HM_MAX_LEVELS && id < graph->level_count[level + 1])
			level++;
		new_lists(stored, id, level);
		stored->row[id] = graph->old_of_new[id];
		for (; level >= 0; level--)
		{
			size_t		slots = level == 0 ? 2 * m : m;

			memcpy(stored_list(stored, id, level), graph->links[level] + id * slots,
				   slots * sizeof(uint32_t));
		}
	}
	test_free_graph(graph);
	return stored;
}

/* Sorts a stored graph by level, as the checks and searches of test_graph.h want it. */
static inline TestGraph *
flatten(Stored *stored)
{
	uint32_t	n = stored->store.element_count;
	TestGraph  *graph = unit_malloc(sizeof(*graph));
	uint32_t	next = 0;

	memset(graph, 0, sizeof(*graph));
	graph->granted_id = HM_NO_ID;
	graph->new_of_old = unit_malloc(n * sizeof(uint32_t));
	graph->old_of_new = unit_malloc(n * sizeof(uint32_t));
	graph->store = stored->store;
	graph->store.links = test_links;
	for (int level = HM_MAX_LEVELS - 1; level >= 0; level--)
	{
		for (uint32_t id = 0; id < n; id++)
		{
			if (stored->level[id] != level)
				continue;
			graph->old_of_new[next] = stored->row[id];
			graph->new_of_old[id] = next++;
		}
		graph->level_count[level] = next;
	}
	for (int level = 0; level < HM_MAX_LEVELS; level++)
	{
		uint32_t	slots = level == 0 ? 2 * stored->store.m : stored->store.m;

		graph->links[level] = unit_malloc((size_t) graph->level_count[level] * slots * sizeof(uint32_t));
		for (uint32_t id = 0; id < n; id++)
		{
			for (uint32_t i = 0; stored->level[id] >= level && i < slots; i++)
			{
				uint32_t	link = stored_list(stored, id, level)[i];

				graph->links[level][graph->new_of_old[id] * slots + i] =
					link < n ? graph->new_of_old[link] : link;
			}
		}
	}
	if (n > 0)
		graph->store.entry_point = graph->new_of_old[stored->store.entry_point];
	return graph;
}

/* --- a merge --- */

typedef struct Merge
{
	const TestData *data;
	Stored	   *stored;			/* what is merged into */
	HmOverlay  *overlay;
	HmGrower   *grower;
	HmBuildScorer scorer;
	uint32_t   *row;			/* of the data, by id in the overlay */
	uint64_t   *dead;
	uint32_t	capacity;		/* ids at most */

	/* rows that have no vector, or NULL */
	const uint8_t *absent;

	/* ids are loaded if they bear the number of the operation going on */
	uint32_t   *loaded;
	uint32_t	operation;

	uint64_t	steps[HM_GROW_NO_MEMORY + 1];
} Merge;

static inline void
merge_score(const HmBuildScorer *scorer, uint32_t from, const uint32_t *ids, int n, float *distance)
{
	const Merge *merge = scorer->state;

	UNIT_CHECK(merge->loaded[from] == merge->operation, "%u is not loaded", from);
	for (int i = 0; i < n; i++)
	{
		UNIT_CHECK(merge->loaded[ids[i]] == merge->operation, "%u is not loaded", ids[i]);
		distance[i] = test_distance(merge->data, test_vector(merge->data, merge->row[from]),
									test_vector(merge->data, merge->row[ids[i]]));
	}
}

static inline bool
merge_is_dead(const Merge *merge, uint32_t id)
{
	return (merge->dead[id / 64] >> (id % 64)) & 1;
}

static inline void
merge_kill(Merge *merge, uint32_t id)
{
	merge->dead[id / 64] |= UINT64_C(1) << (id % 64);
}

static inline void
end_merge(Merge *merge)
{
	hm_grower_destroy(merge->grower);
	hm_overlay_destroy(merge->overlay);
	free(merge->row);
	free(merge->dead);
	free(merge->loaded);
}

/*
 * Loads a stored graph's elements from `first` on as own ones, and the lists
 * below that link to them, as a merge does that replaces the parts from there
 * on.  False: no memory.
 */
static inline bool
begin_merge(Merge *merge, const TestData *data, Stored *stored, uint32_t first, uint32_t more,
			const HmAllocator *allocator)
{
	uint32_t	n = stored->store.element_count;
	uint32_t	m = stored->store.m;
	bool		reluctant = stored->reluctant;

	memset(merge, 0, sizeof(*merge));
	merge->data = data;
	merge->stored = stored;
	merge->capacity = n + more;
	merge->row = unit_malloc(merge->capacity * sizeof(uint32_t));
	memcpy(merge->row, stored->row, n * sizeof(uint32_t));
	merge->loaded = calloc(merge->capacity + 1, sizeof(uint32_t));
	merge->dead = calloc(merge->capacity / 64 + 1, sizeof(uint64_t));
	merge->scorer = (HmBuildScorer) {.score = merge_score, .state = merge};
	merge->overlay = hm_overlay_create(first > 0 ? &stored->store : NULL, first, n + more - first, m, allocator);
	if (merge->overlay == NULL)
		return false;
	hm_overlay_set_dead(merge->overlay, merge->dead, merge->capacity);
	merge->overlay->store.entry_point = stored->store.entry_point;
	merge->overlay->store.top_level = stored->store.top_level;

	stored->reluctant = false;
	for (uint32_t id = first; id < n; id++)
	{
		if (hm_overlay_add(merge->overlay, stored->level[id]) != id)
			return false;
		for (int level = stored->level[id]; level >= 0; level--)
			hm_overlay_set(merge->overlay, id, level, stored_list(stored, id, level),
						   (int) (level == 0 ? 2 * m : m));
	}
	for (uint32_t id = 0; id < first; id++)
	{
		for (int level = stored->level[id]; level >= 0; level--)
		{
			int			slots = (int) (level == 0 ? 2 * m : m);
			const uint32_t *links = stored_list(stored, id, level);
			bool		replaced = false;

			for (int i = 0; i < slots && links[i] != HM_NO_ID; i++)
				replaced |= links[i] >= first && links[i] < n;
			if (replaced && hm_overlay_change(merge->overlay, id, level, links, slots) != HM_OK)
				return false;
		}
	}
	stored->reluctant = reluctant;
	merge->grower = hm_grower_create(merge->overlay, &merge->scorer, EF_CONSTRUCTION, allocator);
	return merge->grower != NULL;
}

/* Steps to FOUND, DONE or NO_MEMORY. */
static inline HmGrowStep
run_steps(Merge *merge)
{
	HmGrower   *grower = merge->grower;

	for (;;)
	{
		HmGrowStep	step = hm_grow_step(grower);

		merge->steps[step]++;
		switch (step)
		{
			case HM_GROW_LOAD:
				UNIT_CHECK(grower->load_n > 0 && grower->load_n <= HM_MAX_BATCH, "%d", grower->load_n);
				for (int i = 0; i < grower->load_n; i++)
				{
					uint32_t	id = grower->load_ids[i];
					bool		absent;

					UNIT_CHECK(id < merge->overlay->store.element_count, "%u", id);
					absent = merge->absent != NULL && merge->absent[merge->row[id]];
					if (!absent)
						merge->loaded[id] = merge->operation;
					grower->load_flags[i] = absent ? HM_ABSENT : HM_SCORED;
				}
				break;
			case HM_GROW_LINKS:
				UNIT_CHECK(grower->links_id < merge->overlay->first, "%u", grower->links_id);
				merge->stored->granted_id = grower->links_id;
				merge->stored->granted_level = grower->links_level;
				break;
			case HM_GROW_PAUSE:
				merge->operation++;
				break;
			case HM_GROW_FOUND:
			case HM_GROW_DONE:
			case HM_GROW_NO_MEMORY:
				return step;
		}
	}
}

/* Inserts a row.  False: no memory. */
static inline bool
insert_row(Merge *merge, uint32_t row)
{
	uint32_t	id = hm_overlay_add(merge->overlay, hm_level_of(4711, row, merge->overlay->store.m));

	if (id == HM_NO_ID)
		return false;
	merge->row[id] = row;
	merge->loaded[id] = ++merge->operation;
	hm_grow_insert(merge->grower, id);
	if (run_steps(merge) != HM_GROW_FOUND)
		return false;
	for (int i = 0; i < merge->grower->found_n; i++)
	{
		UNIT_CHECK(!merge_is_dead(merge, merge->grower->found[i].id), "%d is dead", i);
		UNIT_CHECK(i == 0 || merge->grower->found[i - 1].distance <= merge->grower->found[i].distance,
				   "%d is out of order", i);
	}
	return run_steps(merge) == HM_GROW_DONE;
}

/* Repairs all lists in memory, and all others if so asked.  False: no memory. */
static inline bool
repair_all(Merge *merge, bool under)
{
	HmOverlay  *overlay = merge->overlay;

	for (uint32_t id = under ? 0 : overlay->first; id < overlay->store.element_count; id++)
	{
		int			level = hm_overlay_is_own(overlay, id) ? hm_overlay_level(overlay, id) :
			merge->stored->level[id];

		for (; level >= 0; level--)
		{
			merge->operation++;
			hm_grow_repair(merge->grower, id, level);
			if (run_steps(merge) != HM_GROW_DONE)
				return false;
		}
	}
	return true;
}

/* *linked: elements that needed it.  False: no memory. */
static inline bool
connect_all(Merge *merge, uint32_t *linked)
{
	uint64_t	before = merge->grower->counters.linked;
	bool		done;

	merge->operation++;
	hm_grow_connect(merge->grower);
	done = run_steps(merge) == HM_GROW_DONE;
	*linked = (uint32_t) (merge->grower->counters.linked - before);
	return done;
}

/* Every own live element has an in-link from a live one that is kept. */
static inline void
check_in_links(Merge *merge)
{
	HmOverlay  *overlay = merge->overlay;
	uint32_t	n = overlay->store.element_count;
	uint8_t    *linked = calloc(n + 1, 1);
	HmChange	change;
	uint32_t	at = 0;
	uint32_t	lost = 0;
	int			slots;

	for (uint32_t id = overlay->first; id < n; id++)
	{
		const uint32_t *links = hm_overlay_list(overlay, id, 0, &slots);

		for (int i = 0; i < slots && links[i] != HM_NO_ID && !merge_is_dead(merge, id); i++)
			linked[links[i]] = 1;
	}
	while (hm_overlay_next_change(overlay, &at, &change))
	{
		const uint32_t *links = hm_overlay_list(overlay, change.id, (int) change.level, &slots);

		for (int i = 0; i < slots && links[i] != HM_NO_ID && change.level == 0; i++)
			linked[links[i]] = 1;
	}
	for (uint32_t id = overlay->first; id < n; id++)
		lost += !linked[id] && !merge_is_dead(merge, id) && id != overlay->store.entry_point;
	UNIT_CHECK(lost == 0, "%u elements without an in-link", lost);
	free(linked);
}

/* Numbers and writes everything; frees the stored graph it came from. */
static inline Stored *
write_merge(Merge *merge)
{
	HmOverlay  *overlay = merge->overlay;
	Stored	   *old = merge->stored;
	uint32_t	own = overlay->store.element_count - overlay->first;
	uint32_t	m = overlay->store.m;
	uint32_t   *new_of_old = unit_malloc(own * sizeof(uint32_t));
	uint32_t   *old_of_new = unit_malloc(own * sizeof(uint32_t));
	uint32_t	level_count[HM_MAX_LEVELS];
	uint32_t	kept = hm_overlay_number(overlay, false, new_of_old, old_of_new, level_count);
	uint32_t	n = overlay->first + kept;
	uint32_t	entry = hm_overlay_entry(overlay, new_of_old);
	uint32_t	count;
	const HmChange *changes = hm_overlay_changes(overlay, &count);
	Stored	   *stored = new_stored(n, m);

	for (uint32_t id = 0; id < overlay->first; id++)
	{
		new_lists(stored, id, old->level[id]);
		memcpy(stored->lists[id], old->lists[id], (size_t) (old->level[id] + 2) * m * sizeof(uint32_t));
		stored->row[id] = old->row[id];
	}
	for (uint32_t i = 0; i < count; i++)
	{
		UNIT_CHECK(i == 0 || changes[i].level > changes[i - 1].level ||
				   (changes[i].level == changes[i - 1].level && changes[i].id > changes[i - 1].id),
				   "change %u is out of order", i);
		hm_overlay_read(overlay, changes[i].id, (int) changes[i].level, new_of_old,
						stored_list(stored, changes[i].id, (int) changes[i].level));
	}
	for (uint32_t id = overlay->first; id < n; id++)
	{
		uint32_t	was = old_of_new[id - overlay->first];
		int			level = hm_overlay_level(overlay, was);

		UNIT_CHECK(new_of_old[was - overlay->first] == id, "%u was %u", id, was);
		for (int l = 0; l < HM_MAX_LEVELS; l++)
			UNIT_CHECK((level >= l) == (id - overlay->first < level_count[l]), "%u, level %d", id, level);
		new_lists(stored, id, level);
		stored->row[id] = merge->row[was];
		for (; level >= 0; level--)
			hm_overlay_read(overlay, was, level, new_of_old, stored_list(stored, id, level));
	}
	stored->store.entry_point = entry;
	for (uint32_t id = 0; id < n; id++)
	{
		if (stored->level[id] > stored->store.top_level)
			stored->store.top_level = stored->level[id];
	}
	UNIT_CHECK(n == 0 ? entry == HM_NO_ID : entry < n && stored->level[entry] == stored->store.top_level,
			   "entry %u of %u", entry, n);
	UNIT_CHECK(overlay->first > 0 || n == 0 || entry == 0, "entry %u", entry);
	stored->reluctant = old->reluctant;
	free(new_of_old);
	free(old_of_new);
	end_merge(merge);
	free_stored(old);
	return stored;
}

/* --- measuring --- */

/* Live elements that level 0 does not reach from the entry point, by whatever way. */
static inline uint32_t
count_unreachable(const TestGraph *graph, const uint8_t *flags)
{
	uint32_t	n = graph->store.element_count;
	uint32_t	slots = 2 * graph->store.m;
	uint8_t    *reached = calloc(n + 1, 1);
	uint32_t   *queue = unit_malloc((n + 1) * sizeof(uint32_t));
	uint32_t	head = 0;
	uint32_t	tail = 0;
	uint32_t	lost = 0;

	queue[tail++] = graph->store.entry_point;
	reached[graph->store.entry_point] = 1;
	for (; head < tail; head++)
	{
		const uint32_t *links = graph->links[0] + (size_t) queue[head] * slots;

		for (uint32_t i = 0; i < slots && links[i] != HM_NO_ID; i++)
		{
			if (reached[links[i]])
				continue;
			reached[links[i]] = 1;
			queue[tail++] = links[i];
		}
	}
	for (uint32_t id = 0; id < n; id++)
		lost += !reached[id] && flags[id] == HM_SCORED;
	free(reached);
	free(queue);
	return lost;
}

/* Recall at ef; *unreachable: live elements. */
static inline double
measure(Stored *stored, const TestData *data, const TestData *queries, const uint8_t *dead_rows,
		int ef, uint32_t *unreachable)
{
	TestGraph  *graph = flatten(stored);
	uint8_t    *flags = calloc(stored->store.element_count + 1, 1);
	HmGraphReport report;
	HmStatus	status = hm_graph_check(&graph->store, graph->level_count, &test_allocator, &report);
	double		recall;

	UNIT_CHECK(status == HM_OK, "status %d, bad ids %u, self %u, duplicates %u, holes %u, first %u",
			   status, report.bad_ids, report.self_links, report.duplicate_links, report.holes,
			   report.first_bad);
	for (uint32_t id = 0; id < stored->store.element_count; id++)
	{
		if (dead_rows != NULL && dead_rows[graph->old_of_new[id]])
			flags[id] = HM_DEAD;
	}
	*unreachable = dead_rows == NULL ? report.unreachable : count_unreachable(graph, flags);
	recall = test_recall(graph, data, queries, flags, ef);
	free(flags);
	test_free_graph(graph);
	return recall;
}

/* Data, and queries drawn like it. */
static inline TestData
make_data(HmUnitRandom *random, uint32_t n, uint32_t clusters, TestData *queries)
{
	TestData	data = test_data(random, n + QUERIES, DIM, HM_L2, clusters);

	*queries = data;
	queries->n = QUERIES;
	queries->vectors = data.vectors + (size_t) n * DIM;
	data.n = n;
	return data;
}

#endif							/* HM_TEST_GROW_H */
