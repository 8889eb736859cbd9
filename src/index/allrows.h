/*-------------------------------------------------------------------------
 *
 * allrows.h
 *	  Every TID of an index, in stages.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_ALLROWS_H
#define HM_INDEX_ALLROWS_H

#include "postgres.h"

#include "index/logrows.h"
#include "index/reader.h"

/* In this order, so that NaN comes after every number and NULL after all. */
typedef enum HmAllRowsStage
{
	HM_STAGE_REFS,
	HM_STAGE_POSTINGS,
	HM_STAGE_LOG_VECTOR,
	HM_STAGE_TAIL_WIDE,
	HM_STAGE_LOG_WIDE,
	HM_STAGE_TAIL_NAN,
	HM_STAGE_LOG_NAN,
	HM_STAGE_TAIL_NULL,
	HM_STAGE_LOG_NULL,
	HM_STAGE_END
} HmAllRowsStage;

typedef struct HmAllRows
{
	HmReader   *reader;
	const HmLogRows *log;
	HmAllRowsStage stage;
	int			part;			/* being read, in a stage that reads parts */
	uint64		position;		/* within its array, or the log */
	uint64		tail_position[HM_MAX_PARTS];	/* in TAIL, across the stages that read it */

	int			buffer_part;	/* what the buffer holds; -1: nothing */
	HmArray		array;
	uint64		buffer_first;
	uint64		buffer_count;
	char	   *buffer;
} HmAllRows;

/* Starts at a stage; allocates in the current memory context. */
extern void hm_all_rows_begin(HmAllRows *all, HmReader *reader, const HmLogRows *log,
							  HmAllRowsStage stage);

/*
 * The next TID that is not tombstoned, as long as it belongs to a stage not
 * after `last`; all->stage is its stage.
 */
extern bool hm_all_rows_next(HmAllRows *all, HmAllRowsStage last, ItemPointer tid);

#endif							/* HM_INDEX_ALLROWS_H */
