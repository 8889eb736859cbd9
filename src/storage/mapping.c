/*-------------------------------------------------------------------------
 *
 * mapping.c
 *	  Parts of an index, mapped into this process.
 *
 * Why a mapping cannot shrink under a reader: whatever truncates or unlinks
 * the file of an index (DROP, TRUNCATE, REINDEX, VACUUM FULL, SET TABLESPACE)
 * takes AccessExclusiveLock on it first, on a standby during replay too, and a
 * mapping is looked up only under a lock on the index.  Disks fail and people
 * truncate files by hand all the same: reads go through hm_guarded_call.
 *
 * Why a verified page stays verified: pages of a part are written once, and
 * the key of a mapping contains the incarnation, random bits of the build, and
 * the part's id, never reused in an incarnation.  A file that was truncated
 * and built anew in place, or another index under a recycled file number,
 * differs in it.
 *
 * Relation cache invalidations only mark mappings as suspect: they arrive in
 * the middle of scans, and for every VACUUM and ANALYZE.  The next acquire
 * drops those suspects that nobody uses and whose file is gone, so that the
 * address space of dropped indexes comes back.
 *
 * A merge replaces parts by another, so whoever maps a new part looks for
 * mappings of the same file that the directory has no use for any more.  Those
 * that a scan still reads go when it ends.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "compat.h"
#include "miscadmin.h"
#include "storage/buffer.h"
#include "storage/bufmgr.h"
#include "storage/error.h"
#include "storage/fd.h"
#include "storage/guard.h"
#include "storage/mapping.h"
#include "storage/page.h"
#include "storage/part.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"

/*
 * Each private copy is a mapping of its own to the kernel, which allows 65,530
 * by default; beyond these, pages are read through shared buffers.
 */
#define MAX_OVERLAYS	1024

typedef struct MappingKey
{
	HmRelFileLocator locator;
	uint32		part;
	uint64		incarnation;
} MappingKey;

typedef struct MappingEntry
{
	MappingKey	key;			/* hash key: must be first, zero-padded */
	HmMapping	mapping;
	size_t		size;			/* bytes of address space */
	int			references;
	bool		suspect;		/* the relation changed in some way */
	bool		retired;		/* the directory listed the part no longer */
	Oid			relation;
	dev_t		device;			/* of segment 0 */
	ino_t		inode;
	char		path[MAXPGPATH];
} MappingEntry;

static HTAB *mappings;
static bool any_suspect;
static uint64 mapped_bytes;
static uint64 touched_pages;	/* upper bound, since the last trim */

static void
relation_invalidated(Datum arg, Oid relid)
{
	HASH_SEQ_STATUS status;
	MappingEntry *entry;

	hash_seq_init(&status, mappings);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (relid == InvalidOid || entry->relation == relid)
			entry->suspect = any_suspect = true;
	}
}

static void
create_cache(void)
{
	HASHCTL		control;

	memset(&control, 0, sizeof(control));
	control.keysize = sizeof(MappingKey);
	control.entrysize = sizeof(MappingEntry);
	control.hcxt = TopMemoryContext;
	mappings = hash_create("hnsw_mmap mappings", 16, &control,
						   HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	CacheRegisterRelcacheCallback(relation_invalidated, (Datum) 0);
}

static void
unmap(MappingEntry *entry)
{
	if (entry->mapping.base != NULL)
	{
		hm_guard_remove_range(entry->mapping.base);
		munmap((void *) entry->mapping.base, entry->size);
		mapped_bytes -= entry->size;
	}
	if (entry->mapping.verified != NULL)
		pfree(entry->mapping.verified);
	if (entry->mapping.patches != NULL)
		hm_patch_index_free(entry->mapping.patches);
	hash_search(mappings, &entry->key, HASH_REMOVE, NULL);
}

/* Unmaps suspects whose file is gone or another one. */
static void
drop_stale_mappings(void)
{
	HASH_SEQ_STATUS status;
	MappingEntry *entry;

	any_suspect = false;
	hash_seq_init(&status, mappings);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		struct stat st;

		if (!entry->suspect)
			continue;
		if (entry->references > 0)
		{
			any_suspect = true;
			continue;
		}
		if (stat(entry->path, &st) != 0 || st.st_size == 0 ||
			st.st_dev != entry->device || st.st_ino != entry->inode)
			unmap(entry);
		else
			entry->suspect = false;
	}
}

static bool
directory_lists(const HmDirectory *directory, const MappingKey *key)
{
	if (key->incarnation != directory->incarnation)
		return false;
	for (uint32 i = 0; i < directory->meta.part_count; i++)
	{
		if (directory->meta.parts[i].part == key->part)
			return true;
	}
	return false;
}

/*
 * Unmaps parts of the index's file that are not in the directory, or marks
 * them for whoever reads them to do that.  Should the directory be an old one
 * and the part newer, it is mapped again when it is wanted.
 */
