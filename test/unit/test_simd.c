/*-------------------------------------------------------------------------
 *
 * test_simd.c
 *	  Dispatch, and every distance kernel in every tier that this machine has,
 *	  against references computed here in double precision or in integers.
 *
 *-------------------------------------------------------------------------
 */
#include <sys/mman.h>
#include <unistd.h>

#include "test_simd.h"

#define MAX_LENGTH		1100
#define MAX_I8_LENGTH	65536	/* what simd.h allows */

/* ----------
 * The nine floating-point kernels of a table, by index.
 * ----------
 */
typedef enum Measure
{
	L2SQ, DOT, DOT_NORMS, MEASURES
} Measure;

/* Which of a pair's two vectors are in half precision. */
typedef enum Pair
{
	PAIR_F32, PAIR_F32_F16, PAIR_F16, PAIRS
} Pair;

static const char *const measure_names[] = {"l2sq", "dot", "dot_norms"};
static const char *const pair_names[] = {"f32", "f32_f16", "f16"};

static bool
a_is_half(Pair pair)
{
	return pair == PAIR_F16;
}

static bool
b_is_half(Pair pair)
{
	return pair != PAIR_F32;
}

/* The result of a kernel that returns one number is in dot. */
static HmDotNorms
run_kernel(const HmKernels *k, Measure measure, Pair pair,
		   const void *a, const void *b, size_t n)
{
	HmDotNorms	result = {0.0f, 0.0f, 0.0f};

	switch ((int) measure * PAIRS + (int) pair)
	{
		case L2SQ * PAIRS + PAIR_F32:
			result.dot = k->l2sq_f32(a, b, n);
			break;
		case L2SQ * PAIRS + PAIR_F32_F16:
			result.dot = k->l2sq_f32_f16(a, b, n);
			break;
		case L2SQ * PAIRS + PAIR_F16:
			result.dot = k->l2sq_f16(a, b, n);
			break;
		case DOT * PAIRS + PAIR_F32:
			result.dot = k->dot_f32(a, b, n);
			break;
		case DOT * PAIRS + PAIR_F32_F16:
			result.dot = k->dot_f32_f16(a, b, n);
			break;
		case DOT * PAIRS + PAIR_F16:
			result.dot = k->dot_f16(a, b, n);
			break;
		case DOT_NORMS * PAIRS + PAIR_F32:
			result = k->dot_norms_f32(a, b, n);
			break;
		case DOT_NORMS * PAIRS + PAIR_F32_F16:
			result = k->dot_norms_f32_f16(a, b, n);
			break;
		case DOT_NORMS * PAIRS + PAIR_F16:
			result = k->dot_norms_f16(a, b, n);
			break;
	}
	return result;
}

static void
put_all(void *vector, bool half, size_t n, double value)
{
	for (size_t i = 0; i < n; i++)
		put_component(vector, half, i, value);
}

typedef struct Reference
{
	double		dot;			/* or what else the measure is */
	double		norm_a;
	double		norm_b;
	double		magnitude;		/* sum of |terms|, which bounds rounding errors */
} Reference;

static Reference
reference_kernel(Measure measure, Pair pair, const void *a, const void *b, size_t n)
{
	Reference	r = {0.0, 0.0, 0.0, 0.0};

	for (size_t i = 0; i < n; i++)
	{
		double		x = get_component(a, a_is_half(pair), i);
		double		y = get_component(b, b_is_half(pair), i);
		double		term = measure == L2SQ ? (x - y) * (x - y) : x * y;

		r.dot += term;
		r.magnitude += fabs(term);
		r.norm_a += x * x;
		r.norm_b += y * y;
	}
	return r;
}

/*
 * Runs a kernel in all subjects and compares.  The error of a sum of n terms,
 * in whatever order, is below n units of rounding of the sum of magnitudes; a
 * term has up to 3 roundings of its own.  Where exact, no error is allowed.
 */
static void
check_kernel(Measure measure, Pair pair, const void *a, const void *b, size_t n,
			 bool exact)
{
	Reference	expected = reference_kernel(measure, pair, a, b, n);
	double		relative = exact ? 0.0 : (double) (n + 3) * 0x1p-24;

	for (int s = 0; s < subject_count; s++)
	{
		HmDotNorms	r = run_kernel(subjects[s].kernels, measure, pair, a, b, n);

		UNIT_CHECK(fabs(r.dot - expected.dot) <= relative * expected.magnitude,
				   "%s_%s %s, n = %zu: %.9g, expected %.9g",
				   measure_names[measure], pair_names[pair], subjects[s].label, n,
				   r.dot, expected.dot);
		if (measure != DOT_NORMS)
			continue;
		UNIT_CHECK(fabs(r.norm_a - expected.norm_a) <= relative * expected.norm_a &&
				   fabs(r.norm_b - expected.norm_b) <= relative * expected.norm_b,
				   "norms_%s %s, n = %zu: %.9g, %.9g, expected %.9g, %.9g",
				   pair_names[pair], subjects[s].label, n,
				   r.norm_a, r.norm_b, expected.norm_a, expected.norm_b);
	}
}

