/*-------------------------------------------------------------------------
 *
 * query.c
 *	  The query vector of a scan, and what approximate distances say about
 *	  exact ones.
 *
 * Error bounds.  A row may leave the scan when its exact key is no more than
 * the lower bounds of all keys that are not known yet, so these must hold.  A
 * bound is the approximate distance less what may lie between it and the key:
 *
 *		true distance ── rounding of the approximate sum ── and of the copy
 *		      └───────── rounding of the key's own sum
 *
 * Copies.  A half-precision copy y of x has |y - x| <= 2^-11 |x| plus at most
 * 2^-25 (in the copy's scale) per component where x is subnormal there.  By the
 * triangle inequality the Euclidean distance from the query moves by no more
 * than that, an inner product by |q| times it, and a cosine by it for
 * normalised vectors.
 *
 * Sums.  Let u = 2^-24.  A sum of products in single precision is off by at
 * most k u / (1 - k u) times the sum of its terms' magnitudes if no term goes
 * through more than k roundings, those of its own computation included, in
 * whatever order the terms are added (Higham, Accuracy and Stability of
 * Numerical Algorithms, 2nd ed., sections 3.1 and 4.2).  A difference that is
 * squared is rounded once, and counts twice; its square is rounded once.
 *
 *	- Our kernels have four accumulators or more, so with those of the last
 *	  lanes k <= dim / 4 + 12, for approximate distances and for our operators'
 *	  results alike.
 *	- Of another extension's operator we know that it adds products in single
 *	  precision: perhaps one after the other, so k <= dim + 2.
 *
 * k is at most 16,002, so 1 / (1 - k u) < 1.001.  The terms of a Euclidean
 * distance are not negative, so its sum has that relative error, and its root
 * half of it: 0.5003 times it at most.  Those of an inner product have
 * magnitudes that sum to |q| |x| at most.  A cosine has the error of its inner
 * product, and that of two norms under a root, which together count once more.
 * Roots, quotients, normalisation and rounding to single precision add less
 * than 3 u to either.  The true distance d is at least (d' - e) for an
 * approximate distance d' with error e, and the key of an L2 distance at least
 * (1 - r) d; so d' - e - r d' is a lower bound of the key, or negative.
 *
 * Products may vanish: each loses 2^-150 at most, so a Euclidean distance
 * sqrt(dim) 2^-75.  Norms between VANISHING_NORM and EXTREME_NORM, all that is
 * ranked, keep the loss of the others below u, and sums from overflowing.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "index/query.h"
#include "simd/simd.h"

/* Beyond these norms sums of squares leave single precision. */
#define EXTREME_NORM	1e18
#define VANISHING_NORM	1e-15

float
hm_query_rank_row(const HmQuery *query, HmElementKind kind, const void *vector)
{
	HmDotNorms	sums;

	switch (query->metric)
	{
		case HM_L2:
			return kind == HM_F32 ?
				hm_kernels->l2sq_f32(query->raw, vector, query->dim) :
				hm_kernels->l2sq_f32_f16(query->raw, vector, query->dim);
		case HM_INNER_PRODUCT:
			return kind == HM_F32 ?
				-hm_kernels->dot_f32(query->raw, vector, query->dim) :
				-hm_kernels->dot_f32_f16(query->raw, vector, query->dim);
		case HM_COSINE:
			sums = kind == HM_F32 ?
				hm_kernels->dot_norms_f32(query->raw, vector, query->dim) :
				hm_kernels->dot_norms_f32_f16(query->raw, vector, query->dim);
			return 1.0f - sums.dot / (sqrtf(sums.norm_a) * sqrtf(sums.norm_b));
	}
	return NAN;
}

float
hm_query_sum_copy(const HmQuery *query, const uint16 *piece, int first, int count)
{
	return query->metric == HM_L2 ?
		hm_kernels->l2sq_f32_f16(query->prepared + first, piece, count) :
		hm_kernels->dot_f32_f16(query->prepared + first, piece, count);
}

