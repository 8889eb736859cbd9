/*-------------------------------------------------------------------------
 *
 * part.h
 *	  Writing a part, and reading one through shared buffers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_PART_H
#define HM_STORAGE_PART_H

#include "storage/format.h"
#include "storage/metapage.h"
#include "utils/rel.h"

/*
 * Writing.  The caller fills the counts of *part (part, first_element,
 * element_count, posting_count, tail_count, patch_count, patch_slots,
 * level_count, max_norm) and calls
 *
 *		hm_part_writer_begin
 *		hm_part_write ...		every entry of every array, arrays in the order
 *								of HmArray, entries in theirs
 *		hm_part_writer_end
 *
 * In a build, pages go to the end of the file past everything that the buffer
 * manager knows, are WAL-logged in full where the relation needs WAL, and are synced
 * before hm_part_writer_end returns, since no checkpoint knows of them.  The
 * part is reachable only when the caller then puts *part into the directory.
 * An error in between leaves blocks that nothing refers to.
 */
typedef struct HmPartWriter HmPartWriter;

extern HmPartWriter *hm_part_writer_begin(Relation index, uint64 incarnation,
										  const HmMeta *meta, HmPartDesc *part);

/*
 * The same for an index that others use: the part gets its id and blocks from
 * the directory, where they are PENDING until it is published, and is written
 * through shared buffers; syncing is the checkpointer's business.
 */
extern HmPartWriter *hm_part_writer_begin_reserved(Relation index, const HmDirectory *directory,
												   HmPartDesc *part);
extern void hm_part_write(HmPartWriter *writer, HmArray array, const void *entry);

/*
 * Writes a list of PATCH_LISTS, on one page.  Its offset is what
 * hm_patch_offset says of the slot after the list before it.
 */
extern void hm_part_write_list(HmPartWriter *writer, const uint32 *slots, uint32 count);

/* Pages written so far and in all, for progress. */
extern void hm_part_writer_progress(const HmPartWriter *writer, uint32 *done, uint32 *total);
extern void hm_part_writer_end(HmPartWriter *writer);

/*
 * Creates a new index's file: an empty metapage at block 0, to be replaced
 * with hm_storage_publish when the part is there.
 */
extern void hm_storage_create(Relation index, ForkNumber fork, uint64 incarnation, const HmMeta *meta);

/* Replaces the directory of an index that nobody else can see yet. */
extern void hm_storage_publish(Relation index, uint64 incarnation, const HmMeta *meta);

/*
 * Copies entries first .. first + count - 1 of an array out of shared buffers,
 * validating each page's identity (ERRCODE_INDEX_CORRUPTED otherwise).
 */
extern void hm_part_read(Relation index, uint64 incarnation, const HmMeta *meta,
						 const HmPartDesc *part, HmArray array, uint64 first,
						 uint64 count, void *entries);

/* Copies `size` bytes from data offset `offset` of one page of an array, likewise. */
extern void hm_part_read_page(Relation index, uint64 incarnation, const HmPartDesc *part,
							  HmArray array, uint32 array_page, uint32 offset,
							  uint32 size, void *bytes);

#endif							/* HM_STORAGE_PART_H */
