/*-------------------------------------------------------------------------
 *
 * key.h
 *	  A distance and an id in one 64-bit word that sorts as the pair does.
 *
 * Comparing two candidates is then one integer comparison without branches,
 * ties break by id, so that every order is total and every search
 * deterministic, and a link of a graph under construction can be read and
 * written whole.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_GRAPH_KEY_H
#define HM_GRAPH_KEY_H

#include <math.h>
#include <string.h>

#include "base.h"
#include "graph/search.h"

/*
 * Maps floats to integers of the same order: the sign bit is flipped for
 * positive numbers, all bits for negative ones.  NaN counts as +infinity, and
 * adding zero makes the two zeros equal.
 */
static inline uint32_t
hm_distance_bits(float distance)
{
	uint32_t	bits;

	distance = distance == distance ? distance + 0.0f : INFINITY;
	memcpy(&bits, &distance, sizeof(bits));
	return bits ^ ((uint32_t) -(int32_t) (bits >> 31) | UINT32_C(0x80000000));
}

static inline uint64_t
hm_key(float distance, uint32_t id)
{
	return (uint64_t) hm_distance_bits(distance) << 32 | id;
}

static inline uint32_t
hm_key_id(uint64_t key)
{
	return (uint32_t) key;
}

static inline float
hm_key_distance(uint64_t key)
{
	uint32_t	bits = (uint32_t) (key >> 32);
	float		distance;

	bits ^= (bits >> 31) ? UINT32_C(0x80000000) : UINT32_MAX;
	memcpy(&distance, &bits, sizeof(distance));
	return distance;
}

static inline HmCandidate
hm_key_candidate(uint64_t key)
{
	HmCandidate candidate;

	candidate.distance = hm_key_distance(key);
	candidate.id = hm_key_id(key);
	return candidate;
}

/* A well-mixed 64-bit hash (the finaliser of splitmix64, by Sebastiano Vigna). */
static inline uint64_t
hm_mix64(uint64_t x)
{
	x += UINT64_C(0x9E3779B97F4A7C15);
	x = (x ^ (x >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
	x = (x ^ (x >> 27)) * UINT64_C(0x94D049BB133111EB);
	return x ^ (x >> 31);
}

#endif							/* HM_GRAPH_KEY_H */
