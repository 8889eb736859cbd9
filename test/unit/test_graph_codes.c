/*-------------------------------------------------------------------------
 *
 * test_graph_codes.c
 *	  Eight-bit codes give nearly the distances of the vectors they stand for.
 *
 *-------------------------------------------------------------------------
 */
#include <float.h>

#include "graph/codes.h"
#include "test_graph.h"

static void
normalise(float *vector, uint32_t dim)
{
	float		norm = sqrtf(hm_kernels->dot_f32(vector, vector, dim));

	for (uint32_t i = 0; i < dim; i++)
		vector[i] /= norm;
}

static void *
aligned_records(const HmCodec *codec, uint32_t n)
{
	void	   *memory = NULL;

	unit_require(posix_memalign(&memory, 64, (size_t) n * codec->record_size) == 0, "posix_memalign");
	return memory;
}

/* The largest error that rounding to codes can make of a vector, and the vector's length. */
static float
rounding(const float *vector, const float *mean, uint32_t dim, float *length)
{
	float		largest = 0;
	double		sum = 0;

	for (uint32_t i = 0; i < dim; i++)
	{
		float		x = vector[i] - mean[i];

		largest = fmaxf(largest, fabsf(x));
		sum += (double) x * x;
	}
	*length = sqrtf((float) sum);
	return largest / 127 * 0.51f * sqrtf((float) dim);
}

static void
compare_metric(HmMetric metric, uint32_t dim)
{
	enum
	{
		COUNT = 60
	};
	HmUnitRandom random = unit_random(dim);
	TestData	data = test_data(&random, COUNT, dim, metric, 3);
	float	   *mean = calloc(dim, sizeof(float));
	float	   *scratch = unit_malloc(dim * sizeof(float));
	HmCodec		codec;
	char	   *records;
	uint32_t	ids[COUNT];
	float		distance[COUNT];

	for (uint32_t id = 0; id < COUNT; id++)
	{
		if (metric == HM_COSINE)
			normalise(data.vectors + (size_t) id * dim, dim);
		for (uint32_t i = 0; i < dim; i++)
			mean[i] += test_vector(&data, id)[i] / COUNT;
		ids[id] = COUNT - 1 - id;
	}
	hm_codec_init(&codec, metric, dim, false, mean);
	UNIT_CHECK(codec.record_size % 64 == 0 && codec.record_size < dim + 80, "%zu", codec.record_size);
	records = aligned_records(&codec, COUNT);
	for (uint32_t id = 0; id < COUNT; id++)
		hm_codec_encode(&codec, test_vector(&data, id), scratch, records + id * codec.record_size);

	for (uint32_t a = 0; a < COUNT; a++)
	{
		hm_codec_distances(&codec, records, records + a * codec.record_size, ids, COUNT, distance);
		for (uint32_t i = 0; i < COUNT; i++)
		{
			uint32_t	b = ids[i];
			const float *x = test_vector(&data, a);
			const float *y = test_vector(&data, b);
			double		exact = metric == HM_INNER_PRODUCT ?
				-hm_kernels->dot_f32(x, y, dim) : hm_kernels->l2sq_f32(x, y, dim);
			float		x_length;
			float		y_length;
			float		x_error = rounding(x, mean, dim, &x_length);
			float		y_error = rounding(y, mean, dim, &y_length);
			double		error = metric == HM_INNER_PRODUCT ?
				x_length * y_error + y_length * x_error + x_error * y_error :
				(x_error + y_error) * (2 * sqrt(exact) + x_error + y_error);
			float		one = hm_codec_distance(&codec, records + a * codec.record_size,
												records + b * codec.record_size);

			UNIT_CHECK(fabs(distance[i] - exact) <= error + 1e-5 * (x_length + y_length) * (x_length + y_length) + 1e-5,
					   "metric %d, dim %u: %g, not %g (within %g)", metric, dim, distance[i], exact, error);
			UNIT_CHECK(one == distance[i], "metric %d, dim %u: %g, %g", metric, dim, one, distance[i]);
			UNIT_CHECK(one == hm_codec_distance(&codec, records + b * codec.record_size,
												records + a * codec.record_size), "not symmetric");
			UNIT_CHECK(metric == HM_INNER_PRODUCT || distance[i] >= 0, "%g", distance[i]);
			UNIT_CHECK(metric == HM_INNER_PRODUCT || a != b || distance[i] < 1e-5 * x_length * x_length + 1e-30, "%g", distance[i]);
		}
	}
	free(records);
	free(scratch);
	free(mean);
	free(data.vectors);
}

static void
test_distances(void)
{
	static const uint32_t dims[] = {1, 2, 3, 7, 55, 56, 57, 64, 100, 120, 128, 384, 1000};

	for (int metric = HM_L2; metric <= HM_COSINE; metric++)
		for (size_t i = 0; i < sizeof(dims) / sizeof(dims[0]); i++)
			compare_metric(metric, dims[i]);
}

