/*-------------------------------------------------------------------------
 *
 * log.c
 *	  The log: rows inserted since the graph was built.
 *
 * Every change is one GenericXLog record, so a crash leaves each entry there
 * or not, and the chain whole:
 *
 *		- adding an entry changes the last page;
 *		- growing the chain changes the last page (its next), the new page
 *		  and the metapage together;
 *		- an entry larger than a page first fills pages that nothing refers to
 *		  yet, then appears with the record that links its first page.  A crash
 *		  in between leaves those pages unused until REINDEX.
 *
 * The metapage's log_tail may lag behind the chain's end for a reader who has
 * read it before the chain grew: whoever wants the end follows `next`.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "miscadmin.h"
#include "storage/buffer.h"
#include "storage/bufmgr.h"
#include "storage/error.h"
#include "storage/lmgr.h"
#include "storage/log.h"
#include "storage/page.h"

#define LogHeader(page)		((HmLogPageHeader *) HmPageGetData(page))
#define LogSlot(page, i)	(HmPageGetData(page) + sizeof(HmLogPageHeader) + \
							 (Size) (i) * LogHeader(page)->slot_size)

/* Bytes before the copy in an entry larger than a page. */
#define LARGE_HEADER		(sizeof(HmLogEntry) + HM_LOG_MAX_MORE * sizeof(BlockNumber))

static bool
is_large(uint32 dim)
{
	return sizeof(HmLogEntry) + dim * sizeof(uint16) > HM_LOG_PAGE_SLOTS;
}

/* Bytes that a slot needs for a vector of so many dimensions. */
static uint32
slot_size_for(uint32 dim)
{
	if (is_large(dim))
		return HM_LOG_PAGE_SLOTS;
	return MAXALIGN(sizeof(HmLogEntry) + dim * sizeof(uint16));
}

/* Bytes of a large entry's copy that lie on its first page. */
static uint32
large_first_bytes(uint32 dim)
{
	return Min(dim * sizeof(uint16), HM_LOG_PAGE_SLOTS - LARGE_HEADER);
}

/* Raises an error unless the locked buffer is a page of this index's log. */
static void
check_log_page(Relation index, Buffer buffer, uint64 incarnation)
{
	Page		page = BufferGetPage(buffer);
	const HmPageIdentity *identity = HmPageGetIdentity(page);
	const HmLogPageHeader *header = LogHeader(page);

	if (PageIsNew(page) || identity->magic != HM_MAGIC ||
		identity->version != HM_FORMAT_VERSION || identity->kind != HM_PAGE_LOG ||
		identity->incarnation != incarnation)
		hm_corrupt(index, BufferGetBlockNumber(buffer), "It is not a page of the log.");
	if (header->slot_size < sizeof(HmLogEntry) || header->slot_size > HM_LOG_PAGE_SLOTS ||
		header->slot_size % MAXIMUM_ALIGNOF != 0 ||
		(uint32) header->count * header->slot_size > HM_LOG_PAGE_SLOTS)
		hm_corrupt(index, BufferGetBlockNumber(buffer),
				   "It claims %u log entries of %u bytes.", header->count, header->slot_size);
}

/* Extends the file by a page; returns its exclusively locked buffer. */
static Buffer
new_buffer(Relation index)
{
	Buffer		buffer;
	bool		need_lock = !RELATION_IS_LOCAL(index);

	if (need_lock)
		LockRelationForExtension(index, ExclusiveLock);
	buffer = hm_buffer_extend(index);
	if (need_lock)
		UnlockRelationForExtension(index, ExclusiveLock);
	return buffer;
}

