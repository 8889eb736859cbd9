/*-------------------------------------------------------------------------
 *
 * merge_equal.c
 *	  Which rows of a merge share an element.
 *
 * Identical vectors become one element.  Among the log's entries, two are
 * taken to be identical if a 64-bit hash of their bytes and their
 * half-precision copies agree; how a stored element is compared is told below.
 * Should two different vectors ever pass for one, their rows share an element
 * that ranks both to half precision: no answer becomes wrong, because scans
 * compute the distance of every row from the row itself.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "common/hashfn.h"
#include "index/attached.h"
#include "index/element.h"
#include "index/index.h"
#include "index/merge_state.h"
#include "simd/simd.h"

/* An element by a hash of its vector. */
typedef struct HashSlot
{
	uint64		hash;			/* hash key */
	uint32		entry;			/* of the log */
	uint32		id;				/* which is this element, or has joined it */
	char		status;
} HashSlot;

#define SH_PREFIX		vectors
#define SH_ELEMENT_TYPE	HashSlot
#define SH_KEY_TYPE		uint64
#define SH_KEY			hash
#define SH_HASH_KEY(tb, key)	((uint32) ((key) >> 32))
#define SH_EQUAL(tb, a, b)		((a) == (b))
#define SH_SCOPE		static inline
#define SH_DECLARE
#define SH_DEFINE
#include "lib/simplehash.h"

struct HmMergeEqual
{
	vectors_hash *entries;		/* of the log, by the hash of the vector itself */
	vectors_hash *stored;		/* elements, by that of copy and fingerprint; may be NULL */

	/* to compare a row's vector with an entry's: dim values each */
	float	   *floats;
	uint16	   *copy;
	char	   *file_rows;		/* two of the attached file */
};

void
hm_merge_equal_begin(HmMergeState *merge)
{
	uint32		dim = merge->directory.meta.dim;
	HmMergeEqual *equal = palloc0(sizeof(HmMergeEqual));

	equal->entries = vectors_create(CurrentMemoryContext, Max(merge->entry_count, 16), NULL);
	equal->floats = palloc(dim * sizeof(float));
	equal->copy = palloc(dim * sizeof(uint16));
	if (merge->file != NULL)
		equal->file_rows = palloc(2 * hm_file_row_size(merge->file));
	merge->equal = equal;
}

uint32
hm_merge_equal_entry(HmMergeState *merge, uint32 number, uint32 **noted)
{
	bool		found;
	HashSlot   *slot = vectors_insert(merge->equal->entries, merge->entries[number].hash, &found);

	*noted = &slot->id;
	if (found && memcmp(hm_merge_entry_copy(merge, slot->entry), hm_merge_entry_copy(merge, number),
						merge->directory.meta.dim * sizeof(uint16)) == 0)
		return slot->id;
	slot->entry = number;
	return HM_NO_ID;
}

static uint64
copy_hash(const HmMergeState *merge, const uint16 *copy, uint16 fingerprint)
{
	return hash_bytes_extended((const unsigned char *) copy,
							   merge->directory.meta.dim * sizeof(uint16), fingerprint);
}

void
hm_merge_note_stored(HmMergeState *merge, uint32 id, const uint16 *copy)
{
	HmMergeEqual *equal = merge->equal;
	HashSlot   *slot;
	bool		found;

	if (equal->stored == NULL)
		equal->stored = vectors_create(CurrentMemoryContext, merge->stored, NULL);
	slot = vectors_insert(equal->stored,
						  copy_hash(merge, copy, hm_reader_ref(&merge->reader, id).fingerprint), &found);
	if (!found)
		slot->id = id;
}

uint32
hm_merge_equal_stored(HmMergeState *merge, uint32 number)
{
	HashSlot   *slot;

	if (merge->equal->stored == NULL)
		return HM_NO_ID;
	slot = vectors_lookup(merge->equal->stored,
						  copy_hash(merge, hm_merge_entry_copy(merge, number),
									merge->entries[number].fingerprint));
	return slot != NULL && hm_merge_has_vector(merge, slot->id, number) ? slot->id : HM_NO_ID;
}

