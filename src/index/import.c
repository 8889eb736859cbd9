/*-------------------------------------------------------------------------
 *
 * import.c
 *	  Building an index from another library's graph: the file, and whose
 *	  element is which row.
 *
 * The file is copied into scratch memory first.  It belongs to somebody else,
 * who may change it at any time; the copy stays what it was when it was
 * checked.  Like all scratch memory it is touched in guarded calls only.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "graph/key.h"
#include "index/import_state.h"
#include "index/index.h"
#include "index/labels.h"
#include "index/options.h"
#include "miscadmin.h"
#include "storage/fd.h"

#define READ_STEP	(1024 * 1024)	/* bytes between looks for interrupts */
#define NODE_STEP	65536			/* nodes or rows, likewise */

static HmImportRequest *current_request = NULL;

void
hm_import_set_request(HmImportRequest *request)
{
	current_request = request;
}

static void refuse_file(const char *path, const char *text) pg_attribute_noreturn();

static void
refuse_file(const char *path, const char *text)
{
	ereport(ERROR,
			(errcode(ERRCODE_INVALID_BINARY_REPRESENTATION),
			 errmsg("graph file \"%s\" cannot be read: %s", path, text)));
}

void
hm_import_refuse(const HmImport *import, const char *text)
{
	refuse_file(import->request->path, text);
}

/* Opens a regular file; a pipe must not make us wait for who writes to it. */
static int
open_file(const char *path, uint64 *size)
{
	int			fd = OpenTransientFile(path, O_RDONLY | O_NONBLOCK | PG_BINARY);
	struct stat status;

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open file \"%s\" for reading: %m", path)));
	if (fstat(fd, &status) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	if (!S_ISREG(status.st_mode))
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a regular file", path)));
	*size = (uint64) status.st_size;
	return fd;
}

static void
read_bytes(int fd, const char *path, char *bytes, uint64 size)
{
	while (size > 0)
	{
		ssize_t		n = read(fd, bytes, Min(size, READ_STEP));

		CHECK_FOR_INTERRUPTS();
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not read file \"%s\": %m", path)));
		if (n == 0)
			refuse_file(path, "it became shorter meanwhile");
		bytes += n;
		size -= n;
	}
}

void *
hm_import_read_small(const char *path, size_t limit, size_t *size)
{
	uint64		file_size;
	int			fd = open_file(path, &file_size);
	char	   *bytes;

	if (file_size > limit)
		refuse_file(path, "it is too long");
	bytes = palloc(Max(file_size, 1));
	read_bytes(fd, path, bytes, file_size);
	CloseTransientFile(fd);
	*size = file_size;
	return bytes;
}

void
hm_import_read_header(const char *path, HmGraphHeader *header)
{
	uint64		size;
	int			fd = open_file(path, &size);
	char		bytes[HM_GRAPH_HEADER_BYTES];
	HmGraphFile file;
	HmGraphFileError error;

	memset(bytes, 0, sizeof(bytes));
	read_bytes(fd, path, bytes, Min(size, sizeof(bytes)));
	CloseTransientFile(fd);
	if (!hm_graph_file_open(&file, bytes, size, &error))
		refuse_file(path, error.text);
	*header = file.header;
}

/* Arguments and result of the guarded calls over nodes or rows. */
typedef struct StepCall
{
	HmImport   *import;
	uint64		first;
	uint64		end;
	bool		ok;
	uint64		label;			/* what is wrong with it, if not ok */
	HmGraphFileError error;
} StepCall;

/* Runs a step over 0 .. count - 1 until one is not ok. */
static bool
run_steps(StepCall *call, void (*step) (void *), uint64 count)
{
	call->ok = true;
	for (call->first = 0; call->first < count && call->ok; call->first = call->end)
	{
		call->end = Min(call->first + NODE_STEP, count);
		hm_scratch_call(step, call);
		CHECK_FOR_INTERRUPTS();
	}
	return call->ok;
}

static void
open_step(void *argument)
{
	StepCall   *call = argument;
	HmImport   *import = call->import;

	call->ok = hm_graph_file_open(&import->file, import->bytes->base, call->end, &call->error);
}

static void
check_levels_step(void *argument)
{
	StepCall   *call = argument;
	HmImport   *import = call->import;

	call->ok = hm_graph_file_check_levels(&import->file, (uint64 *) import->upper->base,
										  (uint32) call->end, &call->error);
}

static void
check_links_step(void *argument)
{
	StepCall   *call = argument;
	HmImport   *import = call->import;

	call->ok = hm_graph_file_check_links(&import->file, hm_import_upper(import),
										 (uint32) call->first, (uint32) call->end, &call->error);
}

static HmScratch *
new_scratch(HmImport *import, uint64 size)
{
	HmScratch  *scratch = hm_scratch_create(import->set);

	hm_scratch_reserve(scratch, Max(size, 1));
	return scratch;
}

/* Copies the file into scratch memory. */
static void
copy_file(HmImport *import, uint64 *size)
{
	const char *path = import->request->path;
	int			fd = open_file(path, size);

	import->bytes = new_scratch(import, *size);
	read_bytes(fd, path, import->bytes->base, *size);
	CloseTransientFile(fd);
}

