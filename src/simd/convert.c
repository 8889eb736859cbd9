/*-------------------------------------------------------------------------
 *
 * convert.c
 *	  Scalar conversions to and from half precision, for type input and output.
 *
 *-------------------------------------------------------------------------
 */
#include "simd/half.h"
#include "simd/simd.h"

uint16_t
hm_f32_to_f16(float value)
{
	return hm_float_to_half(value);
}

uint16_t
hm_f64_to_f16(double value)
{
	return hm_double_to_half(value);
}

float
hm_f16_to_f32(uint16_t value)
{
	return hm_half_to_float(value);
}
