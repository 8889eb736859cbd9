/*-------------------------------------------------------------------------
 *
 * file.c
 *	  Attached vector files: which there are, who may read them, mappings.
 *
 * Each process has a table of the servers by number, read from the catalog when
 * it is first needed and again after a server, the wrapper or a role has
 * changed.  An invalidation may come in the middle of anything, so it only
 * counts up.
 *
 * A file was found in order for a moment: a transaction, a statement of the
 * client, a user, and a state of the catalogs and of our knowledge.  As long as
 * the moment is the same, it is not looked at again.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/genam.h"
#include "access/htup_details.h"
#include "access/reloptions.h"
#include "access/table.h"
#include "access/xact.h"
#include "catalog/pg_foreign_server.h"
#include "common/hashfn.h"
#include "compat.h"
#include "files/open.h"
#include "foreign/foreign.h"
#include "miscadmin.h"
#include "storage/guard.h"
#include "utils/builtins.h"
#include "utils/hsearch.h"
#include "utils/inval.h"
#include "utils/memutils.h"
#include "utils/syscache.h"

/* When a file was found in order. */
typedef struct Moment
{
	uint64		catalog;		/* catalog_changes */
	uint64		knowledge;		/* knowledge_changes */
	TimestampTz statement;
	Oid			user;
} Moment;

typedef struct FileEntry
{
	uint32		number;			/* hash key */
	bool		listed;			/* in the catalog, when that was last read */
	Oid			server;
	NameData	name;
	NameData	rival;			/* another server of the same number; empty if none */
	HmFileMapping *mapping;		/* NULL: not mapped */
	HmFileOptions options;		/* that it was mapped by, in TopMemoryContext */
	uint64		options_catalog;	/* as of when */
	Moment		moment;			/* all zero: never */
} FileEntry;

static HTAB *files;
static uint64 files_catalog;	/* as of when */
static uint64 catalog_changes = 1;
static uint64 knowledge_changes = 1;	/* ends of transactions, and faults */
static HmFileMapping *superseded;

static void
catalog_invalidated(Datum arg, int cache, uint32 hash)
{
	catalog_changes++;
}

/* Nobody has a pointer into what was superseded once the transaction is over. */
static void
transaction_event(XactEvent event, void *arg)
{
	switch (event)
	{
		case XACT_EVENT_COMMIT:
		case XACT_EVENT_PARALLEL_COMMIT:
		case XACT_EVENT_ABORT:
		case XACT_EVENT_PARALLEL_ABORT:
		case XACT_EVENT_PREPARE:
			break;
		default:
			return;
	}

	knowledge_changes++;
	while (superseded != NULL)
	{
		HmFileMapping *mapping = superseded;

		superseded = mapping->next;
		hm_file_unmap(mapping);
	}
}

static void
supersede(FileEntry *entry)
{
	if (entry->mapping == NULL)
		return;
	entry->mapping->next = superseded;
	superseded = entry->mapping;
	entry->mapping = NULL;
}

