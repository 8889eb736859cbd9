/*-------------------------------------------------------------------------
 *
 * avx512.c
 *	  Kernels for x86-64 processors with AVX-512 F, BW, DQ and VL; the dot
 *	  product of bytes also in a version for those with VNNI.
 *
 *-------------------------------------------------------------------------
 */
#include "simd/tiers.h"

#ifdef HM_SIMD_X86

#include <immintrin.h>

#define HM_TIER avx512
#define HM_TARGET __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl")))
#define HM_TARGET_VNNI \
	__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni")))
#define HM_LANES 16

typedef __m512 Vec;

HM_TARGET static inline Vec
vec_zero(void)
{
	return _mm512_setzero_ps();
}

HM_TARGET static inline Vec
vec_add(Vec x, Vec y)
{
	return _mm512_add_ps(x, y);
}

HM_TARGET static inline Vec
vec_sub(Vec x, Vec y)
{
	return _mm512_sub_ps(x, y);
}

HM_TARGET static inline Vec
vec_multiply_add(Vec sum, Vec x, Vec y)
{
	return _mm512_fmadd_ps(x, y, sum);
}

HM_TARGET static inline float
vec_sum(Vec x)
{
	return _mm512_reduce_add_ps(x);
}

HM_TARGET static inline Vec
load_f32(const float *p)
{
	return _mm512_loadu_ps(p);
}

HM_TARGET static inline Vec
load_f16(const uint16_t *p)
{
	return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *) p));
}

HM_TARGET static inline void
store_f32(float *p, Vec x)
{
	_mm512_storeu_ps(p, x);
}

/* The rounding mode is given, so the one in MXCSR does not matter. */
HM_TARGET static inline __m256i
to_f16x16(Vec x)
{
	return _mm512_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT);
}

HM_TARGET static inline void
store_f16(uint16_t *p, Vec x)
{
	_mm256_storeu_si256((__m256i *) p, to_f16x16(x));
}

/* A mask of the first n < 16 lanes. */
HM_TARGET static inline __mmask16
first_lanes(size_t n)
{
	return (__mmask16) ((1U << n) - 1);
}

HM_TARGET static inline Vec
load_f32_tail(const float *p, size_t n)
{
	return _mm512_maskz_loadu_ps(first_lanes(n), p);
}

HM_TARGET static inline Vec
load_f16_tail(const uint16_t *p, size_t n)
{
	return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(n), p));
}

HM_TARGET static inline void
store_f32_tail(float *p, Vec x, size_t n)
{
	_mm512_mask_storeu_ps(p, first_lanes(n), x);
}

HM_TARGET static inline void
store_f16_tail(uint16_t *p, Vec x, size_t n)
{
	_mm256_mask_storeu_epi16(p, first_lanes(n), to_f16x16(x));
}

#include "simd/kernel_template.h"

/* Adds the products of 32 components, in pairs, to 16 sums. */
HM_TARGET static inline __m512i
add_dot_i8x32(__m512i sum_i32x16, __m256i a_i8x32, __m256i b_i8x32)
{
	__m512i		products_i32x16 = _mm512_madd_epi16(_mm512_cvtepi8_epi16(a_i8x32),
													_mm512_cvtepi8_epi16(b_i8x32));

	return _mm512_add_epi32(sum_i32x16, products_i32x16);
}

HM_TARGET static int32_t
hm_dot_i8_avx512(const int8_t *a, const int8_t *b, size_t n)
{
	__m512i		sum_i32x16 = _mm512_setzero_si512();
	size_t		i = 0;

	for (; n - i >= 32; i += 32)
		sum_i32x16 = add_dot_i8x32(sum_i32x16,
									_mm256_loadu_si256((const __m256i *) (a + i)),
									_mm256_loadu_si256((const __m256i *) (b + i)));
	if (i < n)
	{
		__mmask32	lanes = (__mmask32) ((UINT32_C(1) << (n - i)) - 1);

		sum_i32x16 = add_dot_i8x32(sum_i32x16,
									_mm256_maskz_loadu_epi8(lanes, a + i),
									_mm256_maskz_loadu_epi8(lanes, b + i));
	}
	return _mm512_reduce_add_epi32(sum_i32x16);
}

/*
 * The sums of a dot product by VPDPBUSD, whose first operand is unsigned.  It
 * is given a + 128 (the sign bit flipped), so that it adds up a * b + 128 * b;
 * beside it goes the sum of b, by which the result is corrected.  The
 * instruction widens to 32 bits before it adds: nothing saturates.
 */
typedef struct VnniSum
{
	__m512i		shifted_i32x16; /* (a + 128) * b */
	__m512i		b_i32x16;		/* b */
} VnniSum;

HM_TARGET_VNNI static inline void
add_dot_i8x64(VnniSum *sum, __m512i a_i8x64, __m512i b_i8x64)
{
	__m512i		shifted_u8x64 = _mm512_xor_si512(a_i8x64, _mm512_set1_epi8(-128));

	sum->shifted_i32x16 = _mm512_dpbusd_epi32(sum->shifted_i32x16, shifted_u8x64, b_i8x64);
	sum->b_i32x16 = _mm512_dpbusd_epi32(sum->b_i32x16, _mm512_set1_epi8(1), b_i8x64);
}

HM_TARGET_VNNI static int32_t
hm_dot_i8_avx512_vnni(const int8_t *a, const int8_t *b, size_t n)
{
	VnniSum		zero = {_mm512_setzero_si512(), _mm512_setzero_si512()};
	VnniSum		sum[2] = {zero, zero};
	__m512i		sum_i32x16;
	__m512i		sum_b_i32x16;
	size_t		i = 0;

	for (; n - i >= 128; i += 128)
	{
		add_dot_i8x64(&sum[0], _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
		add_dot_i8x64(&sum[1], _mm512_loadu_si512(a + i + 64), _mm512_loadu_si512(b + i + 64));
	}
	if (n - i >= 64)
	{
		add_dot_i8x64(&sum[0], _mm512_loadu_si512(a + i), _mm512_loadu_si512(b + i));
		i += 64;
	}
	if (i < n)
	{
		__mmask64	lanes = (UINT64_C(1) << (n - i)) - 1;

		/* Where b is zero, what a becomes does not matter. */
		add_dot_i8x64(&sum[1], _mm512_maskz_loadu_epi8(lanes, a + i),
					  _mm512_maskz_loadu_epi8(lanes, b + i));
	}

	sum_i32x16 = _mm512_add_epi32(sum[0].shifted_i32x16, sum[1].shifted_i32x16);
	sum_b_i32x16 = _mm512_add_epi32(sum[0].b_i32x16, sum[1].b_i32x16);
	sum_i32x16 = _mm512_sub_epi32(sum_i32x16, _mm512_slli_epi32(sum_b_i32x16, 7));
	return _mm512_reduce_add_epi32(sum_i32x16);
}

const HmKernels hm_kernels_avx512 = {
	.tier = HM_SIMD_AVX512,
	.name = "avx512",
	.dot_i8 = hm_dot_i8_avx512,
	HM_TEMPLATE_KERNELS(avx512)
};

const HmKernels hm_kernels_avx512_vnni = {
	.tier = HM_SIMD_AVX512,
	.name = "avx512",
	.dot_i8 = hm_dot_i8_avx512_vnni,
	HM_TEMPLATE_KERNELS(avx512)
};

#endif							/* HM_SIMD_X86 */
