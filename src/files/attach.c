/*-------------------------------------------------------------------------
 *
 * attach.c
 *	  SQL functions that attach, detach and list vector files.
 *
 * Servers are created, altered and dropped by the statements that anybody could
 * write, run as the caller: so privileges, event triggers, logging and a
 * read-only transaction are seen to in the place where they always are.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/htup_details.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_foreign_data_wrapper.h"
#include "compat.h"
#include "executor/spi.h"
#include "files/registry.h"
#include "fmgr.h"
#include "foreign/foreign.h"
#include "funcapi.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/syscache.h"

static void
run_statement(const char *statement)
{
	int			result;

	SPI_connect();
	result = SPI_execute(statement, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute returned %s", SPI_result_code_string(result));
	SPI_finish();
}

/* ---- Attaching ---- */

/* The option of that name, or NULL. */
static DefElem *
find_option(List *options, const char *name)
{
	ListCell   *cell;

	foreach(cell, options)
	{
		DefElem    *option = lfirst(cell);

		if (strcmp(option->defname, name) == 0)
			return option;
	}
	return NULL;
}

/*
 * Sets an option: in `options`, which are all that the server will have, and in
 * `changes`, the list in parentheses of the statement.
 */
static void
set_option(List **options, StringInfo changes, bool exists, const char *name, const char *value)
{
	DefElem    *option = find_option(*options, name);

	appendStringInfo(changes, "%s%s%s %s", changes->len > 0 ? ", " : "",
					 !exists ? "" : option != NULL ? "SET " : "ADD ", name, quote_literal_cstr(value));
	if (option != NULL)
		option->arg = (Node *) makeString(pstrdup(value));
	else
		*options = lappend(*options, makeDefElem(pstrdup(name), (Node *) makeString(pstrdup(value)), -1));
}

/* The number for a new server: that of its name or, if that is taken, the next that is not. */
static uint32
free_number(const char *name)
{
	List	   *servers = hm_file_servers();
	uint32		number = hm_file_options_number(NIL, name);
	ListCell   *cell;
	bool		taken;

	do
	{
		taken = false;
		foreach(cell, servers)
			taken = taken || ((HmFileServer *) lfirst(cell))->number == number;
		if (taken && ++number == 0)
			number = 1;
	} while (taken);
	return number;
}

/*
 * (name name, path text, format text, dtype text, dim integer, offset bigint).
 * What is NULL stays as it was; a new server needs a path.  Always sets the
 * options number, so that the server can be renamed, and rows.
 */
PG_FUNCTION_INFO_V1(hm_sql_attach);
Datum
hm_sql_attach(PG_FUNCTION_ARGS)
{
	static const char *const names[] = {"path", "format", "dtype", "dim", "offset"};
	const char *name;
	const char *values[lengthof(names)];
	ForeignDataWrapper *wrapper;
	ForeignServer *server;
	List	   *options = NIL;
	HmFileOptions parsed;
	HmFileProblem problem;
	HmVectorLayout layout;
	StringInfoData changes;
	uint64		size;
	uint32		number;
	TupleDesc	descriptor;
	Datum		result[7];
	bool		nulls[7] = {false};

	if (get_call_result_type(fcinfo, NULL, &descriptor) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	if (PG_ARGISNULL(0))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("the name must not be null")));
	name = NameStr(*PG_GETARG_NAME(0));
	for (int i = 0; i < 3; i++)
		values[i] = PG_ARGISNULL(i + 1) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(i + 1));
	values[3] = PG_ARGISNULL(4) ? NULL : psprintf("%d", PG_GETARG_INT32(4));
	values[4] = PG_ARGISNULL(5) ? NULL : psprintf(INT64_FORMAT, PG_GETARG_INT64(5));

	PreventCommandIfReadOnly("hnsw_mmap_attach()");
	/* Before anything is said about the file. */
	hm_file_options_check_role();
	wrapper = GetForeignDataWrapperByName(HM_FILE_WRAPPER, false);

	/* So that no two sessions choose one number. */
	LockDatabaseObject(ForeignDataWrapperRelationId, wrapper->fdwid, 0, ShareUpdateExclusiveLock);
	server = GetForeignServerByName(name, true);
	if (server != NULL && server->fdwid != wrapper->fdwid)
		ereport(ERROR,
				(errcode(ERRCODE_DUPLICATE_OBJECT),
				 errmsg("server \"%s\" exists and is no attached file", name),
				 errhint("Choose another name.")));

	initStringInfo(&changes);
	if (server != NULL)
		options = server->options;
	number = server != NULL ? hm_file_options_number(options, name) : free_number(name);
	for (int i = 0; i < lengthof(names); i++)
	{
		if (values[i] != NULL)
			set_option(&options, &changes, server != NULL, names[i], values[i]);
	}
	if (find_option(options, "number") == NULL)
		set_option(&options, &changes, server != NULL, "number", psprintf("%u", number));

	hm_file_options_read(options, &parsed);
	parsed.request.has_rows = false;
	if (!hm_file_examine(name, &parsed, &layout, &size, &problem))
		hm_file_raise(&problem);
	set_option(&options, &changes, server != NULL, "rows", psprintf(UINT64_FORMAT, layout.rows));

	if (server != NULL)
		run_statement(psprintf("ALTER SERVER %s OPTIONS (%s)", quote_identifier(name), changes.data));
	else
		run_statement(psprintf("CREATE SERVER %s FOREIGN DATA WRAPPER %s OPTIONS (%s)",
							   quote_identifier(name), HM_FILE_WRAPPER, changes.data));

	result[0] = DirectFunctionCall1(namein, CStringGetDatum(name));
	result[1] = Int64GetDatum((int64) number);
	result[2] = CStringGetTextDatum(hm_vector_format_name(parsed.request.format));
	result[3] = CStringGetTextDatum(hm_vector_kind_name(layout.kind));
	result[4] = Int64GetDatum((int64) layout.rows);
	result[5] = Int32GetDatum(layout.dim);
	result[6] = Int64GetDatum((int64) size);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(descriptor), result, nulls));
}

