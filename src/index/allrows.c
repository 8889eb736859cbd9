/*-------------------------------------------------------------------------
 *
 * allrows.c
 *	  Every TID of an index, in stages.
 *
 * Arrays are read through shared buffers in sequence, a buffer at a time.  A
 * stage goes through all parts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/allrows.h"
#include "miscadmin.h"
#include "storage/part.h"

#define BUFFER_ENTRIES	512
#define MAX_ENTRY_SIZE	sizeof(HmPosting)

StaticAssertDecl(sizeof(HmRef) <= MAX_ENTRY_SIZE && sizeof(HmTailEntry) <= MAX_ENTRY_SIZE,
				 "the buffer fits entries of any array");

void
hm_all_rows_begin(HmAllRows *all, HmReader *reader, const HmLogRows *log, HmAllRowsStage stage)
{
	memset(all, 0, sizeof(HmAllRows));
	all->reader = reader;
	all->log = log;
	all->stage = stage;
	all->buffer_part = -1;
	all->buffer = palloc(BUFFER_ENTRIES * MAX_ENTRY_SIZE);
}

/* Entry `number` of the present part's array, or NULL behind its end. */
static const void *
array_entry(HmAllRows *all, HmArray array, uint64 number)
{
	const HmReader *reader = all->reader;
	const HmMeta *meta = &reader->directory->meta;
	const HmPartDesc *part = reader->parts[all->part].desc;
	uint64		count = hm_array_entry_count(meta, part, array);

	if (number >= count)
		return NULL;
	if (all->buffer_part != all->part || all->array != array ||
		number < all->buffer_first || number >= all->buffer_first + all->buffer_count)
	{
		CHECK_FOR_INTERRUPTS();
		all->buffer_part = -1;
		all->array = array;
		all->buffer_first = number;
		all->buffer_count = Min(BUFFER_ENTRIES, count - number);
		hm_part_read(reader->index, reader->directory->incarnation, meta, part,
					 array, number, all->buffer_count, all->buffer);
		all->buffer_part = all->part;
	}
	return all->buffer + (number - all->buffer_first) * hm_array_entry_size(meta, array);
}

static void
next_stage(HmAllRows *all)
{
	all->stage++;
	all->part = 0;
	all->position = 0;
}

/* The next live TID of the log with that kind. */
static bool
next_of_log(HmAllRows *all, int kind, ItemPointer tid)
{
	while (all->position < all->log->count)
	{
		const HmLogRow *row = &all->log->rows[all->position++];

		if (row->kind == kind)
		{
			*tid = row->tid;
			return true;
		}
	}
	return false;
}

/* The next live TID of the part's tail, which is sorted by kind, with that kind. */
static bool
next_of_tail(HmAllRows *all, int kind, ItemPointer tid)
{
	uint64	   *position = &all->tail_position[all->part];
	const HmTailEntry *entry;

	while ((entry = array_entry(all, HM_ARRAY_TAIL, *position)) != NULL)
	{
		/* a stage that is skipped is passed over; the last takes what is left */
		if (entry->kind < kind && kind != HM_TAIL_NULL)
			return false;
		(*position)++;
		if (entry->kind > kind && kind != HM_TAIL_NULL)
			continue;
		if (!hm_reader_tail_is_dead(all->reader, all->part, (uint32) (*position - 1)))
		{
			*tid = entry->tid;
			return true;
		}
	}
	return false;
}

static bool
next_of_refs(HmAllRows *all, ItemPointer tid)
{
	uint32		first = all->reader->parts[all->part].desc->first_element;
	const HmRef *ref;

	while ((ref = array_entry(all, HM_ARRAY_REFS, all->position)) != NULL)
	{
		all->position++;
		if (!hm_reader_ref_is_dead(all->reader, first + (uint32) (all->position - 1)))
		{
			*tid = ref->tid;
			return true;
		}
	}
	return false;
}

static bool
next_of_postings(HmAllRows *all, ItemPointer tid)
{
	const HmPosting *posting;

	while ((posting = array_entry(all, HM_ARRAY_POSTINGS, all->position)) != NULL)
	{
		all->position++;
		if (!hm_reader_posting_is_dead(all->reader, all->part, (uint32) (all->position - 1)))
		{
			*tid = posting->tid;
			return true;
		}
	}
	return false;
}

/* The next live TID of a stage that reads an array: by `next`, from part to part. */
static bool
next_of_parts(HmAllRows *all, bool (*next) (HmAllRows *all, ItemPointer tid), ItemPointer tid)
{
	for (; all->part < all->reader->part_count; all->part++, all->position = 0)
	{
		if (next(all, tid))
			return true;
	}
	return false;
}

static bool
next_wide(HmAllRows *all, ItemPointer tid)
{
	return next_of_tail(all, HM_TAIL_WIDE, tid);
}

static bool
next_nan(HmAllRows *all, ItemPointer tid)
{
	return next_of_tail(all, HM_TAIL_NAN, tid);
}

static bool
next_null(HmAllRows *all, ItemPointer tid)
{
	return next_of_tail(all, HM_TAIL_NULL, tid);
}

bool
hm_all_rows_next(HmAllRows *all, HmAllRowsStage last, ItemPointer tid)
{
	for (; all->stage <= last; next_stage(all))
	{
		bool		found = false;

		switch (all->stage)
		{
			case HM_STAGE_REFS:
				found = next_of_parts(all, next_of_refs, tid);
				break;
			case HM_STAGE_POSTINGS:
				found = next_of_parts(all, next_of_postings, tid);
				break;
			case HM_STAGE_LOG_VECTOR:
				found = next_of_log(all, HM_LOG_VECTOR, tid);
				break;
			case HM_STAGE_TAIL_WIDE:
				found = next_of_parts(all, next_wide, tid);
				break;
			case HM_STAGE_LOG_WIDE:
				found = next_of_log(all, HM_TAIL_WIDE, tid);
				break;
			case HM_STAGE_TAIL_NAN:
				found = next_of_parts(all, next_nan, tid);
				break;
			case HM_STAGE_LOG_NAN:
				found = next_of_log(all, HM_TAIL_NAN, tid);
				break;
			case HM_STAGE_TAIL_NULL:
				found = next_of_parts(all, next_null, tid);
				break;
			case HM_STAGE_LOG_NULL:
				found = next_of_log(all, HM_TAIL_NULL, tid);
				break;
			case HM_STAGE_END:
				return false;
		}
		if (found)
			return true;
	}
	return false;
}
