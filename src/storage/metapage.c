/*-------------------------------------------------------------------------
 *
 * metapage.c
 *	  The metapage: the one gate through which the directory is read.
 *
 * Nothing that the metapage says is used before validate_meta has seen it, so
 * the rest of the index may index arrays and compute addresses with its
 * numbers without asking again.
 *
 * Lock order: a log page's lock comes before the metapage's.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "miscadmin.h"
#include "storage/buffer.h"
#include "storage/bufmgr.h"
#include "storage/error.h"
#include "storage/metapage.h"
#include "storage/page.h"

/* Raises an error unless the part's numbers agree with each other and the file. */
static void
validate_part(Relation index, const HmMeta *meta, const HmPartDesc *part,
			  uint32 first_element, BlockNumber nblocks)
{
	HmPartDesc	expected = *part;
	uint64		run_pages = 0;

	/* Mappings are found by it: another part must never have the same. */
	if (part->part >= meta->next_part)
		hm_corrupt(index, HM_META_BLOCK, "Part %u has an id that is still to be given.", part->part);
	for (const HmPartDesc *older = meta->parts; older < part; older++)
	{
		if (older->part == part->part)
			hm_corrupt(index, HM_META_BLOCK, "Two parts have the id %u.", part->part);
	}

	if (part->element_count == HM_NO_ID)
		hm_corrupt(index, HM_META_BLOCK, "Part %u lists too many elements.", part->part);

	if (part->level_count[0] != part->element_count)
		hm_corrupt(index, HM_META_BLOCK, "Part %u has %u elements, but %u on level 0.",
				   part->part, part->element_count, part->level_count[0]);
	for (int level = 1; level < HM_MAX_LEVELS; level++)
	{
		if (part->level_count[level] > part->level_count[level - 1])
			hm_corrupt(index, HM_META_BLOCK, "Part %u has more elements on level %d than below it.",
					   part->part, level);
	}

	if (part->element_count > 0 && meta->dim == 0)
		hm_corrupt(index, HM_META_BLOCK, "Part %u has elements, but the index no dimension.", part->part);

	if (part->first_element != first_element || (uint64) first_element + part->element_count >= HM_NO_ID)
		hm_corrupt(index, HM_META_BLOCK, "Part %u begins with element %u instead of %u.",
				   part->part, part->first_element, first_element);

	if (part->patch_count > 0 ? first_element == 0 : part->patch_slots > 0)
		hm_corrupt(index, HM_META_BLOCK, "Part %u has %u patches of " UINT64_FORMAT " slots.",
				   part->part, part->patch_count, part->patch_slots);

	if (!hm_part_layout(meta, &expected) ||
		memcmp(expected.array_page, part->array_page, sizeof(part->array_page)) != 0)
		hm_corrupt(index, HM_META_BLOCK, "The arrays of part %u are not where its counts put them.", part->part);

	if (!(part->max_norm >= 0) || isinf(part->max_norm))
		hm_corrupt(index, HM_META_BLOCK, "Part %u gives its largest norm as %g.", part->part, part->max_norm);

	if (part->run_count > HM_MAX_RUNS)
		hm_corrupt(index, HM_META_BLOCK, "Part %u lists %u runs.", part->part, part->run_count);
	for (uint32 i = 0; i < part->run_count; i++)
	{
		const HmRun *run = &part->runs[i];

		if (run->block % HM_RUN_ALIGNMENT != 0 || run->block == HM_META_BLOCK ||
			run->pages == 0 || (uint64) run->block + run->pages > nblocks)
			hm_corrupt(index, HM_META_BLOCK,
					   "Part %u has a run of %u pages from block %u, but the file ends at block %u.",
					   part->part, run->pages, run->block, nblocks);
		if (i + 1 < part->run_count && run->pages % HM_RUN_ALIGNMENT != 0)
			hm_corrupt(index, HM_META_BLOCK, "Part %u has a run of %u pages that is not its last.",
					   part->part, run->pages);
		run_pages += run->pages;
	}
	if (run_pages != part->array_page[HM_ARRAYS])
		hm_corrupt(index, HM_META_BLOCK, "Part %u has %u pages in arrays and " UINT64_FORMAT " in runs.",
				   part->part, part->array_page[HM_ARRAYS], run_pages);

	if (part->tombstone_block != InvalidBlockNumber &&
		(part->tombstone_block == HM_META_BLOCK ||
		 (uint64) part->tombstone_block + HM_TOMBSTONE_PAGES(part) > nblocks))
		hm_corrupt(index, HM_META_BLOCK,
				   "Part %u has its tombstones at block %u, but the file ends at block %u.",
				   part->part, part->tombstone_block, nblocks);
}