/* (name name) -> void */
PG_FUNCTION_INFO_V1(hm_sql_detach);
Datum
hm_sql_detach(PG_FUNCTION_ARGS)
{
	const char *name = NameStr(*PG_GETARG_NAME(0));
	ForeignServer *server = GetForeignServerByName(name, true);

	if (server == NULL || server->fdwid != get_foreign_data_wrapper_oid(HM_FILE_WRAPPER, true))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("no file is attached as \"%s\"", name)));
	run_statement(psprintf("DROP SERVER %s", quote_identifier(name)));
	PG_RETURN_VOID();
}

/* ---- Listing ---- */

#define LIST_COLUMNS	10

/* What nobody may know who may neither use the server nor choose files. */
static void
list_options(const HmFileServer *server, HmFileOptions *options, Datum *values, bool *nulls)
{
	hm_file_options_read(server->options, options);
	values[2] = CStringGetTextDatum(options->path);
	values[3] = CStringGetTextDatum(hm_vector_format_name(options->request.format));
	nulls[2] = nulls[3] = false;
}

/* () -> one row for each attached file: see the declaration. */
PG_FUNCTION_INFO_V1(hm_sql_file_list);
Datum
hm_sql_file_list(PG_FUNCTION_ARGS)
{
	ReturnSetInfo *result = (ReturnSetInfo *) fcinfo->resultinfo;
	bool		may_choose = has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES);
	ListCell   *cell;

	InitMaterializedSRF(fcinfo, 0);
	foreach(cell, hm_file_servers())
	{
		HmFileServer *server = lfirst(cell);
		HmFileOptions options;
		HmFileProblem problem;
		HmFile	   *file;
		uint64		resident;
		Datum		values[LIST_COLUMNS];
		bool		nulls[LIST_COLUMNS];

		/* Dropped meanwhile?  Privileges on it could not be asked for. */
		if (!SearchSysCacheExists1(FOREIGNSERVEROID, ObjectIdGetDatum(server->oid)))
			continue;
		memset(nulls, true, sizeof(nulls));
		values[0] = DirectFunctionCall1(namein, CStringGetDatum(server->name));
		values[1] = Int64GetDatum((int64) server->number);
		nulls[0] = nulls[1] = false;
		if (may_choose || hm_server_usage_check(server->oid, GetUserId()) == ACLCHECK_OK)
			list_options(server, &options, values, nulls);

		file = hm_file_try(server->number, &problem);
		if (file != NULL)
		{
			values[4] = CStringGetTextDatum(hm_vector_kind_name(file->kind));
			values[5] = Int64GetDatum((int64) file->rows);
			values[6] = Int32GetDatum(file->dim);
			values[7] = Int64GetDatum((int64) hm_file_size(file));
			memset(&nulls[4], false, 4);
			nulls[8] = !hm_file_resident(file, &resident);
			values[8] = Int64GetDatum((int64) resident);
		}
		else
		{
			values[9] = CStringGetTextDatum(problem.detail == NULL ? problem.message :
											psprintf("%s: %s", problem.message, problem.detail));
			nulls[9] = false;
		}
		tuplestore_putvalues(result->setResult, result->setDesc, values, nulls);
	}
	return (Datum) 0;
}
