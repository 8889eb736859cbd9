/*-------------------------------------------------------------------------
 *
 * check.c
 *	  Is an index whole?  The stages of a check, and the first of them: the
 *	  directory, the blocks of the file, the tombstones.
 *
 * Everything is read through shared buffers, each page verified by identity
 * and CRC, and nothing is trusted that has not been looked at: a list is
 * followed only after its links were found to be in range.
 *
 * What may change meanwhile.  The merge lock keeps parts as they are.  VACUUM
 * may set tombstones and blank entries of the log, inserters may add to the
 * log.  So a tombstone that is missing, or an entry that is not blank, proves
 * little: before anything is concluded from two of them, both are looked at
 * again (check_rows.c).  What the directory says of tombstones may be less
 * than is set, as VACUUM sets first and publishes then, and never more.
 *
 * On a standby there is no merge lock, and replay may publish a merge in the
 * middle of a check.  The parts and the log that the directory named remain
 * readable all the same: their blocks are used again only when no snapshot can
 * need them, and replay waits for ours, or cancels it, before that.
 *
 * Memory: three bits per element, four bytes per replaced list, a bit per row
 * where there are tombstones, and work_mem for each of two sorts.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/check_state.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/buffer.h"
#include "storage/bufmgr.h"
#include "storage/error.h"
#include "storage/page.h"
#include "storage/part.h"
#include "utils/memutils.h"

/* A range of blocks that the directory gives to something. */
typedef struct Claim
{
	BlockNumber block;
	uint64		blocks;
	const char *what;
} Claim;

#define MAX_CLAIMS	(1 + HM_MAX_PARTS * (HM_MAX_RUNS + 1) + HM_MAX_SPACES)

typedef struct Claims
{
	Claim		claims[MAX_CLAIMS];
	int			count;
} Claims;

const char *
hm_check_page(HmCheck *check, uint32 part, HmArray array, uint32 page)
{
	HmCheckPage *cached = &check->pages[array];

	if (cached->data != NULL && cached->part == part && cached->page == page)
		return cached->data;

	CHECK_FOR_INTERRUPTS();
	if (cached->data == NULL)
		cached->data = palloc(HM_PAGE_DATA);
	hm_part_read_page(check->index, check->directory.incarnation, check->parts[part].desc,
					  array, page, 0, HM_PAGE_DATA, cached->data);
	cached->part = part;
	cached->page = page;
	return cached->data;
}

const void *
hm_check_entry(HmCheck *check, uint32 part, HmArray array, uint64 number)
{
	uint32		size = hm_array_entry_size(&check->directory.meta, array);
	uint32		per_page = HM_PAGE_DATA / size;

	Assert(per_page > 0);
	return hm_check_page(check, part, array, (uint32) (number / per_page)) +
		number % per_page * size;
}

BlockNumber
hm_check_entry_block(const HmCheck *check, uint32 part, HmArray array, uint64 number)
{
	const HmPartDesc *desc = check->parts[part].desc;
	uint32		per_page = HM_PAGE_DATA / hm_array_entry_size(&check->directory.meta, array);

	return hm_part_block(desc, desc->array_page[array] + (uint32) (number / per_page));
}

uint32
hm_check_part_of(const HmCheck *check, uint32 element)
{
	uint32		part = check->directory.meta.part_count - 1;

	while (element < check->parts[part].desc->first_element)
		part--;
	return part;
}

