/*-------------------------------------------------------------------------
 *
 * vacuum.c
 *	  ambulkdelete and amvacuumcleanup: dead rows get a tombstone each.
 *
 * The graph is not touched.  The refs, postings and tail of every part are
 * read in sequence, 8 to 12 bytes a row, and the bits of those whose rows are dead
 * are set and published (see storage/tombstone.h); entries of the log are
 * blanked in place.  Both are logged before ambulkdelete returns, and only
 * after that may VACUUM make the TIDs free for new rows.
 *
 * A TID whose bit is already set is not asked about again: it may belong to
 * another row by now, whose death is none of this element's business.
 *
 * Concurrency: VACUUM holds ShareUpdateExclusiveLock on the table, so there is
 * one of it.  The publish lock keeps a merge from switching the directory while
 * TIDs are looked at: when it does so afterwards, it finds what was set and
 * blanked here, and carries it over.  Scans and inserts go on; a scan that read
 * the directory before the publication does not see the new bits, nor, by its
 * snapshot, any row that reuses such a TID.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "commands/vacuum.h"
#include "compat.h"
#include "index/index.h"
#include "index/merge.h"
#include "miscadmin.h"
#include "port/pg_bitutils.h"
#include "storage/bufmgr.h"
#include "storage/log.h"
#include "storage/metapage.h"
#include "storage/part.h"
#include "storage/space.h"
#include "storage/testpoint.h"
#include "storage/tombstone.h"

#define CHUNK	4096			/* entries read at a time */

typedef struct VacuumState
{
	Relation	index;
	HmDirectory directory;
	IndexBulkDeleteCallback callback;
	void	   *callback_state;
	const uint64 *tombstones;	/* set before this VACUUM */

	uint64	   *dead;			/* bit numbers found, ascending */
	uint64		dead_count;
	uint64		dead_space;
	uint64		live;
} VacuumState;

/* VACUUM's callback takes valid TIDs only; damaged pages may hold others. */
static void
check_tid(Relation index, ItemPointer tid)
{
	if (!ItemPointerIsValid(tid) ||
		!BlockNumberIsValid(ItemPointerGetBlockNumberNoCheck(tid)))
		ereport(ERROR,
				(errcode(ERRCODE_INDEX_CORRUPTED),
				 errmsg("index \"%s\" refers to item %u in block %u, which no table can have",
						RelationGetRelationName(index),
						ItemPointerGetOffsetNumberNoCheck(tid),
						ItemPointerGetBlockNumberNoCheck(tid)),
				 errhint("Please REINDEX it.")));
}

static void
look_at(VacuumState *state, uint64 bit, ItemPointer tid)
{
	if (hm_tombstone_is_set(state->tombstones, bit))
		return;
	check_tid(state->index, tid);
	if (!state->callback(tid, state->callback_state))
	{
		state->live++;
		return;
	}
	if (state->dead_count == state->dead_space)
	{
		state->dead_space *= 2;
		state->dead = repalloc_huge(state->dead, state->dead_space * sizeof(uint64));
	}
	state->dead[state->dead_count++] = bit;
}

/* Looks at all TIDs of one array, whose first has tombstone bit `first_bit`. */
static void
vacuum_array(VacuumState *state, const HmPartDesc *part, HmArray array, uint64 first_bit)
{
	const HmMeta *meta = &state->directory.meta;
	uint64		count = hm_array_entry_count(meta, part, array);
	uint32		size = hm_array_entry_size(meta, array);
	size_t		tid_offset = array == HM_ARRAY_POSTINGS ? offsetof(HmPosting, tid) : 0;
	char	   *entries = palloc((Size) CHUNK * size);

	StaticAssertStmt(offsetof(HmRef, tid) == 0 && offsetof(HmTailEntry, tid) == 0,
					 "refs and tail entries begin with their TID");

	for (uint64 first = 0; first < count; first += CHUNK)
	{
		uint64		n = Min(CHUNK, count - first);

		hm_vacuum_delay_point();
		hm_part_read(state->index, state->directory.incarnation, meta, part, array,
					 first, n, entries);
		for (uint64 i = 0; i < n; i++)
			look_at(state, first_bit + first + i,
					(ItemPointer) (entries + i * size + tid_offset));
	}
	pfree(entries);
}

