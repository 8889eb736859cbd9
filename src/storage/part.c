/*-------------------------------------------------------------------------
 *
 * part.c
 *	  Writing a part, and reading one through shared buffers.
 *
 * A build writes its part past the end of the file with smgrextend, in
 * batches, and never through the buffer manager: no buffer can exist for a
 * block that no file has, so the two never disagree, and building does not
 * push everybody else's pages out of shared buffers.  Each batch is logged as
 * full-page images first, where the relation needs WAL.  The last act is to
 * sync the file: the pages passed no checkpointer, and the directory record
 * that will make them reachable must not become durable before they are.
 *
 * A merge writes to reserved blocks, which may have been in use before, so
 * stale or dirty buffers of them may exist: it goes through shared buffers,
 * and the checkpointer syncs.  Readers find the pages in the file only once
 * they have been written out, which the merge sees to when it has published
 * them (index/merge.c).
 *
 * If the server dies in between, the blocks are garbage that nothing refers to
 * but the directory's account of reserved space.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "access/xloginsert.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/buffer.h"
#include "storage/bufmgr.h"
#include "storage/error.h"
#include "storage/lmgr.h"
#include "storage/metapage.h"
#include "storage/page.h"
#include "storage/part.h"
#include "storage/space.h"
#include "storage/testpoint.h"
#include "utils/memutils.h"

#define BATCH_PAGES 32			/* as many as one record of full pages holds */

struct HmPartWriter
{
	Relation	index;
	uint64		incarnation;
	HmPartDesc *part;
	bool		needs_wal;
	bool		reserved;		/* blocks are the directory's, not behind the end */
	BufferAccessStrategy strategy;
	uint32		entry_size[HM_ARRAYS];

	uint32		next_page;		/* number in the part of the batch's first page */
	uint32		pages_done;		/* pages finished, batch included */
	uint32		batch_count;	/* pages begun in the batch; the last may be open */
	bool		page_open;
	HmArray		array;			/* of the open page */
	uint32		array_page;		/* its number within the array */
	uint32		used;			/* bytes of its data */
	HmBlock    *batch;			/* BATCH_PAGES of them */
};

/* Appends pages [batch, batch + count) to the file, logged and checksummed. */
static void
append_pages(Relation index, ForkNumber fork, BlockNumber first, HmBlock *batch,
			 uint32 count, bool needs_wal)
{
	SMgrRelation smgr = RelationGetSmgr(index);

	if (needs_wal)
	{
		BlockNumber blocks[BATCH_PAGES];
		Page		pages[BATCH_PAGES];
		HmRelFileLocator locator = hm_rel_locator(index);

		for (uint32 i = 0; i < count; i++)
		{
			blocks[i] = first + i;
			pages[i] = (Page) batch[i].data;
		}
		log_newpages(&locator, fork, count, blocks, pages, false);
	}

	for (uint32 i = 0; i < count; i++)
	{
		PageSetChecksumInplace((Page) batch[i].data, first + i);
		smgrextend(smgr, fork, first + i, batch[i].data, true);
	}
}

/* Writes pages [batch, batch + count) of the part to shared buffers, logged. */
static void
write_reserved(HmPartWriter *writer)
{
	for (uint32 i = 0; i < writer->batch_count; i++)
	{
		BlockNumber block = hm_part_block(writer->part, writer->next_page + i);
		Buffer		buffer = ReadBufferExtended(writer->index, MAIN_FORKNUM, block,
												RBM_ZERO_AND_LOCK, writer->strategy);

		START_CRIT_SECTION();
		memcpy(BufferGetPage(buffer), writer->batch[i].data, BLCKSZ);
		MarkBufferDirty(buffer);
		if (writer->needs_wal)
			log_newpage_buffer(buffer, false);
		END_CRIT_SECTION();
		UnlockReleaseBuffer(buffer);
	}
}

static void
flush_batch(HmPartWriter *writer)
{
	if (writer->batch_count == 0)
		return;
	CHECK_FOR_INTERRUPTS();
	HM_TEST_POINT("part-batch");
	if (writer->reserved)
		write_reserved(writer);
	else
		append_pages(writer->index, MAIN_FORKNUM, hm_part_block(writer->part, writer->next_page),
					 writer->batch, writer->batch_count, writer->needs_wal);
	writer->next_page += writer->batch_count;
	writer->batch_count = 0;
}

static void
close_page(HmPartWriter *writer)
{
	if (!writer->page_open)
		return;
	hm_page_seal((Page) writer->batch[writer->batch_count - 1].data);
	writer->page_open = false;
	writer->pages_done++;
	if (writer->batch_count == BATCH_PAGES)
		flush_batch(writer);
}

