/*-------------------------------------------------------------------------
 *
 * export_vectors.c
 *	  hnsw_mmap_export_vectors: a column of vectors as a .npy file.
 *
 * The rows come from a query that runs as the caller: privileges and row
 * security are those of a SELECT that he might as well type in.  They are
 * written as they come; the file's header, which says how many there are, has
 * the same length whatever it says, and is written again at the end.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/relation.h"
#include "am/output_file.h"
#include "am/sql.h"
#include "catalog/pg_class.h"
#include "commands/progress.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "simd/simd.h"
#include "storage/ipc.h"
#include "types/typeinfo.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/relcache.h"

#define ROWS_PER_FETCH	256
#define HEADER_SIZE		128		/* of the file; numpy wants a multiple of 64 */

typedef struct Export
{
	Relation	table;
	const char *column;
	const HmTypeInfo *type;		/* of what the query returns */
	HmElementKind kind;			/* of what is written */
	HmOutput	output;
	int			dim;			/* 0: no vector has come yet */
	uint64		rows;
	void	   *row;			/* dim components to be written */
	MemoryContext context;		/* the function's own */
} Export;

/* The bytes before the rows; components are written in the machine's order. */
static void
make_header(const Export *export, char *header)
{
	uint16		length = HEADER_SIZE - 10;
	char		text[HEADER_SIZE];
	int			used;

	used = snprintf(text, sizeof(text), "{'descr': '%c%s', 'fortran_order': False, 'shape': (" UINT64_FORMAT ", %d), }",
#ifdef WORDS_BIGENDIAN
					'>',
#else
					'<',
#endif
					export->kind == HM_F16 ? "f2" : "f4", export->rows, export->dim);
	memset(text + used, ' ', length - used);
	text[length - 1] = '\n';
	memcpy(header, "\x93NUMPY\x01\x00", 8);
	header[8] = (char) (length & 0xFF);
	header[9] = (char) (length >> 8);
	memcpy(header + 10, text, length);
}

static HmElementKind
parse_dtype(const char *dtype)
{
	if (strcmp(dtype, "f2") == 0)
		return HM_F16;
	if (strcmp(dtype, "f4") == 0)
		return HM_F32;
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
			 errmsg("unrecognized dtype \"%s\"", dtype),
			 errhint("It is \"f2\" (half precision) or \"f4\" (single precision).")));
}

/* Opens what can be selected from, and looks up a column. */
static AttrNumber
find_column(Relation table, const char *name)
{
	AttrNumber	number = get_attnum(RelationGetRelid(table), name);

	if (number == InvalidAttrNumber)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(table))));
	return number;
}

/* The columns of the primary key, as a list for ORDER BY; NULL without one. */
static char *
primary_key(Relation table)
{
	Oid			key_oid;
	Relation	key;
	StringInfoData list;

	if (table->rd_rel->relkind != RELKIND_RELATION && table->rd_rel->relkind != RELKIND_PARTITIONED_TABLE)
		return NULL;
	(void) RelationGetIndexList(table);
	key_oid = table->rd_pkindex;
	if (!OidIsValid(key_oid))
		return NULL;
	key = relation_open(key_oid, AccessShareLock);
	initStringInfo(&list);
	for (int i = 0; i < key->rd_index->indnkeyatts; i++)
	{
		AttrNumber	attribute = key->rd_index->indkey.values[i];

		appendStringInfo(&list, "%s%s", i > 0 ? ", " : "",
						 quote_identifier(NameStr(TupleDescAttr(RelationGetDescr(table), attribute - 1)->attname)));
	}
	relation_close(key, AccessShareLock);
	return list.data;
}

/*
 * The query, and the type that it returns.  float2[] comes as it is, everything
 * else as real[], which pgvector's types and extvec have casts to.
 */
static char *
make_query(Export *export, const char *order_by)
{
	AttrNumber	column = find_column(export->table, export->column);
	Oid			type = get_atttype(RelationGetRelid(export->table), column);
	Oid			element = get_element_type(getBaseType(type));
	bool		half = OidIsValid(element) && strcmp(format_type_be(type), "float2[]") == 0;
	const char *order;
	StringInfoData query;

	if (order_by != NULL)
	{
		(void) find_column(export->table, order_by);
		order = quote_identifier(order_by);
	}
	else
	{
		order = primary_key(export->table);
		if (order == NULL)
			ereport(ERROR,
					(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
					 errmsg("\"%s\" has no primary key to order rows by",
							RelationGetRelationName(export->table)),
					 errhint("Name a column in \"order_by\", so that it is known which row of the file is whose.")));
	}
	export->type = half ? &hm_type_float2_array : &hm_type_real_array;

	initStringInfo(&query);
	appendStringInfo(&query, "SELECT %s%s FROM %s ORDER BY %s",
					 quote_identifier(export->column), half ? "" : "::pg_catalog.float4[]",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(export->table)),
												RelationGetRelationName(export->table)),
					 order);
	return query.data;
}

/* What stands for a missing vector: its row must be there, so that those after it keep their numbers. */
static void
fill_nan(Export *export)
{
	for (int i = 0; i < export->dim; i++)
	{
		if (export->kind == HM_F16)
			((uint16 *) export->row)[i] = 0x7E00;
		else
			((float *) export->row)[i] = NAN;
	}
}

/* Converts a vector to half precision; it must not overflow. */
static void
fill_half(Export *export, const HmVector *vector)
{
	uint16	   *row = export->row;

	hm_kernels->f32_to_f16(vector->data, row, vector->dim);
	for (int i = 0; i < vector->dim; i++)
	{
		float		value;

		if (likely((row[i] & 0x7FFF) != 0x7C00))
			continue;
		memcpy(&value, (const char *) vector->data + i * sizeof(float), sizeof(float));
		if (!isinf(value))
			ereport(ERROR,
					(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
					 errmsg("%g is out of range for half precision", value),
					 errdetail("It is component %d of a vector in column \"%s\".", i + 1, export->column),
					 errhint("Half precision ends at 65504. Export with dtype => 'f4'.")));
	}
}

