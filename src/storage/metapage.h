/*-------------------------------------------------------------------------
 *
 * metapage.h
 *	  The metapage: the one gate through which the directory is read.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_METAPAGE_H
#define HM_STORAGE_METAPAGE_H

#include "access/generic_xlog.h"
#include "storage/buf.h"
#include "storage/format.h"
#include "utils/rel.h"

/* The directory as read, with the incarnation it belongs to. */
typedef struct HmDirectory
{
	uint64		incarnation;
	HmMeta		meta;
} HmDirectory;

/*
 * Reads and validates the metapage (share lock, released).  Raises
 * ERRCODE_INDEX_CORRUPTED, naming the index and the block, when it is not one
 * or when a number in it leads outside the file.
 */
extern void hm_directory_read(Relation index, HmDirectory *directory);

/*
 * Locks the metapage exclusively, registers it with `state` and returns its
 * writable image.  The caller changes *meta, calls hm_meta_finish, finishes the
 * WAL record and releases the buffer.
 */
extern HmMeta *hm_meta_update(Relation index, GenericXLogState *state, Buffer *buffer);
extern void hm_meta_finish(HmMeta *meta);

/* Fills a page image with a metapage; for builds and the init fork. */
extern void hm_meta_init_page(Page page, uint64 incarnation, const HmMeta *meta);

#endif							/* HM_STORAGE_METAPAGE_H */
