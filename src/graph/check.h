/*-------------------------------------------------------------------------
 *
 * check.h
 *	  Structural check of a stored graph.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_CHECK_H
#define HM_GRAPH_CHECK_H

#include "base.h"
#include "graph/search.h"

typedef struct HmGraphReport
{
	uint64_t	links;			/* used slots, all levels */
	uint64_t	degree_sum;		/* used slots of level 0 */
	uint32_t	degree_min;		/* of level 0 */
	uint32_t	degree_max;
	uint32_t	unreachable;	/* elements that level 0 does not reach from the entry point */
	uint32_t	bad_ids;		/* ids out of range, or of a level that the element lacks */
	uint32_t	self_links;
	uint32_t	duplicate_links;
	uint32_t	holes;			/* a used slot after an unused one */
	uint32_t	first_bad;		/* an element with a defect, or HM_NO_ID */
} HmGraphReport;

/*
 * Reads every list of the graph. level_count[L]: elements 0 .. level_count[L]-1
 * have level >= L.  The store must be able to give every list (links never
 * returns NULL).  HM_CORRUPT when a defect other than unreachable elements was
 * found; the report is filled either way.
 */
extern HmStatus hm_graph_check(HmStore *store, const uint32_t level_count[HM_MAX_LEVELS],
							   const HmAllocator *allocator, HmGraphReport *report);

#endif							/* HM_GRAPH_CHECK_H */
