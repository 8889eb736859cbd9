/*-------------------------------------------------------------------------
 *
 * export.c
 *	  An index's graph in another library's format.
 *
 * First every element's row is fetched, under one snapshot, for its label; then
 * elements that have one are numbered, and written as they lie in the index.
 * Twelve bytes an element are kept in memory, and sixteen more while labels are
 * compared.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "index/export.h"
#include "index/labels.h"
#include "index/options.h"
#include "index/reader.h"
#include "index/row.h"
#include "miscadmin.h"
#include "simd/simd.h"
#include "storage/log.h"
#include "types/typeinfo.h"
#include "utils/memutils.h"

#define PROGRESS_STEP 1024		/* elements */

typedef struct GraphExport
{
	Relation	heap;
	Relation	index;
	const HmOpclass *opclass;
	const HmExportTarget *target;
	HmExportReport *report;
	HmReader	reader;
	HmRowFetcher rows;
	Oid			label_type;

	uint64	   *labels;			/* per element */
	uint32	   *new_of_old;		/* HM_NO_ID: left out */
	HmGraphHeader header;
	uint8	   *bytes;			/* of one element, or its upper lists */
	float	   *vector;			/* dim values; save_index only */
} GraphExport;

/* A row's label, for finding those that occur twice. */
typedef struct LabelOf
{
	uint64		label;
	uint32		element;
} LabelOf;

static int
element_level(const HmReader *reader, uint32 id)
{
	const HmPartDesc *part = reader->parts[hm_reader_part_of(reader, id)].desc;
	uint32		number = id - part->first_element;
	int			level = 0;

	while (level + 1 < HM_MAX_LEVELS && number < part->level_count[level + 1])
		level++;
	return level;
}

/* The label of the row that was fetched. */
static uint64
row_label(GraphExport *export, Datum value)
{
	int64		label;
	bool		isnull = false;

	if (export->target->label != InvalidAttrNumber)
		value = slot_getattr(export->rows.slot, export->target->label, &isnull);
	if (isnull)
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("a row of table \"%s\" has no label", RelationGetRelationName(export->heap)),
				 errhint("Every row that is in the index needs one.")));
	label = hm_label_of(export->label_type, value);
	if (label < 0)
		ereport(ERROR,
				(errcode(ERRCODE_NUMERIC_VALUE_OUT_OF_RANGE),
				 errmsg("label %lld of a row of table \"%s\" is negative",
						(long long) label, RelationGetRelationName(export->heap))));
	return (uint64) label;
}

/*
 * Fetches the first row of an element that the snapshot sees and whose vector
 * can be ranked.  False: there is none.  *others: how many more rows it sees,
 * if asked.
 */
static bool
fetch_element(GraphExport *export, uint32 id, Datum *value, uint64 *others)
{
	HmTidIterator iterator;
	ItemPointerData tid;
	ItemPointerData found;
	bool		isnull;
	int			seen = 0;

	hm_reader_tids(id, &iterator);
	while ((seen == 0 || others != NULL) && hm_reader_next_tid(&export->reader, &iterator, &tid))
	{
		if (!hm_row_fetch(&export->rows, &tid, value, &isnull) || isnull)
			continue;
		if (seen == 0)
			found = tid;
		else
			(*others)++;
		seen++;
	}
	if (seen > 1)
		(void) hm_row_fetch(&export->rows, &found, value, &isnull);
	return seen > 0;
}

/* Says how far it is, once in a while. */
static void
report_progress(GraphExport *export, uint32 id, uint64 done)
{
	CHECK_FOR_INTERRUPTS();
	if (id % PROGRESS_STEP == 0)
		export->target->progress(export->target->state, done);
}

/* First pass: labels, and who is left out. */
static void
read_labels(GraphExport *export)
{
	uint32		count = export->reader.store.element_count;

	for (uint32 id = 0; id < count; id++)
	{
		Datum		value;

		report_progress(export, id, 0);
		if (fetch_element(export, id, &value, &export->report->unlisted))
		{
			export->labels[id] = row_label(export, value);
			export->new_of_old[id] = 0;
		}
		else
		{
			export->new_of_old[id] = HM_NO_ID;
			export->report->dropped++;
		}
	}
	hm_row_let_go(&export->rows);
}

static int
compare_labels(const void *a, const void *b)
{
	const LabelOf *x = a;
	const LabelOf *y = b;

	if (x->label != y->label)
		return x->label < y->label ? -1 : 1;
	return x->element < y->element ? -1 : x->element > y->element;
}

/*
 * Labels name elements, so each must be one's only.  Two rows of a table may
 * refer to one row of a file, and be two elements, where a merge did not find
 * that they are equal: then the first one stands for both.
 */
