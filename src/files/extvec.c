/*-------------------------------------------------------------------------
 *
 * extvec.c
 *	  The SQL type extvec: a reference to a row of an attached vector file.
 *
 * A value is written as name:row, name being the server's, quoted like any
 * identifier where it has to be; or as #number:row, which needs no server.
 * Reading and comparing references does not touch the file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "common/hashfn.h"
#include "compat.h"
#include "files/extvec.h"
#include "files/file.h"
#include "files/options.h"
#include "fmgr.h"
#include "libpq/pqformat.h"
#include "parser/scansup.h"
#include "simd/simd.h"
#include "storage/guard.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Input functions can report errors without raising them from 16 on. */
#ifndef ereturn
#define ereturn(context, dummy_value, ...) ereport(ERROR, __VA_ARGS__)
#endif

#define PG_GETARG_EXTVEC(n)		DatumGetExtvec(PG_GETARG_DATUM(n))

StaticAssertDecl(sizeof(HmExtvec) == 16, "the SQL type's length is 16 bytes");

static Datum
make_extvec(uint32 file, int64 row)
{
	HmExtvec   *value = palloc0(sizeof(HmExtvec));

	value->row = row;
	value->file = file;
	return PointerGetDatum(value);
}

/* ---- Text ---- */

/* Digits only, up to max; *end is what follows them. */
static bool
read_digits(const char *text, uint64 max, uint64 *number, const char **end)
{
	const char *at = text;

	*number = 0;
	for (; *at >= '0' && *at <= '9'; at++)
	{
		uint64		digit = *at - '0';

		if (*number > (max - digit) / 10)
			return false;
		*number = *number * 10 + digit;
	}
	*end = at;
	return at > text;
}

/*
 * Reads a server's name as SQL reads an identifier: folded to lower case unless
 * quoted.  Returns NULL if there is none; *end is what follows it.
 */
static char *
read_name(const char *text, const char **end)
{
	char	   *name;
	int			length = 0;

	if (*text != '"')
	{
		*end = text + strcspn(text, ":\"");
		return *end == text ? NULL : downcase_truncate_identifier(text, *end - text, false);
	}

	name = palloc(strlen(text));
	for (text++;; text++)
	{
		if (*text == '\0')
			return NULL;
		if (*text == '"' && *++text != '"')
			break;
		name[length++] = *text;
	}
	name[length] = '\0';
	*end = text;
	if (length == 0)
		return NULL;
	truncate_identifier(name, length, false);
	return name;
}

#define NO_SUCH_FILE(name) \
	(errcode(ERRCODE_UNDEFINED_OBJECT), \
	 errmsg("no file is attached as \"%s\"", (name)), \
	 errhint("Attach one with hnsw_mmap_attach, or create a server of foreign-data wrapper \"%s\".", \
			 HM_FILE_WRAPPER))

PG_FUNCTION_INFO_V1(hm_extvec_in);
Datum
hm_extvec_in(PG_FUNCTION_ARGS)
{
	const char *text = PG_GETARG_CSTRING(0);
	const char *at = text;
	char	   *name = NULL;
	uint64		number = 0;
	uint64		row;
	bool		valid;

	if (*text == '#')
		valid = read_digits(text + 1, PG_UINT32_MAX, &number, &at) && number != 0;
	else
		valid = (name = read_name(text, &at)) != NULL;
	if (!valid || *at != ':' || !read_digits(at + 1, PG_INT64_MAX, &row, &at) || *at != '\0')
		ereturn(fcinfo->context, (Datum) 0,
				(errcode(ERRCODE_INVALID_TEXT_REPRESENTATION),
				 errmsg("invalid input syntax for type %s: \"%s\"", "extvec", text),
				 *text == '{' || *text == '[' ?
				 errhint("A vector to compare with has to be typed: '{...}'::real[].") :
				 errdetail("Expected the name of an attached file, a colon and the number of a row.")));

	if (name != NULL && (number = hm_file_number(name)) == 0)
		ereturn(fcinfo->context, (Datum) 0, NO_SUCH_FILE(name));
	return make_extvec((uint32) number, (int64) row);
}

PG_FUNCTION_INFO_V1(hm_extvec_out);
Datum
hm_extvec_out(PG_FUNCTION_ARGS)
{
	const HmExtvec *value = PG_GETARG_EXTVEC(0);
	const char *name = hm_file_server_name(value->file);

	if (name == NULL)
		PG_RETURN_CSTRING(psprintf("#%u:" INT64_FORMAT, value->file, value->row));
	PG_RETURN_CSTRING(psprintf("%s:" INT64_FORMAT, quote_identifier(name), value->row));
}

/* ---- Binary: the row and the file's number, in network order ---- */

PG_FUNCTION_INFO_V1(hm_extvec_recv);
Datum
hm_extvec_recv(PG_FUNCTION_ARGS)
{
	StringInfo	message = (StringInfo) PG_GETARG_POINTER(0);
	int64		row = pq_getmsgint64(message);
	uint32		file = pq_getmsgint(message, sizeof(uint32));

	if (row < 0 || file == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
				 errmsg("invalid binary representation of type %s", "extvec"),
				 errdetail("Row " INT64_FORMAT " of file number %u.", row, file)));
	return make_extvec(file, row);
}

