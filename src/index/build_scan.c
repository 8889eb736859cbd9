/*-------------------------------------------------------------------------
 *
 * build_scan.c
 *	  First phase of a build: from rows to elements.
 *
 * Equal vectors become one element.  HNSW does badly with many copies of one
 * point (they link to each other only), and tables have them: a default, an
 * empty text.  Two rows share an element if a 64-bit hash of their vectors'
 * bytes agrees and their half-precision copies are equal.  The hash's seed is
 * drawn for each build, so nobody can prepare vectors that collide.  Were two
 * different vectors merged all the same (about one chance in 2^64 for each
 * pair with equal copies), no answer would be wrong: their copies being equal,
 * the search ranks both as near as half precision can tell, and the key of a
 * row that is returned is always computed from the row itself.
 *
 * The table that finds equal vectors is open-addressed with linear probing.
 * Each slot is one word: the hash's upper half, and the element's number plus
 * one, so that zero means empty.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "access/tableam.h"
#include "files/extvec.h"
#include "index/attached.h"
#include "index/build_state.h"
#include "index/index.h"
#include "index/element.h"
#include "miscadmin.h"
#include "utils/memutils.h"

#define FIRST_SLOTS		8192	/* of the hash table; a power of two */
#define REHASH_STEP		1048576 /* elements between looks for interrupts */
#define OUT_OF_LINE_WARNING 5	/* percent of vectors */
#define LARGEST_OVERHEAD	64	/* of tuple and array headers, and of a key beside the vector */

typedef struct BuildScan
{
	HmBuildState *build;
	MemoryContext row_context;	/* reset after each row */
	float	   *floats;			/* dim values, for hm_element_make */
	uint16	   *copy;			/* dim values: the row's copy */
	uint64		hash_seed;
	bool		varlena;		/* the column's type has varying length */
	HmSizes		sizes;			/* of a sample */

	HmScratch  *table;			/* slot_count words */
	uint64		slot_count;

	HmFile	   *read_ahead;		/* the attached file, told that it is read in order */
	bool		live_seen;		/* the dimension is that of a live row */
	uint64		vectors;		/* rows with a vector */
	uint64		out_of_line;	/* of them, not readable in place */
} BuildScan;

/* Arguments and result of a guarded call. */
typedef struct StoreCall
{
	BuildScan  *scan;
	uint64		hash;
	HmRef		ref;
	uint64		row;			/* of the attached file */
	uint32		element;		/* out: what the row belongs to */
	uint32		first;			/* rehash: elements first .. end - 1 */
	uint32		end;
} StoreCall;

static inline uint64
make_slot(uint64 hash, uint32 id)
{
	return (hash & UINT64CONST(0xFFFFFFFF00000000)) | ((uint64) id + 1);
}

static inline uint32
slot_id(uint64 slot)
{
	return (uint32) slot - 1;
}

/* Puts elements of the scratch area of rows into the table, which has room. */
static void
rehash(void *argument)
{
	StoreCall  *call = argument;
	const HmBuildRow *rows = (const HmBuildRow *) call->scan->build->rows->base;
	uint64	   *slots = (uint64 *) call->scan->table->base;
	uint64		mask = call->scan->slot_count - 1;

	for (uint32 id = call->first; id < call->end; id++)
	{
		uint64		hash = rows[id].hash;
		uint64		i = hash & mask;

		while (slots[i] != 0)
			i = (i + 1) & mask;
		slots[i] = make_slot(hash, id);
	}
}

/* Makes sure that one more element fits into the table, at most two thirds full. */
static void
make_room(BuildScan *scan)
{
	HmBuildState *build = scan->build;

	if ((uint64) build->element_count * 3 < scan->slot_count * 2)
		return;

	if (scan->table != NULL)
		hm_scratch_close(scan->table);
	scan->slot_count = scan->slot_count == 0 ? FIRST_SLOTS : scan->slot_count * 2;
	scan->table = hm_scratch_create(build->scratch);
	hm_scratch_reserve(scan->table, scan->slot_count * sizeof(uint64));

	for (uint32 first = 0; first < build->element_count;)
	{
		StoreCall	call = {.scan = scan, .first = first};

		call.end = first + Min(build->element_count - first, REHASH_STEP);
		hm_scratch_call(rehash, &call);
		first = call.end;
		CHECK_FOR_INTERRUPTS();
	}
}

/*
 * Stores the row of scan->copy as a posting of an equal element, or as a new
 * element.  The scratch areas have room for either.
 */
