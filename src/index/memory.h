/*-------------------------------------------------------------------------
 *
 * memory.h
 *	  Memory contexts for the graph floor, which raises no errors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_MEMORY_H
#define HM_INDEX_MEMORY_H

#include "postgres.h"

#include "base.h"

/* Allocates in a context; NULL, not an error, when there is no memory. */
extern HmAllocator hm_context_allocator(MemoryContext context);

#endif							/* HM_INDEX_MEMORY_H */
