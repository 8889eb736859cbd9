/*-------------------------------------------------------------------------
 *
 * query.h
 *	  The query vector of a scan, and what approximate distances say about
 *	  exact ones.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_QUERY_H
#define HM_INDEX_QUERY_H

#include "postgres.h"

#include "storage/format.h"
#include "types/typeinfo.h"

/* What the index can do with a query. */
typedef enum HmQueryKind
{
	HM_QUERY_NONE,				/* no ORDER BY, or every distance is NULL or NaN:
								 * rows in any order */
	HM_QUERY_RANKED,			/* the graph knows the way */
	HM_QUERY_EXTREME			/* components beyond what approximate distances
								 * can carry: every row is compared exactly */
} HmQueryKind;

typedef struct HmQuery
{
	HmQueryKind kind;
	HmMetric	metric;
	bool		foreign_key;	/* exact keys come from another extension's operator */
	int			dim;
	float	   *raw;			/* dim values, to compare with rows' vectors */
	float	   *prepared;		/* the same normalised or scaled as half-precision
								 * copies are, to compare with those */
	double		norm;			/* of raw */
	double		unscale;		/* distance between copies times this = distance */
} HmQuery;

/*
 * A rank: what searches compare.  Squared distance, negative inner product, or
 * 1 - cosine similarity; of copies, in their scale.  The functions may be
 * called inside a guarded call.
 */
extern float hm_query_rank_row(const HmQuery *query, HmElementKind kind, const void *vector);
extern float hm_query_rank_copy(const HmQuery *query, const uint16 *copy);

/*
 * The same for a copy that lies in pieces: hm_query_sum_copy of each, added
 * up, then hm_query_rank_sum.
 */
extern float hm_query_sum_copy(const HmQuery *query, const uint16 *piece, int first, int count);
extern float hm_query_rank_sum(const HmQuery *query, float sum);

/* The operator's distance that a rank stands for. */
extern double hm_query_row_distance(const HmQuery *query, float rank);
extern double hm_query_copy_distance(const HmQuery *query, float rank);

/*
 * How far such a distance may be from the operator's result, for a vector
 * whose norm is at most max_norm.  exact_copies: rounding to half precision
 * changed nothing, because the column is half precision itself.
 */
extern double hm_query_row_error(const HmQuery *query, double distance, double max_norm);
extern double hm_query_copy_error(const HmQuery *query, double distance, double max_norm,
								  bool exact_copies);

/*
 * Prepares a query in the current memory context.  column: the type of the
 * indexed column.  vector: NULL for a query that ranks nothing.  Raises an error
 * when its dimension is not the index's.
 */
extern void hm_query_prepare(HmQuery *query, const HmMeta *meta, const HmTypeInfo *column,
							 const HmVector *vector);

#endif							/* HM_INDEX_QUERY_H */
