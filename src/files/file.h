/*-------------------------------------------------------------------------
 *
 * file.h
 *	  Attached vector files: which there are, who may read them, mappings.
 *
 * A file is a foreign server of the wrapper hnsw_mmap_file.  Values refer to it
 * by a number: the server's option "number" or, without that, a hash of its
 * name.  Both survive dump, restore and upgrade; an OID would not.
 *
 * The file is only read.  It belongs to somebody else, who may do anything to
 * it at any time:
 *
 * - Whatever it holds is data.  Its header was checked when it was opened; its
 *   components may be any bits.
 * - It may be truncated while it is mapped: rows are read by hm_file_read, or
 *   in place inside hm_guarded_call (storage/guard.h) only.  What lay on its
 *   last page reads as zeros then, until the file is looked at again.
 * - It may be replaced.  It is looked at again (device, inode, size, time of
 *   modification) once per statement of the client and transaction, and when
 *   a catalog entry has changed.  The old mapping stays until the transaction
 *   ends, so that pointers into it stay valid.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_FILES_FILE_H
#define HM_FILES_FILE_H

#include "postgres.h"

#include "base.h"
#include "compat.h"

/* A mapped file. */
typedef struct HmFile
{
	uint32		number;			/* never 0 */
	HmElementKind kind;
	int			dim;			/* 1 .. HM_MAX_DIM */
	bool		prefixed;		/* each row's components follow an int32, equal to dim */
	uint64		rows;			/* that may be read: 0 .. rows - 1 */
	uint64		stride;			/* bytes from row to row */
	const char *base;			/* row 0's components; any alignment */
	NameData	name;			/* of the server */

	/* what hm_file_fingerprint found last; 0 rows: nothing, since the file changed */
	uint64		fingerprint_rows;
	uint64		fingerprint;
} HmFile;

/*
 * The file of that number, mapped; valid until the end of the transaction.
 * Cheap enough for every row: after the first call in a statement, a look into
 * a hash table.  Raises an error if there is no such server or there are two,
 * the current user lacks USAGE on it, or the file is missing, unreadable, of
 * another type or dimension than the server's options say, or shorter than it
 * was when attached.
 */
extern HmFile *hm_file_acquire(uint32 number);

/*
 * Where a row's components are.  The caller checks row < rows, and loads only
 * inside hm_guarded_call.
 */
static inline const void *
hm_file_row(const HmFile *file, uint64 row)
{
	return file->base + row * file->stride;
}

/*
 * Whether what lies before a row's components is what should be there: true of
 * all rows but those of a damaged .fvecs file.  Inside hm_guarded_call, too.
 */
static inline bool
hm_file_row_is_sound(const HmFile *file, uint64 row)
{
	int32		dim;

	if (!file->prefixed)
		return true;
	memcpy(&dim, (const char *) hm_file_row(file, row) - sizeof(dim), sizeof(dim));
	return dim == file->dim;
}

static inline size_t
hm_file_row_size(const HmFile *file)
{
	return file->dim * (file->kind == HM_F16 ? sizeof(uint16) : sizeof(float));
}

/*
 * Copies a row's components, hm_file_row_size bytes.  Raises an error if there
 * is no such row, it is damaged, or the file was truncated meanwhile.
 */
extern void hm_file_read(HmFile *file, uint64 row, void *to);

/*
 * A hash of the file's kind and dimension, and of some 64 rows spread evenly
 * over the first `rows`.  So a file that has only grown has the fingerprint it
 * had.  rows must not exceed the file's.  Remembered until the file is found
 * changed.  Raises errors as hm_file_read does.
 */
extern uint64 hm_file_fingerprint(HmFile *file, uint64 rows);

/*
 * Tells the kernel whether rows will be read in the order in which they lie, so
 * that it reads ahead, or at random, as is presumed at first.
 */
extern void hm_file_read_ahead(HmFile *file, bool ahead);

/* Raises the error for a row that the file does not have. */
extern void hm_file_no_such_row(const HmFile *file, int64 row) pg_attribute_noreturn();

/*
 * Raises the error for a guarded read that ended early, at
 * hm_guard_fault_address().  The next hm_file_acquire looks at every file anew.
 */
extern void hm_file_fault(void) pg_attribute_noreturn();

/* Raises the error for a row that is not sound. */
extern void hm_file_damaged_row(const HmFile *file, uint64 row) pg_attribute_noreturn();

/*
 * From a server's name to its number, 0 if there is no such server; and back,
 * NULL if there is none, or more than one.  Neither raises an error.
 */
extern uint32 hm_file_number(const char *name);
extern const char *hm_file_server_name(uint32 number);

#endif							/* HM_FILES_FILE_H */
