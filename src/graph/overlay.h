/*-------------------------------------------------------------------------
 *
 * overlay.h
 *	  A stored graph being changed: what is new lies in memory, in front of
 *	  what is stored.
 *
 * A merge replaces the newest parts of a stored graph and adds elements.  So
 * the elements are of two kinds, by their ids:
 *
 *		own		first ..		of the replaced parts, and new ones: all their
 *								lists are in memory, in dense arrays
 *		under	0 .. first - 1	they stay where they are stored.  Their lists
 *								come from the store `under`, except those that
 *								have changed: a hash table has copies of them
 *
 * If all parts are replaced, first is 0 and everything is in memory.  Memory
 * is proportional to own elements and changed lists; no distances are kept.
 *
 * A list is 2m slots at level 0, m above; used slots come first, HM_NO_ID ends
 * them.  Stored lists are untrusted: what is taken into memory loses ids that
 * can never be valid, links to itself and duplicates, but may still name an
 * element that has not been added (yet), so whoever follows a link compares it
 * with store.element_count, as the search does.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_OVERLAY_H
#define HM_GRAPH_OVERLAY_H

#include "base.h"
#include "graph/search.h"

/*
 * Lists of one size, found by their number.  They lie in blocks, each twice as
 * large as the one before, so that they never move and the blocks are few.
 */
#define HM_LIST_BLOCKS	23

typedef struct HmListPool
{
	uint32_t	slots;			/* per list */
	uint32_t	count;			/* lists in use */
	uint32_t   *blocks[HM_LIST_BLOCKS];
} HmListPool;

/* A changed list of an element of the store under this one. */
typedef struct HmChange
{
	uint32_t	id;				/* HM_NO_ID: a free entry of the hash table */
	uint32_t	level;
	uint32_t	list;			/* number in the pool of its level */
} HmChange;

/*
 * The fields above the line are the interface; the rest belongs to overlay.c
 * and overlay_write.c.
 */
typedef struct HmOverlay
{
	/*
	 * The graph as changed; must be first.  The entry point and its level are
	 * set by the caller, as stored, and updated by insertions.
	 */
	HmStore		store;

	/* ids below are in the store under this one; this and above are own */
	uint32_t	first;

	/*
	 * Elements whose rows are all dead, a bit each, for ids 0 .. dead_count -
	 * 1; those beyond are alive.  The caller's memory: see hm_overlay_set_dead.
	 */
	const uint64_t *dead;
	uint32_t	dead_count;
	/* ---- */
	HmAllocator allocator;
	HmStore    *under;
	uint32_t	capacity;
	uint32_t	own_count;
	uint8_t    *levels;			/* of own elements, as the next three */
	uint32_t   *upper_start;	/* an element's first list in `upper` */
	uint32_t   *base;			/* level 0 */
	HmListPool	upper;			/* levels 1 .. L follow one another */

	uint64_t   *base_changed;	/* whose list of level 0 is among these: nearly nobody's */
	HmChange   *changes;		/* open addressing, a power of two of entries */
	uint32_t	change_slots;
	uint32_t	change_count;
	HmListPool	changed_base;
	HmListPool	changed_upper;
	HmChange   *sorted;			/* see hm_overlay_changes */
} HmOverlay;

/*
 * Puts an overlay without elements of its own over a store, which may be NULL
 * if first is 0.  capacity: how many own elements there will be at most; room
 * for their base lists is allocated at once.  The graph has no entry point and
 * nobody is dead until the caller says so.  NULL: no memory, or ids would
 * overflow.
 */
extern HmOverlay *hm_overlay_create(HmStore *under, uint32_t first, uint32_t capacity,
									uint32_t m, const HmAllocator *allocator);
extern void hm_overlay_destroy(HmOverlay *overlay);

/*
 * Says who is dead: bit i of `dead` for element i < count.  The memory stays
 * the caller's and must outlive its use here; bits may be set at any time
 * between two steps of a grower.
 */
static inline void
hm_overlay_set_dead(HmOverlay *overlay, const uint64_t *dead, uint32_t count)
{
	overlay->dead = dead;
	overlay->dead_count = dead != NULL ? count : 0;
}

/*
 * Appends an own element with empty lists on levels 0 .. level; returns its id,
 * the next one, or HM_NO_ID if there is no memory or capacity is exhausted.
 */
extern uint32_t hm_overlay_add(HmOverlay *overlay, int level);

/* Removes the own element that was added last, which nothing may link to. */
extern void hm_overlay_remove_last(HmOverlay *overlay);

/*
 * Sets an own element's list at one of its levels, as stored: n slots, of
 * which HM_NO_ID ends the used ones.  May name elements that are yet to be
 * added.
 */
extern void hm_overlay_set(HmOverlay *overlay, uint32_t id, int level, const uint32_t *links, int n);