static void
drop_retired_mappings(Relation index, const HmDirectory *directory)
{
	HmRelFileLocator locator = hm_rel_locator(index);
	HASH_SEQ_STATUS status;
	MappingEntry *entry;

	hash_seq_init(&status, mappings);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (!hm_locator_equals(entry->key.locator, locator) ||
			directory_lists(directory, &entry->key))
			continue;
		if (entry->references == 0)
			unmap(entry);
		else
			entry->retired = true;
	}
}

/* Opens segment `segment` of the file at `path`. */
static int
open_segment(const char *path, uint32 segment)
{
	char		name[MAXPGPATH + 16];

	if (segment == 0)
		strlcpy(name, path, sizeof(name));
	else
		snprintf(name, sizeof(name), "%s.%u", path, segment);
	return OpenTransientFile(name, O_RDONLY | PG_BINARY);
}

/* Maps a run of blocks at `address`; false when the system will not. */
static bool
map_run(MappingEntry *entry, char *address, BlockNumber block, uint32 pages)
{
	while (pages > 0)
	{
		uint32		segment = block / RELSEG_SIZE;
		BlockNumber within = block % RELSEG_SIZE;
		uint32		count = Min(pages, RELSEG_SIZE - within);
		int			fd = open_segment(entry->path, segment);
		void	   *mapped;

		if (fd < 0)
			return false;
		mapped = mmap(address, (size_t) count * BLCKSZ, PROT_READ,
					  MAP_SHARED | MAP_FIXED, fd, (off_t) within * BLCKSZ);
		CloseTransientFile(fd);
		if (mapped == MAP_FAILED)
			return false;
		address += (size_t) count * BLCKSZ;
		block += count;
		pages -= count;
	}
	return true;
}

/*
 * Reserves addresses and maps the part's runs into them.  The reservation is
 * aligned like the runs, for kernels whose pages are larger than ours.
 */
