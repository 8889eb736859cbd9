/*-------------------------------------------------------------------------
 *
 * build_state.h
 *	  What the phases of an index build hand to each other.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_BUILD_STATE_H
#define HM_INDEX_BUILD_STATE_H

#include "postgres.h"

#include "graph/build.h"
#include "graph/overlay.h"
#include "index/element.h"
#include "index/import.h"
#include "index/scratch.h"
#include "nodes/execnodes.h"
#include "portability/instr_time.h"
#include "storage/format.h"
#include "types/typeinfo.h"
#include "utils/rel.h"

/* Subphases in pg_stat_progress_create_index.  The server itself sets 1. */
#define HM_BUILD_INITIALIZE		1
#define HM_BUILD_SCAN			2
#define HM_BUILD_GRAPH			3
#define HM_BUILD_CONNECT		4
#define HM_BUILD_NUMBER			5
#define HM_BUILD_WRITE			6

/* The scratch area of element references: one per element, as scanned. */
typedef struct HmBuildRow
{
	HmRef		ref;
	uint64		hash;			/* of the original vector, seeded */
	uint64		row;			/* of the attached file, if there is one */
} HmBuildRow;

typedef struct HmBuildState
{
	Relation	heap;
	Relation	index;
	IndexInfo  *index_info;
	const HmOpclass *opclass;
	HmImport   *import;			/* a graph to begin with; NULL: none */
	HmOverlay  *given;			/* likewise: a merge's, of the first elements, all its own */
	bool		alone;			/* no workers are to be asked for */

	/*
	 * May be NULL.  Called every few elements while they are inserted; false: no
	 * more, and hm_build_make_graph returns with `stopped` and without a graph.
	 */
	bool		(*pause) (uint32 inserted, void *state);
	void	   *pause_state;
	bool		stopped;
	uint64		incarnation;
	HmMeta		meta;			/* dim and perhaps scale are set by the first vector */

	int			phase;			/* as reported */
	instr_time	phase_start;

	/*
	 * Phase 1.  Elements are numbered as they were met; postings name them by
	 * that number and are in the order of the scan.
	 */
	HmScratchSet *scratch;
	HmScratch  *copies;			/* dim half-precision values per element */
	HmScratch  *rows;			/* HmBuildRow per element */
	HmScratch  *postings;		/* HmPosting */
	HmScratch  *tail;			/* HmTailEntry */
	uint32		element_count;
	uint32		posting_count;
	uint32		tail_count;
	float		max_norm;		/* of an element */
	double		heap_tuples;	/* live rows of the table */
	double		index_tuples;	/* rows indexed, the dead that somebody may see included */

	/* Phase 2. */
	HmScratch  *graph_area;
	HmBuildGraph *graph;
	HmScratch  *new_of_old;		/* uint32 per element: its number as stored */
	HmScratch  *old_of_new;		/* the inverse */
	uint32		level_count[HM_MAX_LEVELS];
} HmBuildState;

/* build.c */
/*
 * Begins a phase in pg_stat_progress_create_index, with its totals (0: none),
 * and reports at DEBUG1 how long the one before it took.
 */
extern void hm_build_enter(HmBuildState *build, int phase, int64 tuples, int64 blocks);

/*
 * build_scale.c.  Of some live rows, read as by a build.  With a column of half
 * precision, or a metric that needs no scale, there is nothing to be asked.
 */
extern void hm_build_sizes(HmBuildState *build, IndexInfo *index_info, HmSizes *sizes);

/* build_scan.c */
extern void hm_build_scan(HmBuildState *build);

/* build_graph.c; needs at least one element */
extern void hm_build_make_graph(HmBuildState *build);

/* build_write.c */
extern void hm_build_write(HmBuildState *build);

#endif							/* HM_INDEX_BUILD_STATE_H */
