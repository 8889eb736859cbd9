/*-------------------------------------------------------------------------
 *
 * test_simd.h
 *	  What the tests of src/simd share: the kernel tables to test, half
 *	  precision by its definition, and vectors of either type at any address.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_TEST_SIMD_H
#define HM_TEST_SIMD_H

#include <math.h>
#include <string.h>

#include "simd/simd.h"
#include "simd/tiers.h"
#include "unit.h"

#define SPACE			256		/* room before and after an unaligned vector */

/* A kernel table to test. */
typedef struct Subject
{
	const char *label;
	const HmKernels *kernels;
} Subject;

static Subject subjects[HM_SIMD_TIERS + 1];
static int	subject_count;

static inline void
add_subject(const char *label, const HmKernels *kernels)
{
	subjects[subject_count].label = label;
	subjects[subject_count].kernels = kernels;
	subject_count++;
}

static inline void
find_subjects(void)
{
	for (int tier = 0; tier < HM_SIMD_TIERS; tier++)
	{
		const HmKernels *kernels = hm_simd_kernels((HmSimdTier) tier);

		if (kernels != NULL)
			add_subject(kernels->name, kernels);
	}
#ifdef HM_SIMD_X86
	/* Where there is VNNI, dispatch never takes the table without it. */
	if (hm_cpu_probe().avx512_vnni)
		add_subject("avx512 without vnni", &hm_kernels_avx512);
#endif

	printf("# tiers:");
	for (int s = 0; s < subject_count; s++)
		printf("%s %s", s > 0 ? "," : "", subjects[s].label);
	printf("\n");
}

/* ----------
 * Half precision, as its definition has it: slowly, in double arithmetic.
 * ----------
 */
static inline double
reference_from_half(uint16_t half)
{
	double		sign = (half & 0x8000) != 0 ? -1.0 : 1.0;
	int			exponent = half >> 10 & 0x1f;
	int			fraction = half & 0x3ff;

	if (exponent == 31)
		return fraction != 0 ? NAN : sign * INFINITY;
	if (exponent == 0)
		return sign * ldexp(fraction, -24);
	return sign * ldexp(1024 + fraction, exponent - 25);
}

/* For numbers and infinities.  nearbyint rounds to nearest, ties to even. */
static inline uint16_t
reference_to_half(double value)
{
	uint16_t	sign = signbit(value) ? 0x8000 : 0;
	double		magnitude = fabs(value);
	int			exponent;
	int			unit;			/* exponent of the last place */
	double		units;

	if (magnitude >= 65520.0)
		return sign | 0x7c00;
	if (magnitude < ldexp(1.0, -14))
		return sign | (uint16_t) nearbyint(ldexp(magnitude, 24));

	(void) frexp(magnitude, &exponent);	/* magnitude in [2^(exponent-1), 2^exponent) */
	unit = exponent - 11;
	units = nearbyint(ldexp(magnitude, -unit)); /* 1024 to 2048 */
	return sign | (uint16_t) ((unit + 24) * 1024 + (int) units);
}

static inline bool
is_nan_half(uint16_t half)
{
	return (half & 0x7fff) > 0x7c00;
}

static inline uint32_t
float_bits(float value)
{
	uint32_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	return bits;
}

/* Equal bits, or both NaN; for NaN, all that is promised is that it is quiet. */
static inline bool
same_float(float x, float y)
{
	if (isnan(x) && isnan(y))
		return (float_bits(x) & float_bits(y) & 0x00400000) != 0;
	return float_bits(x) == float_bits(y);
}

static inline bool
same_half(uint16_t x, uint16_t y)
{
	if (is_nan_half(x) && is_nan_half(y))
		return (x & y & 0x0200) != 0;
	return x == y;
}

/* ----------
 * Vectors of either type at any address.
 * ----------
 */
static inline size_t
component_size(bool half)
{
	return half ? sizeof(uint16_t) : sizeof(float);
}

static inline void
put_component(void *vector, bool half, size_t i, double value)
{
	char	   *p = (char *) vector + i * component_size(half);

	if (half)
	{
		uint16_t	bits = isnan(value) ? 0x7e00 : reference_to_half(value);

		memcpy(p, &bits, sizeof(bits));
	}
	else
	{
		float		single = (float) value;

		memcpy(p, &single, sizeof(single));
	}
}

static inline double
get_component(const void *vector, bool half, size_t i)
{
	const char *p = (const char *) vector + i * component_size(half);

	if (half)
	{
		uint16_t	bits;

		memcpy(&bits, p, sizeof(bits));
		return reference_from_half(bits);
	}
	else
	{
		float		single;

		memcpy(&single, p, sizeof(single));
		return single;
	}
}

#endif							/* HM_TEST_SIMD_H */
