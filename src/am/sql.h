/*-------------------------------------------------------------------------
 *
 * sql.h
 *	  What the SQL functions share: indexes as arguments, rows as results.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_AM_SQL_H
#define HM_AM_SQL_H

#include "postgres.h"

#include "access/htup_details.h"
#include "access/tupdesc.h"
#include "fmgr.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

/* A row under construction: columns are set in the order of the SQL declaration. */
typedef struct HmResult
{
	TupleDesc	descriptor;
	int			columns;
	Datum		values[MaxTupleAttributeNumber];
	bool		nulls[MaxTupleAttributeNumber];
} HmResult;

/* Begins the row that a function declared with OUT parameters returns. */
extern void hm_result_begin(HmResult *result, FunctionCallInfo fcinfo);
extern void hm_result_add(HmResult *result, Datum value);

/* The value, or NULL where there is none to speak of. */
extern void hm_result_add_if(HmResult *result, bool known, Datum value);
extern Datum hm_result_end(HmResult *result);

/*
 * Locks a relation that was named a moment ago, or raises an error that says
 * that it has been dropped since, perhaps while the lock was waited for.
 */
extern void hm_lock_relation(Oid relation, LOCKMODE lock);

/*
 * Raises an error unless an open relation is a usable index of this access
 * method: not partitioned, no other session's temporary one, valid.
 */
extern void hm_check_index(Relation index);

#endif							/* HM_AM_SQL_H */