/* What the parts say of each other, and of the entry point. */
static void
check_directory(HmCheck *check)
{
	const HmMeta *meta = &check->directory.meta;
	uint64		next_element = 0;
	int			top_level = -1;

	for (uint32 i = 0; i < meta->part_count; i++)
	{
		const HmPartDesc *part = &meta->parts[i];

		if (part->first_element != next_element)
			hm_corrupt(check->index, HM_META_BLOCK, "Part %u begins with element %u, not " UINT64_FORMAT ".",
					   part->part, part->first_element, next_element);
		next_element += part->element_count;
		if (next_element > HM_NO_ID)
			hm_corrupt(check->index, HM_META_BLOCK, "The parts have " UINT64_FORMAT " elements.", next_element);
		if (part->part >= meta->next_part)
			hm_corrupt(check->index, HM_META_BLOCK, "Part %u has an id that is still to be given.", part->part);
		for (uint32 j = 0; j < i; j++)
		{
			if (meta->parts[j].part == part->part)
				hm_corrupt(check->index, HM_META_BLOCK, "Two parts have the id %u.", part->part);
		}
		if (part->dead_count > HM_TOMBSTONE_COUNT(part))
			hm_corrupt(check->index, HM_META_BLOCK, "Part %u has " UINT64_FORMAT " rows, but %u tombstones.",
					   part->part, HM_TOMBSTONE_COUNT(part), part->dead_count);
		if (part->dead_count > 0 && part->tombstone_block == InvalidBlockNumber)
			hm_corrupt(check->index, HM_META_BLOCK, "Part %u has %u tombstones, but no pages for them.",
					   part->part, part->dead_count);
		for (int level = 0; level < HM_MAX_LEVELS && part->level_count[level] > 0; level++)
			top_level = Max(top_level, level);
	}

	check->elements = hm_element_count(meta);
	if (check->elements == 0)
	{
		if (meta->entry_point != HM_NO_ID)
			hm_corrupt(check->index, HM_META_BLOCK, "It has no elements, but the entry point %u.", meta->entry_point);
	}
	else if (meta->entry_point >= check->elements)
		hm_corrupt(check->index, HM_META_BLOCK, "The entry point is %u of %u elements.",
				   meta->entry_point, check->elements);
	else
	{
		const HmPartDesc *part = check->parts[hm_check_part_of(check, meta->entry_point)].desc;

		if (meta->entry_point - part->first_element >= part->level_count[top_level])
			hm_corrupt(check->index, HM_META_BLOCK, "The entry point %u is not on level %d, the highest.",
					   meta->entry_point, top_level);
	}
	check->report->levels = top_level + 1;
}

/* Notes who has some blocks, the rest of their last run included; returns how many. */
static uint64
claim(HmCheck *check, Claims *claims, BlockNumber block, uint64 pages, const char *what)
{
	Claim	   *new = &claims->claims[claims->count++];

	Assert(claims->count <= MAX_CLAIMS);
	if (block % HM_RUN_ALIGNMENT != 0)
		hm_corrupt(check->index, HM_META_BLOCK, "Blocks from %u on, %s, do not begin a run.", block, what);
	new->block = block;
	new->blocks = HM_RUN_BLOCKS(pages);
	new->what = what;
	return new->blocks;
}

static int
compare_claims(const void *a, const void *b)
{
	const Claim *left = a;
	const Claim *right = b;

	if (left->block != right->block)
		return left->block < right->block ? -1 : 1;
	return 0;
}

static void
claim_spaces(HmCheck *check, Claims *claims)
{
	const HmMeta *meta = &check->directory.meta;
	HmCheckReport *report = check->report;

	for (uint32 i = 0; i < meta->space_count; i++)
	{
		const HmSpace *space = &meta->spaces[i];

		if (space->blocks == 0 || space->blocks % HM_RUN_ALIGNMENT != 0)
			hm_corrupt(check->index, HM_META_BLOCK, "The space at block %u has %u blocks.",
					   space->block, space->blocks);
		if (i > 0 && space->block <= space[-1].block)
			hm_corrupt(check->index, HM_META_BLOCK, "The space at block %u is listed after that at block %u.",
					   space->block, space[-1].block);
		switch ((HmSpaceState) space->state)
		{
			case HM_SPACE_FREE:
				report->blocks_free += claim(check, claims, space->block, space->blocks, "free");
				break;
			case HM_SPACE_PENDING:
				report->blocks_pending += claim(check, claims, space->block, space->blocks, "being written");
				break;
			case HM_SPACE_LOG:
				report->blocks_log += claim(check, claims, space->block, space->blocks, "of the log");
				break;
			case HM_SPACE_RETIRED:
				report->blocks_retired += claim(check, claims, space->block, space->blocks, "retired");
				break;
			default:
				hm_corrupt(check->index, HM_META_BLOCK, "The space at block %u has the unknown state %u.",
						   space->block, space->state);
		}
	}
}

