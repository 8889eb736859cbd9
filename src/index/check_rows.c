/*-------------------------------------------------------------------------
 *
 * check_rows.c
 *	  Checks what an index says of rows: each TID once, and if asked for,
 *	  every row of the table there and rightly described.
 *
 * TIDs that are not known to be dead are sorted, each with its location: where
 * in the index it is.  Equal ones are then neighbours, and since the rows of
 * the table are sorted likewise, the comparison is a merge, and reads the table
 * in its own order.
 *
 * The same TID twice is normal while VACUUM works: its row died and was
 * tombstoned (or its log entry blanked) after that was read, and a new row took
 * the place before the end of the log was read.  A tombstone is never taken
 * back, nor a blank entry filled.  So both are looked at again: if both are
 * alive then, both were when the second was first read, which is damage.
 *
 * Lost rows.  The snapshot is older than everything that was read.  A row that
 * it sees was in the index before, and its TID is not given to another row, nor
 * tombstoned, while somebody may see it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "catalog/index.h"
#include "index/attached.h"
#include "index/check_state.h"
#include "index/element.h"
#include "index/options.h"
#include "miscadmin.h"
#include "storage/error.h"
#include "storage/part.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/*
 * Where an entry of the index is, in one word: the number of its part and its
 * tombstone bit there; or LOCATION_LOG, page in the chain and slot.
 */
#define LOCATION_SHIFT	48
#define LOCATION_LOG	HM_MAX_PARTS
#define LOG_SLOT_BITS	16

typedef struct Location
{
	uint32		part;			/* or LOCATION_LOG */
	uint64		bit;			/* unless in the log */
	uint32		page;			/* in the log */
	uint32		slot;
} Location;

/* What an entry says of its row. */
typedef struct Description
{
	int			kind;			/* HM_LOG_VECTOR, an HmTailKind, or HM_LOG_BLANK */
	uint16		fingerprint;	/* HM_LOG_VECTOR */
	bool		has_copy;
	const char *wrong_row;		/* what is wrong with the row of the attached file; or NULL */
	float		norm;			/* log only: of the vector; else negative */
	float		max_norm;		/* elements only: not to be exceeded; else infinite */
} Description;

/* Working memory of the comparison with the table. */
typedef struct Comparison
{
	const HmOpclass *opclass;
	HmFile	   *file;			/* that the column refers to, or NULL */
	HmSorter   *rows;			/* TIDs of the rows that the index should have */
	float	   *floats;			/* dim values each */
	uint16	   *stored;
	uint16	   *made;
} Comparison;

static const char other_row[] = "but the index refers to a row of the file with another vector";

/* A TID as a number of the same order: 48 bits, which a double holds exactly. */
static double
tid_to_key(const ItemPointerData *tid)
{
	return (double) (((uint64) ItemPointerGetBlockNumberNoCheck(tid) << 16) |
					 ItemPointerGetOffsetNumberNoCheck(tid));
}

static ItemPointerData
key_to_tid(double key)
{
	uint64		number = (uint64) key;
	ItemPointerData tid;

	ItemPointerSet(&tid, (BlockNumber) (number >> 16), (OffsetNumber) (number & 0xFFFF));
	return tid;
}

static Location
location_decode(int64 code)
{
	Location	location = {.part = (uint32) (code >> LOCATION_SHIFT)};
	uint64		rest = code & ((UINT64CONST(1) << LOCATION_SHIFT) - 1);

	if (location.part == LOCATION_LOG)
	{
		location.page = (uint32) (rest >> LOG_SLOT_BITS);
		location.slot = (uint32) (rest & ((1 << LOG_SLOT_BITS) - 1));
	}
	else
		location.bit = rest;
	return location;
}

void
hm_check_tid(HmCheck *check, const ItemPointerData *tid, BlockNumber block)
{
	if (!OffsetNumberIsValid(ItemPointerGetOffsetNumberNoCheck(tid)) ||
		!BlockNumberIsValid(ItemPointerGetBlockNumberNoCheck(tid)))
		hm_corrupt(check->index, block, "It refers to item %u in block %u, which no table can have.",
				   ItemPointerGetOffsetNumberNoCheck(tid), ItemPointerGetBlockNumberNoCheck(tid));
}

