/*-------------------------------------------------------------------------
 *
 * merge.c
 *	  Merging: the log becomes part of the graph, parts become fewer.
 *
 * A merge goes through these steps:
 *
 *		recycle		what earlier merges retired is freed, if nobody can be
 *					reading it any more (storage/space.h)
 *		seal		the log goes on with a new page, so that the pages before it
 *					stand still
 *		choose		which parts are replaced: the newest ones, as many as the
 *					policy says
 *		read		the log, and lists and TIDs of the parts that are replaced
 *		grow		the log's vectors are inserted; where elements of the
 *					replaced parts died, those who had links to them choose
 *					anew; what cannot be reached is linked
 *		write		one new part
 *		publish		one record switches the directory
 *
 * Every element is inserted, which takes a search, once in its life.  Replacing
 * a part means writing its lists and TIDs again, which takes none.
 *
 * Policy.  Three older parts of up to twice the rows of what is merged so far
 * are replaced together with it, and a part of up to half as many rows is in any
 * case; the oldest, the base, if all the rest has grown as large as it is, in
 * bytes: patches take several times the space of the elements that they were made
 * for, so that is at some 20 % growth.  So the number of parts is logarithmic, and
 * each element is written a logarithmic number of times, to the base of four:
 * to fold two at a time makes two thirds of the parts, and a third more WAL of
 * merges at a million rows.  When a tenth of the rows are tombstoned, everything is
 * merged into one part, and what is dead is dropped.  A merge that nobody asked
 * for by hand replaces no more than fits into memory (fits_memory).
 *
 * Concurrency.  One merge at a time (merge lock).  Scans and inserts go on;
 * VACUUM too, and only the publication waits for it.  A merge looks at rows
 * under the caller's snapshot, but only to find vectors: it takes in all
 * entries of the log, whatever their transactions come to.
 *
 * Stopping.  An error at any point leaves the directory as it was, but for a
 * sealed log and pending space, which the next merge takes up and frees.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "index/attached.h"
#include "index/index.h"
#include "index/merge_state.h"
#include "miscadmin.h"
#include "storage/bufmgr.h"
#include "storage/space.h"
#include "storage/testpoint.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define REPAIR_SHARE		10	/* repair and drop when 1/10 of the rows are dead */
#define SMALL_MERGE_FACTOR	4	/* and these fold parts up to so many times the log */
#define SIMILAR_PARTS		4	/* of about one size become one */
#define PATCHES_PER_ELEMENT	6	/* lists of older elements that an insertion changes */
#define SNAPSHOT_LIFE		30000	/* milliseconds after which a merge takes a new one */
#define BYTES_PER_ELEMENT	100 /* private memory of a merge, besides the list of level 0 */
#define LEAST_MEMORY		(UINT64CONST(1) << 30)	/* that any server has for a merge */
#define PROGRESS_STEP		64	/* steps between calls of the progress function */

/*
 * A long merge must not keep VACUUM from removing rows that died meanwhile:
 * exchanges the snapshot under which it looks at rows, which was pushed for it.
 */
static void
renew_snapshot(HmMergeState *merge)
{
	TimestampTz now = GetCurrentTimestamp();

	if (merge->mode == HM_MERGE_SMALL || merge->rows.fetch == NULL ||
		!TimestampDifferenceExceeds(merge->snapshot_taken, now, SNAPSHOT_LIFE))
		return;
	PopActiveSnapshot();
	PushActiveSnapshot(GetLatestSnapshot());
	merge->rows.snapshot = GetActiveSnapshot();
	merge->snapshot_taken = now;
}

void
hm_merge_progress(HmMergeState *merge, uint64 done)
{
	HmMergeReport *report = merge->report;
	bool		call = done == 0 || done / PROGRESS_STEP != report->done / PROGRESS_STEP;

	report->done = done;

	/* VACUUM may be waiting for the page of the row that was looked at last. */
	if (merge->rows.fetch != NULL)
		hm_row_let_go(&merge->rows);
	if (!call)
		return;
	CHECK_FOR_INTERRUPTS();
	renew_snapshot(merge);
	if (merge->progress != NULL)
		(void) merge->progress(report, merge->progress_state);
}

