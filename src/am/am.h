/*-------------------------------------------------------------------------
 *
 * am.h
 *	  The access method's callbacks that decide nothing about vectors: what
 *	  handler.c hands to PostgreSQL beside those of index/index.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_AM_AM_H
#define HM_AM_AM_H

#include "postgres.h"

#include "nodes/pathnodes.h"
#include "storage/lockdefs.h"
#include "utils/rel.h"

/* What an operator class consists of. */
#define HM_STRATEGY_DISTANCE	1	/* ORDER BY column <operator> query */
#define HM_STRATEGIES			1
#define HM_SUPPORT_OPCLASS		1	/* (internal) returns internal: a const HmOpclass * */
#define HM_SUPPORTS				1

/* options.c */
extern void hm_options_register(void);
extern bytea *hm_options_parse(Datum reloptions, bool validate);

/* validate.c */
extern bool hm_validate(Oid opclass_oid);

/* cost.c */
extern void hm_cost_estimate(PlannerInfo *root, IndexPath *path, double loop_count,
							 Cost *startup_cost, Cost *total_cost, Selectivity *selectivity,
							 double *correlation, double *pages);

/* functions.c */
/*
 * Opens an index of this access method and, unless heap is NULL, its table,
 * locked AccessShareLock before it; or raises an error that says why not.
 */
extern Relation hm_open_index(Oid index_oid, LOCKMODE lock, Relation *heap);

#endif							/* HM_AM_AM_H */