void
hm_check_note_log_tid(HmCheck *check, const ItemPointerData *tid, uint32 page, uint32 slot)
{
	uint64		code = ((uint64) LOCATION_LOG << LOCATION_SHIFT) | ((uint64) page << LOG_SLOT_BITS) | slot;

	hm_row_check(&check->fetcher, tid);
	hm_sorter_put(check->entries, tid_to_key(tid), (int64) code);
}

/* Notes a TID of a part unless it is dead; true if it is not. */
static bool
note_tid(HmCheck *check, uint32 part, uint64 bit, const ItemPointerData *tid, BlockNumber block)
{
	hm_check_tid(check, tid, block);
	if (hm_check_is_dead(&check->parts[part], bit))
		return false;
	hm_row_check(&check->fetcher, tid);
	hm_sorter_put(check->entries, tid_to_key(tid),
				  (int64) (((uint64) part << LOCATION_SHIFT) | bit));
	return true;
}

static void
note_live(HmCheck *check, uint32 element)
{
	check->live[element / 64] |= UINT64CONST(1) << (element % 64);
}

static void
check_part_tids(HmCheck *check, uint32 part)
{
	const HmPartDesc *desc = check->parts[part].desc;
	uint32		last_element = 0;
	uint16		last_kind = HM_TAIL_WIDE;
	uint64		bit = 0;

	for (uint32 i = 0; i < desc->element_count; i++, bit++)
	{
		const HmRef *ref = hm_check_entry(check, part, HM_ARRAY_REFS, i);

		if (note_tid(check, part, bit, &ref->tid, hm_check_entry_block(check, part, HM_ARRAY_REFS, i)))
			note_live(check, desc->first_element + i);
	}

	for (uint32 i = 0; i < desc->posting_count; i++, bit++)
	{
		const HmPosting *posting = hm_check_entry(check, part, HM_ARRAY_POSTINGS, i);
		BlockNumber block = hm_check_entry_block(check, part, HM_ARRAY_POSTINGS, i);

		if (posting->element >= desc->first_element + desc->element_count)
			hm_corrupt(check->index, block, "Part %u has a further row of element %u, which is none of its or an older part.",
					   desc->part, posting->element);
		if (posting->element < last_element)
			hm_corrupt(check->index, block, "Part %u has a further row of element %u after one of element %u.",
					   desc->part, posting->element, last_element);
		last_element = posting->element;
		if (note_tid(check, part, bit, &posting->tid, block))
			note_live(check, posting->element);
	}

	for (uint32 i = 0; i < desc->tail_count; i++, bit++)
	{
		const HmTailEntry *entry = hm_check_entry(check, part, HM_ARRAY_TAIL, i);
		BlockNumber block = hm_check_entry_block(check, part, HM_ARRAY_TAIL, i);

		/* WIDE, NAN, NULL, which are numbered the other way round */
		if (entry->kind < HM_TAIL_NULL || entry->kind > last_kind)
			hm_corrupt(check->index, block, "Part %u has a row of kind %u after one of kind %u.",
					   desc->part, entry->kind, last_kind);
		last_kind = entry->kind;
		note_tid(check, part, bit, &entry->tid, block);
	}
}

void
hm_check_tids(HmCheck *check)
{
	check->live = MemoryContextAllocExtended(CurrentMemoryContext,
											 ((Size) check->elements / 64 + 1) * sizeof(uint64),
											 MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
	for (uint32 part = 0; part < check->directory.meta.part_count; part++)
		check_part_tids(check, part);
}

/* Whether an entry that was alive when it was read still is. */
static bool
is_still_live(HmCheck *check, int64 code)
{
	Location	location = location_decode(code);

	if (location.part != LOCATION_LOG)
		return hm_check_still_live(check, location.part, location.bit);
	return hm_check_log_entry(check, location.page, location.slot, NULL).kind != HM_LOG_BLANK;
}

/* Says where an entry is, for a message. */
static const char *
location_text(HmCheck *check, int64 code)
{
	Location	location = location_decode(code);
	const HmPartDesc *desc;

	if (location.part == LOCATION_LOG)
		return psprintf("entry %u of the log's block %u", location.slot, check->log_blocks[location.page]);
	desc = check->parts[location.part].desc;
	if (location.bit < desc->element_count)
		return psprintf("element " UINT64_FORMAT, desc->first_element + location.bit);
	location.bit -= desc->element_count;
	if (location.bit < desc->posting_count)
		return psprintf("further row " UINT64_FORMAT " of part %u", location.bit, desc->part);
	return psprintf("unranked row " UINT64_FORMAT " of part %u", location.bit - desc->posting_count, desc->part);
}

/* Reports that an entry does not fit its row. */
static void
mismatch(HmCheck *check, const ItemPointerData *tid, int64 code, const char *what)
{
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" does not fit row (%u,%u) of table \"%s\"",
					RelationGetRelationName(check->index),
					ItemPointerGetBlockNumberNoCheck(tid), ItemPointerGetOffsetNumberNoCheck(tid),
					RelationGetRelationName(check->heap)),
			 errdetail("It is %s, %s.", location_text(check, code), what),
			 errhint("Please REINDEX it.")));
}

