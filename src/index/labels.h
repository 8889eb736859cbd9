/*-------------------------------------------------------------------------
 *
 * labels.h
 *	  What graphs of other libraries call a row by: a value of an integer
 *	  column, or the row of the vector file that an extvec refers to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_LABELS_H
#define HM_INDEX_LABELS_H

#include "postgres.h"

#include "access/attnum.h"
#include "utils/rel.h"

/*
 * The column of a table that has the labels; without a name 0, for file rows.
 * Raises an error if there is no such column, or it is not of an integer type.
 */
extern AttrNumber hm_label_column(Relation table, const char *name);

/* Raises an error if labels are to be file rows, and the index is not over a file. */
extern void hm_label_check(Relation table, Relation index, AttrNumber column);

/* The type of the column's values; InvalidOid for file rows. */
extern Oid	hm_label_type(Relation table, AttrNumber column);

/* A value of that column, or of type extvec, as a label. */
extern int64 hm_label_of(Oid type, Datum value);

#endif							/* HM_INDEX_LABELS_H */
