/*-------------------------------------------------------------------------
 *
 * guard.h
 *	  SIGBUS in a mapped file becomes a return value.
 *
 * Reading a mapping past the end of a truncated file, or where the disk fails,
 * raises SIGBUS, whose default action ends the process and with it every
 * session of the cluster.  hm_guarded_call runs a function that touches mapped
 * memory and returns false if such a fault ended it.
 *
 * The function is abandoned where it stood, so it must only load and compute:
 * no palloc, no ereport, no locks, no CHECK_FOR_INTERRUPTS.  What it was
 * writing to is in an unknown state.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_GUARD_H
#define HM_STORAGE_GUARD_H

#include "postgres.h"

/* Runs function(argument); false when a fault in a registered range ended it. */
extern bool hm_guarded_call(void (*function) (void *argument), void *argument);

/* Where the last fault was that ended a guarded call. */
extern const void *hm_guard_fault_address(void);

/*
 * Ranges whose faults are ours.  A fault anywhere else goes to whoever handled
 * SIGBUS before.  hm_guard_add_range raises ERRCODE_OUT_OF_MEMORY.
 */
extern void hm_guard_add_range(const void *start, size_t size);
extern void hm_guard_remove_range(const void *start);

#endif							/* HM_STORAGE_GUARD_H */