/*
 * Looks again at two entries of one TID; returns the one that may still be
 * alive.  VACUUM marks the dead in what the directory names, so nothing can be
 * concluded on a standby from parts that have been replaced since.
 */
static int64
check_twice(HmCheck *check, double key, int64 first, int64 second)
{
	ItemPointerData tid = key_to_tid(key);

	if (!hm_check_is_current(check) || !is_still_live(check, first))
		return second;
	if (!is_still_live(check, second))
		return first;
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" has row (%u,%u) of table \"%s\" twice",
					RelationGetRelationName(check->index),
					ItemPointerGetBlockNumberNoCheck(&tid), ItemPointerGetOffsetNumberNoCheck(&tid),
					RelationGetRelationName(check->heap)),
			 errdetail("It is %s and %s.", location_text(check, first), location_text(check, second)),
			 errhint("Please REINDEX it.")));
}

/*
 * Makes the copy of an element's row of the attached file; or says what is
 * wrong with that row.
 */
static const char *
copy_file_row(HmCheck *check, Comparison *comparison, uint64 row)
{
	const HmMeta *meta = &check->directory.meta;
	HmVector	vector = {.dim = meta->dim, .kind = comparison->file->kind};
	void	   *components = palloc(hm_file_row_size(comparison->file));
	HmElement	element;

	if (row >= comparison->file->rows)
		return psprintf("but the index refers to row " UINT64_FORMAT " of the file, which has " UINT64_FORMAT,
						row, comparison->file->rows);
	vector.data = components;
	hm_file_read(comparison->file, row, components);
	element = hm_element_make(meta->metric, meta->scale, &vector, comparison->floats, comparison->stored);
	pfree(components);
	return element.kind == HM_LOG_VECTOR ? NULL : other_row;
}

/* What the index says of a row, with the copy that it keeps, if any. */
static Description
describe(HmCheck *check, Comparison *comparison, int64 code)
{
	const HmMeta *meta = &check->directory.meta;
	Location	location = location_decode(code);
	Description description = {.norm = -1, .max_norm = INFINITY};
	const HmPartDesc *desc;
	uint64		number = location.bit;
	uint32		element;
	uint32		part;

	if (location.part == LOCATION_LOG)
	{
		HmLogEntry	entry = hm_check_log_entry(check, location.page, location.slot, comparison->stored);

		description.kind = entry.kind;
		description.fingerprint = entry.fingerprint;
		description.has_copy = true;
		description.norm = entry.norm;
		return description;
	}

	desc = check->parts[location.part].desc;
	if (number >= (uint64) desc->element_count + desc->posting_count)
	{
		number -= (uint64) desc->element_count + desc->posting_count;
		description.kind = ((const HmTailEntry *) hm_check_entry(check, location.part, HM_ARRAY_TAIL, number))->kind;
		return description;
	}

	if (number < desc->element_count)
		element = desc->first_element + (uint32) number;
	else
		element = ((const HmPosting *) hm_check_entry(check, location.part, HM_ARRAY_POSTINGS,
													  number - desc->element_count))->element;
	part = hm_check_part_of(check, element);
	desc = check->parts[part].desc;
	number = element - desc->first_element;
	description.kind = HM_LOG_VECTOR;
	description.fingerprint = ((const HmRef *) hm_check_entry(check, part, HM_ARRAY_REFS, number))->fingerprint;
	description.max_norm = desc->max_norm;
	if (meta->vectors == HM_VECTORS_FP16)
	{
		hm_part_read(check->index, check->directory.incarnation, meta, desc, HM_ARRAY_VECTORS,
					 number, 1, comparison->stored);
		description.has_copy = true;
	}
	else if (comparison->file != NULL)
	{
		const uint64 *row = (const uint64 *) hm_check_entry(check, part, HM_ARRAY_ROWS, number);

		description.wrong_row = copy_file_row(check, comparison, *row);
		description.has_copy = description.wrong_row == NULL;
	}
	return description;
}