static char *
open_page(HmPartWriter *writer, HmArray array, uint32 array_page)
{
	HmPageName	name = {
		.incarnation = writer->incarnation,
		.part = writer->part->part,
		.kind = HM_PAGE_PART,
		.array = array,
		.page = array_page
	};
	Page		page = (Page) writer->batch[writer->batch_count].data;

	hm_page_init(page, &name);
	writer->batch_count++;
	writer->page_open = true;
	writer->array = array;
	writer->array_page = array_page;
	writer->used = 0;
	return HmPageGetData(page);
}

static HmPartWriter *
make_writer(Relation index, uint64 incarnation, const HmMeta *meta, HmPartDesc *part)
{
	HmPartWriter *writer = palloc0(sizeof(HmPartWriter));

	writer->index = index;
	writer->incarnation = incarnation;
	writer->part = part;
	writer->needs_wal = RelationNeedsWAL(index);
	for (int array = 0; array < HM_ARRAYS; array++)
		writer->entry_size[array] = hm_array_entry_size(meta, array);
	writer->batch = hm_alloc_blocks(BATCH_PAGES);
	return writer;
}

static void
lay_out(Relation index, const HmMeta *meta, HmPartDesc *part)
{
	if (!hm_part_layout(meta, part))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" would need more than %u blocks",
						RelationGetRelationName(index), MaxBlockNumber),
				 errhint("Partition the table.")));
	part->tombstone_block = InvalidBlockNumber;
	part->dead_count = 0;
}

HmPartWriter *
hm_part_writer_begin(Relation index, uint64 incarnation, const HmMeta *meta, HmPartDesc *part)
{
	SMgrRelation smgr = RelationGetSmgr(index);
	HmPartWriter *writer;
	BlockNumber nblocks;

	lay_out(index, meta, part);
	writer = make_writer(index, incarnation, meta, part);

	/*
	 * Runs begin at aligned blocks.  The pages skipped stay zero and are not
	 * logged: replay extends a file with zeros where it meets a gap.
	 */
	nblocks = smgrnblocks(smgr, MAIN_FORKNUM);
	memset(writer->batch[0].data, 0, BLCKSZ);
	while (nblocks % HM_RUN_ALIGNMENT != 0)
		smgrextend(smgr, MAIN_FORKNUM, nblocks++, writer->batch[0].data, true);

	part->run_count = part->array_page[HM_ARRAYS] > 0 ? 1 : 0;
	part->runs[0].block = nblocks;
	part->runs[0].pages = part->array_page[HM_ARRAYS];
	return writer;
}

HmPartWriter *
hm_part_writer_begin_reserved(Relation index, const HmDirectory *directory, HmPartDesc *part)
{
	HmPartWriter *writer;
	GenericXLogState *state;
	Buffer		buffer;
	HmMeta	   *meta;
	BlockNumber end = 0;

	lay_out(index, &directory->meta, part);
	hm_space_prepare(index, part, 0);

	state = GenericXLogStart(index);
	meta = hm_meta_update(index, state, &buffer);
	part->part = meta->next_part++;
	hm_space_take_runs(index, meta, part, HM_SPACE_PENDING);
	hm_meta_finish(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);

	HM_TEST_POINT("part-reserved");
	for (uint32 i = 0; i < part->run_count; i++)
		end = Max(end, part->runs[i].block + part->runs[i].pages);
	hm_space_extend(index, end);

	writer = make_writer(index, directory->incarnation, &directory->meta, part);
	writer->reserved = true;
	writer->strategy = GetAccessStrategy(BAS_BULKWRITE);
	return writer;
}

void
hm_part_write(HmPartWriter *writer, HmArray array, const void *entry)
{
	uint32		size = writer->entry_size[array];
	const char *from = entry;
	uint32		array_page;
	char	   *data;

	if (writer->page_open && writer->array == array && writer->used + size <= HM_PAGE_DATA)
	{
		data = HmPageGetData(writer->batch[writer->batch_count - 1].data);
		memcpy(data + writer->used, entry, size);
		writer->used += size;
		return;
	}

	array_page = 0;
	if (writer->pages_done + (writer->page_open ? 1 : 0) > 0 && writer->array == array)
		array_page = writer->array_page + 1;

	/* A new page; several for an entry that is larger than one. */
	for (;;)
	{
		uint32		piece = Min(size, HM_PAGE_DATA);

		close_page(writer);
		data = open_page(writer, array, array_page++);
		memcpy(data, from, piece);
		writer->used = piece;
		from += piece;
		size -= piece;
		if (size == 0)
			break;
	}

	/* Nothing shares the last page of a large entry. */
	if (writer->entry_size[array] > HM_PAGE_DATA)
		writer->used = HM_PAGE_DATA;
}