/* Vectors at the edges of what a float can hold: any answer, but no harm. */
static void
test_extremes(void)
{
	static const float values[] = {0, -0.0f, FLT_MIN, 1e-45f, -1e-45f, 1e-20f, 1, -1, 1e20f, FLT_MAX, -FLT_MAX};
	enum
	{
		DIM = 20,
		COUNT = sizeof(values) / sizeof(values[0])
	};

	for (int metric = HM_L2; metric <= HM_COSINE; metric++)
	{
		for (int mean_at = 0; mean_at < COUNT; mean_at++)
		{
			float		mean[DIM];
			float		vector[DIM];
			float		scratch[DIM];
			HmCodec		codec;
			char	   *records;

			for (int i = 0; i < DIM; i++)
				mean[i] = values[mean_at];
			hm_codec_init(&codec, metric, DIM, false, mean);
			records = aligned_records(&codec, COUNT);
			for (int k = 0; k < COUNT; k++)
			{
				for (int i = 0; i < DIM; i++)
					vector[i] = i % 3 == 0 ? values[k] : 0;
				hm_codec_encode(&codec, vector, scratch, records + k * codec.record_size);
			}
			for (int a = 0; a < COUNT; a++)
				for (int b = 0; b < COUNT; b++)
				{
					float		d = hm_codec_distance(&codec, records + a * codec.record_size,
													  records + b * codec.record_size);

					UNIT_CHECK(metric == HM_INNER_PRODUCT || !(d < 0), "%g", d);
				}
			free(records);
		}
	}
}

/* A sample in which some have other values; every tenth cannot be had. */
typedef struct MixedSample
{
	float		centre;
	float		spread;
	uint32_t	others;			/* every so many-th vector, or 0: none */
	float		other;			/* its components, about */
	float		steps;			/* multiples of which the first component is, or 0 */
} MixedSample;

enum
{
	MIXED_DIM = 40,
	MIXED_COUNT = 1000
};

static bool
fetch_mixed(void *state, uint32_t i, float *vector)
{
	const MixedSample *mixed = state;
	HmUnitRandom random = unit_random(i);
	bool		other = mixed->others != 0 && i % mixed->others == 1;

	for (int j = 0; j < MIXED_DIM; j++)
	{
		float		x = (float) unit_random_between(&random, -0.5, 0.5);

		vector[j] = other ? mixed->other * (1 + x) : mixed->centre + mixed->spread * x;
	}
	if (mixed->steps > 0)
		vector[0] = mixed->steps * (float) unit_random_below(&random, 20);
	return i % 10 != 0;
}

/* Fits a codec; returns the mean's largest distance from the centre, in spreads. */
static double
mean_error(MixedSample mixed, uint32_t count, bool *plain)
{
	size_t		room_size = hm_sample_room(count, MIXED_DIM);
	HmSample	sample = {count, MIXED_DIM, fetch_mixed, &mixed, unit_malloc(room_size)};
	float		mean[MIXED_DIM];
	HmCodec		codec;
	double		error = 0;

	hm_codec_fit(&codec, HM_L2, &sample, mean);
	free(sample.room);
	UNIT_CHECK(codec.mean == mean && codec.dim == MIXED_DIM, "not what was asked for");
	*plain = codec.plain;
	for (int j = 0; j < MIXED_DIM; j++)
		error = fmax(error, fabs(mean[j] - mixed.centre) / mixed.spread);
	return error;
}

static void
test_fit(void)
{
	static const MixedSample samples[] = {
		{.centre = 0, .spread = 2},
		{.centre = -1000, .spread = 0.5f},
		{.centre = 0.1f, .spread = 1, .others = 999, .other = 65504},
		{.centre = 0.1f, .spread = 1, .others = 50, .other = 50000},
		{.centre = 0.1f, .spread = 1, .others = 8, .other = -300},
		{.centre = 1000, .spread = 1, .others = 8, .other = 0},
		{.centre = 1e-4f, .spread = 1e-4f, .others = 8, .other = 1}
	};
	bool		plain;

	for (size_t i = 0; i < sizeof(samples) / sizeof(samples[0]); i++)
	{
		double		error = mean_error(samples[i], MIXED_COUNT, &plain);

		UNIT_CHECK(error < 0.1, "sample %zu: %g spreads from its centre", i, error);
		UNIT_CHECK(!plain, "sample %zu: codes would do", i);
	}

	/* two halves are no others: both count, and are too far from each other */
	UNIT_CHECK(mean_error((MixedSample) {.centre = 0, .spread = 1, .others = 2, .other = 20},
						  MIXED_COUNT, &plain) > 5, "half of a sample was left out");
	UNIT_CHECK(!plain, "codes would do");
	(void) mean_error((MixedSample) {.centre = 0, .spread = 1, .others = 2, .other = 2000}, MIXED_COUNT, &plain);
	UNIT_CHECK(plain, "codes that cannot tell neighbours apart");

	/* one component that hides the others */
	(void) mean_error((MixedSample) {.centre = 0, .spread = 1, .steps = 100}, MIXED_COUNT, &plain);
	UNIT_CHECK(plain, "codes of one component");
	(void) mean_error((MixedSample) {.centre = 0, .spread = 1, .steps = 0.5}, MIXED_COUNT, &plain);
	UNIT_CHECK(!plain, "codes would do");

	/* only what cannot be had; nothing at all */
	UNIT_CHECK(mean_error((MixedSample) {.centre = 0, .spread = 1}, 1, &plain) == 0, "not zero without a vector");
	UNIT_CHECK(mean_error((MixedSample) {.centre = 0, .spread = 1}, 0, &plain) == 0, "not zero without a sample");
}

int
main(void)
{
	unit_start();
	hm_simd_init();
	unit_run("distances of codes", test_distances);
	unit_run("the largest and the smallest numbers", test_extremes);
	unit_run("a codec for a sample", test_fit);
	return unit_finish();
}
