/*-------------------------------------------------------------------------
 *
 * coarse.c
 *	  Eight-bit codes that say how far they may be from the vector.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/coarse.h"

#include <float.h>

#include "simd/simd.h"

#define LARGEST_CODE	127

/* The single-precision number above a double that is not negative. */
static float
rounded_up(double value)
{
	return nextafterf((float) value, INFINITY);
}

void
hm_coarse_encode(const float *vector, uint32_t dim, int8_t *codes, HmCoarse *coarse)
{
	float		largest = 0;
	float		inverse;
	double		left_out = 0;
	uint32_t	i;

	for (i = 0; i < dim; i++)
		largest = fabsf(vector[i]) > largest ? fabsf(vector[i]) : largest;
	inverse = LARGEST_CODE / largest;
	coarse->scale = largest / LARGEST_CODE;

	/* nothing, or too small to be told from it */
	if (largest == 0 || inverse > FLT_MAX)
		coarse->scale = inverse = 0;

	for (i = 0; i < dim; i++)
	{
		double		difference;

		codes[i] = (int8_t) lrintf(vector[i] * inverse);
		difference = vector[i] - (double) coarse->scale * codes[i];
		left_out += difference * difference;
	}
	coarse->square = hm_kernels->dot_i8(codes, codes, dim);
	coarse->error = rounded_up(sqrt(left_out));
	coarse->norm = rounded_up(coarse->scale * sqrt(coarse->square));
}
