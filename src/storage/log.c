/*-------------------------------------------------------------------------
 *
 * log.c
 *	  The log: rows inserted since the last merge.
 *
 * Every change is one GenericXLog record, so a crash leaves each entry there
 * or not, and the chain whole:
 *
 *		- adding an entry changes the last page;
 *		- growing the chain changes the last page (its next), the new page
 *		  and the metapage together, which also hands out the new page's block;
 *		- an entry larger than a page first fills pages that nothing refers to
 *		  yet, then appears with the record that links its first page.  A crash
 *		  in between leaves those pages unused until the next merge.
 *
 * Pages are numbered by a sequence without gaps along the chain, so whoever
 * follows it knows what comes next.
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
#include "storage/log.h"
#include "storage/logcache.h"
#include "storage/page.h"
#include "storage/space.h"
#include "storage/testpoint.h"

#define LogHeader(page)		((HmLogPageHeader *) HmPageGetData(page))
#define LogSlot(page, i)	(HmPageGetData(page) + sizeof(HmLogPageHeader) + \
							 (Size) (i) * LogHeader(page)->slot_size)

/* Blocks that the log reserves at a time; more when the directory is getting full. */
#define RESERVE_BLOCKS		16
#define LARGE_RESERVE		1024

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

uint32
hm_log_entries_per_page(const HmMeta *meta)
{
	return HM_LOG_PAGE_SLOTS / slot_size_for(meta->dim);
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

/*
 * Takes a block out of the log's reserve, the metapage being locked, and
 * returns its exclusively locked, zeroed buffer.
 */
static Buffer
new_buffer(Relation index, HmMeta *meta)
{
	BlockNumber block;

	if (meta->log_reserve_blocks == 0)
	{
		uint32		blocks = meta->space_count < HM_MAX_SPACES / 2 ? RESERVE_BLOCKS : LARGE_RESERVE;

		meta->log_reserve = hm_space_take(index, meta, blocks, HM_SPACE_LOG);
		meta->log_reserve_blocks = blocks;
	}
	block = meta->log_reserve++;
	meta->log_reserve_blocks--;
	hm_space_extend(index, block + meta->log_reserve_blocks + 1);
	return ReadBufferExtended(index, MAIN_FORKNUM, block, RBM_ZERO_AND_LOCK, NULL);
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
		Buffer		meta_buffer;
		Buffer		buffer;
		HmMeta	   *meta;
		Page		page;

		more[i] = InvalidBlockNumber;
		if (piece == 0)
			continue;

		state = GenericXLogStart(index);
		meta = hm_meta_update(index, state, &meta_buffer);
		buffer = new_buffer(index, meta);
		hm_meta_finish(meta);
		page = GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE);
		hm_page_init(page, &name);
		memcpy(HmPageGetData(page), (const char *) copy + done, piece);
		hm_page_seal(page);
		GenericXLogFinish(state);
		more[i] = BufferGetBlockNumber(buffer);
		UnlockReleaseBuffer(buffer);
		UnlockReleaseBuffer(meta_buffer);
		done += piece;
	}
}

/*
 * Says what of the page is used, so that images of it in the write-ahead log
 * leave out the rest, which is zero: see format.h.
 */
