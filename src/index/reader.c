/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  A part as a scan reads it.
 *
 * The graph search asks for lists inside a guarded call, where no page can be
 * verified and no buffer read.  So links() gives only what is verified or
 * staged, and NULL otherwise; the search then stops, hm_reader_fetch_links
 * makes the list available, and the search asks again.  After a while of
 * querying, all pages that matter are verified and this never happens.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/index.h"
#include "index/reader.h"
#include "storage/error.h"
#include "storage/guard.h"
#include "storage/part.h"

/* Where an element's list lies: the array, the page in it and the data offset. */
static inline HmArray
locate_list(const HmReader *reader, uint32 id, int level, uint32 *array_page, uint32 *offset)
{
	uint64		entry;

	if (level == 0)
	{
		*array_page = id / reader->links_per_page;
		*offset = (id % reader->links_per_page) * (2 * reader->store.m * sizeof(uint32));
		return HM_ARRAY_LINKS;
	}
	entry = reader->upper_first[level] + id;
	*array_page = (uint32) (entry / reader->upper_per_page);
	*offset = (uint32) (entry % reader->upper_per_page) * (reader->store.m * sizeof(uint32));
	return HM_ARRAY_UPPER;
}

/* An element that the level does not have, as a damaged list may claim. */
static inline bool
lacks_level(const HmReader *reader, uint32 id, int level)
{
	return id >= reader->part->level_count[level];
}

static const uint32_t no_links[1] = {HM_NO_ID};

static const uint32_t *
reader_links(HmStore *store, uint32_t id, int level, int *slots)
{
	HmReader   *reader = (HmReader *) store;
	uint32		array_page;
	uint32		offset;
	HmArray		array;
	const char *page;

	if (HM_UNLIKELY(lacks_level(reader, id, level)))
	{
		*slots = 0;
		return no_links;
	}
	*slots = level == 0 ? 2 * store->m : store->m;
	if (reader->mapping != NULL)
	{
		array = locate_list(reader, id, level, &array_page, &offset);
		page = hm_mapping_page(reader->mapping, reader->part->array_page[array] + array_page);
		if (HM_LIKELY(page != NULL))
			return (const uint32_t *) (page + HM_DATA_OFFSET + offset);
	}
	if (reader->staged_id == id && reader->staged_level == level)
		return reader->staged;
	return NULL;
}

static void
reader_prefetch(HmStore *store, uint32_t id, int level)
{
	HmReader   *reader = (HmReader *) store;
	uint32		array_page;
	uint32		offset;
	HmArray		array;

	if (reader->mapping == NULL || lacks_level(reader, id, level))
		return;
	array = locate_list(reader, id, level, &array_page, &offset);

	/* A prefetch never faults, so the page need not be verified. */
	__builtin_prefetch(reader->mapping->base +
					   (size_t) (reader->part->array_page[array] + array_page) * BLCKSZ +
					   HM_DATA_OFFSET + offset);
}

void
hm_reader_open(HmReader *reader, Relation index, const HmDirectory *directory,
			   const HmPartDesc *part)
{
	uint64		upper = 0;

	memset(reader, 0, sizeof(HmReader));
	reader->index = index;
	reader->directory = directory;
	reader->part = part;
	reader->staged_id = HM_NO_ID;
	reader->store.m = directory->meta.m;
	reader->store.entry_point = HM_NO_ID;
	reader->store.links = reader_links;
	reader->store.prefetch = reader_prefetch;
	if (part == NULL || part->element_count == 0)
	{
		if (part != NULL)
			reader->tombstones = hm_tombstones_load(index, directory, part);
		return;
	}

	reader->store.element_count = part->element_count;
	reader->store.entry_point = 0;
	reader->links_per_page = HM_PAGE_DATA / hm_array_entry_size(&directory->meta, HM_ARRAY_LINKS);
	reader->upper_per_page = HM_PAGE_DATA / hm_array_entry_size(&directory->meta, HM_ARRAY_UPPER);
	for (int level = 1; level < HM_MAX_LEVELS; level++)
	{
		reader->upper_first[level] = upper;
		upper += part->level_count[level];
		if (part->level_count[level] > 0)
			reader->store.top_level = level;
	}
	reader->tombstones = hm_tombstones_load(index, directory, part);
	reader->mapping = hm_mapping_acquire(index, directory, part);
}

