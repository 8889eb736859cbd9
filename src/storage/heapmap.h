/*-------------------------------------------------------------------------
 *
 * heapmap.h
 *	  A table's own files, mapped, to read vectors from its tuples.
 *
 * What is read this way is a hint and never an answer: the file may lag behind
 * shared buffers, and a page may be rearranged while it is being read.
 * hm_heap_attribute follows no offset that it has not checked, and its caller
 * recognises the right bytes by a fingerprint.  Every row that a scan returns
 * is fetched in the ordinary way, whatever the mapping said.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_HEAPMAP_H
#define HM_STORAGE_HEAPMAP_H

#include "postgres.h"

#include "access/tupdesc.h"
#include "storage/block.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"
#include "storage/off.h"
#include "utils/rel.h"

typedef struct HmHeapSegment
{
	const char *base;			/* NULL: not mapped */
	BlockNumber blocks;			/* in the file when last looked */
	uint64		epoch;			/* when that was */
} HmHeapSegment;

typedef struct HmHeapMap
{
	HmHeapSegment *segments;
	uint32		segment_count;
	uint64		epoch;			/* counts scans */
} HmHeapMap;

/*
 * The mapping of a table's files, or NULL if it is not a heap, is temporary,
 * or must not be mapped.  The caller holds a lock on the table, and has one
 * mapping of it at most for as long as it uses the pointer.
 */
extern HmHeapMap *hm_heapmap_acquire(Relation heap);

/* Looks at a segment's file anew, mapping it when need be; false: not mapped. */
extern bool hm_heapmap_look(Relation heap, HmHeapMap *map, uint32 segment);

/*
 * The address of a block, or NULL when it is not mapped.  At the first use of
 * a segment in a scan, looks whether its file is still the same.
 */
static inline const char *
hm_heapmap_block(Relation heap, HmHeapMap *map, BlockNumber block)
{
	uint32		segment = block / RELSEG_SIZE;
	BlockNumber within = block % RELSEG_SIZE;

	if (unlikely(segment >= map->segment_count ||
				 map->segments[segment].epoch != map->epoch) &&
		!hm_heapmap_look(heap, map, segment))
		return NULL;
	if (within >= map->segments[segment].blocks)
		return NULL;
	return map->segments[segment].base + (size_t) within * BLCKSZ;
}

/*
 * Finds an attribute of the tuple at a line pointer (following a redirection)
 * on a page that may be changing: returns the address of its bytes and sets
 * *available to how many of them lie inside the tuple, or returns NULL when
 * there is no tuple, the attribute is NULL, or anything looks wrong.
 */
extern const char *hm_heap_attribute(const char *page, OffsetNumber offset, TupleDesc descriptor,
									 int attribute, size_t *available);

/* Where on its page a TID's line pointer is. */
static inline size_t
hm_heap_item_offset(const ItemPointerData *tid)
{
	return SizeOfPageHeaderData +
		(size_t) (ItemPointerGetOffsetNumberNoCheck(tid) - 1) * sizeof(ItemIdData) % BLCKSZ;
}

/* Prefetches the tuple at a TID, as far as can be told without following redirections. */
extern void hm_heap_prefetch(const char *page, const ItemPointerData *tid);

#endif							/* HM_STORAGE_HEAPMAP_H */
