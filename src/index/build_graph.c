/*-------------------------------------------------------------------------
 *
 * build_graph.c
 *	  Second phase of a build: the graph, by several processes.
 *
 * The leader and the workers ("participants") share three mapped files: the
 * half-precision copies, the eight-bit codes made from them, and the graph.
 * What there is to do next is an atomic counter; who is quicker does more, and
 * a worker that never starts leaves its share to the others.
 *
 *		encode		codes of all elements, in storage order, so that copies
 *					and codes pass by once.  An insertion reads the codes of
 *					any element, so everybody waits until all are there.
 *		adopt		lists of a graph to begin with, if there is one: by the leader,
 *					while the workers wait.
 *		insert		the other elements, in the order of hm_build_order.
 *
 * Errors.  A participant that fails raises its error between insertions, when
 * it holds none of the graph's locks, and the leader either raised it or gets
 * it from the worker; ending the transaction then ends the workers.  Only a
 * fault of the graph's file can end an insertion in the middle, leaving a lock
 * behind: then hm_build_abort frees those who would wait for it.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/parallel.h"
#include "access/xact.h"
#include "commands/progress.h"
#include "files/file.h"
#include "graph/codes.h"
#include "index/build_state.h"
#include "index/index.h"
#include "index/memory.h"
#include "miscadmin.h"
#include "optimizer/optimizer.h"
#include "pgstat.h"
#include "port/atomics.h"
#include "simd/simd.h"
#include "storage/condition_variable.h"
#include "storage/guard.h"
#include "tcop/tcopprot.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

#define KEY_SHARED			1
#define KEY_QUERY			2

#define ENCODE_CHUNK		256 /* elements claimed at a time */
#define INSERT_CHUNK		16
#define SAMPLE				4096	/* vectors that a codec is chosen by */
#define ELEMENTS_PER_WORKER	5000	/* fewer are not worth starting a process */
#define MERGED_PER_WORKER	2500	/* as they are inserted into a larger graph */
#define ADOPT_STEP			1024	/* elements between two looks for interrupts */

/* A scratch area as a worker finds it. */
typedef struct SharedArea
{
	size_t		size;
	char		path[MAXPGPATH];
} SharedArea;

/* In dynamic shared memory; in the leader's own when there are no workers. */
typedef struct BuildShared
{
	HmMetric	metric;
	uint32		dim;
	uint32		element_count;
	SharedArea	copies;
	SharedArea	codes;
	SharedArea	graph;

	pg_atomic_uint64 encode_next;	/* first element that nobody encodes yet */
	pg_atomic_uint64 encoded;	/* elements whose code is there */
	ConditionVariable all_encoded;
	pg_atomic_uint32 may_insert;	/* 1: what was to be adopted is */
	ConditionVariable all_adopted;
	pg_atomic_uint64 insert_next;	/* first position of the order, likewise */
	pg_atomic_uint64 inserted;

	/* the codec: see codes.h */
	bool		plain;
	float		mean[FLEXIBLE_ARRAY_MEMBER];	/* dim values */
} BuildShared;

/* One process's part in the work. */
typedef struct Participant
{
	BuildShared *shared;
	HmBuildState *build;		/* of the leader, who reports progress; else NULL */
	const uint16 *copies;
	char	   *codes;
	HmBuildGraph *graph;

	HmCodec		codec;
	HmBuildScorer scorer;
	HmBuilder  *builder;
	float	   *vector;			/* dim values each */
	float	   *floats;

	/* arguments and results of guarded calls */
	uint32		first;
	uint32		end;
	HmStatus	status;
	uint32		linked;
} Participant;

extern PGDLLEXPORT void hm_build_worker(dsm_segment *segment, shm_toc *toc);

static void
score(const HmBuildScorer *scorer, uint32_t from, const uint32_t *ids, int n, float *distance)
{
	const Participant *participant = scorer->state;
	const HmCodec *codec = &participant->codec;

	hm_codec_distances(codec, participant->codes,
					   participant->codes + from * codec->record_size, ids, n, distance);
}

static Participant *
participant_create(BuildShared *shared, const HmScratch *copies, const HmScratch *codes,
				   const HmScratch *graph, HmBuildState *build)
{
	Participant *participant = palloc0(sizeof(Participant));
	HmAllocator allocator = hm_context_allocator(CurrentMemoryContext);

	participant->shared = shared;
	participant->build = build;
	participant->copies = (const uint16 *) copies->base;
	participant->codes = codes->base;
	participant->graph = (HmBuildGraph *) graph->base;
	participant->vector = palloc(shared->dim * sizeof(float));
	participant->floats = palloc(shared->dim * sizeof(float));
	hm_codec_init(&participant->codec, shared->metric, shared->dim,
				  shared->plain, shared->mean);
	participant->scorer.score = score;
	participant->scorer.state = participant;
	participant->builder = hm_builder_create(participant->graph, &participant->scorer, &allocator);
	if (participant->builder == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("out of memory"),
				 errdetail("Failed while preparing to build a graph of %u elements.",
						   shared->element_count)));
	return participant;
}

