/*-------------------------------------------------------------------------
 *
 * codecache.h
 *	  Eight-bit codes of those elements that a merge has met: what it computes
 *	  its distances on.
 *
 * An insertion looks at some two thousand elements, and the next one at many of
 * the same.  Reading each from the table every time would cost several times
 * as much as the distances.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_CODECACHE_H
#define HM_INDEX_CODECACHE_H

#include "postgres.h"

#include "base.h"
#include "graph/codes.h"

typedef struct HmCodeCache HmCodeCache;

/*
 * An empty cache in the current memory context.  mean: what vectors are
 * centred by, dim values, which must stay.  It holds about `bytes` between
 * operations, and more within one.
 */
extern HmCodeCache *hm_codecache_create(HmMetric metric, uint32 dim, const float *mean, Size bytes);

/* HM_SCORED: it is there; HM_ABSENT: it is known to have no vector; HM_SKIPPED: neither. */
extern uint8 hm_codecache_known(const HmCodeCache *cache, uint32 id);

/* Adds an element, from its half-precision copy. */
extern void hm_codecache_add(HmCodeCache *cache, uint32 id, const uint16 *copy);

/* Notes that an element has no vector to be had. */
extern void hm_codecache_add_absent(HmCodeCache *cache, uint32 id);

/* Forgets an element's number, which will be given to another. */
extern void hm_codecache_forget(HmCodeCache *cache, uint32 id);

/* Between operations: forgets everything if there is too much of it. */
extern void hm_codecache_trim(HmCodeCache *cache);

/*
 * Distances from one element to others, all of which are there; one that is
 * not counts as infinitely far.  Computes and loads only.
 */
extern void hm_codecache_score(const HmCodeCache *cache, uint32 from, const uint32 *ids, int n,
							   float *distance);

#endif							/* HM_INDEX_CODECACHE_H */