static void
set_used(Page page)
{
	PageHeader	header = (PageHeader) page;

	header->pd_lower = HM_DATA_OFFSET + sizeof(HmLogPageHeader) +
		LogHeader(page)->count * LogHeader(page)->slot_size;
	header->pd_upper = header->pd_special = BLCKSZ;
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
	set_used(page);
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
 * Adds a page to the chain, with an entry on it unless `entry` is NULL.  tail:
 * the exclusively locked last page, or InvalidBuffer when there is none: then
 * the metapage's lock decides who makes the first.  False: somebody else made
 * it.
 */
static bool
append_page(Relation index, const HmDirectory *directory, Buffer tail,
			const HmLogEntry *entry, const uint16 *copy, const BlockNumber *more)
{
	GenericXLogState *state = GenericXLogStart(index);
	HmPageName	name = {.incarnation = directory->incarnation, .kind = HM_PAGE_LOG};
	Buffer		buffer;
	Buffer		meta_buffer;
	HmMeta	   *meta = hm_meta_update(index, state, &meta_buffer);
	Page		page;

	if (!BufferIsValid(tail) && meta->log_head != InvalidBlockNumber)
	{
		GenericXLogAbort(state);
		UnlockReleaseBuffer(meta_buffer);
		return false;
	}

	buffer = new_buffer(index, meta);
	page = GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE);
	name.part = meta->log_next_sequence++;
	hm_page_init(page, &name);
	LogHeader(page)->next = InvalidBlockNumber;
	LogHeader(page)->slot_size = slot_size_for(directory->meta.dim);
	set_used(page);
	if (entry != NULL)
		put_entry(page, entry, directory->meta.dim, copy, more);
	hm_page_seal(page);

	if (BufferIsValid(tail))
	{
		Page		tail_page = GenericXLogRegisterBuffer(state, tail, 0);

		LogHeader(tail_page)->next = BufferGetBlockNumber(buffer);
		hm_page_seal(tail_page);
	}
	else
	{
		meta->log_head = BufferGetBlockNumber(buffer);
		meta->log_head_sequence = name.part;
	}
	meta->log_tail = BufferGetBlockNumber(buffer);
	hm_meta_finish(meta);

	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
	UnlockReleaseBuffer(meta_buffer);
	return true;
}

