/*-------------------------------------------------------------------------
 *
 * sorter.h
 *	  Sorts (distance, number) pairs within work_mem, spilling to disk.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_SORTER_H
#define HM_INDEX_SORTER_H

#include "postgres.h"

typedef struct HmSorter HmSorter;

extern HmSorter *hm_sorter_begin(void);
extern void hm_sorter_put(HmSorter *sorter, double distance, int64 number);

/* To be called once, when everything has been put. */
extern void hm_sorter_sort(HmSorter *sorter);

/* In ascending order of distance, NaN last; false at the end. */
extern bool hm_sorter_next(HmSorter *sorter, double *distance, int64 *number);
extern void hm_sorter_end(HmSorter *sorter);

#endif							/* HM_INDEX_SORTER_H */