/* Half-precision numbers as integers of the same order. */
static int
half_to_int(uint16 half)
{
	return half & 0x8000 ? -(half & 0x7FFF) : half;
}

/*
 * Is a stored copy the one that this vector gives?  A vector that is normalised
 * is divided by a norm whose last bits depend on the processor: the index may
 * have been built on another.
 */
static bool
copies_agree(const HmMeta *meta, const uint16 *stored, const uint16 *made)
{
	int			tolerance = meta->metric == HM_COSINE ? 1 : 0;

	for (uint32 i = 0; i < meta->dim; i++)
	{
		if (abs(half_to_int(stored[i]) - half_to_int(made[i])) > tolerance)
			return false;
	}
	return true;
}

/* How a row with a vector differs from its description; NULL: it does not. */
static const char *
compare_vector(HmCheck *check, Comparison *comparison, const Description *description,
			   const HmVector *vector)
{
	const HmMeta *meta = &check->directory.meta;
	float		rounding;		/* relative, of a norm: see simd/simd.h */
	HmElement	element;

	if (vector->dim != meta->dim)
		return psprintf("but its vector has %d dimensions", vector->dim);
	rounding = (float) ldexp(vector->dim + 3, -23);
	element = hm_element_make(meta->metric, meta->scale, vector, comparison->floats, comparison->made);
	if (description->kind != element.kind)
		return element.kind == HM_LOG_VECTOR ? "but its vector can be ranked" :
			element.kind == HM_TAIL_NAN ? "but its vector has no distance" :
			"but its vector is too large or too small to be ranked";
	if (element.kind != HM_LOG_VECTOR)
		return NULL;
	if (description->fingerprint != element.fingerprint)
		return "but its vector is another";
	if (description->wrong_row != NULL)
		return description->wrong_row;
	if (description->has_copy && !copies_agree(meta, comparison->stored, comparison->made))
		return comparison->file == NULL ? "but the index keeps a copy of another vector" : other_row;
	if (element.norm > description->max_norm * (1 + rounding))
		return psprintf("but its norm, %g, is greater than the largest of its part, %g",
						element.norm, description->max_norm);
	if (description->norm >= 0 && fabsf(element.norm - description->norm) > element.norm * rounding)
		return psprintf("but its norm is %g, not %g", element.norm, description->norm);
	return NULL;
}

/*
 * Compares an entry with the row that the snapshot sees at its TID.
 * expected: whether the table has such a row that belongs into the index.
 */
static void
compare_row(HmCheck *check, Comparison *comparison, double key, int64 code, bool expected)
{
	ItemPointerData tid = key_to_tid(key);
	Description description;
	const char *difference = NULL;
	Datum		value;
	bool		isnull;

	if (!hm_row_fetch(&check->fetcher, &tid, &value, &isnull))
	{
		if (expected)
			mismatch(check, &tid, code, "but an index scan does not find it");
		return;
	}
	if (!expected)
		mismatch(check, &tid, code, "but does not belong in the index");

	description = describe(check, comparison, code);
	if (description.kind == HM_LOG_BLANK)
		difference = "which was taken for dead";
	else if (isnull)
	{
		if (description.kind != HM_TAIL_NULL)
			difference = "but its vector is null";
	}
	else if (description.kind == HM_TAIL_NULL)
		difference = "but its vector is not null";

	/* Of a wide row nothing is kept: every scan computes its distance. */
	else if (description.kind != HM_TAIL_WIDE)
	{
		MemoryContext old = MemoryContextSwitchTo(check->fetcher.context);
		void	   *copied;
		HmVector	vector = comparison->opclass->type->view(value, &copied);

		difference = compare_vector(check, comparison, &description, &vector);
		MemoryContextSwitchTo(old);
	}
	if (difference != NULL)
		mismatch(check, &tid, code, difference);
	check->report->table_rows++;
}

