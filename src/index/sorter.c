/*-------------------------------------------------------------------------
 *
 * sorter.c
 *	  Sorts (distance, number) pairs within work_mem, spilling to disk.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tupdesc.h"
#include "catalog/pg_operator_d.h"
#include "catalog/pg_type_d.h"
#include "executor/tuptable.h"
#include "index/sorter.h"
#include "miscadmin.h"
#include "utils/tuplesort.h"

struct HmSorter
{
	Tuplesortstate *state;
	TupleTableSlot *in;
	TupleTableSlot *out;
};

HmSorter *
hm_sorter_begin(void)
{
	HmSorter   *sorter = palloc(sizeof(HmSorter));
	TupleDesc	descriptor = CreateTemplateTupleDesc(2);
	AttrNumber	column = 1;
	Oid			operator = Float8LessOperator;
	Oid			collation = InvalidOid;
	bool		nulls_first = false;

	TupleDescInitEntry(descriptor, 1, "distance", FLOAT8OID, -1, 0);
	TupleDescInitEntry(descriptor, 2, "number", INT8OID, -1, 0);
	sorter->state = tuplesort_begin_heap(descriptor, 1, &column, &operator, &collation,
										 &nulls_first, work_mem, NULL, TUPLESORT_NONE);
	sorter->in = MakeSingleTupleTableSlot(descriptor, &TTSOpsVirtual);
	sorter->out = MakeSingleTupleTableSlot(descriptor, &TTSOpsMinimalTuple);
	return sorter;
}

void
hm_sorter_put(HmSorter *sorter, double distance, int64 number)
{
	ExecClearTuple(sorter->in);
	sorter->in->tts_values[0] = Float8GetDatum(distance);
	sorter->in->tts_isnull[0] = false;
	sorter->in->tts_values[1] = Int64GetDatum(number);
	sorter->in->tts_isnull[1] = false;
	ExecStoreVirtualTuple(sorter->in);
	tuplesort_puttupleslot(sorter->state, sorter->in);
}

void
hm_sorter_sort(HmSorter *sorter)
{
	tuplesort_performsort(sorter->state);
}

bool
hm_sorter_next(HmSorter *sorter, double *distance, int64 *number)
{
	bool		isnull;

	if (!tuplesort_gettupleslot(sorter->state, true, false, sorter->out, NULL))
		return false;
	*distance = DatumGetFloat8(slot_getattr(sorter->out, 1, &isnull));
	*number = DatumGetInt64(slot_getattr(sorter->out, 2, &isnull));
	return true;
}

void
hm_sorter_end(HmSorter *sorter)
{
	tuplesort_end(sorter->state);
	ExecDropSingleTupleTableSlot(sorter->in);
	ExecDropSingleTupleTableSlot(sorter->out);
	pfree(sorter);
}
