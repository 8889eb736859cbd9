/*-------------------------------------------------------------------------
 *
 * reader.c
 *	  The parts of an index as a scan reads them.
 *
 * The graph search asks for lists inside a guarded call, where no page can be
 * verified and no buffer read.  So links() gives only what is verified or
 * staged, and NULL otherwise; the search then stops, hm_reader_fetch_links
 * makes the list available, and the search asks again.  After a while of
 * querying, all pages that matter are verified and this never happens.
 *
 * An element's list is the one that the newest part has for it: as a patch, if
 * the element is of an older part, or else its own.  In an index of one part
 * there is nobody to ask; otherwise asking a part costs one load, see
 * storage/patchindex.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/index.h"
#include "index/reader.h"
#include "storage/error.h"
#include "storage/guard.h"
#include "storage/part.h"

/* Where a list lies. */
typedef struct ListPlace
{
	const HmReaderPart *part;
	HmArray		array;
	uint32		array_page;
	uint32		offset;			/* data offset of the first slot, in bytes */
	int			slots;			/* at least one */
} ListPlace;

static const uint32_t no_links[1] = {HM_NO_ID};

/* The newest part's patch for a list of an element of part `owner`. */
static inline const HmPatch *
find_patch(const HmReader *reader, int owner, uint32 id, int level, int *part)
{
	for (*part = reader->part_count - 1; *part > owner; (*part)--)
	{
		const HmPatchIndex *patches = reader->parts[*part].patches;
		const HmPatch *patch;

		if (patches != NULL && (patch = hm_patch_find(patches, id, level)) != NULL)
			return patch;
	}
	return NULL;
}

const HmPatch *
hm_reader_find_patch(const HmReader *reader, uint32 id, int level, int *part)
{
	return find_patch(reader, hm_reader_part_of(reader, id), id, level, part);
}

/*
 * Finds an element's list at a level.  False: it has no slots, as the element
 * is not of that level, whatever a damaged list may claim, or has no neighbours.
 */
static pg_attribute_always_inline bool
locate_list(const HmReader *reader, uint32 id, int level, ListPlace *place)
{
	int			owner = hm_reader_part_of(reader, id);
	const HmReaderPart *part = &reader->parts[owner];
	uint32		number = id - part->desc->first_element;
	const HmPatch *patch;
	int			patching;

	if (HM_UNLIKELY(number >= part->desc->level_count[level]))
		return false;

	patch = find_patch(reader, owner, id, level, &patching);
	if (HM_UNLIKELY(patch != NULL))
	{
		place->part = &reader->parts[patching];
		place->array = HM_ARRAY_PATCH_LISTS;
		place->array_page = patch->page;
		place->offset = patch->offset;
		place->slots = patch->count;
		return patch->count > 0;
	}

	place->part = part;
	if (level == 0)
	{
		place->array = HM_ARRAY_LINKS;
		place->array_page = number / reader->links_per_page;
		place->slots = 2 * reader->store.m;
		place->offset = number % reader->links_per_page * (place->slots * sizeof(uint32));
	}
	else
	{
		uint64		entry = part->upper_first[level] + number;

		place->array = HM_ARRAY_UPPER;
		place->array_page = (uint32) (entry / reader->upper_per_page);
		place->slots = reader->store.m;
		place->offset = (uint32) (entry % reader->upper_per_page) * (place->slots * sizeof(uint32));
	}
	return true;
}

static inline uint32
place_page(const ListPlace *place)
{
	return place->part->desc->array_page[place->array] + place->array_page;
}

static const uint32_t *
reader_links(HmStore *store, uint32_t id, int level, int *slots)
{
	HmReader   *reader = (HmReader *) store;
	ListPlace	place;

	if (HM_UNLIKELY(!locate_list(reader, id, level, &place)))
	{
		*slots = 0;
		return no_links;
	}
	*slots = place.slots;
	if (place.part->mapping != NULL)
	{
		const char *page = hm_mapping_page(place.part->mapping, place_page(&place));

		if (HM_LIKELY(page != NULL))
			return (const uint32_t *) (page + HM_DATA_OFFSET + place.offset);
	}
	if (reader->staged_id == id && reader->staged_level == level)
		return reader->staged;
	return NULL;
}

