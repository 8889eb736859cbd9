/*-------------------------------------------------------------------------
 *
 * testpoint.h
 *	  Named points at which a test may pause, fail or crash a process.
 *
 * In production nothing is there and a point costs a load and a branch that is
 * never taken.  A test loads a module of its own (test/modules), which puts a
 * function where hm_test_point_hook finds it.  Points lie outside of critical
 * sections and of guarded calls, and no buffer is locked there, so what is
 * called may raise an error or wait; the publish lock may be held.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_TESTPOINT_H
#define HM_STORAGE_TESTPOINT_H

#include "postgres.h"

#define HM_TEST_POINT_VARIABLE "hnsw_mmap_test_point"

typedef void (*HmTestPointHook) (const char *name);

/* Where the hook is, if any: a rendezvous variable.  Set when the library is loaded. */
extern HmTestPointHook *hm_test_point_hook;

#define HM_TEST_POINT(name) \
	do { \
		if (unlikely(*hm_test_point_hook != NULL)) \
			(*hm_test_point_hook) (name); \
	} while (0)

#endif							/* HM_STORAGE_TESTPOINT_H */
