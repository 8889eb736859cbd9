/*-------------------------------------------------------------------------
 *
 * labels.c
 *	  What graphs of other libraries call a row by.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "catalog/pg_type.h"
#include "files/extvec.h"
#include "index/attached.h"
#include "index/labels.h"
#include "index/options.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"

AttrNumber
hm_label_column(Relation table, const char *name)
{
	AttrNumber	number;
	Oid			type;

	if (name == NULL)
		return InvalidAttrNumber;
	number = get_attnum(RelationGetRelid(table), name);
	if (number == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(table))));
	type = number > 0 ? hm_label_type(table, number) : InvalidOid;
	if (type != INT8OID && type != INT4OID && type != INT2OID)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("column \"%s\" cannot hold labels", name),
				 errdetail("Its type is %s, not bigint, integer or smallint.",
						   number > 0 ? format_type_be(type) : "that of a system column")));
	return number;
}

void
hm_label_check(Relation table, Relation index, AttrNumber column)
{
	const HmOpclass *opclass = hm_opclass(index);

	if (column != InvalidAttrNumber || hm_is_attached(opclass))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("a label column must be named"),
			 errdetail("Vectors of type %s say nothing of rows of a file.", opclass->type->name),
			 errhint("Name an integer column of table \"%s\" in \"label_column\".",
					 RelationGetRelationName(table))));
}

Oid
hm_label_type(Relation table, AttrNumber column)
{
	if (column == InvalidAttrNumber)
		return InvalidOid;
	return getBaseType(TupleDescAttr(RelationGetDescr(table), column - 1)->atttypid);
}

int64
hm_label_of(Oid type, Datum value)
{
	switch (type)
	{
		case INT2OID:
			return DatumGetInt16(value);
		case INT4OID:
			return DatumGetInt32(value);
		case INT8OID:
			return DatumGetInt64(value);
		default:
			return DatumGetExtvec(value)->row;
	}
}
