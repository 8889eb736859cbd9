/*-------------------------------------------------------------------------
 *
 * build_write.c
 *	  Last phase of a build: the part, in the order of the stored numbers.
 *
 * Entries are gathered from the scratch files in batches, under the guard,
 * into memory of this process, and handed to the part writer from there: the
 * writer raises errors and takes locks, which a guarded call must not.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/progress.h"
#include "index/build_state.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/part.h"
#include "storage/testpoint.h"

#define BATCH_BYTES		(256 * 1024)
#define COUNT_STEP		1048576 /* entries between looks for interrupts */

typedef struct WriteState
{
	HmBuildState *build;
	HmPartWriter *writer;
	HmScratch  *sorted;			/* HmPosting, by stored number; NULL if there are none */
	HmScratch  *tail;			/* HmTailEntry, by kind; NULL if there are none */
	char	   *batch;			/* at least BATCH_BYTES */

	/* what gather_step copies: entries first .. first + count - 1 */
	HmArray		array;
	int			level;			/* UPPER: of the lists */
	uint32		entry_size;
	uint32		first;
	uint32		count;
} WriteState;

/* Copies one batch of an array's entries out of the scratch files. */
static void
gather_step(void *argument)
{
	WriteState *write = argument;
	HmBuildState *build = write->build;
	const uint32 *new_of_old = build->new_of_old ? (uint32 *) build->new_of_old->base : NULL;
	const uint32 *old_of_new = build->old_of_new ? (uint32 *) build->old_of_new->base : NULL;
	char	   *to = write->batch;

	for (uint32 i = write->first; i < write->first + write->count; i++, to += write->entry_size)
	{
		switch (write->array)
		{
			case HM_ARRAY_LINKS:
			case HM_ARRAY_UPPER:
				hm_build_links(build->graph, old_of_new[i], write->level, new_of_old, (uint32 *) to);
				break;
			case HM_ARRAY_REFS:
				*(HmRef *) to = ((HmBuildRow *) build->rows->base)[old_of_new[i]].ref;
				break;
			case HM_ARRAY_POSTINGS:
				*(HmPosting *) to = ((HmPosting *) write->sorted->base)[i];
				break;
			case HM_ARRAY_TAIL:
				*(HmTailEntry *) to = ((HmTailEntry *) write->tail->base)[i];
				break;
			case HM_ARRAY_ROWS:
				*(uint64 *) to = ((HmBuildRow *) build->rows->base)[old_of_new[i]].row;
				break;
			case HM_ARRAY_VECTORS:
				memcpy(to, build->copies->base + (size_t) old_of_new[i] * write->entry_size,
					   write->entry_size);
				break;
			default:
				break;
		}
	}
}

/* Writes `count` entries of an array: for UPPER, the lists of one level. */
static void
write_entries(WriteState *write, HmArray array, int level, uint32 count)
{
	uint32		per_batch;

	write->array = array;
	write->level = level;
	write->entry_size = hm_array_entry_size(&write->build->meta, array);
	if (count == 0)
		return;
	per_batch = BATCH_BYTES / write->entry_size;

	for (write->first = 0; write->first < count; write->first += write->count)
	{
		uint32		done;
		uint32		total;

		write->count = Min(per_batch, count - write->first);
		hm_scratch_call(gather_step, write);
		for (uint32 i = 0; i < write->count; i++)
			hm_part_write(write->writer, array, write->batch + (size_t) i * write->entry_size);

		CHECK_FOR_INTERRUPTS();
		hm_part_writer_progress(write->writer, &done, &total);
		pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_DONE, done);
	}
}

/* Arguments of the steps of sort_postings. */
typedef struct SortCall
{
	HmBuildState *build;
	HmPosting  *sorted;
	uint32	   *place;			/* per stored number, see sort_postings */
	uint64		first;
	uint64		end;
} SortCall;

static void
count_step(void *argument)
{
	SortCall   *call = argument;
	const HmPosting *postings = (HmPosting *) call->build->postings->base;
	const uint32 *new_of_old = (uint32 *) call->build->new_of_old->base;

	for (uint64 i = call->first; i < call->end; i++)
		call->place[new_of_old[postings[i].element] + 1]++;
}

static void
sum_step(void *argument)
{
	SortCall   *call = argument;

	for (uint64 i = call->first; i < call->end; i++)
		call->place[i + 1] += call->place[i];
}

static void
place_step(void *argument)
{
	SortCall   *call = argument;
	const HmPosting *postings = (HmPosting *) call->build->postings->base;
	const uint32 *new_of_old = (uint32 *) call->build->new_of_old->base;

	for (uint64 i = call->first; i < call->end; i++)
	{
		uint32		element = new_of_old[postings[i].element];
		HmPosting  *posting = &call->sorted[call->place[element]++];

		*posting = postings[i];
		posting->element = element;
	}
}

