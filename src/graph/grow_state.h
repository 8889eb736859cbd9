/*-------------------------------------------------------------------------
 *
 * grow_state.h
 *	  What the operations of a grower share.
 *
 * Private to grow*.c.  An operation is a chain of phases.  A phase is a
 * function that is called again and again until it has nothing left to ask
 * for: it returns false after it has said by hm_grow_need what the caller of
 * hm_grow_step has to do, and is then called again from its beginning; or it
 * does its work, sets the next phase and returns true.  So a phase asks first
 * and changes afterwards, and asks for one stored list at a time: a store may
 * remember no more than the last one that it was helped to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_GROW_STATE_H
#define HM_GRAPH_GROW_STATE_H

#include "graph/grow.h"
#include "graph/ties.h"

typedef bool (*HmGrowPhase) (HmGrower *grower);

/* Which elements have been loaded in this operation: a hash table, forgotten at once. */
typedef struct HmLoadedEntry
{
	uint32_t	id;
	uint32_t	stamp;			/* the operation, shifted left by one | absent */
} HmLoadedEntry;

typedef struct HmLoaded
{
	HmLoadedEntry *entries;
	uint32_t	slots;			/* a power of two */
	uint32_t	used;
	uint32_t	operation;		/* entries of others are free */
} HmLoaded;

/* An insertion. */
typedef struct HmInsertState
{
	uint32_t	id;
	int			own_level;
	int			level;			/* being searched; later: being linked */
	int			from_level;		/* highest level that has lists to link; -1: none */
	HmCandidate *starts;		/* a level's results, for the next level */
	int			start_n;
	int			starts_capacity;
	bool		seeded;			/* level 0 has been searched from other places too */
	HmCandidate chosen[HM_MAX_LEVELS][HM_MAX_M];
	int			chosen_n[HM_MAX_LEVELS];
	int			at;				/* of the chosen ones, being linked back */
	bool		linked;			/* somebody links to the element at level 0 */
} HmInsertState;

/* A power of two, no more than half of which the ids of a repair fill. */
#define HM_REPAIR_SEEN 1024
_Static_assert(2 * (2 * HM_MAX_M + HM_REPAIR_EXTRA) <= HM_REPAIR_SEEN, "too few slots");
_Static_assert(2 * HM_MAX_M + HM_REPAIR_EXTRA + 1 <= HM_MAX_BATCH, "more than can be loaded at once");

/* A list being chosen anew. */
typedef struct HmRepairState
{
	uint32_t	id;
	int			level;
	int			member_n;		/* of ids: live members; others follow them */
	int			id_n;
	uint32_t	ids[2 * HM_MAX_M + HM_REPAIR_EXTRA];
	uint32_t	seen[HM_REPAIR_SEEN];	/* hash table of ids; HM_NO_ID: free */
	uint32_t	lost[2 * HM_MAX_M];
	int			lost_n;
	int			lost_at;
	int			member_at;
} HmRepairState;

/* The connectivity pass. */
typedef struct HmConnectState
{
	int			level;
	uint32_t   *parent;			/* of own elements: from whom first reached, or HM_NO_ID */
	uint32_t   *queue;			/* reached and not followed yet: head .. tail - 1 */
	uint32_t	head;
	uint32_t	tail;
	uint32_t	scanned;		/* own elements looked at */
	uint32_t	id;				/* not reached, being linked */
	HmCandidate *candidates;	/* to link from */
	int			candidate_n;
	int			candidate_capacity;
	bool		searched;		/* candidates are a search's results */
	int			at;
} HmConnectState;

typedef struct HmGrowState
{
	HmOverlay  *overlay;
	const HmBuildScorer *scorer;
	HmAllocator allocator;
	int			ef;
	HmGrowPhase phase;			/* NULL: no operation */
	HmGrowStep	wanted;			/* what the phase asks for */
	HmLoaded	loaded;

	/* a search of one level */
	HmSearch   *search;
	HmStep		search_step;
	HmTies		ties;
	uint32_t	search_id;		/* what is searched for; never met itself */
	int			search_level;
	uint8_t		own_dead_flag;	/* what dead own elements are in it */
	uint8_t		under_dead_flag;	/* and those under the overlay */

	HmInsertState insert;
	HmRepairState repair;
	HmConnectState connect;
} HmGrowState;

