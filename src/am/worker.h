/*-------------------------------------------------------------------------
 *
 * worker.h
 *	  The background worker that merges, and who starts it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_AM_WORKER_H
#define HM_AM_WORKER_H

#include "postgres.h"

#include "utils/rel.h"

/* Answers hm_merge_request from now on; once per process. */
extern void hm_worker_register(void);

/*
 * Starts a background worker that merges an index, unless one is at it, or one
 * was asked for by this process a short while ago, or there is no use in it.
 * Never waits, and raises no error but that of a damaged metapage.
 */
extern void hm_request_merge(Relation index);

#endif							/* HM_AM_WORKER_H */