PG_FUNCTION_INFO_V1(hm_extvec_send);
Datum
hm_extvec_send(PG_FUNCTION_ARGS)
{
	const HmExtvec *value = PG_GETARG_EXTVEC(0);
	StringInfoData message;

	pq_begintypsend(&message);
	pq_sendint64(&message, value->row);
	pq_sendint32(&message, value->file);
	PG_RETURN_BYTEA_P(pq_endtypsend(&message));
}

/* ---- Making and taking apart ---- */

PG_FUNCTION_INFO_V1(hm_sql_extvec);
Datum
hm_sql_extvec(PG_FUNCTION_ARGS)
{
	const char *name = NameStr(*PG_GETARG_NAME(0));
	int64		row = PG_GETARG_INT64(1);
	uint32		number = hm_file_number(name);

	if (number == 0)
		ereport(ERROR, NO_SUCH_FILE(name));
	if (row < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("row number " INT64_FORMAT " is negative", row),
				 errdetail("The rows of a file are counted from 0.")));
	return make_extvec(number, row);
}

/* NULL if no server has that number, or two have. */
PG_FUNCTION_INFO_V1(hm_extvec_file);
Datum
hm_extvec_file(PG_FUNCTION_ARGS)
{
	const char *name = hm_file_server_name(PG_GETARG_EXTVEC(0)->file);

	if (name == NULL)
		PG_RETURN_NULL();
	return DirectFunctionCall1(namein, CStringGetDatum(name));
}

PG_FUNCTION_INFO_V1(hm_extvec_number);
Datum
hm_extvec_number(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(PG_GETARG_EXTVEC(0)->file);
}

PG_FUNCTION_INFO_V1(hm_extvec_row);
Datum
hm_extvec_row(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT64(PG_GETARG_EXTVEC(0)->row);
}

/* ---- Comparison and hashing ---- */

/* By file number, then by row. */
static inline int
extvec_compare(const HmExtvec *left, const HmExtvec *right)
{
	if (left->file != right->file)
		return left->file < right->file ? -1 : 1;
	return left->row == right->row ? 0 : left->row < right->row ? -1 : 1;
}

#define EXTVEC_COMPARISON(name, operator) \
PG_FUNCTION_INFO_V1(name); \
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	PG_RETURN_BOOL(extvec_compare(PG_GETARG_EXTVEC(0), PG_GETARG_EXTVEC(1)) operator 0); \
}

EXTVEC_COMPARISON(hm_extvec_lt, <)
EXTVEC_COMPARISON(hm_extvec_le, <=)
EXTVEC_COMPARISON(hm_extvec_eq, ==)
EXTVEC_COMPARISON(hm_extvec_ne, !=)
EXTVEC_COMPARISON(hm_extvec_ge, >=)
EXTVEC_COMPARISON(hm_extvec_gt, >)

PG_FUNCTION_INFO_V1(hm_extvec_cmp);
Datum
hm_extvec_cmp(PG_FUNCTION_ARGS)
{
	PG_RETURN_INT32(extvec_compare(PG_GETARG_EXTVEC(0), PG_GETARG_EXTVEC(1)));
}

PG_FUNCTION_INFO_V1(hm_extvec_hash);
Datum
hm_extvec_hash(PG_FUNCTION_ARGS)
{
	return hash_any((const unsigned char *) PG_GETARG_EXTVEC(0), sizeof(HmExtvec));
}

PG_FUNCTION_INFO_V1(hm_extvec_hash_extended);
Datum
hm_extvec_hash_extended(PG_FUNCTION_ARGS)
{
	return hash_any_extended((const unsigned char *) PG_GETARG_EXTVEC(0), sizeof(HmExtvec), PG_GETARG_INT64(1));
}

/* ---- The vector ---- */

static HmVector
view_extvec(Datum value, void **copied)
{
	const HmExtvec *reference = DatumGetExtvec(value);
	HmFile	   *file = hm_file_acquire(reference->file);
	HmVector	vector;

	*copied = palloc(hm_file_row_size(file));
	hm_file_read(file, (uint64) reference->row, *copied);
	vector.dim = file->dim;
	vector.kind = file->kind;
	vector.data = *copied;
	return vector;
}

const HmTypeInfo hm_type_extvec = {
	.name = "extvec",
	.kind = 0,
	.view = view_extvec,
	.view_untrusted = NULL
};