/* Every block below file_blocks belongs to one thing, or is known to be lost. */
static void
check_blocks(HmCheck *check)
{
	const HmMeta *meta = &check->directory.meta;
	HmCheckReport *report = check->report;
	Claims	   *claims = palloc(sizeof(Claims));
	uint64		end = 0;

	claims->count = 0;
	report->blocks_metapage = claim(check, claims, HM_META_BLOCK, 1, "of the metapage");
	for (uint32 i = 0; i < meta->part_count; i++)
	{
		const HmPartDesc *part = &meta->parts[i];

		for (uint32 run = 0; run < part->run_count; run++)
			report->blocks_parts += claim(check, claims, part->runs[run].block,
										  part->runs[run].pages, "of a part");
		if (part->tombstone_block != InvalidBlockNumber)
			report->blocks_tombstones += claim(check, claims, part->tombstone_block,
											   HM_TOMBSTONE_PAGES(part), "of tombstones");
	}
	claim_spaces(check, claims);

	qsort(claims->claims, claims->count, sizeof(Claim), compare_claims);
	for (int i = 0; i < claims->count; i++)
	{
		const Claim *this = &claims->claims[i];

		if (this->block < end)
			hm_corrupt(check->index, HM_META_BLOCK, "Block %u is listed both as %s and as %s.",
					   this->block, this[-1].what, this->what);
		report->blocks_lost += this->block - end;
		end = this->block + this->blocks;
	}
	if (end > meta->file_blocks)
		hm_corrupt(check->index, HM_META_BLOCK, "Blocks up to " UINT64_FORMAT " are listed, but %u are accounted for.",
				   end, meta->file_blocks);
	report->blocks_lost += meta->file_blocks - end;
	if (report->blocks_lost != meta->lost_blocks)
		hm_corrupt(check->index, HM_META_BLOCK, UINT64_FORMAT " blocks are listed nowhere, but %u are given as lost.",
				   report->blocks_lost, meta->lost_blocks);
	pfree(claims);

	/* The last run's end need not have been written. */
	report->blocks_total = Max(RelationGetNumberOfBlocks(check->index), meta->file_blocks);
	report->blocks_behind_end = report->blocks_total - meta->file_blocks;
}

/* Copies a tombstone page's data out of shared buffers, verified. */
static void
read_tombstone_page(HmCheck *check, const HmPartDesc *part, uint32 number, char *data)
{
	HmPageName	name = {
		.incarnation = check->directory.incarnation,
		.part = part->part,
		.kind = HM_PAGE_TOMBSTONES,
		.page = number
	};
	BlockNumber block = part->tombstone_block + number;
	Buffer		buffer = hm_buffer_read(check->index, block, BUFFER_LOCK_SHARE);

	if (!hm_page_verify((const char *) BufferGetPage(buffer), &name))
		hm_corrupt(check->index, block, "It is not page %u of the tombstones of part %u.", number, part->part);
	memcpy(data, HmPageGetData(BufferGetPage(buffer)), HM_PAGE_DATA);
	UnlockReleaseBuffer(buffer);
}

static void
check_tombstones(HmCheck *check, HmCheckPart *part)
{
	const HmPartDesc *desc = part->desc;
	uint32		pages = HM_TOMBSTONE_PAGES(desc);
	uint64		count = HM_TOMBSTONE_COUNT(desc);
	uint64		words = (uint64) pages * HM_PAGE_DATA / sizeof(uint64);
	uint64		dead = 0;

	if (desc->tombstone_block == InvalidBlockNumber || pages == 0)
		return;

	part->tombstones = MemoryContextAllocHuge(CurrentMemoryContext, words * sizeof(uint64));
	for (uint32 i = 0; i < pages; i++)
	{
		char	   *data = (char *) part->tombstones + (Size) i * HM_PAGE_DATA;

		CHECK_FOR_INTERRUPTS();
		read_tombstone_page(check, desc, i, data);
		dead += pg_popcount(data, HM_PAGE_DATA);
	}

	for (uint64 bit = count; bit < words * 64; bit++)
	{
		if (hm_check_is_dead(part, bit))
			hm_corrupt(check->index, desc->tombstone_block + pages - 1,
					   "It has a tombstone for row " UINT64_FORMAT ", but part %u has " UINT64_FORMAT ".",
					   bit, desc->part, count);
	}
	if (dead < desc->dead_count)
		hm_corrupt(check->index, desc->tombstone_block, "Part %u has " UINT64_FORMAT " tombstones, but the directory counts %u.",
				   desc->part, dead, desc->dead_count);
	check->report->dead_rows += dead;
}

