/*-------------------------------------------------------------------------
 *
 * metric.c
 *	  Distances between vectors of any two kinds.
 *
 *-------------------------------------------------------------------------
 */
#include "types/metric.h"

#include <float.h>
#include <math.h>
#include <string.h>

#include "simd/simd.h"

/*
 * A single-precision sum of squares below this may have lost digits: each of
 * up to HM_MAX_DIM (< 2^14) squares is off by at most 2^-150 where it falls
 * among the subnormal numbers, together less than 2^-36 of this.
 */
#define SMALLEST_SAFE_SUM	0x1p-100

/* A finite sum of squares that has kept its precision. */
static inline bool
is_safe_sum(float sum)
{
	return sum >= SMALLEST_SAFE_SUM && sum <= FLT_MAX;
}

static double
component(const HmVector *vector, int i)
{
	if (vector->kind == HM_F16)
	{
		uint16_t	half;

		memcpy(&half, (const char *) vector->data + i * sizeof(half), sizeof(half));
		return hm_f16_to_f32(half);
	}
	else
	{
		float		value;

		memcpy(&value, (const char *) vector->data + i * sizeof(value), sizeof(value));
		return value;
	}
}

/*
 * The kernels come in one order of kinds only; every sum is symmetric, also in
 * how it rounds, so a pair in the other order is swapped.
 */
static float
l2sq(const HmVector *a, const HmVector *b)
{
	if (a->kind == HM_F16)
		return b->kind == HM_F16 ? hm_kernels->l2sq_f16(a->data, b->data, a->dim)
			: hm_kernels->l2sq_f32_f16(b->data, a->data, a->dim);
	return b->kind == HM_F16 ? hm_kernels->l2sq_f32_f16(a->data, b->data, a->dim)
		: hm_kernels->l2sq_f32(a->data, b->data, a->dim);
}

static float
dot(const HmVector *a, const HmVector *b)
{
	if (a->kind == HM_F16)
		return b->kind == HM_F16 ? hm_kernels->dot_f16(a->data, b->data, a->dim)
			: hm_kernels->dot_f32_f16(b->data, a->data, a->dim);
	return b->kind == HM_F16 ? hm_kernels->dot_f32_f16(a->data, b->data, a->dim)
		: hm_kernels->dot_f32(a->data, b->data, a->dim);
}

/* Which norm is whose does not matter to a cosine. */
static HmDotNorms
dot_norms(const HmVector *a, const HmVector *b)
{
	if (a->kind == HM_F16)
		return b->kind == HM_F16 ? hm_kernels->dot_norms_f16(a->data, b->data, a->dim)
			: hm_kernels->dot_norms_f32_f16(b->data, a->data, a->dim);
	return b->kind == HM_F16 ? hm_kernels->dot_norms_f32_f16(a->data, b->data, a->dim)
		: hm_kernels->dot_norms_f32(a->data, b->data, a->dim);
}

/*
 * The same sums in double precision.  No square of a single-precision number
 * overflows or underflows there, nor does a sum of HM_MAX_DIM of them.
 */
static double
l2sq_double(const HmVector *a, const HmVector *b)
{
	double		sum = 0;

	for (int i = 0; i < a->dim; i++)
	{
		double		difference = component(a, i) - component(b, i);

		sum += difference * difference;
	}
	return sum;
}

static double
dot_double(const HmVector *a, const HmVector *b)
{
	double		sum = 0;

	for (int i = 0; i < a->dim; i++)
		sum += component(a, i) * component(b, i);
	return sum;
}

static size_t
vector_size(const HmVector *vector)
{
	return vector->dim * (vector->kind == HM_F16 ? sizeof(uint16_t) : sizeof(float));
}

static double
l2_rank(const HmVector *a, const HmVector *b)
{
	float		sum = l2sq(a, b);

	if (HM_LIKELY(is_safe_sum(sum)))
		return sum;

	/* Zero is small, but duplicates are common: spare them the slow sum. */
	if (sum == 0 && a->kind == b->kind && memcmp(a->data, b->data, vector_size(a)) == 0)
		return 0;
	return l2sq_double(a, b);
}

/*
 * Unlike a sum of squares, a small dot product is an everyday thing, and no
 * less precise for it than the cancellation of larger terms leaves it anyway.
 */
static double
inner_product_rank(const HmVector *a, const HmVector *b)
{
	float		sum = dot(a, b);
	double		product = isfinite(sum) ? sum : dot_double(a, b);

	/* Subtracted, not negated, so that orthogonal vectors give 0 and not -0. */
	return 0.0 - product;
}

static double
cosine_rank(const HmVector *a, const HmVector *b)
{
	HmDotNorms	sums = dot_norms(a, b);
	double		rank;

	if (is_safe_sum(sums.norm_a) && is_safe_sum(sums.norm_b) && isfinite(sums.dot))
		rank = 1.0 - sums.dot / sqrt((double) sums.norm_a * sums.norm_b);
	else
		rank = 1.0 - dot_double(a, b) / sqrt(dot_double(a, a) * dot_double(b, b));

	/* Rounding may leave the range of a cosine; NaN passes both comparisons. */
	if (rank < 0.0)
		return 0.0;
	if (rank > 2.0)
		return 2.0;
	return rank;
}

double
hm_rank(HmMetric metric, const HmVector *a, const HmVector *b)
{
	HM_ASSERT(a->dim == b->dim);

	switch (metric)
	{
		case HM_L2:
			return l2_rank(a, b);
		case HM_INNER_PRODUCT:
			return inner_product_rank(a, b);
		case HM_COSINE:
			return cosine_rank(a, b);
	}
	return NAN;
}

double
hm_rank_to_distance(HmMetric metric, double rank)
{
	return metric == HM_L2 ? sqrt(rank) : rank;
}

double
hm_distance(HmMetric metric, const HmVector *a, const HmVector *b)
{
	return hm_rank_to_distance(metric, hm_rank(metric, a, b));
}

double
hm_squared_norm(const HmVector *vector)
{
	float		sum = dot(vector, vector);

	return is_safe_sum(sum) ? sum : dot_double(vector, vector);
}