static void
reader_prefetch(HmStore *store, uint32_t id, int level)
{
	HmReader   *reader = (HmReader *) store;
	ListPlace	place;

	/* A prefetch never faults, so the page need not be verified. */
	if (locate_list(reader, id, level, &place) && place.part->mapping != NULL)
		__builtin_prefetch(place.part->mapping->base + (size_t) place_page(&place) * BLCKSZ +
						   HM_DATA_OFFSET + place.offset);
}

/* Opens the next part.  It counts before it holds anything that has to be released. */
static void
open_part(HmReader *reader, const HmPartDesc *desc)
{
	const HmDirectory *directory = reader->directory;
	int			number = reader->part_count++;
	HmReaderPart *part = &reader->parts[number];
	uint64		upper = 0;

	Assert(desc->first_element == (number > 0 ? reader->part_end[number - 1] : 0));
	memset(part, 0, sizeof(HmReaderPart));
	part->desc = desc;
	reader->part_end[number] = desc->first_element + desc->element_count;
	for (int level = 1; level < HM_MAX_LEVELS; level++)
	{
		part->upper_first[level] = upper;
		upper += desc->level_count[level];
	}
	part->tombstones = hm_tombstones_load(reader->index, directory, desc);
	part->mapping = hm_mapping_acquire(reader->index, directory, desc);
	if (part->mapping != NULL)
		part->patches = hm_mapping_patches(reader->index, directory, part->mapping);
	else if (desc->patch_count > 0)
		part->patches = hm_patch_index_make(reader->index, directory, desc, CurrentMemoryContext);

	reader->any_dead |= part->tombstones != NULL;
	reader->max_norm = Max(reader->max_norm, desc->max_norm);
}

/* Where searches begin. */
static void
set_entry_point(HmReader *reader)
{
	uint32		id = reader->directory->meta.entry_point;
	const HmPartDesc *desc;

	if (id >= reader->store.element_count)
		hm_corrupt(reader->index, HM_META_BLOCK,
				   "Searches are to begin at element %u, but there are %u.",
				   id, reader->store.element_count);
	reader->store.entry_point = id;
	desc = reader->parts[hm_reader_part_of(reader, id)].desc;
	for (int level = 1; level < HM_MAX_LEVELS; level++)
	{
		if (id - desc->first_element < desc->level_count[level])
			reader->store.top_level = level;
	}
}

void
hm_reader_open(HmReader *reader, Relation index, const HmDirectory *directory)
{
	const HmMeta *meta = &directory->meta;

	memset(reader, 0, offsetof(HmReader, part_end));
	reader->index = index;
	reader->directory = directory;
	reader->links_per_page = HM_PAGE_DATA / hm_array_entry_size(meta, HM_ARRAY_LINKS);
	reader->upper_per_page = HM_PAGE_DATA / hm_array_entry_size(meta, HM_ARRAY_UPPER);
	reader->staged_id = HM_NO_ID;
	reader->store.m = meta->m;
	reader->store.element_count = hm_element_count(meta);
	reader->store.entry_point = HM_NO_ID;
	reader->store.links = reader_links;
	reader->store.prefetch = reader_prefetch;

	PG_TRY();
	{
		for (uint32 i = 0; i < meta->part_count; i++)
			open_part(reader, &meta->parts[i]);
		if (reader->store.element_count > 0)
			set_entry_point(reader);
	}
	PG_CATCH();
	{
		hm_reader_close(reader);
		PG_RE_THROW();
	}
	PG_END_TRY();
}

void
hm_reader_close(HmReader *reader)
{
	for (int i = 0; i < reader->part_count; i++)
	{
		if (reader->parts[i].mapping != NULL)
			hm_mapping_release(reader->parts[i].mapping);
		hm_tombstones_release(reader->parts[i].tombstones);
	}
	reader->part_count = 0;
}

