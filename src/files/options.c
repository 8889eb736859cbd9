/*-------------------------------------------------------------------------
 *
 * options.c
 *	  What the options of a server of hnsw_mmap_file say.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_server.h"
#include "commands/defrem.h"
#include "compat.h"
#include "files/options.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"

/* A decimal number from min to max, and nothing else. */
static bool
read_number(const char *text, uint64 min, uint64 max, uint64 *number)
{
	*number = 0;
	if (*text == '\0')
		return false;
	for (; *text != '\0'; text++)
	{
		uint64		digit = *text - '0';

		if (*text < '0' || *text > '9' || *number > (max - Min(digit, max)) / 10)
			return false;
		*number = *number * 10 + digit;
	}
	return *number >= min && *number <= max;
}

static uint64
number_option(DefElem *option, uint64 min, uint64 max)
{
	uint64		number;

	if (!read_number(defGetString(option), min, max, &number))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("invalid value for option \"%s\": \"%s\"", option->defname, defGetString(option)),
				 errdetail("Expected a whole number from " UINT64_FORMAT " to " UINT64_FORMAT ".", min, max)));
	return number;
}

static void
invalid_value(DefElem *option, const char *expected)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("invalid value for option \"%s\": \"%s\"", option->defname, defGetString(option)),
			 errdetail("Expected %s.", expected)));
}

static HmVectorFormat
format_option(DefElem *option)
{
	const char *value = defGetString(option);

	for (HmVectorFormat format = HM_FORMAT_NPY; format <= HM_FORMAT_RAW; format++)
	{
		if (strcmp(value, hm_vector_format_name(format)) == 0)
			return format;
	}
	invalid_value(option, "npy, fvecs or raw");
	return 0;
}

static HmElementKind
kind_option(DefElem *option)
{
	const char *value = defGetString(option);

	/* numpy's own spelling, with the byte order, will do as well */
	if (*value == '<')
		value++;
	if (strcmp(value, hm_vector_kind_name(HM_F16)) == 0)
		return HM_F16;
	if (strcmp(value, hm_vector_kind_name(HM_F32)) == 0)
		return HM_F32;
	invalid_value(option, "f2 or f4");
	return 0;
}

void
hm_file_options_read(List *list, HmFileOptions *options)
{
	HmVectorRequest *request = &options->request;
	bool		has_offset = false;
	ListCell   *cell;

	memset(options, 0, sizeof(HmFileOptions));
	foreach(cell, list)
	{
		DefElem    *option = (DefElem *) lfirst(cell);

		if (strcmp(option->defname, "path") == 0)
		{
			options->path = pstrdup(defGetString(option));
			if (!is_absolute_path(options->path))
				invalid_value(option, "an absolute path");
		}
		else if (strcmp(option->defname, "format") == 0)
			request->format = format_option(option);
		else if (strcmp(option->defname, "dtype") == 0)
			request->kind = kind_option(option);
		else if (strcmp(option->defname, "dim") == 0)
			request->dim = (int) number_option(option, 1, HM_MAX_DIM);
		else if (strcmp(option->defname, "offset") == 0)
		{
			request->offset = number_option(option, 0, PG_INT64_MAX);
			has_offset = true;
		}
		else if (strcmp(option->defname, "number") == 0)
			(void) number_option(option, 1, PG_UINT32_MAX);
		else if (strcmp(option->defname, "rows") == 0)
		{
			request->rows = number_option(option, 0, PG_INT64_MAX);
			request->has_rows = true;
		}
		else
			ereport(ERROR,
					(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
					 errmsg("invalid option \"%s\"", option->defname),
					 errhint("Valid options are path, format, dtype, dim, offset, number and rows.")));
	}

	if (options->path == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("option \"path\" is required")));
	if (request->format == 0)
		request->format = hm_vector_format_of_name(options->path);
	if (request->format == 0)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("the format of file \"%s\" is not known", options->path),
				 errdetail("Its name ends in neither .npy nor .fvecs."),
				 errhint("Set option \"format\" to npy, fvecs or raw.")));
	if (request->format == HM_FORMAT_RAW && (request->kind == 0 || request->dim == 0))
		ereport(ERROR,
				(errcode(ERRCODE_FDW_DYNAMIC_PARAMETER_VALUE_NEEDED),
				 errmsg("format raw needs option \"%s\"", request->kind == 0 ? "dtype" : "dim"),
				 errhint("A raw file does not say what it holds.")));
	if (request->format != HM_FORMAT_RAW && has_offset)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("option \"offset\" is for format raw only"),
				 errdetail("The format of the file is %s.", hm_vector_format_name(request->format))));
}

/*
 * The 32-bit FNV-1a hash of the name: fixed for good, since values in tables
 * hold it, and the same on every machine that a dump is restored on.
 */
static uint32
hash_name(const char *name)
{
	uint32		hash = 2166136261;

	for (; *name != '\0'; name++)
		hash = (hash ^ (unsigned char) *name) * 16777619;
	return hash != 0 ? hash : 1;
}

uint32
hm_file_options_number(List *list, const char *name)
{
	ListCell   *cell;

	foreach(cell, list)
	{
		DefElem    *option = (DefElem *) lfirst(cell);
		uint64		number;

		if (strcmp(option->defname, "number") == 0 &&
			read_number(defGetString(option), 1, PG_UINT32_MAX, &number))
			return (uint32) number;
	}
	return hash_name(name);
}

void
hm_file_options_check_role(void)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to attach a file"),
				 errdetail("Only superusers and members of %s may say which files are read.",
						   "pg_read_server_files")));
}

/*
 * The wrapper's validator: (text[], oid) -> void.  Does not look for the file: a
 * dump may be restored before the file is copied, or where it will never be.
 * Who may not set the path may not change other options either, as what is here
 * are all options together, changed or not.
 */
PG_FUNCTION_INFO_V1(hm_file_validator);
Datum
hm_file_validator(PG_FUNCTION_ARGS)
{
	List	   *list = untransformRelOptions(PG_GETARG_DATUM(0));
	Oid			catalog = PG_GETARG_OID(1);
	HmFileOptions options;

	if (catalog == ForeignServerRelationId)
	{
		hm_file_options_check_role();
		hm_file_options_read(list, &options);
	}
	else if (list != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FDW_INVALID_OPTION_NAME),
				 errmsg("invalid option \"%s\"", ((DefElem *) linitial(list))->defname),
				 errhint("Only servers of foreign-data wrapper \"%s\" have options.", HM_FILE_WRAPPER)));
	PG_RETURN_VOID();
}