static void
write_vector(Export *export, const HmVector *vector)
{
	if (export->dim == 0)
	{
		size_t		size = vector->dim * (export->kind == HM_F16 ? sizeof(uint16) : sizeof(float));

		/* rows before it had no vector */
		export->dim = vector->dim;
		export->row = MemoryContextAlloc(export->context, size);
		fill_nan(export);
		for (uint64 i = 0; i < export->rows; i++)
		{
			CHECK_FOR_INTERRUPTS();
			hm_output_write(&export->output, export->row, size);
		}
	}
	if (vector->dim != export->dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %d dimensions, not %d", export->dim, vector->dim),
				 errdetail("Row " UINT64_FORMAT " of column \"%s\" differs from the first vector.",
						   export->rows, export->column)));

	if (vector->kind == export->kind)
		memcpy(export->row, vector->data,
			   vector->dim * (vector->kind == HM_F16 ? sizeof(uint16) : sizeof(float)));
	else if (export->kind == HM_F16)
		fill_half(export, vector);
	else
		hm_kernels->f16_to_f32(vector->data, export->row, vector->dim);
}

/* Writes the rows of one fetch. */
static void
write_rows(Export *export)
{
	for (uint64 i = 0; i < SPI_processed; i++)
	{
		bool		isnull;
		Datum		value = SPI_getbinval(SPI_tuptable->vals[i], SPI_tuptable->tupdesc, 1, &isnull);
		void	   *copied = NULL;

		if (!isnull)
		{
			HmVector	vector = export->type->view(value, &copied);

			write_vector(export, &vector);
		}
		else if (export->dim > 0)
			fill_nan(export);
		if (export->dim > 0)
			hm_output_write(&export->output, export->row,
							export->dim * (export->kind == HM_F16 ? sizeof(uint16) : sizeof(float)));
		if (copied != NULL)
			pfree(copied);
		export->rows++;
	}
	pgstat_progress_update_param(PROGRESS_COPY_TUPLES_PROCESSED, export->rows);
	pgstat_progress_update_param(PROGRESS_COPY_BYTES_PROCESSED, export->output.written);
}

static void
run_query(Export *export, const char *query)
{
	SPIPlanPtr	plan;
	Portal		portal;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	plan = SPI_prepare(query, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed for \"%s\"", query);
	portal = SPI_cursor_open(NULL, plan, NULL, NULL, true);
	for (;;)
	{
		CHECK_FOR_INTERRUPTS();
		SPI_cursor_fetch(portal, true, ROWS_PER_FETCH);
		if (SPI_processed == 0)
			break;
		write_rows(export);
		SPI_freetuptable(SPI_tuptable);
	}
	SPI_cursor_close(portal);
	SPI_finish();
}

static void
write_file(Export *export, const char *query)
{
	char		header[HEADER_SIZE];

	make_header(export, header);
	hm_output_write(&export->output, header, sizeof(header));
	run_query(export, query);
	if (export->dim == 0)
		ereport(ERROR,
				(errcode(ERRCODE_NO_DATA_FOUND),
				 errmsg("column \"%s\" of \"%s\" has no vectors to export",
						export->column, RelationGetRelationName(export->table))));
	make_header(export, header);
	hm_output_rewrite(&export->output, header, sizeof(header));
	hm_output_close(&export->output);
}

/*
 * hnsw_mmap_export_vectors(table regclass, column name, path text, order_by
 * name, dtype text): rows and dimensions written.  Progress is in
 * pg_stat_progress_copy.
 */
PG_FUNCTION_INFO_V1(hm_sql_export_vectors);

Datum
hm_sql_export_vectors(PG_FUNCTION_ARGS)
{
	const int	progress[] = {PROGRESS_COPY_COMMAND, PROGRESS_COPY_TYPE};
	const int64 progress_values[] = {PROGRESS_COPY_COMMAND_TO, PROGRESS_COPY_TYPE_FILE};
	Export		export = {.context = CurrentMemoryContext};
	char	   *path;
	char	   *query;
	HmResult	row;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2) || PG_ARGISNULL(4))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("table, column, path and dtype must not be null")));
	export.column = NameStr(*PG_GETARG_NAME(1));
	export.kind = parse_dtype(text_to_cstring(PG_GETARG_TEXT_PP(4)));
	path = text_to_cstring(PG_GETARG_TEXT_PP(2));

	hm_lock_relation(PG_GETARG_OID(0), AccessShareLock);
	export.table = relation_open(PG_GETARG_OID(0), NoLock);
	query = make_query(&export, PG_ARGISNULL(3) ? NULL : NameStr(*PG_GETARG_NAME(3)));

	hm_output_open(&export.output, path);
	PG_ENSURE_ERROR_CLEANUP(hm_output_abandon, PointerGetDatum(&export.output));
	{
		pgstat_progress_start_command(PROGRESS_COMMAND_COPY, RelationGetRelid(export.table));
		pgstat_progress_update_multi_param(lengthof(progress), progress, progress_values);
		write_file(&export, query);
		pgstat_progress_end_command();
	}
	PG_END_ENSURE_ERROR_CLEANUP(hm_output_abandon, PointerGetDatum(&export.output));
	relation_close(export.table, NoLock);

	hm_result_begin(&row, fcinfo);
	hm_result_add(&row, Int64GetDatum(export.rows));
	hm_result_add(&row, Int32GetDatum(export.dim));
	return hm_result_end(&row);
}