/* Blocks that belong to something, or are known to be lost. */
static uint64
accounted_blocks(const HmMeta *meta)
{
	uint64		blocks = HM_RUN_ALIGNMENT + (uint64) meta->lost_blocks;

	for (uint32 i = 0; i < meta->part_count; i++)
	{
		const HmPartDesc *part = &meta->parts[i];

		for (uint32 run = 0; run < part->run_count; run++)
			blocks += HM_RUN_BLOCKS(part->runs[run].pages);
		if (part->tombstone_block != InvalidBlockNumber)
			blocks += HM_RUN_BLOCKS(HM_TOMBSTONE_PAGES(part));
	}
	for (uint32 i = 0; i < meta->space_count; i++)
		blocks += meta->spaces[i].blocks;
	return blocks;
}

/*
 * Raises an error unless the spaces are in order and within the file, and all
 * blocks are accounted for: a file is made as long as this says.
 */
static void
validate_spaces(Relation index, const HmMeta *meta)
{
	BlockNumber end = HM_RUN_ALIGNMENT;

	if (meta->space_count > HM_MAX_SPACES)
		hm_corrupt(index, HM_META_BLOCK, "It lists %u spaces.", meta->space_count);
	if (meta->file_blocks < HM_RUN_ALIGNMENT || meta->file_blocks % HM_RUN_ALIGNMENT != 0)
		hm_corrupt(index, HM_META_BLOCK, "It accounts for %u blocks.", meta->file_blocks);
	for (uint32 i = 0; i < meta->space_count; i++)
	{
		const HmSpace *space = &meta->spaces[i];

		if (space->block < end || space->block % HM_RUN_ALIGNMENT != 0 ||
			space->blocks == 0 || space->blocks % HM_RUN_ALIGNMENT != 0 ||
			space->state < HM_SPACE_FREE || space->state > HM_SPACE_RETIRED ||
			(uint64) space->block + space->blocks > meta->file_blocks)
			hm_corrupt(index, HM_META_BLOCK,
					   "It lists %u blocks from block %u of %u as space of kind %u.",
					   space->blocks, space->block, meta->file_blocks, space->state);
		end = space->block + space->blocks;
	}
	if (accounted_blocks(meta) != meta->file_blocks)
		hm_corrupt(index, HM_META_BLOCK, "It accounts for %u blocks, but lists " UINT64_FORMAT ".",
				   meta->file_blocks, accounted_blocks(meta));
}

