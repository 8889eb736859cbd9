/*-------------------------------------------------------------------------
 *
 * holders.c
 *	  Who else holds locks on a relation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/holders.h"
#include "storage/lock.h"

int
hm_lock_holders(Oid relation, LOCKMODE mode)
{
	LOCKTAG		tag;
	VirtualTransactionId *holders;
	int			count;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
	holders = GetLockConflicts(&tag, mode, &count);
	pfree(holders);
	return count;
}
