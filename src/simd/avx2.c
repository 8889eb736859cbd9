/*-------------------------------------------------------------------------
 *
 * avx2.c
 *	  Kernels for x86-64 processors with AVX2, FMA and F16C.
 *
 *-------------------------------------------------------------------------
 */
#include "simd/tiers.h"

#ifdef HM_SIMD_X86

#include <immintrin.h>
#include <string.h>

#define HM_TIER avx2
#define HM_TARGET __attribute__((target("avx2,fma,f16c")))
#define HM_LANES 8

typedef __m256 Vec;

HM_TARGET static inline Vec
vec_zero(void)
{
	return _mm256_setzero_ps();
}

HM_TARGET static inline Vec
vec_add(Vec x, Vec y)
{
	return _mm256_add_ps(x, y);
}

HM_TARGET static inline Vec
vec_sub(Vec x, Vec y)
{
	return _mm256_sub_ps(x, y);
}

HM_TARGET static inline Vec
vec_multiply_add(Vec sum, Vec x, Vec y)
{
	return _mm256_fmadd_ps(x, y, sum);
}

HM_TARGET static inline float
vec_sum(Vec x)
{
	__m128		sum_f32x4 = _mm_add_ps(_mm256_castps256_ps128(x),
									   _mm256_extractf128_ps(x, 1));

	sum_f32x4 = _mm_add_ps(sum_f32x4, _mm_movehl_ps(sum_f32x4, sum_f32x4));
	sum_f32x4 = _mm_add_ss(sum_f32x4, _mm_movehdup_ps(sum_f32x4));
	return _mm_cvtss_f32(sum_f32x4);
}

HM_TARGET static inline Vec
load_f32(const float *p)
{
	return _mm256_loadu_ps(p);
}

HM_TARGET static inline Vec
load_f16(const uint16_t *p)
{
	return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *) p));
}

HM_TARGET static inline void
store_f32(float *p, Vec x)
{
	_mm256_storeu_ps(p, x);
}

/* The rounding mode is given, so the one in MXCSR does not matter. */
HM_TARGET static inline __m128i
to_f16x8(Vec x)
{
	return _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
}

HM_TARGET static inline void
store_f16(uint16_t *p, Vec x)
{
	_mm_storeu_si128((__m128i *) p, to_f16x8(x));
}

/* A mask of 32-bit lanes: all ones in the first n, zero in the others. */
HM_TARGET static inline __m256i
first_lanes(size_t n)
{
	__m256i		lanes_i32x8 = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

	return _mm256_cmpgt_epi32(_mm256_set1_epi32((int) n), lanes_i32x8);
}

HM_TARGET static inline Vec
load_f32_tail(const float *p, size_t n)
{
	return _mm256_maskload_ps(p, first_lanes(n));
}

/* AVX2 has no masked load of 16-bit lanes. */
HM_TARGET static inline Vec
load_f16_tail(const uint16_t *p, size_t n)
{
	uint16_t	padded[HM_LANES] = {0};

	memcpy(padded, (const char *) p, n * sizeof(uint16_t));
	return load_f16(padded);
}

HM_TARGET static inline void
store_f32_tail(float *p, Vec x, size_t n)
{
	_mm256_maskstore_ps(p, first_lanes(n), x);
}

HM_TARGET static inline void
store_f16_tail(uint16_t *p, Vec x, size_t n)
{
	uint16_t	padded[HM_LANES];

	store_f16(padded, x);
	memcpy((char *) p, padded, n * sizeof(uint16_t));
}

#include "simd/kernel_template.h"

/*
 * Adds the products of 16 components, in pairs, to 8 sums.  Widened to 16 bits
 * first: VPMADDUBSW, which multiplies bytes, saturates.
 */
HM_TARGET static inline __m256i
add_dot_i8x16(__m256i sum_i32x8, const int8_t *a, const int8_t *b)
{
	__m256i		a_i16x16 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) a));
	__m256i		b_i16x16 = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *) b));

	return _mm256_add_epi32(sum_i32x8, _mm256_madd_epi16(a_i16x16, b_i16x16));
}

HM_TARGET static inline int32_t
sum_i32x8(__m256i x)
{
	__m128i		sum_i32x4 = _mm_add_epi32(_mm256_castsi256_si128(x),
										  _mm256_extracti128_si256(x, 1));

	sum_i32x4 = _mm_add_epi32(sum_i32x4, _mm_unpackhi_epi64(sum_i32x4, sum_i32x4));
	sum_i32x4 = _mm_add_epi32(sum_i32x4, _mm_shuffle_epi32(sum_i32x4, 1));
	return _mm_cvtsi128_si32(sum_i32x4);
}

HM_TARGET static int32_t
hm_dot_i8_avx2(const int8_t *a, const int8_t *b, size_t n)
{
	__m256i		sum0_i32x8 = _mm256_setzero_si256();
	__m256i		sum1_i32x8 = _mm256_setzero_si256();
	size_t		i = 0;
	int32_t		sum;

	for (; n - i >= 32; i += 32)
	{
		sum0_i32x8 = add_dot_i8x16(sum0_i32x8, a + i, b + i);
		sum1_i32x8 = add_dot_i8x16(sum1_i32x8, a + i + 16, b + i + 16);
	}
	if (n - i >= 16)
	{
		sum0_i32x8 = add_dot_i8x16(sum0_i32x8, a + i, b + i);
		i += 16;
	}

	sum = sum_i32x8(_mm256_add_epi32(sum0_i32x8, sum1_i32x8));
	for (; i < n; i++)
		sum += a[i] * b[i];
	return sum;
}

const HmKernels hm_kernels_avx2 = {
	.tier = HM_SIMD_AVX2,
	.name = "avx2",
	.dot_i8 = hm_dot_i8_avx2,
	HM_TEMPLATE_KERNELS(avx2)
};

#endif							/* HM_SIMD_X86 */
