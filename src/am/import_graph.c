/*-------------------------------------------------------------------------
 *
 * import_graph.c
 *	  hnsw_mmap_import_graph: an index from a graph of hnswlib or hnswlib-mmap.
 *
 * The index comes to be by CREATE INDEX, with all that belongs to it (checks,
 * locks, dependencies, event triggers, WAL, progress); the build finds the
 * request that is set meanwhile.  See index/import.h.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <sys/stat.h>

#include "access/table.h"
#include "am/sql.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_class.h"
#include "executor/spi.h"
#include "fmgr.h"
#include "index/import.h"
#include "index/labels.h"
#include "index/options.h"
#include "lib/stringinfo.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/lsyscache.h"
#include "utils/rel.h"
#include "utils/varlena.h"

/* The small files of a sharded index are no longer than this. */
#define META_LIMIT 4096

static void
check_role(void)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_READ_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to read a graph file on the server"),
				 errdetail("Only roles with privileges of the \"%s\" role may do so.",
						   "pg_read_server_files")));
}

static void
refuse_meta(const char *path, const HmGraphFileError *error)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("file \"%s\" of a sharded index cannot be read: %s", path, error->text)));
}

/*
 * Of a sharded index, chooses the largest shard.  Shards are graphs of their
 * own, with no link from one to another, so there is no graph of all of it:
 * what the other shards have is inserted into this one.
 */
static void
choose_shard(const char *directory, HmImportRequest *request)
{
	char	   *path = psprintf("%s/index.meta", directory);
	HmGraphShards *shards = palloc(sizeof(HmGraphShards));
	HmGraphShard best = {0, 0};
	uint64		number = 0;
	HmGraphFileError error;
	size_t		size;
	void	   *bytes = hm_import_read_small(path, META_LIMIT, &size);

	if (!hm_graph_shards_read(shards, bytes, size, &error))
		refuse_meta(path, &error);
	for (uint64 i = 0; i < shards->shards; i++)
	{
		HmGraphShard shard;

		CHECK_FOR_INTERRUPTS();
		path = psprintf("%s/shard_" UINT64_FORMAT ".meta", directory, i);
		bytes = hm_import_read_small(path, META_LIMIT, &size);
		if (!hm_graph_shard_read(&shard, shards, bytes, size, &error))
			refuse_meta(path, &error);
		if (shard.end - shard.start > best.end - best.start)
		{
			best = shard;
			number = i;
		}
		pfree(bytes);
		pfree(path);
	}

	request->path = psprintf("%s/shard_" UINT64_FORMAT ".graph", directory, number);
	request->space = shards->space;
	request->label_base = best.start;
	request->label_count = best.end - best.start;
	ereport(NOTICE,
			(errmsg("the index begins with shard " UINT64_FORMAT " of " UINT64_FORMAT ", which has " UINT64_FORMAT " of " UINT64_FORMAT " vectors",
					number, shards->shards, best.end - best.start, shards->total),
			 errdetail("Shards are not linked with each other. The vectors of the others are inserted.")));
}

/* Fills the request's part that says what to read. */
static void
find_graph(char *path, HmImportRequest *request)
{
	struct stat status;

	if (!is_absolute_path(path))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("relative path not allowed for a graph file on the server: \"%s\"", path),
				 errhint("Give a path that begins with \"/\".")));
	canonicalize_path(path);
	request->path = path;
	request->label_count = PG_UINT64_MAX;
	if (stat(path, &status) == 0 && S_ISDIR(status.st_mode))
		choose_shard(path, request);
}

/* The only relations that have an index built at once. */
static Relation
open_table(Oid table_oid)
{
	Relation	table;

	hm_lock_relation(table_oid, AccessShareLock);
	table = table_open(table_oid, NoLock);
	if (table->rd_rel->relkind != RELKIND_RELATION && table->rd_rel->relkind != RELKIND_MATVIEW)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("cannot import a graph into an index on \"%s\"", RelationGetRelationName(table)),
				 errdetail("It is not a table or materialized view."),
				 table->rd_rel->relkind == RELKIND_PARTITIONED_TABLE ?
				 errhint("Import a graph into each partition.") : 0));
	return table;
}

