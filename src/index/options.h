/*-------------------------------------------------------------------------
 *
 * options.h
 *	  Index options and settings, as the index floor sees them.  The access
 *	  method floor registers and parses them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_OPTIONS_H
#define HM_INDEX_OPTIONS_H

#include "postgres.h"

#include "storage/format.h"
#include "types/typeinfo.h"
#include "utils/rel.h"

#define HM_DEFAULT_M				16
#define HM_MIN_M					2
#define HM_DEFAULT_EF_CONSTRUCTION	200
#define HM_MIN_EF_CONSTRUCTION		4
#define HM_MAX_EF_CONSTRUCTION		2000
#define HM_DEFAULT_EF_SEARCH		100
#define HM_MAX_EF_SEARCH			1000000
#define HM_DEFAULT_MERGE_LOG_ENTRIES	2000
#define HM_DEFAULT_INSERT_DELAY		1

/* CREATE INDEX … WITH (…), as stored in rd_options. */
typedef struct HmOptions
{
	int32		vl_len_;		/* varlena header: do not touch directly */
	int			m;
	int			ef_construction;
	HmVectorsMode vectors;
} HmOptions;

/* Settings (hnsw_mmap.*). */
typedef enum HmIterativeScan
{
	HM_ITERATIVE_OFF,
	HM_ITERATIVE_RELAXED,
	HM_ITERATIVE_STRICT
} HmIterativeScan;

extern int	hm_ef_search;
extern int	hm_iterative_scan;
extern int	hm_max_scan_tuples; /* 0: no bound */
extern bool hm_heap_mmap;
extern int	hm_max_mapped_touched;	/* MB */
extern bool hm_background_merge;
extern int	hm_merge_log_entries;	/* entries of the log that make a merge due */
extern int	hm_insert_delay;	/* ms */

/* The options of an index, defaults where none were given. */
extern HmOptions hm_options(Relation index);

/* The operator class's description, through its support function. */
extern const HmOpclass *hm_opclass(Relation index);

/* The dimension that the indexed column or expression was declared with, or 0. */
extern int	hm_declared_dimension(Relation index);

#endif							/* HM_INDEX_OPTIONS_H */