/* Verifies a page of a mapping; false when it can be read through buffers only. */
static bool
verify_page(HmReader *reader, const HmReaderPart *part, uint32 page)
{
	uint64		overlaid = part->mapping->overlaid_count;
	bool		usable = hm_mapping_verify(reader->index, part->mapping,
										   reader->directory->incarnation, page);

	hm_last_scan.pages_verified++;
	hm_last_scan.pages_overlaid += part->mapping->overlaid_count - overlaid;
	return usable;
}

void
hm_reader_fetch_links(HmReader *reader, uint32 id, int level)
{
	ListPlace	place;

	if (!locate_list(reader, id, level, &place))
		return;
	if (place.part->mapping != NULL && verify_page(reader, place.part, place_page(&place)))
		return;
	hm_part_read_page(reader->index, reader->directory->incarnation, place.part->desc,
					  place.array, place.array_page, place.offset,
					  place.slots * sizeof(uint32), reader->staged);
	reader->staged_id = id;
	reader->staged_level = level;
}

typedef struct CopyLinksCall
{
	HmReader   *reader;
	uint32		id;
	int			level;
	uint32	   *slots;
	int			used;			/* -1: the list has to be fetched first */
} CopyLinksCall;

/* Guarded: reads a list out of the mapping. */
static void
copy_links_call(void *argument)
{
	CopyLinksCall *call = argument;
	int			slots;
	const uint32 *links = reader_links(&call->reader->store, call->id, call->level, &slots);

	call->used = -1;
	if (links == NULL)
		return;
	for (call->used = 0; call->used < slots && links[call->used] != HM_NO_ID; call->used++)
		call->slots[call->used] = links[call->used];
}

int
hm_reader_copy_links(HmReader *reader, uint32 id, int level, uint32 *slots)
{
	CopyLinksCall call = {reader, id, level, slots, -1};

	for (;;)
	{
		if (!hm_guarded_call(copy_links_call, &call))
			hm_mapping_fault(reader->index);
		if (call.used >= 0)
			return call.used;
		hm_reader_fetch_links(reader, id, level);
	}
}

