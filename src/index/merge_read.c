/*-------------------------------------------------------------------------
 *
 * merge_read.c
 *	  First step of a merge: what is to be merged, into memory.
 *
 * From the log: every entry that VACUUM has not blanked, whether or not the
 * merge's snapshot sees its row.  From the parts that are replaced: lists,
 * refs, postings and tail, without what is tombstoned.  From the parts below:
 * which elements are dead, and which of their lists have been patched.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "index/element.h"
#include "index/merge_state.h"
#include "miscadmin.h"
#include "storage/error.h"
#include "storage/part.h"
#include "utils/memutils.h"

#define CHUNK	1024			/* entries of an array read at a time */

/* Norm of a copy below which none of its components has full half precision. */
#define SMALL_NORM	0x1p-14

/* Vectors from which on it is said that most are unlike those before them. */
#define FEWEST_TO_JUDGE_BY	100

void
hm_merge_add_tid(HmMergeTids *tids, const HmMergeTid *tid)
{
	if (tids->count == tids->space)
	{
		tids->space = tids->space == 0 ? 1024 : tids->space * 2;
		tids->tids = tids->tids == NULL ?
			palloc(tids->space * sizeof(HmMergeTid)) :
			repalloc_huge(tids->tids, tids->space * sizeof(HmMergeTid));
	}
	tids->tids[tids->count++] = *tid;
}

/* Makes room for one more vector of the log. */
static void
make_room(HmMergeState *merge)
{
	Size		size = merge->directory.meta.dim * sizeof(uint16);

	if (merge->entry_count < merge->entry_space)
		return;
	merge->entry_space = merge->entry_space == 0 ? 1024 : merge->entry_space * 2;
	if (merge->entries == NULL)
	{
		merge->entries = palloc(merge->entry_space * sizeof(HmMergeEntry));
		merge->copies = MemoryContextAllocHuge(CurrentMemoryContext, merge->entry_space * size);
		return;
	}
	merge->entries = repalloc_huge(merge->entries, merge->entry_space * sizeof(HmMergeEntry));
	merge->copies = repalloc_huge(merge->copies, merge->entry_space * size);
}

/* Takes in an entry of the log: an HmLogVisitor. */
static void
take_entry(void *argument, const HmLogEntry *entry, const uint16 *copy)
{
	HmMergeState *merge = argument;
	uint64		ordinal = merge->log_entries++;
	uint32		dim = merge->directory.meta.dim;
	HmMergeEntry *taken;

	if (entry->kind == HM_LOG_BLANK)
	{
		merge->report->dropped++;
		return;
	}
	if (entry->kind != HM_LOG_VECTOR)
	{
		HmMergeTid	tid = {
			.tid = entry->tid,
			.info = entry->kind,
			.part = HM_FROM_LOG,
			.bit = ordinal
		};

		hm_merge_add_tid(&merge->tail, &tid);
		merge->too_large += entry->kind == HM_TAIL_WIDE && entry->norm > 0;
		return;
	}
	merge->too_small += entry->norm > 0 && entry->norm < ldexp(SMALL_NORM, -merge->directory.meta.scale);
	make_room(merge);
	memcpy(merge->copies + (Size) merge->entry_count * dim, copy, dim * sizeof(uint16));
	taken = &merge->entries[merge->entry_count++];
	taken->tid = entry->tid;
	taken->fingerprint = entry->fingerprint;
	taken->hash = taken->row = entry->hash;
	taken->ordinal = ordinal;
	merge->max_norm = Max(merge->max_norm, entry->norm);
}

/* The log has rows of the attached file in place of hashes. */
static void
hash_rows(HmMergeState *merge)
{
	HmVector	vector = {.dim = merge->file->dim, .kind = merge->file->kind};
	void	   *components = palloc(hm_file_row_size(merge->file));

	vector.data = components;
	for (uint32 i = 0; i < merge->entry_count; i++)
	{
		hm_file_read(merge->file, merge->entries[i].row, components);
		merge->entries[i].hash = hm_vector_hash(&vector, merge->directory.incarnation);
	}
	pfree(components);
}

/*
 * The scale of copies is chosen once, by the first vector if there was no table
 * to be asked.  Says so if most vectors are of quite another size.
 */
