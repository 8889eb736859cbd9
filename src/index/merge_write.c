/*-------------------------------------------------------------------------
 *
 * merge_write.c
 *	  Last steps of a merge: the new part, and the directory that lists it.
 *
 * While the part is written its blocks are PENDING and nobody knows it.  The
 * publication is one record on the metapage: new part in, replaced parts out,
 * the log's head moved behind what was merged.  Before it, under the lock that
 * VACUUM holds while it looks at TIDs, the sources' tombstones and blanked
 * entries are read again: rows found dead since the merge read them get their
 * tombstones in the new part.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "index/merge_state.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/latch.h"
#include "storage/part.h"
#include "storage/space.h"
#include "utils/memutils.h"
#include "utils/wait_event.h"
#include "storage/testpoint.h"

/* Milliseconds between looks whether VACUUM is done. */
#define PUBLISH_POLL	20

/* Sorts postings by element as stored; equal ones stay in order of arrival. */
static int
compare_postings(const void *a, const void *b)
{
	const HmMergeTid *first = a;
	const HmMergeTid *second = b;

	if (first->element != second->element)
		return first->element < second->element ? -1 : 1;
	if (first->part != second->part)
		return (uint32) first->part < (uint32) second->part ? -1 : 1;
	return first->bit < second->bit ? -1 : first->bit > second->bit;
}

/* Sorts the tail by descending kind. */
static int
compare_tail(const void *a, const void *b)
{
	const HmMergeTid *first = a;
	const HmMergeTid *second = b;

	if (first->info != second->info)
		return first->info > second->info ? -1 : 1;
	if (first->part != second->part)
		return (uint32) first->part < (uint32) second->part ? -1 : 1;
	return first->bit < second->bit ? -1 : first->bit > second->bit;
}

/* Gives everything its number as stored, and drops what is dead. */
static void
number_elements(HmMergeState *merge, HmPartDesc *part)
{
	uint32		own = (uint32) merge->refs.count;
	HmMergeTid *refs;
	uint64		kept = 0;

	merge->new_of_old = MemoryContextAllocHuge(CurrentMemoryContext, (own + 1) * sizeof(uint32));
	merge->old_of_new = MemoryContextAllocHuge(CurrentMemoryContext, (own + 1) * sizeof(uint32));
	part->element_count = hm_overlay_number(merge->overlay, false, merge->new_of_old,
											merge->old_of_new, part->level_count);

	/* refs in the order in which they are stored */
	refs = MemoryContextAllocHuge(CurrentMemoryContext, (own + 1) * sizeof(HmMergeTid));
	for (uint32 i = 0; i < part->element_count; i++)
		refs[i] = merge->refs.tids[merge->old_of_new[i] - merge->first];
	if (merge->refs.tids != NULL)
		pfree(merge->refs.tids);
	merge->refs.tids = refs;
	merge->refs.count = part->element_count;

	/* a posting's element is alive, as the posting is */
	for (uint64 i = 0; i < merge->postings.count; i++)
	{
		HmMergeTid	posting = merge->postings.tids[i];

		if (posting.element >= merge->first)
			posting.element = merge->new_of_old[posting.element - merge->first];
		if (posting.element != HM_NO_ID)
			merge->postings.tids[kept++] = posting;
	}
	merge->postings.count = kept;
	if (merge->postings.count > 0)
		qsort(merge->postings.tids, merge->postings.count, sizeof(HmMergeTid), compare_postings);
	if (merge->tail.count > 0)
		qsort(merge->tail.tids, merge->tail.count, sizeof(HmMergeTid), compare_tail);

	if (merge->postings.count > UINT32_MAX || merge->tail.count > UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" would have more than %u rows with the same vectors as others, or without rankable ones",
						RelationGetRelationName(merge->index), UINT32_MAX),
				 errhint("Partition the table.")));
	part->posting_count = (uint32) merge->postings.count;
	part->tail_count = (uint32) merge->tail.count;
}

/* Counts the patches' slots, as they will be placed. */
static void
place_patches(HmMergeState *merge, const HmChange *changes, HmPartDesc *part)
{
	uint32		slots[2 * HM_MAX_M];
	uint64		next = 0;

	for (uint32 i = 0; i < part->patch_count; i++)
	{
		int			n = hm_overlay_read(merge->overlay, changes[i].id, (int) changes[i].level,
										merge->new_of_old, slots);

		next = hm_patch_offset(next, n) + n;
	}
	part->patch_slots = next;
}

static void
write_patches(HmMergeState *merge, HmPartWriter *writer, const HmChange *changes, uint32 count)
{
	uint32		slots[2 * HM_MAX_M];
	uint64		next = 0;

	for (uint32 i = 0; i < count; i++)
	{
		HmPatchKey	key = {.element = changes[i].id, .level = (uint16) changes[i].level};
		int			n = hm_overlay_read(merge->overlay, key.element, key.level,
										merge->new_of_old, slots);

		key.count = (uint16) n;
		key.offset = hm_patch_offset(next, key.count);
		next = key.offset + key.count;
		hm_part_write(writer, HM_ARRAY_PATCH_KEYS, &key);
	}
	for (uint32 i = 0; i < count; i++)
	{
		int			n = hm_overlay_read(merge->overlay, changes[i].id, (int) changes[i].level,
										merge->new_of_old, slots);

		hm_part_write_list(writer, slots, (uint32) n);
	}
}

