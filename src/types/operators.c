/*-------------------------------------------------------------------------
 *
 * operators.c
 *	  Distance operators and functions on arrays.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "fmgr.h"
#include "types/typeinfo.h"

static double
array_distance(HmMetric metric, const HmTypeInfo *left_type, Datum left,
			   const HmTypeInfo *right_type, Datum right)
{
	void	   *left_copy;
	void	   *right_copy;
	HmVector	left_vector = left_type->view(left, &left_copy);
	HmVector	right_vector = right_type->view(right, &right_copy);
	double		distance;

	hm_check_dimensions(left_vector.dim, right_vector.dim);
	distance = hm_distance(metric, &left_vector, &right_vector);

	/* A sort by distance calls this once per row in one memory context. */
	if (left_copy != NULL)
		pfree(left_copy);
	if (right_copy != NULL)
		pfree(right_copy);

	return distance;
}

/*
 * The SQL functions for one pair of argument types.  The inner product with
 * its own sign is 0 minus the negative one, as minus 0 would print as -0.
 */
#define DISTANCE_FUNCTION(name, expression, metric_id, left_type, right_type) \
PG_FUNCTION_INFO_V1(name); \
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	double		distance = array_distance((metric_id), \
										  &(left_type), PG_GETARG_DATUM(0), \
										  &(right_type), PG_GETARG_DATUM(1)); \
\
	PG_RETURN_FLOAT8(expression); \
}

#define DISTANCE_FUNCTIONS(types, left_type, right_type) \
DISTANCE_FUNCTION(hm_l2_distance_##types, distance, HM_L2, left_type, right_type) \
DISTANCE_FUNCTION(hm_negative_inner_product_##types, distance, HM_INNER_PRODUCT, left_type, right_type) \
DISTANCE_FUNCTION(hm_inner_product_##types, 0.0 - distance, HM_INNER_PRODUCT, left_type, right_type) \
DISTANCE_FUNCTION(hm_cosine_distance_##types, distance, HM_COSINE, left_type, right_type)

DISTANCE_FUNCTIONS(real_real, hm_type_real_array, hm_type_real_array)
DISTANCE_FUNCTIONS(real_float2, hm_type_real_array, hm_type_float2_array)
DISTANCE_FUNCTIONS(float2_real, hm_type_float2_array, hm_type_real_array)
DISTANCE_FUNCTIONS(float2_float2, hm_type_float2_array, hm_type_float2_array)
