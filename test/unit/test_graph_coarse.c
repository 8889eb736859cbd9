/*-------------------------------------------------------------------------
 *
 * test_graph_coarse.c
 *	  What eight-bit codes say of distances holds, and says something.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>

#include "graph/coarse.h"
#include "simd/simd.h"
#include "unit.h"

enum
{
	MOST_DIM = 1100,
	PAIRS = 40
};

/* beyond these single precision cannot square, nor multiply */
#define UNDERFLOW	1e-18
#define UNDERFLOW_PRODUCT	1e-44

typedef struct Coded
{
	float		vector[MOST_DIM];
	int8_t		codes[MOST_DIM];
	HmCoarse	coarse;
} Coded;

static void
encode(Coded *coded, uint32_t dim)
{
	hm_coarse_encode(coded->vector, dim, coded->codes, &coded->coarse);
}

static double
norm_of(const Coded *coded, uint32_t dim)
{
	double		square = 0;

	for (uint32_t i = 0; i < dim; i++)
		square += (double) coded->vector[i] * coded->vector[i];
	return sqrt(square);
}

/* Compares the bounds of two vectors with what is true. */
static void
compare(Coded *a, Coded *b, uint32_t dim, const char *what)
{
	int32_t		dot;
	double		least;
	double		most;
	double		true_dot = 0;
	double		square = 0;
	double		distance;
	double		errors;
	double		norms;

	encode(a, dim);
	encode(b, dim);
	dot = hm_kernels->dot_i8(a->codes, b->codes, dim);
	least = sqrt(hm_coarse_least_l2sq(&a->coarse, &b->coarse, dot));
	most = hm_coarse_most_dot(&a->coarse, &b->coarse, dot);
	for (uint32_t i = 0; i < dim; i++)
	{
		double		x = a->vector[i];
		double		y = b->vector[i];

		true_dot += x * y;
		square += (x - y) * (x - y);
	}
	distance = sqrt(square);
	norms = norm_of(a, dim) + norm_of(b, dim);
	errors = a->coarse.error + b->coarse.error;

	UNIT_CHECK(least <= distance + UNDERFLOW, "%s, %u dimensions: %.9g > %.9g", what, dim, least, distance);
	UNIT_CHECK(most >= true_dot - UNDERFLOW_PRODUCT, "%s, %u dimensions: %.9g < %.9g", what, dim, most, true_dot);

	/* no further from it than the errors that they are made of */
	UNIT_CHECK(least >= distance - 2 * errors - 0.01 * norms - UNDERFLOW, "%s, %u dimensions: %.9g, distance %.9g",
			   what, dim, least, distance);
	UNIT_CHECK(most <= true_dot + 2 * errors * norms + 0.01 * norms * norms + UNDERFLOW_PRODUCT,
			   "%s, %u dimensions: %.9g, product %.9g", what, dim, most, true_dot);
}

/* An error that codes need not have would pass for a bound. */
static void
check_error(const Coded *coded, uint32_t dim, const char *what)
{
	double		square = 0;
	double		largest = 0;

	for (uint32_t i = 0; i < dim; i++)
	{
		double		difference = coded->vector[i] - (double) coded->coarse.scale * coded->codes[i];

		square += difference * difference;
		largest = fmax(largest, fabs((double) coded->vector[i]));
	}
	UNIT_CHECK(coded->coarse.error >= sqrt(square), "%s, %u dimensions: %.9g < %.9g",
			   what, dim, (double) coded->coarse.error, sqrt(square));
	UNIT_CHECK(coded->coarse.error <= 0.51 * largest / 127 * sqrt(dim) + 1e-37,
			   "%s, %u dimensions: %.9g for components up to %.9g",
			   what, dim, (double) coded->coarse.error, largest);
}

static void
compare_dim(HmUnitRandom *random, uint32_t dim)
{
	static Coded a;
	static Coded b;

	for (int pair = 0; pair < PAIRS; pair++)
	{
		/* the tenth component of some vectors is far larger than all others */
		float		outlier = pair % 4 == 3 ? 100 : 1;
		float		magnitude = ldexpf(1, (int) unit_random_below(random, 80) - 40);

		for (uint32_t i = 0; i < dim; i++)
		{
			float		factor = magnitude * (i == 9 ? outlier : 1);

			a.vector[i] = factor * (float) unit_random_between(random, -1, 1);
			b.vector[i] = factor * (float) unit_random_between(random, -1, 1);
		}
		compare(&a, &b, dim, "random");
		check_error(&a, dim, "random");

		/* neighbours much nearer than codes can tell */
		for (uint32_t i = 0; i < dim; i++)
			b.vector[i] = a.vector[i] * (1 + 1e-4f * (float) unit_random_between(random, -1, 1));
		compare(&a, &b, dim, "near");
		compare(&a, &a, dim, "itself");
	}
}

static void
test_bounds(void)
{
	HmUnitRandom random = unit_random(1);

	for (int tier = 0; tier < HM_SIMD_TIERS; tier++)
	{
		if (!hm_simd_force((HmSimdTier) tier))
			continue;
		for (uint32_t dim = 1; dim <= 70; dim++)
			compare_dim(&random, dim);
		compare_dim(&random, 384);
		compare_dim(&random, MOST_DIM);
	}
	hm_simd_init();
}

static void
test_extremes(void)
{
	static const float values[] = {0, 1e-45f, 1e-38f, 1e-35f, 1e-30f, 1e-7f, 1, 65504, 1e17f};
	static Coded a;
	static Coded b;
	enum
	{
		DIM = 100,
		COUNT = sizeof(values) / sizeof(values[0])
	};

	for (int i = 0; i < COUNT; i++)
	{
		for (int j = 0; j < COUNT; j++)
		{
			for (int k = 0; k < DIM; k++)
			{
				a.vector[k] = k % 3 == 0 ? values[i] : -values[i] / 2;
				b.vector[k] = k % 5 == 0 ? -values[j] : values[j] / 3;
			}
			compare(&a, &b, DIM, "extreme");
			check_error(&a, DIM, "extreme");

			/* codes without an error, which makes up for nothing */
			for (int k = 0; k < DIM; k++)
			{
				a.vector[k] = values[i];
				b.vector[k] = values[j];
			}
			compare(&a, &b, DIM, "equal components");
		}
	}
}

int
main(void)
{
	unit_start();
	hm_simd_init();
	unit_run("coarse: bounds hold, and are no looser than their errors", test_bounds);
	unit_run("coarse: zeros, subnormal and huge components", test_extremes);
	return unit_finish();
}
