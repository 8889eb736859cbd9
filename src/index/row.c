/*-------------------------------------------------------------------------
 *
 * row.c
 *	  Rows as a snapshot sees them, and their exact keys.
 *
 * Everything that a scan returns passes through here: the row is found through
 * the table access method, under the scan's snapshot, and its key is what the
 * ordering operator says of the value in it.  Detoasting is safe, as the
 * snapshot that sees the row protects its TOAST entries.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "catalog/index.h"
#include "executor/executor.h"
#include "fmgr.h"
#include "index/row.h"
#include "storage/bufmgr.h"
#include "utils/memutils.h"
#include "utils/rel.h"

void
hm_row_begin(HmRowFetcher *fetcher, Relation index, Relation heap, Snapshot snapshot,
			 ScanKey order)
{
	memset(fetcher, 0, sizeof(HmRowFetcher));
	fetcher->index = index;
	fetcher->heap = heap;
	fetcher->heap_blocks = RelationGetNumberOfBlocks(heap);
	fetcher->snapshot = snapshot;
	fetcher->order = order;
	fetcher->attribute = index->rd_index->indkey.values[0];
	fetcher->fetch = table_index_fetch_begin(heap);
	fetcher->slot = table_slot_create(heap, NULL);
	fetcher->context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap row",
											 ALLOCSET_DEFAULT_SIZES);
	if (fetcher->attribute == 0)
	{
		fetcher->index_info = BuildIndexInfo(index);
		fetcher->estate = CreateExecutorState();
	}
}

void
hm_row_end(HmRowFetcher *fetcher)
{
	if (fetcher->fetch == NULL)
		return;
	ExecDropSingleTupleTableSlot(fetcher->slot);
	table_index_fetch_end(fetcher->fetch);
	if (fetcher->estate != NULL)
		FreeExecutorState(fetcher->estate);
	MemoryContextDelete(fetcher->context);
	fetcher->fetch = NULL;
}

/*
 * The table may have grown since the scan began; it does not shrink while the
 * scan holds its lock.
 */
void
hm_row_check(HmRowFetcher *fetcher, const ItemPointerData *tid)
{
	BlockNumber block = ItemPointerGetBlockNumberNoCheck(tid);
	OffsetNumber offset = ItemPointerGetOffsetNumberNoCheck(tid);

	if (likely(block < fetcher->heap_blocks && OffsetNumberIsValid(offset)))
		return;
	fetcher->heap_blocks = RelationGetNumberOfBlocks(fetcher->heap);
	if (block < fetcher->heap_blocks && OffsetNumberIsValid(offset))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" refers to item %u in block %u of table \"%s\", which cannot exist",
					RelationGetRelationName(fetcher->index), offset, block,
					RelationGetRelationName(fetcher->heap)),
			 errdetail("The table has %u blocks.", fetcher->heap_blocks),
			 errhint("Please REINDEX it.")));
}

bool
hm_row_fetch(HmRowFetcher *fetcher, const ItemPointerData *tid, Datum *value, bool *isnull)
{
	ItemPointerData root = *tid;	/* table_index_fetch_tuple moves it along the chain */
	bool		call_again = false;

	hm_row_check(fetcher, tid);
	if (!table_index_fetch_tuple(fetcher->fetch, &root, fetcher->snapshot,
								 fetcher->slot, &call_again, NULL))
		return false;

	MemoryContextReset(fetcher->context);
	if (fetcher->attribute != 0)
		*value = slot_getattr(fetcher->slot, fetcher->attribute, isnull);
	else
	{
		MemoryContext old = MemoryContextSwitchTo(fetcher->context);
		ExprContext *econtext = GetPerTupleExprContext(fetcher->estate);

		ResetExprContext(econtext);
		econtext->ecxt_scantuple = fetcher->slot;
		FormIndexDatum(fetcher->index_info, fetcher->slot, fetcher->estate, value, isnull);
		MemoryContextSwitchTo(old);
	}
	return true;
}

void
hm_row_let_go(HmRowFetcher *fetcher)
{
	ExecClearTuple(fetcher->slot);
	table_index_fetch_reset(fetcher->fetch);
}

/*
 * A value out of line is refused, because of a dead row it may be gone; so are
 * expressions, because they might look at other such values.
 */
bool
hm_row_fetch_any(HmRowFetcher *fetcher, const ItemPointerData *tid, Datum *value)
{
	Snapshot	snapshot = fetcher->snapshot;
	bool		found;
	bool		isnull;

	if (fetcher->attribute == 0)
		return false;
	fetcher->snapshot = SnapshotAny;
	found = hm_row_fetch(fetcher, tid, value, &isnull);
	fetcher->snapshot = snapshot;
	if (!found || isnull)
		return false;
	return TupleDescAttr(RelationGetDescr(fetcher->heap), fetcher->attribute - 1)->attlen != -1 ||
		!VARATT_IS_EXTERNAL(DatumGetPointer(*value));
}

HmRowKey
hm_row_key(HmRowFetcher *fetcher, Datum value, bool isnull)
{
	HmRowKey	key = {HM_ROW_NULL, 0};
	MemoryContext old;

	if (isnull || (fetcher->order->sk_flags & SK_ISNULL))
		return key;

	old = MemoryContextSwitchTo(fetcher->context);
	key.distance = DatumGetFloat8(FunctionCall2Coll(&fetcher->order->sk_func,
													fetcher->order->sk_collation,
													value, fetcher->order->sk_argument));
	MemoryContextSwitchTo(old);
	key.class = isnan(key.distance) ? HM_ROW_NAN : HM_ROW_NUMBER;
	return key;
}
