/*-------------------------------------------------------------------------
 *
 * grow.h
 *	  Growing a stored graph: insertion, repair, connectivity.
 *
 * A grower changes an overlay (overlay.h), one operation after the other.  As
 * the search it calls nobody that could fail: it is a state machine.  One of
 * hm_grow_insert, hm_grow_repair and hm_grow_connect begins an operation, and
 * hm_grow_step runs until it needs something and says what:
 *
 *		HM_GROW_LOAD		vectors of load_ids[0 .. load_n - 1]
 *		HM_GROW_LINKS		a list that the store under the overlay could not give
 *		HM_GROW_FOUND		a decision: link the new element, or cancel
 *		HM_GROW_PAUSE		nothing: an opportunity
 *		HM_GROW_DONE		the operation is finished
 *		HM_GROW_NO_MEMORY	it is given up
 *
 * Whenever it returns, and so if the caller gives up in the middle, all lists
 * are sound; an element half inserted may have few links or none to it.
 *
 * Only live elements are linked to.  The dead are walked through.
 *
 * Malkov & Yashunin (2018), algorithms 1 (insert), 3 and 4 (selection).
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_GROW_H
#define HM_GRAPH_GROW_H

#include "base.h"
#include "graph/build.h"
#include "graph/overlay.h"
#include "graph/search.h"

typedef enum HmGrowStep
{
	/*
	 * The caller makes the vectors of load_ids available to the scorer, until
	 * the operation ends or pauses, and sets load_flags: HM_SCORED, or
	 * HM_ABSENT if there is none to be had.  An absent element is never
	 * scored; in searches its neighbours stand in for it.  With a scorer that
	 * says what is `known`, nothing is asked for that is, and the scorer knows
	 * by the next step.
	 */
	HM_GROW_LOAD,

	/* As HM_STEP_LINKS: the list of links_id at links_level, before the next step. */
	HM_GROW_LINKS,

	/*
	 * Of an insertion, before anything is changed: found[0 .. found_n - 1] are
	 * the nearest live elements, so that the caller may find that one of them
	 * has the very same vector and call hm_grow_cancel.  The next step links.
	 */
	HM_GROW_FOUND,

	/*
	 * Of the connectivity pass: the vectors loaded so far are not needed any
	 * more; a good moment to look for interrupts.
	 */
	HM_GROW_PAUSE,

	HM_GROW_DONE,
	HM_GROW_NO_MEMORY
} HmGrowStep;

/* Since the grower was created. */
typedef struct HmGrowCounters
{
	uint64_t	distances;		/* computed */
	uint64_t	inserted;		/* elements linked */
	uint64_t	pruned;			/* full lists chosen anew for a new element */
	uint64_t	forced;			/* new elements that all neighbours had pruned away */
	uint64_t	repaired;		/* lists chosen anew because members had died */
	uint64_t	linked;			/* elements that the connectivity pass has linked */
} HmGrowCounters;

/* The fields above the line are the interface. */
typedef struct HmGrower
{
	/* HM_GROW_LOAD: in */
	int			load_n;
	uint32_t	load_ids[HM_MAX_BATCH];
	/* HM_GROW_LOAD: out */
	uint8_t		load_flags[HM_MAX_BATCH];

	/* HM_GROW_LINKS: in */
	uint32_t	links_id;
	int			links_level;

	/* HM_GROW_FOUND: in, nearest first; valid until the next call */
	int			found_n;
	const HmCandidate *found;

	/*
	 * May be set by the caller, whose scorer says what is `known`: not all
	 * vectors can be kept, and getting one is costly.  Repairs then look at a
	 * third of the heirs, and at those neighbours of members that are known.
	 */
	bool		frugal;

	HmGrowCounters counters;
	/* ---- */
	struct HmGrowState *state;
} HmGrower;

/*
 * Working memory for growing; NULL when there is none.  Overlay and scorer
 * must outlive it.  The scorer is asked only about elements that were loaded
 * in the operation going on.  ef_construction >= 1.
 */
extern HmGrower *hm_grower_create(HmOverlay *overlay, const HmBuildScorer *scorer,
								  uint32_t ef_construction, const HmAllocator *allocator);
extern void hm_grower_destroy(HmGrower *grower);

/*
 * Inserts an own element, which has been added to the overlay with empty
 * lists, and whose own vector the caller has loaded.  Every element linked
 * has at least one in-link at level 0 from a live element, if any other is
 * alive.
 */
extern void hm_grow_insert(HmGrower *grower, uint32_t id);

/*
 * At HM_GROW_FOUND: ends the insertion.  Nothing has been changed; if the
 * element was added last, hm_overlay_remove_last may remove it.
 */
extern void hm_grow_cancel(HmGrower *grower);

/*
 * Fills up a list that has lost members: the live ones stay, and of at most
 * HM_REPAIR_EXTRA live neighbours of lost ones and of members, never going
 * further, those join that the heuristic chooses among the nearest of all.
 * They link back where their lists are in memory and have room: that costs
 * nothing, and most of the loss in recall comes from in-links that died.
 * Others without a vector are left out.  A list that has lost nobody, or around
 * which nobody lives, and a dead element's list is left alone.
 */
#define HM_REPAIR_EXTRA 192
extern void hm_grow_repair(HmGrower *grower, uint32_t id, int level);

/*
 * The connectivity pass: every own live element gets an in-link on each of its
 * levels, so that it is reached from the entry point or, if there are elements
 * under the overlay, from those, which are taken to be reached.  No dead own
 * element is walked through, as these will be dropped.  An entry point that is
 * one is replaced first.  To be run last, when the dead are known.
 */
extern void hm_grow_connect(HmGrower *grower);

extern HmGrowStep hm_grow_step(HmGrower *grower);

#endif							/* HM_GRAPH_GROW_H */
