/*-------------------------------------------------------------------------
 *
 * tombstone.c
 *	  One bit per TID of a part: its row is dead.
 *
 * The pages are made by the first VACUUM that finds a dead row, or by the merge
 * that writes the part, when rows died meanwhile: a run of blocks that is
 * PENDING in the directory until the pages are there and listed.
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
#include "storage/page.h"
#include "storage/space.h"
#include "storage/testpoint.h"
#include "storage/tombstone.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

/* Which bits a process has a copy of: the hash key. */
typedef struct TombstoneKey
{
	uint64		incarnation;
	Oid			index;
	uint32		part;
} TombstoneKey;

typedef struct TombstoneCache
{
	TombstoneKey key;			/* must be first */
	uint64		version;		/* of the directory; 0: not all of it is read */
	uint64	   *bits;
	uint64		words;
	int			references;
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
cache_entry(Relation index, const HmDirectory *directory, const HmPartDesc *part)
{
	TombstoneKey key;
	TombstoneCache *entry;
	bool		found;

	if (cache == NULL)
	{
		HASHCTL		control;

		memset(&control, 0, sizeof(control));
		control.keysize = sizeof(TombstoneKey);
		control.entrysize = sizeof(TombstoneCache);
		control.hcxt = TopMemoryContext;
		cache = hash_create("hnsw_mmap tombstones", 16, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	memset(&key, 0, sizeof(key));
	key.incarnation = directory->incarnation;
	key.index = RelationGetRelid(index);
	key.part = part->part;
	entry = hash_search(cache, &key, HASH_ENTER, &found);
	if (!found)
	{
		entry->version = 0;
		entry->bits = NULL;
		entry->words = 0;
		entry->references = 0;
	}
	return entry;
}

/* Forgets what belongs to an earlier life of the index, or to parts merged away. */
static void
purge(Relation index, const HmDirectory *directory)
{
	HASH_SEQ_STATUS status;
	TombstoneCache *entry;

	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		bool		listed = false;

		if (entry->key.index != RelationGetRelid(index) || entry->references > 0)
			continue;
		for (uint32 i = 0; i < directory->meta.part_count; i++)
			listed |= directory->meta.parts[i].part == entry->key.part;
		if (listed && entry->key.incarnation == directory->incarnation)
			continue;
		if (entry->bits != NULL)
			pfree(entry->bits);
		hash_search(cache, &entry->key, HASH_REMOVE, NULL);
	}
}

/* Copies the bits out of shared buffers. */
static void
read_bits(Relation index, const HmDirectory *directory, const HmPartDesc *part, TombstoneCache *entry)
{
	uint32		pages = HM_TOMBSTONE_PAGES(part);

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
	entry->version = directory->meta.tombstone_version;
}

const uint64 *
hm_tombstones_load(Relation index, const HmDirectory *directory, const HmPartDesc *part)
{
	TombstoneCache *entry;

	if (part->tombstone_block == InvalidBlockNumber || part->dead_count == 0)
		return NULL;

	entry = cache_entry(index, directory, part);
	if (entry->bits == NULL)
	{
		purge(index, directory);
		entry = cache_entry(index, directory, part);
		entry->words = (uint64) HM_TOMBSTONE_PAGES(part) * HM_PAGE_DATA / sizeof(uint64);
		entry->bits = MemoryContextAllocHuge(TopMemoryContext, entry->words * sizeof(uint64));
	}
	if (entry->version < directory->meta.tombstone_version)
		read_bits(index, directory, part, entry);
	entry->references++;
	return entry->bits;
}

void
hm_tombstones_release(const uint64 *bits)
{
	HASH_SEQ_STATUS status;
	TombstoneCache *entry;

	if (bits == NULL)
		return;
	hash_seq_init(&status, cache);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->bits != bits)
			continue;
		entry->references--;
		hash_seq_term(&status);
		return;
	}
}

const uint64 *
hm_tombstones_reload(Relation index, const HmDirectory *directory, const HmPartDesc *part)
{
	if (part->tombstone_block == InvalidBlockNumber)
		return NULL;
	cache_entry(index, directory, part)->version = 0;
	return hm_tombstones_load(index, directory, part);
}

BlockNumber
hm_tombstones_create(Relation index, const HmDirectory *directory, const HmPartDesc *part)
{
	uint32		pages = HM_TOMBSTONE_PAGES(part);
	GenericXLogState *state;
	Buffer		meta_buffer;
	HmMeta	   *meta;
	BlockNumber first;

	hm_space_prepare(index, part, pages);
	state = GenericXLogStart(index);
	meta = hm_meta_update(index, state, &meta_buffer);
	first = hm_space_take(index, meta, pages, HM_SPACE_PENDING);
	hm_meta_finish(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(meta_buffer);
	hm_space_extend(index, first + pages);

	for (uint32 i = 0; i < pages; i++)
	{
		HmPageName	name = tombstone_page_name(directory, part, i);
		Buffer		buffer = ReadBufferExtended(index, MAIN_FORKNUM, first + i,
												RBM_ZERO_AND_LOCK, NULL);
		Page		page;

		state = GenericXLogStart(index);
		page = GenericXLogRegisterBuffer(state, buffer, GENERIC_XLOG_FULL_IMAGE);
		hm_page_init(page, &name);
		hm_page_seal(page);
		GenericXLogFinish(state);
		UnlockReleaseBuffer(buffer);
	}
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
hm_tombstones_write(Relation index, const HmDirectory *directory, const HmPartDesc *part,
					BlockNumber first, const uint64 *bits, uint64 count)
{
	uint64		done = 0;

	while (done < count)
	{
		uint32		number = (uint32) (bits[done] / HM_TOMBSTONE_BITS);

		done += set_on_page(index, directory, part, first + number, number,
							bits + done, count - done);
	}
}

void
hm_tombstones_set(Relation index, HmDirectory *directory, uint32 part_number,
				  const uint64 *bits, uint64 count, uint64 total_dead)
{
	const HmPartDesc *part = &directory->meta.parts[part_number];
	BlockNumber first = part->tombstone_block;
	GenericXLogState *state;
	HmMeta	   *meta;
	Buffer		buffer;

	if (first == InvalidBlockNumber)
		first = hm_tombstones_create(index, directory, part);
	hm_tombstones_write(index, directory, part, first, bits, count);
	HM_TEST_POINT("vacuum-bits-set");

	state = GenericXLogStart(index);
	meta = hm_meta_update(index, state, &buffer);
	meta->tombstone_version++;
	if (part->tombstone_block == InvalidBlockNumber)
		hm_space_claim(meta, first, HM_TOMBSTONE_PAGES(part));
	meta->parts[part_number].tombstone_block = first;
	meta->parts[part_number].dead_count = (uint32) total_dead;
	hm_meta_finish(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);

	hm_directory_read(index, directory);
}
