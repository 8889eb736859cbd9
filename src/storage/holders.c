/*-------------------------------------------------------------------------
 *
 * holders.c
 *	  Who else holds locks on something.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "miscadmin.h"
#include "storage/holders.h"

int
hm_tag_holders(const LOCKTAG *tag, LOCKMODE mode)
{
	VirtualTransactionId *holders;
	int			count;

	holders = GetLockConflicts(tag, mode, &count);
	pfree(holders);
	return count;
}

int
hm_lock_holders(Oid relation, LOCKMODE mode)
{
	LOCKTAG		tag;

	SET_LOCKTAG_RELATION(tag, MyDatabaseId, relation);
	return hm_tag_holders(&tag, mode);
}
