/*-------------------------------------------------------------------------
 *
 * buffer.h
 *	  Reading the index's pages through shared buffers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_BUFFER_H
#define HM_STORAGE_BUFFER_H

#include "postgres.h"

#include "storage/block.h"
#include "storage/buf.h"
#include "utils/rel.h"

/*
 * Pins a block and takes its lock, BUFFER_LOCK_SHARE or _EXCLUSIVE.  A block
 * that the server cannot read, or whose header it finds invalid, is reported
 * as every other damage of an index: ERRCODE_INDEX_CORRUPTED, naming the index.
 */
extern Buffer hm_buffer_read(Relation index, BlockNumber block, int lock_mode);

#endif							/* HM_STORAGE_BUFFER_H */
