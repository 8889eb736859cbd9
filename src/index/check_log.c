/*-------------------------------------------------------------------------
 *
 * check_log.c
 *	  Checks the log: its chain, its blocks, its entries.
 *
 * A page is copied under its share lock and looked at afterwards.  Inserters
 * may add entries and pages meanwhile: the chain may be longer than the
 * directory said when the check began, and never shorter.  Pages are never
 * taken out of it without the merge lock.
 *
 * Each page's sequence number is one more than its predecessor's, so a chain
 * that bends back is noticed at the first page that it meets again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/check_state.h"
#include "miscadmin.h"
#include "storage/buffer.h"
#include "storage/bufmgr.h"
#include "storage/error.h"
#include "storage/page.h"
#include "utils/memutils.h"

/* Where the copy lies in an entry larger than a page. */
#define LARGE_HEADER	(sizeof(HmLogEntry) + HM_LOG_MAX_MORE * sizeof(BlockNumber))

/* Bytes of a vector's copy that lie in its slot, and where. */
typedef struct CopyPlace
{
	uint32		offset;			/* in the slot */
	uint32		bytes;			/* there */
	uint32		more;			/* on LOG_MORE pages */
} CopyPlace;

static CopyPlace
copy_place(uint32 dim)
{
	uint32		size = dim * sizeof(uint16);
	CopyPlace	place = {sizeof(HmLogEntry), size, 0};

	if (sizeof(HmLogEntry) + size > HM_LOG_PAGE_SLOTS)
	{
		place.offset = LARGE_HEADER;
		place.bytes = Min(size, HM_LOG_PAGE_SLOTS - LARGE_HEADER);
		place.more = size - place.bytes;
	}
	return place;
}

/* The dimension, which the first inserter of a vector may only now have fixed. */
static uint32
present_dimension(HmCheck *check)
{
	HmDirectory *now;

	if (check->directory.meta.dim == 0)
	{
		now = palloc(sizeof(HmDirectory));
		hm_directory_read(check->index, now);
		check->directory.meta.dim = now->meta.dim;
		check->directory.meta.scale = now->meta.scale;
		pfree(now);
	}
	return check->directory.meta.dim;
}

/* Copies a page of the log out of shared buffers, verified. */
static void
read_page(HmCheck *check, BlockNumber block, HmPageKind kind, uint32 sequence, uint32 number, char *data)
{
	HmPageName	name = {
		.incarnation = check->directory.incarnation,
		.part = sequence,
		.kind = kind,
		.page = number
	};
	Buffer		buffer;

	CHECK_FOR_INTERRUPTS();
	if (block == HM_META_BLOCK || block >= RelationGetNumberOfBlocks(check->index))
		hm_corrupt(check->index, block, "The log continues at this block, beyond the end of the file.");
	buffer = hm_buffer_read(check->index, block, BUFFER_LOCK_SHARE);
	if (!hm_page_verify((const char *) BufferGetPage(buffer), &name))
	{
		if (kind == HM_PAGE_LOG)
			hm_corrupt(check->index, block, "It is not page %u of the log.", sequence);
		hm_corrupt(check->index, block, "It is not page %u of the rest of a log entry.", number);
	}
	memcpy(data, HmPageGetData(BufferGetPage(buffer)), HM_PAGE_DATA);
	UnlockReleaseBuffer(buffer);
}

/*
 * A page of the log that the directory knew of lies in a space of the log.
 * Those added since may lie in one that was made since.
 */
static void
check_space(HmCheck *check, BlockNumber block, bool known)
{
	const HmMeta *meta = &check->directory.meta;

	check->report->log_pages++;
	if (!known)
		return;
	for (uint32 i = 0; i < meta->space_count; i++)
	{
		const HmSpace *space = &meta->spaces[i];

		if (space->state == HM_SPACE_LOG && block >= space->block && block - space->block < space->blocks)
			return;
	}
	hm_corrupt(check->index, block, "The log uses this block, which the directory does not give it.");
}

/* Looks at the pages on which a large entry goes on. */
static void
check_more(HmCheck *check, const char *slot, uint32 bytes, BlockNumber page_block, bool known)
{
	BlockNumber more[HM_LOG_MAX_MORE];
	char	   *data = palloc(HM_PAGE_DATA);

	memcpy(more, slot + sizeof(HmLogEntry), sizeof(more));
	for (int i = 0; i < HM_LOG_MAX_MORE; i++)
	{
		if ((more[i] != InvalidBlockNumber) != (bytes > 0))
			hm_corrupt(check->index, page_block, "Its entry does not list the pages on which it goes on.");
		if (bytes == 0)
			continue;
		read_page(check, more[i], HM_PAGE_LOG_MORE, 0, i, data);
		check_space(check, more[i], known);
		bytes -= Min(bytes, HM_PAGE_DATA);
	}
	pfree(data);
}

