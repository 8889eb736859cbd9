/*-------------------------------------------------------------------------
 *
 * error.h
 *	  How damaged storage is reported.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_ERROR_H
#define HM_STORAGE_ERROR_H

#include "postgres.h"

#include "compat.h"
#include "storage/block.h"
#include "utils/rel.h"

/*
 * Raises ERRCODE_INDEX_CORRUPTED for a block of an index.  `detail` says what
 * was found there, as a sentence.
 */
extern void hm_corrupt(Relation index, BlockNumber block, const char *detail,...)
			pg_attribute_noreturn() pg_attribute_printf(3, 4);

#endif							/* HM_STORAGE_ERROR_H */
