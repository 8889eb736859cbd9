/*-------------------------------------------------------------------------
 *
 * source.h
 *	  Where a scan's distances come from: the table's rows, or the index's
 *	  half-precision copies.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_SOURCE_H
#define HM_INDEX_SOURCE_H

#include "postgres.h"

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

	HmReader   *reader;
	const HmQuery *query;
	HmRowFetcher *rows;
};

/*
 * Both make a source in the current memory context, for the reader's part.
 * use_mmap: read rows out of the mapped table first.  A source lives for one
 * (re)scan.
 */
extern HmSource *hm_source_heap(HmReader *reader, const HmQuery *query, HmRowFetcher *rows,
								const HmTypeInfo *type, bool use_mmap);
extern HmSource *hm_source_copies(HmReader *reader, const HmQuery *query, HmRowFetcher *rows);

/* True when an element has no TID left that is not tombstoned. */
extern bool hm_source_is_dead(HmReader *reader, uint32 id);

#endif							/* HM_INDEX_SOURCE_H */
