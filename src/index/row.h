/*-------------------------------------------------------------------------
 *
 * row.h
 *	  Rows as the scan's snapshot sees them, and their exact keys.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_ROW_H
#define HM_INDEX_ROW_H

#include "postgres.h"

#include "access/skey.h"
#include "executor/tuptable.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

/* Rows are ordered by class, then by key. */
typedef enum HmRowClass
{
	HM_ROW_NUMBER,				/* the distance is a number, maybe infinite */
	HM_ROW_NAN,
	HM_ROW_NULL
} HmRowClass;

typedef struct HmRowKey
{
	HmRowClass	class;
	double		distance;
} HmRowKey;

/* Fetches rows of the index's table under a snapshot. */
typedef struct HmRowFetcher
{
	Relation	index;
	Relation	heap;
	BlockNumber heap_blocks;	/* blocks of the table when last looked */
	Snapshot	snapshot;
	ScanKey		order;			/* the ordering operator and the query, or NULL */
	struct IndexFetchTableData *fetch;
	TupleTableSlot *slot;
	AttrNumber	attribute;		/* 0: an expression */
	IndexInfo  *index_info;		/* expressions only */
	EState	   *estate;
	MemoryContext context;		/* reset for every row */
} HmRowFetcher;

/*
 * Begins to fetch, in the current memory context.  order: NULL if nobody asks
 * for keys.
 */
extern void hm_row_begin(HmRowFetcher *fetcher, Relation index, Relation heap,
						 Snapshot snapshot, ScanKey order);
extern void hm_row_end(HmRowFetcher *fetcher);

/* Raises ERRCODE_INDEX_CORRUPTED for a TID that the table cannot have. */
extern void hm_row_check(HmRowFetcher *fetcher, const ItemPointerData *tid);

/*
 * Fetches the visible version of the row at an index TID, which is checked.
 * False: there is none.  *value is valid until the next fetch.
 */
extern bool hm_row_fetch(HmRowFetcher *fetcher, const ItemPointerData *tid,
						 Datum *value, bool *isnull);

/* Lets go of the page of the row that was fetched last. */
extern void hm_row_let_go(HmRowFetcher *fetcher);

/*
 * Fetches some version of the row, whoever sees it, to look at its vector.
 * False: there is none, or its vector cannot be looked at safely.
 */
extern bool hm_row_fetch_any(HmRowFetcher *fetcher, const ItemPointerData *tid, Datum *value);

/* The operator's own result for a value: what the executor would compute. */
extern HmRowKey hm_row_key(HmRowFetcher *fetcher, Datum value, bool isnull);

static inline int
hm_row_compare(const HmRowKey *a, const HmRowKey *b)
{
	if (a->class != b->class)
		return a->class < b->class ? -1 : 1;
	if (a->class != HM_ROW_NUMBER || a->distance == b->distance)
		return 0;
	return a->distance < b->distance ? -1 : 1;
}

#endif							/* HM_INDEX_ROW_H */
