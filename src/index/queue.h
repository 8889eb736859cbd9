/*-------------------------------------------------------------------------
 *
 * queue.h
 *	  Rows that were fetched and wait for their turn, by exact key.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_QUEUE_H
#define HM_INDEX_QUEUE_H

#include "postgres.h"

#include "index/row.h"
#include "lib/pairingheap.h"

typedef struct HmRowQueue
{
	pairingheap *heap;
	struct HmQueuedRow *free_rows;	/* to use again */
	MemoryContext context;
} HmRowQueue;

/* Empty, in the current memory context. */
extern void hm_queue_begin(HmRowQueue *queue);
extern void hm_queue_put(HmRowQueue *queue, const HmRowKey *key, const ItemPointerData *tid);

/*
 * Takes the first row if nothing whose distance is at least `bound` can come
 * before it.  Rows without a distance are taken only when bound is infinite.
 */
extern bool hm_queue_take(HmRowQueue *queue, double bound, HmRowKey *key, ItemPointer tid);

#endif							/* HM_INDEX_QUEUE_H */
