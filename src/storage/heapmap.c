/*-------------------------------------------------------------------------
 *
 * heapmap.c
 *	  A table's own files, mapped, to read vectors from its tuples.
 *
 * A table's file can be replaced (VACUUM FULL, TRUNCATE: another file number)
 * or cut at its end (VACUUM) only under AccessExclusiveLock, so what is mapped
 * under the scan's lock stays as long as the scan.  From one scan to the next
 * a segment is known again by device, inode and size.  A segment is mapped in
 * its full length of 1 GB at once: the part beyond the end of the file becomes
 * readable as the table grows, and is not touched before, since the size is
 * asked for first.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "access/heapam.h"
#include "access/htup_details.h"
#include "access/tableam.h"
#include "access/tupmacs.h"
#include "compat.h"
#include "storage/fd.h"
#include "storage/guard.h"
#include "storage/heapmap.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"

#define SEGMENT_BYTES	((size_t) RELSEG_SIZE * BLCKSZ)

typedef struct HeapMapEntry
{
	Oid			relation;		/* hash key */
	HmRelFileLocator locator;
	HmHeapMap	map;
	struct
	{
		dev_t		device;
		ino_t		inode;
	}		   *files;			/* parallel to map.segments */
	char		path[MAXPGPATH];
} HeapMapEntry;

static HTAB *heap_maps;

static void
unmap_segment(HeapMapEntry *entry, uint32 segment)
{
	HmHeapSegment *s = &entry->map.segments[segment];

	if (s->base != NULL)
	{
		hm_guard_remove_range(s->base);
		munmap((void *) s->base, SEGMENT_BYTES);
	}
	s->base = NULL;
	s->blocks = 0;
}

HmHeapMap *
hm_heapmap_acquire(Relation heap)
{
	HeapMapEntry *entry;
	Oid			relid = RelationGetRelid(heap);
	bool		found;

	if (heap->rd_tableam != GetHeapamTableAmRoutine() ||
		RelationUsesLocalBuffers(heap) || hm_data_is_direct_io())
		return NULL;

	if (heap_maps == NULL)
	{
		HASHCTL		control;

		memset(&control, 0, sizeof(control));
		control.keysize = sizeof(Oid);
		control.entrysize = sizeof(HeapMapEntry);
		control.hcxt = TopMemoryContext;
		heap_maps = hash_create("hnsw_mmap heap mappings", 16, &control,
								HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}

	entry = hash_search(heap_maps, &relid, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) entry + sizeof(Oid), 0, sizeof(HeapMapEntry) - sizeof(Oid));
		entry->locator = hm_rel_locator(heap);
		hm_relation_path(heap, entry->path, sizeof(entry->path));
	}
	else if (!hm_locator_equals(entry->locator, hm_rel_locator(heap)))
	{
		for (uint32 i = 0; i < entry->map.segment_count; i++)
			unmap_segment(entry, i);
		entry->locator = hm_rel_locator(heap);
		hm_relation_path(heap, entry->path, sizeof(entry->path));
	}
	entry->map.epoch++;
	return &entry->map;
}

static void
grow_segments(HeapMapEntry *entry, uint32 count)
{
	uint32		old = entry->map.segment_count;

	if (entry->map.segments == NULL)
	{
		entry->map.segments = MemoryContextAlloc(TopMemoryContext, count * sizeof(HmHeapSegment));
		entry->files = MemoryContextAlloc(TopMemoryContext, count * sizeof(*entry->files));
	}
	else
	{
		entry->map.segments = repalloc(entry->map.segments, count * sizeof(HmHeapSegment));
		entry->files = repalloc(entry->files, count * sizeof(*entry->files));
	}
	memset(&entry->map.segments[old], 0, (count - old) * sizeof(HmHeapSegment));
	memset(&entry->files[old], 0, (count - old) * sizeof(*entry->files));
	entry->map.segment_count = count;
}