/* Raises the error for what the graph floor returned. */
static void
check_status(HmStatus status)
{
	switch (status)
	{
		case HM_OK:
			break;
		case HM_NO_MEMORY:
			ereport(ERROR,
					(errcode(ERRCODE_OUT_OF_MEMORY),
					 errmsg("out of memory"),
					 errdetail("Failed while building a graph.")));
			break;
		case HM_CORRUPT:
			elog(ERROR, "graph under construction is damaged");
			break;
		case HM_ABORTED:
			elog(ERROR, "graph construction was stopped by another process");
			break;
	}
}

static void
abort_graph(void *argument)
{
	hm_build_abort(((Participant *) argument)->graph);
}

/* Runs a step of graph construction under the guard. */
static void
call_graph(Participant *participant, void (*step) (void *))
{
	if (!hm_guarded_call(step, participant))
	{
		/* It may have ended inside a lock; the header may not be there either. */
		(void) hm_guarded_call(abort_graph, participant);
		hm_scratch_failed();
	}
	check_status(participant->status);
}

static void
encode_step(void *argument)
{
	Participant *participant = argument;
	const HmCodec *codec = &participant->codec;

	for (uint32 id = participant->first; id < participant->end; id++)
	{
		hm_kernels->f16_to_f32(participant->copies + (size_t) id * codec->dim,
							   participant->vector, codec->dim);
		hm_codec_encode(codec, participant->vector, participant->floats,
						participant->codes + id * codec->record_size);
	}
}

/* Encodes until nothing is left to claim, then waits for the others. */
static void
encode_elements(Participant *participant)
{
	BuildShared *shared = participant->shared;
	uint32		count = shared->element_count;

	for (;;)
	{
		uint64		first = pg_atomic_fetch_add_u64(&shared->encode_next, ENCODE_CHUNK);

		if (first >= count)
			break;
		participant->first = (uint32) first;
		participant->end = (uint32) Min(first + ENCODE_CHUNK, count);
		hm_scratch_call(encode_step, participant);
		CHECK_FOR_INTERRUPTS();

		/* A full barrier: whoever sees the count sees the codes. */
		if (pg_atomic_add_fetch_u64(&shared->encoded, participant->end - participant->first) == count)
			ConditionVariableBroadcast(&shared->all_encoded);
	}

	ConditionVariablePrepareToSleep(&shared->all_encoded);
	while (pg_atomic_read_u64(&shared->encoded) < count)
		ConditionVariableSleep(&shared->all_encoded, PG_WAIT_EXTENSION);
	ConditionVariableCancelSleep();
	pg_read_barrier();
}

/* Arguments of adopt_step. */
typedef struct AdoptCall
{
	HmBuilder  *builder;
	HmOverlay  *given;
	uint32		first;
	uint32		end;
} AdoptCall;

static void
adopt_step(void *argument)
{
	AdoptCall  *call = argument;

	for (uint32 id = call->first; id < call->end; id++)
	{
		for (int level = hm_overlay_level(call->given, id); level >= 0; level--)
		{
			uint32		links[2 * HM_MAX_M];

			hm_build_adopt(call->builder, id, level, links,
						   hm_overlay_read(call->given, id, level, NULL, links), false);
		}
	}
}