static void
create_table(void)
{
	HASHCTL		control;

	memset(&control, 0, sizeof(control));
	control.keysize = sizeof(uint32);
	control.entrysize = sizeof(FileEntry);
	control.hcxt = TopMemoryContext;
	files = hash_create("hnsw_mmap files", 16, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);

	CacheRegisterSyscacheCallback(FOREIGNSERVEROID, catalog_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(FOREIGNDATAWRAPPEROID, catalog_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHOID, catalog_invalidated, (Datum) 0);
	CacheRegisterSyscacheCallback(AUTHMEMROLEMEM, catalog_invalidated, (Datum) 0);
	RegisterXactCallback(transaction_event, NULL);
}

List *
hm_file_servers(void)
{
	Oid			wrapper = get_foreign_data_wrapper_oid(HM_FILE_WRAPPER, true);
	List	   *list = NIL;
	Relation	catalog;
	SysScanDesc scan;
	HeapTuple	tuple;

	if (!OidIsValid(wrapper))
		return NIL;

	/* There is no index by wrapper, and servers are few. */
	catalog = table_open(ForeignServerRelationId, AccessShareLock);
	scan = systable_beginscan(catalog, InvalidOid, false, NULL, 0, NULL);
	while (HeapTupleIsValid(tuple = systable_getnext(scan)))
	{
		Form_pg_foreign_server form = (Form_pg_foreign_server) GETSTRUCT(tuple);
		HmFileServer *server;
		Datum		options;
		bool		isnull;

		if (form->srvfdw != wrapper)
			continue;
		server = palloc0(sizeof(HmFileServer));
		server->oid = form->oid;
		server->name = pstrdup(NameStr(form->srvname));
		options = heap_getattr(tuple, Anum_pg_foreign_server_srvoptions, RelationGetDescr(catalog), &isnull);
		if (!isnull)
			server->options = untransformRelOptions(options);
		server->number = hm_file_options_number(server->options, server->name);
		list = lappend(list, server);
	}
	systable_endscan(scan);
	table_close(catalog, AccessShareLock);
	return list;
}

static void
list_server(const HmFileServer *server)
{
	bool		found;
	FileEntry  *entry = hash_search(files, &server->number, HASH_ENTER, &found);

	if (!found)
		memset((char *) entry + sizeof(uint32), 0, sizeof(FileEntry) - sizeof(uint32));
	if (entry->listed)
	{
		namestrcpy(&entry->rival, server->name);
		return;
	}
	entry->listed = true;
	entry->server = server->oid;
	namestrcpy(&entry->name, server->name);
}

/* Reads the catalog, if it has changed since. */
static void
read_catalog(void)
{
	MemoryContext context;
	MemoryContext old;
	HASH_SEQ_STATUS status;
	FileEntry  *entry;
	List	   *servers;
	ListCell   *cell;
	uint64		as_of;

	if (files == NULL)
		create_table();
	if (files_catalog == catalog_changes)
		return;

	/* Reading may itself receive news, which then are read the next time. */
	as_of = catalog_changes;
	context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap file servers", ALLOCSET_SMALL_SIZES);
	old = MemoryContextSwitchTo(context);
	servers = hm_file_servers();

	hash_seq_init(&status, files);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		entry->listed = false;
		NameStr(entry->rival)[0] = '\0';
	}
	foreach(cell, servers)
		list_server(lfirst(cell));
	hash_seq_init(&status, files);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (!entry->listed)
			supersede(entry);
	}

	MemoryContextSwitchTo(old);
	MemoryContextDelete(context);
	files_catalog = as_of;
}

static FileEntry *
find(uint32 number)
{
	FileEntry  *entry;

	read_catalog();
	entry = hash_search(files, &number, HASH_FIND, NULL);
	return entry != NULL && entry->listed ? entry : NULL;
}

/* Takes over the server's options, which stay valid until they change. */
static void
read_options(FileEntry *entry)
{
	HmFileOptions options;
	char	   *path;
	uint64		as_of = catalog_changes;

	if (entry->options.path != NULL && entry->options_catalog == as_of)
		return;
	hm_file_options_read(GetForeignServer(entry->server)->options, &options);
	path = MemoryContextStrdup(TopMemoryContext, options.path);
	if (entry->options.path != NULL)
		pfree((char *) entry->options.path);
	entry->options = options;
	entry->options.path = path;
	entry->options_catalog = as_of;

	/* Whatever has changed, the header decides anew. */
	if (entry->mapping != NULL)
		memset(&entry->mapping->identity.modified, 0, sizeof(struct timespec));
}

/* Sees to it that the file is mapped as it is now. */
static bool
look(FileEntry *entry, HmFileProblem *problem)
{
	HmFileIdentity identity;
	HmFileMapping *mapping;

	read_options(entry);
	if (!hm_file_look(NameStr(entry->name), &entry->options, &identity, problem))
		return false;
	if (entry->mapping != NULL && hm_file_same(&identity, &entry->mapping->identity))
		return true;

	mapping = hm_file_map(entry->number, NameStr(entry->name), &entry->options, entry->mapping, problem);
	if (mapping == NULL)
		return false;
	if (mapping != entry->mapping)
	{
		supersede(entry);
		entry->mapping = mapping;
	}
	return true;
}

