/*-------------------------------------------------------------------------
 *
 * options.c
 *	  Index options and settings, as the index floor sees them.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "fmgr.h"
#include "index/options.h"

/* The settings start with their defaults; src/am/module.c makes them visible. */
int			hm_ef_search = HM_DEFAULT_EF_SEARCH;
int			hm_iterative_scan = HM_ITERATIVE_STRICT;
int			hm_max_scan_tuples = 0;
bool		hm_heap_mmap = true;
int			hm_max_mapped_touched = 8192;	/* its page tables take 16 MB */
bool		hm_background_merge = true;
int			hm_merge_log_entries = HM_DEFAULT_MERGE_LOG_ENTRIES;
int			hm_insert_delay = HM_DEFAULT_INSERT_DELAY;

HmOptions
hm_options(Relation index)
{
	HmOptions	options = {
		.m = HM_DEFAULT_M,
		.ef_construction = HM_DEFAULT_EF_CONSTRUCTION,
		.vectors = HM_VECTORS_HEAP
	};

	/* The relation cache keeps none for an index made without WITH (...). */
	if (index->rd_options != NULL)
		options = *(const HmOptions *) index->rd_options;
	return options;
}

const HmOpclass *
hm_opclass(Relation index)
{
	/* Support function 1 of the only column; the relation cache remembers it. */
	FmgrInfo   *support = index_getprocinfo(index, 1, 1);

	return (const HmOpclass *) DatumGetPointer(FunctionCall1(support, PointerGetDatum(NULL)));
}

int
hm_declared_dimension(Relation index)
{
	if (!hm_opclass(index)->type->typmod_is_dimension)
		return 0;
	return Max(TupleDescAttr(RelationGetDescr(index), 0)->atttypmod, 0);
}
