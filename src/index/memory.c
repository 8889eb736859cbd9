/*-------------------------------------------------------------------------
 *
 * memory.c
 *	  Memory contexts for the graph floor, which raises no errors.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/memory.h"
#include "utils/memutils.h"

static void *
allocate(void *state, size_t size)
{
	/* a larger size would raise an error all the same */
	if (size > MaxAllocHugeSize)
		return NULL;
	return MemoryContextAllocExtended(state, size, MCXT_ALLOC_HUGE | MCXT_ALLOC_NO_OOM);
}

static void
release(void *state, void *pointer)
{
	if (pointer != NULL)
		pfree(pointer);
}

HmAllocator
hm_context_allocator(MemoryContext context)
{
	return (HmAllocator) {allocate, release, context};
}