/* Writes what does not fit on the first page; fills more[] with the blocks. */
static void
write_more_pages(Relation index, const HmDirectory *directory, const uint16 *copy,
				 BlockNumber more[HM_LOG_MAX_MORE])
{
	uint32		size = directory->meta.dim * sizeof(uint16);
	uint32		done = large_first_bytes(directory->meta.dim);

	for (int i = 0; i < HM_LOG_MAX_MORE; i++)
	{
		HmPageName	name = {.incarnation = directory->incarnation, .kind = HM_PAGE_LOG_MORE, .page = i};
		uint32		piece = Min(size - done, HM_PAGE_DATA);
		GenericXLogState *state;
		Buffer		buffer;
		Page		page;

		more[i] = InvalidBlockNumber;
		if (piece == 0)
			continue;

		buffer = new_buffer(index);
		state = GenericXLogStart(index);
		page = GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE);
		hm_page_init(page, &name);
		memcpy(HmPageGetData(page), (const char *) copy + done, piece);
		hm_page_seal(page);
		GenericXLogFinish(state);
		more[i] = BufferGetBlockNumber(buffer);
		UnlockReleaseBuffer(buffer);
		done += piece;
	}
}

/* Fills the next slot of a page that has room. */
static void
put_entry(Page page, const HmLogEntry *entry, uint32 dim, const uint16 *copy,
		  const BlockNumber *more)
{
	char	   *slot = LogSlot(page, LogHeader(page)->count);

	memcpy(slot, entry, sizeof(HmLogEntry));
	if (copy != NULL && more != NULL)
	{
		memcpy(slot + sizeof(HmLogEntry), more, HM_LOG_MAX_MORE * sizeof(BlockNumber));
		memcpy(slot + LARGE_HEADER, copy, large_first_bytes(dim));
	}
	else if (copy != NULL)
		memcpy(slot + sizeof(HmLogEntry), copy, dim * sizeof(uint16));
	LogHeader(page)->count++;
	hm_page_seal(page);
}

static bool
has_room(Page page, uint32 slot_size)
{
	HmLogPageHeader *header = LogHeader(page);

	return header->slot_size >= slot_size &&
		(uint32) (header->count + 1) * header->slot_size <= HM_LOG_PAGE_SLOTS;
}

/*
 * Adds a page to the chain with the entry on it.  tail: the exclusively locked
 * last page, or InvalidBuffer when there is none: then the metapage's lock
 * decides who makes the first.  False: somebody else made it.
 */
static bool
append_page(Relation index, const HmDirectory *directory, Buffer tail,
			const HmLogEntry *entry, const uint16 *copy, const BlockNumber *more)
{
	GenericXLogState *state;
	HmPageName	name = {.incarnation = directory->incarnation, .kind = HM_PAGE_LOG};
	Buffer		buffer = new_buffer(index);
	Buffer		meta_buffer;
	HmMeta	   *meta;
	Page		page;

	state = GenericXLogStart(index);
	meta = hm_meta_update(index, state, &meta_buffer);
	if (!BufferIsValid(tail) && meta->log_head != InvalidBlockNumber)
	{
		/* the page just added stays empty, and unused until REINDEX */
		GenericXLogAbort(state);
		UnlockReleaseBuffer(meta_buffer);
		UnlockReleaseBuffer(buffer);
		return false;
	}

	page = GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE);
	name.part = meta->log_next_sequence++;
	hm_page_init(page, &name);
	LogHeader(page)->next = InvalidBlockNumber;
	LogHeader(page)->slot_size = slot_size_for(directory->meta.dim);
	put_entry(page, entry, directory->meta.dim, copy, more);

	if (BufferIsValid(tail))
	{
		Page		tail_page = GenericXLogRegisterBuffer(state, tail, 0);

		LogHeader(tail_page)->next = BufferGetBlockNumber(buffer);
		hm_page_seal(tail_page);
	}
	else
		meta->log_head = BufferGetBlockNumber(buffer);
	meta->log_tail = BufferGetBlockNumber(buffer);
	hm_meta_finish(meta);

	GenericXLogFinish(state);
	UnlockReleaseBuffer(meta_buffer);
	UnlockReleaseBuffer(buffer);
	return true;
}