static void
check_labels(GraphExport *export)
{
	uint32		count = export->reader.store.element_count;
	uint32		used = 0;
	LabelOf    *sorted = MemoryContextAllocHuge(CurrentMemoryContext, (Size) count * sizeof(LabelOf));

	for (uint32 id = 0; id < count; id++)
	{
		if (export->new_of_old[id] == HM_NO_ID)
			continue;
		sorted[used].label = export->labels[id];
		sorted[used++].element = id;
	}
	qsort(sorted, used, sizeof(LabelOf), compare_labels);
	CHECK_FOR_INTERRUPTS();
	for (uint32 i = 1; i < used; i++)
	{
		if (sorted[i].label != sorted[i - 1].label)
			continue;
		if (export->target->label != InvalidAttrNumber)
			ereport(ERROR,
					(errcode(ERRCODE_UNIQUE_VIOLATION),
					 errmsg("label %llu of table \"%s\" is not unique",
							(unsigned long long) sorted[i].label, RelationGetRelationName(export->heap)),
					 errhint("Name a column whose values are.")));
		export->new_of_old[sorted[i].element] = HM_NO_ID;
		export->report->unlisted++;
	}
	pfree(sorted);
}

/* Numbers what is left, and finds the entry point: the old one, or one as high as any. */
static void
number_elements(GraphExport *export)
{
	HmReader   *reader = &export->reader;
	HmGraphHeader *header = &export->header;

	for (uint32 id = 0; id < reader->store.element_count; id++)
	{
		int			level;

		if (export->new_of_old[id] == HM_NO_ID)
			continue;
		export->new_of_old[id] = header->count++;
		level = element_level(reader, id);
		if (level > header->top_level || (level == header->top_level && id == reader->store.entry_point))
		{
			header->top_level = level;
			header->entry = export->new_of_old[id];
		}
	}
}

/* Copies a list, looking at every id in it; returns how many there are. */
static int
copy_links(GraphExport *export, uint32 id, int level, uint32 *slots)
{
	HmReader   *reader = &export->reader;
	int			used = hm_reader_copy_links(reader, id, level, slots);

	for (int i = 0; i < used; i++)
	{
		if (slots[i] >= reader->store.element_count || element_level(reader, slots[i]) < level)
			ereport(ERROR,
					(errcode(ERRCODE_INDEX_CORRUPTED),
					 errmsg("index \"%s\" is damaged", RelationGetRelationName(export->index)),
					 errdetail("Element %u is linked at level %d to element %u.", id, level, slots[i]),
					 errhint("Please REINDEX it.")));
	}
	return used;
}

static int
add_link(uint32 *links, int used, uint32 id)
{
	for (int i = 0; i < used; i++)
	{
		if (links[i] == id)
			return used;
	}
	links[used] = id;
	return used + 1;
}

/* An element's list without those left out, whose neighbours come in where there is room. */
static int
make_list(GraphExport *export, uint32 id, int level, uint32 *links)
{
	const uint32 *new_of_old = export->new_of_old;
	int			size = level == 0 ? 2 * export->header.m : export->header.m;
	uint32		own[2 * HM_MAX_M];
	uint32		theirs[2 * HM_MAX_M];
	int			own_used = copy_links(export, id, level, own);
	int			used = 0;

	for (int i = 0; i < own_used; i++)
	{
		if (new_of_old[own[i]] != HM_NO_ID && own[i] != id)
			used = add_link(links, used, new_of_old[own[i]]);
	}
	for (int i = 0; i < own_used && used < size; i++)
	{
		int			n;

		if (new_of_old[own[i]] != HM_NO_ID)
			continue;
		n = copy_links(export, own[i], level, theirs);
		for (int j = 0; j < n && used < size; j++)
		{
			if (new_of_old[theirs[j]] != HM_NO_ID && theirs[j] != id)
				used = add_link(links, used, new_of_old[theirs[j]]);
		}
	}
	return used;
}

/* The vector that save_index keeps: single precision, and for cosine of length 1. */
static void
make_vector(GraphExport *export, uint32 id)
{
	int			dim = export->reader.directory->meta.dim;
	Datum		value;
	HmVector	vector;
	void	   *copied;

	/* the snapshot sees what it saw before */
	if (!fetch_element(export, id, &value, NULL))
		elog(ERROR, "row of element %u has gone", id);
	vector = export->opclass->type->view(value, &copied);
	if (vector.dim != dim)
		hm_check_dimensions(dim, vector.dim);
	if (vector.kind == HM_F16)
		hm_kernels->f16_to_f32(vector.data, export->vector, dim);
	else
		memcpy(export->vector, vector.data, dim * sizeof(float));
	if (export->opclass->metric == HM_COSINE)
	{
		double		norm = sqrt(hm_squared_norm(&vector));

		for (int i = 0; i < dim; i++)
			export->vector[i] = (float) (export->vector[i] / norm);
	}
	if (copied != NULL)
		pfree(copied);
}

