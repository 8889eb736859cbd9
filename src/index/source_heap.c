/*-------------------------------------------------------------------------
 *
 * source_heap.c
 *	  Distances from the table's own rows, or half-precision copies of them.
 *
 * The fast way reads the tuple at an element's TID straight from the mapped
 * table.  A batch goes through in three steps, so that the cache misses of its
 * rows overlap: copy the refs; find the line pointers and prefetch the tuples;
 * check and rank, or copy.  What is found is used only to steer by, and only if
 * the vector's fingerprint is the element's: see storage/heapmap.h.
 *
 * The slow way, for everything that the fast way does not accept (out of line
 * or compressed, not written to the file yet, updated, dead), fetches the row
 * through the table access method under the scan's snapshot, trying each TID
 * of the element.  If none has a visible row, the element is absent: it has no
 * vector to rank, and no row to return either.
 *
 * Tombstoned TIDs are never followed: they may belong to other rows by now.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/element.h"
#include "index/index.h"
#include "index/source.h"
#include "miscadmin.h"
#include "storage/guard.h"
#include "storage/part.h"

/*
 * Tuples prefetched ahead of the one being ranked.  A whole batch at once is
 * more lines than the processor keeps under way, and than fit into its first
 * cache: 12 to 15 % slower when measured.
 */
#define ROWS_AHEAD	4

typedef enum RowState
{
	ROW_LOOK,					/* to be read through the mapping */
	ROW_DONE,					/* ranked, or copied */
	ROW_FETCH,					/* to be fetched the slow way */
	ROW_ABSENT
} RowState;

/* One element of a batch on its way. */
typedef struct BatchRow
{
	const HmRef *ref_at;		/* in the mapping, or NULL */
	HmRef		ref;
	RowState	state;
	const char *page;
	float		rank;
} BatchRow;

typedef struct HeapSource
{
	HmSource	source;
	const HmTypeInfo *type;
	HmHeapMap  *map;			/* NULL: slow way only */
	TupleDesc	descriptor;
	int			attribute;		/* of the vector, from 0 */
	Oid			element_oid;
	uint32		dim;
	uint32		refs_per_page;
	int			n;
	BatchRow	rows[HM_MAX_BATCH];

	/* when copies are wanted */
	uint16	   *copies;			/* where those of the batch go; NULL: it is ranked */
	size_t		vector_bytes;
	char	   *vector;			/* a vector's bytes, out of a page that may change */
	float	   *scratch;		/* dim values */
} HeapSource;

/* Guarded: copies the refs that lie in the mapping. */
static void
copy_refs(void *argument)
{
	HeapSource *heap = argument;

	for (int i = 0; i < heap->n; i++)
	{
		if (heap->rows[i].ref_at != NULL)
			heap->rows[i].ref = *heap->rows[i].ref_at;
	}
}

/*
 * Finds the refs of a batch, or the first live posting's where the ref itself
 * is tombstoned.
 */
static void
find_refs(HeapSource *heap, const uint32 *ids)
{
	HmReader   *reader = heap->source.reader;

	for (int i = 0; i < heap->n; i++)
	{
		BatchRow   *row = &heap->rows[i];
		int			part = hm_reader_part_of(reader, ids[i]);
		uint32		number = ids[i] - reader->parts[part].desc->first_element;
		const char *page;

		row->state = ROW_LOOK;
		row->ref_at = NULL;
		page = hm_reader_page(reader, part, HM_ARRAY_REFS, number / heap->refs_per_page);
		if (page == NULL)
			row->ref = hm_reader_ref(reader, ids[i]);
		else
		{
			row->ref_at = (const HmRef *) (page + HM_DATA_OFFSET) + number % heap->refs_per_page;
			__builtin_prefetch(row->ref_at);
		}
	}
	if (!hm_guarded_call(copy_refs, heap))
		hm_mapping_fault(reader->index);

	if (!reader->any_dead)
		return;
	for (int i = 0; i < heap->n; i++)
	{
		HmTidIterator iterator;

		if (!hm_reader_ref_is_dead(reader, ids[i]))
			continue;
		hm_reader_tids(ids[i], &iterator);
		if (!hm_reader_next_tid(reader, &iterator, &heap->rows[i].ref.tid))
			heap->rows[i].state = ROW_ABSENT;
	}
}

/* Finds where the rows' pages are mapped. */
static void
find_pages(HeapSource *heap)
{
	for (int i = 0; i < heap->n; i++)
	{
		BatchRow   *row = &heap->rows[i];

		if (row->state != ROW_LOOK)
			continue;
		row->page = NULL;
		if (heap->map != NULL)
			row->page = hm_heapmap_block(heap->source.rows->heap, heap->map,
										 ItemPointerGetBlockNumberNoCheck(&row->ref.tid));
		if (row->page == NULL)
			row->state = ROW_FETCH;
	}
}

/* Makes the copy of row `i` of the batch; false: it cannot be ranked. */
static bool
make_copy(HeapSource *heap, int i, const HmVector *vector)
{
	const HmMeta *meta = &heap->source.reader->directory->meta;
	HmElement	element = hm_element_make(meta->metric, meta->scale, vector, heap->scratch,
										  heap->copies + (size_t) i * heap->dim);

	return element.kind == HM_LOG_VECTOR;
}

