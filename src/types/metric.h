/*-------------------------------------------------------------------------
 *
 * metric.h
 *	  Distances between vectors of any two kinds: the one definition behind
 *	  the operators' results and the index's exact keys.
 *
 * A rank orders vectors as their distance does and is cheaper to compute:
 *
 *		metric				rank						distance
 *		HM_L2				squared distance			its square root
 *		HM_INNER_PRODUCT	negative inner product		the same
 *		HM_COSINE			1 - cosine similarity		the same
 *
 * Sums are carried in single precision by the kernels in use.  Where such a
 * sum overflows, or underflows far enough to lose digits that matter, it is
 * computed again in double precision, so that finite vectors always have a
 * finite distance, except that under HM_COSINE a vector of zeros has the
 * distance NaN from every vector.  Infinite and NaN components give what IEEE
 * arithmetic gives.  Swapping the vectors never changes a result.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_TYPES_METRIC_H
#define HM_TYPES_METRIC_H

#include "base.h"

/* A vector where it lies. */
typedef struct HmVector
{
	int			dim;			/* number of components, 1 .. HM_MAX_DIM */
	HmElementKind kind;
	const void *data;			/* dim components; any alignment, down to a byte */
} HmVector;

/* Both vectors must have the same number of components; the caller checks. */
extern double hm_rank(HmMetric metric, const HmVector *a, const HmVector *b);

/* Monotonic: an order of ranks is an order of distances.  NaN stays NaN. */
extern double hm_rank_to_distance(HmMetric metric, double rank);

/* The operator's result, always exactly hm_rank_to_distance of hm_rank. */
extern double hm_distance(HmMetric metric, const HmVector *a, const HmVector *b);

/*
 * The square of a vector's Euclidean norm: infinite or NaN if and only if some
 * component is, 0 if and only if all of them are.
 */
extern double hm_squared_norm(const HmVector *vector);

#endif							/* HM_TYPES_METRIC_H */
