/*-------------------------------------------------------------------------
 *
 * test_simd_convert.c
 *	  Conversions to and from half precision, scalar and in every tier, against
 *	  the definition of the format.
 *
 *-------------------------------------------------------------------------
 */
#include "test_simd.h"

#define HALVES			65536

static void
test_every_half_to_single(void)
{
	uint16_t   *halves = unit_malloc(HALVES * sizeof(uint16_t));
	float	   *singles = unit_malloc(HALVES * sizeof(float));

	for (uint32_t i = 0; i < HALVES; i++)
		halves[i] = (uint16_t) i;

	for (uint32_t i = 0; i < HALVES; i++)
	{
		float		expected = (float) reference_from_half(halves[i]);

		UNIT_CHECK(same_float(hm_f16_to_f32(halves[i]), expected),
				   "scalar, %04x: %g, expected %g", i, hm_f16_to_f32(halves[i]), expected);
	}

	for (int s = 0; s < subject_count; s++)
	{
		subjects[s].kernels->f16_to_f32(halves, singles, HALVES);
		for (uint32_t i = 0; i < HALVES; i++)
			UNIT_CHECK(same_float(singles[i], hm_f16_to_f32(halves[i])),
					   "%s, %04x: %g", subjects[s].label, i, singles[i]);
	}
	free(halves);
	free(singles);
}

/* Converts a double, and where it is one, the float, in every way there is. */
static void
check_to_half(double value, uint16_t expected)
{
	float		single = (float) value;

	UNIT_CHECK(same_half(hm_f64_to_f16(value), expected), "from double, %a: %04x, expected %04x",
			   value, hm_f64_to_f16(value), expected);
	if ((double) single != value && !isnan(value))
		return;

	UNIT_CHECK(same_half(hm_f32_to_f16(single), expected), "from float, %a: %04x, expected %04x",
			   value, hm_f32_to_f16(single), expected);
	for (int s = 0; s < subject_count; s++)
	{
		uint16_t	half;

		subjects[s].kernels->f32_to_f16(&single, &half, 1);
		UNIT_CHECK(same_half(half, expected), "%s, %a: %04x, expected %04x",
				   subjects[s].label, value, half, expected);
	}
}

static void
check_to_half_both_signs(double value, uint16_t expected)
{
	check_to_half(value, expected);
	check_to_half(-value, expected | 0x8000);
}

/*
 * Rounding is a step function with its steps midway between neighbours, so it
 * is right everywhere if it is right at each half, at each midpoint, and next
 * to each midpoint: by one float, and by the one double that a float between
 * would round onto the midpoint.
 */
static void
test_every_rounding_step(void)
{
	for (uint16_t low = 0; low < 0x7c00; low++)
	{
		uint16_t	high = low + 1;
		uint16_t	even = (low & 1) != 0 ? high : low;
		double		x = reference_from_half(low);
		double		y = high < 0x7c00 ? reference_from_half(high) : 65536.0;
		double		midpoint = (x + y) / 2;

		check_to_half_both_signs(x, low);
		check_to_half_both_signs(midpoint, even);
		check_to_half_both_signs(nextafterf((float) midpoint, 0.0f), low);
		check_to_half_both_signs(nextafterf((float) midpoint, INFINITY), high);
		check_to_half_both_signs(nextafter(midpoint, 0.0), low);
		check_to_half_both_signs(nextafter(midpoint, INFINITY), high);
	}
}

static void
test_extreme_values_to_half(void)
{
	check_to_half_both_signs(0.0, 0x0000);
	check_to_half_both_signs(INFINITY, 0x7c00);
	check_to_half_both_signs(65504.0, 0x7bff);
	check_to_half_both_signs(65536.0, 0x7c00);
	check_to_half_both_signs(3.4028234663852886e38, 0x7c00);	/* largest float */
	check_to_half_both_signs(1.7976931348623157e308, 0x7c00);	/* largest double */
	check_to_half_both_signs(0x1p-149, 0x0000); /* smallest float */
	check_to_half_both_signs(0x1p-1074, 0x0000);	/* smallest double */
	check_to_half(NAN, 0x7e00);
	UNIT_CHECK((hm_f64_to_f16(copysign(NAN, -1.0)) & 0x8000) != 0, "sign of NaN");
}

