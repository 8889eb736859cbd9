/*-------------------------------------------------------------------------
 *
 * build.c
 *	  CREATE INDEX and REINDEX: from a table to one part on disk.
 *
 * A build goes through the phases that pg_stat_progress_create_index shows.
 *
 * scanning table (build_scan.c).  The leader scans the table as for any index.
 * Of each row it keeps, in scratch files, a half-precision copy of the vector
 * and a reference to the row.  Rows with the very same vector become one
 * element with several rows; rows that cannot be ranked go to the tail.
 *
 * building graph (build_graph.c).  The leader and PostgreSQL's parallel workers
 * turn the copies into eight-bit codes, then insert the elements into a graph
 * in one more scratch file, in random order.  Workers open no relation: they
 * map the scratch files and compute, so temporary tables are built in parallel
 * like any other.
 *
 * With a graph to begin with (import.h), its lists are taken over before, and
 * only what it does not have is inserted.
 *
 * linking unreachable elements, numbering elements (build_graph.c).  The leader
 * repairs what greedy insertion leaves unreachable, and numbers the elements
 * in the order in which they will be stored.
 *
 * writing index (build_write.c).  The leader creates the index's file, writes
 * the part to its end and publishes it in the metapage.  In heap mode the
 * table's dirty pages are flushed, as queries will read them from the file.
 *
 * Memory.  What grows with the table lies in scratch files, which are page
 * cache, apart from eight bytes per element while the unreachable are linked:
 * maintenance_work_mem plays no role, /dev/shm neither, and a build that
 * outgrows memory becomes as slow as its disk and no slower.
 *
 * Locks.  CREATE INDEX holds a lock on the table that keeps others from
 * writing; CREATE INDEX CONCURRENTLY lets them write, but they do not insert
 * into this index before the build has committed.  Nobody else reads or writes
 * the index's file while hm_build runs, so nothing here locks a page for the
 * sake of others.  Between participants, see graph/build.h.
 *
 * Crashes and errors.  Until the transaction commits, the index's file is one
 * of a relation that nobody knows, and goes the way of any such file after an
 * error; after a crash it may stay behind, as with every access method.  The
 * part is synced before the metapage's record is logged, so a committed index
 * is whole.  Scratch files are described in scratch.c.  Cancelling is possible
 * at every row, element and batch of pages.  Linking and numbering are one step
 * each, of about a second per million elements, and are not interrupted.
 *
 * The init fork of an unlogged index (hm_buildempty) is a metapage with an
 * incarnation of its own, and every reset after a crash starts from a copy of
 * it: files of equal incarnation and different contents then follow each
 * other.  That is harmless, because the incarnation only has to tell the
 * present contents of a file from what could be mistaken for them: pages left
 * in this file by an earlier life, and mappings in this process of it.  A
 * reset replaces the main fork's file by one of a single block, so it holds no
 * page of an earlier life, and no process outlives the crash.  A standby
 * resets once, at promotion, and has never read the index before.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "commands/progress.h"
#include "index/attached.h"
#include "index/build_state.h"
#include "index/index.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/part.h"
#include "storage/testpoint.h"
#include "utils/memutils.h"

char *
hm_build_phase_name(int64 phase)
{
	switch (phase)
	{
		case HM_BUILD_INITIALIZE:
			return "initializing";
		case HM_BUILD_SCAN:
			return "scanning table";
		case HM_BUILD_GRAPH:
			return "building graph";
		case HM_BUILD_CONNECT:
			return "linking unreachable elements";
		case HM_BUILD_NUMBER:
			return "numbering elements";
		case HM_BUILD_WRITE:
			return "writing index";
		default:
			return NULL;
	}
}

/* Reports at DEBUG1 how long the present phase took. */
static void
leave_phase(const HmBuildState *build)
{
	instr_time	elapsed;

	if (build->phase == HM_BUILD_INITIALIZE)
		return;
	INSTR_TIME_SET_CURRENT(elapsed);
	INSTR_TIME_SUBTRACT(elapsed, build->phase_start);
	ereport(DEBUG1,
			(errmsg_internal("index \"%s\": %s took %.3f s",
							 RelationGetRelationName(build->index),
							 hm_build_phase_name(build->phase),
							 INSTR_TIME_GET_DOUBLE(elapsed))));
}