typedef double (*MakeComponent) (HmUnitRandom *random);

/* All kernels at all lengths, each pair of vectors at a random address. */
static void
check_all_lengths(MakeComponent make, bool exact, uint64_t stream)
{
	HmUnitRandom random = unit_random(stream);
	char	   *a_space = unit_malloc(MAX_LENGTH * sizeof(float) + SPACE);
	char	   *b_space = unit_malloc(MAX_LENGTH * sizeof(float) + SPACE);

	for (size_t n = 0; n <= MAX_LENGTH; n++)
	{
		for (Pair pair = 0; pair < PAIRS; pair++)
		{
			char	   *a = a_space + unit_random_below(&random, 64);
			char	   *b = b_space + unit_random_below(&random, 64);

			for (size_t i = 0; i < n; i++)
			{
				put_component(a, a_is_half(pair), i, make(&random));
				put_component(b, b_is_half(pair), i, make(&random));
			}
			for (Measure measure = 0; measure < MEASURES; measure++)
				check_kernel(measure, pair, a, b, n, exact);
		}
	}
	free(a_space);
	free(b_space);
}

/* ----------
 * Tests of dispatch
 * ----------
 */

/* Must run first: it looks at the state before hm_simd_init. */
static void
test_dispatch(void)
{
	const HmKernels *best;

	UNIT_CHECK(hm_kernels == &hm_kernels_serial, "before hm_simd_init: %s",
			   hm_kernels->name);
	UNIT_CHECK(hm_simd_supported(HM_SIMD_SERIAL), "serial");

	hm_simd_init();
	best = hm_kernels;
	for (int t = 0; t < HM_SIMD_TIERS; t++)
	{
		HmSimdTier	tier = (HmSimdTier) t;
		const char *name = hm_simd_tier_name(tier);
		const HmKernels *kernels = hm_simd_kernels(tier);

		UNIT_CHECK(hm_simd_supported(tier) == (kernels != NULL), "%s", name);
		if (kernels != NULL)
		{
			UNIT_CHECK(hm_simd_force(tier) && hm_kernels == kernels, "%s", name);
			UNIT_CHECK(kernels->tier == tier && strcmp(kernels->name, name) == 0,
					   "%s calls itself %s", name, kernels->name);
			UNIT_CHECK(best->tier >= tier, "chose %s over %s", best->name, name);
		}
		else
		{
			const HmKernels *before = hm_kernels;

			UNIT_CHECK(!hm_simd_force(tier) && hm_kernels == before, "%s", name);
		}
	}
	UNIT_CHECK(hm_simd_kernels(HM_SIMD_TIERS) == NULL, "out of range");

	hm_simd_init();
	UNIT_CHECK(hm_kernels == best, "hm_simd_init chose %s, then %s",
			   best->name, hm_kernels->name);
}

/* ----------
 * Tests of distances
 * ----------
 */

/* Integers this small give sums that single precision holds exactly. */
static double
small_integer(HmUnitRandom *random)
{
	return (double) unit_random_below(random, 17) - 8.0;
}

/* A component left out, or taken twice, or a wrong partner, shows at once. */
static void
test_integers_exactly(void)
{
	check_all_lengths(small_integer, true, 4);
}

static double
unit_interval(HmUnitRandom *random)
{
	return unit_random_between(random, -1.0, 1.0);
}

static void
test_random_within_rounding(void)
{
	check_all_lengths(unit_interval, false, 5);
}

/* Halves below 2^-14 are subnormal; single precision holds their products. */
static double
subnormal_half(HmUnitRandom *random)
{
	return ldexp((double) unit_random_below(random, 17) - 8.0, -24);
}

static void
test_subnormals_exactly(void)
{
	check_all_lengths(subnormal_half, true, 6);
}