static void
store(void *argument)
{
	StoreCall  *call = argument;
	BuildScan  *scan = call->scan;
	HmBuildState *build = scan->build;
	size_t		size = build->meta.dim * sizeof(uint16);
	HmBuildRow *rows = (HmBuildRow *) build->rows->base;
	uint64	   *slots = (uint64 *) scan->table->base;
	uint64		mask = scan->slot_count - 1;
	uint64		i;

	for (i = call->hash & mask; slots[i] != 0; i = (i + 1) & mask)
	{
		uint32		id = slot_id(slots[i]);

		if (slots[i] == make_slot(call->hash, id) &&
			rows[id].hash == call->hash &&
			memcmp(build->copies->base + id * size, scan->copy, size) == 0)
		{
			HmPosting  *posting = (HmPosting *) build->postings->base + build->posting_count;

			posting->element = id;
			posting->tid = call->ref.tid;
			posting->unused = 0;
			build->posting_count++;
			call->element = id;
			return;
		}
	}

	slots[i] = make_slot(call->hash, build->element_count);
	rows[build->element_count].ref = call->ref;
	rows[build->element_count].hash = call->hash;
	rows[build->element_count].row = call->row;
	memcpy(build->copies->base + build->element_count * size, scan->copy, size);
	call->element = build->element_count++;
}

/* Returns the element that the row belongs to. */
static uint32
add_vector(BuildScan *scan, const HmVector *vector, const HmElement *element, ItemPointer tid,
		   uint64 row)
{
	HmBuildState *build = scan->build;
	uint64		size = build->meta.dim * sizeof(uint16);
	StoreCall	call = {
		.scan = scan,
		.ref = {.tid = *tid, .fingerprint = element->fingerprint},
		.row = row
	};

	call.hash = hm_vector_hash(vector, scan->hash_seed);

	if (build->element_count == HM_NO_ID - 1 || build->posting_count == UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("table \"%s\" has more vectors than index \"%s\" can hold",
						RelationGetRelationName(build->heap),
						RelationGetRelationName(build->index)),
				 errdetail("An hnsw_mmap index holds at most %u different vectors and %u repetitions.",
						   HM_NO_ID - 1, UINT32_MAX),
				 errhint("Partition the table.")));

	make_room(scan);
	hm_scratch_reserve(build->copies, (build->element_count + UINT64CONST(1)) * size);
	hm_scratch_reserve(build->rows, (build->element_count + UINT64CONST(1)) * sizeof(HmBuildRow));
	hm_scratch_reserve(build->postings, (build->posting_count + UINT64CONST(1)) * sizeof(HmPosting));
	hm_scratch_call(store, &call);

	build->max_norm = Max(build->max_norm, element->norm);
	return call.element;
}

static void
store_tail(void *argument)
{
	StoreCall  *call = argument;
	HmBuildState *build = call->scan->build;
	HmTailEntry *entry = (HmTailEntry *) build->tail->base + build->tail_count;

	entry->tid = call->ref.tid;
	entry->kind = call->ref.fingerprint;
	build->tail_count++;
}

static void
check_tail_count(const HmBuildState *build, uint64 tail_count)
{
	if (tail_count > UINT32_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("table \"%s\" has more than %u rows without a rankable vector",
						RelationGetRelationName(build->heap), UINT32_MAX),
				 errhint("Create a partial index WHERE the vector is not null.")));
}

/* Keeps a row that is not ranked by the graph. */
static void
add_tail(BuildScan *scan, HmTailKind kind, ItemPointer tid)
{
	HmBuildState *build = scan->build;
	StoreCall	call = {.scan = scan, .ref = {.tid = *tid, .fingerprint = kind}};

	check_tail_count(build, build->tail_count + UINT64CONST(1));
	hm_scratch_reserve(build->tail, (build->tail_count + UINT64CONST(1)) * sizeof(HmTailEntry));
	hm_scratch_call(store_tail, &call);
}

/* The scale that a sample of the table calls for, or this vector if it has none. */
static int
choose_scale(const BuildScan *scan, const HmVector *vector)
{
	HmSizes		sizes = {0};

	if (scan->sizes.count > 0)
		return hm_element_scale(scan->build->meta.metric, &scan->sizes);
	hm_sizes_add(&sizes, vector);
	return hm_element_scale(scan->build->meta.metric, &sizes);
}

/* Takes the dimension from a vector, and perhaps the scale. */
static void
set_dimension(BuildScan *scan, const HmVector *vector)
{
	HmMeta	   *meta = &scan->build->meta;
	MemoryContext old = MemoryContextSwitchTo(GetMemoryChunkContext(scan));

	meta->dim = vector->dim;
	meta->scale = choose_scale(scan, vector);
	scan->floats = palloc(meta->dim * sizeof(float));
	scan->copy = palloc(meta->dim * sizeof(uint16));
	MemoryContextSwitchTo(old);
}

