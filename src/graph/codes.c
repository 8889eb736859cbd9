/*-------------------------------------------------------------------------
 *
 * codes.c
 *	  Eight-bit codes of vectors: what a build computes its distances on.
 *
 * A record:
 *
 *		0					dim codes, int8
 *		record_size - 8		float: scale
 *		record_size - 4		float: constant, see below
 *
 * The codes come first, so that a record aligned to 64 bytes is read in whole
 * cache lines.  With dot the integer dot product of two records' codes:
 *
 *		L2, cosine		constant_a + constant_b - 2 scale_a scale_b dot
 *						where constant = scale * scale * (the codes' square)
 *		inner product	constant_a + constant_b - scale_a scale_b dot + <c,c>
 *						where constant = -<c, vector>
 *
 * For L2 the constant comes from the codes and not from the vector: the result
 * is then the exact distance of two points, never negative, and zero between
 * equal codes.
 *
 * Short vectors are kept as they are (dim floats from 0 on): eight bits are
 * too coarse where thousands of points lie in a few dimensions, and a record
 * is a cache line or two either way.  So are others where codes would be too
 * coarse: see codes_fit.c.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/codes.h"

#include <float.h>
#include <string.h>

#include "simd/simd.h"

#define LARGEST_CODE	127
#define RECORD_TAIL		(2 * sizeof(float))
#define CACHE_LINE		64
#define PREFETCH_AHEAD	4		/* records */
#define PREFETCH_SHORT	16		/* records of a cache line or two */
#define MOST_FLOATS		32		/* dimensions up to which a record is plain floats */

typedef struct RecordTail
{
	float		scale;
	float		constant;
} RecordTail;

static inline RecordTail
record_tail(const HmCodec *codec, const void *record)
{
	RecordTail	tail;

	memcpy(&tail, (const char *) record + codec->record_size - RECORD_TAIL, sizeof(tail));
	return tail;
}

size_t
hm_codec_record_size(uint32_t dim, bool plain)
{
	size_t		size = plain || dim <= MOST_FLOATS ? dim * sizeof(float) : dim + RECORD_TAIL;

	return (size + CACHE_LINE - 1) / CACHE_LINE * CACHE_LINE;
}

void
hm_codec_init(HmCodec *codec, HmMetric metric, uint32_t dim, bool plain, const float *mean)
{
	codec->metric = metric;
	codec->dim = dim;
	codec->plain = plain || dim <= MOST_FLOATS;
	codec->record_size = hm_codec_record_size(dim, plain);
	codec->mean = mean;
	codec->mean_norm = hm_kernels->dot_f32(mean, mean, dim);
}

/*
 * Subtracts the mean; returns the largest magnitude.  As integers, so that the
 * compiler can vectorise it: for floats without sign the order is the same.
 */
static float
centre(const float *restrict vector, const float *restrict mean, uint32_t dim,
	   float *restrict centred)
{
	uint32_t	largest = 0;
	float		magnitude;
	uint32_t	i;

	for (i = 0; i < dim; i++)
	{
		float		x = vector[i] - mean[i];
		uint32_t	bits;

		centred[i] = x;
		memcpy(&bits, &x, sizeof(bits));
		bits &= UINT32_C(0x7FFFFFFF);
		largest = bits > largest ? bits : largest;
	}
	memcpy(&magnitude, &largest, sizeof(magnitude));
	return magnitude;
}

/* Rounds values times a factor, which are small, to integers. */
static void
round_all(const float *restrict values, float factor, uint32_t dim, int8_t *restrict codes)
{
	/* adding this to a small number leaves its nearest integer in the low bits */
	const float magic = 12582912.0f;
	uint32_t	i;

	for (i = 0; i < dim; i++)
	{
		float		x = values[i] * factor + magic;
		uint32_t	bits;

		memcpy(&bits, &x, sizeof(bits));
		codes[i] = (int8_t) (uint8_t) bits;
	}
}

void
hm_codec_encode(const HmCodec *codec, const float *vector, float *scratch, void *record)
{
	int8_t	   *codes = record;
	RecordTail	tail = {0, 0};
	float		largest;
	float		inverse;

	memset(record, 0, codec->record_size);
	if (codec->plain)
	{
		memcpy(record, vector, codec->dim * sizeof(float));
		return;
	}
	largest = centre(vector, codec->mean, codec->dim, scratch);
	inverse = LARGEST_CODE / largest;

	/* too small or too large for a scale: all codes zero */
	if (largest > 0 && largest <= FLT_MAX && inverse <= FLT_MAX)
	{
		tail.scale = largest / LARGEST_CODE;
		round_all(scratch, inverse, codec->dim, codes);
	}
	if (codec->metric == HM_INNER_PRODUCT)
		tail.constant = -hm_kernels->dot_f32(codec->mean, vector, codec->dim);
	else
		tail.constant = tail.scale * tail.scale *
			(float) hm_kernels->dot_i8(codes, codes, codec->dim);
	memcpy((char *) record + codec->record_size - RECORD_TAIL, &tail, sizeof(tail));
}

static inline float
tails_distance(const HmCodec *codec, RecordTail a, RecordTail b, int32_t dot)
{
	float		product = a.scale * b.scale * (float) dot;
	float		distance;

	if (codec->metric == HM_INNER_PRODUCT)
		return a.constant + b.constant + codec->mean_norm - product;
	distance = a.constant + b.constant - 2 * product;
	return distance < 0 ? 0 : distance;
}

static inline float
plain_distance(const HmCodec *codec, const float *a, const float *b)
{
	if (codec->metric == HM_INNER_PRODUCT)
		return -hm_kernels->dot_f32(a, b, codec->dim);
	return hm_kernels->l2sq_f32(a, b, codec->dim);
}

float
hm_codec_distance(const HmCodec *codec, const void *a, const void *b)
{
	if (codec->plain)
		return plain_distance(codec, a, b);
	return tails_distance(codec, record_tail(codec, a), record_tail(codec, b),
						  hm_kernels->dot_i8(a, b, codec->dim));
}

static inline void
prefetch_record(const char *record, size_t size)
{
	size_t		at;

	for (at = 0; at < size; at += CACHE_LINE)
		__builtin_prefetch(record + at);
}

void
hm_codec_distances(const HmCodec *codec, const void *records, const void *from,
				   const uint32_t *ids, int n, float *distance)
{
	int32_t		(*dot) (const int8_t *, const int8_t *, size_t) = hm_kernels->dot_i8;
	int			ahead = codec->record_size <= 2 * CACHE_LINE ? PREFETCH_SHORT : PREFETCH_AHEAD;
	RecordTail	from_tail;
	int			i;

	for (i = 0; i < ahead && i < n; i++)
		prefetch_record((const char *) records + ids[i] * codec->record_size, codec->record_size);
	if (codec->plain)
	{
		for (i = 0; i < n; i++)
		{
			if (i + ahead < n)
				prefetch_record((const char *) records + ids[i + ahead] * codec->record_size,
								codec->record_size);
			distance[i] = plain_distance(codec, from, (const void *)
										 ((const char *) records + ids[i] * codec->record_size));
		}
		return;
	}

	from_tail = record_tail(codec, from);
	for (i = 0; i < n; i++)
	{
		const char *record = (const char *) records + ids[i] * codec->record_size;

		if (i + ahead < n)
			prefetch_record((const char *) records + ids[i + ahead] * codec->record_size,
							codec->record_size);
		distance[i] = tails_distance(codec, from_tail, record_tail(codec, record),
									 dot(from, (const int8_t *) record, codec->dim));
	}
}