static uint64
count_bits(const uint64 *bits, const HmPartDesc *part)
{
	if (bits == NULL)
		return 0;
	return pg_popcount((const char *) bits,
					   (int) ((HM_TOMBSTONE_COUNT(part) + 63) / 64 * sizeof(uint64)));
}

static void
vacuum_part(VacuumState *state, uint32 number)
{
	HmPartDesc	part = state->directory.meta.parts[number];
	uint64		total;

	state->tombstones = hm_tombstones_reload(state->index, &state->directory, &part);
	state->dead_count = 0;
	vacuum_array(state, &part, HM_ARRAY_REFS, 0);
	vacuum_array(state, &part, HM_ARRAY_POSTINGS, part.element_count);
	vacuum_array(state, &part, HM_ARRAY_TAIL, (uint64) part.element_count + part.posting_count);

	total = count_bits(state->tombstones, &part) + state->dead_count;
	hm_tombstones_release(state->tombstones);
	if (state->dead_count > 0 || total != part.dead_count)
		hm_tombstones_set(state->index, &state->directory, number,
						  state->dead, state->dead_count, total);
}

static bool
log_entry_is_dead(ItemPointer tid, void *state)
{
	VacuumState *vacuum = state;

	check_tid(vacuum->index, tid);
	return vacuum->callback(tid, vacuum->callback_state);
}

IndexBulkDeleteResult *
hm_bulkdelete(IndexVacuumInfo *info, IndexBulkDeleteResult *stats,
			  IndexBulkDeleteCallback callback, void *callback_state)
{
	VacuumState state = {.index = info->index, .callback = callback, .callback_state = callback_state};
	uint64		log_live;
	uint64		removed;

	if (stats == NULL)
		stats = palloc0(sizeof(IndexBulkDeleteResult));

	(void) hm_publish_lock(info->index, true);
	HM_TEST_POINT("vacuum-locked");
	hm_directory_read(info->index, &state.directory);
	state.dead_space = 1024;
	state.dead = palloc(state.dead_space * sizeof(uint64));

	removed = 0;
	for (uint32 i = 0; i < state.directory.meta.part_count; i++)
	{
		vacuum_part(&state, i);
		removed += state.dead_count;
	}
	removed += hm_log_blank(info->index, &state.directory, log_entry_is_dead, &state, &log_live);
	HM_TEST_POINT("vacuum-blanked");
	hm_publish_unlock(info->index);
	pfree(state.dead);

	stats->tuples_removed += removed;
	stats->num_index_tuples = state.live + log_live;
	stats->estimated_count = false;
	return stats;
}

IndexBulkDeleteResult *
hm_vacuumcleanup(IndexVacuumInfo *info, IndexBulkDeleteResult *stats)
{
	HmDirectory directory;
	uint64		entries,
				live;
	uint32		pages;

	/* ANALYZE has nothing to clean up. */
	if (info->analyze_only)
		return stats;

	/* Without dead rows ambulkdelete was not called, and nobody counted. */
	hm_directory_read(info->index, &directory);
	if (stats == NULL)
	{
		stats = palloc0(sizeof(IndexBulkDeleteResult));

		/* VACUUM's snapshot does not keep pages of the log from being recycled */
		(void) hm_publish_lock(info->index, true);
		hm_directory_read(info->index, &directory);
		hm_log_count(info->index, &directory, &entries, &live, &pages);
		stats->num_index_tuples = live;
		for (uint32 i = 0; i < directory.meta.part_count; i++)
		{
			const HmPartDesc *part = &directory.meta.parts[i];

			stats->num_index_tuples += HM_TOMBSTONE_COUNT(part) - part->dead_count;
		}
		hm_publish_unlock(info->index);
	}
	stats->num_pages = RelationGetNumberOfBlocks(info->index);
	stats->pages_free = hm_space_count(&directory.meta, HM_SPACE_FREE);
	hm_merge_after_vacuum(info->index, &directory);
	return stats;
}
