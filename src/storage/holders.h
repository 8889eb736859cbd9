/*-------------------------------------------------------------------------
 *
 * holders.h
 *	  Who else holds locks on a relation.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_HOLDERS_H
#define HM_STORAGE_HOLDERS_H

#include "postgres.h"

#include "storage/lockdefs.h"

/*
 * How many other transactions of this database hold a lock on a relation that
 * conflicts with a mode, at this moment.  Takes microseconds: every process of
 * the server is looked at.
 */
extern int	hm_lock_holders(Oid relation, LOCKMODE mode);

#endif							/* HM_STORAGE_HOLDERS_H */
