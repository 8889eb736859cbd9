/*-------------------------------------------------------------------------
 *
 * typeinfo.c
 *	  Views of arrays as vectors, and the operator classes' descriptions.
 *
 * An array without nulls of one dimension is its length word, 1 or 4 bytes,
 * then an ArrayHeader, then its elements without gaps.  A short array in a
 * tuple has the 1-byte length word and no alignment at all; reading it where
 * it lies saves the copy that PG_GETARG_ARRAYTYPE_P would make.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "compat.h"
#include "fmgr.h"
#include "types/typeinfo.h"
#include "types/varlena.h"
#include "utils/array.h"
#include "utils/lsyscache.h"

/* What follows the length word of an ArrayType with one dimension. */
typedef struct ArrayHeader
{
	int32		ndim;
	int32		dataoffset;		/* 0, or where the data start behind a null bitmap */
	Oid			element_oid;
	int32		dim;
	int32		lower_bound;	/* of no meaning to a vector */
} ArrayHeader;

StaticAssertDecl(offsetof(ArrayType, ndim) == VARHDRSZ &&
				 offsetof(ArrayType, dataoffset) == VARHDRSZ + offsetof(ArrayHeader, dataoffset) &&
				 offsetof(ArrayType, elemtype) == VARHDRSZ + offsetof(ArrayHeader, element_oid) &&
				 sizeof(ArrayType) == VARHDRSZ + offsetof(ArrayHeader, dim),
				 "ArrayHeader must match ArrayType");
StaticAssertDecl(ARR_OVERHEAD_NONULLS(1) == VARHDRSZ + sizeof(ArrayHeader),
				 "a one-dimensional array's data must follow its header");

/* What an array is, as a vector. */
typedef enum ArrayShape
{
	ARRAY_IS_VECTOR,
	ARRAY_IS_EMPTY,
	ARRAY_HAS_DIMENSIONS,		/* more than one */
	ARRAY_HAS_NULLS,
	ARRAY_IS_TOO_LONG,
	ARRAY_IS_MALFORMED			/* not the bytes of an array of such elements */
} ArrayShape;

static size_t
element_size(HmElementKind kind)
{
	return kind == HM_F16 ? sizeof(uint16) : sizeof(float4);
}

static bool
bitmap_has_nulls(const bits8 *bitmap, int dim)
{
	for (int i = 0; i < dim; i++)
	{
		if ((bitmap[i / 8] & (1 << (i % 8))) == 0)
			return true;
	}
	return false;
}

/*
 * Finds the elements of an array, given the size bytes behind its length word.
 * *header is filled as far as the shape says that it is meaningful.  Nothing
 * is read outside those bytes, and every number is used only after it was
 * copied and checked, so that bytes that change meanwhile do no harm.
 */
static ArrayShape
parse_array(const char *bytes, size_t size, HmElementKind kind,
			ArrayHeader *header, const char **elements)
{
	size_t		start = sizeof(ArrayHeader);

	/* An array of no dimensions ends here. */
	if (size < offsetof(ArrayHeader, dim))
		return ARRAY_IS_MALFORMED;
	memcpy(header, bytes, offsetof(ArrayHeader, dim));
	if (header->ndim < 0 || header->ndim > MAXDIM)
		return ARRAY_IS_MALFORMED;
	if (header->ndim == 0)
		return ARRAY_IS_EMPTY;
	if (header->ndim > 1)
		return ARRAY_HAS_DIMENSIONS;

	if (size < sizeof(ArrayHeader))
		return ARRAY_IS_MALFORMED;
	memcpy(header, bytes, sizeof(ArrayHeader));
	if (header->dim < 0)
		return ARRAY_IS_MALFORMED;
	if (header->dim == 0)
		return ARRAY_IS_EMPTY;
	if (header->dim > HM_MAX_DIM)
		return ARRAY_IS_TOO_LONG;

	if (header->dataoffset != 0)
	{
		size_t		bitmap_end = sizeof(ArrayHeader) + (header->dim + 7) / 8;

		if (header->dataoffset < 0 || bitmap_end > size ||
			header->dataoffset < VARHDRSZ + bitmap_end)
			return ARRAY_IS_MALFORMED;
		/* An array keeps its bitmap when its last null is overwritten. */
		if (bitmap_has_nulls((const bits8 *) bytes + sizeof(ArrayHeader), header->dim))
			return ARRAY_HAS_NULLS;
		start = header->dataoffset - VARHDRSZ;
	}

	if (start > size || size - start < header->dim * element_size(kind))
		return ARRAY_IS_MALFORMED;
	*elements = bytes + start;
	return ARRAY_IS_VECTOR;
}