float
hm_query_rank_sum(const HmQuery *query, float sum)
{
	switch (query->metric)
	{
		case HM_L2:
			return sum;
		case HM_INNER_PRODUCT:
			return -sum;
		case HM_COSINE:
			return 1.0f - sum;
	}
	return NAN;
}

float
hm_query_rank_copy(const HmQuery *query, const uint16 *copy)
{
	return hm_query_rank_sum(query, hm_query_sum_copy(query, copy, 0, query->dim));
}

double
hm_query_row_distance(const HmQuery *query, float rank)
{
	return hm_rank_to_distance(query->metric, rank);
}

double
hm_query_copy_distance(const HmQuery *query, float rank)
{
	return hm_rank_to_distance(query->metric, rank) * query->unscale;
}

/* What the roundings of two sums come to, the approximate distance's and the key's. */
static double
sum_error(const HmQuery *query, double distance, double max_norm)
{
	double		kernel = query->dim / 4.0 + 16;
	double		key = query->foreign_key ? query->dim + 8 : kernel;
	double		relative = (kernel + key) * ldexp(1.001, -24);

	switch (query->metric)
	{
		case HM_L2:
			return 0.51 * relative * distance + sqrt(query->dim) * ldexp(1.0, -74);
		case HM_INNER_PRODUCT:
			return relative * query->norm * max_norm;
		case HM_COSINE:
			return 2 * relative;
	}
	return 0;
}

double
hm_query_row_error(const HmQuery *query, double distance, double max_norm)
{
	return sum_error(query, fabs(distance), max_norm);
}

double
hm_query_copy_error(const HmQuery *query, double distance, double max_norm, bool exact_copies)
{
	double		moved;

	if (query->metric == HM_COSINE)
		max_norm = 1;
	else if (exact_copies)
		return sum_error(query, fabs(distance), max_norm);

	/* the unscaled scale is 2^-s, or 2^-2s for inner products */
	moved = max_norm * ldexp(1.0, -11) + sqrt(query->dim) * ldexp(1.0, -25) *
		(query->metric == HM_INNER_PRODUCT ? sqrt(query->unscale) : query->unscale);
	if (query->metric == HM_INNER_PRODUCT)
		moved *= query->norm;
	return moved + sum_error(query, fabs(distance), max_norm);
}

void
hm_query_prepare(HmQuery *query, const HmMeta *meta, const HmTypeInfo *column,
				 const HmVector *vector)
{
	double		factor;

	memset(query, 0, sizeof(HmQuery));
	query->metric = meta->metric;
	query->foreign_key = column->foreign_operators;
	query->unscale = 1;
	if (vector == NULL)
	{
		query->kind = HM_QUERY_NONE;
		return;
	}

	if (meta->dim != 0)
		hm_check_dimensions(meta->dim, vector->dim);
	query->dim = vector->dim;
	query->norm = sqrt(hm_squared_norm(vector));
	if (isnan(query->norm) || (query->metric == HM_COSINE && query->norm == 0))
	{
		query->kind = HM_QUERY_NONE;
		return;
	}

	/* An infinite component makes this infinite too. */
	factor = query->metric == HM_COSINE ? 1 / query->norm : ldexp(1.0, meta->scale);
	if (query->norm > EXTREME_NORM || query->norm * factor > EXTREME_NORM ||
		(query->norm > 0 && query->norm < VANISHING_NORM))
	{
		query->kind = HM_QUERY_EXTREME;
		return;
	}

	query->kind = HM_QUERY_RANKED;
	query->raw = palloc(query->dim * sizeof(float));
	query->prepared = palloc(query->dim * sizeof(float));
	if (vector->kind == HM_F32)
		memcpy(query->raw, vector->data, query->dim * sizeof(float));
	else
		hm_kernels->f16_to_f32(vector->data, query->raw, query->dim);
	for (int i = 0; i < query->dim; i++)
		query->prepared[i] = (float) (query->raw[i] * factor);

	if (query->metric == HM_L2)
		query->unscale = ldexp(1.0, -meta->scale);
	else if (query->metric == HM_INNER_PRODUCT)
		query->unscale = ldexp(1.0, -2 * meta->scale);
}