/*
 * Takes a list of the store under this one into memory, so that it may be
 * changed and counts as changed; one that was taken before is overwritten.
 */
extern HmStatus hm_overlay_change(HmOverlay *overlay, uint32_t id, int level,
								  const uint32_t *links, int n);

/*
 * A list in memory, for writing; NULL if the element has no such level, or if
 * the list is still the store's.  Stays where it is until the overlay is
 * destroyed.  Whoever writes keeps used slots first.
 */
extern uint32_t *hm_overlay_list(HmOverlay *overlay, uint32_t id, int level, int *slots);

/*
 * Whether a list as it is now has lost a member: *lost.  False if the list
 * cannot be had without help (see HmStore.links).
 */
extern bool hm_overlay_has_lost(HmOverlay *overlay, uint32_t id, int level, bool *lost);

/*
 * The changed lists one after the other, in no particular order, as long as
 * none is added: *at is 0 before the first.  False when there are no more.
 */
extern bool hm_overlay_next_change(HmOverlay *overlay, uint32_t *at, HmChange *change);

/* --- for writing: overlay_write.c --- */

/*
 * Numbers the own elements that are stored, from `first` on by descending
 * level; within a level in the order in which they were added or, if first is
 * 0, breadth-first from the entry point over level-0 links, so that neighbours
 * share pages: the entry point is number 0 then.  The dead are dropped, unless
 * keep_dead.  Returns how many are kept.
 *
 * Own element i (id first + i) becomes new_of_old[i], HM_NO_ID if dropped; the
 * one numbered first + i was old_of_new[i], as an id.  Both arrays have an
 * entry for each own element.  level_count[L]: own elements kept of level >= L.
 */
extern uint32_t hm_overlay_number(HmOverlay *overlay, bool keep_dead, uint32_t *new_of_old,
								  uint32_t *old_of_new, uint32_t level_count[HM_MAX_LEVELS]);

/*
 * Copies a list in memory as it is to be stored: own ids mapped (new_of_old
 * NULL: as they are), links to dropped elements and to what lacks the level left out, unused slots
 * HM_NO_ID.  `slots` has room for 2m (level 0) or m.  Returns the number of
 * used ones.
 */
extern int	hm_overlay_read(HmOverlay *overlay, uint32_t id, int level,
							const uint32_t *new_of_old, uint32_t *slots);

/*
 * The changed lists of the store under this one, sorted by level, then id.
 * NULL: no memory.  The array belongs to the overlay, until the next call.
 * What the caller knows to lack the level (a damaged list may have named it)
 * is not to be written.
 */
extern const HmChange *hm_overlay_changes(HmOverlay *overlay, uint32_t *count);

/*
 * The number of the entry point: the present one, or if that has been dropped,
 * a kept element of the highest level.  HM_NO_ID if nothing is left.  Where the
 * store under this one has the highest level, that is its entry_point, which
 * has to be one of its own elements then.
 */
extern uint32_t hm_overlay_entry(const HmOverlay *overlay, const uint32_t *new_of_old);

/*
 * Moves the entry point, if it is an own element that is dead or is not
 * there, to a live element of the highest level that any has; store.top_level
 * with it.
 */
extern void hm_overlay_move_entry(HmOverlay *overlay);

/* --- what is asked of every link --- */

static inline bool
hm_overlay_is_dead(const HmOverlay *overlay, uint32_t id)
{
	return id < overlay->dead_count && ((overlay->dead[id / 64] >> (id % 64)) & 1) != 0;
}

static inline bool
hm_overlay_is_own(const HmOverlay *overlay, uint32_t id)
{
	return id >= overlay->first;
}

/* The level of an own element. */
static inline int
hm_overlay_level(const HmOverlay *overlay, uint32_t id)
{
	return overlay->levels[id - overlay->first];
}

/* Whether an element exists and, as far as is known here, has that level. */
static inline bool
hm_overlay_has(const HmOverlay *overlay, uint32_t id, int level)
{
	return id < overlay->store.element_count &&
		(!hm_overlay_is_own(overlay, id) || hm_overlay_level(overlay, id) >= level);
}

/* Whether an element may be linked to at a level. */
static inline bool
hm_overlay_is_live(const HmOverlay *overlay, uint32_t id, int level)
{
	return hm_overlay_has(overlay, id, level) && !hm_overlay_is_dead(overlay, id);
}

/* The slots of a list at a level. */
static inline int
hm_overlay_slots(const HmOverlay *overlay, int level)
{
	return (int) (level == 0 ? 2 * overlay->store.m : overlay->store.m);
}

/* How many of the slots are used. */
static inline int
hm_used_slots(const uint32_t *links, int slots)
{
	int			n = 0;

	while (n < slots && links[n] != HM_NO_ID)
		n++;
	return n;
}

#endif							/* HM_GRAPH_OVERLAY_H */
