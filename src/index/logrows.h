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
#include "lib/binaryheap.h"
#include "storage/log.h"

typedef struct HmLogRow
{
	ItemPointerData tid;
	uint16		kind;			/* HM_LOG_VECTOR or an HmTailKind */
	double		lower;			/* lower bound of the distance (HM_LOG_VECTOR) */
} HmLogRow;

typedef struct HmLogRows
{
	HmLogRow   *rows;			/* in the order of insertion */
	uint32		count;
	uint32		space;
	binaryheap *nearest;		/* numbers of rows with a vector; NULL: none */
} HmLogRows;

/* Reads and compares the log, in the current memory context. */
extern void hm_log_rows_collect(HmLogRows *log, Relation index, const HmDirectory *directory,
								const HmQuery *query);

/* The lower bound of the nearest row that has not been taken; false: none is left. */
extern bool hm_log_rows_lower(HmLogRows *log, double *lower);
extern ItemPointerData hm_log_rows_take(HmLogRows *log);

#endif							/* HM_INDEX_LOGROWS_H */
