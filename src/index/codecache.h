/*-------------------------------------------------------------------------
 *
 * codecache.h
 *	  Eight-bit codes of those elements that a merge has met: what it computes
 *	  its distances on.
 *
 * An insertion looks at some two thousand elements, and the next one at many of
 * the same.  Reading each from the table every time would cost several times
 * as much as the distances.  So would be filling the cache for every merge of a
 * thousand rows: a process keeps it from one merge to its next.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_CODECACHE_H
#define HM_INDEX_CODECACHE_H

#include "postgres.h"

#include "base.h"
#include "graph/codes.h"
#include "storage/metapage.h"

typedef struct HmCodeCache HmCodeCache;

/*
 * An empty cache in a memory context of its own, within the current one.  sample:
 * vectors by which its codec is chosen.  elements: how many there will be at
 * most.
 */
extern HmCodeCache *hm_codecache_create(HmMetric metric, const HmSample *sample, uint32 elements);

/* Whether it keeps so many elements' codes between operations. */
extern bool hm_codecache_holds(const HmCodeCache *cache, uint32 elements);

/*
 * The cache that this process has kept of the index as the directory has it, or
 * NULL; any other is given up.  It is in the current memory context then, so an
 * error takes it away.
 */
extern HmCodeCache *hm_codecache_take(const HmDirectory *directory, uint32 elements);

/*
 * Keeps a cache for this process's next merge of the index, which has been
 * published as this directory.  Elements from `first` on, `count` of them, have
 * got the numbers new_of_old, or HM_NO_ID.
 */
extern void hm_codecache_keep(HmCodeCache *cache, const HmDirectory *directory,
							  uint32 first, const uint32 *new_of_old, uint32 count);

/* HM_SCORED: it is there; HM_ABSENT: it is known to have no vector; HM_SKIPPED: neither. */
extern uint8 hm_codecache_known(const HmCodeCache *cache, uint32 id);

/* Adds an element, from its half-precision copy. */
extern void hm_codecache_add(HmCodeCache *cache, uint32 id, const uint16 *copy);

/* Notes that an element has no vector to be had. */
extern void hm_codecache_add_absent(HmCodeCache *cache, uint32 id);

/* Forgets an element's number, which will be given to another. */
extern void hm_codecache_forget(HmCodeCache *cache, uint32 id);

/*
 * Between operations: forgets everything if there is more of it than
 * maintenance_work_mem, and than some thousands.
 */
extern void hm_codecache_trim(HmCodeCache *cache);

/*
 * Distances from one element to others, all of which are there; one that is
 * not counts as infinitely far.  Computes and loads only.
 */
extern void hm_codecache_score(const HmCodeCache *cache, uint32 from, const uint32 *ids, int n,
							   float *distance);

#endif							/* HM_INDEX_CODECACHE_H */