static void
demote_step(void *argument)
{
	HmBuildState *build = ((StoreCall *) argument)->scan->build;
	const HmBuildRow *rows = (const HmBuildRow *) build->rows->base;
	const HmPosting *postings = (const HmPosting *) build->postings->base;
	HmTailEntry *entry = (HmTailEntry *) build->tail->base + build->tail_count;

	for (uint32 i = 0; i < build->element_count; i++, entry++)
	{
		entry->tid = rows[i].ref.tid;
		entry->kind = HM_TAIL_WIDE;
	}
	for (uint32 i = 0; i < build->posting_count; i++, entry++)
	{
		entry->tid = postings[i].tid;
		entry->kind = HM_TAIL_WIDE;
	}
}

/* Moves all elements to the tail: dead rows of a dimension that no live row has. */
static void
demote_elements(BuildScan *scan)
{
	HmBuildState *build = scan->build;
	StoreCall	call = {.scan = scan};
	uint64		tail_count = (uint64) build->tail_count + build->element_count + build->posting_count;

	check_tail_count(build, tail_count);
	hm_scratch_reserve(build->tail, tail_count * sizeof(HmTailEntry));
	hm_scratch_call(demote_step, &call);
	build->tail_count = (uint32) tail_count;
	build->element_count = 0;
	build->posting_count = 0;
	build->max_norm = 0;
	if (build->import != NULL)
		hm_import_forget_rows(build->import);
	if (scan->table != NULL)
		hm_scratch_close(scan->table);
	scan->table = NULL;
	scan->slot_count = 0;
}

/*
 * The first vector of a live row fixes the dimension; true if this one has it.
 * A deleted row that somebody may still see must not stop the build, nor decide
 * what the live ones must be, or their scale: it goes to the tail,
 * where a scan that sees it raises the operator's error, as without an index.
 */
static bool
check_dimension(BuildScan *scan, const HmVector *vector, bool alive, ItemPointer tid)
{
	HmBuildState *build = scan->build;
	HmMeta	   *meta = &build->meta;

	if (meta->dim == 0)
		set_dimension(scan, vector);
	else if (meta->dim != vector->dim)
	{
		if (!alive)
			return false;
		if (scan->live_seen)
			ereport(ERROR,
					(errcode(ERRCODE_DATA_EXCEPTION),
					 errmsg("expected %u dimensions, not %d", meta->dim, vector->dim),
					 errdetail("Row (%u,%u) of table \"%s\" differs from the first vector in index \"%s\".",
							   ItemPointerGetBlockNumber(tid), ItemPointerGetOffsetNumber(tid),
							   RelationGetRelationName(build->heap),
							   RelationGetRelationName(build->index))));
		demote_elements(scan);
		set_dimension(scan, vector);
	}
	else if (alive && !scan->live_seen && meta->scale != choose_scale(scan, vector))
	{
		demote_elements(scan);
		set_dimension(scan, vector);
	}
	scan->live_seen |= alive;
	return true;
}

/* Indexes one row: an IndexBuildCallback. */
static void
scan_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *state)
{
	BuildScan  *scan = state;
	HmBuildState *build = scan->build;
	MemoryContext old;
	HmVector	vector;
	HmElement	element;
	void	   *detoasted;		/* goes with row_context */

	build->index_tuples++;

	if (isnull[0])
	{
		add_tail(scan, HM_TAIL_NULL, tid);
		return;
	}

	/*
	 * VACUUM may have removed the out-of-line value of a deleted row before
	 * the row itself, as the TOAST table has a horizon of its own.  An older
	 * snapshot may still see the row, so it must be indexed, but the value
	 * must not be looked for: as a wide row, its distance is computed by the
	 * scan that sees it.  Nor must a deleted row decide over which file an
	 * index is, or fail because there is no such row in the file.
	 */
	if (!alive && (hm_is_attached(build->opclass) ||
				   (scan->varlena && VARATT_IS_EXTERNAL_ONDISK(DatumGetPointer(values[0])))))
	{
		add_tail(scan, HM_TAIL_WIDE, tid);
		return;
	}

	scan->vectors++;
	if (scan->varlena && (VARATT_IS_EXTERNAL(DatumGetPointer(values[0])) ||
						  VARATT_IS_COMPRESSED(DatumGetPointer(values[0]))))
		scan->out_of_line++;

	old = MemoryContextSwitchTo(scan->row_context);
	/* A table that was filled from the file has its rows in the file's order. */
	if (hm_attached_note(index, build->opclass, values[0], &build->meta.file))
	{
		scan->read_ahead = hm_file_acquire(build->meta.file.number);
		hm_file_read_ahead(scan->read_ahead, true);
	}
	vector = build->opclass->type->view(values[0], &detoasted);
	MemoryContextSwitchTo(old);

	if (!check_dimension(scan, &vector, alive, tid))
		add_tail(scan, HM_TAIL_WIDE, tid);
	else
	{
		element = hm_element_make(build->meta.metric, build->meta.scale, &vector,
								  scan->floats, scan->copy);
		if (element.kind == HM_LOG_VECTOR)
		{
			uint32		id = add_vector(scan, &vector, &element, tid,
										hm_is_attached(build->opclass) ? DatumGetExtvec(values[0])->row : 0);
			int64		label;

			/* a deleted row may have the label of the one that came after it */
			if (build->import != NULL && alive && hm_import_label(build->import, values, isnull, &label))
				hm_import_add_row(build->import, label, id, sqrt(hm_squared_norm(&vector)));
		}
		else
			add_tail(scan, (HmTailKind) element.kind, tid);
	}
	MemoryContextReset(scan->row_context);
}