static void
check_column(Relation table, const char *name)
{
	if (get_attnum(RelationGetRelid(table), name) <= 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_COLUMN),
				 errmsg("column \"%s\" of relation \"%s\" does not exist",
						name, RelationGetRelationName(table))));
}

/* CREATE INDEX; NULL arguments are left to it. */
static char *
make_statement(Relation table, const char *column, text *opclass, const char *index_name,
			   const char *vectors, const HmGraphHeader *header)
{
	StringInfoData statement;
	uint64		ef_construction = header->ef_construction;

	ef_construction = Max(ef_construction, Max(HM_MIN_EF_CONSTRUCTION, 2 * header->m));
	ef_construction = Min(ef_construction, HM_MAX_EF_CONSTRUCTION);

	initStringInfo(&statement);
	appendStringInfo(&statement, "CREATE INDEX %s ON %s USING hnsw_mmap (%s %s) WITH (m = %u, ef_construction = " UINT64_FORMAT,
					 index_name != NULL ? quote_identifier(index_name) : "",
					 quote_qualified_identifier(get_namespace_name(RelationGetNamespace(table)),
												RelationGetRelationName(table)),
					 quote_identifier(column),
					 opclass != NULL ? NameListToQuotedString(textToQualifiedNameList(opclass)) : "",
					 header->m, ef_construction);
	if (vectors != NULL)
		appendStringInfo(&statement, ", vectors = %s", quote_literal_cstr(vectors));
	appendStringInfoChar(&statement, ')');
	return statement.data;
}

/* Runs it with the request set. */
static void
create_index(const char *statement, HmImportRequest *request)
{
	hm_import_set_request(request);
	PG_TRY();
	{
		if (SPI_connect() != SPI_OK_CONNECT)
			elog(ERROR, "SPI_connect failed");
		if (SPI_execute(statement, false, 0) != SPI_OK_UTILITY)
			elog(ERROR, "SPI_execute failed for \"%s\"", statement);
		SPI_finish();
	}
	PG_FINALLY();
	{
		hm_import_set_request(NULL);
	}
	PG_END_TRY();
	if (!OidIsValid(request->index))
		elog(ERROR, "no index was built");
}

static const char *
name_or_null(FunctionCallInfo fcinfo, int number)
{
	return PG_ARGISNULL(number) ? NULL : NameStr(*PG_GETARG_NAME(number));
}

/*
 * hnsw_mmap_import_graph(path text, table regclass, column name, opclass text,
 * index_name name, label_column name, vectors text): the index.
 */
PG_FUNCTION_INFO_V1(hm_sql_import_graph);

Datum
hm_sql_import_graph(PG_FUNCTION_ARGS)
{
	HmImportRequest request = {0};
	HmGraphHeader header;
	Relation	table;
	const char *column;
	const char *statement;

	if (PG_ARGISNULL(0) || PG_ARGISNULL(1) || PG_ARGISNULL(2))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("path, table and column must not be null")));
	check_role();
	column = NameStr(*PG_GETARG_NAME(2));
	request.table = PG_GETARG_OID(1);
	table = open_table(request.table);
	check_column(table, column);
	request.label = hm_label_column(table, name_or_null(fcinfo, 5));
	find_graph(text_to_cstring(PG_GETARG_TEXT_PP(0)), &request);
	hm_import_read_header(request.path, &header);

	statement = make_statement(table, column, PG_ARGISNULL(3) ? NULL : PG_GETARG_TEXT_PP(3),
							   name_or_null(fcinfo, 4),
							   PG_ARGISNULL(6) ? NULL : text_to_cstring(PG_GETARG_TEXT_PP(6)), &header);

	/* CREATE INDEX wants the table to be open nowhere else in this session */
	table_close(table, NoLock);
	create_index(statement, &request);
	ereport(NOTICE,
			(errmsg("index \"%s\" has %u of the graph's %u elements",
					get_rel_name(request.index), request.used, request.nodes),
			 errdetail("%u elements were inserted.", request.inserted)));
	PG_RETURN_OID(request.index);
}
