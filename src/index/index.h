/*-------------------------------------------------------------------------
 *
 * index.h
 *	  The access method's callbacks, one file each, and what they share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_INDEX_H
#define HM_INDEX_INDEX_H

#include "postgres.h"

#include "access/genam.h"
#include "access/relscan.h"
#include "index/options.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

/* build.c */
extern IndexBuildResult *hm_build(Relation heap, Relation index, IndexInfo *index_info);
extern void hm_buildempty(Relation index);
extern char *hm_build_phase_name(int64 phase);

/* Random bits, for incarnations and seeds. */
extern uint64 hm_build_random(void);

/* insert.c */
extern bool hm_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid,
					  Relation heap, IndexUniqueCheck check_unique,
					  bool index_unchanged, IndexInfo *index_info);

/* vacuum.c */
extern IndexBulkDeleteResult *hm_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
											IndexBulkDeleteCallback callback, void *callback_state);
extern IndexBulkDeleteResult *hm_vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats);

/* scan.c */
extern IndexScanDesc hm_beginscan(Relation index, int nkeys, int norderbys);
extern void hm_rescan(IndexScanDesc scan, ScanKey keys, int nkeys, ScanKey orderbys, int norderbys);
extern bool hm_gettuple(IndexScanDesc scan, ScanDirection direction);
extern void hm_endscan(IndexScanDesc scan);

/* What this session's last scan did, for hnsw_mmap_last_scan(). */
typedef struct HmScanStats
{
	Oid			index;			/* InvalidOid: no scan yet */
	uint64		distances;		/* computed, in the graph, the log and for exact keys */
	uint64		expanded;		/* elements whose neighbours were followed */
	uint64		vectors_mmap;	/* vectors read through mmap */
	uint64		vectors_buffers;	/* vectors read through shared buffers */
	uint64		vectors_absent; /* elements without a vector to read */
	uint64		pages_verified; /* mapped index pages checked for the first time */
	uint64		pages_overlaid; /* mapped pages replaced by private copies */
	uint64		resumptions;
	uint64		sweeps;			/* 1 when the scan turned into a sweep */
	uint64		dropped;		/* rows found too late for strict order */
	uint64		log_entries;	/* log entries compared */
	uint64		rows;			/* rows returned */
} HmScanStats;

extern HmScanStats hm_last_scan;

#endif							/* HM_INDEX_INDEX_H */
