/*-------------------------------------------------------------------------
 *
 * neon.c
 *	  Kernels for arm64, whose baseline includes NEON and the conversions to
 *	  and from half precision.
 *
 *-------------------------------------------------------------------------
 */
#include "simd/tiers.h"

#ifdef HM_SIMD_ARM64

#include <arm_neon.h>
#include <string.h>

#define HM_TIER neon
#define HM_TARGET
#define HM_LANES 4

typedef float32x4_t Vec;

static inline Vec
vec_zero(void)
{
	return vdupq_n_f32(0.0f);
}

static inline Vec
vec_add(Vec x, Vec y)
{
	return vaddq_f32(x, y);
}

static inline Vec
vec_sub(Vec x, Vec y)
{
	return vsubq_f32(x, y);
}

static inline Vec
vec_multiply_add(Vec sum, Vec x, Vec y)
{
	return vfmaq_f32(sum, x, y);
}

static inline float
vec_sum(Vec x)
{
	return vaddvq_f32(x);
}

static inline Vec
load_f32(const float *p)
{
	return vld1q_f32(p);
}

static inline Vec
load_f16(const uint16_t *p)
{
	return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

static inline void
store_f32(float *p, Vec x)
{
	vst1q_f32(p, x);
}

static inline void
store_f16(uint16_t *p, Vec x)
{
	vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}

/* NEON has no masked loads and stores. */
static inline Vec
load_f32_tail(const float *p, size_t n)
{
	float		padded[HM_LANES] = {0};

	memcpy(padded, (const char *) p, n * sizeof(float));
	return load_f32(padded);
}

static inline Vec
load_f16_tail(const uint16_t *p, size_t n)
{
	uint16_t	padded[HM_LANES] = {0};

	memcpy(padded, (const char *) p, n * sizeof(uint16_t));
	return load_f16(padded);
}

static inline void
store_f32_tail(float *p, Vec x, size_t n)
{
	float		padded[HM_LANES];

	store_f32(padded, x);
	memcpy((char *) p, padded, n * sizeof(float));
}

static inline void
store_f16_tail(uint16_t *p, Vec x, size_t n)
{
	uint16_t	padded[HM_LANES];

	store_f16(padded, x);
	memcpy((char *) p, padded, n * sizeof(uint16_t));
}

#include "simd/kernel_template.h"

/*
 * A product of two bytes just fits 16 bits, -128 * -128 included; the sum of
 * two such products does not, so each is widened as it is added.
 */
static int32_t
hm_dot_i8_neon(const int8_t *a, const int8_t *b, size_t n)
{
	int32x4_t	sum0_i32x4 = vdupq_n_s32(0);
	int32x4_t	sum1_i32x4 = vdupq_n_s32(0);
	size_t		i = 0;
	int32_t		sum;

	for (; n - i >= 16; i += 16)
	{
		int8x16_t	a_i8x16 = vld1q_s8(a + i);
		int8x16_t	b_i8x16 = vld1q_s8(b + i);
		int16x8_t	low_i16x8 = vmull_s8(vget_low_s8(a_i8x16), vget_low_s8(b_i8x16));
		int16x8_t	high_i16x8 = vmull_high_s8(a_i8x16, b_i8x16);

		sum0_i32x4 = vpadalq_s16(sum0_i32x4, low_i16x8);
		sum1_i32x4 = vpadalq_s16(sum1_i32x4, high_i16x8);
	}

	sum = vaddvq_s32(vaddq_s32(sum0_i32x4, sum1_i32x4));
	for (; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

const HmKernels hm_kernels_neon = {
	.tier = HM_SIMD_NEON,
	.name = "neon",
	.dot_i8 = hm_dot_i8_neon,
	HM_TEMPLATE_KERNELS(neon)
};

#endif							/* HM_SIMD_ARM64 */