static void
note_pages(HmMergeState *merge, const HmPartWriter *writer)
{
	uint32		done;
	uint32		total;

	hm_part_writer_progress(writer, &done, &total);
	if (done != merge->report->done)
		hm_merge_progress(merge, done);
}

static void
write_links(HmMergeState *merge, HmPartWriter *writer, const HmPartDesc *part)
{
	uint32		slots[2 * HM_MAX_M];

	for (int level = 0; level < HM_MAX_LEVELS; level++)
	{
		HmArray		array = level == 0 ? HM_ARRAY_LINKS : HM_ARRAY_UPPER;

		for (uint32 i = 0; i < part->level_count[level]; i++)
		{
			(void) hm_overlay_read(merge->overlay, merge->old_of_new[i], level,
								   merge->new_of_old, slots);
			hm_part_write(writer, array, slots);
			note_pages(merge, writer);
		}
	}
}

/* Copies of all elements: of stored ones from where they are, of new ones from the log. */
static void
write_copies(HmMergeState *merge, HmPartWriter *writer, const HmPartDesc *part)
{
	uint32		dim = merge->directory.meta.dim;
	uint16	   *copy = palloc(dim * sizeof(uint16));

	for (uint32 i = 0; i < part->element_count; i++)
	{
		uint32		id = merge->old_of_new[i];

		if (id >= merge->stored)
			hm_part_write(writer, HM_ARRAY_VECTORS,
						  merge->copies + (Size) merge->entry_of[id - merge->stored] * dim);
		else
		{
			uint8		flag;

			merge->source->copies(merge->source, &id, 1, copy, &flag);
			hm_part_write(writer, HM_ARRAY_VECTORS, copy);
		}
		note_pages(merge, writer);
	}
	pfree(copy);
}

/* Rows in the attached file, likewise. */
static void
write_rows(HmMergeState *merge, HmPartWriter *writer, const HmPartDesc *part)
{
	for (uint32 i = 0; i < part->element_count; i++)
	{
		uint32		id = merge->old_of_new[i];
		uint64		row = id >= merge->stored ?
			merge->entries[merge->entry_of[id - merge->stored]].row :
			hm_reader_row(&merge->reader, id);

		hm_part_write(writer, HM_ARRAY_ROWS, &row);
		note_pages(merge, writer);
	}
}

void
hm_merge_write(HmMergeState *merge, HmPartDesc *part)
{
	const HmMeta *meta = &merge->directory.meta;
	const HmChange *changes;
	HmPartWriter *writer;

	memset(part, 0, sizeof(HmPartDesc));
	part->first_element = merge->first;
	part->tombstone_block = InvalidBlockNumber;
	part->max_norm = merge->max_norm;
	number_elements(merge, part);
	changes = hm_overlay_changes(merge->overlay, &part->patch_count);
	if (changes == NULL && part->patch_count > 0)
		hm_merge_out_of_memory(merge);
	place_patches(merge, changes, part);

	hm_merge_enter(merge, HM_MERGE_WRITE, 0);
	writer = hm_part_writer_begin_reserved(merge->index, &merge->directory, part);
	hm_merge_enter(merge, HM_MERGE_WRITE, part->array_page[HM_ARRAYS]);

	write_links(merge, writer, part);
	for (uint32 i = 0; i < part->element_count; i++)
	{
		HmRef		ref = {merge->refs.tids[i].tid, merge->refs.tids[i].info};

		hm_part_write(writer, HM_ARRAY_REFS, &ref);
	}
	for (uint32 i = 0; i < part->posting_count; i++)
	{
		HmPosting	posting = {merge->postings.tids[i].element, merge->postings.tids[i].tid, 0};

		hm_part_write(writer, HM_ARRAY_POSTINGS, &posting);
	}
	for (uint32 i = 0; i < part->tail_count; i++)
	{
		HmTailEntry entry = {merge->tail.tids[i].tid, merge->tail.tids[i].info};

		hm_part_write(writer, HM_ARRAY_TAIL, &entry);
	}
	if (hm_has_rows(meta))
		write_rows(merge, writer, part);
	write_patches(merge, writer, changes, part->patch_count);
	if (meta->vectors == HM_VECTORS_FP16)
		write_copies(merge, writer, part);
	hm_part_writer_end(writer);
	merge->report->blocks_written += part->array_page[HM_ARRAYS];
}

/* Which entries of the merged log have been blanked: a bit each. */
typedef struct BlankState
{
	uint64	   *bits;
	uint64		count;
	uint64		ordinal;
} BlankState;