void
hm_reader_close(HmReader *reader)
{
	if (reader->mapping != NULL)
		hm_mapping_release(reader->mapping);
	reader->mapping = NULL;
}

/* Verifies a page of the mapping; false when it can be read through buffers only. */
static bool
verify_page(HmReader *reader, uint32 page)
{
	uint64		overlaid = reader->mapping->overlaid_count;
	bool		usable = hm_mapping_verify(reader->index, reader->mapping,
										   reader->directory->incarnation, page);

	hm_last_scan.pages_verified++;
	hm_last_scan.pages_overlaid += reader->mapping->overlaid_count - overlaid;
	return usable;
}

void
hm_reader_fetch_links(HmReader *reader, uint32 id, int level)
{
	uint32		array_page;
	uint32		offset;
	HmArray		array = locate_list(reader, id, level, &array_page, &offset);
	uint32		size = (level == 0 ? 2 : 1) * reader->store.m * sizeof(uint32);

	if (reader->mapping != NULL &&
		verify_page(reader, reader->part->array_page[array] + array_page))
		return;
	hm_part_read_page(reader->index, reader->directory->incarnation, reader->part,
					  array, array_page, offset, size, reader->staged);
	reader->staged_id = id;
	reader->staged_level = level;
}

const char *
hm_reader_page(HmReader *reader, HmArray array, uint32 array_page)
{
	uint32		page = reader->part->array_page[array] + array_page;
	const char *address;

	if (reader->mapping == NULL)
		return NULL;
	address = hm_mapping_page(reader->mapping, page);
	if (address == NULL && verify_page(reader, page))
		address = hm_mapping_page(reader->mapping, page);
	return address;
}

typedef struct CopyCall
{
	void	   *to;
	const char *from;
	size_t		size;
} CopyCall;

static void
copy_call(void *argument)
{
	CopyCall   *call = argument;

	memcpy(call->to, call->from, call->size);
}

/* Copies one entry that does not span pages. */
static void
read_entry(HmReader *reader, HmArray array, uint32 number, void *entry)
{
	uint32		size = hm_array_entry_size(&reader->directory->meta, array);
	uint32		per_page = HM_PAGE_DATA / size;
	uint32		array_page = number / per_page;
	uint32		offset = (number % per_page) * size;
	const char *page = hm_reader_page(reader, array, array_page);

	if (page != NULL)
	{
		CopyCall	call = {entry, page + HM_DATA_OFFSET + offset, size};

		if (!hm_guarded_call(copy_call, &call))
			hm_mapping_fault(reader->index);
	}
	else
		hm_part_read_page(reader->index, reader->directory->incarnation, reader->part,
						  array, array_page, offset, size, entry);
}

HmRef
hm_reader_ref(HmReader *reader, uint32 id)
{
	HmRef		ref;

	read_entry(reader, HM_ARRAY_REFS, id, &ref);
	return ref;
}

HmPosting
hm_reader_posting(HmReader *reader, uint32 number)
{
	HmPosting	posting;

	read_entry(reader, HM_ARRAY_POSTINGS, number, &posting);
	return posting;
}

uint32
hm_reader_find_posting(HmReader *reader, uint32 id)
{
	uint32		low = 0;
	uint32		high = reader->part->posting_count;

	while (low < high)
	{
		uint32		middle = low + (high - low) / 2;

		if (hm_reader_posting(reader, middle).element < id)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

bool
hm_reader_next_tid(HmReader *reader, HmTidIterator *iterator, ItemPointer tid)
{
	if (!iterator->ref_done)
	{
		iterator->ref_done = true;
		if (!hm_reader_ref_is_dead(reader, iterator->id))
		{
			*tid = hm_reader_ref(reader, iterator->id).tid;
			return true;
		}
	}
	if (reader->part->posting_count == 0)
		return false;
	if (!iterator->postings_found)
	{
		iterator->posting = hm_reader_find_posting(reader, iterator->id);
		iterator->postings_found = true;
	}
	while (iterator->posting < reader->part->posting_count)
	{
		HmPosting	posting = hm_reader_posting(reader, iterator->posting);

		if (posting.element != iterator->id)
			break;
		iterator->posting++;
		if (!hm_reader_posting_is_dead(reader, iterator->posting - 1))
		{
			*tid = posting.tid;
			return true;
		}
	}
	return false;
}