static void
check_scale(const HmMergeState *merge)
{
	const HmMeta *meta = &merge->directory.meta;
	uint32		vectors = merge->entry_count + merge->too_large;
	bool		large = merge->too_large > merge->too_small;
	uint32		wrong = large ? merge->too_large : merge->too_small;

	if (meta->metric == HM_COSINE || meta->element_kind == HM_F16 ||
		vectors < FEWEST_TO_JUDGE_BY || wrong <= vectors / 2)
		return;
	ereport(WARNING,
			(large ?
			 errmsg("%u of %u vectors in the log of index \"%s\" are too large for the scale of its half-precision copies",
					wrong, vectors, RelationGetRelationName(merge->index)) :
			 errmsg("%u of %u vectors in the log of index \"%s\" are too small for the scale of its half-precision copies",
					wrong, vectors, RelationGetRelationName(merge->index)),
			 large ?
			 errdetail("The scale was chosen by earlier vectors. Queries compute the distances of these one by one.") :
			 errdetail("The scale was chosen by earlier vectors. Queries may find few of these."),
			 errhint("Use REINDEX to choose the scale anew.")));
}

void
hm_merge_read_log(HmMergeState *merge)
{
	hm_log_scan_sealed(merge->index, &merge->directory, &merge->seal, take_entry, merge);
	check_scale(merge);
	if (merge->file != NULL)
		hash_rows(merge);
	merge->report->log_entries = merge->log_entries;
}

/* Sets the bits of elements below `first` none of whose rows lives. */
static void
find_dead_below(HmMergeState *merge)
{
	for (int number = 0; number < merge->first_part; number++)
	{
		const HmReaderPart *part = &merge->reader.parts[number];
		uint32		first = part->desc->first_element;

		if (part->tombstones == NULL)
			continue;
		for (uint32 i = 0; i < part->desc->element_count; i++)
		{
			if (!hm_tombstone_is_set(part->tombstones, i))
				continue;
			if (hm_reader_is_dead(&merge->reader, first + i))
				merge->dead[(first + i) / 64] |= UINT64CONST(1) << ((first + i) % 64);
		}
		hm_merge_progress(merge, 0);
	}
}

/* Adds an own element with all its lists, and its ref unless that is dead. */
static void
read_element(HmMergeState *merge, int number, uint32 id)
{
	const HmReaderPart *part = &merge->reader.parts[number];
	uint32		within = id - part->desc->first_element;
	HmRef		ref = hm_reader_ref(&merge->reader, id);
	HmMergeTid	tid = {
		.info = ref.fingerprint,
		.element = id,
		.part = number,
		.bit = within
	};
	uint32		slots[2 * HM_MAX_M];
	int			level = 0;

	while (level + 1 < HM_MAX_LEVELS && within < part->desc->level_count[level + 1])
		level++;
	if (hm_overlay_add(merge->overlay, level) != id)
		hm_merge_out_of_memory(merge);
	for (; level >= 0; level--)
	{
		int			n = hm_reader_copy_links(&merge->reader, id, level, slots);

		hm_overlay_set(merge->overlay, id, level, slots, n);
	}

	if (hm_tombstone_is_set(part->tombstones, within))
	{
		ItemPointerSetInvalid(&tid.tid);
		merge->report->dropped++;
	}
	else
		tid.tid = ref.tid;
	hm_merge_add_tid(&merge->refs, &tid);
}

/* Takes over the postings of a part that are alive; the first one replaces a dead ref. */
static void
read_postings(HmMergeState *merge, int number)
{
	const HmPartDesc *desc = merge->reader.parts[number].desc;

	for (uint32 i = 0; i < desc->posting_count; i++)
	{
		HmPosting	posting = hm_reader_posting(&merge->reader, number, i);
		HmMergeTid	tid = {
			.tid = posting.tid,
			.element = posting.element,
			.part = number,
			.bit = (uint64) desc->element_count + i
		};

		if (posting.element >= desc->first_element + desc->element_count)
			hm_corrupt(merge->index, hm_part_block(desc, desc->array_page[HM_ARRAY_POSTINGS]),
					   "A posting of part %u names element %u.", desc->part, posting.element);
		if (hm_reader_posting_is_dead(&merge->reader, number, i))
		{
			merge->report->dropped++;
			continue;
		}
		if (posting.element >= merge->first)
		{
			HmMergeTid *ref = &merge->refs.tids[posting.element - merge->first];

			if (!ItemPointerIsValid(&ref->tid))
			{
				tid.info = ref->info;
				*ref = tid;
				continue;
			}
		}
		hm_merge_add_tid(&merge->postings, &tid);
	}
}

static void
read_tail(HmMergeState *merge, int number)
{
	const HmPartDesc *desc = merge->reader.parts[number].desc;
	HmTailEntry *entries = palloc(CHUNK * sizeof(HmTailEntry));

	for (uint32 first = 0; first < desc->tail_count; first += CHUNK)
	{
		uint32		n = Min(CHUNK, desc->tail_count - first);

		hm_part_read(merge->index, merge->directory.incarnation, &merge->directory.meta, desc,
					 HM_ARRAY_TAIL, first, n, entries);
		for (uint32 i = 0; i < n; i++)
		{
			HmMergeTid	tid = {
				.tid = entries[i].tid,
				.info = entries[i].kind,
				.part = number,
				.bit = (uint64) desc->element_count + desc->posting_count + first + i
			};

			if (hm_reader_tail_is_dead(&merge->reader, number, first + i))
				merge->report->dropped++;
			else
				hm_merge_add_tid(&merge->tail, &tid);
		}
	}
	pfree(entries);
}

