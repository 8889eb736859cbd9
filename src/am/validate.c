/*-------------------------------------------------------------------------
 *
 * validate.c
 *	  amvalidate(): are an operator class and its family complete and sound?
 *
 * A family holds operator classes of one metric.  An operator class needs
 *
 *		operator 1		ORDER BY column <operator> query; returns float8, sorts
 *						by a btree family for float8.  The query may also be of
 *						another type than the column
 *		function 1		(internal) returns internal: its HmOpclass
 *
 * Signatures are all that can be checked from here: what a support function
 * returns is for its author to get right, and only superusers make operator
 * classes.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/amvalidate.h"
#include "access/htup_details.h"
#include "am/am.h"
#include "catalog/pg_amop.h"
#include "catalog/pg_amproc.h"
#include "catalog/pg_opclass.h"
#include "catalog/pg_opfamily.h"
#include "catalog/pg_type.h"
#include "utils/builtins.h"
#include "utils/catcache.h"
#include "utils/lsyscache.h"
#include "utils/regproc.h"
#include "utils/syscache.h"

/* Reports one finding and makes the verdict negative. */
#define complain(verdict, ...) \
	do { \
		ereport(INFO, \
				(errcode(ERRCODE_INVALID_OBJECT_DEFINITION), errmsg(__VA_ARGS__))); \
		*(verdict) = false; \
	} while (0)

static void
validate_function(Form_pg_amproc function, const char *family, bool *valid)
{
	if (function->amproclefttype != function->amprocrighttype)
		complain(valid, "hnsw_mmap operator family \"%s\" contains support function %s with different left and right input types",
				 family, format_procedure(function->amproc));

	if (function->amprocnum != HM_SUPPORT_OPCLASS)
		complain(valid, "hnsw_mmap operator family \"%s\" contains function %s with invalid support number %d",
				 family, format_procedure(function->amproc), function->amprocnum);
	else if (!check_amproc_signature(function->amproc, INTERNALOID, true, 1, 1, INTERNALOID))
		complain(valid, "hnsw_mmap operator family \"%s\" contains function %s with wrong signature for support number %d",
				 family, format_procedure(function->amproc), function->amprocnum);
}

static void
validate_operator(Form_pg_amop operator, const char *family, bool *valid)
{
	if (operator->amopstrategy != HM_STRATEGY_DISTANCE)
		complain(valid, "hnsw_mmap operator family \"%s\" contains operator %s with invalid strategy number %d",
				 family, format_operator(operator->amopopr), operator->amopstrategy);

	if (operator->amoppurpose != AMOP_ORDER)
		complain(valid, "hnsw_mmap operator family \"%s\" contains operator %s, which is not FOR ORDER BY",
				 family, format_operator(operator->amopopr));
	else if (!opfamily_can_sort_type(operator->amopsortfamily, FLOAT8OID))
		complain(valid, "hnsw_mmap operator family \"%s\" contains incorrect ORDER BY operator family specification for operator %s",
				 family, format_operator(operator->amopopr));

	if (!check_amop_signature(operator->amopopr, FLOAT8OID,
							  operator->amoplefttype, operator->amoprighttype))
		complain(valid, "hnsw_mmap operator family \"%s\" contains operator %s with wrong signature",
				 family, format_operator(operator->amopopr));
}

/* The operator class itself must have an operator and function for its type. */
static void
validate_completeness(List *groups, Oid type, const char *opclass, bool *valid)
{
	uint64		operators = 0;
	uint64		functions = 0;
	ListCell   *cell;

	foreach(cell, groups)
	{
		OpFamilyOpFuncGroup *group = lfirst(cell);

		if (group->lefttype == type && group->righttype == type)
		{
			operators = group->operatorset;
			functions = group->functionset;
		}
	}

	if ((operators & (UINT64CONST(1) << HM_STRATEGY_DISTANCE)) == 0)
		complain(valid, "hnsw_mmap operator class \"%s\" is missing operator %d for type %s",
				 opclass, HM_STRATEGY_DISTANCE, format_type_be(type));
	if ((functions & (UINT64CONST(1) << HM_SUPPORT_OPCLASS)) == 0)
		complain(valid, "hnsw_mmap operator class \"%s\" is missing support function %d",
				 opclass, HM_SUPPORT_OPCLASS);
}

bool
hm_validate(Oid opclass_oid)
{
	bool		valid = true;
	HeapTuple	opclass_tuple;
	HeapTuple	family_tuple;
	Form_pg_opclass opclass;
	const char *family;
	CatCList   *functions;
	CatCList   *operators;

	opclass_tuple = SearchSysCache1(CLAOID, ObjectIdGetDatum(opclass_oid));
	if (!HeapTupleIsValid(opclass_tuple))
		elog(ERROR, "cache lookup failed for operator class %u", opclass_oid);
	opclass = (Form_pg_opclass) GETSTRUCT(opclass_tuple);

	family_tuple = SearchSysCache1(OPFAMILYOID, ObjectIdGetDatum(opclass->opcfamily));
	if (!HeapTupleIsValid(family_tuple))
		elog(ERROR, "cache lookup failed for operator family %u", opclass->opcfamily);
	family = NameStr(((Form_pg_opfamily) GETSTRUCT(family_tuple))->opfname);

	if (OidIsValid(opclass->opckeytype) && opclass->opckeytype != opclass->opcintype)
		complain(&valid, "hnsw_mmap operator class \"%s\" has a storage type, which the access method does not use",
				 NameStr(opclass->opcname));

	functions = SearchSysCacheList1(AMPROCNUM, ObjectIdGetDatum(opclass->opcfamily));
	for (int i = 0; i < functions->n_members; i++)
		validate_function((Form_pg_amproc) GETSTRUCT(&functions->members[i]->tuple), family, &valid);

	operators = SearchSysCacheList1(AMOPSTRATEGY, ObjectIdGetDatum(opclass->opcfamily));
	for (int i = 0; i < operators->n_members; i++)
		validate_operator((Form_pg_amop) GETSTRUCT(&operators->members[i]->tuple), family, &valid);

	validate_completeness(identify_opfamily_groups(operators, functions),
						  opclass->opcintype, NameStr(opclass->opcname), &valid);

	ReleaseCatCacheList(operators);
	ReleaseCatCacheList(functions);
	ReleaseSysCache(family_tuple);
	ReleaseSysCache(opclass_tuple);
	return valid;
}