void
hm_log_append(Relation index, const HmDirectory *directory, ItemPointer tid, int kind,
			  float norm, const uint16 *copy)
{
	HmLogEntry	entry;
	BlockNumber more_pages[HM_LOG_MAX_MORE];
	BlockNumber *more = NULL;
	uint32		dim = directory->meta.dim;
	uint32		needed;
	BlockNumber block = directory->meta.log_tail;

	Assert((kind == HM_LOG_VECTOR) == (copy != NULL));
	memset(&entry, 0, sizeof(entry));
	entry.tid = *tid;
	entry.kind = kind;
	entry.norm = norm;

	if (copy != NULL && is_large(dim))
	{
		write_more_pages(index, directory, copy, more_pages);
		more = more_pages;
	}
	needed = copy != NULL ? slot_size_for(dim) : sizeof(HmLogEntry);

	if (block == InvalidBlockNumber)
	{
		HmDirectory fresh;

		if (append_page(index, directory, InvalidBuffer, &entry, copy, more))
			return;
		hm_directory_read(index, &fresh);
		block = fresh.meta.log_tail;
	}

	for (;;)
	{
		Buffer		buffer = hm_buffer_read(index, block, BUFFER_LOCK_EXCLUSIVE);
		Page		page = BufferGetPage(buffer);

		check_log_page(index, buffer, directory->incarnation);

		if (LogHeader(page)->next != InvalidBlockNumber)
		{
			block = LogHeader(page)->next;
			UnlockReleaseBuffer(buffer);
			CHECK_FOR_INTERRUPTS();
			continue;
		}

		if (has_room(page, needed))
		{
			GenericXLogState *state = GenericXLogStart(index);

			put_entry(GenericXLogRegisterBuffer(state, buffer, 0), &entry, dim, copy, more);
			GenericXLogFinish(state);
		}
		else
			append_page(index, directory, buffer, &entry, copy, more);
		UnlockReleaseBuffer(buffer);
		return;
	}
}

/*
 * Assembles a large entry's copy.  The pages are written before the entry and
 * never change, so they are read after the entry's page was let go.
 */
static void
read_large_copy(Relation index, uint64 incarnation, uint32 dim, const char *slot, uint16 *copy)
{
	uint32		done = large_first_bytes(dim);
	BlockNumber more[HM_LOG_MAX_MORE];

	memcpy(copy, slot + LARGE_HEADER, done);
	memcpy(more, slot + sizeof(HmLogEntry), sizeof(more));

	for (int i = 0; i < HM_LOG_MAX_MORE && done < dim * sizeof(uint16); i++)
	{
		HmPageName	name = {.incarnation = incarnation, .kind = HM_PAGE_LOG_MORE, .page = i};
		uint32		piece = Min(dim * sizeof(uint16) - done, HM_PAGE_DATA);
		Buffer		buffer;

		if (more[i] == InvalidBlockNumber || more[i] >= RelationGetNumberOfBlocks(index))
			hm_corrupt(index, more[i], "A log entry continues at this block.");
		buffer = hm_buffer_read(index, more[i], BUFFER_LOCK_SHARE);
		if (!hm_page_is((const char *) BufferGetPage(buffer), &name))
			hm_corrupt(index, more[i], "It is not the continuation of a log entry.");
		memcpy((char *) copy + done, HmPageGetData(BufferGetPage(buffer)), piece);
		UnlockReleaseBuffer(buffer);
		done += piece;
	}
}

/* Takes the share or exclusive lock of the chain's next page, checked. */
static Buffer
next_page(Relation index, const HmDirectory *directory, BlockNumber block, int lock_mode)
{
	Buffer		buffer;

	CHECK_FOR_INTERRUPTS();
	if (block == HM_META_BLOCK || block >= RelationGetNumberOfBlocks(index))
		hm_corrupt(index, block, "The log continues at this block, beyond the end of the file.");
	buffer = hm_buffer_read(index, block, lock_mode);
	check_log_page(index, buffer, directory->incarnation);
	return buffer;
}

