/*-------------------------------------------------------------------------
 *
 * merge_build.c
 *	  A merge the way of a build: by several processes.
 *
 * Where a merge replaces every part, and the log is not small beside them, as
 * while a table is loaded whose index is there already, elements are inserted
 * as in a build (build_graph.c), going on from the graph that there is: it, and
 * half-precision copies of all vectors, are put into scratch files, the log's
 * are inserted by this process and parallel workers, and the graph is taken
 * back.  Nothing is inserted twice.
 *
 * That is not for a graph in which elements have died, which a build knows
 * nothing of, nor if a stored vector cannot be had; and scratch files are
 * temporary files: where these are limited, no inserter is to fail for that.
 *
 * In parallel mode no snapshot can be taken.  So that of the merge is kept as
 * long as elements are inserted, which is minutes for a million.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "index/build_state.h"
#include "index/merge_state.h"
#include "miscadmin.h"
#include "utils/guc.h"

#define FEWEST_ENTRIES	4000	/* of the log: fewer are not worth it */
#define LEAST_SHARE		4		/* and a quarter of what is there already */

typedef struct CopyCall
{
	char	   *to;
	const void *from;
	Size		size;
} CopyCall;

/* Into a scratch file. */
static void
copy_step(void *argument)
{
	CopyCall   *call = argument;

	memcpy(call->to, call->from, call->size);
}

static void
put_copies(HmBuildState *build, uint32 first, const uint16 *copies, uint32 n)
{
	Size		size = build->meta.dim * sizeof(uint16);
	CopyCall	call = {build->copies->base + first * size, copies, n * size};

	hm_scratch_call(copy_step, &call);
}

/* Copies of all stored elements; false: some cannot be had. */
static bool
put_stored(HmMergeState *merge, HmBuildState *build)
{
	uint32		dim = merge->directory.meta.dim;
	uint16	   *copies = palloc(HM_MAX_BATCH * dim * sizeof(uint16));

	for (uint32 first = 0; first < merge->stored; first += HM_MAX_BATCH)
	{
		uint32		ids[HM_MAX_BATCH];
		uint8		flags[HM_MAX_BATCH];
		uint32		n = Min(HM_MAX_BATCH, merge->stored - first);

		for (uint32 i = 0; i < n; i++)
			ids[i] = first + i;
		merge->source->copies(merge->source, ids, n, copies, flags);
		for (uint32 i = 0; i < n; i++)
		{
			if (flags[i] != HM_SCORED)
				return false;
			hm_merge_note_stored(merge, first + i, copies + (Size) i * dim);
		}
		put_copies(build, first, copies, n);
		hm_merge_progress(merge, 0);
	}
	pfree(copies);
	return true;
}

/* The log's rows join elements, or become some. */
static void
put_entries(HmMergeState *merge, HmBuildState *build)
{
	for (uint32 number = 0; number < merge->entry_count; number++)
	{
		uint32		id = merge->stored + merge->new_count;
		uint32	   *noted;
		uint32		equal = hm_merge_equal_entry(merge, number, &noted);

		if (equal == HM_NO_ID)
			*noted = equal = hm_merge_equal_stored(merge, number);
		if (equal != HM_NO_ID)
		{
			hm_merge_join(merge, equal, number);
			continue;
		}
		*noted = id;
		put_copies(build, id, hm_merge_entry_copy(merge, number), 1);
		merge->entry_of[merge->new_count++] = number;
		hm_merge_add_ref(merge, id, number);
		hm_merge_progress(merge, 0);
	}
}

/* The leader's progress.  In parallel mode: no snapshot, no row. */
static bool
note_inserted(uint32 inserted, void *state)
{
	HmMergeState *merge = state;

	merge->report->done = inserted;
	return merge->progress == NULL || merge->progress(merge->report, merge->progress_state);
}

#define TAKEN_AT_ONCE	256		/* elements */

typedef struct TakeCall
{
	HmMergeState *merge;
	const HmBuildGraph *graph;
	uint32		first;
	uint32		end;
	uint8		levels[TAKEN_AT_ONCE];
} TakeCall;

static void
take_levels(void *argument)
{
	TakeCall   *call = argument;

	for (uint32 id = call->first; id < call->end; id++)
		call->levels[id - call->first] = (uint8) hm_build_level(call->graph, id);
}

static void
take_lists(void *argument)
{
	TakeCall   *call = argument;
	HmOverlay  *overlay = call->merge->overlay;

	for (uint32 id = call->first; id < call->end; id++)
	{
		for (int level = hm_overlay_level(overlay, id); level >= 0; level--)
		{
			uint32		links[2 * HM_MAX_M];
			int			n = hm_build_links(call->graph, id, level, NULL, links);

			hm_overlay_set(overlay, id, level, links, n);
		}
	}
	overlay->store.entry_point = hm_build_entry_point(call->graph, &overlay->store.top_level);
}

/* The graph as built becomes the merge's. */
static void
take_graph(HmMergeState *merge, const HmBuildGraph *graph)
{
	TakeCall	call = {.merge = merge, .graph = graph};
	uint32		count = merge->stored + merge->new_count;

	for (call.first = merge->stored; call.first < count; call.first = call.end)
	{
		call.end = Min(call.first + TAKEN_AT_ONCE, count);
		hm_scratch_call(take_levels, &call);
		for (uint32 id = call.first; id < call.end; id++)
		{
			if (hm_overlay_add(merge->overlay, call.levels[id - call.first]) != id)
				hm_merge_out_of_memory(merge);
		}
	}
	for (call.first = 0; call.first < count; call.first = call.end)
	{
		call.end = Min(call.first + TAKEN_AT_ONCE, count);
		hm_scratch_call(take_lists, &call);
		CHECK_FOR_INTERRUPTS();
	}
}

static bool
is_worth_while(const HmMergeState *merge)
{
	return merge->first == 0 && merge->dead_own == 0 &&
		merge->entry_count >= FEWEST_ENTRIES &&
		merge->entry_count >= merge->stored / LEAST_SHARE &&
		temp_file_limit < 0;
}

bool
hm_merge_build(HmMergeState *merge)
{
	HmBuildState build = {
		.heap = merge->heap,
		.index = merge->index,
		.opclass = merge->opclass,
		.meta = merge->directory.meta,
		.phase = HM_BUILD_INITIALIZE,
		.given = merge->overlay,

		/* An inserter is in the middle of a statement of its own, which is no place for parallel mode. */
		.alone = merge->mode == HM_MERGE_SMALL,
		.pause = note_inserted,
		.pause_state = merge
	};

	if (!is_worth_while(merge))
		return false;
	build.scratch = hm_scratch_set_create();
	build.copies = hm_scratch_create(build.scratch);
	hm_scratch_reserve(build.copies, ((uint64) merge->stored + merge->entry_count) *
					   merge->directory.meta.dim * sizeof(uint16));
	if (!put_stored(merge, &build))
	{
		hm_scratch_set_close(build.scratch);
		return false;
	}
	put_entries(merge, &build);
	hm_row_let_go(&merge->rows);

	build.element_count = merge->stored + merge->new_count;
	hm_merge_enter(merge, HM_MERGE_INSERT, build.element_count);
	if (merge->new_count > 0)
	{
		hm_build_make_graph(&build);
		if (build.stopped)
		{
			/* the others are gone: now it can */
			hm_merge_progress(merge, 0);
			elog(ERROR, "merge of index \"%s\" was stopped", RelationGetRelationName(merge->index));
		}
		take_graph(merge, build.graph);
	}
	hm_scratch_set_close(build.scratch);
	return true;
}