void
hm_merge_enter(HmMergeState *merge, HmMergePhase phase, uint64 total)
{
	merge->report->phase = phase;
	merge->report->total = total;
	hm_merge_progress(merge, 0);
}

void
hm_merge_out_of_memory(const HmMergeState *merge)
{
	ereport(ERROR,
			(errcode(ERRCODE_OUT_OF_MEMORY),
			 errmsg("out of memory"),
			 errdetail("Failed while merging index \"%s\".", RelationGetRelationName(merge->index))));
}

/*
 * Whether a merge that replaces the parts from one on may be made without
 * having been asked for: what it writes is in private memory.
 */
static bool
fits_memory(const HmMeta *meta, int first, uint64 entries)
{
	uint64		elements = hm_element_count(meta) - meta->parts[first].first_element + entries;
	uint64		bytes = elements * (2 * meta->m * sizeof(uint32) + BYTES_PER_ELEMENT);

	return bytes <= Max((uint64) maintenance_work_mem * 1024, LEAST_MEMORY);
}

static bool
many_are_dead(const HmMeta *meta)
{
	uint64		rows = 0;
	uint64		dead = 0;

	for (uint32 i = 0; i < meta->part_count; i++)
	{
		rows += HM_TOMBSTONE_COUNT(&meta->parts[i]);
		dead += meta->parts[i].dead_count;
	}
	return dead > 0 && dead >= rows / REPAIR_SHARE && fits_memory(meta, 0, 0);
}

bool
hm_merge_is_due(const HmDirectory *directory)
{
	return hm_log_length(&directory->meta) >= (uint64) hm_merge_log_entries ||
		many_are_dead(&directory->meta);
}

/* Bytes that a part takes, but for copies of vectors and page headers. */
static uint64
part_weight(const HmMeta *meta, const HmPartDesc *part)
{
	uint64		bytes = 0;

	for (int array = 0; array < HM_ARRAY_VECTORS; array++)
		bytes += hm_array_entry_count(meta, part, array) * hm_array_entry_size(meta, array);
	return bytes;
}

/* Bytes that the log will take as a part: elements, and lists of others for each. */
static uint64
log_weight(const HmMeta *meta, uint64 entries)
{
	uint64		element = 2 * meta->m * sizeof(uint32) + sizeof(HmRef);
	uint64		patches = PATCHES_PER_ELEMENT * (sizeof(HmPatchKey) + meta->m * sizeof(uint32));

	return entries * (element + patches);
}

/* Whether a part, and all newer ones, may be replaced without having been asked for. */
static bool
may_fold(const HmMergeState *merge, int part, uint64 entries)
{
	const HmMeta *meta = &merge->directory.meta;

	if (merge->mode == HM_MERGE_SMALL &&
		HM_TOMBSTONE_COUNT(&meta->parts[part]) > SMALL_MERGE_FACTOR * entries)
		return false;
	return fits_memory(meta, part, entries);
}

/*
 * How many parts older than number `first` are to be replaced together with
 * what has so many rows: one that is much smaller, or else none until there are
 * SIMILAR_PARTS of about one size, of which this is one.
 */
static int
parts_to_fold(const HmMergeState *merge, int first, uint64 rows)
{
	const HmMeta *meta = &merge->directory.meta;
	uint64		entries = merge->entry_count + merge->tail.count;
	int			n = 0;

	for (; first - n > 1; n++)
	{
		int			next = first - n - 1;
		uint64		next_rows = HM_TOMBSTONE_COUNT(&meta->parts[next]);

		if (next_rows > 2 * rows || !may_fold(merge, next, entries))
			break;
		if (n == 0 && 2 * next_rows <= rows)
			return 1;
	}
	return n >= SIMILAR_PARTS - 1 ? n : 0;
}