static void
lost_row(HmCheck *check, double key)
{
	ItemPointerData tid = key_to_tid(key);

	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" lacks row (%u,%u) of table \"%s\"",
					RelationGetRelationName(check->index),
					ItemPointerGetBlockNumberNoCheck(&tid), ItemPointerGetOffsetNumberNoCheck(&tid),
					RelationGetRelationName(check->heap)),
			 errhint("Please REINDEX it.")));
}

/*
 * Elements whose rows are all dead have been compared with nothing, and are
 * walked through by queries like others: their rows of the file must be there.
 */
static void
check_file_rows(HmCheck *check, const HmFile *file)
{
	if (file == NULL || !hm_has_rows(&check->directory.meta))
		return;
	for (uint32 part = 0; part < check->directory.meta.part_count; part++)
	{
		const HmPartDesc *desc = check->parts[part].desc;

		for (uint32 i = 0; i < desc->element_count; i++)
		{
			uint64		row = *(const uint64 *) hm_check_entry(check, part, HM_ARRAY_ROWS, i);

			if (row >= file->rows)
				hm_corrupt(check->index, hm_check_entry_block(check, part, HM_ARRAY_ROWS, i),
						   "Element %u is row " UINT64_FORMAT " of the file, which has " UINT64_FORMAT ".",
						   desc->first_element + i, row, file->rows);
		}
	}
}

/* An IndexBuildCallback: the row's TID, the root of its HOT chain. */
static void
collect_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *state)
{
	hm_sorter_put(state, tid_to_key(tid), 0);
}

/* Sorts the TIDs of the rows that the snapshot sees and the index should have. */
static void
collect_rows(HmCheck *check, Comparison *comparison)
{
	IndexInfo  *info = BuildIndexInfo(check->index);
	TableScanDesc scan = table_beginscan_strat(check->heap, check->snapshot, 0, NULL, true, true);

	/* As for CREATE INDEX CONCURRENTLY, whose rows are those that a snapshot sees. */
	info->ii_Concurrent = true;
	info->ii_Unique = false;
	comparison->rows = hm_sorter_begin();
	table_index_build_scan(check->heap, check->index, info, true, false, collect_row,
						   comparison->rows, scan);
	hm_sorter_sort(comparison->rows);
}

void
hm_check_rows(HmCheck *check)
{
	uint32		dim = check->directory.meta.dim;
	Comparison	comparison = {.opclass = hm_opclass(check->index)};
	bool		more_rows = false;
	double		row = -1;
	double		key;
	double		last_key = -1;
	int64		code;
	int64		last_code = 0;
	bool		matched = false;
	int64		unused;

	if (check->full)
	{
		comparison.floats = palloc(dim * sizeof(float));
		comparison.stored = palloc(dim * sizeof(uint16));
		comparison.made = palloc(dim * sizeof(uint16));
		comparison.file = hm_attached_file(check->index, comparison.opclass, &check->directory.meta);
		collect_rows(check, &comparison);
		more_rows = hm_sorter_next(comparison.rows, &row, &unused);
	}

	hm_sorter_sort(check->entries);
	while (hm_sorter_next(check->entries, &key, &code))
	{
		CHECK_FOR_INTERRUPTS();
		if (key == last_key)
			last_code = check_twice(check, key, last_code, code);
		else
		{
			matched = false;
			last_key = key;
			last_code = code;
		}
		if (!check->full)
			continue;

		if (more_rows && row < key)
			lost_row(check, row);
		if (more_rows && row == key)
		{
			matched = true;
			more_rows = hm_sorter_next(comparison.rows, &row, &unused);
		}
		compare_row(check, &comparison, key, code, matched);
	}
	if (more_rows)
		lost_row(check, row);
	if (check->full)
	{
		hm_sorter_end(comparison.rows);
		check_file_rows(check, comparison.file);
	}
}