PG_FUNCTION_INFO_V1(hm_extvec_to_real_array);
Datum
hm_extvec_to_real_array(PG_FUNCTION_ARGS)
{
	void	   *copied;
	HmVector	vector = view_extvec(PG_GETARG_DATUM(0), &copied);
	size_t		size = ARR_OVERHEAD_NONULLS(1) + vector.dim * sizeof(float4);
	ArrayType  *array = palloc0(size);

	SET_VARSIZE(array, size);
	array->ndim = 1;
	array->elemtype = FLOAT4OID;
	ARR_DIMS(array)[0] = vector.dim;
	ARR_LBOUND(array)[0] = 1;
	if (vector.kind == HM_F16)
		hm_kernels->f16_to_f32(vector.data, (float *) ARR_DATA_PTR(array), vector.dim);
	else
		memcpy(ARR_DATA_PTR(array), vector.data, vector.dim * sizeof(float4));
	pfree(copied);
	PG_RETURN_ARRAYTYPE_P(array);
}

/* ---- Distances ---- */

/* One argument: a vector in memory, or a row of a file that is read in place. */
typedef struct Operand
{
	HmVector	vector;
	HmFile	   *file;			/* NULL: in memory */
	uint64		row;
	void	   *copied;
} Operand;

typedef struct Comparison
{
	HmMetric	metric;
	Operand		left;
	Operand		right;
	double		distance;
	bool		sound;
} Comparison;

static void
take_operand(Operand *operand, const HmTypeInfo *type, Datum value)
{
	operand->file = NULL;
	operand->copied = NULL;
	if (type != &hm_type_extvec)
	{
		operand->vector = type->view(value, &operand->copied);
		return;
	}
	operand->file = hm_file_acquire(DatumGetExtvec(value)->file);
	operand->row = (uint64) DatumGetExtvec(value)->row;
	if (operand->row >= operand->file->rows)
		hm_file_no_such_row(operand->file, DatumGetExtvec(value)->row);
	operand->vector.dim = operand->file->dim;
	operand->vector.kind = operand->file->kind;
	operand->vector.data = hm_file_row(operand->file, operand->row);
}

static inline bool
is_sound(const Operand *operand)
{
	return operand->file == NULL || hm_file_row_is_sound(operand->file, operand->row);
}

/* Runs inside hm_guarded_call. */
static void
compare(void *argument)
{
	Comparison *comparison = argument;

	comparison->sound = is_sound(&comparison->left) && is_sound(&comparison->right);
	comparison->distance = hm_distance(comparison->metric, &comparison->left.vector, &comparison->right.vector);
}

static double
distance(HmMetric metric, const HmTypeInfo *left_type, Datum left,
		 const HmTypeInfo *right_type, Datum right)
{
	Comparison	comparison;

	comparison.metric = metric;
	take_operand(&comparison.left, left_type, left);
	take_operand(&comparison.right, right_type, right);
	hm_check_dimensions(comparison.left.vector.dim, comparison.right.vector.dim);

	if (!hm_guarded_call(compare, &comparison))
		hm_file_fault();
	if (unlikely(!comparison.sound))
	{
		/* Which of them it was shows in reading it. */
		void	   *scratch = palloc(HM_MAX_DIM * sizeof(float4));

		if (comparison.left.file != NULL)
			hm_file_read(comparison.left.file, comparison.left.row, scratch);
		if (comparison.right.file != NULL)
			hm_file_read(comparison.right.file, comparison.right.row, scratch);
		elog(ERROR, "a row of an attached file changed while it was read");
	}

	/* A sort by distance calls this once per row in one memory context. */
	if (comparison.left.copied != NULL)
		pfree(comparison.left.copied);
	if (comparison.right.copied != NULL)
		pfree(comparison.right.copied);
	return comparison.distance;
}

/*
 * The SQL functions for one pair of argument types, as in types/operators.c.
 * The inner product is 0 minus the negative one, as minus 0 would print as -0.
 */
#define DISTANCE_FUNCTION(name, expression, metric_id, left_type, right_type) \
PG_FUNCTION_INFO_V1(name); \
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	double		d = distance((metric_id), &(left_type), PG_GETARG_DATUM(0), \
							 &(right_type), PG_GETARG_DATUM(1)); \
\
	PG_RETURN_FLOAT8(expression); \
}

#define DISTANCE_FUNCTIONS(types, left_type, right_type) \
DISTANCE_FUNCTION(hm_l2_distance_##types, d, HM_L2, left_type, right_type) \
DISTANCE_FUNCTION(hm_negative_inner_product_##types, d, HM_INNER_PRODUCT, left_type, right_type) \
DISTANCE_FUNCTION(hm_inner_product_##types, 0.0 - d, HM_INNER_PRODUCT, left_type, right_type) \
DISTANCE_FUNCTION(hm_cosine_distance_##types, d, HM_COSINE, left_type, right_type)

DISTANCE_FUNCTIONS(extvec_extvec, hm_type_extvec, hm_type_extvec)
DISTANCE_FUNCTIONS(extvec_real, hm_type_extvec, hm_type_real_array)
DISTANCE_FUNCTIONS(real_extvec, hm_type_real_array, hm_type_extvec)
DISTANCE_FUNCTIONS(extvec_float2, hm_type_extvec, hm_type_float2_array)
DISTANCE_FUNCTIONS(float2_extvec, hm_type_float2_array, hm_type_extvec)
