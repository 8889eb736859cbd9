/*-------------------------------------------------------------------------
 *
 * ties.h
 *	  How often a search has met one and the same distance.
 *
 * Where thousands of copies of a vector lie together, they would fill all of
 * ef_construction, and an element near them would get no link to anything
 * else.  So whoever searches for an insertion turns away what has a distance
 * that the search has met often enough.
 *
 * The table forgets when two distances fall into one slot; that only lets a
 * few more pass.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_TIES_H
#define HM_GRAPH_TIES_H

#include "base.h"
#include "graph/key.h"

#define HM_TIE_BITS 10

typedef struct HmTieCount
{
	uint32_t	distance_bits;
	uint32_t	search_number;
	uint32_t	count;
} HmTieCount;

typedef struct HmTies
{
	uint32_t	search_number;	/* counts of other searches are void */
	uint32_t	most;			/* elements at one distance that pass */
	HmTieCount	slots[1 << HM_TIE_BITS];
} HmTies;

static inline void
hm_ties_init(HmTies *ties, uint32_t ef_construction)
{
	memset(ties, 0, sizeof(*ties));
	ties->most = ef_construction / 8 + 8;
}

/* A new search begins. */
static inline void
hm_ties_begin(HmTies *ties)
{
	ties->search_number++;
}

/* Counts an element at a distance; true: there are too many of them by now. */
static inline bool
hm_ties_turn_away(HmTies *ties, float distance)
{
	uint32_t	bits = hm_distance_bits(distance);
	HmTieCount *slot = &ties->slots[(bits * UINT32_C(2654435769)) >> (32 - HM_TIE_BITS)];

	if (HM_LIKELY(slot->distance_bits != bits || slot->search_number != ties->search_number))
	{
		slot->distance_bits = bits;
		slot->search_number = ties->search_number;
		slot->count = 0;
	}
	return ++slot->count > ties->most;
}

#endif							/* HM_GRAPH_TIES_H */