/* Runs a step over 0 .. count - 1. */
static void
run_steps(SortCall *call, void (*step) (void *), uint64 count)
{
	for (call->first = 0; call->first < count; call->first = call->end)
	{
		call->end = Min(call->first + COUNT_STEP, count);
		hm_scratch_call(step, call);
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Renames the postings' elements and sorts by them, keeping the order of the
 * scan within an element.  A counting sort: linear, however many rows repeat
 * one vector.  place[e] becomes where the next posting of e goes.
 */
static HmScratch *
sort_postings(HmBuildState *build)
{
	HmScratch  *sorted = hm_scratch_create(build->scratch);
	HmScratch  *place = hm_scratch_create(build->scratch);
	SortCall	call = {.build = build};

	hm_scratch_reserve(sorted, build->posting_count * (uint64) sizeof(HmPosting));
	hm_scratch_reserve(place, (build->element_count + UINT64CONST(1)) * sizeof(uint32));
	call.sorted = (HmPosting *) sorted->base;
	call.place = (uint32 *) place->base;

	run_steps(&call, count_step, build->posting_count);
	run_steps(&call, sum_step, build->element_count);
	run_steps(&call, place_step, build->posting_count);
	hm_scratch_close(place);
	return sorted;
}

/* Arguments of sort_tail_step. */
typedef struct TailCall
{
	const HmTailEntry *entries;
	HmTailEntry *sorted;
	HmTailKind	kind;			/* which are copied */
	uint32		count;			/* of entries */
	uint32		done;			/* copied so far */
} TailCall;

static void
sort_tail_step(void *argument)
{
	TailCall   *call = argument;

	for (uint32 i = 0; i < call->count; i++)
	{
		if (call->entries[i].kind == call->kind)
			call->sorted[call->done++] = call->entries[i];
	}
}

/* Sorts the tail as it is stored: WIDE, NAN, NULL; within a kind as scanned. */
static HmScratch *
sort_tail(HmBuildState *build)
{
	HmScratch  *sorted = hm_scratch_create(build->scratch);
	TailCall	call = {.count = build->tail_count};

	StaticAssertStmt(HM_TAIL_NULL == 1 && HM_TAIL_NAN == 2 && HM_TAIL_WIDE == 3,
					 "kinds are stored in descending order");

	hm_scratch_reserve(sorted, build->tail_count * (uint64) sizeof(HmTailEntry));
	call.entries = (const HmTailEntry *) build->tail->base;
	call.sorted = (HmTailEntry *) sorted->base;
	for (call.kind = HM_TAIL_WIDE; call.kind >= HM_TAIL_NULL; call.kind--)
	{
		hm_scratch_call(sort_tail_step, &call);
		CHECK_FOR_INTERRUPTS();
	}
	return sorted;
}

static void
write_part(HmBuildState *build, HmPartDesc *part)
{
	WriteState	write = {.build = build};
	uint32		done;
	uint32		total;

	part->part = build->meta.next_part;
	part->first_element = 0;
	part->element_count = build->element_count;
	part->posting_count = build->posting_count;
	part->tail_count = build->tail_count;
	memcpy(part->level_count, build->level_count, sizeof(part->level_count));
	part->max_norm = build->max_norm;

	if (build->posting_count > 0)
		write.sorted = sort_postings(build);
	if (build->tail_count > 0)
		write.tail = sort_tail(build);
	write.batch = palloc(BATCH_BYTES);
	write.writer = hm_part_writer_begin(build->index, build->incarnation, &build->meta, part);
	hm_part_writer_progress(write.writer, &done, &total);
	pgstat_progress_update_param(PROGRESS_SCAN_BLOCKS_TOTAL, total);

	write_entries(&write, HM_ARRAY_LINKS, 0, part->element_count);
	for (int level = 1; level < HM_MAX_LEVELS; level++)
		write_entries(&write, HM_ARRAY_UPPER, level, part->level_count[level]);
	write_entries(&write, HM_ARRAY_REFS, 0, part->element_count);
	write_entries(&write, HM_ARRAY_POSTINGS, 0, part->posting_count);
	write_entries(&write, HM_ARRAY_TAIL, 0, part->tail_count);
	if (hm_has_rows(&build->meta))
		write_entries(&write, HM_ARRAY_ROWS, 0, part->element_count);
	if (build->meta.vectors == HM_VECTORS_FP16)
		write_entries(&write, HM_ARRAY_VECTORS, 0, part->element_count);

	hm_part_writer_end(write.writer);
}

void
hm_build_write(HmBuildState *build)
{
	HmMeta	   *meta = &build->meta;

	hm_build_enter(build, HM_BUILD_WRITE, 0, 0);
	hm_storage_create(build->index, MAIN_FORKNUM, build->incarnation, meta);
	if (build->element_count == 0 && build->tail_count == 0)
		return;

	write_part(build, &meta->parts[0]);
	HM_TEST_POINT("build-publishing");
	meta->part_count = 1;
	meta->next_part++;
	meta->entry_point = build->element_count > 0 ? 0 : HM_NO_ID;
	meta->file_blocks = meta->parts[0].runs[0].block + HM_RUN_BLOCKS(meta->parts[0].runs[0].pages);
	hm_storage_publish(build->index, build->incarnation, meta);
}
