/*-------------------------------------------------------------------------
 *
 * merge_grow.c
 *	  Middle step of a merge: the graph grows.
 *
 * The graph floor says which vectors it needs (graph/grow.h); they are got from
 * the log's copies, the index's copies or the table's rows, turned into
 * eight-bit codes as in a build, and kept in a cache.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/index.h"
#include "index/merge_state.h"
#include "miscadmin.h"
#include "simd/simd.h"
#include "storage/guard.h"
#include "utils/memutils.h"

#define SAMPLE				1024	/* vectors that a codec is chosen by */
#define EQUALS_LOOKED_AT	8	/* nearest elements that may be identical */

typedef struct GrowState
{
	HmMergeState *merge;
	HmBuildScorer scorer;
	uint64		seed;			/* levels of new elements */
	uint16	   *batch;			/* HM_MAX_BATCH copies */

	/* guarded call */
	HmGrowStep	step;
} GrowState;

/* Copies of vectors that codes are made for, one after the other. */
typedef struct CodeSample
{
	uint32		dim;
	const uint16 *copies;
} CodeSample;

static bool
fetch_sample(void *state, uint32 i, float *vector)
{
	const CodeSample *sample = state;

	hm_kernels->f16_to_f32(sample->copies + (Size) i * sample->dim, vector, sample->dim);
	return true;
}

/* Gets copies of so many of the index's vectors, evenly spread; returns how many there are. */
static uint32
sample_index(HmMergeState *merge, uint32 wanted, uint16 *copies)
{
	uint32		dim = merge->directory.meta.dim;
	uint32		count = 0;

	for (uint32 first = 0; first < wanted; first += HM_MAX_BATCH)
	{
		uint32		ids[HM_MAX_BATCH];
		uint8		flags[HM_MAX_BATCH];
		uint16	   *batch = copies + (Size) first * dim;
		int			n = Min(HM_MAX_BATCH, wanted - first);

		for (int i = 0; i < n; i++)
			ids[i] = (uint32) ((uint64) (first + i) * merge->stored / wanted);
		merge->source->copies(merge->source, ids, n, batch, flags);
		for (int i = 0; i < n; i++)
		{
			if (flags[i] == HM_SCORED)
				memmove(copies + (Size) count++ * dim, batch + (Size) i * dim, dim * sizeof(uint16));
		}
	}
	return count;
}

/* An empty cache, with a codec for the log's and the index's vectors. */
static HmCodeCache *
create_codes(HmMergeState *merge, uint32 elements)
{
	uint32		dim = merge->directory.meta.dim;
	uint32		of_log = Min(merge->entry_count, SAMPLE / 2);
	uint32		of_index = Min(merge->stored, SAMPLE - of_log);
	uint16	   *copies = palloc(Max(1, of_log + of_index) * dim * sizeof(uint16));
	CodeSample	vectors = {.dim = dim, .copies = copies};
	HmSample	sample = {.dim = dim, .fetch = fetch_sample, .state = &vectors};
	HmCodeCache *codes;

	sample.count = sample_index(merge, of_index, copies);
	for (uint32 i = 0; i < of_log; i++)
		memcpy(copies + (Size) sample.count++ * dim,
			   hm_merge_entry_copy(merge, (uint32) ((uint64) i * merge->entry_count / of_log)),
			   dim * sizeof(uint16));
	sample.room = palloc(hm_sample_room(sample.count, dim));
	codes = hm_codecache_create(merge->directory.meta.metric, &sample, elements);
	pfree(sample.room);
	pfree(copies);
	return codes;
}

static void
score(const HmBuildScorer *scorer, uint32_t from, const uint32_t *ids, int n, float *distance)
{
	const GrowState *grow = scorer->state;

	hm_codecache_score(grow->merge->codes, from, ids, n, distance);
}

static uint8_t
known(const HmBuildScorer *scorer, uint32_t id)
{
	const GrowState *grow = scorer->state;

	return hm_codecache_known(grow->merge->codes, id);
}

