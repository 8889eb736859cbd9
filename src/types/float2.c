/*-------------------------------------------------------------------------
 *
 * float2.c
 *	  The SQL type float2: a number in IEEE half precision (binary16).
 *
 * Its purpose is float2[], an array of half the size of real[] that every
 * client can read and write.  It follows real in everything but precision,
 * with one exception: a number too small to be told from zero becomes zero
 * instead of an error, because components of embeddings are that small now
 * and then, and mean zero.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <ctype.h>
#include <math.h>

#include "base.h"
#include "common/hashfn.h"
#include "common/shortest_dec.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "simd/simd.h"
#include "utils/builtins.h"
#include "utils/float.h"
#include "utils/sortsupport.h"

/* Input functions can report errors without raising them from 16 on. */
#ifndef ereturn
#define ereturn(context, dummy_value, ...) ereport(ERROR, __VA_ARGS__)
#endif

#define FLOAT2_SIGN			0x8000
#define FLOAT2_INFINITY		0x7c00	/* magnitudes above are NaN */
#define FLOAT2_DIG			3	/* decimal digits that survive text -> float2 -> text */
#define FLOAT2_MAX_TEXT		"65504"

/*
 * A pass-by-value datum read from a tuple is sign-extended (see fetch_att),
 * and datums are compared whole in places: make ours the same way.
 */
#define DatumGetFloat2(datum)	((uint16) DatumGetInt16(datum))
#define Float2GetDatum(bits)	Int16GetDatum((int16) (bits))

#define PG_GETARG_FLOAT2(n)		DatumGetFloat2(PG_GETARG_DATUM(n))
#define PG_RETURN_FLOAT2(bits)	return Float2GetDatum(bits)

static inline bool
is_infinity(uint16 bits)
{
	return (bits & ~FLOAT2_SIGN) == FLOAT2_INFINITY;
}

/* Text */

/*
 * Reads what float8in would, rounding the nearest double to the nearest
 * float2.  node is where a soft error goes, if that is wanted.
 */
static Datum
parse_float2(const char *string, Node *node)
{
	const char *start = string;
	char	   *end;
	double		value;
	uint16		bits;

	while (isspace((unsigned char) *start))
		start++;

	/* The C library's strtod also reads NaN and Infinity, in any case. */
	errno = 0;
	value = strtod(start, &end);
	while (end != start && isspace((unsigned char) *end))
		end++;
	if (end == start || *end != '\0')
		ereturn(node, (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "float2", string)));

	/* A number beyond double precision has become infinite, with an errno. */
	bits = hm_f64_to_f16(value);
	if (is_infinity(bits) && (!isinf(value) || errno == ERANGE))
		ereturn(node, (Datum) 0,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("\"%s\" is out of range for type %s", string, "float2"),
				 errdetail("The largest finite value is %s.", FLOAT2_MAX_TEXT)));
	PG_RETURN_FLOAT2(bits);
}

PG_FUNCTION_INFO_V1(hm_float2_in);
Datum
hm_float2_in(PG_FUNCTION_ARGS)
{
	return parse_float2(PG_GETARG_CSTRING(0), fcinfo->context);
}

/*
 * The decimal with the fewest digits that reads back as the same float2, and
 * of those the nearest to it.  Whole numbers are kept exact, as real does:
 * 65504, although 65500 would read back as the same.
 *
 * The arithmetic is exact: a float2 that is not whole lies below 1024, has 11
 * significant bits and needs at most 8 decimal places, so its product with a
 * power of ten fits into a double, and the quotient is what strtod would make
 * of the text.
 */
static double
shortest_decimal(uint16 bits)
{
	double		value = hm_f16_to_f32(bits);
	double		decimal = trunc(value);
	double		scale = 1.0;

	if (decimal == value)
		return value;

	/*
	 * Ties round away from zero: behind a power of two the float2s lie further
	 * apart, and one more decimal reads back (0.01563, not 0.01562, does as 1/64).
	 */
	while (hm_f64_to_f16(decimal) != bits)
	{
		scale *= 10.0;
		decimal = round(value * scale) / scale;
	}
	return decimal;
}