static void
check_special(Pair pair, const void *a, const void *b, size_t n,
			  double l2sq, double dot, double norm_a, double norm_b)
{
	for (int s = 0; s < subject_count; s++)
	{
		const HmKernels *k = subjects[s].kernels;
		float		got_l2sq = run_kernel(k, L2SQ, pair, a, b, n).dot;
		float		got_dot = run_kernel(k, DOT, pair, a, b, n).dot;
		HmDotNorms	got = run_kernel(k, DOT_NORMS, pair, a, b, n);

		UNIT_CHECK(same_float(got_l2sq, (float) l2sq), "l2sq_%s %s, n = %zu: %g, expected %g",
				   pair_names[pair], subjects[s].label, n, got_l2sq, l2sq);
		UNIT_CHECK(same_float(got_dot, (float) dot), "dot_%s %s, n = %zu: %g, expected %g",
				   pair_names[pair], subjects[s].label, n, got_dot, dot);
		UNIT_CHECK(same_float(got.dot, (float) dot) &&
				   same_float(got.norm_a, (float) norm_a) &&
				   same_float(got.norm_b, (float) norm_b),
				   "dot_norms_%s %s, n = %zu: %g, %g, %g, expected %g, %g, %g",
				   pair_names[pair], subjects[s].label, n,
				   got.dot, got.norm_a, got.norm_b, dot, norm_a, norm_b);
	}
}

/* Special components at one position, ones elsewhere. */
static void
test_nan_and_infinity(void)
{
	float		a[80];
	float		b[80];

	for (size_t n = 1; n <= 80; n++)
	{
		for (Pair pair = 0; pair < PAIRS; pair++)
		{
			bool		half_a = a_is_half(pair);
			bool		half_b = b_is_half(pair);
			double		ones = (double) n;

			for (size_t at = 0; at < n; at++)
			{
				put_all(a, half_a, n, 1.0);
				put_all(b, half_b, n, 1.0);

				put_component(a, half_a, at, NAN);
				check_special(pair, a, b, n, NAN, NAN, NAN, ones);
				put_component(a, half_a, at, INFINITY);
				check_special(pair, a, b, n, INFINITY, INFINITY, INFINITY, ones);
				put_component(a, half_a, at, -INFINITY);
				check_special(pair, a, b, n, INFINITY, -INFINITY, INFINITY, ones);
				put_component(b, half_b, at, 0.0);
				check_special(pair, a, b, n, INFINITY, NAN, INFINITY, ones - 1.0);
				put_component(b, half_b, at, -INFINITY);
				check_special(pair, a, b, n, NAN, INFINITY, INFINITY, INFINITY);
				put_component(a, half_a, at, 1.0);
				put_component(b, half_b, at, NAN);
				check_special(pair, a, b, n, NAN, NAN, ones, NAN);
			}
		}
	}
}

static void
test_overflow_to_infinity(void)
{
	float		a[40];
	float		b[40];

	for (size_t n = 1; n <= 40; n++)
	{
		put_all(a, false, n, 3e38);
		put_all(b, false, n, -3e38);
		check_special(PAIR_F32, a, b, n, INFINITY, -INFINITY, INFINITY, INFINITY);
	}
}

/* ----------
 * Tests of the dot product of bytes
 * ----------
 */
static void
check_dot_i8(const int8_t *a, const int8_t *b, size_t n)
{
	int64_t		expected = 0;

	for (size_t i = 0; i < n; i++)
		expected += a[i] * b[i];
	for (int s = 0; s < subject_count; s++)
	{
		int32_t		got = subjects[s].kernels->dot_i8(a, b, n);

		UNIT_CHECK(got == expected, "%s, n = %zu: %" PRId32 ", expected %" PRId64,
				   subjects[s].label, n, got, expected);
	}
}

static void
test_dot_i8_random(void)
{
	HmUnitRandom random = unit_random(7);
	int8_t	   *a = unit_malloc(MAX_LENGTH + SPACE);
	int8_t	   *b = unit_malloc(MAX_LENGTH + SPACE);

	for (size_t i = 0; i < MAX_LENGTH + SPACE; i++)
	{
		a[i] = (int8_t) unit_random_u64(&random);
		b[i] = (int8_t) unit_random_u64(&random);
	}
	for (size_t n = 0; n <= MAX_LENGTH; n++)
		check_dot_i8(a + unit_random_below(&random, SPACE),
					 b + unit_random_below(&random, SPACE), n);
	free(a);
	free(b);
}

