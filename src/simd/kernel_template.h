/*-------------------------------------------------------------------------
 *
 * kernel_template.h
 *	  The loops of a tier's floating-point kernels, written once for all tiers.
 *
 * Like PostgreSQL's lib/sort_template.h, this file is included by others after
 * they have said what to generate, and has no include guard.  A tier defines:
 *
 *	  HM_TIER		suffix of the generated functions: serial, avx2, ...
 *	  HM_TARGET		attribute of functions that use the tier's instructions
 *	  HM_LANES		components in a vector
 *	  Vec			type of a vector of HM_LANES single-precision components
 *
 * and the operations
 *
 *	  vec_zero()		vec_add(x, y)		vec_sub(x, y)
 *	  vec_multiply_add(sum, x, y)			sum + x * y
 *	  vec_sum(x)							the sum of the lanes, as a float
 *	  load_f32(p), load_f16(p)				HM_LANES components
 *	  store_f32(p, x), store_f16(p, x)
 *
 * and, where HM_LANES > 1, for the last 0 < n < HM_LANES components of an array
 *
 *	  load_f32_tail(p, n), load_f16_tail(p, n)			other lanes are zero
 *	  store_f32_tail(p, x, n), store_f16_tail(p, x, n)
 *
 * which touch no byte outside those n components: the last vector on a page
 * may end where the mapping ends.  Zero lanes add nothing to any kernel's sums.
 *
 * It generates, all static, the members of HmKernels but dot_i8:
 * hm_l2sq_P_T, hm_dot_P_T and hm_dot_norms_P_T for the tier T and the pairs P
 * (f32, f32_f16, f16), hm_f32_to_f16_T and hm_f16_to_f32_T.
 *
 *-------------------------------------------------------------------------
 */

#define HM_JOIN(a, b)	HM_JOIN_(a, b)
#define HM_JOIN_(a, b)	a##b

/* HmDotNorms, lane by lane. */
typedef struct DotNormsVec
{
	Vec			dot;
	Vec			norm_a;
	Vec			norm_b;
} DotNormsVec;

HM_TARGET static inline void
add_l2sq(Vec *sum, Vec a, Vec b)
{
	Vec			difference = vec_sub(a, b);

	*sum = vec_multiply_add(*sum, difference, difference);
}

HM_TARGET static inline void
add_dot(Vec *sum, Vec a, Vec b)
{
	*sum = vec_multiply_add(*sum, a, b);
}

HM_TARGET static inline void
add_dot_norms(DotNormsVec *sum, Vec a, Vec b)
{
	sum->dot = vec_multiply_add(sum->dot, a, b);
	sum->norm_a = vec_multiply_add(sum->norm_a, a, a);
	sum->norm_b = vec_multiply_add(sum->norm_b, b, b);
}

HM_TARGET static inline float
sum_of_4(Vec a, Vec b, Vec c, Vec d)
{
	return vec_sum(vec_add(vec_add(a, b), vec_add(c, d)));
}

#define HM_A f32
#define HM_B f32
#define HM_PAIR f32
#include "simd/pair_template.h"

#define HM_A f32
#define HM_B f16
#define HM_PAIR f32_f16
#include "simd/pair_template.h"

#define HM_A f16
#define HM_B f16
#define HM_PAIR f16
#include "simd/pair_template.h"

HM_TARGET static void
HM_JOIN(hm_f32_to_f16_, HM_TIER) (const float *src, uint16_t *dst, size_t n)
{
	size_t		i = 0;

	for (; n - i >= HM_LANES; i += HM_LANES)
		store_f16(dst + i, load_f32(src + i));
#if HM_LANES > 1
	if (i < n)
		store_f16_tail(dst + i, load_f32_tail(src + i, n - i), n - i);
#endif
}

HM_TARGET static void
HM_JOIN(hm_f16_to_f32_, HM_TIER) (const uint16_t *src, float *dst, size_t n)
{
	size_t		i = 0;

	for (; n - i >= HM_LANES; i += HM_LANES)
		store_f32(dst + i, load_f16(src + i));
#if HM_LANES > 1
	if (i < n)
		store_f32_tail(dst + i, load_f16_tail(src + i, n - i), n - i);
#endif
}