static inline uint64
label_slot(const HmImport *import, uint64 label)
{
	return hm_mix64(label ^ import->seed) & import->slot_mask;
}

static inline uint64
node_label(const HmImport *import, uint32 node)
{
	return hm_graph_file_label(&import->file, node) + import->request->label_base;
}

/* The node with a label, or HM_NO_ID; *slot: where it is, or would be. */
static uint32
find_node(const HmImport *import, uint64 label, uint64 *slot)
{
	const uint32 *slots = (const uint32 *) import->slots->base;
	uint64		i = label_slot(import, label);

	while (slots[i] != 0 && node_label(import, slots[i] - 1) != label)
		i = (i + 1) & import->slot_mask;
	*slot = i;
	return slots[i] - 1;
}

StaticAssertDecl(HM_NO_ID == (uint32) 0 - 1, "an empty slot stands for no node");

static void
hash_labels_step(void *argument)
{
	StepCall   *call = argument;
	HmImport   *import = call->import;
	uint32	   *slots = (uint32 *) import->slots->base;

	for (uint32 node = (uint32) call->first; node < call->end; node++)
	{
		uint64		slot;

		call->label = node_label(import, node);
		if (hm_graph_file_label(&import->file, node) >= import->request->label_count ||
			find_node(import, call->label, &slot) != HM_NO_ID)
		{
			call->ok = false;
			return;
		}
		slots[slot] = node + 1;
		import->last_label = Max(import->last_label, call->label);
	}
}

/* Puts all labels into a table, whose hash nobody can prepare labels for that collide. */
static void
hash_labels(HmImport *import)
{
	StepCall	call = {.import = import};
	uint64		slot_count = 1024;
	char		text[64];

	while (slot_count < (uint64) import->file.header.count * 2)
		slot_count *= 2;
	import->slot_mask = slot_count - 1;
	import->seed = hm_build_random();
	import->slots = new_scratch(import, slot_count * sizeof(uint32));
	if (run_steps(&call, hash_labels_step, import->file.header.count))
		return;
	snprintf(text, sizeof(text), "label " UINT64_FORMAT " occurs twice, or is too large", call.label);
	hm_import_refuse(import, text);
}

/* A sharded index says what it was built for. */
static void
check_space(const HmImportRequest *request, HmMetric metric)
{
	const char *space = metric == HM_L2 ? "l2" : metric == HM_COSINE ? "cosine" : "ip";

	if (request->space != NULL && strcmp(request->space, space) != 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("graph file \"%s\" is of space \"%s\", not \"%s\"",
						request->path, request->space, space),
				 errhint("Name the operator class for that.")));
}

HmImport *
hm_import_begin(Relation heap, Relation index, HmScratchSet *set)
{
	HmImportRequest *request = current_request;
	HmImport   *import;
	StepCall	call = {0};

	if (request == NULL || request->table != RelationGetRelid(heap) || OidIsValid(request->index))
		return NULL;
	request->index = RelationGetRelid(index);
	hm_label_check(heap, index, request->label);
	check_space(request, hm_opclass(index)->metric);

	import = palloc0(sizeof(HmImport));
	import->request = request;
	import->set = set;
	import->rows = hm_scratch_create(set);
	import->label_type = hm_label_type(heap, request->label);
	call.import = import;
	copy_file(import, &call.end);
	hm_scratch_call(open_step, &call);
	if (!call.ok)
		hm_import_refuse(import, call.error.text);
	import->upper = new_scratch(import, import->file.header.count * (uint64) sizeof(uint64));

	/* of no elements there is only the file's end to be looked at */
	call.end = 0;
	hm_scratch_call(check_levels_step, &call);
	if (!call.ok ||
		!run_steps(&call, check_levels_step, import->file.header.count) ||
		!run_steps(&call, check_links_step, import->file.header.count))
		hm_import_refuse(import, call.error.text);
	hash_labels(import);
	return import;
}

IndexInfo *
hm_import_scan_info(const HmImport *import, IndexInfo *index_info)
{
	IndexInfo  *info;

	if (import->request->label == InvalidAttrNumber)
		return index_info;
	info = makeNode(IndexInfo);
	memcpy(info, index_info, sizeof(IndexInfo));
	info->ii_NumIndexAttrs = 2;
	info->ii_IndexAttrNumbers[1] = import->request->label;
	return info;
}

bool
hm_import_label(const HmImport *import, const Datum *values, const bool *isnull, int64 *label)
{
	int			column = import->request->label == InvalidAttrNumber ? 0 : 1;

	if (isnull[column])
		return false;
	*label = hm_label_of(import->label_type, values[column]);
	return true;
}

/* Arguments of add_row_step. */
typedef struct RowCall
{
	HmImport   *import;
	HmImportRow row;
} RowCall;

static void
add_row_step(void *argument)
{
	RowCall    *call = argument;

	((HmImportRow *) call->import->rows->base)[call->import->row_count] = call->row;
}

