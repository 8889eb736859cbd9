/*-------------------------------------------------------------------------
 *
 * request.c
 *	  Asking for a merge: how this floor reaches the one above.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/request.h"

void		(*hm_request_merge_hook) (Relation index) = NULL;

void
hm_merge_request(Relation index)
{
	if (hm_request_merge_hook != NULL)
		hm_request_merge_hook(index);
}