/* Says what is needed.  Returns false, for the phase to return. */
static inline bool
hm_grow_need(HmGrower *grower, HmGrowStep step)
{
	grower->state->wanted = step;
	return false;
}

/* --- grow.c --- */

/* Begins an operation: nothing is loaded. */
extern void hm_grow_begin(HmGrower *grower, HmGrowPhase phase);

/* Forgets what is loaded. */
extern void hm_grow_unload(HmGrower *grower);

/* Whether all these are known to be loaded or absent; false: it has been asked for. */
extern bool hm_grow_load(HmGrower *grower, const uint32_t *ids, int n);

/* Counts an element as loaded without having asked.  False: no memory, said so. */
extern bool hm_grow_note_loaded(HmGrower *grower, uint32_t id);

/* Whether an element's vector is there. */
extern bool hm_grow_is_known(const HmGrower *grower, uint32_t id);

/* Whether an element that was asked for is absent. */
extern bool hm_grow_is_absent(const HmGrower *grower, uint32_t id);

extern void hm_grow_score(HmGrower *grower, uint32_t from, const uint32_t *ids, int n,
						  float *distance);

/* Begins the search of one level, from starting points with known distances. */
extern bool hm_grow_begin_search(HmGrower *grower, uint32_t id, int level,
								 const HmCandidate *starts, int start_n, int ef);

/* Runs the search; false: something has been asked for. */
extern bool hm_grow_run_search(HmGrower *grower);

/* --- grow_list.c --- */

/* A list for reading; *n used slots.  NULL: it has been asked for. */
extern const uint32_t *hm_grow_read_list(HmGrower *grower, uint32_t id, int level, int *n);

/* A list for writing; *n used slots.  NULL: something has been asked for. */
extern uint32_t *hm_grow_take_list(HmGrower *grower, uint32_t id, int level, int *n);

/*
 * A slot of a list that can be had without losing anybody: an unused one, or
 * one that names a dead element; -1 if there is none.
 */
extern int	hm_grow_free_slot(const HmGrower *grower, const uint32_t *list, int n, int level);

/* The selection heuristic over loaded candidates, sorted nearest first: see select.h. */
extern int	hm_grow_select(HmGrower *grower, HmCandidate *candidates, int n, int limit);

/*
 * Overwrites the list of an element: chooses from the live ones of ids by the
 * heuristic.  All are loaded or absent.  The first member_n are in the list
 * now.
 *
 * With keep_members, all members that are alive stay, and the heuristic sees no
 * more than the nearest, three times m or 32, equal distances as one.  It needs
 * the near ones to tell a detour by, and of neighbours' neighbours they are
 * known less and less with distance: farther ones would be chosen that a
 * search's results would have struck out.
 *
 * Without, what the heuristic leaves out stays, as far as there is room, if
 * nobody who was chosen links to it: it might be linked from nowhere else.
 * Absent members stay as far as there is room; the list of an absent element
 * gets what there is, in the order given.
 */
extern void hm_grow_choose_list(HmGrower *grower, uint32_t *list, uint32_t id, int level,
								const uint32_t *ids, int member_n, int id_n,
								bool keep_members);

/*
 * The slot of a full list that a link to another element takes the place of,
 * those that are `fixed` (may be NULL) excepted: the farthest of the members
 * that another member links to too or, if there is none, the farthest.
 * HM_GROW_LOAD and false: something has been asked for.  *slot: -1 if there
 * is none.
 */
extern bool hm_grow_pick_victim(HmGrower *grower, uint32_t id, int level, const uint32_t *list,
								int n, const bool *fixed, int *slot);

static inline bool
hm_list_contains(const uint32_t *list, int n, uint32_t id)
{
	int			i;

	for (i = 0; i < n; i++)
	{
		if (list[i] == id)
			return true;
	}
	return false;
}

#endif							/* HM_GRAPH_GROW_STATE_H */