/* In so many digits, or the shortest text that reads back as the same if that is 0. */
static char *
print_float2(uint16 bits, int digits)
{
	double		value = hm_f16_to_f32(bits);
	char	   *string;

	if (isnan(value))
		return pstrdup("NaN");
	if (isinf(value))
		return pstrdup(value > 0 ? "Infinity" : "-Infinity");
	if (digits > 0)
		return psprintf("%.*g", digits, value);

	/* A decimal of so few digits is also the shortest one for its float. */
	string = palloc(FLOAT_SHORTEST_DECIMAL_LEN);
	float_to_shortest_decimal_buf((float) shortest_decimal(bits), string);
	return string;
}

PG_FUNCTION_INFO_V1(hm_float2_out);
Datum
hm_float2_out(PG_FUNCTION_ARGS)
{
	int			digits = 0;

	if (extra_float_digits <= 0)
		digits = Max(FLOAT2_DIG + extra_float_digits, 1);
	PG_RETURN_CSTRING(print_float2(PG_GETARG_FLOAT2(0), digits));
}

/* Binary: the two bytes in network order */

PG_FUNCTION_INFO_V1(hm_float2_recv);
Datum
hm_float2_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);

	PG_RETURN_FLOAT2(pq_getmsgint(message, sizeof(uint16)));
}

PG_FUNCTION_INFO_V1(hm_float2_send);
Datum
hm_float2_send(PG_FUNCTION_ARGS)
{
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendint16(&message, PG_GETARG_FLOAT2(0));
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

/* Casts */

PG_FUNCTION_INFO_V1(hm_float2_to_float4);
Datum
hm_float2_to_float4(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT4(hm_f16_to_f32(PG_GETARG_FLOAT2(0)));
}

PG_FUNCTION_INFO_V1(hm_float2_to_float8);
Datum
hm_float2_to_float8(PG_FUNCTION_ARGS)
{
	PG_RETURN_FLOAT8((float8) hm_f16_to_f32(PG_GETARG_FLOAT2(0)));
}

/* To whole numbers as real does: to nearest, and an error out of their range. */
static inline Datum
float2_to_whole(PGFunction from_float4, uint16 bits)
{
	return DirectFunctionCall1(from_float4, Float4GetDatum(hm_f16_to_f32(bits)));
}

PG_FUNCTION_INFO_V1(hm_float2_to_int2);
Datum
hm_float2_to_int2(PG_FUNCTION_ARGS)
{
	return float2_to_whole(ftoi2, PG_GETARG_FLOAT2(0));
}

PG_FUNCTION_INFO_V1(hm_float2_to_int4);
Datum
hm_float2_to_int4(PG_FUNCTION_ARGS)
{
	return float2_to_whole(ftoi4, PG_GETARG_FLOAT2(0));
}

PG_FUNCTION_INFO_V1(hm_float2_to_int8);
Datum
hm_float2_to_int8(PG_FUNCTION_ARGS)
{
	return float2_to_whole(ftoi8, PG_GETARG_FLOAT2(0));
}

/* To numeric the shortest text, so that 0.1 stays 0.1. */
PG_FUNCTION_INFO_V1(hm_float2_to_numeric);
Datum
hm_float2_to_numeric(PG_FUNCTION_ARGS)
{
	char	   *string = print_float2(PG_GETARG_FLOAT2(0), 0);

	return DirectFunctionCall3(numeric_in, CStringGetDatum(string),
							   ObjectIdGetDatum(InvalidOid), Int32GetDatum(-1));
}

static Datum
round_to_float2(double value)
{
	uint16		bits = hm_f64_to_f16(value);

	if (unlikely(is_infinity(bits) && !isinf(value)))
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("\"%g\" is out of range for type %s", value, "float2"),
				 errdetail("The largest finite value is %s.", FLOAT2_MAX_TEXT)));
	PG_RETURN_FLOAT2(bits);
}