void
hm_log_scan(Relation index, const HmDirectory *directory, HmLogVisitor visit, void *state)
{
	uint32		dim = directory->meta.dim;
	BlockNumber block = directory->meta.log_head;
	char	   *large = NULL;
	uint16	   *large_copy = NULL;

	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = next_page(index, directory, block, BUFFER_LOCK_SHARE);
		Page		page = BufferGetPage(buffer);
		bool		large_entry = false;

		block = LogHeader(page)->next;
		for (int i = 0; i < LogHeader(page)->count; i++)
		{
			const char *slot = LogSlot(page, i);
			const HmLogEntry *entry = (const HmLogEntry *) slot;

			if (entry->kind == HM_LOG_BLANK)
				continue;
			if (entry->kind != HM_LOG_VECTOR)
				visit(state, entry, NULL);
			else if (LogHeader(page)->slot_size < slot_size_for(dim))
				hm_corrupt(index, BufferGetBlockNumber(buffer),
						   "It has a log entry too short for %u dimensions.", dim);
			else if (!is_large(dim))
				visit(state, entry, (const uint16 *) (slot + sizeof(HmLogEntry)));
			else
			{
				if (large == NULL)
				{
					large = palloc(HM_LOG_PAGE_SLOTS);
					large_copy = palloc(dim * sizeof(uint16));
				}
				memcpy(large, slot, HM_LOG_PAGE_SLOTS);
				large_entry = true;
			}
		}
		UnlockReleaseBuffer(buffer);

		if (large_entry)
		{
			read_large_copy(index, directory->incarnation, dim, large, large_copy);
			visit(state, (const HmLogEntry *) large, large_copy);
		}
	}
	if (large != NULL)
	{
		pfree(large);
		pfree(large_copy);
	}
}

uint64
hm_log_blank(Relation index, const HmDirectory *directory,
			 bool (*is_dead) (ItemPointer tid, void *state), void *state, uint64 *live)
{
	BlockNumber block = directory->meta.log_head;
	uint64		blanked = 0;

	*live = 0;
	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = next_page(index, directory, block, BUFFER_LOCK_EXCLUSIVE);
		GenericXLogState *xlog = GenericXLogStart(index);
		Page		page = GenericXLogRegisterBuffer(xlog, buffer, 0);
		uint64		before = blanked;

		block = LogHeader(page)->next;
		for (int i = 0; i < LogHeader(page)->count; i++)
		{
			HmLogEntry *entry = (HmLogEntry *) LogSlot(page, i);

			if (entry->kind == HM_LOG_BLANK)
				continue;
			if (is_dead(&entry->tid, state))
			{
				entry->kind = HM_LOG_BLANK;
				blanked++;
			}
			else
				(*live)++;
		}
		if (blanked > before)
		{
			hm_page_seal(page);
			GenericXLogFinish(xlog);
		}
		else
			GenericXLogAbort(xlog);
		UnlockReleaseBuffer(buffer);
	}
	return blanked;
}

void
hm_log_count(Relation index, const HmDirectory *directory, uint64 *entries, uint64 *live,
			 uint32 *pages)
{
	BlockNumber block = directory->meta.log_head;

	*entries = *live = 0;
	*pages = 0;
	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = next_page(index, directory, block, BUFFER_LOCK_SHARE);
		Page		page = BufferGetPage(buffer);

		block = LogHeader(page)->next;
		(*pages)++;
		for (int i = 0; i < LogHeader(page)->count; i++)
		{
			const HmLogEntry *entry = (const HmLogEntry *) LogSlot(page, i);

			(*entries)++;
			if (entry->kind == HM_LOG_BLANK)
				continue;
			(*live)++;
			if (entry->kind == HM_LOG_VECTOR && is_large(directory->meta.dim))
			{
				const char *more = (const char *) entry + sizeof(HmLogEntry);

				for (int j = 0; j < HM_LOG_MAX_MORE; j++)
				{
					BlockNumber continuation;

					memcpy(&continuation, more + j * sizeof(BlockNumber), sizeof(continuation));
					if (continuation != InvalidBlockNumber)
						(*pages)++;
				}
			}
		}
		UnlockReleaseBuffer(buffer);
	}
}

void
hm_log_set_dimension(Relation index, HmDirectory *directory, uint32 dim, int scale)
{
	GenericXLogState *state = GenericXLogStart(index);
	Buffer		buffer;
	HmMeta	   *meta = hm_meta_update(index, state, &buffer);

	if (meta->dim == 0)
	{
		meta->dim = dim;
		meta->scale = scale;
		hm_meta_finish(meta);
		GenericXLogFinish(state);
	}
	else
		GenericXLogAbort(state);
	UnlockReleaseBuffer(buffer);
	hm_directory_read(index, directory);
}
