/*-------------------------------------------------------------------------
 *
 * element.h
 *	  From a row's vector to what the index keeps of it.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_ELEMENT_H
#define HM_INDEX_ELEMENT_H

#include "postgres.h"

#include "storage/format.h"
#include "types/typeinfo.h"

/* A vector as the index sees it: HM_LOG_VECTOR, or why it stays outside the graph. */
typedef struct HmElement
{
	int			kind;			/* HM_LOG_VECTOR, or an HmTailKind */
	uint16		fingerprint;	/* of the original bytes */
	float		norm;			/* Euclidean norm of the copy, unscaled; 0 unless HM_LOG_VECTOR */
} HmElement;

/*
 * Sixteen bits out of a few fixed words of the vector's bytes: enough to tell
 * that bytes found at a TID are not the element's vector any more.  Reads at
 * most four components.
 */
extern uint16 hm_fingerprint(const HmVector *vector);

/*
 * Sixty-four bits out of all of the vector's bytes.  seed: the incarnation, so
 * that vectors which collide in one index do not in another.
 */
extern uint64 hm_vector_hash(const HmVector *vector, uint64 seed);

/*
 * Classifies a vector and, when it can be ranked, writes its half-precision
 * copy: dim values, normalised for cosine, otherwise times 2^scale.
 * scratch: dim floats.
 */
extern HmElement hm_element_make(HmMetric metric, int scale, const HmVector *vector,
								 float *scratch, uint16 *copy);

/* The scale for an index whose first vector is this one: see HmMeta.scale. */
extern int	hm_element_scale(HmMetric metric, const HmVector *vector);

#endif							/* HM_INDEX_ELEMENT_H */