/* The oldest part that is replaced; part_count: none. */
static int
choose_first_part(const HmMergeState *merge)
{
	const HmMeta *meta = &merge->directory.meta;
	uint64		entries = merge->entry_count + merge->tail.count;
	uint64		weight = log_weight(meta, entries);
	uint64		rows = entries;
	int			first = (int) meta->part_count;
	int			fold;

	if (merge->mode == HM_MERGE_FULL ||
		(merge->mode == HM_MERGE_LOG && many_are_dead(meta)))
		return 0;

	while ((fold = parts_to_fold(merge, first, rows)) > 0)
	{
		for (; fold > 0; fold--)
		{
			first--;
			rows += HM_TOMBSTONE_COUNT(&meta->parts[first]);
		}
	}

	/* All that is newer than the base takes as much space. */
	for (uint32 part = 1; part < meta->part_count; part++)
		weight += part_weight(meta, &meta->parts[part]);
	if (meta->part_count > 0 && weight >= part_weight(meta, &meta->parts[0]) &&
		may_fold(merge, 0, entries))
		first = 0;

	/* The directory has no room for another part. */
	if (first == HM_MAX_PARTS)
		first = HM_MAX_PARTS - 1;
	return first;
}

/* Opens what the merge reads from. */
static void
open_sources(HmMergeState *merge)
{
	hm_reader_open(&merge->reader, merge->index, &merge->directory);
	merge->reader_open = true;
	hm_row_begin(&merge->rows, merge->index, merge->heap, GetActiveSnapshot(), NULL);
	if (merge->stored == 0)
		return;
	if (merge->directory.meta.vectors == HM_VECTORS_FP16)
		merge->source = hm_source_copies(&merge->reader, NULL, &merge->rows);
	else if (merge->file != NULL)
		merge->source = hm_source_file(&merge->reader, NULL, &merge->rows, merge->file);
	else
		merge->source = hm_source_heap(&merge->reader, NULL, &merge->rows,
									   merge->opclass->type, hm_heap_mmap);
}

/* The merge's part in the error or the end of it: what no memory context owns. */
static void
close_sources(void *argument)
{
	HmMergeState *merge = argument;

	if (merge->reader_open)
		hm_reader_close(&merge->reader);
	merge->reader_open = false;
}

/*
 * Queries in heap mode will read the rows of the new elements from the table's
 * file: writes those pages out.  What they miss they read through buffers.
 */
static void
flush_rows(HmMergeState *merge)
{
	BlockNumber last = InvalidBlockNumber;

	if (merge->directory.meta.vectors != HM_VECTORS_HEAP || merge->file != NULL ||
		RelationUsesLocalBuffers(merge->heap))
		return;
	for (uint32 i = 0; i < merge->entry_count; i++)
	{
		BlockNumber block = ItemPointerGetBlockNumberNoCheck(&merge->entries[i].tid);
		Buffer		buffer;

		if (block == last)
			continue;
		last = block;
		if (block >= merge->rows.heap_blocks && block >= RelationGetNumberOfBlocks(merge->heap))
			continue;
		buffer = ReadBuffer(merge->heap, block);
		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		FlushOneBuffer(buffer);
		UnlockReleaseBuffer(buffer);
		hm_merge_progress(merge, 0);
	}
}

/* True when the policy finds nothing worth a new part. */
static bool
nothing_to_do(const HmMergeState *merge)
{
	const HmMeta *meta = &merge->directory.meta;

	if (merge->log_entries > 0)
		return false;
	if (merge->mode == HM_MERGE_FULL)
	{
		uint64		dead = 0;

		for (uint32 i = 0; i < meta->part_count; i++)
			dead += meta->parts[i].dead_count;
		return dead == 0 && meta->part_count <= 1;
	}
	return merge->mode == HM_MERGE_SMALL || !many_are_dead(meta);
}

/*
 * Keeps the codes for this process's next merge of the index.  An inserter has
 * other things to do with its memory, and a merge of everything is seldom one
 * of many.
 */