/* Tells the user when queries will have to go the slow way to most vectors. */
static void
warn_out_of_line(const BuildScan *scan)
{
	const HmBuildState *build = scan->build;
	double		percent;
	AttrNumber	column = build->index_info->ii_IndexAttrNumbers[0];
	bool		fits;

	if (build->meta.vectors != HM_VECTORS_HEAP || scan->vectors == 0)
		return;
	percent = 100.0 * scan->out_of_line / scan->vectors;
	if (percent < OUT_OF_LINE_WARNING)
		return;

	/* What cannot share a page with a tuple's header goes out of line whatever its storage. */
	fits = build->meta.dim * (build->meta.element_kind == HM_F16 ? sizeof(uint16) : sizeof(float)) <
		MaxHeapTupleSize - LARGEST_OVERHEAD;
	ereport(WARNING,
			(errmsg("%.0f%% of the vectors in column \"%s\" of table \"%s\" are compressed or stored out of line",
					percent,
					NameStr(TupleDescAttr(RelationGetDescr(build->heap), column - 1)->attname),
					RelationGetRelationName(build->heap)),
			 errdetail("Index \"%s\" cannot read such vectors in place, which makes queries several times slower.",
					   RelationGetRelationName(build->index)),
			 fits ?
			 errhint("Use ALTER TABLE ... ALTER COLUMN ... SET STORAGE MAIN before loading the table, or VACUUM FULL after it, or create the index WITH (vectors = 'fp16').") :
			 errhint("Create the index WITH (vectors = 'fp16'): vectors of %u dimensions do not fit on a page.",
					 build->meta.dim)));
}

/* The file's mapping is this process's: the session's queries read it at random. */
static void
end_read_ahead(BuildScan *scan)
{
	if (scan->read_ahead != NULL)
		hm_file_read_ahead(scan->read_ahead, false);
}

static void
scan_table(BuildScan *scan, IndexInfo *index_info)
{
	HmBuildState *build = scan->build;

	PG_TRY();
	{
		build->heap_tuples = table_index_build_scan(build->heap, build->index, index_info,
													true, true, scan_row, scan, NULL);
	}
	PG_CATCH();
	{
		end_read_ahead(scan);
		PG_RE_THROW();
	}
	PG_END_TRY();
	end_read_ahead(scan);
}

void
hm_build_scan(HmBuildState *build)
{
	BuildScan  *scan = palloc0(sizeof(BuildScan));
	IndexInfo  *index_info = build->index_info;

	if (build->import != NULL)
		index_info = hm_import_scan_info(build->import, index_info);
	scan->build = build;
	scan->row_context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap build row",
											  ALLOCSET_DEFAULT_SIZES);
	scan->hash_seed = hm_build_random();
	scan->varlena = TupleDescAttr(RelationGetDescr(build->index), 0)->attlen == -1;

	build->copies = hm_scratch_create(build->scratch);
	build->rows = hm_scratch_create(build->scratch);
	build->postings = hm_scratch_create(build->scratch);
	build->tail = hm_scratch_create(build->scratch);

	hm_build_enter(build, HM_BUILD_SCAN, 0, 0);
	if (build->meta.metric != HM_COSINE && build->meta.element_kind != HM_F16)
		hm_build_sizes(build, index_info, &scan->sizes);
	scan_table(scan, index_info);

	/* What the scan found out about the table has to get to who asked for the index. */
	build->index_info->ii_BrokenHotChain |= index_info->ii_BrokenHotChain;

	/* Nor do deleted rows alone decide what may be inserted. */
	if (!scan->live_seen && build->meta.dim > 0)
	{
		demote_elements(scan);
		build->meta.dim = 0;
		build->meta.scale = 0;
	}

	if (scan->table != NULL)
		hm_scratch_close(scan->table);
	warn_out_of_line(scan);
	MemoryContextDelete(scan->row_context);
}