/* Answers HM_GROW_LOAD. */
static void
load_vectors(GrowState *grow)
{
	HmMergeState *merge = grow->merge;
	HmGrower   *grower = merge->grower;
	uint32		dim = merge->directory.meta.dim;
	uint32		ids[HM_MAX_BATCH];
	uint8		flags[HM_MAX_BATCH];
	int			n = 0;

	for (int i = 0; i < grower->load_n; i++)
	{
		uint32		id = grower->load_ids[i];

		if (id >= merge->stored)
			hm_codecache_add(merge->codes, id,
							 hm_merge_entry_copy(merge, merge->entry_of[id - merge->stored]));
		else
			ids[n++] = id;
	}
	if (n == 0)
		return;
	merge->source->copies(merge->source, ids, n, grow->batch, flags);
	for (int i = 0; i < n; i++)
	{
		if (flags[i] == HM_SCORED)
			hm_codecache_add(merge->codes, ids[i], grow->batch + (Size) i * dim);
		else
			hm_codecache_add_absent(merge->codes, ids[i]);
	}
}

/* Guarded: reads stored lists out of mappings. */
static void
step_call(void *argument)
{
	GrowState  *grow = argument;

	grow->step = hm_grow_step(grow->merge->grower);
}

/* Runs the operation that was begun until it is done, or found something, or pauses. */
static HmGrowStep
run(GrowState *grow)
{
	HmMergeState *merge = grow->merge;

	for (;;)
	{
		CHECK_FOR_INTERRUPTS();

		/* a fault ends the merge, so nobody cares what state this leaves it in */
		if (!hm_guarded_call(step_call, grow))
			hm_mapping_fault(merge->index);
		switch (grow->step)
		{
			case HM_GROW_LOAD:
				load_vectors(grow);
				break;
			case HM_GROW_LINKS:
				hm_reader_fetch_links(&merge->reader, merge->grower->links_id,
									  merge->grower->links_level);
				break;
			case HM_GROW_NO_MEMORY:
				hm_merge_out_of_memory(merge);
				break;
			case HM_GROW_FOUND:
			case HM_GROW_PAUSE:
			case HM_GROW_DONE:
				return grow->step;
		}
	}
}

/* The element that has the entry's vector among the nearest found, or HM_NO_ID. */
static uint32
find_equal(GrowState *grow, uint32 number)
{
	HmMergeState *merge = grow->merge;
	const HmGrower *grower = merge->grower;
	int			n = grower->found_n;

	/* by inner product, a vector need not be the nearest to itself */
	if (merge->directory.meta.metric != HM_INNER_PRODUCT)
		n = Min(n, EQUALS_LOOKED_AT);
	for (int i = 0; i < n; i++)
	{
		uint32		id = grower->found[i].id;

		/* new ones are in the hash table */
		if (id < merge->stored && hm_merge_has_vector(merge, id, number))
			return id;
	}
	return HM_NO_ID;
}

static void
insert_entry(GrowState *grow, uint32 number)
{
	HmMergeState *merge = grow->merge;
	uint32	   *noted;
	uint32		equal;
	uint32		id;

	equal = hm_merge_equal_entry(merge, number, &noted);
	if (equal != HM_NO_ID)
	{
		hm_merge_join(merge, equal, number);
		return;
	}

	id = hm_overlay_add(merge->overlay, hm_level_of(grow->seed, merge->stored + merge->new_count,
													merge->directory.meta.m));
	if (id == HM_NO_ID)
		hm_merge_out_of_memory(merge);
	merge->entry_of[merge->new_count++] = number;
	hm_codecache_trim(merge->codes);
	hm_codecache_add(merge->codes, id, hm_merge_entry_copy(merge, number));

	hm_grow_insert(merge->grower, id);
	if (run(grow) == HM_GROW_FOUND)
	{
		equal = find_equal(grow, number);
		if (equal != HM_NO_ID)
		{
			hm_grow_cancel(merge->grower);
			hm_overlay_remove_last(merge->overlay);
			hm_codecache_forget(merge->codes, id);
			merge->new_count--;
			*noted = equal;
			hm_merge_join(merge, equal, number);
			return;
		}
		(void) run(grow);
	}
	*noted = id;
	hm_merge_add_ref(merge, id, number);
}

