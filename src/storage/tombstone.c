/*-------------------------------------------------------------------------
 *
 * tombstone.c
 *	  One bit per TID of a part: its row is dead.
 *
 * The pages are made by the first VACUUM that finds a dead row: a run of new
 * pages at the end of the file, found contiguous because the extension lock is
 * held throughout, and put into the directory last.  A crash before that
 * leaves pages that nothing refers to.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/buffer.h"
#include "storage/bufmgr.h"
#include "storage/error.h"
#include "storage/lmgr.h"
#include "storage/page.h"
#include "storage/tombstone.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

typedef struct TombstoneCache
{
	Oid			index;			/* hash key */
	uint64		incarnation;
	uint64		version;
	uint32		part;
	uint64	   *bits;
	uint64		words;
} TombstoneCache;

static HTAB *cache;

static HmPageName
tombstone_page_name(const HmDirectory *directory, const HmPartDesc *part, uint32 page)
{
	HmPageName	name = {
		.incarnation = directory->incarnation,
		.part = part->part,
		.kind = HM_PAGE_TOMBSTONES,
		.page = page
	};

	return name;
}

static TombstoneCache *
cache_entry(Relation index, bool *found)
{
	Oid			relid = RelationGetRelid(index);

	if (cache == NULL)
	{
		HASHCTL		control;

		memset(&control, 0, sizeof(control));
		control.keysize = sizeof(Oid);
		control.entrysize = sizeof(TombstoneCache);
		control.hcxt = TopMemoryContext;
		cache = hash_create("hnsw_mmap tombstones", 16, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	return hash_search(cache, &relid, HASH_ENTER, found);
}

const uint64 *
hm_tombstones_load(Relation index, const HmDirectory *directory, const HmPartDesc *part)
{
	TombstoneCache *entry;
	bool		found;
	uint32		pages = HM_TOMBSTONE_PAGES(part);
	uint64		words = (uint64) pages * HM_PAGE_DATA / sizeof(uint64);

	if (part->tombstone_block == InvalidBlockNumber || part->dead_count == 0)
		return NULL;

	entry = cache_entry(index, &found);
	if (found && entry->bits != NULL && entry->incarnation == directory->incarnation &&
		entry->version == directory->meta.tombstone_version && entry->part == part->part)
		return entry->bits;

	if (!found)
		entry->bits = NULL;
	if (entry->bits != NULL && entry->words != words)
	{
		pfree(entry->bits);
		entry->bits = NULL;
	}
	if (entry->bits == NULL)
		entry->bits = MemoryContextAllocHuge(TopMemoryContext, words * sizeof(uint64));
	entry->words = words;
	entry->version = 0;			/* not valid until all of it is read */

	for (uint32 i = 0; i < pages; i++)
	{
		HmPageName	name = tombstone_page_name(directory, part, i);
		Buffer		buffer = hm_buffer_read(index, part->tombstone_block + i, BUFFER_LOCK_SHARE);

		if (!hm_page_verify((const char *) BufferGetPage(buffer), &name))
			hm_corrupt(index, part->tombstone_block + i,
					   "It is not page %u of the tombstones of part %u.", i, part->part);
		memcpy((char *) entry->bits + (Size) i * HM_PAGE_DATA,
			   HmPageGetData(BufferGetPage(buffer)), HM_PAGE_DATA);
		UnlockReleaseBuffer(buffer);
	}
	entry->incarnation = directory->incarnation;
	entry->part = part->part;
	entry->version = directory->meta.tombstone_version;
	return entry->bits;
}

const uint64 *
hm_tombstones_reload(Relation index, const HmDirectory *directory, const HmPartDesc *part)
{
	bool		found;
	TombstoneCache *entry = cache_entry(index, &found);

	if (!found)
		entry->bits = NULL;
	entry->version = 0;
	return hm_tombstones_load(index, directory, part);
}

/* Makes the part's tombstone pages, all bits clear, and returns the first. */
static BlockNumber
create_pages(Relation index, const HmDirectory *directory, const HmPartDesc *part)
{
	BlockNumber first = InvalidBlockNumber;
	bool		need_lock = !RELATION_IS_LOCAL(index);

	if (need_lock)
		LockRelationForExtension(index, ExclusiveLock);
	for (uint32 i = 0; i < HM_TOMBSTONE_PAGES(part); i++)
	{
		HmPageName	name = tombstone_page_name(directory, part, i);
		Buffer		buffer = hm_buffer_extend(index);
		GenericXLogState *state;
		Page		page;

		state = GenericXLogStart(index);
		page = GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE);
		hm_page_init(page, &name);
		hm_page_seal(page);
		GenericXLogFinish(state);
		if (i == 0)
			first = BufferGetBlockNumber(buffer);
		UnlockReleaseBuffer(buffer);
	}
	if (need_lock)
		UnlockRelationForExtension(index, ExclusiveLock);
	return first;
}

/* Sets those bits[0 .. n-1] that lie on tombstone page `number`; returns how many. */
static uint64
set_on_page(Relation index, const HmDirectory *directory, const HmPartDesc *part,
			BlockNumber block, uint32 number, const uint64 *bits, uint64 n)
{
	HmPageName	name = tombstone_page_name(directory, part, number);
	GenericXLogState *state;
	Buffer		buffer = hm_buffer_read(index, block, BUFFER_LOCK_EXCLUSIVE);
	uint64	   *words;
	Page		page;
	uint64		done = 0;

	if (!hm_page_verify((const char *) BufferGetPage(buffer), &name))
		hm_corrupt(index, block, "It is not page %u of the tombstones of part %u.", number, part->part);
	state = GenericXLogStart(index);
	page = GenericXLogRegisterBuffer(state, buffer, 0);
	words = (uint64 *) HmPageGetData(page);
	while (done < n && bits[done] / HM_TOMBSTONE_BITS == number)
	{
		uint32		within = bits[done] % HM_TOMBSTONE_BITS;

		words[within / 64] |= UINT64CONST(1) << (within % 64);
		done++;
	}
	hm_page_seal(page);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
	return done;
}

void
hm_tombstones_set(Relation index, HmDirectory *directory, uint32 part_number,
				  const uint64 *bits, uint64 count, uint64 total_dead)
{
	const HmPartDesc *part = &directory->meta.parts[part_number];
	BlockNumber first = part->tombstone_block;
	uint64		done = 0;
	GenericXLogState *state;
	HmMeta	   *meta;
	Buffer		buffer;

	if (first == InvalidBlockNumber)
		first = create_pages(index, directory, part);

	while (done < count)
	{
		uint32		number = (uint32) (bits[done] / HM_TOMBSTONE_BITS);

		done += set_on_page(index, directory, part, first + number, number,
							bits + done, count - done);
	}

	state = GenericXLogStart(index);
	meta = hm_meta_update(index, state, &buffer);
	meta->tombstone_version++;
	meta->parts[part_number].tombstone_block = first;
	meta->parts[part_number].dead_count = (uint32) total_dead;
	hm_meta_finish(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);

	hm_directory_read(index, directory);
}