/* Takes over a merge's lists, the entry point's first, which it remains so. */
static void
adopt_given(HmOverlay *given, HmBuilder *builder)
{
	AdoptCall	call = {.builder = builder, .given = given};

	if (given->store.entry_point < given->own_count)
	{
		call.first = given->store.entry_point;
		call.end = call.first + 1;
		hm_scratch_call(adopt_step, &call);
	}
	for (call.first = 0; call.first < given->own_count; call.first = call.end)
	{
		call.end = Min(call.first + ADOPT_STEP, given->own_count);
		hm_scratch_call(adopt_step, &call);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Takes over the lists of a graph to begin with, and lets the workers go on. */
static void
adopt_elements(HmBuildState *build, Participant *participant)
{
	BuildShared *shared = participant->shared;

	if (build->given != NULL)
		adopt_given(build->given, participant->builder);
	else
	{
		hm_import_adopt(build->import, participant->builder);
		hm_import_verify(build->import, participant->builder, build->meta.metric,
						 participant->copies, build->meta.dim);
	}
	pg_write_barrier();
	pg_atomic_write_u32(&shared->may_insert, 1);
	ConditionVariableBroadcast(&shared->all_adopted);
}

/* Waits until that is done. */
static void
wait_until_adopted(BuildShared *shared)
{
	ConditionVariablePrepareToSleep(&shared->all_adopted);
	while (pg_atomic_read_u32(&shared->may_insert) == 0)
		ConditionVariableSleep(&shared->all_adopted, PG_WAIT_EXTENSION);
	ConditionVariableCancelSleep();
	pg_read_barrier();
}

static void
insert_step(void *argument)
{
	Participant *participant = argument;
	uint32		id = hm_build_order(participant->graph, participant->first);

	participant->status = HM_OK;
	if (!hm_build_is_adopted(participant->graph, id))
		participant->status = hm_build_insert(participant->builder, id);
}

/* The leader's progress.  If it is stopped, there is nothing left to claim for anybody. */
static void
report_inserted(Participant *participant, uint64 inserted)
{
	HmBuildState *build = participant->build;
	BuildShared *shared = participant->shared;

	pgstat_progress_update_param(PROGRESS_CREATEIDX_TUPLES_DONE, inserted);
	if (build->pause == NULL || build->pause((uint32) inserted, build->pause_state))
		return;
	build->stopped = true;
	pg_atomic_write_u64(&shared->insert_next, shared->element_count);
}

static void
insert_elements(Participant *participant)
{
	BuildShared *shared = participant->shared;
	uint32		count = shared->element_count;

	for (;;)
	{
		uint64		first = pg_atomic_fetch_add_u64(&shared->insert_next, INSERT_CHUNK);
		uint64		end = Min(first + INSERT_CHUNK, count);
		uint64		inserted;

		if (first >= count)
			break;
		for (uint64 i = first; i < end; i++)
		{
			CHECK_FOR_INTERRUPTS();
			participant->first = (uint32) i;
			call_graph(participant, insert_step);
		}
		inserted = pg_atomic_add_fetch_u64(&shared->inserted, end - first);
		if (participant->build != NULL)
			report_inserted(participant, inserted);
	}
}

/* A worker's main function, called by name. */
void
hm_build_worker(dsm_segment *segment, shm_toc *toc)
{
	BuildShared *shared = shm_toc_lookup(toc, KEY_SHARED, false);
	HmScratchSet *set = hm_scratch_set_create();
	HmScratch  *copies;
	HmScratch  *codes;
	HmScratch  *graph;
	Participant *participant;

	debug_query_string = shm_toc_lookup(toc, KEY_QUERY, true);
	pgstat_report_activity(STATE_RUNNING, debug_query_string);

	copies = hm_scratch_attach(set, shared->copies.path, shared->copies.size);
	codes = hm_scratch_attach(set, shared->codes.path, shared->codes.size);
	graph = hm_scratch_attach(set, shared->graph.path, shared->graph.size);

	participant = participant_create(shared, copies, codes, graph, NULL);
	encode_elements(participant);
	wait_until_adopted(shared);
	insert_elements(participant);
	hm_builder_destroy(participant->builder);
	hm_scratch_set_close(set);
}

/*
 * How many workers to ask for.  The table's parallel_workers decides if set,
 * otherwise the number of elements, within max_parallel_maintenance_workers.
 * Memory has no say, as participants share theirs.
 */
static int
choose_worker_count(const HmBuildState *build)
{
	int			wanted = RelationGetParallelWorkers(build->heap, -1);

	if (build->alone || !IsUnderPostmaster || !ActiveSnapshotSet())
		return 0;
	if (wanted < 0)
		wanted = (int) (build->given == NULL ? build->element_count / ELEMENTS_PER_WORKER :
						(build->element_count - build->given->own_count) / MERGED_PER_WORKER) - 1;
	return Max(0, Min(wanted, max_parallel_maintenance_workers));
}

/*
 * Prepares shared memory, and parallel mode when workers are wanted; the caller
 * fills *shared, then launches.  NULL when the leader works alone.
 */
static ParallelContext *
begin_parallel(int workers, Size size, BuildShared **shared)
{
	ParallelContext *context;
	Size		query_size = debug_query_string ? strlen(debug_query_string) + 1 : 0;

	if (workers == 0)
	{
		*shared = palloc0(size);
		return NULL;
	}

	EnterParallelMode();
	context = CreateParallelContext("hnsw_mmap", "hm_build_worker", workers);
	shm_toc_estimate_chunk(&context->estimator, size);
	shm_toc_estimate_keys(&context->estimator, 1);
	if (query_size > 0)
	{
		shm_toc_estimate_chunk(&context->estimator, query_size);
		shm_toc_estimate_keys(&context->estimator, 1);
	}

	/* Without a free segment this leaves the leader alone, in its own memory. */
	InitializeParallelDSM(context);

	*shared = shm_toc_allocate(context->toc, size);
	memset(*shared, 0, size);
	shm_toc_insert(context->toc, KEY_SHARED, *shared);
	if (query_size > 0)
	{
		char	   *query = shm_toc_allocate(context->toc, query_size);

		memcpy(query, debug_query_string, query_size);
		shm_toc_insert(context->toc, KEY_QUERY, query);
	}
	return context;
}

static void
end_parallel(ParallelContext *context)
{
	if (context == NULL)
		return;
	DestroyParallelContext(context);
	ExitParallelMode();
}

static void
share_area(SharedArea *area, const HmScratch *scratch)
{
	area->size = scratch->size;
	strlcpy(area->path, hm_scratch_path(scratch), sizeof(area->path));
}

static void
init_shared(BuildShared *shared, const HmBuildState *build, const HmScratch *codes,
			const HmCodec *codec)
{
	shared->metric = build->meta.metric;
	shared->dim = build->meta.dim;
	shared->element_count = build->element_count;
	share_area(&shared->copies, build->copies);
	share_area(&shared->codes, codes);
	share_area(&shared->graph, build->graph_area);
	pg_atomic_init_u64(&shared->encode_next, 0);
	pg_atomic_init_u64(&shared->encoded, 0);
	ConditionVariableInit(&shared->all_encoded);
	pg_atomic_init_u32(&shared->may_insert, build->import == NULL && build->given == NULL);
	ConditionVariableInit(&shared->all_adopted);
	pg_atomic_init_u64(&shared->insert_next, 0);
	pg_atomic_init_u64(&shared->inserted, 0);
	shared->plain = codec->plain;
	memcpy(shared->mean, codec->mean, build->meta.dim * sizeof(float));
}

/* Arguments of fit_step. */
typedef struct FitCall
{
	const HmBuildState *build;
	HmSample	sample;
	HmCodec    *codec;
	float	   *mean;			/* dim values */
} FitCall;

/* A sample's vector, evenly spread over the elements. */
static bool
fetch_sample(void *state, uint32 i, float *vector)
{
	const FitCall *call = state;
	const HmBuildState *build = call->build;
	uint32		dim = build->meta.dim;
	uint64		id = (uint64) i * build->element_count / call->sample.count;

	hm_kernels->f16_to_f32((const uint16 *) build->copies->base + id * dim, vector, dim);
	return true;
}

static void
fit_step(void *argument)
{
	FitCall    *call = argument;

	hm_codec_fit(call->codec, call->build->meta.metric, &call->sample, call->mean);
}

/* What the vectors are encoded by; allocates its mean. */
static HmCodec
fit_codec(const HmBuildState *build)
{
	uint32		dim = build->meta.dim;
	uint32		count = Min(build->element_count, SAMPLE);
	HmCodec		codec;
	FitCall		call = {
		.build = build,
		.codec = &codec,
		.mean = palloc(dim * sizeof(float)),
		.sample = {
			.count = count,
			.dim = dim,
			.fetch = fetch_sample,
			.state = &call,
			.room = palloc(hm_sample_room(count, dim))
		}
	};

	hm_scratch_call(fit_step, &call);
	pfree(call.sample.room);
	return codec;
}

/* Arguments and result of size_step and init_step. */
typedef struct InitCall
{
	HmBuildState *build;
	const HmBuildParams *params;
	size_t		size;
} InitCall;

/* Levels that are given lie in scratch memory too. */
static void
size_step(void *argument)
{
	InitCall   *call = argument;

	call->size = hm_build_size(call->params);
}

static void
init_step(void *argument)
{
	InitCall   *call = argument;

	call->build->graph = hm_build_init(call->build->graph_area->base, call->params);
}

/* Levels of elements that a merge goes on from, as HmBuildParams wants them. */
static const uint8 *
given_levels(const HmBuildState *build)
{
	uint8	   *levels = MemoryContextAllocHuge(CurrentMemoryContext, build->element_count);

	memcpy(levels, build->given->levels, build->given->own_count);
	memset(levels + build->given->own_count, HM_LEVEL_FROM_SEED,
		   build->element_count - build->given->own_count);
	return levels;
}

/* Reserves the graph's memory and lays it out, empty. */
static void
init_graph(HmBuildState *build)
{
	HmBuildParams params = {
		.element_count = build->element_count,
		.m = build->meta.m,
		.ef_construction = Max(build->meta.ef_construction, build->meta.m),
		.seed = hm_build_random()
	};
	InitCall	call = {build, &params};

	if (build->import != NULL)
	{
		hm_import_match(build->import, build->element_count, build->meta.dim, build->meta.m,
						build->meta.file.number != 0 ? hm_file_acquire(build->meta.file.number)->rows : 0);
		params.levels = hm_import_levels(build->import);
	}
	if (build->given != NULL)
		params.levels = given_levels(build);
	hm_scratch_call(size_step, &call);
	if (call.size == 0)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("a graph of %u elements does not fit into the address space",
						build->element_count)));
	build->graph_area = hm_scratch_create(build->scratch);
	hm_scratch_reserve(build->graph_area, call.size);
	hm_scratch_call(init_step, &call);
}