static bool
map_part(MappingEntry *entry)
{
	const HmPartDesc *part = &entry->mapping.part;
	size_t		alignment = HM_RUN_ALIGNMENT * BLCKSZ;
	size_t		size = (size_t) part->array_page[HM_ARRAYS] * BLCKSZ;
	size_t		reserved = TYPEALIGN(alignment, size) + alignment;
	char	   *start,
			   *base,
			   *end;
	uint32		page = 0;

	start = mmap(NULL, reserved, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (start == MAP_FAILED)
		return false;

	/* Give back what lies before and after the aligned range. */
	base = (char *) TYPEALIGN(alignment, start);
	entry->size = TYPEALIGN(alignment, size);
	end = base + entry->size;
	if (base > start)
		munmap(start, base - start);
	if (start + reserved > end)
		munmap(end, start + reserved - end);

	for (uint32 i = 0; i < part->run_count; i++)
	{
		if (!map_run(entry, base + (size_t) page * BLCKSZ,
					 part->runs[i].block, part->runs[i].pages))
		{
			munmap(base, entry->size);
			return false;
		}
		page += part->runs[i].pages;
	}

	/* Lists and vectors are read in no order: reading ahead would be waste. */
	(void) madvise(base, entry->size, MADV_RANDOM);
	entry->mapping.base = base;
	entry->mapping.pages = page;
	mapped_bytes += entry->size;
	return true;
}

HmMapping *
hm_mapping_acquire(Relation index, const HmDirectory *directory, const HmPartDesc *part)
{
	MappingKey	key;
	MappingEntry *entry;
	bool		found;
	struct stat st;

	if (RelationUsesLocalBuffers(index) || hm_data_is_direct_io() ||
		part->array_page[HM_ARRAYS] == 0)
		return NULL;

	if (mappings == NULL)
		create_cache();
	if (any_suspect)
		drop_stale_mappings();

	memset(&key, 0, sizeof(key));
	key.locator = hm_rel_locator(index);
	key.part = part->part;
	key.incarnation = directory->incarnation;

	entry = hash_search(mappings, &key, HASH_ENTER, &found);
	if (!found)
	{
		/* hash_search left the rest of a new entry as it was */
		memset((char *) entry + sizeof(MappingKey), 0, sizeof(MappingEntry) - sizeof(MappingKey));
		drop_retired_mappings(index, directory);
		entry->mapping.part = *part;
		entry->relation = RelationGetRelid(index);
		hm_relation_path(index, entry->path, sizeof(entry->path));
		if (stat(entry->path, &st) != 0 || !map_part(entry))
		{
			unmap(entry);
			return NULL;
		}
		entry->device = st.st_dev;
		entry->inode = st.st_ino;

		PG_TRY();
		{
			entry->mapping.verified =
				MemoryContextAllocExtended(TopMemoryContext,
										   (entry->mapping.pages / 64 + 1) * sizeof(uint64),
										   MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
			hm_guard_add_range(entry->mapping.base, entry->size);
		}
		PG_CATCH();
		{
			unmap(entry);
			PG_RE_THROW();
		}
		PG_END_TRY();
	}

	entry->retired = false;
	entry->references++;
	return &entry->mapping;
}

void
hm_mapping_release(HmMapping *mapping)
{
	MappingEntry *entry = (MappingEntry *) ((char *) mapping - offsetof(MappingEntry, mapping));

	Assert(entry->references > 0);
	if (--entry->references == 0 && entry->retired)
		unmap(entry);
}

const HmPatchIndex *
hm_mapping_patches(Relation index, const HmDirectory *directory, HmMapping *mapping)
{
	if (mapping->patches == NULL && mapping->part.patch_count > 0)
		mapping->patches = hm_patch_index_make(index, directory, &mapping->part, TopMemoryContext);
	return mapping->patches;
}

typedef struct VerifyCall
{
	const char *page;
	const HmPageName *name;
	bool		valid;
} VerifyCall;

static void
verify_call(void *argument)
{
	VerifyCall *call = argument;

	call->valid = hm_page_verify(call->page, call->name);
}

static bool
verify_guarded(Relation index, const char *page, const HmPageName *name)
{
	VerifyCall	call = {page, name, false};

	if (!hm_guarded_call(verify_call, &call))
		hm_mapping_fault(index);
	return call.valid;
}

/* Which array a page of a part belongs to. */
static HmArray
array_of_page(const HmPartDesc *part, uint32 page)
{
	int			array = 0;

	while (page >= part->array_page[array + 1])
		array++;
	return array;
}

/* Puts a private copy of a good page over the file's bad one; false: no room. */
static bool
overlay_page(HmMapping *mapping, uint32 page, const char *copy)
{
	char	   *address = (char *) mapping->base + (size_t) page * BLCKSZ;

	if (mapping->overlaid_count >= MAX_OVERLAYS || sysconf(_SC_PAGESIZE) > BLCKSZ)
		return false;
	if (mmap(address, BLCKSZ, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
		return false;
	memcpy(address, copy, BLCKSZ);
	mapping->overlaid_count++;
	return true;
}

bool
hm_mapping_verify(Relation index, HmMapping *mapping, uint64 incarnation, uint32 page)
{
	const char *mapped = mapping->base + (size_t) page * BLCKSZ;
	HmArray		array = array_of_page(&mapping->part, page);
	HmPageName	name = {
		.incarnation = incarnation,
		.part = mapping->part.part,
		.kind = HM_PAGE_PART,
		.array = array,
		.page = page - mapping->part.array_page[array]
	};

	if (!verify_guarded(index, mapped, &name))
	{
		BlockNumber block = hm_part_block(&mapping->part, page);
		Buffer		buffer = hm_buffer_read(index, block, BUFFER_LOCK_SHARE);
		PGAlignedBlock copy;

		/*
		 * The file does not have the page yet, or a torn state of it.  Writing
		 * the buffer out heals it for every process; that is what eviction
		 * would do with it sooner or later, on a standby too.
		 */
		memcpy(copy.data, BufferGetPage(buffer), BLCKSZ);
		if (hm_page_verify(copy.data, &name))
			FlushOneBuffer(buffer);
		else
			hm_corrupt(index, block, "It is not page %u of array %d of part %u.",
					   name.page, (int) array, name.part);
		UnlockReleaseBuffer(buffer);

		if (!verify_guarded(index, mapped, &name) &&
			!overlay_page(mapping, page, copy.data))
			return false;
	}

	mapping->verified[page / 64] |= UINT64CONST(1) << (page % 64);
	mapping->verified_count++;
	return true;
}

void
hm_mapping_fault(Relation index)
{
	const char *address = hm_guard_fault_address();
	HASH_SEQ_STATUS status;
	MappingEntry *entry;

	hash_seq_init(&status, mappings);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		size_t		offset = address - entry->mapping.base;

		if (address < entry->mapping.base || offset >= entry->size)
			continue;
		hash_seq_term(&status);
		ereport(ERROR,
				(errcode(ERRCODE_IO_ERROR),
				 errmsg("could not read block %u of index \"%s\" through its mapping",
						hm_part_block(&entry->mapping.part, (uint32) (offset / BLCKSZ)),
						RelationGetRelationName(index)),
				 errdetail("File \"%s\" was truncated, or the disk failed.", entry->path),
				 errhint("If the file is damaged, REINDEX the index.")));
	}
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("could not read the table of index \"%s\" through its mapping",
					RelationGetRelationName(index)),
			 errdetail("Its file was truncated, or the disk failed.")));
}

void
hm_mapping_touched(uint64 pages, uint64 limit)
{
	HASH_SEQ_STATUS status;
	MappingEntry *entry;

	touched_pages += pages;
	if (limit == 0 || mapped_bytes <= limit || touched_pages < limit / BLCKSZ)
		return;

	touched_pages = 0;
	hash_seq_init(&status, mappings);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		/*
		 * The file's pages stay verified, and in the page cache.  Private
		 * copies would be lost, so a mapping that has any is left alone.
		 */
		if (entry->mapping.overlaid_count == 0)
			(void) madvise((void *) entry->mapping.base, entry->size, MADV_DONTNEED);
	}
}
