/*-------------------------------------------------------------------------
 *
 * half.h
 *	  Scalar conversions between IEEE binary16 and wider formats, inline.
 *
 * Private to src/simd.  The results are those of the hardware instructions
 * (F16C, AVX-512, FCVTN/FCVTL), bit for bit, NaN payloads included.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_SIMD_HALF_H
#define HM_SIMD_HALF_H

#include <string.h>

#include "base.h"

#define HM_HALF_SIGN		0x8000
#define HM_HALF_INFINITY	0x7c00
#define HM_HALF_QUIET_NAN	0x7e00

/* Fraction bits of each format, and the range of binary16's exponents. */
#define HM_HALF_FRACTION_BITS	10
#define HM_DOUBLE_FRACTION_BITS	52
#define HM_DOUBLE_BIAS			1023
#define HM_HALF_MAX_EXPONENT	15
#define HM_HALF_MIN_EXPONENT	(-14)	/* of a normal number */

static inline float
hm_half_to_float(uint16_t half)
{
	uint32_t	sign = (uint32_t) (half & HM_HALF_SIGN) << 16;
	uint32_t	magnitude = half & ~HM_HALF_SIGN;
	uint32_t	bits;
	float		value;

	if (HM_UNLIKELY(magnitude >= HM_HALF_INFINITY))
	{
		bits = UINT32_C(0x7f800000) | magnitude << 13;
		if (magnitude > HM_HALF_INFINITY)
			bits |= UINT32_C(0x00400000);	/* quiet a signalling NaN */
	}
	else
	{
		/*
		 * With its fraction moved into place, a half reads as a float whose
		 * exponent is too small by the difference of the biases, 127 - 15.
		 * Multiplying by a power of two is exact, and turns the subnormals of
		 * one format into normal numbers of the other.
		 */
		bits = magnitude << 13;
		memcpy(&value, &bits, sizeof(value));
		value *= 0x1p112f;
		memcpy(&bits, &value, sizeof(bits));
	}

	bits |= sign;
	memcpy(&value, &bits, sizeof(value));
	return value;
}

/*
 * Rounds to nearest, ties to even, in integer arithmetic.  Going from double
 * to half by way of float would round twice: 1 + 2^-11 + 2^-40 becomes the tie
 * 1 + 2^-11 as a float, then 1, though 1 + 2^-10 is nearer.
 */
static inline uint16_t
hm_double_to_half(double value)
{
	uint64_t	bits;
	uint64_t	significand;
	uint64_t	remainder;
	uint64_t	tie;
	uint16_t	sign;
	uint16_t	half;
	int			exponent;
	int			dropped = HM_DOUBLE_FRACTION_BITS - HM_HALF_FRACTION_BITS;

	memcpy(&bits, &value, sizeof(bits));
	sign = (uint16_t) (bits >> 48) & HM_HALF_SIGN;
	exponent = (int) (bits >> HM_DOUBLE_FRACTION_BITS & 0x7ff) - HM_DOUBLE_BIAS;
	significand = bits & ((UINT64_C(1) << HM_DOUBLE_FRACTION_BITS) - 1);

	if (exponent > HM_HALF_MAX_EXPONENT)
	{
		if (exponent == HM_DOUBLE_BIAS + 1 && significand != 0)
			return sign | HM_HALF_QUIET_NAN | (uint16_t) (significand >> dropped);
		return sign | HM_HALF_INFINITY;
	}

	/* Less than half of the smallest subnormal; doubles' own are among them. */
	if (exponent < HM_HALF_MIN_EXPONENT - HM_HALF_FRACTION_BITS - 1)
		return sign;

	significand |= UINT64_C(1) << HM_DOUBLE_FRACTION_BITS;
	if (exponent < HM_HALF_MIN_EXPONENT)
	{
		dropped += HM_HALF_MIN_EXPONENT - exponent;
		half = (uint16_t) (significand >> dropped);
	}
	else
	{
		/* The leading 1 of the significand adds the 1 missing in the exponent. */
		half = (uint16_t) ((exponent - HM_HALF_MIN_EXPONENT) << HM_HALF_FRACTION_BITS);
		half += (uint16_t) (significand >> dropped);
	}

	/* A carry goes into the exponent, and from the largest number to infinity. */
	remainder = significand & ((UINT64_C(1) << dropped) - 1);
	tie = UINT64_C(1) << (dropped - 1);
	if (remainder > tie || (remainder == tie && (half & 1) != 0))
		half++;

	return sign | half;
}

/* A float is a double without any rounding, so this rounds once. */
static inline uint16_t
hm_float_to_half(float value)
{
	return hm_double_to_half((double) value);
}

#endif							/* HM_SIMD_HALF_H */