/* Maps the file just seen as `st`; leaves the segment unmapped when that fails. */
static void
map_segment(HeapMapEntry *entry, uint32 segment, const char *name, const struct stat *st)
{
	int			fd = OpenTransientFile(name, O_RDONLY | PG_BINARY);
	void	   *base;

	if (fd < 0)
		return;
	base = mmap(NULL, SEGMENT_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	CloseTransientFile(fd);
	if (base == MAP_FAILED)
		return;
	(void) madvise(base, SEGMENT_BYTES, MADV_RANDOM);
	hm_guard_add_range(base, SEGMENT_BYTES);
	entry->map.segments[segment].base = base;
	entry->files[segment].device = st->st_dev;
	entry->files[segment].inode = st->st_ino;
}

bool
hm_heapmap_look(Relation heap, HmHeapMap *map, uint32 segment)
{
	HeapMapEntry *entry = (HeapMapEntry *) ((char *) map - offsetof(HeapMapEntry, map));
	char		name[MAXPGPATH + 16];
	struct stat st;
	HmHeapSegment *s;

	if (segment >= map->segment_count)
	{
		/* a block number from a damaged ref must not allocate without end */
		if (segment > MaxBlockNumber / RELSEG_SIZE)
			return false;
		grow_segments(entry, segment + 1);
	}
	s = &map->segments[segment];

	if (segment == 0)
		strlcpy(name, entry->path, sizeof(name));
	else
		snprintf(name, sizeof(name), "%s.%u", entry->path, segment);

	if (stat(name, &st) != 0)
	{
		unmap_segment(entry, segment);
		return false;
	}
	if (s->base != NULL &&
		(entry->files[segment].device != st.st_dev || entry->files[segment].inode != st.st_ino))
		unmap_segment(entry, segment);
	if (s->base == NULL)
		map_segment(entry, segment, name, &st);
	if (s->base == NULL)
		return false;

	s->blocks = (BlockNumber) Min((size_t) st.st_size / BLCKSZ, RELSEG_SIZE);
	s->epoch = map->epoch;
	return true;
}

#define CACHE_LINE		64

void
hm_heap_prefetch(const char *page, const ItemPointerData *tid)
{
	ItemIdData	item;
	size_t		offset = hm_heap_item_offset(tid);
	uint32		start;
	uint32		end;

	if (offset > BLCKSZ - sizeof(item))
		return;
	memcpy(&item, page + offset, sizeof(item));
	start = ItemIdGetOffset(&item);
	end = Min(start + ItemIdGetLength(&item), BLCKSZ);

	/*
	 * The whole tuple, as far as the second cache: a few of them are more than
	 * the first one's fill buffers take.  Batches of queries took 1.1 to 1.2
	 * times as long with prefetches into the first one at 384 dimensions, and
	 * 1.2 to 1.4 at 1,024.
	 */
	for (uint32 at = start & ~(CACHE_LINE - 1); at < end; at += CACHE_LINE)
		__builtin_prefetch(page + at, 0, 2);
}

/*
 * The length of a variable-length datum at `p`, of which `available` bytes may
 * be looked at; 0 when it does not fit.
 */
static size_t
varlena_length(const char *p, size_t available)
{
	size_t		length;

	if (available < 1)
		return 0;
	if (VARATT_IS_1B_E(p))
	{
		/* an unknown tag from a torn page must not reach VARSIZE_EXTERNAL's Assert */
		if (available < 2 ||
			(VARTAG_1B_E(p) != VARTAG_ONDISK && VARTAG_1B_E(p) != VARTAG_INDIRECT))
			return 0;
		length = VARSIZE_EXTERNAL(p);
	}
	else if (VARATT_IS_1B(p))
		length = VARSIZE_1B(p);
	else
	{
		uint32		header;

		if (available < 4)
			return 0;
		memcpy(&header, p, sizeof(header));
		length = VARSIZE_4B(&header);
		if (length < VARHDRSZ)
			return 0;
	}
	return length <= available ? length : 0;
}

const char *
hm_heap_attribute(const char *page, OffsetNumber offset, TupleDesc descriptor,
				  int attribute, size_t *available)
{
	ItemIdData	item;
	uint32		lower;
	uint32		start;
	uint32		length;
	const HeapTupleHeaderData *tuple;
	uint32		position;
	bool		has_nulls;

	/* The line pointer, copied so that what is checked is what is used. */
	lower = ((const volatile PageHeaderData *) page)->pd_lower;
	if (lower > BLCKSZ || lower < SizeOfPageHeaderData ||
		offset < FirstOffsetNumber ||
		SizeOfPageHeaderData + offset * sizeof(ItemIdData) > lower)
		return NULL;
	memcpy(&item, page + SizeOfPageHeaderData + (offset - 1) * sizeof(ItemIdData), sizeof(item));
	if (ItemIdIsRedirected(&item))
	{
		offset = ItemIdGetRedirect(&item);
		if (offset < FirstOffsetNumber ||
			SizeOfPageHeaderData + offset * sizeof(ItemIdData) > lower)
			return NULL;
		memcpy(&item, page + SizeOfPageHeaderData + (offset - 1) * sizeof(ItemIdData), sizeof(item));
	}
	if (!ItemIdIsNormal(&item))
		return NULL;

	start = ItemIdGetOffset(&item);
	length = ItemIdGetLength(&item);
	if (start > BLCKSZ || length > BLCKSZ - start || start % sizeof(uint32) != 0 ||
		length < SizeofHeapTupleHeader)
		return NULL;

	tuple = (const HeapTupleHeaderData *) (page + start);
	position = ((const volatile HeapTupleHeaderData *) tuple)->t_hoff;
	has_nulls = (tuple->t_infomask & HEAP_HASNULL) != 0;
	if (position < SizeofHeapTupleHeader || position > length || position != MAXALIGN(position) ||
		HeapTupleHeaderGetNatts(tuple) <= attribute)
		return NULL;
	if (has_nulls && (offsetof(HeapTupleHeaderData, t_bits) + BITMAPLEN(attribute + 1) > position ||
					  att_isnull(attribute, tuple->t_bits)))
		return NULL;

	/* Walk over the attributes before it, none of whose lengths is trusted. */
	for (int i = 0; i <= attribute; i++)
	{
		Form_pg_attribute att = TupleDescAttr(descriptor, i);
		const char *base = page + start;
		size_t		size;

		if (has_nulls && att_isnull(i, tuple->t_bits))
			continue;

		/* A padding byte is zero; a short varlena has no alignment. */
		if (att->attlen != -1 || (position < length && base[position] == 0))
			position = att_align_nominal(position, att->attalign);
		if (position >= length)
			return NULL;
		if (i == attribute)
			break;

		if (att->attlen > 0)
			size = att->attlen;
		else if (att->attlen == -1)
			size = varlena_length(base + position, length - position);
		else
			size = strnlen(base + position, length - position) + 1;
		if (size == 0 || size > length - position)
			return NULL;
		position += size;
	}

	*available = length - position;
	return page + start + position;
}