/* True when a fetched value is the entry's very vector. */
static bool
is_vector_of(HmMergeState *merge, Datum value, uint32 number)
{
	const HmMergeEntry *entry = &merge->entries[number];
	const HmMeta *meta = &merge->directory.meta;
	MemoryContext old = MemoryContextSwitchTo(merge->rows.context);
	void	   *copied;
	HmVector	vector = merge->opclass->type->view(value, &copied);

	MemoryContextSwitchTo(old);
	return (uint32) vector.dim == meta->dim &&
		hm_vector_hash(&vector, merge->directory.incarnation) == entry->hash &&
		hm_element_make(meta->metric, meta->scale, &vector, merge->equal->floats,
						merge->equal->copy).kind == HM_LOG_VECTOR &&
		memcmp(merge->equal->copy, hm_merge_entry_copy(merge, number), meta->dim * sizeof(uint16)) == 0;
}

static void
read_row(HmMergeState *merge, uint64 row, void *to)
{
	if (row >= merge->file->rows)
		hm_attached_no_row(merge->index, merge->file, row);
	hm_file_read(merge->file, row, to);
}

/* True when two rows of the attached file are the same, byte by byte. */
static bool
rows_are_equal(HmMergeState *merge, uint64 a, uint64 b)
{
	size_t		size = hm_file_row_size(merge->file);
	char	   *rows = merge->equal->file_rows;

	if (a == b)
		return true;
	read_row(merge, a, rows);
	read_row(merge, b, rows + size);
	return memcmp(rows, rows + size, size) == 0;
}

/*
 * True when a stored element has the entry's very vector.  Where the index
 * keeps copies, its copy and fingerprint say so: they are all that searches
 * will see of the vector.  Rows of an attached file are compared there.
 * Otherwise a row of the element says so: one that is
 * visible or, if there is none, any.  An update that leaves the vector alone
 * makes the version that the element refers to invisible, and may prune it;
 * then nobody knows, and the new version becomes an element of its own.
 *
 * A TID may be freed and given to another row while the merge goes on, and its
 * tombstones were read at the beginning.  At worst an element gets a row whose
 * vector is near its own: its place in the graph is a little off, and its
 * distance is computed from the row.
 */
bool
hm_merge_has_vector(HmMergeState *merge, uint32 id, uint32 number)
{
	HmTidIterator iterator;
	ItemPointerData tid;
	Datum		value;
	bool		isnull;

	if (hm_reader_ref(&merge->reader, id).fingerprint != merge->entries[number].fingerprint)
		return false;
	if (merge->directory.meta.vectors == HM_VECTORS_FP16)
	{
		uint8		flag;

		merge->source->copies(merge->source, &id, 1, merge->equal->copy, &flag);
		return flag == HM_SCORED &&
			memcmp(merge->equal->copy, hm_merge_entry_copy(merge, number),
				   merge->directory.meta.dim * sizeof(uint16)) == 0;
	}
	if (merge->file != NULL)
		return rows_are_equal(merge, hm_reader_row(&merge->reader, id), merge->entries[number].row);
	hm_reader_tids(id, &iterator);
	while (hm_reader_next_tid(&merge->reader, &iterator, &tid))
	{
		if (hm_row_fetch(&merge->rows, &tid, &value, &isnull) && !isnull)
			return is_vector_of(merge, value, number);
	}
	hm_reader_tids(id, &iterator);
	while (hm_reader_next_tid(&merge->reader, &iterator, &tid))
	{
		if (hm_row_fetch_any(&merge->rows, &tid, &value))
			return is_vector_of(merge, value, number);
	}
	return false;
}

/* Makes the entry's row a further one of an element. */
void
hm_merge_join(HmMergeState *merge, uint32 id, uint32 number)
{
	const HmMergeEntry *entry = &merge->entries[number];
	HmMergeTid	tid = {
		.tid = entry->tid,
		.element = id,
		.part = HM_FROM_LOG,
		.bit = entry->ordinal
	};

	hm_merge_add_tid(&merge->postings, &tid);
	merge->report->duplicates++;
}

void
hm_merge_add_ref(HmMergeState *merge, uint32 id, uint32 number)
{
	const HmMergeEntry *entry = &merge->entries[number];
	HmMergeTid	ref = {
		.tid = entry->tid,
		.info = entry->fingerprint,
		.element = id,
		.part = HM_FROM_LOG,
		.bit = entry->ordinal
	};

	hm_merge_add_tid(&merge->refs, &ref);
	merge->report->inserted++;
}
