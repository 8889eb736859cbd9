/*-------------------------------------------------------------------------
 *
 * serial.c
 *	  Kernels in plain C: the baseline of every architecture, and what the
 *	  other tiers are tested against.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "simd/half.h"
#include "simd/tiers.h"

#define HM_TIER serial
#define HM_TARGET
#define HM_LANES 1

/* A vector of one component. */
typedef float Vec;

static inline Vec
vec_zero(void)
{
	return 0.0f;
}

static inline Vec
vec_add(Vec x, Vec y)
{
	return x + y;
}

static inline Vec
vec_sub(Vec x, Vec y)
{
	return x - y;
}

static inline Vec
vec_multiply_add(Vec sum, Vec x, Vec y)
{
	return sum + x * y;
}

static inline float
vec_sum(Vec x)
{
	return x;
}

/*
 * Components may be unaligned.  The casts to char matter: compilers may take a
 * float pointer's word for its alignment even in memcpy.
 */
static inline Vec
load_f32(const float *p)
{
	float		value;

	memcpy(&value, (const char *) p, sizeof(value));
	return value;
}

static inline Vec
load_f16(const uint16_t *p)
{
	uint16_t	half;

	memcpy(&half, (const char *) p, sizeof(half));
	return hm_half_to_float(half);
}

static inline void
store_f32(float *p, Vec x)
{
	memcpy((char *) p, &x, sizeof(x));
}

static inline void
store_f16(uint16_t *p, Vec x)
{
	uint16_t	half = hm_float_to_half(x);

	memcpy((char *) p, &half, sizeof(half));
}

#include "simd/kernel_template.h"

static int32_t
hm_dot_i8_serial(const int8_t *a, const int8_t *b, size_t n)
{
	int32_t		sum = 0;

	for (size_t i = 0; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

const HmKernels hm_kernels_serial = {
	.tier = HM_SIMD_SERIAL,
	.name = "serial",
	.dot_i8 = hm_dot_i8_serial,
	HM_TEMPLATE_KERNELS(serial)
};
