/*-------------------------------------------------------------------------
 *
 * pgvector.c
 *	  Views of pgvector's types vector and halfvec, for the operator classes of
 *	  the extension hnsw_mmap_pgvector.
 *
 * Nothing of pgvector is called or included here.  Known is the layout of its
 * values, which is that of its users' files and so not likely to change: behind
 * the length word, 1 or 4 bytes, a VectorHeader, then the components, in single
 * or half precision, without gaps.  What does not look like that is refused.
 * The operators are pgvector's own, see HmTypeInfo.foreign_operators.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "compat.h"
#include "fmgr.h"
#include "types/typeinfo.h"
#include "types/varlena.h"

/* What follows the length word. */
typedef struct VectorHeader
{
	int16		dim;
	int16		unused;			/* 0 */
} VectorHeader;

static inline size_t
component_size(HmElementKind kind)
{
	return kind == HM_F16 ? sizeof(uint16) : sizeof(float4);
}

static HmVector
view_vector(const HmTypeInfo *type, Datum value, void **copied)
{
	struct varlena *bytes = PG_DETOAST_DATUM_PACKED(value);
	size_t		size = VARSIZE_ANY_EXHDR(bytes);
	VectorHeader header = {0};
	HmVector	vector;

	*copied = (Pointer) bytes == DatumGetPointer(value) ? NULL : bytes;

	if (size >= sizeof(VectorHeader))
		memcpy(&header, VARDATA_ANY(bytes), sizeof(VectorHeader));
	if (unlikely(header.dim < 1 || header.unused != 0 ||
				 size != sizeof(VectorHeader) + header.dim * component_size(type->kind)))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_CORRUPTED),
				 errmsg("value is not a well-formed %s", type->name),
				 errdetail("It has %zu bytes and says that it has %d dimensions.", size, header.dim)));
	if (unlikely(header.dim > HM_MAX_DIM))
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("%s of %d dimensions is too long for an hnsw_mmap index", type->name, header.dim),
				 errdetail("A vector has at most %d dimensions.", HM_MAX_DIM)));

	vector.dim = header.dim;
	vector.kind = type->kind;
	vector.data = VARDATA_ANY(bytes) + sizeof(VectorHeader);
	return vector;
}

static bool
view_untrusted_vector(HmElementKind kind, const char *attribute, size_t available,
					  int dim, const void **data)
{
	VectorHeader header;
	const char *bytes;
	size_t		size;

	bytes = hm_untrusted_payload(attribute, available, &size);
	if (bytes == NULL || size != sizeof(VectorHeader) + dim * component_size(kind))
		return false;

	memcpy(&header, bytes, sizeof(VectorHeader));
	if (header.dim != dim || header.unused != 0)
		return false;

	*data = bytes + sizeof(VectorHeader);
	return true;
}

static HmVector
view_single_vector(Datum value, void **copied)
{
	return view_vector(&hm_type_vector, value, copied);
}

static bool
view_untrusted_single_vector(const char *attribute, size_t available,
							 Oid element_oid, int dim, const void **data)
{
	return view_untrusted_vector(HM_F32, attribute, available, dim, data);
}

static HmVector
view_halfvec(Datum value, void **copied)
{
	return view_vector(&hm_type_halfvec, value, copied);
}

static bool
view_untrusted_halfvec(const char *attribute, size_t available,
					   Oid element_oid, int dim, const void **data)
{
	return view_untrusted_vector(HM_F16, attribute, available, dim, data);
}

const HmTypeInfo hm_type_vector = {
	.name = "vector",
	.kind = HM_F32,
	.foreign_operators = true,
	.typmod_is_dimension = true,
	.view = view_single_vector,
	.view_untrusted = view_untrusted_single_vector
};

const HmTypeInfo hm_type_halfvec = {
	.name = "halfvec",
	.kind = HM_F16,
	.foreign_operators = true,
	.typmod_is_dimension = true,
	.view = view_halfvec,
	.view_untrusted = view_untrusted_halfvec
};

HM_OPCLASS_SUPPORT(hm_vector_l2_support, hm_type_vector, HM_L2)
HM_OPCLASS_SUPPORT(hm_vector_ip_support, hm_type_vector, HM_INNER_PRODUCT)
HM_OPCLASS_SUPPORT(hm_vector_cosine_support, hm_type_vector, HM_COSINE)
HM_OPCLASS_SUPPORT(hm_halfvec_l2_support, hm_type_halfvec, HM_L2)
HM_OPCLASS_SUPPORT(hm_halfvec_ip_support, hm_type_halfvec, HM_INNER_PRODUCT)
HM_OPCLASS_SUPPORT(hm_halfvec_cosine_support, hm_type_halfvec, HM_COSINE)