/* Doubles and floats of every exponent, with random fractions. */
static void
test_random_values_to_half(void)
{
	HmUnitRandom random = unit_random(1);

	for (int i = 0; i < 200000; i++)
	{
		int			exponent = (int) unit_random_below(&random, 60) - 35;
		double		value = ldexp(unit_random_between(&random, -2.0, 2.0), exponent);

		check_to_half(value, reference_to_half(value));
		check_to_half((float) value, reference_to_half((float) value));
	}
}

/* Any bits at all: signalling NaN and subnormals too. */
static void
test_random_bits_in_every_tier(void)
{
	enum
	{
		COUNT = 100003
	};
	HmUnitRandom random = unit_random(2);
	float	   *singles = unit_malloc(COUNT * sizeof(float));
	uint16_t   *halves = unit_malloc(COUNT * sizeof(uint16_t));

	for (int i = 0; i < COUNT; i++)
	{
		uint32_t	bits = (uint32_t) unit_random_u64(&random);

		memcpy(&singles[i], &bits, sizeof(bits));
	}
	for (int s = 0; s < subject_count; s++)
	{
		subjects[s].kernels->f32_to_f16(singles, halves, COUNT);
		for (int i = 0; i < COUNT; i++)
			UNIT_CHECK(same_half(halves[i], hm_f32_to_f16(singles[i])),
					   "%s, %08x: %04x, scalar %04x", subjects[s].label,
					   float_bits(singles[i]), halves[i], hm_f32_to_f16(singles[i]));
	}
	free(singles);
	free(halves);
}

/* Arrays of every length at random addresses, and nothing written beside them. */
static void
test_conversion_lengths(void)
{
	const size_t space = 200 * sizeof(float) + SPACE;
	HmUnitRandom random = unit_random(3);
	unsigned char *singles = unit_malloc(space);
	unsigned char *halves = unit_malloc(space);
	unsigned char *output = unit_malloc(space);
	unsigned char *expected = unit_malloc(space);

	for (size_t n = 0; n <= 200; n++)
	{
		size_t		source = unit_random_below(&random, 64);
		size_t		target = 1 + unit_random_below(&random, 64);

		for (size_t i = 0; i < n; i++)
		{
			double		value = unit_random_between(&random, -1000.0, 1000.0);

			put_component(singles + source, false, i, value);
			put_component(halves + source, true, i, value);
		}

		for (int s = 0; s < subject_count; s++)
		{
			memset(output, 0xa5, space);
			memset(expected, 0xa5, space);
			for (size_t i = 0; i < n; i++)
				put_component(expected + target, true, i,
							  get_component(singles + source, false, i));
			subjects[s].kernels->f32_to_f16((const float *) (const void *) (singles + source),
											(uint16_t *) (void *) (output + target), n);
			UNIT_CHECK(memcmp(output, expected, space) == 0, "f32_to_f16 %s, n = %zu",
					   subjects[s].label, n);

			memset(output, 0xa5, space);
			memset(expected, 0xa5, space);
			for (size_t i = 0; i < n; i++)
				put_component(expected + target, false, i,
							  get_component(halves + source, true, i));
			subjects[s].kernels->f16_to_f32((const uint16_t *) (const void *) (halves + source),
											(float *) (void *) (output + target), n);
			UNIT_CHECK(memcmp(output, expected, space) == 0, "f16_to_f32 %s, n = %zu",
					   subjects[s].label, n);
		}
	}
	free(singles);
	free(halves);
	free(output);
	free(expected);
}

int
main(void)
{
	unit_start();
	find_subjects();
	unit_run("every half to single", test_every_half_to_single);
	unit_run("every rounding step to half", test_every_rounding_step);
	unit_run("extreme values to half", test_extreme_values_to_half);
	unit_run("random values to half", test_random_values_to_half);
	unit_run("random bits, the same in every tier", test_random_bits_in_every_tier);
	unit_run("every length, unaligned", test_conversion_lengths);
	return unit_finish();
}