static void
test_dot_i8_extremes(void)
{
	static const int8_t extremes[] = {-128, -127, -1, 0, 1, 127};
	const int	count = sizeof(extremes);
	HmUnitRandom random = unit_random(8);
	int8_t	   *a = unit_malloc(MAX_I8_LENGTH);
	int8_t	   *b = unit_malloc(MAX_I8_LENGTH);

	for (int x = 0; x < count; x++)
	{
		for (int y = 0; y < count; y++)
		{
			memset(a, extremes[x], MAX_I8_LENGTH);
			memset(b, extremes[y], MAX_I8_LENGTH);
			for (size_t n = 1; n <= 300; n++)
				check_dot_i8(a, b, n);
			check_dot_i8(a, b, MAX_I8_LENGTH - 1);
			check_dot_i8(a, b, MAX_I8_LENGTH);
		}
	}
	for (size_t n = 1; n <= 300; n++)
	{
		for (size_t i = 0; i < n; i++)
		{
			a[i] = extremes[unit_random_below(&random, (uint32_t) count)];
			b[i] = extremes[unit_random_below(&random, (uint32_t) count)];
		}
		check_dot_i8(a, b, n);
	}
	free(a);
	free(b);
}

/* ----------
 * Tests that no byte beside the operands is touched: they lie against pages
 * that cannot be accessed, so that a stray read or write is a crash.
 * ----------
 */
typedef struct GuardedRegion
{
	char	   *mapping;		/* guard page, data, guard page */
	size_t		page;
	size_t		size;			/* of the data */
} GuardedRegion;

static GuardedRegion
map_guarded(size_t size)
{
	GuardedRegion region;

	region.page = (size_t) sysconf(_SC_PAGESIZE);
	region.size = (size + region.page - 1) / region.page * region.page;
	region.mapping = mmap(NULL, region.size + 2 * region.page, PROT_NONE,
						  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unit_require(region.mapping != MAP_FAILED, "mmap");
	unit_require(mprotect(region.mapping + region.page, region.size,
						  PROT_READ | PROT_WRITE) == 0, "mprotect");
	return region;
}

static void
unmap_guarded(GuardedRegion region)
{
	munmap(region.mapping, region.size + 2 * region.page);
}

/* Room for so many bytes, against the guard page after it or before it. */
static void *
guarded_bytes(GuardedRegion region, size_t bytes, bool at_end)
{
	char	   *data = region.mapping + region.page;

	return at_end ? data + region.size - bytes : data;
}

static void
run_all_between_guards(GuardedRegion a, GuardedRegion b, size_t n, bool at_end)
{
	void	   *a_f32 = guarded_bytes(a, n * sizeof(float), at_end);
	void	   *b_f32 = guarded_bytes(b, n * sizeof(float), at_end);
	void	   *a_f16 = guarded_bytes(a, n * sizeof(uint16_t), at_end);
	void	   *b_f16 = guarded_bytes(b, n * sizeof(uint16_t), at_end);

	for (Pair pair = 0; pair < PAIRS; pair++)
	{
		for (Measure measure = 0; measure < MEASURES; measure++)
			check_kernel(measure, pair, a_is_half(pair) ? a_f16 : a_f32,
						 b_is_half(pair) ? b_f16 : b_f32, n, true);
	}
	check_dot_i8(guarded_bytes(a, n, at_end), guarded_bytes(b, n, at_end), n);

	for (int s = 0; s < subject_count; s++)
	{
		subjects[s].kernels->f32_to_f16(a_f32, b_f16, n);
		subjects[s].kernels->f16_to_f32(a_f16, b_f32, n);
	}
	memset(guarded_bytes(b, n * sizeof(float), at_end), 0, n * sizeof(float));
}

static void
test_operands_at_page_ends(void)
{
	GuardedRegion a = map_guarded(MAX_LENGTH * sizeof(float));
	GuardedRegion b = map_guarded(MAX_LENGTH * sizeof(float));

	for (size_t n = 0; n <= MAX_LENGTH; n += n < 300 ? 1 : 37)
	{
		run_all_between_guards(a, b, n, true);
		run_all_between_guards(a, b, n, false);
	}
	unmap_guarded(a);
	unmap_guarded(b);
}

int
main(void)
{
	unit_start();
	find_subjects();
	unit_run("dispatch: the fastest tier is chosen, a forced one is used", test_dispatch);
	unit_run("distance: every length, integers, exactly", test_integers_exactly);
	unit_run("distance: every length, random, within rounding", test_random_within_rounding);
	unit_run("distance: every length, subnormal halves, exactly", test_subnormals_exactly);
	unit_run("distance: NaN and infinity at every position", test_nan_and_infinity);
	unit_run("distance: overflow gives infinity", test_overflow_to_infinity);
	unit_run("dot_i8: every length, random, unaligned", test_dot_i8_random);
	unit_run("dot_i8: extremes, up to the longest", test_dot_i8_extremes);
	unit_run("all kernels: no access beyond the operands", test_operands_at_page_ends);
	return unit_finish();
}
