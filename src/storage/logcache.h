/*-------------------------------------------------------------------------
 *
 * logcache.h
 *	  What a process has read of a log, side by side in its own memory.
 *
 * Every scan compares every entry of the log.  Most of what that would cost is
 * finding and locking pages, and waiting for entries that lie scattered over
 * shared buffers.  Nothing is ever added to a page that another follows, so
 * its entries are copied once.
 *
 * What does change on such pages is that VACUUM blanks entries, before their
 * TIDs may be used again.  It counts up the directory's tombstone version in
 * the same record, as a merge does when it takes pages out of the log; and a
 * cache is of one version.  So whoever may see a row under a TID that was used
 * again has read a directory whose version the entry's copy does not have.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_LOGCACHE_H
#define HM_STORAGE_LOGCACHE_H

#include "storage/log.h"

typedef struct HmLogCache HmLogCache;

/* Vectors of fewer dimensions have no codes: their copies are as short. */
#define HM_LOG_CODES_FROM	64

/*
 * The cache of the log of a directory, maybe an empty one.  *block, *sequence:
 * the page to go on with behind what is in it.
 */
extern HmLogCache *hm_logcache_get(const HmDirectory *directory, BlockNumber *block,
								   uint32 *sequence);

/* What is in it. */
extern void hm_logcache_view(const HmLogCache *cache, HmLogCached *cached);

/*
 * Adds an entry of the page to go on with, which another page follows.  copy:
 * NULL unless it has a vector.  It counts when the page has been ended.
 */
extern void hm_logcache_add(HmLogCache *cache, const HmLogEntry *entry, const uint16 *copy);

/* All entries of the page have been added; the next one is at this block. */
extern void hm_logcache_end_page(HmLogCache *cache, BlockNumber next);

#endif							/* HM_STORAGE_LOGCACHE_H */
