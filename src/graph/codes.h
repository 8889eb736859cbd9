/*-------------------------------------------------------------------------
 *
 * codes.h
 *	  Eight-bit codes of vectors: what a build computes its distances on.
 *
 * A vector x is centred by a mean vector c and scaled by its own largest
 * component: x - c = scale * code.  A distance between two records is then a
 * constant of each, plus scale * scale * the codes' integer dot product:
 *
 *		L2 (squared)	|a-c|^2 + |b-c|^2 - 2 <a-c, b-c>
 *		inner product	-<a,b> = -(<a-c,b-c> + <c,a> + <c,b> - <c,c>)
 *		cosine			as L2 over normalised vectors (half of it is 1 - cos)
 *
 * Each record is self-contained; its layout is in codes.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_CODES_H
#define HM_GRAPH_CODES_H

#include "base.h"

typedef struct HmCodec
{
	HmMetric	metric;
	uint32_t	dim;
	bool		plain;			/* records are the vectors themselves */
	size_t		record_size;	/* bytes per record, a multiple of 64 */
	const float *mean;			/* dim values; the caller's */
	float		mean_norm;		/* <c,c> */
} HmCodec;

/* Bytes of a record, a multiple of 64. */
extern size_t hm_codec_record_size(uint32_t dim, bool plain);

/* plain: see codes_fit.c; few dimensions make records plain in any case. */
extern void hm_codec_init(HmCodec *codec, HmMetric metric, uint32_t dim, bool plain, const float *mean);

/* Vectors that stand for all, and room to compute with. */
typedef struct HmSample
{
	uint32_t	count;
	uint32_t	dim;
	/* Fetches vector i < count, finite, normalised for cosine; false: there is none. */
	bool		(*fetch) (void *state, uint32_t i, float *vector);
	void	   *state;
	void	   *room;			/* hm_sample_room bytes, aligned as malloc does */
} HmSample;

extern size_t hm_sample_room(uint32_t count, uint32_t dim);

/*
 * Chooses a codec for vectors like the sample's.  mean: dim values, written,
 * and used by the codec from then on.  Allocates nothing.
 */
extern void hm_codec_fit(HmCodec *codec, HmMetric metric, const HmSample *sample, float *mean);

/* Encodes a finite vector (normalised by the caller for cosine). scratch: dim floats. */
extern void hm_codec_encode(const HmCodec *codec, const float *vector, float *scratch, void *record);

/* The distance that graph construction compares: see above. */
extern float hm_codec_distance(const HmCodec *codec, const void *a, const void *b);

/* From `from` to each ids[i], records being an array of records; prefetches the batch. */
extern void hm_codec_distances(const HmCodec *codec, const void *records, const void *from,
							   const uint32_t *ids, int n, float *distance);

#endif							/* HM_GRAPH_CODES_H */