const char *
hm_reader_verify_page(HmReader *reader, int part, uint32 page)
{
	const HmReaderPart *read = &reader->parts[part];

	if (!verify_page(reader, read, page))
		return NULL;
	return hm_mapping_page(read->mapping, page);
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

/* Copies one entry of a part that does not span pages. */
static void
read_entry(HmReader *reader, int part, HmArray array, uint32 number, void *entry)
{
	uint32		size = hm_array_entry_size(&reader->directory->meta, array);
	uint32		per_page = HM_PAGE_DATA / size;
	uint32		array_page = number / per_page;
	uint32		offset = (number % per_page) * size;
	const char *page = hm_reader_page(reader, part, array, array_page);

	if (page != NULL)
	{
		CopyCall	call = {entry, page + HM_DATA_OFFSET + offset, size};

		if (!hm_guarded_call(copy_call, &call))
			hm_mapping_fault(reader->index);
	}
	else
		hm_part_read_page(reader->index, reader->directory->incarnation,
						  reader->parts[part].desc, array, array_page, offset, size, entry);
}

HmRef
hm_reader_ref(HmReader *reader, uint32 id)
{
	int			part = hm_reader_part_of(reader, id);
	HmRef		ref;

	read_entry(reader, part, HM_ARRAY_REFS, id - reader->parts[part].desc->first_element, &ref);
	return ref;
}

void
hm_reader_mark_dead(HmReader *reader, const uint32 *ids, int n, uint8 *flags)
{
	if (!reader->any_dead)
		return;
	for (int i = 0; i < n; i++)
	{
		if (hm_reader_is_dead(reader, ids[i]))
			flags[i] = HM_DEAD;
	}
}

uint64
hm_reader_row(HmReader *reader, uint32 id)
{
	int			part = hm_reader_part_of(reader, id);
	uint64		row;

	read_entry(reader, part, HM_ARRAY_ROWS, id - reader->parts[part].desc->first_element, &row);
	return row;
}

HmPosting
hm_reader_posting(HmReader *reader, int part, uint32 number)
{
	const HmPartDesc *desc = reader->parts[part].desc;
	HmPosting	posting;

	read_entry(reader, part, HM_ARRAY_POSTINGS, number, &posting);
	if (posting.element >= reader->part_end[part])
		hm_corrupt(reader->index,
				   hm_part_block(desc, desc->array_page[HM_ARRAY_POSTINGS] +
								 number / (HM_PAGE_DATA / sizeof(HmPosting))),
				   "Posting %u of part %u is of element %u, but elements end at %u there.",
				   number, desc->part, posting.element, reader->part_end[part]);
	return posting;
}

typedef struct BisectCall
{
	const HmReaderPart *part;
	uint32		id;
	uint32		low;			/* postings below are of elements below id */
	uint32		high;			/* postings from here on are not */
} BisectCall;

static inline uint32
middle_of(const BisectCall *call)
{
	return call->low + (call->high - call->low) / 2;
}

static inline void
bisect(BisectCall *call, uint32 middle, uint32 element)
{
	if (element < call->id)
		call->low = middle + 1;
	else
		call->high = middle;
}

/* Guarded: bisects as far as pages are mapped and verified. */
static void
bisect_call(void *argument)
{
	BisectCall *call = argument;
	const uint32 per_page = HM_PAGE_DATA / sizeof(HmPosting);
	uint32		first_page = call->part->desc->array_page[HM_ARRAY_POSTINGS];

	while (call->low < call->high)
	{
		uint32		middle = middle_of(call);
		const char *page = hm_mapping_page(call->part->mapping, first_page + middle / per_page);

		if (page == NULL)
			return;
		bisect(call, middle,
			   ((const HmPosting *) (page + HM_DATA_OFFSET))[middle % per_page].element);
	}
}

uint32
hm_reader_find_posting(HmReader *reader, int part, uint32 id)
{
	BisectCall	call = {&reader->parts[part], id, 0, reader->parts[part].desc->posting_count};

	while (call.low < call.high)
	{
		uint32		middle = middle_of(&call);

		/* this one in any way, which verifies its page, and then all that go fast */
		bisect(&call, middle, hm_reader_posting(reader, part, middle).element);
		if (call.part->mapping != NULL && !hm_guarded_call(bisect_call, &call))
			hm_mapping_fault(reader->index);
	}
	return call.low;
}

/* The next live posting of the iterator's element in the iterator's part. */
static bool
next_posting(HmReader *reader, HmTidIterator *iterator, ItemPointer tid)
{
	uint32		count = reader->parts[iterator->part].desc->posting_count;

	if (count > 0 && !iterator->found)
	{
		iterator->posting = hm_reader_find_posting(reader, iterator->part, iterator->id);
		iterator->found = true;
	}
	while (iterator->posting < count)
	{
		HmPosting	posting = hm_reader_posting(reader, iterator->part, iterator->posting);

		if (posting.element != iterator->id)
			return false;
		iterator->posting++;
		if (!hm_reader_posting_is_dead(reader, iterator->part, iterator->posting - 1))
		{
			*tid = posting.tid;
			return true;
		}
	}
	return false;
}

bool
hm_reader_next_tid(HmReader *reader, HmTidIterator *iterator, ItemPointer tid)
{
	if (iterator->part < 0)
	{
		iterator->part = hm_reader_part_of(reader, iterator->id);
		if (!hm_reader_ref_is_dead(reader, iterator->id))
		{
			*tid = hm_reader_ref(reader, iterator->id).tid;
			return true;
		}
	}
	while (iterator->part < reader->part_count)
	{
		if (next_posting(reader, iterator, tid))
			return true;
		iterator->part++;
		iterator->found = false;
		iterator->posting = 0;
	}
	return false;
}

bool
hm_reader_is_dead(HmReader *reader, uint32 id)
{
	HmTidIterator iterator;
	ItemPointerData tid;

	if (!hm_reader_ref_is_dead(reader, id))
		return false;
	hm_reader_tids(id, &iterator);
	return !hm_reader_next_tid(reader, &iterator, &tid);
}