/* Reads the directory anew; false: its parts are not those being checked. */
static bool
read_directory_again(HmCheck *check, HmDirectory *now)
{
	hm_directory_read(check->index, now);
	return now->incarnation == check->directory.incarnation &&
		now->meta.merges == check->directory.meta.merges;
}

bool
hm_check_is_current(HmCheck *check)
{
	HmDirectory now;

	return read_directory_again(check, &now);
}

bool
hm_check_still_live(HmCheck *check, uint32 part, uint64 bit)
{
	HmDirectory now;
	const HmPartDesc *desc = &now.meta.parts[part];
	uint32		within = bit % HM_TOMBSTONE_BITS;
	uint64		words[HM_PAGE_DATA / sizeof(uint64)];

	if (!read_directory_again(check, &now))
		return false;
	if (desc->tombstone_block == InvalidBlockNumber)
		return true;
	read_tombstone_page(check, desc, (uint32) (bit / HM_TOMBSTONE_BITS), (char *) words);
	return ((words[within / 64] >> (within % 64)) & 1) == 0;
}

/* Verifies the pages of an array that no other stage reads all of. */
static void
check_pages(HmCheck *check, HmArray array)
{
	for (uint32 part = 0; part < check->directory.meta.part_count; part++)
	{
		const uint32 *array_page = check->parts[part].desc->array_page;
		uint32		pages = array_page[array + 1] - array_page[array];

		for (uint32 page = 0; page < pages; page++)
			(void) hm_check_page(check, part, array, page);
	}
}

/* Takes the directory, and what follows from it, into the state. */
static void
open_parts(HmCheck *check)
{
	const HmMeta *meta = &check->directory.meta;

	check->report->parts = meta->part_count;
	for (uint32 i = 0; i < meta->part_count; i++)
	{
		HmCheckPart *part = &check->parts[i];
		uint64		first = 0;

		part->desc = &meta->parts[i];
		for (int level = 1; level < HM_MAX_LEVELS; level++)
		{
			part->upper_first[level] = first;
			first += part->desc->level_count[level];
		}
		check->report->elements += part->desc->element_count;
		check->report->rows += HM_TOMBSTONE_COUNT(part->desc);
		check->report->patches += part->desc->patch_count;
	}
}

void
hm_check(Relation heap, Relation index, Snapshot snapshot, bool full, HmCheckReport *report)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap check",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	HmCheck    *check = palloc0(sizeof(HmCheck));

	memset(report, 0, sizeof(HmCheckReport));
	check->heap = heap;
	check->index = index;
	check->snapshot = snapshot;
	check->full = full;
	check->report = report;

	hm_directory_read(index, &check->directory);
	open_parts(check);
	check_directory(check);
	check_blocks(check);
	for (uint32 i = 0; i < check->directory.meta.part_count; i++)
		check_tombstones(check, &check->parts[i]);

	hm_check_lists(check);
	check_pages(check, HM_ARRAY_ROWS);
	check_pages(check, HM_ARRAY_VECTORS);

	check->entries = hm_sorter_begin();
	hm_row_begin(&check->fetcher, index, heap, snapshot, NULL);
	hm_check_tids(check);
	hm_check_log(check);
	hm_check_reach(check);
	hm_check_rows(check);
	hm_row_end(&check->fetcher);
	hm_sorter_end(check->entries);

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