static void
check_entries(HmCheck *check, uint32 page, BlockNumber block, const char *data, bool known)
{
	const HmLogPageHeader *header = (const HmLogPageHeader *) data;

	if (header->slot_size < sizeof(HmLogEntry) || header->slot_size % MAXIMUM_ALIGNOF != 0 ||
		(uint32) header->count * header->slot_size > HM_LOG_PAGE_SLOTS)
		hm_corrupt(check->index, block, "It claims %u log entries of %u bytes.", header->count, header->slot_size);

	for (uint32 i = 0; i < header->count; i++)
	{
		const char *slot = data + sizeof(HmLogPageHeader) + (Size) i * header->slot_size;
		const HmLogEntry *entry = (const HmLogEntry *) slot;

		check->report->log_entries++;
		switch (entry->kind)
		{
			case HM_LOG_BLANK:
				break;
			case HM_LOG_VECTOR:
				{
					uint32		dim = present_dimension(check);
					CopyPlace	place = copy_place(dim);

					if (dim == 0 || place.offset + place.bytes > header->slot_size)
						hm_corrupt(check->index, block, "Its entry %u is of %u bytes, too short for %u dimensions.",
								   i, header->slot_size, dim);
					if (place.offset == LARGE_HEADER)
						check_more(check, slot, place.more, block, known);
				}
				break;
			case HM_TAIL_NULL:
			case HM_TAIL_NAN:
			case HM_TAIL_WIDE:
				break;
			default:
				hm_corrupt(check->index, block, "Its entry %u has the unknown kind %u.", i, entry->kind);
		}
		if (entry->kind == HM_LOG_BLANK)
			continue;
		check->report->log_live++;
		hm_check_tid(check, &entry->tid, block);
		hm_check_note_log_tid(check, &entry->tid, page, i);
	}
}

void
hm_check_log(HmCheck *check)
{
	const HmMeta *meta = &check->directory.meta;
	BlockNumber block = meta->log_head;
	uint32		sequence = meta->log_head_sequence;
	bool		tail_met = false;
	char	   *data = palloc(HM_PAGE_DATA);

	while (block != InvalidBlockNumber)
	{
		/* numbers may wrap around */
		bool		known = (int32) (sequence - meta->log_next_sequence) < 0;

		read_page(check, block, HM_PAGE_LOG, sequence, 0, data);
		check_space(check, block, known);
		tail_met |= block == meta->log_tail;

		if (check->log_page_count == check->log_space)
		{
			check->log_space = Max(check->log_space * 2, 256);
			check->log_blocks = check->log_blocks == NULL ?
				palloc(check->log_space * sizeof(BlockNumber)) :
				repalloc_huge(check->log_blocks, (Size) check->log_space * sizeof(BlockNumber));
		}
		check->log_blocks[check->log_page_count++] = block;

		check_entries(check, check->log_page_count - 1, block, data, known);
		block = ((const HmLogPageHeader *) data)->next;
		sequence++;
	}
	pfree(data);

	if (meta->log_head == InvalidBlockNumber)
		return;
	if ((int32) (sequence - meta->log_next_sequence) < 0)
		hm_corrupt(check->index, check->log_blocks[check->log_page_count - 1],
				   "The log ends here, before page %u.", meta->log_next_sequence - 1);
	if (!tail_met)
		hm_corrupt(check->index, HM_META_BLOCK, "The log does not lead to block %u, its end.", meta->log_tail);
}

HmLogEntry
hm_check_log_entry(HmCheck *check, uint32 page, uint32 slot, uint16 *copy)
{
	const HmMeta *meta = &check->directory.meta;
	const char *data;
	HmLogEntry	entry;
	CopyPlace	place;
	BlockNumber more[HM_LOG_MAX_MORE];
	char	   *to = (char *) copy;

	if (check->log_page == NULL)
		check->log_page = palloc(HM_PAGE_DATA);
	read_page(check, check->log_blocks[page], HM_PAGE_LOG, meta->log_head_sequence + page, 0,
			  check->log_page);

	/* Slots that were there when the page was read first are there for good. */
	data = check->log_page + sizeof(HmLogPageHeader) +
		(Size) slot * ((const HmLogPageHeader *) check->log_page)->slot_size;
	memcpy(&entry, data, sizeof(entry));
	if (copy == NULL || entry.kind != HM_LOG_VECTOR)
		return entry;

	place = copy_place(meta->dim);
	memcpy(to, data + place.offset, place.bytes);
	memcpy(more, data + sizeof(HmLogEntry), sizeof(more));
	to += place.bytes;
	for (int i = 0; place.more > 0; i++)
	{
		uint32		piece = Min(place.more, HM_PAGE_DATA);

		read_page(check, more[i], HM_PAGE_LOG_MORE, 0, i, check->log_page);
		memcpy(to, check->log_page, piece);
		to += piece;
		place.more -= piece;
	}
	return entry;
}
