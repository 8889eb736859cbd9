/*-------------------------------------------------------------------------
 *
 * codes_fit.c
 *	  Choosing what codes are centred on, and whether they will do.
 *
 * Eight bits with a scale for each vector tell embeddings apart, whose
 * components are all about as large.  A table may hold anything else:
 *
 *		a few vectors of another magnitude, by a wrong unit or as placeholders,
 *		pull the mean away from all others, whose codes are then alike.  They
 *		are left out of it.
 *
 *		one component much larger than the others, or clusters far from each
 *		other, leave less than a bit for what makes neighbours differ.  Records
 *		are then plain vectors, four times as large.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "graph/codes.h"
#include "simd/simd.h"

#define FAR				4		/* bits of a squared distance above the median: too far */
#define COMPARED		256		/* vectors that are encoded and compared */
#define PROBES			64		/* of them, whose nearest is looked for among all */
#define LARGEST_ERROR	0.2f	/* of a squared distance between neighbours, as a share */
#define MOST_WRONG		4		/* one of so many neighbours may have a larger one */

/* What a computation works with, laid out within HmSample.room. */
typedef struct Room
{
	double	   *sum;			/* dim values */
	float	   *vector;			/* dim values */
	float	   *vectors;		/* COMPARED times dim values */
	char	   *records;		/* COMPARED records of eight-bit codes */
	uint8_t    *distance;		/* count values */
} Room;

size_t
hm_sample_room(uint32_t count, uint32_t dim)
{
	return dim * sizeof(double) + (1 + COMPARED) * dim * sizeof(float) +
		COMPARED * hm_codec_record_size(dim, false) + count;
}

/* In the order of alignment: what has eight bytes first. */
static Room
lay_out(const HmSample *sample)
{
	Room		room;

	room.sum = sample->room;
	room.vector = (float *) (room.sum + sample->dim);
	room.vectors = room.vector + sample->dim;
	room.records = (char *) (room.vectors + COMPARED * sample->dim);
	room.distance = (uint8_t *) room.records + COMPARED * hm_codec_record_size(sample->dim, false);
	return room;
}

/* The power of two of a number that is not negative, from 0; 255: it is infinite. */
static uint8_t
magnitude_of(float x)
{
	uint32_t	bits;

	memcpy(&bits, &x, sizeof(bits));
	return (uint8_t) (bits >> 23);
}

/* The mean of the vectors whose noted distance is not above the limit; returns how many. */
static uint32_t
mean_within(const HmSample *sample, const Room *room, int limit, float *mean)
{
	uint32_t	n = 0;
	uint32_t	i;
	uint32_t	j;

	memset(room->sum, 0, sample->dim * sizeof(*room->sum));
	for (i = 0; i < sample->count; i++)
	{
		if (room->distance[i] > limit || !sample->fetch(sample->state, i, room->vector))
			continue;
		for (j = 0; j < sample->dim; j++)
			room->sum[j] += room->vector[j];
		n++;
	}
	for (j = 0; j < sample->dim; j++)
		mean[j] = n > 0 ? (float) (room->sum[j] / n) : 0;
	return n;
}

/*
 * The mean without those that are more than four to six times as far from it
 * as half of the sample; zero if there is none at all.
 */
static void
compute_mean(const HmSample *sample, const Room *room, float *mean)
{
	uint32_t	with_magnitude[UINT8_MAX + 1] = {0};
	uint32_t	n;
	uint32_t	nearer = 0;
	uint32_t	far = 0;
	int			median = 0;
	uint32_t	i;

	memset(room->distance, 0, sample->count);
	n = mean_within(sample, room, UINT8_MAX, mean);
	for (i = 0; i < sample->count; i++)
	{
		if (!sample->fetch(sample->state, i, room->vector))
			continue;
		room->distance[i] = magnitude_of(hm_kernels->l2sq_f32(room->vector, mean, sample->dim));
		with_magnitude[room->distance[i]]++;
	}
	while (median < UINT8_MAX && (nearer += with_magnitude[median]) <= n / 2)
		median++;
	for (i = (uint32_t) (median + FAR + 1); i <= UINT8_MAX; i++)
		far += with_magnitude[i];
	if (far > 0)
		(void) mean_within(sample, room, median + FAR, mean);
}

/* Fetches and encodes some of the sample, evenly spread; returns how many. */
static int
encode_some(const HmSample *sample, const Room *room, const HmCodec *codec)
{
	uint32_t	wanted = sample->count < COMPARED ? sample->count : COMPARED;
	int			n = 0;
	uint32_t	i;

	for (i = 0; i < wanted; i++)
	{
		float	   *vector = room->vectors + (size_t) n * sample->dim;
		uint32_t	from = (uint32_t) ((uint64_t) i * sample->count / wanted);

		if (!sample->fetch(sample->state, from, vector))
			continue;
		hm_codec_encode(codec, vector, room->vector, room->records + n * codec->record_size);
		n++;
	}
	return n;
}

/* The nearest of n vectors to one of them, copies of it left out; -1: there is none. */
static int
nearest_to(const HmSample *sample, const Room *room, int probe, int n, float *distance)
{
	int			nearest = -1;
	int			i;

	for (i = 0; i < n; i++)
	{
		float		d = hm_kernels->l2sq_f32(room->vectors + (size_t) probe * sample->dim,
											 room->vectors + (size_t) i * sample->dim, sample->dim);

		if (d > 0 && (nearest < 0 || d < *distance))
		{
			nearest = i;
			*distance = d;
		}
	}
	return nearest;
}

/*
 * Whether eight bits are too few: whether for many of some vectors the distance
 * to the nearest other one of a sample is not what their codes say.  That they
 * may be compared by inner product does not matter to how coarse codes are.
 */
static bool
codes_are_coarse(const HmSample *sample, const Room *room, const float *mean)
{
	HmCodec		codec;
	int			n;
	int			probes;
	int			compared = 0;
	int			wrong = 0;
	int			i;

	hm_codec_init(&codec, HM_L2, sample->dim, false, mean);
	if (codec.plain)
		return true;
	n = encode_some(sample, room, &codec);
	probes = n < PROBES ? n : PROBES;
	for (i = 0; i < probes; i++)
	{
		int			probe = i * n / probes;
		float		exact = 0;
		int			other = nearest_to(sample, room, probe, n, &exact);
		float		coded;

		if (other < 0)
			continue;
		coded = hm_codec_distance(&codec, room->records + probe * codec.record_size,
								  room->records + other * codec.record_size);
		compared++;
		wrong += fabsf(coded - exact) > LARGEST_ERROR * exact;
	}
	return MOST_WRONG * wrong > compared;
}

void
hm_codec_fit(HmCodec *codec, HmMetric metric, const HmSample *sample, float *mean)
{
	Room		room = lay_out(sample);

	compute_mean(sample, &room, mean);
	hm_codec_init(codec, metric, sample->dim, codes_are_coarse(sample, &room, mean), mean);
}