PG_FUNCTION_INFO_V1(hm_float4_to_float2);
Datum
hm_float4_to_float2(PG_FUNCTION_ARGS)
{
	return round_to_float2(PG_GETARG_FLOAT4(0));
}

PG_FUNCTION_INFO_V1(hm_float8_to_float2);
Datum
hm_float8_to_float2(PG_FUNCTION_ARGS)
{
	return round_to_float2(PG_GETARG_FLOAT8(0));
}

PG_FUNCTION_INFO_V1(hm_int2_to_float2);
Datum
hm_int2_to_float2(PG_FUNCTION_ARGS)
{
	return round_to_float2(PG_GETARG_INT16(0));
}

PG_FUNCTION_INFO_V1(hm_int4_to_float2);
Datum
hm_int4_to_float2(PG_FUNCTION_ARGS)
{
	return round_to_float2(PG_GETARG_INT32(0));
}

PG_FUNCTION_INFO_V1(hm_int8_to_float2);
Datum
hm_int8_to_float2(PG_FUNCTION_ARGS)
{
	return round_to_float2((double) PG_GETARG_INT64(0));
}

PG_FUNCTION_INFO_V1(hm_numeric_to_float2);
Datum
hm_numeric_to_float2(PG_FUNCTION_ARGS)
{
	char	   *string = DatumGetCString(DirectFunctionCall1(numeric_out, PG_GETARG_DATUM(0)));

	return parse_float2(string, NULL);
}

/* Comparison and hashing */

/*
 * An integer that orders as the number does: NaNs are equal and greater than
 * all else, -0 equals 0.
 */
static inline int
float2_order(uint16 bits)
{
	int			magnitude = bits & ~FLOAT2_SIGN;

	if (magnitude > FLOAT2_INFINITY)
		return FLOAT2_INFINITY + 1;
	return (bits & FLOAT2_SIGN) != 0 ? -magnitude : magnitude;
}

static inline int
float2_compare(Datum left, Datum right)
{
	return float2_order(DatumGetFloat2(left)) - float2_order(DatumGetFloat2(right));
}

#define FLOAT2_COMPARISON(name, operator) \
PG_FUNCTION_INFO_V1(name); \
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	PG_RETURN_BOOL(float2_compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)) operator 0); \
}

FLOAT2_COMPARISON(hm_float2_lt, <)
FLOAT2_COMPARISON(hm_float2_le, <=)
FLOAT2_COMPARISON(hm_float2_eq, ==)
FLOAT2_COMPARISON(hm_float2_ne, !=)
FLOAT2_COMPARISON(hm_float2_ge, >=)
FLOAT2_COMPARISON(hm_float2_gt, >)

PG_FUNCTION_INFO_V1(hm_float2_cmp);
Datum
hm_float2_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(float2_compare(PG_GETARG_DATUM(0), PG_GETARG_DATUM(1)));
}

static int
float2_sort_comparator(Datum left, Datum right, SortSupport ssup)
{
	return float2_compare(left, right);
}

PG_FUNCTION_INFO_V1(hm_float2_sortsupport);
Datum
hm_float2_sortsupport(PG_FUNCTION_ARGS)
{
	SortSupport ssup = (SortSupport) PG_GETARG_POINTER(0);

	ssup->comparator = float2_sort_comparator;
	PG_RETURN_VOID();
}

PG_FUNCTION_INFO_V1(hm_float2_hash);
Datum
hm_float2_hash(PG_FUNCTION_ARGS)
{
	return hash_uint32((uint32) float2_order(PG_GETARG_FLOAT2(0)));
}

PG_FUNCTION_INFO_V1(hm_float2_hash_extended);
Datum
hm_float2_hash_extended(PG_FUNCTION_ARGS)
{
	return hash_uint32_extended((uint32) float2_order(PG_GETARG_FLOAT2(0)), PG_GETARG_INT64(1));
}
