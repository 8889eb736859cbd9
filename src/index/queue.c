/*-------------------------------------------------------------------------
 *
 * queue.c
 *	  Rows that were fetched and wait for their turn, by exact key.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/queue.h"
#include "utils/float.h"
#include "utils/memutils.h"

typedef struct HmQueuedRow
{
	pairingheap_node node;
	struct HmQueuedRow *next_free;
	HmRowKey	key;
	ItemPointerData tid;
} HmQueuedRow;

/* A pairing heap's first is the largest of its order. */
static int
compare_rows(const pairingheap_node *a, const pairingheap_node *b, void *argument)
{
	return hm_row_compare(&((const HmQueuedRow *) b)->key, &((const HmQueuedRow *) a)->key);
}

void
hm_queue_begin(HmRowQueue *queue)
{
	queue->heap = pairingheap_allocate(compare_rows, NULL);
	queue->free_rows = NULL;
	queue->context = CurrentMemoryContext;
}

void
hm_queue_put(HmRowQueue *queue, const HmRowKey *key, const ItemPointerData *tid)
{
	HmQueuedRow *row = queue->free_rows;

	if (row != NULL)
		queue->free_rows = row->next_free;
	else
		row = MemoryContextAlloc(queue->context, sizeof(HmQueuedRow));
	row->key = *key;
	row->tid = *tid;
	pairingheap_add(queue->heap, &row->node);
}

bool
hm_queue_take(HmRowQueue *queue, double bound, HmRowKey *key, ItemPointer tid)
{
	HmQueuedRow *row;

	if (pairingheap_is_empty(queue->heap))
		return false;
	row = (HmQueuedRow *) pairingheap_first(queue->heap);
	if (row->key.class == HM_ROW_NUMBER ? row->key.distance > bound :
		bound != get_float8_infinity())
		return false;

	pairingheap_remove_first(queue->heap);
	*key = row->key;
	*tid = row->tid;
	row->next_free = queue->free_rows;
	queue->free_rows = row;
	return true;
}