void
hm_import_add_row(HmImport *import, int64 label, uint32 element, double norm)
{
	RowCall		call = {import, {(uint64) label, element, (float) norm}};

	hm_scratch_reserve(import->rows, (import->row_count + 1) * sizeof(HmImportRow));
	hm_scratch_call(add_row_step, &call);
	import->row_count++;
}

void
hm_import_forget_rows(HmImport *import)
{
	import->row_count = 0;
}

/*
 * Makes rows' elements those of their labels' nodes.  A node has one element; an
 * element may have several nodes, which are chained.
 */
static void
match_step(void *argument)
{
	StepCall   *call = argument;
	HmImport   *import = call->import;
	const HmImportRow *rows = (const HmImportRow *) import->rows->base;
	uint32	   *element_of_node = (uint32 *) import->element_of_node->base;
	uint32	   *next_node = (uint32 *) import->next_node->base;
	uint32	   *node_of_element = (uint32 *) import->node_of_element->base;
	uint8	   *levels = (uint8 *) import->levels->base;

	for (uint64 i = call->first; i < call->end; i++)
	{
		uint32		element = rows[i].element;
		uint64		slot;
		uint32		node = find_node(import, rows[i].label, &slot);
		int			level;

		if (node == HM_NO_ID || hm_graph_file_is_deleted(&import->file, node) ||
			element_of_node[node] == element)
			continue;
		if (element_of_node[node] != HM_NO_ID)
		{
			call->ok = false;
			call->label = rows[i].label;
			return;
		}
		element_of_node[node] = element;
		import->used_nodes++;
		if (node_of_element[element] == HM_NO_ID)
			import->used_elements++;
		next_node[node] = node_of_element[element];
		node_of_element[element] = node;
		((float *) import->norms->base)[element] = rows[i].norm;
		level = hm_graph_file_level(&import->file, hm_import_upper(import), node);
		if (levels[element] == HM_LEVEL_FROM_SEED || levels[element] < level)
			levels[element] = (uint8) level;
	}
}

/* Sets every byte of an area. */
typedef struct FillCall
{
	HmScratch  *scratch;
	int			byte;
} FillCall;

static void
fill_step(void *argument)
{
	FillCall   *call = argument;

	memset(call->scratch->base, call->byte, call->scratch->size);
}

static HmScratch *
filled_scratch(HmImport *import, uint64 size)
{
	FillCall	call = {new_scratch(import, size), 0xFF};

	hm_scratch_call(fill_step, &call);
	return call.scratch;
}

/* Refuses what cannot be a graph of these vectors. */
static void
check_header(const HmImport *import, uint32 dim, uint32 m, uint64 labels)
{
	const HmGraphHeader *header = &import->file.header;
	uint64		bytes = header->vector_bytes;

	if (header->m != m)
		hm_import_refuse(import, "its M is not the one that the index was declared with");
	if (bytes != 0 && bytes != dim * sizeof(float) &&
		!(header->format == HM_GRAPH_MMAP && bytes == dim * sizeof(uint16)))
		ereport(ERROR,
				(errcode(ERRCODE_DATATYPE_MISMATCH),
				 errmsg("graph file \"%s\" is of vectors of " UINT64_FORMAT " dimensions, not %u",
						import->request->path, bytes / sizeof(float), dim)));
	if (header->count > 0 && import->last_label >= labels)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("graph file \"%s\" has label %llu, but the vector file has %llu rows",
						import->request->path, (unsigned long long) import->last_label,
						(unsigned long long) labels),
				 errhint("Labels are rows of the vector file, unless a label column is named.")));
}

void
hm_import_match(HmImport *import, uint32 element_count, uint32 dim, uint32 m, uint64 file_rows)
{
	StepCall	call = {.import = import};
	uint64		nodes = import->file.header.count;

	check_header(import, dim, m,
				 import->request->label == InvalidAttrNumber ? file_rows : PG_UINT64_MAX);
	import->element_count = element_count;
	import->element_of_node = filled_scratch(import, nodes * sizeof(uint32));
	import->next_node = new_scratch(import, nodes * sizeof(uint32));
	import->node_of_element = filled_scratch(import, element_count * sizeof(uint32));
	import->norms = new_scratch(import, element_count * sizeof(float));
	import->levels = filled_scratch(import, element_count);

	if (!run_steps(&call, match_step, import->row_count))
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("rows with label %llu have different vectors", (unsigned long long) call.label),
				 errdetail("One label of graph file \"%s\" stands for one vector.", import->request->path)));
	if (import->used_nodes == 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("no row has a label of graph file \"%s\"", import->request->path),
				 errhint("Labels are values of the label column, or rows of the vector file that the table refers to.")));
	hm_scratch_close(import->slots);
	hm_scratch_close(import->rows);
	import->slots = NULL;
	import->rows = NULL;
}

const uint8 *
hm_import_levels(const HmImport *import)
{
	return (const uint8 *) import->levels->base;
}

void
hm_import_end(HmImport *import, uint32 element_count)
{
	import->request->nodes = import->file.header.count;
	import->request->used = import->used_nodes;
	import->request->inserted = element_count - import->used_elements;
}