static void
note_blank(void *argument, const HmLogEntry *entry, const uint16 *copy)
{
	BlankState *state = argument;

	if (entry->kind == HM_LOG_BLANK && state->ordinal < state->count)
		state->bits[state->ordinal / 64] |= UINT64CONST(1) << (state->ordinal % 64);
	state->ordinal++;
}

/* Finds out which TIDs of the new part have died since they were read. */
static uint64
collect_dead(HmMergeState *merge, const HmDirectory *now, const HmPartDesc *part, uint64 *dead)
{
	const HmMergeTids *arrays[] = {&merge->refs, &merge->postings, &merge->tail};
	const uint64 *tombstones[HM_MAX_PARTS] = {NULL};
	BlankState	blanks = {.count = merge->log_entries};
	uint64		dead_count = 0;
	uint64		bit = 0;

	blanks.bits = palloc0((merge->log_entries / 64 + 1) * sizeof(uint64));
	hm_log_scan_sealed(merge->index, &merge->directory, &merge->seal, note_blank, &blanks);
	for (int i = merge->first_part; i < (int) now->meta.part_count; i++)
		tombstones[i] = hm_tombstones_reload(merge->index, now, &now->meta.parts[i]);

	for (int array = 0; array < lengthof(arrays); array++)
	{
		for (uint64 i = 0; i < arrays[array]->count; i++, bit++)
		{
			const HmMergeTid *tid = &arrays[array]->tids[i];
			const uint64 *bits = tid->part == HM_FROM_LOG ? blanks.bits : tombstones[tid->part];

			if (hm_tombstone_is_set(bits, tid->bit))
				dead[dead_count++] = bit;
		}
	}
	for (int i = merge->first_part; i < (int) now->meta.part_count; i++)
		hm_tombstones_release(tombstones[i]);
	return dead_count;
}

/* Changes the locked directory. */
static void
switch_directory(HmMergeState *merge, HmMeta *meta, const HmPartDesc *part)
{
	for (int i = merge->first_part; i < (int) meta->part_count; i++)
		hm_space_set_part(meta, &meta->parts[i], HM_SPACE_RETIRED);
	memset(&meta->parts[merge->first_part], 0,
		   (HM_MAX_PARTS - merge->first_part) * sizeof(HmPartDesc));
	meta->part_count = merge->first_part;

	if (part->array_page[HM_ARRAYS] > 0)
	{
		hm_space_claim_part(meta, part);
		meta->parts[meta->part_count++] = *part;
	}
	meta->entry_point = HM_NO_ID;
	if (hm_element_count(meta) > 0)
	{
		meta->entry_point = hm_overlay_entry(merge->overlay, merge->new_of_old);

		/* only dead ones are left: one of the highest level all the same */
		if (meta->entry_point >= hm_element_count(meta))
			meta->entry_point = merge->first > 0 ? merge->reader.store.entry_point : 0;
	}

	for (uint32 i = 0; i < merge->seal.count; i++)
		hm_space_set(meta, merge->seal.ranges[i].block, merge->seal.ranges[i].pages,
					 HM_SPACE_RETIRED);
	if (merge->seal.next_head != InvalidBlockNumber)
	{
		meta->log_head = merge->seal.next_head;
		meta->log_head_sequence = merge->seal.next_sequence;
	}
	meta->tombstone_version++;
	meta->merges++;
}

/* Waits until VACUUM is not looking at the index. */
static void
wait_to_publish(HmMergeState *merge)
{
	while (!hm_publish_lock(merge->index, false))
	{
		(void) WaitLatch(MyLatch, WL_LATCH_SET | WL_TIMEOUT | WL_EXIT_ON_PM_DEATH,
						 PUBLISH_POLL, PG_WAIT_EXTENSION);
		ResetLatch(MyLatch);
		hm_merge_progress(merge, 0);
	}
}

void
hm_merge_publish(HmMergeState *merge, HmPartDesc *part)
{
	HmDirectory now;
	uint64	   *dead;
	uint64		dead_count;
	GenericXLogState *state;
	Buffer		buffer;
	HmMeta	   *meta;

	hm_merge_enter(merge, HM_MERGE_PUBLISH, 0);
	dead = MemoryContextAllocHuge(CurrentMemoryContext,
								  (HM_TOMBSTONE_COUNT(part) + 1) * sizeof(uint64));
	wait_to_publish(merge);
	HM_TEST_POINT("merge-publishing");
	hm_directory_read(merge->index, &now);
	dead_count = collect_dead(merge, &now, part, dead);
	if (dead_count > 0)
	{
		BlockNumber first = hm_tombstones_create(merge->index, &now, part);

		hm_tombstones_write(merge->index, &now, part, first, dead, dead_count);
		part->tombstone_block = first;
		part->dead_count = (uint32) dead_count;
	}

	HM_TEST_POINT("merge-switching");
	state = GenericXLogStart(merge->index);
	meta = hm_meta_update(merge->index, state, &buffer);
	switch_directory(merge, meta, part);
	hm_meta_finish(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);

	HM_TEST_POINT("merge-switched");
	hm_space_stamp(merge->index);
	hm_publish_unlock(merge->index);
}