static HmFile *
acquire_slowly(uint32 number, const Moment *now, HmFileProblem *problem)
{
	FileEntry  *entry = find(number);

	memset(problem, 0, sizeof(HmFileProblem));
	if (entry == NULL)
	{
		problem->sqlstate = ERRCODE_UNDEFINED_OBJECT;
		problem->message = psprintf("no attached file has number %u", number);
		problem->detail = psprintf("Its server of foreign-data wrapper \"%s\" was dropped, or renamed without an option \"number\".",
								   HM_FILE_WRAPPER);
		problem->hint = "Create it again with that option.";
		return NULL;
	}
	if (NameStr(entry->rival)[0] != '\0')
	{
		problem->sqlstate = ERRCODE_DUPLICATE_OBJECT;
		problem->message = psprintf("servers \"%s\" and \"%s\" have the same file number %u",
									NameStr(entry->name), NameStr(entry->rival), number);
		problem->hint = "Drop the one that was created later, or set its option \"number\" to another.";
		return NULL;
	}
	if (!SearchSysCacheExists1(FOREIGNSERVEROID, ObjectIdGetDatum(entry->server)))
	{
		problem->sqlstate = ERRCODE_UNDEFINED_OBJECT;
		problem->message = psprintf("server \"%s\" does not exist", NameStr(entry->name));
		return NULL;
	}
	if (hm_server_usage_check(entry->server, now->user) != ACLCHECK_OK)
	{
		problem->sqlstate = ERRCODE_INSUFFICIENT_PRIVILEGE;
		problem->message = psprintf("permission denied for foreign server %s", NameStr(entry->name));
		return NULL;
	}
	memset(&entry->moment, 0, sizeof(Moment));
	if (!look(entry, problem))
		return NULL;
	entry->moment = *now;
	return &entry->mapping->file;
}

HmFile *
hm_file_try(uint32 number, HmFileProblem *problem)
{
	Moment		now = {catalog_changes, knowledge_changes, GetCurrentStatementStartTimestamp(), GetUserId()};

	if (likely(files != NULL && files_catalog == now.catalog))
	{
		FileEntry  *entry = hash_search(files, &number, HASH_FIND, NULL);

		if (likely(entry != NULL && entry->moment.catalog == now.catalog &&
				   entry->moment.knowledge == now.knowledge &&
				   entry->moment.statement == now.statement && entry->moment.user == now.user))
			return &entry->mapping->file;
	}
	return acquire_slowly(number, &now, problem);
}

HmFile *
hm_file_acquire(uint32 number)
{
	HmFileProblem problem;
	HmFile	   *file = hm_file_try(number, &problem);

	if (unlikely(file == NULL))
		hm_file_raise(&problem);
	return file;
}

void
hm_file_raise(const HmFileProblem *problem)
{
	ereport(ERROR,
			(errcode(problem->sqlstate),
			 errmsg_internal("%s", problem->message),
			 problem->detail != NULL ? errdetail_internal("%s", problem->detail) : 0,
			 problem->hint != NULL ? errhint("%s", problem->hint) : 0));
	pg_unreachable();
}

/* ---- Names and numbers ---- */

const char *
hm_file_server_name(uint32 number)
{
	FileEntry  *entry = find(number);

	return entry == NULL || NameStr(entry->rival)[0] != '\0' ? NULL : NameStr(entry->name);
}