static void
validate_meta(Relation index, const char *page, HmDirectory *directory)
{
	const HmPageIdentity *identity = HmPageGetIdentity(page);
	const HmMeta *meta = (const HmMeta *) HmPageGetData(page);
	BlockNumber nblocks;
	uint32		elements = 0;

	if (identity->magic != HM_MAGIC || identity->kind != HM_PAGE_META)
		hm_corrupt(index, HM_META_BLOCK, "It is not a metapage of an hnsw_mmap index.");
	if (identity->version != HM_FORMAT_VERSION)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" has format version %u, but this release of hnsw_mmap reads version %d",
						RelationGetRelationName(index), identity->version, HM_FORMAT_VERSION),
				 errhint("Please REINDEX it, or install the release that built it.")));
	if (identity->crc != hm_page_crc(page))
		hm_corrupt(index, HM_META_BLOCK, "The metapage's checksum is %08X, but its contents give %08X.",
				   identity->crc, hm_page_crc(page));

	if (meta->dim > HM_MAX_DIM)
		hm_corrupt(index, HM_META_BLOCK, "It gives the vectors %u dimensions.", meta->dim);
	if (meta->metric < HM_L2 || meta->metric > HM_COSINE)
		hm_corrupt(index, HM_META_BLOCK, "It names the unknown metric %u.", meta->metric);
	if (meta->element_kind != HM_F32 && meta->element_kind != HM_F16)
		hm_corrupt(index, HM_META_BLOCK, "It names the unknown element kind %u.", meta->element_kind);
	if (meta->vectors != HM_VECTORS_HEAP && meta->vectors != HM_VECTORS_FP16)
		hm_corrupt(index, HM_META_BLOCK, "It names the unknown vector storage %u.", meta->vectors);
	if (meta->m < 2 || meta->m > HM_MAX_M)
		hm_corrupt(index, HM_META_BLOCK, "It gives m as %u.", meta->m);
	if (meta->scale < -200 || meta->scale > 200)
		hm_corrupt(index, HM_META_BLOCK, "It gives the scale as %d.", meta->scale);

	if (meta->part_count > HM_MAX_PARTS)
		hm_corrupt(index, HM_META_BLOCK, "It lists %u parts.", meta->part_count);
	nblocks = RelationGetNumberOfBlocks(index);
	if ((meta->log_head == InvalidBlockNumber) != (meta->log_tail == InvalidBlockNumber) ||
		(meta->log_head != InvalidBlockNumber &&
		 (meta->log_head >= nblocks || meta->log_tail >= nblocks ||
		  meta->log_head == HM_META_BLOCK || meta->log_tail == HM_META_BLOCK)))
		hm_corrupt(index, HM_META_BLOCK,
				   "The log goes from block %u to block %u, but the file ends at block %u.",
				   meta->log_head, meta->log_tail, nblocks);

	if (meta->log_head == InvalidBlockNumber ?
		meta->log_reserve_blocks > 0 && meta->log_reserve >= meta->file_blocks :
		(uint64) meta->log_reserve + meta->log_reserve_blocks > meta->file_blocks)
		hm_corrupt(index, HM_META_BLOCK, "It reserves blocks for the log behind the end of the file.");

	for (uint32 i = 0; i < meta->part_count; i++)
	{
		validate_part(index, meta, &meta->parts[i], elements, nblocks);
		elements += meta->parts[i].element_count;
	}
	if (elements == 0 ? meta->entry_point != HM_NO_ID : meta->entry_point >= elements)
		hm_corrupt(index, HM_META_BLOCK, "It gives %u as the entry point of %u elements.",
				   meta->entry_point, elements);
	validate_spaces(index, meta);

	if (directory != NULL)
	{
		directory->incarnation = identity->incarnation;
		memcpy(&directory->meta, meta, offsetof(HmMeta, parts) +
			   meta->part_count * sizeof(HmPartDesc));
		memcpy(directory->meta.spaces, meta->spaces, meta->space_count * sizeof(HmSpace));
	}
}

void
hm_directory_read(Relation index, HmDirectory *directory)
{
	Buffer		buffer;

	if (RelationGetNumberOfBlocks(index) == 0)
		hm_corrupt(index, HM_META_BLOCK, "The file is empty.");

	buffer = hm_buffer_read(index, HM_META_BLOCK, BUFFER_LOCK_SHARE);
	validate_meta(index, BufferGetPage(buffer), directory);
	UnlockReleaseBuffer(buffer);
}

HmMeta *
hm_meta_update(Relation index, GenericXLogState *state, Buffer *buffer)
{
	*buffer = hm_buffer_read(index, HM_META_BLOCK, BUFFER_LOCK_EXCLUSIVE);
	validate_meta(index, BufferGetPage(*buffer), NULL);
	return (HmMeta *) HmPageGetData(GenericXLogRegisterBuffer(state, *buffer, 0));
}

void
hm_meta_finish(HmMeta *meta)
{
	hm_page_seal((Page) ((char *) meta - HM_DATA_OFFSET));
}

void
hm_meta_init_page(Page page, uint64 incarnation, const HmMeta *meta)
{
	HmPageName	name = {.incarnation = incarnation, .kind = HM_PAGE_META};

	hm_page_init(page, &name);
	memcpy(HmPageGetData(page), meta, sizeof(HmMeta));
	hm_page_seal(page);
}
