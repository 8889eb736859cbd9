/*-------------------------------------------------------------------------
 *
 * testpoint.c
 *	  Named points at which a test may pause, fail or crash a process.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/testpoint.h"

static HmTestPointHook no_hook = NULL;

HmTestPointHook *hm_test_point_hook = &no_hook;