uint32
hm_file_number(const char *name)
{
	static NameData last_name;	/* COPY asks for the same one a million times */
	static uint32 last_number;
	static uint64 last_catalog;
	HASH_SEQ_STATUS status;
	FileEntry  *entry;

	read_catalog();
	if (last_catalog == files_catalog && strcmp(NameStr(last_name), name) == 0)
		return last_number;

	hash_seq_init(&status, files);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (!entry->listed ||
			(strcmp(NameStr(entry->name), name) != 0 && strcmp(NameStr(entry->rival), name) != 0))
			continue;
		namestrcpy(&last_name, name);
		last_number = entry->number;
		last_catalog = files_catalog;
		hash_seq_term(&status);
		return last_number;
	}
	return 0;
}

/* ---- Rows ---- */

void
hm_file_no_such_row(const HmFile *file, int64 row)
{
	ereport(ERROR,
			(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
			 errmsg("file of server \"%s\" has no row " INT64_FORMAT, NameStr(file->name), row),
			 errdetail("It has " UINT64_FORMAT " rows, counted from 0.", file->rows),
			 errhint("If it has grown since it was attached, attach it again with hnsw_mmap_attach.")));
	pg_unreachable();
}

void
hm_file_damaged_row(const HmFile *file, uint64 row)
{
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("row " UINT64_FORMAT " of the file of server \"%s\" is damaged", row, NameStr(file->name)),
			 errdetail("Its number of dimensions is not %d, as that of row 0 is.", file->dim)));
	pg_unreachable();
}

void
hm_file_fault(void)
{
	const char *address = hm_guard_fault_address();
	HASH_SEQ_STATUS status;
	FileEntry  *entry;
	const char *name = NULL;

	knowledge_changes++;

	hash_seq_init(&status, files);
	while ((entry = hash_seq_search(&status)) != NULL)
	{
		if (entry->mapping != NULL && address >= entry->mapping->start &&
			(size_t) (address - entry->mapping->start) < entry->mapping->size)
			name = NameStr(entry->name);
	}
	for (HmFileMapping *mapping = superseded; mapping != NULL; mapping = mapping->next)
	{
		if (address >= mapping->start && (size_t) (address - mapping->start) < mapping->size)
			name = NameStr(mapping->file.name);
	}

	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 name != NULL ? errmsg("could not read the file of server \"%s\"", name) :
			 errmsg("could not read an attached file"),
			 errdetail("It was truncated while it was in use, or its disk failed.")));
	pg_unreachable();
}

typedef struct RowRead
{
	const HmFile *file;
	uint64		row;
	void	   *to;
	bool		sound;
} RowRead;

static void
copy_row(void *argument)
{
	RowRead    *read = argument;

	memcpy(read->to, hm_file_row(read->file, read->row), hm_file_row_size(read->file));
	read->sound = hm_file_row_is_sound(read->file, read->row);
}

void
hm_file_read(HmFile *file, uint64 row, void *to)
{
	RowRead		read = {file, row, to, false};

	if (row >= file->rows)
		hm_file_no_such_row(file, (int64) row);
	if (!hm_guarded_call(copy_row, &read))
		hm_file_fault();
	if (!read.sound)
		hm_file_damaged_row(file, row);
}

#define FINGERPRINT_ROWS	64

uint64
hm_file_fingerprint(HmFile *file, uint64 rows)
{
	size_t		size = hm_file_row_size(file);
	void	   *components;
	uint64		samples = Min(rows, FINGERPRINT_ROWS);
	uint64		hash = (uint64) file->kind << 32 | (uint32) file->dim;

	if (rows != 0 && file->fingerprint_rows == rows)
		return file->fingerprint;

	components = palloc(size);
	for (uint64 i = 0; i < samples; i++)
	{
		/* i * (rows - 1) / (samples - 1), without overflow: from the first row to the last */
		uint64		row = samples == 1 ? 0 :
			(rows - 1) / (samples - 1) * i + (rows - 1) % (samples - 1) * i / (samples - 1);

		hm_file_read(file, row, components);
		hash = hash_bytes_extended(components, (int) size, hash);
	}
	pfree(components);
	file->fingerprint_rows = rows;
	file->fingerprint = hash;
	return hash;
}