/* Finds the end of the chain and locks it exclusively, starting from a page of it. */
static Buffer
lock_tail(Relation index, const HmDirectory *directory, BlockNumber block)
{
	for (;;)
	{
		Buffer		buffer = hm_buffer_read(index, block, BUFFER_LOCK_EXCLUSIVE);
		HmLogPageHeader *header = LogHeader(BufferGetPage(buffer));

		check_log_page(index, buffer, directory->incarnation);
		if (header->next == InvalidBlockNumber)
			return buffer;
		block = header->next;
		UnlockReleaseBuffer(buffer);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Locks the end of the chain; InvalidBuffer: there is none. */
static Buffer
lock_end(Relation index, HmDirectory *directory)
{
	if (directory->meta.log_tail == InvalidBlockNumber)
		hm_directory_read(index, directory);
	if (directory->meta.log_tail == InvalidBlockNumber)
		return InvalidBuffer;
	return lock_tail(index, directory, directory->meta.log_tail);
}

/* Adds the entry, unless the log was sealed since its further pages were written. */
static bool
try_append(Relation index, HmDirectory *directory, const HmLogEntry *entry,
		   const uint16 *copy, const BlockNumber *more)
{
	uint32		dim = directory->meta.dim;
	uint32		needed = copy != NULL ? slot_size_for(dim) : sizeof(HmLogEntry);
	uint32		seals = directory->meta.log_seals;
	Buffer		buffer = lock_end(index, directory);
	bool		done = true;

	if (!BufferIsValid(buffer))
		return append_page(index, directory, InvalidBuffer, entry, copy, more);

	/* Whoever seals the log holds this lock. */
	if (more != NULL)
		hm_directory_read(index, directory);

	if (directory->meta.log_seals != seals)
		done = false;
	else if (has_room(BufferGetPage(buffer), needed))
	{
		GenericXLogState *state = GenericXLogStart(index);

		put_entry(GenericXLogRegisterBuffer(state, buffer, 0), entry, dim, copy, more);
		GenericXLogFinish(state);
	}
	else
		append_page(index, directory, buffer, entry, copy, more);
	UnlockReleaseBuffer(buffer);
	return done;
}

void
hm_log_append(Relation index, HmDirectory *directory, const HmLogEntry *entry,
			  const uint16 *copy)
{
	BlockNumber more[HM_LOG_MAX_MORE];
	bool		large = copy != NULL && is_large(directory->meta.dim);

	Assert((entry->kind == HM_LOG_VECTOR) == (copy != NULL));
	do
	{
		if (large)
			write_more_pages(index, directory, copy, more);
		HM_TEST_POINT("log-append");
	} while (!try_append(index, directory, entry, copy, large ? more : NULL));
}

/* The spaces that the log takes, but for the run of one block. */
static void
note_sealed(const HmMeta *meta, BlockNumber except, HmLogSeal *seal)
{
	seal->count = 0;
	for (uint32 i = 0; i < meta->space_count; i++)
	{
		const HmSpace *space = &meta->spaces[i];
		BlockNumber end = space->block + space->blocks;
		BlockNumber run = except - except % HM_RUN_ALIGNMENT;

		if (space->state != HM_SPACE_LOG)
			continue;
		if (except == InvalidBlockNumber || run < space->block || run >= end)
			seal->ranges[seal->count++] = (HmRun) {space->block, space->blocks};
		else
		{
			if (run > space->block)
				seal->ranges[seal->count++] = (HmRun) {space->block, run - space->block};
			if (run + HM_RUN_ALIGNMENT < end)
				seal->ranges[seal->count++] =
					(HmRun) {run + HM_RUN_ALIGNMENT, end - run - HM_RUN_ALIGNMENT};
		}
	}
}

void
hm_log_seal(Relation index, HmDirectory *directory, HmLogSeal *seal)
{
	GenericXLogState *state;
	Buffer		buffer;
	Buffer		meta_buffer;
	HmMeta	   *meta;
	bool		empty;

	seal->count = 0;
	seal->next_head = InvalidBlockNumber;
	seal->next_sequence = 0;
	if (directory->meta.log_head == InvalidBlockNumber)
		return;

	/* an empty page was made by a merge that did not come to its end */
	buffer = lock_end(index, directory);
	empty = LogHeader(BufferGetPage(buffer))->count == 0;

	/* What is left of the reserve goes the way of the pages before it. */
	state = GenericXLogStart(index);
	meta = hm_meta_update(index, state, &meta_buffer);
	meta->log_seals++;
	meta->log_reserve_blocks = 0;
	note_sealed(meta, empty ? BufferGetBlockNumber(buffer) : InvalidBlockNumber, seal);
	hm_meta_finish(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(meta_buffer);

	if (!empty)
	{
		append_page(index, directory, buffer, NULL, NULL, NULL);
		seal->next_head = LogHeader(BufferGetPage(buffer))->next;
		seal->next_sequence = HmPageGetIdentity(BufferGetPage(buffer))->part + 1;
	}
	else
	{
		seal->next_head = BufferGetBlockNumber(buffer);
		seal->next_sequence = HmPageGetIdentity(BufferGetPage(buffer))->part;
	}
	UnlockReleaseBuffer(buffer);
	hm_directory_read(index, directory);
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
next_page(Relation index, const HmDirectory *directory, BlockNumber block, uint32 *sequence,
		  int lock_mode)
{
	Buffer		buffer;

	CHECK_FOR_INTERRUPTS();
	if (block == HM_META_BLOCK || block >= RelationGetNumberOfBlocks(index))
		hm_corrupt(index, block, "The log continues at this block, beyond the end of the file.");
	buffer = hm_buffer_read(index, block, lock_mode);
	check_log_page(index, buffer, directory->incarnation);
	if (HmPageGetIdentity(BufferGetPage(buffer))->part != *sequence)
		hm_corrupt(index, block, "It is page %u of the log where page %u should be.",
				   HmPageGetIdentity(BufferGetPage(buffer))->part, *sequence);
	(*sequence)++;
	return buffer;
}

/* What scan_chain does with what it finds. */
typedef struct ChainVisit
{
	HmLogVisitor visit;
	void	   *state;
	bool		blank_too;
	HmLogCache *cache;			/* where to keep what cannot change; may be NULL */
} ChainVisit;

static inline void
visit_entry(const ChainVisit *visit, bool keep, const HmLogEntry *entry, const uint16 *copy)
{
	visit->visit(visit->state, entry, copy);
	if (keep)
		hm_logcache_add(visit->cache, entry, copy);
}

/* Visits the entries from a page to the one before block `end`. */
static void
scan_chain(Relation index, const HmDirectory *directory, BlockNumber block, uint32 sequence,
		   BlockNumber end, const ChainVisit *visit)
{
	uint32		dim = directory->meta.dim;
	char	   *large = NULL;
	uint16	   *large_copy = NULL;

	while (block != InvalidBlockNumber && block != end)
	{
		Buffer		buffer = next_page(index, directory, block, &sequence, BUFFER_LOCK_SHARE);
		Page		page = BufferGetPage(buffer);
		bool		large_entry = false;
		bool		keep;

		block = LogHeader(page)->next;
		keep = visit->cache != NULL && block != InvalidBlockNumber;
		for (int i = 0; i < LogHeader(page)->count; i++)
		{
			const char *slot = LogSlot(page, i);
			const HmLogEntry *entry = (const HmLogEntry *) slot;

			if (entry->kind == HM_LOG_BLANK && !visit->blank_too)
				continue;
			if (entry->kind != HM_LOG_VECTOR)
				visit_entry(visit, keep, entry, NULL);
			else if (LogHeader(page)->slot_size < slot_size_for(dim))
				hm_corrupt(index, BufferGetBlockNumber(buffer),
						   "It has a log entry too short for %u dimensions.", dim);
			else if (!is_large(dim))
				visit_entry(visit, keep, entry, (const uint16 *) (slot + sizeof(HmLogEntry)));
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
			visit_entry(visit, keep, (const HmLogEntry *) large, large_copy);
		}
		if (keep)
			hm_logcache_end_page(visit->cache, block);
	}
	if (large != NULL)
	{
		pfree(large);
		pfree(large_copy);
	}
}

void
hm_log_scan(Relation index, const HmDirectory *directory, HmLogCachedVisitor visit_cached,
			HmLogVisitor visit, void *state)
{
	ChainVisit	chain = {.visit = visit, .state = state};
	HmLogCached cached;
	BlockNumber block;
	uint32		sequence;

	if (directory->meta.log_head == InvalidBlockNumber)
		return;
	chain.cache = hm_logcache_get(directory, &block, &sequence);
	hm_logcache_view(chain.cache, &cached);
	if (cached.count > 0)
		visit_cached(state, &cached);
	scan_chain(index, directory, block, sequence, InvalidBlockNumber, &chain);
}

void
hm_log_scan_sealed(Relation index, const HmDirectory *directory, const HmLogSeal *seal,
				   HmLogVisitor visit, void *state)
{
	ChainVisit	chain = {.visit = visit, .state = state, .blank_too = true};

	if (seal->next_head != InvalidBlockNumber)
		scan_chain(index, directory, directory->meta.log_head, directory->meta.log_head_sequence,
				   seal->next_head, &chain);
}

uint64
hm_log_blank(Relation index, const HmDirectory *directory,
			 bool (*is_dead) (ItemPointer tid, void *state), void *state, uint64 *live)
{
	BlockNumber block = directory->meta.log_head;
	uint32		sequence = directory->meta.log_head_sequence;
	uint64		blanked = 0;

	*live = 0;
	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = next_page(index, directory, block, &sequence, BUFFER_LOCK_EXCLUSIVE);
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
			Buffer		meta_buffer;
			HmMeta	   *meta = hm_meta_update(index, xlog, &meta_buffer);

			/* nobody is to use copies of the page made before: storage/logcache.h */
			meta->tombstone_version++;
			hm_meta_finish(meta);
			hm_page_seal(page);
			GenericXLogFinish(xlog);
			UnlockReleaseBuffer(meta_buffer);
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
	uint32		sequence = directory->meta.log_head_sequence;

	*entries = *live = 0;
	*pages = 0;
	while (block != InvalidBlockNumber)
	{
		Buffer		buffer = next_page(index, directory, block, &sequence, BUFFER_LOCK_SHARE);
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
hm_log_set_dimension(Relation index, HmDirectory *directory, uint32 dim, int scale,
					 const HmIndexedFile *file)
{
	GenericXLogState *state = GenericXLogStart(index);
	Buffer		buffer;
	HmMeta	   *meta = hm_meta_update(index, state, &buffer);

	if (meta->dim == 0)
	{
		meta->dim = dim;
		meta->scale = scale;
		meta->file = *file;
		hm_meta_finish(meta);
		GenericXLogFinish(state);
	}
	else
		GenericXLogAbort(state);
	UnlockReleaseBuffer(buffer);
	hm_directory_read(index, directory);
}
