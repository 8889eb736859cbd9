/*-------------------------------------------------------------------------
 *
 * pair_template.h
 *	  The three distance kernels for one pair of component types.
 *
 * Included by simd/kernel_template.h, once per pair, after defining
 *
 *	  HM_A, HM_B	component types of the two vectors: f32 or f16
 *	  HM_PAIR		the pair's name in function names
 *
 * which are undefined again at the end.
 *
 *-------------------------------------------------------------------------
 */

#define HM_TYPE_f32		float
#define HM_TYPE_f16		uint16_t

#define TYPE_A			HM_JOIN(HM_TYPE_, HM_A)
#define TYPE_B			HM_JOIN(HM_TYPE_, HM_B)
#define LOAD_A			HM_JOIN(load_, HM_A)
#define LOAD_B			HM_JOIN(load_, HM_B)
#define LOAD_TAIL_A		HM_JOIN(LOAD_A, _tail)
#define LOAD_TAIL_B		HM_JOIN(LOAD_B, _tail)
#define KERNEL(name)	HM_JOIN(HM_JOIN(name, HM_PAIR), HM_JOIN(_, HM_TIER))

/*
 * Passes vectors of a and b, from the start to the end, to add(&sum[k], a, b).
 * Four independent sums hide the latency of the additions: one sum alone runs
 * at about a quarter of the speed at which the operands can be loaded.
 */
#if HM_LANES > 1
#define ACCUMULATE_TAIL(add) \
	if (i < n) \
		add(&sum[3], LOAD_TAIL_A(a + i, n - i), LOAD_TAIL_B(b + i, n - i))
#else
#define ACCUMULATE_TAIL(add) ((void) 0)
#endif

#define ADD_VECTOR(add, k) \
	add(&sum[k], LOAD_A(a + i + (k) * HM_LANES), LOAD_B(b + i + (k) * HM_LANES))

#define ACCUMULATE(add) \
	do \
	{ \
		size_t		i = 0; \
\
		for (; n - i >= 4 * HM_LANES; i += 4 * HM_LANES) \
		{ \
			ADD_VECTOR(add, 0); \
			ADD_VECTOR(add, 1); \
			ADD_VECTOR(add, 2); \
			ADD_VECTOR(add, 3); \
		} \
		for (; n - i >= HM_LANES; i += HM_LANES) \
			ADD_VECTOR(add, 0); \
		ACCUMULATE_TAIL(add); \
	} while (0)

HM_TARGET static float
KERNEL(hm_l2sq_) (const TYPE_A *a, const TYPE_B *b, size_t n)
{
	Vec			sum[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};

	ACCUMULATE(add_l2sq);
	return sum_of_4(sum[0], sum[1], sum[2], sum[3]);
}

HM_TARGET static float
KERNEL(hm_dot_) (const TYPE_A *a, const TYPE_B *b, size_t n)
{
	Vec			sum[4] = {vec_zero(), vec_zero(), vec_zero(), vec_zero()};

	ACCUMULATE(add_dot);
	return sum_of_4(sum[0], sum[1], sum[2], sum[3]);
}

HM_TARGET static HmDotNorms
KERNEL(hm_dot_norms_) (const TYPE_A *a, const TYPE_B *b, size_t n)
{
	DotNormsVec zero = {vec_zero(), vec_zero(), vec_zero()};
	DotNormsVec sum[4] = {zero, zero, zero, zero};
	HmDotNorms	result;

	ACCUMULATE(add_dot_norms);
	result.dot = sum_of_4(sum[0].dot, sum[1].dot, sum[2].dot, sum[3].dot);
	result.norm_a = sum_of_4(sum[0].norm_a, sum[1].norm_a, sum[2].norm_a, sum[3].norm_a);
	result.norm_b = sum_of_4(sum[0].norm_b, sum[1].norm_b, sum[2].norm_b, sum[3].norm_b);
	return result;
}

#undef HM_TYPE_f32
#undef HM_TYPE_f16
#undef TYPE_A
#undef TYPE_B
#undef LOAD_A
#undef LOAD_B
#undef LOAD_TAIL_A
#undef LOAD_TAIL_B
#undef KERNEL
#undef ACCUMULATE_TAIL
#undef ADD_VECTOR
#undef ACCUMULATE
#undef HM_A
#undef HM_B
#undef HM_PAIR