static void
repair_list(GrowState *grow, uint32 id, int level)
{
	hm_codecache_trim(grow->merge->codes);
	hm_grow_repair(grow->merge->grower, id, level);
	(void) run(grow);
}

/* Lists in memory that have lost members choose anew. */
static void
repair(GrowState *grow)
{
	HmMergeState *merge = grow->merge;
	uint32		own = merge->overlay->store.element_count - merge->first;
	const HmChange *changes;
	uint32		count;

	changes = hm_overlay_changes(merge->overlay, &count);
	if (changes == NULL && count > 0)
		hm_merge_out_of_memory(merge);
	hm_merge_enter(merge, HM_MERGE_REPAIR, (uint64) own + count);
	for (uint32 i = 0; i < count; i++)
	{
		repair_list(grow, changes[i].id, (int) changes[i].level);
		hm_merge_progress(merge, i + 1);
	}
	for (uint32 i = 0; i < own; i++)
	{
		uint32		id = merge->first + i;

		for (int level = hm_overlay_level(merge->overlay, id); level >= 0; level--)
			repair_list(grow, id, level);
		hm_merge_progress(merge, (uint64) count + i + 1);
	}
}

static void
reach_all(GrowState *grow)
{
	HmMergeState *merge = grow->merge;

	hm_merge_enter(merge, HM_MERGE_CONNECT, 0);
	hm_codecache_trim(merge->codes);
	hm_grow_connect(merge->grower);
	while (run(grow) == HM_GROW_PAUSE)
	{
		hm_codecache_trim(merge->codes);
		hm_merge_progress(merge, 0);
	}
}

void
hm_merge_grow(HmMergeState *merge)
{
	const HmMeta *meta = &merge->directory.meta;
	HmAllocator allocator = hm_context_allocator(CurrentMemoryContext);
	GrowState  *grow;
	uint32		elements;

	/* nothing but rows outside of the graph */
	if (meta->dim == 0)
		return;

	merge->entry_of = palloc((merge->entry_count + 1) * sizeof(uint32));
	hm_merge_equal_begin(merge);
	if (hm_merge_build(merge))
		return;

	grow = palloc0(sizeof(GrowState));
	grow->merge = merge;
	grow->seed = hm_build_random();
	grow->batch = palloc(HM_MAX_BATCH * meta->dim * sizeof(uint16));
	grow->scorer.score = score;
	grow->scorer.known = known;
	grow->scorer.state = grow;
	elements = merge->stored + merge->entry_count;
	merge->codes = hm_codecache_take(&merge->directory, elements);
	if (merge->codes == NULL)
		merge->codes = create_codes(merge, elements);
	merge->grower = hm_grower_create(merge->overlay, &grow->scorer,
									 Max(meta->ef_construction, meta->m), &allocator);
	if (merge->grower == NULL)
		hm_merge_out_of_memory(merge);

	merge->grower->frugal = !hm_codecache_holds(merge->codes, elements);

	hm_merge_enter(merge, HM_MERGE_INSERT, merge->entry_count);
	for (uint32 i = 0; i < merge->entry_count; i++)
	{
		insert_entry(grow, i);
		hm_merge_progress(merge, i + 1);
	}
	if (merge->dead_own > 0)
		repair(grow);
	reach_all(grow);

	hm_row_let_go(&merge->rows);

	merge->report->repaired = merge->grower->counters.repaired;
	merge->report->linked = merge->grower->counters.linked;
	merge->report->distances = merge->grower->counters.distances;
}