void
hm_build_enter(HmBuildState *build, int phase, int64 tuples, int64 blocks)
{
	const int	columns[] = {
		PROGRESS_CREATEIDX_SUBPHASE,
		PROGRESS_CREATEIDX_TUPLES_TOTAL,
		PROGRESS_CREATEIDX_TUPLES_DONE,
		PROGRESS_SCAN_BLOCKS_TOTAL,
		PROGRESS_SCAN_BLOCKS_DONE
	};
	const int64 values[] = {phase, tuples, 0, blocks, 0};

	leave_phase(build);
	build->phase = phase;
	INSTR_TIME_SET_CURRENT(build->phase_start);
	pgstat_progress_update_multi_param(lengthof(columns), columns, values);
}

uint64
hm_build_random(void)
{
	uint64		bits;

	if (!pg_strong_random(&bits, sizeof(bits)))
		ereport(ERROR,
				(errcode(ERRCODE_INTERNAL_ERROR),
				 errmsg("could not generate random bits")));
	return bits;
}

/* The metapage of an index without elements. */
static void
init_meta(HmMeta *meta, Relation index)
{
	HmOptions	options = hm_options(index);
	const HmOpclass *opclass = hm_opclass(index);

	memset(meta, 0, sizeof(HmMeta));
	meta->metric = opclass->metric;
	/* A file may have either kind; its values are taken for the wider one. */
	meta->element_kind = hm_is_attached(opclass) ? HM_F32 : opclass->type->kind;
	meta->vectors = options.vectors;
	meta->m = options.m;
	meta->ef_construction = options.ef_construction;
	meta->log_head = InvalidBlockNumber;
	meta->log_tail = InvalidBlockNumber;
	meta->next_part = 1;
	meta->entry_point = HM_NO_ID;
	meta->file_blocks = HM_RUN_ALIGNMENT;
}

/* Refuses what cannot be indexed by reading vectors where they lie. */
static void
check_heap_mode(const HmBuildState *build)
{
	if (build->index_info->ii_Expressions != NIL)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" on an expression cannot read its vectors from the table",
						RelationGetRelationName(build->index)),
				 errhint("Create it WITH (vectors = 'fp16'), so that the index keeps copies of the vectors.")));

	if (build->heap->rd_tableam != GetHeapamTableAmRoutine())
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" cannot read vectors from table \"%s\", whose access method is not \"heap\"",
						RelationGetRelationName(build->index),
						RelationGetRelationName(build->heap)),
				 errhint("Create it WITH (vectors = 'fp16'), so that the index keeps copies of the vectors.")));
}

IndexBuildResult *
hm_build(Relation heap, Relation index, IndexInfo *index_info)
{
	HmBuildState build = {
		.heap = heap,
		.index = index,
		.index_info = index_info,
		.opclass = hm_opclass(index),
		.phase = HM_BUILD_INITIALIZE
	};
	IndexBuildResult *result;
	MemoryContext context,
				caller;

	if (RelationGetNumberOfBlocks(index) != 0)
		elog(ERROR, "index \"%s\" already contains data", RelationGetRelationName(index));

	init_meta(&build.meta, index);
	if (build.meta.vectors == HM_VECTORS_HEAP && !hm_is_attached(build.opclass))
		check_heap_mode(&build);

	context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap build",
									ALLOCSET_DEFAULT_SIZES);
	caller = MemoryContextSwitchTo(context);

	build.incarnation = hm_build_random();
	build.scratch = hm_scratch_set_create();
	build.import = hm_import_begin(heap, index, build.scratch);
	hm_build_scan(&build);
	HM_TEST_POINT("build-scanned");
	if (build.element_count > 0)
		hm_build_make_graph(&build);
	HM_TEST_POINT("build-graph-made");
	if (build.import != NULL)
		hm_import_end(build.import, build.element_count);
	hm_build_write(&build);
	HM_TEST_POINT("build-written");
	leave_phase(&build);
	hm_scratch_set_close(build.scratch);

	MemoryContextSwitchTo(caller);
	MemoryContextDelete(context);

	/*
	 * Queries read the table's file, and would find there what it held before
	 * its dirty pages; they notice, and read such a row through shared buffers.
	 * One flush saves them that.  Temporary tables are always read through
	 * buffers.
	 */
	if (build.meta.vectors == HM_VECTORS_HEAP && !hm_is_attached(build.opclass) &&
		!RelationUsesLocalBuffers(heap))
		FlushRelationBuffers(heap);

	result = palloc(sizeof(IndexBuildResult));
	result->heap_tuples = build.heap_tuples;
	result->index_tuples = build.index_tuples;
	return result;
}

void
hm_buildempty(Relation index)
{
	HmMeta		meta;

	init_meta(&meta, index);
	hm_storage_create(index, INIT_FORKNUM, hm_build_random(), &meta);
}
