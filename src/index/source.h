/*-------------------------------------------------------------------------
 *
 * source.h
 *	  Where a scan's distances come from: the table's rows, an attached file, or
 *	  the index's half-precision copies.  A merge gets its copies there too.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_SOURCE_H
#define HM_INDEX_SOURCE_H

#include "postgres.h"

#include "files/file.h"
#include "graph/search.h"
#include "index/query.h"
#include "index/reader.h"
#include "index/row.h"
#include "storage/heapmap.h"

typedef struct HmSource HmSource;
struct HmSource
{
	/*
	 * Ranks ids[0 .. n-1], n <= HM_MAX_BATCH, filling rank[] and flags[] as
	 * HM_STEP_SCORE asks for.
	 */
	void		(*score) (HmSource *source, const uint32 *ids, int n,
						  float *rank, uint8 *flags);

	/* the distance a rank stands for, and how far off that may be */
	double		(*distance) (const HmQuery *query, float rank);

	/*
	 * Gets the half-precision copies of ids[0 .. n-1], n <= HM_MAX_BATCH, as
	 * VECTORS has or would have them: dim values each, one after the other,
	 * normalised for cosine, otherwise times 2^scale.  flags[i]: HM_SCORED, or
	 * HM_ABSENT and no copy, when the snapshot sees no row of the element whose
	 * vector can be ranked.  A copy that the index keeps is given whether or
	 * not there is such a row.
	 */
	void		(*copies) (HmSource *source, const uint32 *ids, int n,
						   uint16 *copies, uint8 *flags);

	HmReader   *reader;
	const HmQuery *query;
	HmRowFetcher *rows;
};

/*
 * Each makes a source in the current memory context, for the reader's elements,
 * of which there is at least one.  query: NULL if only copies are wanted.
 * rows: needed by hm_source_heap only.  use_mmap: read rows out of the mapped
 * table first.  A source lives for one (re)scan or merge.
 */
extern HmSource *hm_source_heap(HmReader *reader, const HmQuery *query, HmRowFetcher *rows,
								const HmTypeInfo *type, bool use_mmap);
extern HmSource *hm_source_file(HmReader *reader, const HmQuery *query, HmRowFetcher *rows,
								HmFile *file);
extern HmSource *hm_source_copies(HmReader *reader, const HmQuery *query, HmRowFetcher *rows);

#endif							/* HM_INDEX_SOURCE_H */
