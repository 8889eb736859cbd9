/*-------------------------------------------------------------------------
 *
 * source_copies.c
 *	  Distances from the half-precision copies that the index keeps.
 *
 * Elements whose rows are all dead keep their copies until a merge replaces
 * their part: they are ranked and walked through, and never returned.
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
	int			dim;
	int			pieces;			/* pages per vector; 1 unless larger than a page */
	uint32		per_page;		/* vectors per page, if pieces is 1 */
	uint16	   *buffer;			/* a vector read through shared buffers */

	int			n;
	float	   *rank;			/* where the batch's ranks go */
	uint16	   *copies;			/* or the copies themselves */
	const uint16 *at[HM_MAX_BATCH][MAX_PIECES];
} CopiesSource;

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
	size_t		bytes = Min(copies->dim, PIECE) * sizeof(uint16);

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

/* Guarded: copies all copies of the batch that are mapped. */
static void
copy_batch(void *argument)
{
	CopiesSource *copies = argument;

	for (int i = 0; i < copies->n; i++)
	{
		uint16	   *to = copies->copies + (size_t) i * copies->dim;

		if (i + COPIES_AHEAD < copies->n)
			prefetch_copy(copies->at[i + COPIES_AHEAD][0], Min(copies->dim, PIECE) * sizeof(uint16));
		if (copies->at[i][0] == NULL)
			continue;
		for (int piece = 0; piece < copies->pieces; piece++)
		{
			int			first = piece * PIECE;

			memcpy(to + first, copies->at[i][piece], Min(PIECE, copies->dim - first) * sizeof(uint16));
		}
	}
}

/* Finds the pieces of an element's vector in its part's mapping; false: not all are there. */
static inline bool
locate(CopiesSource *copies, int part, uint32 number, const uint16 **at)
{
	HmReader   *reader = copies->source.reader;

	if (copies->pieces == 1)
	{
		const char *page = hm_reader_page(reader, part, HM_ARRAY_VECTORS, number / copies->per_page);

		if (page == NULL)
			return false;
		at[0] = (const uint16 *) (page + HM_DATA_OFFSET) +
			(size_t) (number % copies->per_page) * copies->dim;
		return true;
	}
	for (int i = 0; i < copies->pieces; i++)
	{
		const char *page = hm_reader_page(reader, part, HM_ARRAY_VECTORS,
										  number * copies->pieces + i);

		if (page == NULL)
			return false;
		at[i] = (const uint16 *) (page + HM_DATA_OFFSET);
	}
	return true;
}

/*
 * Finds element i of the batch; false: it is not mapped, and was read into
 * `buffer`.
 */
static inline bool
locate_or_read(CopiesSource *copies, int i, uint32 id, uint16 *buffer)
{
	HmReader   *reader = copies->source.reader;
	int			part = hm_reader_part_of(reader, id);
	const HmPartDesc *desc = reader->parts[part].desc;

	if (HM_LIKELY(locate(copies, part, id - desc->first_element, copies->at[i])))
		return true;
	copies->at[i][0] = NULL;
	hm_part_read(reader->index, reader->directory->incarnation, &reader->directory->meta,
				 desc, HM_ARRAY_VECTORS, id - desc->first_element, 1, buffer);
	return false;
}

/* Deals with what was found in the mapping, and counts that and what was not. */
static void
use_mapped(CopiesSource *copies, void (*use) (void *argument), int mapped)
{
	hm_last_scan.vectors_mmap += mapped;
	hm_last_scan.vectors_buffers += copies->n - mapped;
	if (mapped > 0 && !hm_guarded_call(use, copies))
		hm_mapping_fault(copies->source.reader->index);
}

static void
copies_score(HmSource *source, const uint32 *ids, int n, float *rank, uint8 *flags)
{
	CopiesSource *copies = (CopiesSource *) source;
	HmReader   *reader = source->reader;
	int			mapped = 0;

	copies->n = n;
	copies->rank = rank;
	for (int i = 0; i < n; i++)
	{
		flags[i] = HM_SCORED;
		if (locate_or_read(copies, i, ids[i], copies->buffer))
			mapped++;
		else
			rank[i] = hm_query_rank_copy(source->query, copies->buffer);
	}
	use_mapped(copies, rank_batch, mapped);
	hm_reader_mark_dead(reader, ids, n, flags);
}

static void
copies_copies(HmSource *source, const uint32 *ids, int n, uint16 *to, uint8 *flags)
{
	CopiesSource *copies = (CopiesSource *) source;
	int			mapped = 0;

	copies->n = n;
	copies->copies = to;
	for (int i = 0; i < n; i++)
	{
		flags[i] = HM_SCORED;
		mapped += locate_or_read(copies, i, ids[i], to + (size_t) i * copies->dim);
	}
	use_mapped(copies, copy_batch, mapped);
}

HmSource *
hm_source_copies(HmReader *reader, const HmQuery *query, HmRowFetcher *rows)
{
	CopiesSource *copies = palloc(sizeof(CopiesSource));
	uint32		size = reader->directory->meta.dim * sizeof(uint16);

	copies->source.score = copies_score;
	copies->source.distance = hm_query_copy_distance;
	copies->source.copies = copies_copies;
	copies->source.reader = reader;
	copies->source.query = query;
	copies->source.rows = rows;
	copies->dim = reader->directory->meta.dim;
	copies->pieces = (size + HM_PAGE_DATA - 1) / HM_PAGE_DATA;
	copies->per_page = size <= HM_PAGE_DATA ? HM_PAGE_DATA / size : 0;
	copies->buffer = palloc(size);
	return &copies->source;
}