static void
keep_codes(HmMergeState *merge)
{
	if (merge->codes == NULL || merge->mode != HM_MERGE_LOG)
		return;
	hm_directory_read(merge->index, &merge->directory);
	hm_codecache_keep(merge->codes, &merge->directory, merge->first, merge->new_of_old,
					  merge->overlay->store.element_count - merge->first);
	merge->codes = NULL;
}

static HmMergeResult
merge_locked(HmMergeState *merge)
{
	HmPartDesc	part;

	hm_merge_enter(merge, HM_MERGE_PREPARE, 0);
	HM_TEST_POINT("merge-locked");
	hm_space_recycle(merge->heap, merge->index, merge->mode == HM_MERGE_FULL);
	HM_TEST_POINT("merge-recycled");
	hm_directory_read(merge->index, &merge->directory);

	hm_log_seal(merge->index, &merge->directory, &merge->seal);
	HM_TEST_POINT("merge-sealed");
	merge->file = hm_attached_file(merge->index, merge->opclass, &merge->directory.meta);
	hm_merge_read_log(merge);
	if (nothing_to_do(merge))
		return HM_MERGE_NOTHING;

	merge->stored = hm_element_count(&merge->directory.meta);
	merge->first_part = choose_first_part(merge);
	merge->first = merge->first_part == (int) merge->directory.meta.part_count ? merge->stored :
		merge->directory.meta.parts[merge->first_part].first_element;
	merge->report->parts_folded = merge->directory.meta.part_count - merge->first_part;

	open_sources(merge);
	hm_merge_enter(merge, HM_MERGE_PREPARE, merge->stored - merge->first);
	hm_merge_read_parts(merge);
	HM_TEST_POINT("merge-read");
	hm_merge_grow(merge);
	HM_TEST_POINT("merge-grown");
	flush_rows(merge);
	hm_merge_write(merge, &part);
	HM_TEST_POINT("merge-written");
	hm_merge_publish(merge, &part);
	HM_TEST_POINT("merge-published");
	keep_codes(merge);

	/*
	 * Whoever maps the new pages now finds them in the file, instead of
	 * flushing them one by one.
	 */
	if (!RelationUsesLocalBuffers(merge->index))
		FlushRelationBuffers(merge->index);
	return HM_MERGE_DONE;
}

HmMergeResult
hm_merge(Relation heap, Relation index, HmMergeMode mode, bool wait, HmMergeReport *report,
		 bool (*progress) (const HmMergeReport *report, void *state), void *state)
{
	MemoryContext context;
	MemoryContext caller;
	MemoryContextCallback *cleanup;
	HmMergeState *merge;
	HmMergeResult result;

	/* what a merge reads is none of this session's last scan */
	HmScanStats last_scan = hm_last_scan;

	memset(report, 0, sizeof(HmMergeReport));
	if (!hm_merge_lock(index, wait))
		return HM_MERGE_BUSY;

	/* An inserter had better not wait for a VACUUM that is under way. */
	if (mode == HM_MERGE_SMALL)
	{
		if (!hm_publish_lock(index, false))
		{
			hm_merge_unlock(index);
			return HM_MERGE_BUSY;
		}
		hm_publish_unlock(index);
	}

	context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap merge", ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);
	merge = palloc0(sizeof(HmMergeState));
	merge->heap = heap;
	merge->index = index;
	merge->opclass = hm_opclass(index);
	merge->mode = mode;
	merge->report = report;
	merge->progress = progress;
	merge->progress_state = state;
	merge->snapshot_taken = GetCurrentTimestamp();
	cleanup = palloc0(sizeof(MemoryContextCallback));
	cleanup->func = close_sources;
	cleanup->arg = merge;
	MemoryContextRegisterResetCallback(context, cleanup);

	result = merge_locked(merge);

	close_sources(merge);
	hm_row_end(&merge->rows);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);

	/*
	 * On a standby the lock that truncation takes lasts until the transaction
	 * ends, so that had better be soon.
	 */
	if (mode != HM_MERGE_SMALL && !IsTransactionBlock())
		hm_space_truncate(index);
	hm_merge_unlock(index);
	hm_last_scan = last_scan;
	report->phase = HM_MERGE_IDLE;
	return result;
}