static void
connect_step(void *argument)
{
	Participant *participant = argument;

	participant->status = hm_build_connect(participant->builder, &participant->linked);
}

/* Arguments and result of number_step. */
typedef struct NumberCall
{
	HmBuildState *build;
	HmBuilder  *builder;
	HmStatus	status;
} NumberCall;

static void
number_step(void *argument)
{
	NumberCall *call = argument;
	HmBuildState *build = call->build;

	call->status = hm_build_renumber(call->builder, (uint32 *) build->new_of_old->base,
									 (uint32 *) build->old_of_new->base, build->level_count);
}

/* The last two steps, by the leader alone: reach everything, number everything. */
static void
finish_graph(HmBuildState *build, Participant *participant)
{
	uint64		size = build->element_count * (uint64) sizeof(uint32);
	NumberCall	call = {.build = build, .builder = participant->builder};

	hm_build_enter(build, HM_BUILD_CONNECT, 0, 0);
	call_graph(participant, connect_step);
	ereport(DEBUG1,
			(errmsg_internal("%u elements could not be reached and were linked", participant->linked)));
	CHECK_FOR_INTERRUPTS();

	hm_build_enter(build, HM_BUILD_NUMBER, 0, 0);
	build->new_of_old = hm_scratch_create(build->scratch);
	build->old_of_new = hm_scratch_create(build->scratch);
	hm_scratch_reserve(build->new_of_old, size);
	hm_scratch_reserve(build->old_of_new, size);
	hm_scratch_call(number_step, &call);
	check_status(call.status);
	CHECK_FOR_INTERRUPTS();
}

