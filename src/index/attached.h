/*-------------------------------------------------------------------------
 *
 * attached.h
 *	  The attached file behind an index on extvec.
 *
 * All values of such an index refer to one file, that of its first vector, and
 * the metapage remembers which it was: its number, its rows, and a fingerprint
 * of them.  A file that was replaced, or has become shorter, is an error and
 * not a wrong answer; one that has grown is still the same.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_ATTACHED_H
#define HM_INDEX_ATTACHED_H

#include "postgres.h"

#include "files/file.h"
#include "storage/format.h"
#include "types/typeinfo.h"
#include "utils/rel.h"

/* True for an index whose values are references to rows of a file. */
extern bool hm_is_attached(const HmOpclass *opclass);

/*
 * The file that the index was built over, open and mapped; NULL for an index
 * on another type, or without a vector so far.  Raises the errors of
 * hm_file_acquire, and ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if it is
 * another file by now.
 */
extern HmFile *hm_attached_file(Relation index, const HmOpclass *opclass, const HmMeta *meta);

/*
 * Raises the error for an element whose row the file does not have: by the
 * index, or by the file, which may have been attached again with fewer rows.
 */
extern void hm_attached_no_row(Relation index, const HmFile *file, uint64 row) pg_attribute_noreturn();

/*
 * Sees to it that a value, not null, of an index on extvec refers to its file:
 * ERRCODE_FEATURE_NOT_SUPPORTED otherwise.  The first value decides: then
 * *identity is filled, and true returned.  Other types: false.
 */
extern bool hm_attached_note(Relation index, const HmOpclass *opclass, Datum value,
							 HmIndexedFile *identity);

#endif							/* HM_INDEX_ATTACHED_H */
