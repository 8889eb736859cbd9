/*-------------------------------------------------------------------------
 *
 * source_copies.c
 *	  Distances from the half-precision copies that the index keeps.
 *
 * Elements whose rows are all dead keep their copies until the index is built
 * anew: they are ranked and walked through, and never returned.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/index.h"
#include "index/source.h"
#include "storage/guard.h"
#include "storage/part.h"

#define CACHE_LINE	64

/* Copies prefetched ahead of the one being ranked: see source_heap.c. */
#define COPIES_AHEAD	4

/* Halves on one page, and pages that the largest vector takes. */
#define PIECE		((int) (HM_PAGE_DATA / sizeof(uint16)))
#define MAX_PIECES	((HM_MAX_DIM + HM_PAGE_DATA / 2 - 1) / (HM_PAGE_DATA / 2))

typedef struct CopiesSource
{
	HmSource	source;
	int			pieces;			/* pages per vector; 1 unless larger than a page */
	uint32		per_page;		/* vectors per page, if pieces is 1 */
	uint16	   *buffer;			/* a vector read through shared buffers */

	int			n;
	float	   *rank;
	const uint16 *at[HM_MAX_BATCH][MAX_PIECES];
} CopiesSource;

bool
hm_source_is_dead(HmReader *reader, uint32 id)
{
	HmTidIterator iterator;
	ItemPointerData tid;

	if (!hm_reader_ref_is_dead(reader, id))
		return false;
	hm_reader_tids(id, &iterator);
	return !hm_reader_next_tid(reader, &iterator, &tid);
}

static float
rank_pieces(const CopiesSource *copies, const uint16 *const *at)
{
	const HmQuery *query = copies->source.query;
	float		sum = 0;

	if (copies->pieces == 1)
		return hm_query_rank_copy(query, at[0]);
	for (int i = 0; i < copies->pieces; i++)
	{
		int			first = i * PIECE;

		sum += hm_query_sum_copy(query, at[i], first, Min(PIECE, query->dim - first));
	}
	return hm_query_rank_sum(query, sum);
}

/* Prefetches a copy, or nothing if there is none. */
static inline void
prefetch_copy(const uint16 *copy, size_t bytes)
{
	if (copy == NULL)
		return;
	for (size_t offset = 0; offset < bytes; offset += CACHE_LINE)
		__builtin_prefetch((const char *) copy + offset);
}

/* Guarded: ranks what was found in the mapping. */
static void
rank_batch(void *argument)
{
	CopiesSource *copies = argument;
	size_t		bytes = Min(copies->source.query->dim, PIECE) * sizeof(uint16);

	for (int i = 0; i < Min(copies->n, COPIES_AHEAD); i++)
		prefetch_copy(copies->at[i][0], bytes);
	for (int i = 0; i < copies->n; i++)
	{
		if (i + COPIES_AHEAD < copies->n)
			prefetch_copy(copies->at[i + COPIES_AHEAD][0], bytes);
		if (copies->at[i][0] != NULL)
			copies->rank[i] = rank_pieces(copies, copies->at[i]);
	}
}

/* Finds the pieces of an element's vector in the mapping; false: not all are there. */
static bool
locate(CopiesSource *copies, uint32 id, const uint16 **at)
{
	HmReader   *reader = copies->source.reader;

	if (copies->pieces == 1)
	{
		const char *page = hm_reader_page(reader, HM_ARRAY_VECTORS, id / copies->per_page);

		if (page == NULL)
			return false;
		at[0] = (const uint16 *) (page + HM_DATA_OFFSET) +
			(size_t) (id % copies->per_page) * copies->source.query->dim;
		return true;
	}
	for (int i = 0; i < copies->pieces; i++)
	{
		const char *page = hm_reader_page(reader, HM_ARRAY_VECTORS, id * copies->pieces + i);

		if (page == NULL)
			return false;
		at[i] = (const uint16 *) (page + HM_DATA_OFFSET);
	}
	return true;
}

static void
copies_score(HmSource *source, const uint32 *ids, int n, float *rank, uint8 *flags)
{
	CopiesSource *copies = (CopiesSource *) source;
	HmReader   *reader = source->reader;

	copies->n = n;
	copies->rank = rank;
	for (int i = 0; i < n; i++)
	{
		flags[i] = HM_SCORED;
		if (!locate(copies, ids[i], copies->at[i]))
		{
			copies->at[i][0] = NULL;
			hm_part_read(reader->index, reader->directory->incarnation, &reader->directory->meta,
						 reader->part, HM_ARRAY_VECTORS, ids[i], 1, copies->buffer);
			rank[i] = hm_query_rank_copy(source->query, copies->buffer);
			hm_last_scan.vectors_buffers++;
		}
		else
			hm_last_scan.vectors_mmap++;
	}
	if (reader->mapping != NULL && !hm_guarded_call(rank_batch, copies))
		hm_mapping_fault(reader->index);

	if (reader->tombstones == NULL)
		return;
	for (int i = 0; i < n; i++)
	{
		if (hm_source_is_dead(reader, ids[i]))
			flags[i] = HM_DEAD;
	}
}

HmSource *
hm_source_copies(HmReader *reader, const HmQuery *query, HmRowFetcher *rows)
{
	CopiesSource *copies = palloc(sizeof(CopiesSource));
	uint32		size = query->dim * sizeof(uint16);

	copies->source.score = copies_score;
	copies->source.distance = hm_query_copy_distance;
	copies->source.reader = reader;
	copies->source.query = query;
	copies->source.rows = rows;
	copies->pieces = (size + HM_PAGE_DATA - 1) / HM_PAGE_DATA;
	copies->per_page = size <= HM_PAGE_DATA ? HM_PAGE_DATA / size : 0;
	copies->buffer = palloc(size);
	return &copies->source;
}
