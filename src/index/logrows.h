/*-------------------------------------------------------------------------
 *
 * logrows.h
 *	  The log as one scan sees it: every entry compared, nearest first.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_LOGROWS_H
#define HM_INDEX_LOGROWS_H

#include "postgres.h"

#include "index/query.h"
#include "storage/log.h"

typedef struct HmLogRow
{
	ItemPointerData tid;
	uint8		kind;			/* HM_LOG_VECTOR or an HmTailKind */
	bool		coarse;			/* its key is a lower bound of its rank, from codes */
} HmLogRow;

typedef struct HmLogRows
{
	const HmQuery *query;
	HmLogRow   *rows;			/* in the order of insertion */
	uint32		count;
	uint32		space;

	/*
	 * Those with a vector that have not been taken: a heap of keys
	 * (graph/key.h) of rank, or a lower bound of it, and number, the nearest
	 * first.
	 */
	uint64	   *nearest;
	uint32		nearest_count;
	float		max_norm;		/* of a vector of the log */
	bool		exact_copies;

	uint64		stamp;			/* of the entries at hand, the first ones */
	int8	   *codes;			/* the query's; NULL until they are needed */
	HmCoarse	coarse;
} HmLogRows;

/* Reads and compares the log, in the current memory context.  The query must outlive it. */
extern void hm_log_rows_collect(HmLogRows *log, Relation index, const HmDirectory *directory,
								const HmQuery *query);

/* The lower bound of the nearest row that has not been taken; false: none is left. */
extern bool hm_log_rows_lower(HmLogRows *log, double *lower);
extern ItemPointerData hm_log_rows_take(HmLogRows *log);

#endif							/* HM_INDEX_LOGROWS_H */
