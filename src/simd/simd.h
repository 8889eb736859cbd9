/*-------------------------------------------------------------------------
 *
 * simd.h
 *	  Distance kernels, one set per instruction-set tier, chosen at run time.
 *
 * All pointers may be unaligned.  n is the number of components and may be
 * any value from 0 up.  No byte outside the n components is read or written,
 * so a vector may end where its mapping ends.  Half-precision values are
 * uint16_t bit patterns (IEEE binary16, native byte order).
 *
 * Sums are carried in single precision over several accumulators: the error is
 * at most (n + 3) * 2^-24 times the sum of the terms' magnitudes, and the last
 * bits differ from tier to tier.  NaN and infinite components, and overflow,
 * give what IEEE arithmetic gives.
 *
 * Kernels cannot fail and are safe in signal handlers and threads; choosing
 * the tier is not.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_SIMD_H
#define HM_SIMD_H

#include "base.h"

typedef enum HmSimdTier
{
	HM_SIMD_SERIAL = 0,
	HM_SIMD_AVX2,				/* AVX2 + FMA + F16C */
	HM_SIMD_AVX512,				/* AVX-512 F, BW, DQ, VL; VNNI where present */
	HM_SIMD_NEON,				/* arm64 */
	HM_SIMD_TIERS
} HmSimdTier;

/* What a cosine needs, in one pass over both vectors. */
typedef struct HmDotNorms
{
	float		dot;			/* sum of a*b */
	float		norm_a;			/* sum of a*a */
	float		norm_b;			/* sum of b*b */
} HmDotNorms;

typedef struct HmKernels
{
	HmSimdTier	tier;
	const char *name;			/* "serial", "avx2", "avx512", "neon" */

	/* squared Euclidean distance */
	float		(*l2sq_f32) (const float *a, const float *b, size_t n);
	float		(*l2sq_f32_f16) (const float *a, const uint16_t *b, size_t n);
	float		(*l2sq_f16) (const uint16_t *a, const uint16_t *b, size_t n);

	/* dot product */
	float		(*dot_f32) (const float *a, const float *b, size_t n);
	float		(*dot_f32_f16) (const float *a, const uint16_t *b, size_t n);
	float		(*dot_f16) (const uint16_t *a, const uint16_t *b, size_t n);

	/* dot product and both squared norms */
	HmDotNorms	(*dot_norms_f32) (const float *a, const float *b, size_t n);
	HmDotNorms	(*dot_norms_f32_f16) (const float *a, const uint16_t *b, size_t n);
	HmDotNorms	(*dot_norms_f16) (const uint16_t *a, const uint16_t *b, size_t n);

	/*
	 * Exact dot product of signed 8-bit codes.  n must not exceed 65,536, so
	 * that no 32-bit lane overflows.
	 */
	int32_t		(*dot_i8) (const int8_t *a, const int8_t *b, size_t n);

	/*
	 * Conversions.  To half precision: round to nearest, ties to even;
	 * overflow gives an infinity, NaN stays NaN (quiet), subnormals are
	 * exact.  Every tier gives the same bits for every non-NaN input.  src
	 * and dst must not overlap.
	 */
	void		(*f32_to_f16) (const float *src, uint16_t *dst, size_t n);
	void		(*f16_to_f32) (const uint16_t *src, float *dst, size_t n);
} HmKernels;

/*
 * The kernels in use.  Points at the serial tier until hm_simd_init or
 * hm_simd_force has run, so it is always safe to call through.
 */
extern const HmKernels *hm_kernels;

/* Picks the fastest tier that the processor and operating system support. */
extern void hm_simd_init(void);

/* True when this machine can run the tier (compiled in, CPUID and XGETBV agree). */
extern bool hm_simd_supported(HmSimdTier tier);

/* The kernels of one tier, or NULL when it is not supported here. */
extern const HmKernels *hm_simd_kernels(HmSimdTier tier);

/* Uses this tier from now on; false (and no change) when it is not supported. */
extern bool hm_simd_force(HmSimdTier tier);

/* The tier's name, for settings and messages, supported here or not. */
extern const char *hm_simd_tier_name(HmSimdTier tier);

/* Scalar conversions, for type input and output. */
extern uint16_t hm_f32_to_f16(float value);
extern uint16_t hm_f64_to_f16(double value);	/* rounds once, from double */
extern float hm_f16_to_f32(uint16_t value);

#endif							/* HM_SIMD_H */
