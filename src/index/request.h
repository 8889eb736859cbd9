/*-------------------------------------------------------------------------
 *
 * request.h
 *	  Asking for a merge: how this floor reaches the one above.
 *
 * Who finds that a merge is due (an inserter, VACUUM) has other things to do;
 * a background worker merges.  Starting one is the access method floor's
 * business (src/am/worker.c), which this floor does not know.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_REQUEST_H
#define HM_INDEX_REQUEST_H

#include "postgres.h"

#include "utils/rel.h"

/* What answers requests; set when the library is loaded. */
extern void (*hm_request_merge_hook) (Relation index);

/*
 * Asks for a merge of an index of which hm_merge_is_due is true.  Returns at
 * once whether there will be one or not; may be called for every row.  Call it
 * without locks on buffers.
 */
extern void hm_merge_request(Relation index);

#endif							/* HM_INDEX_REQUEST_H */