static void
report_shape(ArrayShape shape, const HmTypeInfo *type, const ArrayHeader *header)
{
	switch (shape)
	{
		case ARRAY_IS_VECTOR:
			break;
		case ARRAY_IS_EMPTY:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("array must not be empty"),
					 errdetail("A vector has at least 1 dimension.")));
			break;
		case ARRAY_HAS_DIMENSIONS:
			ereport(ERROR,
					(errcode(ERRCODE_ARRAY_SUBSCRIPT_ERROR),
					 errmsg("array must be one-dimensional to be a vector"),
					 errdetail("The array has %d dimensions.", header->ndim)));
			break;
		case ARRAY_HAS_NULLS:
			ereport(ERROR,
					(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
					 errmsg("array must not contain nulls to be a vector")));
			break;
		case ARRAY_IS_TOO_LONG:
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("array of %d elements is too long to be a vector", header->dim),
					 errdetail("A vector has at most %d dimensions.", HM_MAX_DIM)));
			break;
		case ARRAY_IS_MALFORMED:
			ereport(ERROR,
					(errcode(ERRCODE_DATA_CORRUPTED),
					 errmsg("value is not a well-formed array of type %s", type->name)));
			break;
	}
}

static HmVector
view_array(const HmTypeInfo *type, Datum value, void **copied)
{
	struct varlena *array = PG_DETOAST_DATUM_PACKED(value);
	ArrayHeader header;
	const char *elements;
	ArrayShape	shape;
	HmVector	vector;

	*copied = (Pointer) array == DatumGetPointer(value) ? NULL : array;

	shape = parse_array(VARDATA_ANY(array), VARSIZE_ANY_EXHDR(array), type->kind,
						&header, &elements);
	if (unlikely(shape != ARRAY_IS_VECTOR))
		report_shape(shape, type, &header);

	vector.dim = header.dim;
	vector.kind = type->kind;
	vector.data = elements;
	return vector;
}

static bool
view_untrusted_array(HmElementKind kind, const char *attribute, size_t available,
					 Oid element_oid, int dim, const void **data)
{
	ArrayHeader header;
	const char *bytes;
	size_t		size;

	/*
	 * Whatever the bytes say, the elements looked for are dim in number and
	 * follow the header at once: an array with a null bitmap, which never
	 * comes from array input, is left to the caller's slow path.
	 */
	bytes = hm_untrusted_payload(attribute, available, &size);
	if (bytes == NULL || size < sizeof(ArrayHeader) ||
		size - sizeof(ArrayHeader) < dim * element_size(kind))
		return false;

	memcpy(&header, bytes, sizeof(ArrayHeader));
	if (header.ndim != 1 || header.dataoffset != 0 ||
		header.element_oid != element_oid || header.dim != dim)
		return false;

	*data = bytes + sizeof(ArrayHeader);
	return true;
}

static HmVector
view_real_array(Datum value, void **copied)
{
	return view_array(&hm_type_real_array, value, copied);
}

static bool
view_untrusted_real_array(const char *attribute, size_t available,
						  Oid element_oid, int dim, const void **data)
{
	return view_untrusted_array(HM_F32, attribute, available, element_oid, dim, data);
}

static HmVector
view_float2_array(Datum value, void **copied)
{
	return view_array(&hm_type_float2_array, value, copied);
}

static bool
view_untrusted_float2_array(const char *attribute, size_t available,
							Oid element_oid, int dim, const void **data)
{
	return view_untrusted_array(HM_F16, attribute, available, element_oid, dim, data);
}

const HmTypeInfo hm_type_real_array = {
	.name = "real[]",
	.kind = HM_F32,
	.view = view_real_array,
	.view_untrusted = view_untrusted_real_array
};

const HmTypeInfo hm_type_float2_array = {
	.name = "float2[]",
	.kind = HM_F16,
	.view = view_float2_array,
	.view_untrusted = view_untrusted_float2_array
};

const HmTypeInfo *
hm_query_type(const HmOpclass *opclass, Oid opcintype, Oid subtype)
{
	if (subtype == InvalidOid || subtype == opcintype)
		return opclass->type;
	/* The operator families hold no other operators between types than these. */
	return subtype == FLOAT4ARRAYOID ? &hm_type_real_array : &hm_type_float2_array;
}

Oid
hm_element_oid(Oid vector_type)
{
	return get_element_type(getBaseType(vector_type));
}

void
hm_check_dimensions(int left, int right)
{
	if (unlikely(left != right))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("different vector dimensions %d and %d", left, right)));
}

HM_OPCLASS_SUPPORT(hm_real_l2_support, hm_type_real_array, HM_L2)
HM_OPCLASS_SUPPORT(hm_real_ip_support, hm_type_real_array, HM_INNER_PRODUCT)
HM_OPCLASS_SUPPORT(hm_real_cosine_support, hm_type_real_array, HM_COSINE)
HM_OPCLASS_SUPPORT(hm_float2_l2_support, hm_type_float2_array, HM_L2)
HM_OPCLASS_SUPPORT(hm_float2_ip_support, hm_type_float2_array, HM_INNER_PRODUCT)
HM_OPCLASS_SUPPORT(hm_float2_cosine_support, hm_type_float2_array, HM_COSINE)
