/*-------------------------------------------------------------------------
 *
 * merge_grow.c
 *	  Middle step of a merge: the graph grows.
 *
 * The graph floor says which vectors it needs (graph/grow.h); they are got from
 * the log's copies, the index's copies or the table's rows, turned into
 * eight-bit codes as in a build, and kept in a cache.
 *
 * Identical vectors become one element.  Among the log's entries, two are
 * taken to be identical if a 64-bit hash of their bytes and their
 * half-precision copies agree; how a stored element is compared is told below.
 * Should two different vectors ever pass for one, their rows share an element
 * that ranks both to half precision: no answer becomes wrong, because scans
 * compute the distance of every row from the row itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "index/element.h"
#include "index/index.h"
#include "index/merge_state.h"
#include "miscadmin.h"
#include "simd/simd.h"
#include "storage/guard.h"
#include "utils/memutils.h"

#define MEAN_SAMPLE			1024	/* vectors that codes are centred by */
#define EQUALS_LOOKED_AT	8	/* nearest elements that may be identical */

/* New elements by the hash of their vector. */
typedef struct HashSlot
{
	uint64		hash;			/* hash key */
	uint32		entry;			/* of the log */
	uint32		id;				/* the element that it has joined, or been made into */
	char		status;
} HashSlot;

#define SH_PREFIX		vectors
#define SH_ELEMENT_TYPE	HashSlot
#define SH_KEY_TYPE		uint64
#define SH_KEY			hash
#define SH_HASH_KEY(tb, key)	((uint32) ((key) >> 32))
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

typedef struct GrowState
{
	HmMergeState *merge;
	HmBuildScorer scorer;
	vectors_hash *vectors;
	uint64		seed;			/* levels of new elements */
	uint16	   *batch;			/* HM_MAX_BATCH copies */

	/* to compare a row's vector with an entry's */
	float	   *floats;
	uint16	   *copy;
	char	   *file_rows;		/* two of the attached file */

	/* guarded call */
	HmGrowStep	step;
} GrowState;

static const uint16 *
entry_copy(const HmMergeState *merge, uint32 entry)
{
	return merge->copies + (Size) entry * merge->directory.meta.dim;
}

/* A sample of the log's and the index's vectors, averaged. */
static float *
compute_mean(HmMergeState *merge)
{
	uint32		dim = merge->directory.meta.dim;
	float	   *mean = palloc(dim * sizeof(float));
	double	   *sum = palloc0(dim * sizeof(double));
	float	   *vector = palloc(dim * sizeof(float));
	uint16	   *copy = palloc(dim * sizeof(uint16));
	uint32		sampled = Min(merge->entry_count, MEAN_SAMPLE / 2);
	uint32		wanted = Min(merge->stored, MEAN_SAMPLE - sampled);
	uint32		count = 0;

	for (uint32 i = 0; i < sampled + wanted; i++)
	{
		const uint16 *from = copy;
		uint8		flag = HM_SCORED;

		if (i < sampled)
			from = entry_copy(merge, (uint32) ((uint64) i * merge->entry_count / sampled));
		else
		{
			uint32		id = (uint32) ((uint64) (i - sampled) * merge->stored / wanted);

			merge->source->copies(merge->source, &id, 1, copy, &flag);
		}
		if (flag != HM_SCORED)
			continue;
		hm_kernels->f16_to_f32(from, vector, dim);
		for (uint32 j = 0; j < dim; j++)
			sum[j] += vector[j];
		count++;
	}
	for (uint32 j = 0; j < dim; j++)
		mean[j] = count > 0 ? (float) (sum[j] / count) : 0;
	pfree(sum);
	pfree(vector);
	pfree(copy);
	return mean;
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
							 entry_copy(merge, merge->entry_of[id - merge->stored]));
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

/* True when a fetched value is the entry's very vector. */
static bool
is_vector_of(GrowState *grow, Datum value, uint32 number)
{
	HmMergeState *merge = grow->merge;
	const HmMergeEntry *entry = &merge->entries[number];
	const HmMeta *meta = &merge->directory.meta;
	MemoryContext old = MemoryContextSwitchTo(merge->rows.context);
	void	   *copied;
	HmVector	vector = merge->opclass->type->view(value, &copied);

	MemoryContextSwitchTo(old);
	return (uint32) vector.dim == meta->dim &&
		hm_vector_hash(&vector, merge->directory.incarnation) == entry->hash &&
		hm_element_make(meta->metric, meta->scale, &vector, grow->floats,
						grow->copy).kind == HM_LOG_VECTOR &&
		memcmp(grow->copy, entry_copy(merge, number), meta->dim * sizeof(uint16)) == 0;
}

/* True when two rows of the attached file are the same, byte by byte. */
static bool
rows_are_equal(GrowState *grow, uint64 a, uint64 b)
{
	HmFile	   *file = grow->merge->file;
	size_t		size = hm_file_row_size(file);

	if (a == b)
		return true;
	hm_file_read(file, a, grow->file_rows);
	hm_file_read(file, b, grow->file_rows + size);
	return memcmp(grow->file_rows, grow->file_rows + size, size) == 0;
}