/* Takes over the lists of older elements that a part replaces. */
static void
read_patches(HmMergeState *merge, int number)
{
	const HmPartDesc *desc = merge->reader.parts[number].desc;
	HmPatchKey *keys = palloc(CHUNK * sizeof(HmPatchKey));
	uint32		slots[2 * HM_MAX_M];

	for (uint32 first = 0; first < desc->patch_count; first += CHUNK)
	{
		uint32		n = Min(CHUNK, desc->patch_count - first);

		hm_part_read(merge->index, merge->directory.incarnation, &merge->directory.meta, desc,
					 HM_ARRAY_PATCH_KEYS, first, n, keys);
		for (uint32 i = 0; i < n; i++)
		{
			int			used;
			int			size;

			if (keys[i].element >= merge->first ||
				hm_overlay_list(merge->overlay, keys[i].element, keys[i].level, &size) != NULL)
				continue;
			used = hm_reader_copy_links(&merge->reader, keys[i].element, keys[i].level, slots);
			if (hm_overlay_change(merge->overlay, keys[i].element, keys[i].level, slots, used) != HM_OK)
				hm_merge_out_of_memory(merge);
		}
		hm_merge_progress(merge, 0);
	}
	pfree(keys);
}

/*
 * Tells the overlay, through the store under it, which element that stays where
 * it is stored has the highest level: should the entry point die, searches
 * begin there.  A live one of that level if there is any.
 */
static void
find_highest_below(HmMergeState *merge)
{
	HmStore    *under = &merge->reader.store;
	bool		live = false;

	under->entry_point = HM_NO_ID;
	under->top_level = 0;
	for (int number = 0; number < merge->first_part; number++)
	{
		const HmPartDesc *desc = merge->reader.parts[number].desc;
		int			level = HM_MAX_LEVELS - 1;

		while (level > 0 && desc->level_count[level] == 0)
			level--;
		for (uint32 i = 0; i < desc->level_count[level]; i++)
		{
			uint32		id = desc->first_element + i;
			bool		id_live = !hm_merge_is_dead(merge, id);

			if (under->entry_point == HM_NO_ID || level > under->top_level ||
				(level == under->top_level && id_live && !live))
			{
				under->entry_point = id;
				under->top_level = level;
				live = id_live;
			}
			if (live || level < under->top_level)
				break;
		}
	}
}

void
hm_merge_read_parts(HmMergeState *merge)
{
	const HmMeta *meta = &merge->directory.meta;
	uint64		total = (uint64) merge->stored + merge->entry_count;
	HmAllocator allocator = hm_context_allocator(CurrentMemoryContext);

	if (total >= HM_NO_ID)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" would have more than %u elements",
						RelationGetRelationName(merge->index), HM_NO_ID - 1),
				 errhint("Partition the table.")));

	merge->overlay = hm_overlay_create(merge->first > 0 ? &merge->reader.store : NULL, merge->first,
									   (uint32) (total - merge->first), meta->m, &allocator);
	merge->dead = MemoryContextAllocExtended(CurrentMemoryContext, (total / 64 + 1) * sizeof(uint64),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	if (merge->overlay == NULL)
		hm_merge_out_of_memory(merge);

	find_dead_below(merge);
	for (int number = merge->first_part; number < (int) meta->part_count; number++)
	{
		const HmPartDesc *desc = &meta->parts[number];

		for (uint32 i = 0; i < desc->element_count; i++)
		{
			read_element(merge, number, desc->first_element + i);
			hm_merge_progress(merge, desc->first_element + i - merge->first);
		}
		merge->max_norm = Max(merge->max_norm, desc->max_norm);
	}
	for (int number = merge->first_part; number < (int) meta->part_count; number++)
	{
		read_postings(merge, number);
		read_tail(merge, number);
		read_patches(merge, number);
	}
	for (uint64 i = 0; i < merge->refs.count; i++)
	{
		uint32		id = merge->first + (uint32) i;

		if (ItemPointerIsValid(&merge->refs.tids[i].tid))
			continue;
		merge->dead[id / 64] |= UINT64CONST(1) << (id % 64);
		merge->dead_own++;
	}

	hm_overlay_set_dead(merge->overlay, merge->dead, (uint32) total);
	merge->overlay->store.entry_point = merge->reader.store.entry_point;
	merge->overlay->store.top_level = merge->reader.store.top_level;
	find_highest_below(merge);
	hm_overlay_move_entry(merge->overlay);
}
