/*-------------------------------------------------------------------------
 *
 * source_heap.c
 *	  Distances from the table's own rows.
 *
 * The fast way reads the tuple at an element's TID straight from the mapped
 * table.  A batch goes through in three steps, so that the cache misses of its
 * rows overlap: copy the refs; find the line pointers and prefetch the tuples;
 * check and rank.  What is found is used only as a distance to steer by, and
 * only if the vector's fingerprint is the element's: see storage/heapmap.h.
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
	ROW_RANKED,
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
	uint32		refs_per_page;
	int			n;
	BatchRow	rows[HM_MAX_BATCH];
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
		const char *page;

		row->state = ROW_LOOK;
		row->ref_at = NULL;
		page = hm_reader_page(reader, HM_ARRAY_REFS, ids[i] / heap->refs_per_page);
		if (page == NULL)
			row->ref = hm_reader_ref(reader, ids[i]);
		else
		{
			row->ref_at = (const HmRef *) (page + HM_DATA_OFFSET) + ids[i] % heap->refs_per_page;
			__builtin_prefetch(row->ref_at);
		}
	}
	if (!hm_guarded_call(copy_refs, heap))
		hm_mapping_fault(reader->index);

	if (reader->tombstones == NULL)
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

/* Guarded: ranks a row where it lies; false if it is not what it should be. */
static bool
rank_mapped(HeapSource *heap, BatchRow *row)
{
	const HmQuery *query = heap->source.query;
	HmVector	vector = {.dim = query->dim, .kind = heap->type->kind};
	const char *attribute;
	size_t		available;

	attribute = hm_heap_attribute(row->page, ItemPointerGetOffsetNumberNoCheck(&row->ref.tid),
								  heap->descriptor, heap->attribute, &available);
	if (attribute == NULL ||
		!heap->type->view_untrusted(attribute, available, heap->element_oid,
									query->dim, &vector.data))
		return false;

	row->rank = hm_query_rank_row(query, vector.kind, vector.data);

	/* After ranking: the words it looks at are in the cache by now. */
	return hm_fingerprint(&vector) == row->ref.fingerprint;
}

static inline void
prefetch_row(const BatchRow *row)
{
	if (row->state == ROW_LOOK)
		hm_heap_prefetch(row->page, &row->ref.tid);
}

/* Guarded: ranks all rows of the batch that are mapped. */
static void
rank_batch(void *argument)
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
			row->state = rank_mapped(heap, row) ? ROW_RANKED : ROW_FETCH;
	}
}

/* The slow way for one element. */
static void
rank_fetched(HeapSource *heap, uint32 id, BatchRow *row)
{
	HmRowFetcher *rows = heap->source.rows;
	const HmQuery *query = heap->source.query;
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
		if (vector.dim != query->dim)
			continue;
		row->rank = hm_query_rank_row(query, vector.kind, vector.data);
		row->state = ROW_RANKED;
		return;
	}
}

static void
heap_score(HmSource *source, const uint32 *ids, int n, float *rank, uint8 *flags)
{
	HeapSource *heap = (HeapSource *) source;

	heap->n = n;
	find_refs(heap, ids);
	find_pages(heap);
	if (heap->map != NULL && !hm_guarded_call(rank_batch, heap))
		hm_mapping_fault(source->reader->index);

	for (int i = 0; i < n; i++)
	{
		BatchRow   *row = &heap->rows[i];

		if (row->state == ROW_FETCH)
			rank_fetched(heap, ids[i], row);
		else if (row->state == ROW_RANKED)
			hm_last_scan.vectors_mmap++;

		if (row->state == ROW_RANKED)
		{
			rank[i] = row->rank;
			flags[i] = HM_SCORED;
		}
		else
		{
			flags[i] = HM_ABSENT;
			hm_last_scan.vectors_absent++;
		}
	}
}

HmSource *
hm_source_heap(HmReader *reader, const HmQuery *query, HmRowFetcher *rows,
			   const HmTypeInfo *type, bool use_mmap)
{
	HeapSource *heap = palloc(sizeof(HeapSource));

	heap->source.score = heap_score;
	heap->source.distance = hm_query_row_distance;
	heap->source.reader = reader;
	heap->source.query = query;
	heap->source.rows = rows;
	heap->type = type;
	heap->descriptor = RelationGetDescr(rows->heap);
	heap->attribute = rows->attribute - 1;
	heap->element_oid = hm_element_oid(TupleDescAttr(heap->descriptor, heap->attribute)->atttypid);
	heap->refs_per_page = HM_PAGE_DATA / sizeof(HmRef);
	heap->map = use_mmap ? hm_heapmap_acquire(rows->heap) : NULL;
	return &heap->source;
}