/* Guarded: ranks or copies a row where it lies; false if it is not what it should be. */
static bool
use_mapped(HeapSource *heap, int i)
{
	BatchRow   *row = &heap->rows[i];
	HmVector	vector = {.dim = heap->dim, .kind = heap->type->kind};
	const char *attribute;
	size_t		available;

	attribute = hm_heap_attribute(row->page, ItemPointerGetOffsetNumberNoCheck(&row->ref.tid),
								  heap->descriptor, heap->attribute, &available);
	if (attribute == NULL ||
		!heap->type->view_untrusted(attribute, available, heap->element_oid,
									heap->dim, &vector.data))
		return false;

	if (heap->copies != NULL)
	{
		/* It is read more than once: the bytes must be the same each time. */
		memcpy(heap->vector, vector.data, heap->vector_bytes);
		vector.data = heap->vector;
		return hm_fingerprint(&vector) == row->ref.fingerprint && make_copy(heap, i, &vector);
	}

	row->rank = hm_query_rank_row(heap->source.query, vector.kind, vector.data);

	/* After ranking: the words it looks at are in the cache by now. */
	return hm_fingerprint(&vector) == row->ref.fingerprint;
}

static inline void
prefetch_row(const BatchRow *row)
{
	if (row->state == ROW_LOOK)
		hm_heap_prefetch(row->page, &row->ref.tid);
}

/* Guarded: ranks or copies all rows of the batch that are mapped. */
static void
use_batch(void *argument)
{
	HeapSource *heap = argument;

	for (int i = 0; i < heap->n; i++)
	{
		if (heap->rows[i].state == ROW_LOOK)
			__builtin_prefetch(heap->rows[i].page +
							   hm_heap_item_offset(&heap->rows[i].ref.tid));
	}
	for (int i = 0; i < Min(heap->n, ROWS_AHEAD); i++)
		prefetch_row(&heap->rows[i]);
	for (int i = 0; i < heap->n; i++)
	{
		BatchRow   *row = &heap->rows[i];

		if (i + ROWS_AHEAD < heap->n)
			prefetch_row(&heap->rows[i + ROWS_AHEAD]);
		if (row->state == ROW_LOOK)
			row->state = use_mapped(heap, i) ? ROW_DONE : ROW_FETCH;
	}
}

/* The slow way for one element. */
static void
use_fetched(HeapSource *heap, int i, uint32 id)
{
	HmRowFetcher *rows = heap->source.rows;
	BatchRow   *row = &heap->rows[i];
	HmTidIterator iterator;
	ItemPointerData tid;

	row->state = ROW_ABSENT;
	hm_reader_tids(id, &iterator);
	while (hm_reader_next_tid(heap->source.reader, &iterator, &tid))
	{
		MemoryContext old;
		HmVector	vector;
		void	   *copied;
		Datum		value;
		bool		isnull;

		CHECK_FOR_INTERRUPTS();
		hm_last_scan.vectors_buffers++;
		if (!hm_row_fetch(rows, &tid, &value, &isnull) || isnull)
			continue;
		old = MemoryContextSwitchTo(rows->context);
		vector = heap->type->view(value, &copied);
		MemoryContextSwitchTo(old);
		if (vector.dim != heap->dim)
			continue;
		if (heap->copies == NULL)
			row->rank = hm_query_rank_row(heap->source.query, vector.kind, vector.data);
		else if (!make_copy(heap, i, &vector))
			continue;
		row->state = ROW_DONE;
		return;
	}
}

/* Ranks or copies a batch. */
static void
use_rows(HeapSource *heap, const uint32 *ids, int n, uint8 *flags)
{
	heap->n = n;
	find_refs(heap, ids);
	find_pages(heap);
	if (heap->map != NULL && !hm_guarded_call(use_batch, heap))
		hm_mapping_fault(heap->source.reader->index);

	for (int i = 0; i < n; i++)
	{
		const BatchRow *row = &heap->rows[i];

		if (row->state == ROW_FETCH)
			use_fetched(heap, i, ids[i]);
		else if (row->state == ROW_DONE)
			hm_last_scan.vectors_mmap++;

		flags[i] = row->state == ROW_DONE ? HM_SCORED : HM_ABSENT;
		hm_last_scan.vectors_absent += row->state != ROW_DONE;
	}
}

static void
heap_score(HmSource *source, const uint32 *ids, int n, float *rank, uint8 *flags)
{
	HeapSource *heap = (HeapSource *) source;

	heap->copies = NULL;
	use_rows(heap, ids, n, flags);
	for (int i = 0; i < n; i++)
	{
		if (flags[i] == HM_SCORED)
			rank[i] = heap->rows[i].rank;
	}
}

static void
heap_copies(HmSource *source, const uint32 *ids, int n, uint16 *copies, uint8 *flags)
{
	HeapSource *heap = (HeapSource *) source;

	heap->copies = copies;
	use_rows(heap, ids, n, flags);
}

HmSource *
hm_source_heap(HmReader *reader, const HmQuery *query, HmRowFetcher *rows,
			   const HmTypeInfo *type, bool use_mmap)
{
	HeapSource *heap = palloc(sizeof(HeapSource));

	heap->source.score = heap_score;
	heap->source.distance = hm_query_row_distance;
	heap->source.copies = heap_copies;
	heap->source.reader = reader;
	heap->source.query = query;
	heap->source.rows = rows;
	heap->type = type;
	heap->descriptor = RelationGetDescr(rows->heap);
	heap->attribute = rows->attribute - 1;
	heap->element_oid = hm_element_oid(TupleDescAttr(heap->descriptor, heap->attribute)->atttypid);
	heap->map = use_mmap ? hm_heapmap_acquire(rows->heap) : NULL;
	heap->dim = reader->directory->meta.dim;
	heap->refs_per_page = HM_PAGE_DATA / sizeof(HmRef);
	heap->vector_bytes = heap->dim * (type->kind == HM_F32 ? sizeof(float) : sizeof(uint16));
	heap->vector = palloc(heap->vector_bytes);
	heap->scratch = palloc(heap->dim * sizeof(float));
	return &heap->source;
}