/*
 * True when a stored element has the entry's very vector.  Where the index
 * keeps copies, its copy and fingerprint say so: they are all that searches
 * will see of the vector.  Rows of an attached file are compared there.
 * Otherwise a row of the element says so: one that is
 * visible or, if there is none, any.  An update that leaves the vector alone
 * makes the version that the element refers to invisible, and may prune it;
 * then nobody knows, and the new version becomes an element of its own.
 *
 * A TID may be freed and given to another row while the merge goes on, and its
 * tombstones were read at the beginning.  At worst an element gets a row whose
 * vector is near its own: its place in the graph is a little off, and its
 * distance is computed from the row.
 */
static bool
element_has_vector(GrowState *grow, uint32 id, uint32 number)
{
	HmMergeState *merge = grow->merge;
	HmTidIterator iterator;
	ItemPointerData tid;
	Datum		value;
	bool		isnull;

	if (hm_reader_ref(&merge->reader, id).fingerprint != merge->entries[number].fingerprint)
		return false;
	if (merge->directory.meta.vectors == HM_VECTORS_FP16)
	{
		uint8		flag;

		merge->source->copies(merge->source, &id, 1, grow->copy, &flag);
		return flag == HM_SCORED &&
			memcmp(grow->copy, entry_copy(merge, number),
				   merge->directory.meta.dim * sizeof(uint16)) == 0;
	}
	if (merge->file != NULL)
		return rows_are_equal(grow, hm_reader_row(&merge->reader, id), merge->entries[number].row);
	hm_reader_tids(id, &iterator);
	while (hm_reader_next_tid(&merge->reader, &iterator, &tid))
	{
		if (hm_row_fetch(&merge->rows, &tid, &value, &isnull) && !isnull)
			return is_vector_of(grow, value, number);
	}
	hm_reader_tids(id, &iterator);
	while (hm_reader_next_tid(&merge->reader, &iterator, &tid))
	{
		if (hm_row_fetch_any(&merge->rows, &tid, &value))
			return is_vector_of(grow, value, number);
	}
	return false;
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
		if (id < merge->stored && element_has_vector(grow, id, number))
			return id;
	}
	return HM_NO_ID;
}

/* Makes the entry's row a further one of an element. */
static void
join_element(GrowState *grow, uint32 id, uint32 number)
{
	HmMergeState *merge = grow->merge;
	const HmMergeEntry *entry = &merge->entries[number];
	HmMergeTid	tid = {
		.tid = entry->tid,
		.element = id,
		.part = HM_FROM_LOG,
		.bit = entry->ordinal
	};

	hm_merge_add_tid(&merge->postings, &tid);
	merge->report->duplicates++;
}

static void
insert_entry(GrowState *grow, uint32 number)
{
	HmMergeState *merge = grow->merge;
	const HmMergeEntry *entry = &merge->entries[number];
	HmMergeTid	ref = {
		.tid = entry->tid,
		.info = entry->fingerprint,
		.part = HM_FROM_LOG,
		.bit = entry->ordinal
	};
	HashSlot   *slot;
	uint32		equal;
	uint32		id;
	bool		found;

	slot = vectors_insert(grow->vectors, entry->hash, &found);
	if (found && memcmp(entry_copy(merge, slot->entry), entry_copy(merge, number),
						merge->directory.meta.dim * sizeof(uint16)) == 0)
	{
		join_element(grow, slot->id, number);
		return;
	}
	slot->entry = number;

	id = hm_overlay_add(merge->overlay, hm_level_of(grow->seed, merge->stored + merge->new_count,
													merge->directory.meta.m));
	if (id == HM_NO_ID)
		hm_merge_out_of_memory(merge);
	merge->entry_of[merge->new_count++] = number;
	hm_codecache_trim(merge->codes);
	hm_codecache_add(merge->codes, id, entry_copy(merge, number));

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
			slot->id = equal;
			join_element(grow, equal, number);
			return;
		}
		(void) run(grow);
	}
	slot->id = id;
	ref.element = id;
	hm_merge_add_tid(&merge->refs, &ref);
	merge->report->inserted++;
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

	grow = palloc0(sizeof(GrowState));
	grow->merge = merge;
	grow->seed = hm_build_random();
	grow->vectors = vectors_create(CurrentMemoryContext, Max(merge->entry_count, 16), NULL);
	grow->batch = palloc(HM_MAX_BATCH * meta->dim * sizeof(uint16));
	grow->floats = palloc(meta->dim * sizeof(float));
	grow->copy = palloc(meta->dim * sizeof(uint16));
	if (merge->file != NULL)
		grow->file_rows = palloc(2 * hm_file_row_size(merge->file));
	grow->scorer.score = score;
	grow->scorer.known = known;
	grow->scorer.state = grow;
	merge->entry_of = palloc((merge->entry_count + 1) * sizeof(uint32));
	elements = merge->stored + merge->entry_count;
	merge->codes = hm_codecache_take(&merge->directory, elements);
	if (merge->codes == NULL)
		merge->codes = hm_codecache_create(meta->metric, meta->dim, compute_mean(merge), elements);
	merge->grower = hm_grower_create(merge->overlay, &grow->scorer,
									 Max(meta->ef_construction, meta->m), &allocator);
	if (merge->grower == NULL)
		hm_merge_out_of_memory(merge);

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
