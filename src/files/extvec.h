/*-------------------------------------------------------------------------
 *
 * extvec.h
 *	  The SQL type extvec: a reference to a row of an attached vector file.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_FILES_EXTVEC_H
#define HM_FILES_EXTVEC_H

#include "postgres.h"

#include "types/typeinfo.h"

/* A value, as it is stored: passed by reference, aligned like a double. */
typedef struct HmExtvec
{
	int64		row;			/* 0 .. PG_INT64_MAX; whether the file has it is not known */
	uint32		file;			/* HmFile.number, never 0 */
	uint32		zero;			/* so that equal values are equal bytes */
} HmExtvec;

#define DatumGetExtvec(datum)	((const HmExtvec *) DatumGetPointer(datum))

/*
 * For the index.  A view is a copy of the row, whose kind is the file's: not
 * the type's, which is 0.  There is no view_untrusted (NULL): the column's
 * bytes hold no vector.
 */
extern const HmTypeInfo hm_type_extvec;

#endif							/* HM_FILES_EXTVEC_H */
