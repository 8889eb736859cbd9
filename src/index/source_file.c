/*-------------------------------------------------------------------------
 *
 * source_file.c
 *	  Distances from the rows of an attached file, or half-precision copies of
 *	  them.
 *
 * ROWS says which row of the file is an element's, so neither refs nor table
 * are looked at until a row is returned.  That the file is the one that the
 * index was built over was found before (index/attached.h); that it stays so is
 * its owner's affair.  Truncation is an error; rows overwritten in place give a
 * worse order of search, no more, as every row that a scan returns is compared
 * again, by the operator itself.
 *
 * Elements whose rows are all dead are ranked and walked through, and never
 * returned: their vectors are still in the file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/attached.h"
#include "index/element.h"
#include "index/index.h"
#include "index/source.h"
#include "storage/guard.h"
#include "storage/part.h"

#define CACHE_LINE	64

/* Vectors prefetched ahead of the one being ranked: see source_heap.c. */
#define VECTORS_AHEAD	4

typedef struct FileSource
{
	HmSource	source;
	HmFile	   *file;
	uint32		rows_per_page;	/* of ROWS */
	size_t		vector_bytes;

	int			n;
	const uint64 *row_at[HM_MAX_BATCH]; /* in the mapping, or NULL: row[] is known */
	uint64		row[HM_MAX_BATCH];
	int			bad;			/* of the batch: cannot be read; or -1 */

	float	   *rank;			/* where the batch's ranks go */
	uint16	   *copies;			/* or the copies */
	uint8	   *flags;
	char	   *vector;			/* a vector's bytes, out of a file that may change */
	float	   *scratch;		/* dim values */
} FileSource;

/* Guarded: learns an element's row and prefetches its vector; false: there is no such row. */
static inline bool
find_row(FileSource *source, int i)
{
	const char *vector;

	if (source->row_at[i] != NULL)
		source->row[i] = *source->row_at[i];
	if (source->row[i] >= source->file->rows)
		return false;
	vector = hm_file_row(source->file, source->row[i]);
	for (size_t offset = 0; offset < source->vector_bytes; offset += CACHE_LINE)
		__builtin_prefetch(vector + offset);
	return true;
}

/* Guarded: makes the copy of element i; false: it cannot be ranked. */
static bool
make_copy(FileSource *source, int i)
{
	const HmMeta *meta = &source->source.reader->directory->meta;
	HmVector	vector = {.dim = meta->dim, .kind = source->file->kind, .data = source->vector};

	/* It is read more than once: the bytes must be the same each time. */
	memcpy(source->vector, hm_file_row(source->file, source->row[i]), source->vector_bytes);
	return hm_element_make(meta->metric, meta->scale, &vector, source->scratch,
						   source->copies + (size_t) i * meta->dim).kind == HM_LOG_VECTOR;
}

/* Guarded: ranks or copies a batch, up to the first that cannot be read. */
static void
use_batch(void *argument)
{
	FileSource *source = argument;

	source->bad = -1;
	for (int i = 0; i < Min(source->n, VECTORS_AHEAD); i++)
	{
		if (!find_row(source, i))
		{
			source->bad = i;
			return;
		}
	}
	for (int i = 0; i < source->n; i++)
	{
		int			ahead = i + VECTORS_AHEAD;

		if ((ahead < source->n && !find_row(source, ahead)) ||
			!hm_file_row_is_sound(source->file, source->row[i]))
		{
			source->bad = hm_file_row_is_sound(source->file, source->row[i]) ? ahead : i;
			return;
		}
		if (source->copies == NULL)
			source->rank[i] = hm_query_rank_row(source->source.query, source->file->kind,
												hm_file_row(source->file, source->row[i]));
		else if (!make_copy(source, i))
			source->flags[i] = HM_ABSENT;
	}
}

/* Ranks or copies elements. */
static void
use_rows(FileSource *source, const uint32 *ids, int n, uint8 *flags)
{
	HmReader   *reader = source->source.reader;
	const HmFile *file = source->file;

	source->n = n;
	source->flags = flags;
	for (int i = 0; i < n; i++)
	{
		int			part = hm_reader_part_of(reader, ids[i]);
		uint32		number = ids[i] - reader->parts[part].desc->first_element;
		const char *page = hm_reader_page(reader, part, HM_ARRAY_ROWS, number / source->rows_per_page);

		flags[i] = HM_SCORED;
		source->row_at[i] = NULL;
		if (page == NULL)
			source->row[i] = hm_reader_row(reader, ids[i]);
		else
		{
			source->row_at[i] = (const uint64 *) (page + HM_DATA_OFFSET) + number % source->rows_per_page;
			__builtin_prefetch(source->row_at[i]);
		}
	}
	if (!hm_guarded_call(use_batch, source))
	{
		const char *address = hm_guard_fault_address();

		/* the first row's dimension may lie before it */
		if (address >= file->base - sizeof(int32) && address < file->base + file->rows * file->stride)
			hm_file_fault();
		hm_mapping_fault(reader->index);
	}
	if (source->bad >= 0)
	{
		if (source->row[source->bad] >= file->rows)
			hm_attached_no_row(reader->index, file, source->row[source->bad]);
		hm_file_damaged_row(file, source->row[source->bad]);
	}
	hm_last_scan.vectors_mmap += n;
}

static void
file_score(HmSource *base, const uint32 *ids, int n, float *rank, uint8 *flags)
{
	FileSource *source = (FileSource *) base;

	source->rank = rank;
	source->copies = NULL;
	use_rows(source, ids, n, flags);
	hm_reader_mark_dead(base->reader, ids, n, flags);
}

static void
file_copies(HmSource *base, const uint32 *ids, int n, uint16 *copies, uint8 *flags)
{
	FileSource *source = (FileSource *) base;

	source->copies = copies;
	use_rows(source, ids, n, flags);
}

HmSource *
hm_source_file(HmReader *reader, const HmQuery *query, HmRowFetcher *rows, HmFile *file)
{
	FileSource *source = palloc(sizeof(FileSource));

	source->source.score = file_score;
	source->source.distance = hm_query_row_distance;
	source->source.copies = file_copies;
	source->source.reader = reader;
	source->source.query = query;
	source->source.rows = rows;
	source->file = file;
	source->rows_per_page = HM_PAGE_DATA / sizeof(uint64);
	source->vector_bytes = hm_file_row_size(file);
	source->vector = palloc(source->vector_bytes);
	source->scratch = palloc(file->dim * sizeof(float));
	return &source->source;
}
