/*-------------------------------------------------------------------------
 *
 * typeinfo.h
 *	  What the index floors know of a column's type and operator class.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_TYPES_TYPEINFO_H
#define HM_TYPES_TYPEINFO_H

#include "postgres.h"

#include "fmgr.h"
#include "types/metric.h"

/* A SQL type whose values are vectors. */
typedef struct HmTypeInfo
{
	const char *name;			/* as in SQL, for messages */
	HmElementKind kind;

	/*
	 * The ordering operators are another extension's.  They compute what ours
	 * do by plain sums in single precision, in an order that is not known, and
	 * what they return is the exact key: see index/query.c.
	 */
	bool		foreign_operators;

	bool		typmod_is_dimension;	/* of a column declared with one */

	/*
	 * Views a non-null datum, detoasting it into the current memory context
	 * if it is compressed or out of line.  *copied is then that copy, for the
	 * caller to pfree after the view's last use, otherwise NULL and the view
	 * points into the datum.  Raises the errors that the operators raise for
	 * such a value: not one-dimensional, empty, too long, with nulls.
	 */
	HmVector	(*view) (Datum value, void **copied);

	/*
	 * Looks for a vector in bytes that nobody vouches for: a heap tuple read
	 * through mmap, perhaps torn, perhaps another row by now.  attribute is
	 * where the attribute starts, behind any alignment padding, and available
	 * is how many bytes may be read from there; any alignment will do.
	 *
	 * True only if the bytes are an inline, uncompressed vector of this type,
	 * for arrays a one-dimensional one without nulls of elements of type
	 * element_oid (see hm_element_oid), with exactly dim components, all of
	 * them inside both the value's own length and what is available.  *data is
	 * then the first.
	 * Never reads elsewhere, even if the bytes change while it looks, and
	 * never raises.  False is no proof that there is no such vector: look
	 * again through the buffer manager.
	 */
	bool		(*view_untrusted) (const char *attribute, size_t available,
								   Oid element_oid, int dim, const void **data);
} HmTypeInfo;

/* What an operator class's support function 1 returns. */
typedef struct HmOpclass
{
	const HmTypeInfo *type;		/* of the indexed column */
	HmMetric	metric;
} HmOpclass;

/*
 * Defines the support function of an operator class, internal -> internal,
 * which gives a pointer to a constant of this library.
 */
#define HM_OPCLASS_SUPPORT(name, type_info, metric_id) \
PG_FUNCTION_INFO_V1(name); \
Datum \
name(PG_FUNCTION_ARGS) \
{ \
	static const HmOpclass opclass = {.type = &(type_info), .metric = (metric_id)}; \
\
	PG_RETURN_POINTER(&opclass); \
}

extern const HmTypeInfo hm_type_real_array;
extern const HmTypeInfo hm_type_float2_array;
extern const HmTypeInfo hm_type_vector; /* pgvector's */
extern const HmTypeInfo hm_type_halfvec;

/*
 * The type of an ordering operator's right-hand argument: the column's own, or
 * the other one of real[] and float2[].  opcintype is the index's rd_opcintype,
 * subtype the scan key's sk_subtype.
 */
extern const HmTypeInfo *hm_query_type(const HmOpclass *opclass, Oid opcintype, Oid subtype);

/*
 * The element type in the headers of arrays of this type, a domain over an
 * array type included; InvalidOid if it is not an array type.  Looks into the
 * system caches: once per scan, not once per row.
 */
extern Oid	hm_element_oid(Oid vector_type);

/* Raises the operators' error for vectors of different dimensions. */
extern void hm_check_dimensions(int left, int right);

#endif							/* HM_TYPES_TYPEINFO_H */
