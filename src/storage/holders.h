/*-------------------------------------------------------------------------
 *
 * holders.h
 *	  Who else holds locks on something.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_HOLDERS_H
#define HM_STORAGE_HOLDERS_H

#include "postgres.h"

#include "storage/lock.h"

/*
 * How many other transactions hold a lock that conflicts with a mode, at this
 * moment: on what a tag names, or on a relation of this database.  Takes
 * microseconds, or a fifth of a millisecond where max_connections is 5,000, as
 * every process of the server is looked at.
 */
extern int	hm_tag_holders(const LOCKTAG *tag, LOCKMODE mode);
extern int	hm_lock_holders(Oid relation, LOCKMODE mode);

#endif							/* HM_STORAGE_HOLDERS_H */