static void
write_elements(GraphExport *export)
{
	const HmExportTarget *target = export->target;
	uint32		links[2 * HM_MAX_M];

	for (uint32 id = 0; id < export->reader.store.element_count; id++)
	{
		int			used;

		report_progress(export, id, id);
		if (export->new_of_old[id] == HM_NO_ID)
			continue;
		used = make_list(export, id, 0, links);
		if (export->vector != NULL)
			make_vector(export, id);
		target->write(target->state, export->bytes,
					  hm_graph_write_element(&export->header, links, used, false,
											 export->labels[id], export->vector, export->bytes));
	}
	hm_row_let_go(&export->rows);
}

static void
write_upper(GraphExport *export)
{
	const HmExportTarget *target = export->target;
	uint32		m = export->header.m;
	uint32	   *links = palloc(HM_MAX_LEVELS * m * sizeof(uint32));
	int			used[HM_MAX_LEVELS];

	for (uint32 id = 0; id < export->reader.store.element_count; id++)
	{
		int			levels;

		CHECK_FOR_INTERRUPTS();
		if (export->new_of_old[id] == HM_NO_ID)
			continue;
		levels = element_level(&export->reader, id);
		for (int level = 1; level <= levels; level++)
			used[level - 1] = make_list(export, id, level, links + (level - 1) * m);
		target->write(target->state, export->bytes,
					  hm_graph_write_upper(&export->header, levels, links, used, export->bytes));
	}
	pfree(links);
}

static void
write_graph(GraphExport *export)
{
	const HmExportTarget *target = export->target;
	uint32		count = export->reader.store.element_count;
	size_t		size = HM_GRAPH_HEADER_BYTES;

	export->labels = MemoryContextAllocHuge(CurrentMemoryContext, Max(count, 1) * sizeof(uint64));
	export->new_of_old = MemoryContextAllocHuge(CurrentMemoryContext, Max(count, 1) * sizeof(uint32));
	read_labels(export);
	check_labels(export);
	number_elements(export);

	size = Max(size, hm_graph_element_bytes(&export->header));
	size = Max(size, hm_graph_upper_bytes(&export->header, HM_MAX_LEVELS));
	export->bytes = palloc(size);
	if (target->format == HM_GRAPH_HNSWLIB)
		export->vector = palloc(Max(export->reader.directory->meta.dim, 1) * sizeof(float));

	target->write(target->state, export->bytes, hm_graph_write_header(&export->header, export->bytes));
	write_elements(export);
	write_upper(export);
	export->report->elements = export->header.count;
	export->report->levels = export->header.top_level + 1;
}

/* What is in the log is in no list. */
static void
check_log(Relation index, const HmDirectory *directory)
{
	uint64		entries;
	uint64		live;
	uint32		pages;

	hm_log_count(index, directory, &entries, &live, &pages);
	if (live > 0)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("index \"%s\" has %llu rows that are not part of its graph yet",
						RelationGetRelationName(index), (unsigned long long) live),
				 errhint("SELECT hnsw_mmap_merge('%s') first.", RelationGetRelationName(index))));
}

void
hm_graph_export(Relation heap, Relation index, Snapshot snapshot,
				const HmExportTarget *target, HmExportReport *report)
{
	MemoryContext context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap export",
												  ALLOCSET_DEFAULT_SIZES);
	MemoryContext caller = MemoryContextSwitchTo(context);
	GraphExport *export = palloc0(sizeof(GraphExport));
	HmDirectory *directory = palloc(sizeof(HmDirectory));
	const HmMeta *meta = &directory->meta;

	memset(report, 0, sizeof(*report));
	export->heap = heap;
	export->index = index;
	export->opclass = hm_opclass(index);
	export->target = target;
	export->report = report;
	export->label_type = hm_label_type(heap, target->label);

	hm_directory_read(index, directory);
	check_log(index, directory);
	export->header.format = target->format;
	export->header.m = meta->m;
	export->header.top_level = -1;
	export->header.ef_construction = meta->ef_construction;
	export->header.vector_bytes = meta->dim * sizeof(float);
	for (uint32 i = 0; i < meta->part_count; i++)
		report->unlisted += meta->parts[i].tail_count;

	hm_row_begin(&export->rows, index, heap, snapshot, NULL);
	hm_reader_open(&export->reader, index, directory);
	PG_TRY();
	{
		write_graph(export);
	}
	PG_FINALLY();
	{
		hm_reader_close(&export->reader);
	}
	PG_END_TRY();
	hm_row_end(&export->rows);
	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);
}
