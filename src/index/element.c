/*-------------------------------------------------------------------------
 *
 * element.c
 *	  From a row's vector to what the index keeps of it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "common/hashfn.h"
#include "index/element.h"
#include "simd/simd.h"

#define HALF_MAX	65504.0f

/*
 * Below this norm the squares of a vector's components leave single
 * precision, in which graph distances are computed.
 */
#define TINY_NORM	1e-15

/* Above it their sum may. */
#define HUGE_NORM	1e18

uint16
hm_fingerprint(const HmVector *vector)
{
	uint32		last = vector->dim - 1;
	uint32		position[4] = {0, last / 3, last - last / 3, last};
	uint32		hash = 0x9E3779B9;

	for (int i = 0; i < 4; i++)
	{
		uint32		word = 0;

		if (vector->kind == HM_F32)
			memcpy(&word, (const char *) vector->data + position[i] * sizeof(uint32), sizeof(uint32));
		else
			memcpy(&word, (const char *) vector->data + position[i] * sizeof(uint16), sizeof(uint16));
		hash = (hash ^ word) * 0x85EBCA6B;
		hash ^= hash >> 15;
	}
	return (uint16) (hash ^ (hash >> 16));
}

uint64
hm_vector_hash(const HmVector *vector, uint64 seed)
{
	size_t		component = vector->kind == HM_F32 ? sizeof(float) : sizeof(uint16);

	return hash_bytes_extended((const unsigned char *) vector->data,
							   (int) (vector->dim * component), seed);
}

/* As integers, so that the compiler can vectorise it; the values are finite. */
static float
largest_component(const float *values, int dim)
{
	uint32		largest = 0;
	float		magnitude;

	for (int i = 0; i < dim; i++)
	{
		uint32		bits;

		memcpy(&bits, &values[i], sizeof(bits));
		bits &= 0x7FFFFFFF;
		largest = Max(largest, bits);
	}
	memcpy(&magnitude, &largest, sizeof(magnitude));
	return magnitude;
}

static void
multiply(float *values, float factor, int dim)
{
	for (int i = 0; i < dim; i++)
		values[i] *= factor;
}

HmElement
hm_element_make(HmMetric metric, int scale, const HmVector *vector, float *scratch, uint16 *copy)
{
	HmElement	element = {.fingerprint = hm_fingerprint(vector)};
	double		norm = sqrt(hm_squared_norm(vector));

	if (isnan(norm) || (metric == HM_COSINE && norm == 0))
	{
		element.kind = HM_TAIL_NAN;
		return element;
	}
	if (isinf(norm) || norm > HUGE_NORM || (norm > 0 && norm < TINY_NORM))
	{
		element.kind = HM_TAIL_WIDE;
		return element;
	}

	if (vector->kind == HM_F32)
		memcpy(scratch, vector->data, vector->dim * sizeof(float));
	else
	{
		/* the kernels take any alignment; the type of the pointer does not matter to them */
		hm_kernels->f16_to_f32(vector->data, scratch, vector->dim);
	}

	if (metric == HM_COSINE)
	{
		multiply(scratch, (float) (1.0 / norm), vector->dim);
		norm = 1;
	}
	else
	{
		if (scale != 0)
			multiply(scratch, ldexpf(1.0f, scale), vector->dim);
		if (largest_component(scratch, vector->dim) > HALF_MAX)
		{
			element.kind = HM_TAIL_WIDE;
			element.norm = (float) norm;
			return element;
		}
	}

	hm_kernels->f32_to_f16(scratch, copy, vector->dim);
	element.kind = HM_LOG_VECTOR;
	element.norm = (float) norm;
	return element;
}

void
hm_sizes_add(HmSizes *sizes, const HmVector *vector)
{
	float		largest = 0;
	int			exponent;

	if (vector->kind == HM_F16)
		return;
	for (int i = 0; i < vector->dim; i++)
	{
		float		value;

		memcpy(&value, (const char *) vector->data + i * sizeof(float), sizeof(float));
		if (isfinite(value))
			largest = Max(largest, fabsf(value));
	}
	if (largest == 0)
		return;
	(void) frexpf(largest, &exponent);
	sizes->with_exponent[exponent - HM_LEAST_EXPONENT]++;
	sizes->count++;
}

int
hm_element_scale(HmMetric metric, const HmSizes *sizes)
{
	int			exponent = HM_LEAST_EXPONENT;
	uint32		smaller = 0;

	if (metric == HM_COSINE || sizes->count == 0)
		return 0;
	while ((smaller += sizes->with_exponent[exponent - HM_LEAST_EXPONENT]) <= sizes->count / 2)
		exponent++;

	/*
	 * Half precision has its full eleven bits from 2^-14 to 2^16.  Most
	 * vectors need no scaling; the others' largest component is put at about
	 * 1, which leaves room on both sides.
	 */
	if (exponent >= -4 && exponent <= 12)
		return 0;
	return Max(-120, Min(120, -exponent));
}
