/*-------------------------------------------------------------------------
 *
 * handler.c
 *	  What PostgreSQL learns about the access method.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amapi.h"
#include "am/am.h"
#include "commands/vacuum.h"
#include "fmgr.h"
#include "index/index.h"

PG_FUNCTION_INFO_V1(hm_handler);

/*
 * Properties that the system cannot work out by itself.  The only column of
 * any index can be ordered by distance.
 */
static bool
property(Oid index_oid, int attno, IndexAMProperty property, const char *property_name,
		 bool *result, bool *isnull)
{
	if (property != AMPROP_DISTANCE_ORDERABLE || attno == 0)
		return false;
	*result = true;
	*isnull = false;
	return true;
}

/*
 * makeNode leaves what is not named here false, zero or NULL, and that is
 * right for all of it, whatever a later version of PostgreSQL has added:
 *
 *	- amsearchnulls: IS NULL is no distance; NULLs are in the index all the
 *	  same, as amoptionalkey demands, and a scan returns them last.
 *	- amcanparallel: a scan is one search, which several processes could only
 *	  repeat; a parallel plan may have one inside each worker.
 *	- amcanbuildparallel (17 and later): it asks index_build to plan the
 *	  workers.  hm_build does so itself, which works in every version.
 *	- amsummarizing (16 and later): every row has an entry of its own, so
 *	  that a HOT update must not skip this index.
 *	- amgetbitmap: an order by distance would be lost in a bitmap.
 */
Datum
hm_handler(PG_FUNCTION_ARGS)
{
	IndexAmRoutine *routine = makeNode(IndexAmRoutine);

	routine->amstrategies = HM_STRATEGIES;
	routine->amsupport = HM_SUPPORTS;
	routine->amcanorderbyop = true;
	routine->amoptionalkey = true;

	/* What VACUUM finds in one index decides what is done there next. */
	routine->amparallelvacuumoptions = VACUUM_OPTION_NO_PARALLEL;

	routine->ambuild = hm_build;
	routine->ambuildempty = hm_buildempty;
	routine->aminsert = hm_insert;
	routine->ambulkdelete = hm_bulkdelete;
	routine->amvacuumcleanup = hm_vacuumcleanup;
	routine->amcostestimate = hm_cost_estimate;
	routine->amoptions = hm_options_parse;
	routine->amproperty = property;
	routine->ambuildphasename = hm_build_phase_name;
	routine->amvalidate = hm_validate;
	routine->ambeginscan = hm_beginscan;
	routine->amrescan = hm_rescan;
	routine->amgettuple = hm_gettuple;
	routine->amendscan = hm_endscan;

	PG_RETURN_POINTER(routine);
}