void
hm_build_make_graph(HmBuildState *build)
{
	ParallelContext *context;
	BuildShared *shared;
	Participant *participant;
	HmScratch  *codes;
	HmCodec		codec;

	hm_build_enter(build, HM_BUILD_GRAPH, build->element_count, 0);

	codec = fit_codec(build);
	elog(DEBUG1, "graph of index \"%s\" is built on %s", RelationGetRelationName(build->index),
		 codec.plain ? "vectors" : "eight-bit codes");
	codes = hm_scratch_create(build->scratch);
	hm_scratch_reserve(codes, (uint64) build->element_count * codec.record_size);
	init_graph(build);

	context = begin_parallel(choose_worker_count(build),
							 add_size(offsetof(BuildShared, mean), build->meta.dim * sizeof(float)),
							 &shared);
	init_shared(shared, build, codes, &codec);
	if (context != NULL)
		LaunchParallelWorkers(context);

	participant = participant_create(shared, build->copies, codes, build->graph_area, build);
	encode_elements(participant);
	if (build->import != NULL || build->given != NULL)
		adopt_elements(build, participant);
	insert_elements(participant);

	/* Raises a worker's error, if there was one. */
	if (context != NULL)
		WaitForParallelWorkersToFinish(context);
	if (!build->stopped && pg_atomic_read_u64(&shared->inserted) != build->element_count)
		elog(ERROR, "graph was built from " UINT64_FORMAT " elements instead of %u",
			 pg_atomic_read_u64(&shared->inserted), build->element_count);

	if (!build->stopped)
		finish_graph(build, participant);

	hm_builder_destroy(participant->builder);
	hm_scratch_close(codes);
	if (build->meta.vectors != HM_VECTORS_FP16)
	{
		hm_scratch_close(build->copies);
		build->copies = NULL;
	}
	end_parallel(context);
}