void
hm_part_write_list(HmPartWriter *writer, const uint32 *slots, uint32 count)
{
	static const uint32 unused = HM_NO_ID;

	if (writer->page_open && writer->array == HM_ARRAY_PATCH_LISTS &&
		writer->used + count * sizeof(uint32) > HM_PAGE_DATA)
	{
		while (writer->used < HM_PAGE_DATA)
			hm_part_write(writer, HM_ARRAY_PATCH_LISTS, &unused);
	}
	for (uint32 i = 0; i < count; i++)
		hm_part_write(writer, HM_ARRAY_PATCH_LISTS, &slots[i]);
}

void
hm_part_writer_progress(const HmPartWriter *writer, uint32 *done, uint32 *total)
{
	*done = writer->pages_done;
	*total = writer->part->array_page[HM_ARRAYS];
}

void
hm_part_writer_end(HmPartWriter *writer)
{
	close_page(writer);
	flush_batch(writer);

	if (writer->pages_done != writer->part->array_page[HM_ARRAYS])
		elog(ERROR, "hnsw_mmap part has %u pages where %u were laid out",
			 writer->pages_done, writer->part->array_page[HM_ARRAYS]);

	if (writer->strategy != NULL)
		FreeAccessStrategy(writer->strategy);
	if (!writer->reserved && !RelationUsesLocalBuffers(writer->index))
		smgrimmedsync(RelationGetSmgr(writer->index), MAIN_FORKNUM);
}

void
hm_storage_create(Relation index, ForkNumber fork, uint64 incarnation, const HmMeta *meta)
{
	HmBlock    *block = hm_alloc_blocks(1);
	bool		needs_wal = RelationNeedsWAL(index) || fork == INIT_FORKNUM;

	hm_meta_init_page((Page) block->data, incarnation, meta);
	append_pages(index, fork, HM_META_BLOCK, block, 1, needs_wal);

	/*
	 * An unlogged index's init fork is what crash recovery starts from, so it
	 * is logged and synced although the index is not: the log carries it to
	 * standbys, and the sync covers a checkpoint that came after the record.
	 */
	if (!RelationUsesLocalBuffers(index))
		smgrimmedsync(RelationGetSmgr(index), fork);
}

void
hm_storage_publish(Relation index, uint64 incarnation, const HmMeta *meta)
{
	GenericXLogState *state = GenericXLogStart(index);
	Buffer		buffer = hm_buffer_read(index, HM_META_BLOCK, BUFFER_LOCK_EXCLUSIVE);
	Page		page;

	page = GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE);
	hm_meta_init_page(page, incarnation, meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
}

void
hm_part_read(Relation index, uint64 incarnation, const HmMeta *meta, const HmPartDesc *part,
			 HmArray array, uint64 first, uint64 count, void *entries)
{
	uint32		size = hm_array_entry_size(meta, array);
	uint32		per_page = size <= HM_PAGE_DATA ? HM_PAGE_DATA / size : 0;
	uint32		pages_per_entry = (size + HM_PAGE_DATA - 1) / HM_PAGE_DATA;
	char	   *to = entries;

	Assert(first + count <= hm_array_entry_count(meta, part, array));

	while (count > 0)
	{
		uint64		array_page;
		uint32		offset,
					pages,
					bytes;
		uint64		taken;

		if (per_page > 0)
		{
			array_page = first / per_page;
			offset = (uint32) (first % per_page) * size;
			taken = Min(count, per_page - first % per_page);
			bytes = (uint32) taken * size;
			pages = 1;
		}
		else
		{
			array_page = first * pages_per_entry;
			offset = 0;
			taken = 1;
			bytes = size;
			pages = pages_per_entry;
		}

		for (uint32 i = 0; i < pages; i++)
		{
			uint32		piece = Min(bytes, HM_PAGE_DATA - offset);

			hm_part_read_page(index, incarnation, part, array,
							  (uint32) array_page + i, offset, piece, to);
			to += piece;
			bytes -= piece;
		}
		first += taken;
		count -= taken;
	}
}

void
hm_part_read_page(Relation index, uint64 incarnation, const HmPartDesc *part, HmArray array,
				  uint32 array_page, uint32 offset, uint32 size, void *bytes)
{
	HmPageName	name = {
		.incarnation = incarnation,
		.part = part->part,
		.kind = HM_PAGE_PART,
		.array = array,
		.page = array_page
	};
	BlockNumber block = hm_part_block(part, part->array_page[array] + array_page);
	Buffer		buffer = hm_buffer_read(index, block, BUFFER_LOCK_SHARE);

	if (!hm_page_verify((const char *) BufferGetPage(buffer), &name))
		hm_corrupt(index, block, "It is not page %u of array %d of part %u.",
				   array_page, (int) array, part->part);
	memcpy(bytes, HmPageGetData(BufferGetPage(buffer)) + offset, size);
	UnlockReleaseBuffer(buffer);
}
