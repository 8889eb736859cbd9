/*-------------------------------------------------------------------------
 *
 * coarse.h
 *	  Eight-bit codes that say how far they may be from the vector.
 *
 * A vector x is scaled by its largest component: x is about scale * code, and
 * the Euclidean norm of what lies between is kept with it.  So an integer dot
 * product of two vectors' codes bounds their distance from below, and their
 * inner product from above, at a fraction of the bytes: enough to tell that
 * nearly all of many vectors cannot be among the nearest.
 *
 * Unlike the records of codes.h, which compare stored vectors as well as eight
 * bits can, these need no mean vector, and their bounds hold always: but for
 * what underflows in single precision, 1e-18 of a distance, 1e-44 of a product.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_COARSE_H
#define HM_GRAPH_COARSE_H

#include <math.h>

#include "base.h"

typedef struct HmCoarse
{
	float		scale;
	float		error;			/* at least the norm of x - scale * codes */
	float		norm;			/* at least the norm of scale * codes */
	int32_t		square;			/* the codes' dot product with themselves */
} HmCoarse;

/* Encodes dim finite components.  The norm must be at most 1e18. */
extern void hm_coarse_encode(const float *vector, uint32_t dim, int8_t *codes, HmCoarse *coarse);

/*
 * What single precision may lose below, in shares of the norms.  Of squares
 * that nearly cancel a root remains: of eight roundings sqrt(2^-21) at most.
 */
#define HM_COARSE_ROUNDING	0.001f

/*
 * The squared Euclidean distance of two vectors is at least this; dot: of their
 * codes.  By the triangle inequality, from what the codes stand for.
 */
static inline float
hm_coarse_least_l2sq(const HmCoarse *a, const HmCoarse *b, int32_t dot)
{
	float		square = a->scale * a->scale * (float) a->square +
		b->scale * b->scale * (float) b->square - 2 * a->scale * b->scale * (float) dot;
	float		least = sqrtf(square > 0 ? square : 0) -
		(a->error + b->error + HM_COARSE_ROUNDING * (a->norm + b->norm));

	return least > 0 ? least * least : 0;
}

/*
 * The dot product of two vectors is at most this.  Two small scales may have a
 * product that vanishes though the dot product does not, so that comes first.
 */
static inline float
hm_coarse_most_dot(const HmCoarse *a, const HmCoarse *b, int32_t dot)
{
	return a->scale * ((float) dot * b->scale) + (a->norm + a->error) * b->error +
		b->norm * a->error + HM_COARSE_ROUNDING * a->norm * b->norm;
}

#endif							/* HM_GRAPH_COARSE_H */
