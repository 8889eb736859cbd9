/*-------------------------------------------------------------------------
 *
 * space.c
 *	  Which blocks of an index's file are used for what.
 *
 * The spaces are kept in order of their blocks, adjacent ones of one kind as
 * one.  There is room for a limited number; if it is used up, the smallest
 * that nobody needs is forgotten, and its blocks counted as lost.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/generic_xlog.h"
#include "access/transam.h"
#include "access/xact.h"
#include "access/xlog.h"
#include "catalog/pg_class.h"
#include "catalog/storage.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/buffer.h"
#include "storage/bufmgr.h"
#include "storage/holders.h"
#include "storage/lmgr.h"
#include "storage/lock.h"
#include "storage/proc.h"
#include "storage/procarray.h"
#include "storage/space.h"
#include "storage/testpoint.h"

/* Object numbers of the two locks: no index has as many columns. */
#define MERGE_LOCK		0x8001
#define PUBLISH_LOCK	0x8002

/* Retired blocks of a small index that are used again. */
#define RECYCLE_BLOCKS		32

/* Blocks added to the file under one lock. */
#define EXTEND_AT_ONCE		32

/* Less free space at the end is not worth a lock. */
#define MIN_TRUNCATE_BLOCKS	(8 * HM_RUN_ALIGNMENT)

static inline BlockNumber
space_end(const HmSpace *space)
{
	return space->block + space->blocks;
}

static void
remove_entry(HmMeta *meta, uint32 i)
{
	memmove(&meta->spaces[i], &meta->spaces[i + 1],
			(meta->space_count - i - 1) * sizeof(HmSpace));
	meta->space_count--;
	memset(&meta->spaces[meta->space_count], 0, sizeof(HmSpace));
}

/* True when two neighbours can be one space. */
static bool
alike(const HmSpace *a, const HmSpace *b)
{
	return space_end(a) == b->block && a->state == b->state && a->safexid == b->safexid;
}

static void
coalesce(HmMeta *meta)
{
	uint32		i = 0;

	while (i + 1 < meta->space_count)
	{
		if (alike(&meta->spaces[i], &meta->spaces[i + 1]))
		{
			meta->spaces[i].blocks += meta->spaces[i + 1].blocks;
			remove_entry(meta, i + 1);
		}
		else
			i++;
	}
}

/* Retired neighbours with different stamps become one with the younger. */
static void
coalesce_retired(HmMeta *meta)
{
	for (uint32 i = 0; i + 1 < meta->space_count; i++)
	{
		HmSpace    *a = &meta->spaces[i];
		HmSpace    *b = &meta->spaces[i + 1];

		if (a->state == HM_SPACE_RETIRED && b->state == HM_SPACE_RETIRED &&
			space_end(a) == b->block && a->safexid != 0 && b->safexid != 0)
			a->safexid = b->safexid = Max(a->safexid, b->safexid);
	}
	coalesce(meta);
}

/* Makes room for `wanted` more entries; those of the given range stay. */
static void
make_room(HmMeta *meta, uint32 wanted, BlockNumber block, uint32 blocks)
{
	if (meta->space_count + wanted <= HM_MAX_SPACES)
		return;
	coalesce_retired(meta);
	while (meta->space_count + wanted > HM_MAX_SPACES)
	{
		int			smallest = -1;

		for (uint32 i = 0; i < meta->space_count; i++)
		{
			const HmSpace *space = &meta->spaces[i];

			if (space->block < block + blocks && block < space_end(space))
				continue;
			if ((space->state == HM_SPACE_FREE || space->state == HM_SPACE_RETIRED) &&
				(smallest < 0 || space->blocks < meta->spaces[smallest].blocks))
				smallest = i;
		}
		if (smallest < 0)
			ereport(ERROR,
					(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
					 errmsg("the directory of an hnsw_mmap index cannot list more than %d spaces",
							HM_MAX_SPACES),
					 errhint("Please REINDEX it.")));
		meta->lost_blocks += meta->spaces[smallest].blocks;
		remove_entry(meta, smallest);
	}
}

static void
insert_entry(HmMeta *meta, BlockNumber block, uint32 blocks, HmSpaceState state)
{
	uint32		i = 0;
	HmSpace		space = {.block = block, .blocks = blocks, .state = state};

	Assert(meta->space_count < HM_MAX_SPACES);
	while (i < meta->space_count && meta->spaces[i].block < block)
		i++;
	memmove(&meta->spaces[i + 1], &meta->spaces[i], (meta->space_count - i) * sizeof(HmSpace));
	meta->spaces[i] = space;
	meta->space_count++;
}

/* Takes a range out of the spaces that it lies in. */
static void
cut_out(HmMeta *meta, BlockNumber block, uint32 blocks)
{
	BlockNumber end = block + blocks;
	uint32		i = 0;

	while (i < meta->space_count)
	{
		HmSpace    *space = &meta->spaces[i];
		HmSpace		whole = *space;

		if (space_end(&whole) <= block || whole.block >= end)
		{
			i++;
			continue;
		}
		remove_entry(meta, i);
		if (whole.block < block)
		{
			insert_entry(meta, whole.block, block - whole.block, whole.state);
			meta->spaces[i].safexid = whole.safexid;
			i++;
		}
		if (space_end(&whole) > end)
		{
			insert_entry(meta, end, space_end(&whole) - end, whole.state);
			meta->spaces[i].safexid = whole.safexid;
			i++;
		}
	}
}

void
hm_space_set(HmMeta *meta, BlockNumber block, uint32 blocks, HmSpaceState state)
{
	blocks = HM_RUN_BLOCKS(blocks);
	make_room(meta, 2, block, blocks);	/* cutting a hole makes one more, the range another */
	cut_out(meta, block, blocks);
	insert_entry(meta, block, blocks, state);
	coalesce(meta);
}

void
hm_space_claim(HmMeta *meta, BlockNumber block, uint32 blocks)
{
	blocks = HM_RUN_BLOCKS(blocks);
	make_room(meta, 1, block, blocks);
	cut_out(meta, block, blocks);
}

void
hm_space_set_part(HmMeta *meta, const HmPartDesc *part, HmSpaceState state)
{
	for (uint32 i = 0; i < part->run_count; i++)
		hm_space_set(meta, part->runs[i].block, part->runs[i].pages, state);
	if (part->tombstone_block != InvalidBlockNumber)
		hm_space_set(meta, part->tombstone_block, HM_TOMBSTONE_PAGES(part), state);
}

void
hm_space_claim_part(HmMeta *meta, const HmPartDesc *part)
{
	for (uint32 i = 0; i < part->run_count; i++)
		hm_space_claim(meta, part->runs[i].block, part->runs[i].pages);
	if (part->tombstone_block != InvalidBlockNumber)
		hm_space_claim(meta, part->tombstone_block, HM_TOMBSTONE_PAGES(part));
}

/* Blocks behind the end; the file then ends after them. */
static BlockNumber
take_behind_end(Relation index, HmMeta *meta, uint32 blocks)
{
	BlockNumber block = meta->file_blocks;

	if ((uint64) block + blocks > MaxBlockNumber - HM_RUN_ALIGNMENT)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index \"%s\" would need more than %u blocks",
						RelationGetRelationName(index), MaxBlockNumber),
				 errhint("Partition the table.")));
	meta->file_blocks += blocks;
	return block;
}

BlockNumber
hm_space_take(Relation index, HmMeta *meta, uint32 blocks, HmSpaceState state)
{
	int			best = -1;
	BlockNumber block;

	blocks = HM_RUN_BLOCKS(blocks);
	for (uint32 i = 0; i < meta->space_count; i++)
	{
		const HmSpace *space = &meta->spaces[i];

		if (space->state == HM_SPACE_FREE && space->blocks >= blocks &&
			(best < 0 || space->blocks < meta->spaces[best].blocks))
			best = i;
	}
	block = best >= 0 ? meta->spaces[best].block : take_behind_end(index, meta, blocks);
	hm_space_set(meta, block, blocks, state);
	return block;
}

void
hm_space_take_runs(Relation index, HmMeta *meta, HmPartDesc *part, HmSpaceState state)
{
	uint32		left = part->array_page[HM_ARRAYS];

	part->run_count = 0;
	while (left > 0)
	{
		HmRun	   *run = &part->runs[part->run_count++];
		int			best = -1;

		/* the smallest that holds all of it, or else the largest */
		for (uint32 i = 0; i < meta->space_count; i++)
		{
			const HmSpace *space = &meta->spaces[i];
			const HmSpace *chosen = best < 0 ? NULL : &meta->spaces[best];

			if (space->state != HM_SPACE_FREE)
				continue;
			if (chosen == NULL ||
				(chosen->blocks < left ? space->blocks > chosen->blocks :
				 space->blocks >= left && space->blocks < chosen->blocks))
				best = i;
		}

		/*
		 * The last run, and one that free space could only crumble, go to the
		 * end of the file.
		 */
		if (best < 0 || (meta->spaces[best].blocks < left &&
						 (part->run_count == HM_MAX_RUNS || meta->spaces[best].blocks < left / HM_MAX_RUNS)))
		{
			run->pages = left;
			run->block = take_behind_end(index, meta, HM_RUN_BLOCKS(left));
		}
		else
		{
			run->block = meta->spaces[best].block;
			run->pages = Min(left, meta->spaces[best].blocks);
		}
		hm_space_set(meta, run->block, run->pages, state);
		left -= run->pages;
	}
}

uint64
hm_space_count(const HmMeta *meta, HmSpaceState state)
{
	uint64		blocks = 0;

	for (uint32 i = 0; i < meta->space_count; i++)
	{
		if (meta->spaces[i].state == state)
			blocks += meta->spaces[i].blocks;
	}
	return blocks;
}

/*
 * A few blocks at a time: others add pages to the log, and hold locks that
 * readers want while they wait for ours.
 */
void
hm_space_extend(Relation index, BlockNumber end)
{
	bool		need_lock = !RELATION_IS_LOCAL(index);
	BufferAccessStrategy strategy;

	if (RelationGetNumberOfBlocks(index) >= end)
		return;
	strategy = GetAccessStrategy(BAS_BULKWRITE);
	while (RelationGetNumberOfBlocks(index) < end)
	{
		CHECK_FOR_INTERRUPTS();
		if (need_lock)
			LockRelationForExtension(index, ExclusiveLock);
		for (int i = 0; i < EXTEND_AT_ONCE && RelationGetNumberOfBlocks(index) < end; i++)
			ReleaseBuffer(ReadBufferExtended(index, MAIN_FORKNUM, P_NEW, RBM_NORMAL, strategy));
		if (need_lock)
			UnlockRelationForExtension(index, ExclusiveLock);
	}
	FreeAccessStrategy(strategy);
}

void
hm_space_prepare(Relation index, const HmPartDesc *part, uint32 tombstone_pages)
{
	HmDirectory *directory = palloc(sizeof(HmDirectory));
	HmPartDesc	trial = *part;

	hm_directory_read(index, directory);
	if (tombstone_pages > 0)
		(void) hm_space_take(index, &directory->meta, tombstone_pages, HM_SPACE_PENDING);
	else
		hm_space_take_runs(index, &directory->meta, &trial, HM_SPACE_PENDING);
	hm_space_extend(index, directory->meta.file_blocks);
	pfree(directory);
}

void
hm_space_stamp(Relation index)
{
	GenericXLogState *state = GenericXLogStart(index);
	Buffer		buffer;
	HmMeta	   *meta = hm_meta_update(index, state, &buffer);
	uint64		xid = U64FromFullTransactionId(ReadNextFullTransactionId());

	for (uint32 i = 0; i < meta->space_count; i++)
	{
		if (meta->spaces[i].state == HM_SPACE_RETIRED && meta->spaces[i].safexid == 0)
			meta->spaces[i].safexid = xid;
	}
	coalesce(meta);
	hm_meta_finish(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);
}

/* True when nobody can be reading the retired space any more. */
static bool
is_removable(Relation heap, const HmSpace *space)
{
	FullTransactionId safexid = FullTransactionIdFromU64(space->safexid);

	if (space->state != HM_SPACE_RETIRED || space->safexid == 0)
		return false;

	/*
	 * A temporary index is read by this process alone.  What is removable from
	 * its table follows from transactions and not from snapshots, but this
	 * process may have a cursor open.
	 */
	if (RelationUsesLocalBuffers(heap))
		return !TransactionIdIsValid(MyProc->xmin) ||
			TransactionIdPrecedes(XidFromFullTransactionId(safexid), MyProc->xmin);
	return GlobalVisCheckRemovableFullXid(heap, safexid);
}

/*
 * True when so much is retired that it is worth using again.  Each time that
 * is done, queries on standbys which may still be reading it must end; so not
 * for every little, and not before it has been lying for a while.
 */
static bool
is_worth_recycling(const HmMeta *meta)
{
	uint64		retired = hm_space_count(meta, HM_SPACE_RETIRED);
	uint64		live = meta->file_blocks - retired - hm_space_count(meta, HM_SPACE_FREE);

	return retired >= Max(RECYCLE_BLOCKS, live / 2);
}

void
hm_space_recycle(Relation heap, Relation index, bool all)
{
	HmDirectory directory;
	GenericXLogState *state;
	Buffer		buffer;
	HmMeta	   *meta;
	uint64		youngest = 0;
	bool		unstamped = false;
	bool		pending = false;

	/* VACUUM has its new tombstone pages in pending space for a moment. */
	bool		publishing = hm_publish_lock(index, false);

	hm_directory_read(index, &directory);
	all |= is_worth_recycling(&directory.meta);

	/* Without this call the horizon used below may be an old one. */
	(void) GetOldestNonRemovableTransactionId(heap);
	for (uint32 i = 0; i < directory.meta.space_count; i++)
	{
		const HmSpace *space = &directory.meta.spaces[i];

		unstamped |= space->state == HM_SPACE_RETIRED && space->safexid == 0;
		pending |= space->state == HM_SPACE_PENDING && publishing;
		if (all && is_removable(heap, space))
			youngest = Max(youngest, space->safexid);
	}

	/* The merge that retired it died before it could stamp it. */
	if (unstamped)
		hm_space_stamp(index);

	if (pending || youngest != 0)
	{
		/*
		 * Standbys must be done with it before the first block is used again,
		 * and the record of that use will follow this one.
		 */
		if (youngest != 0 && RelationNeedsWAL(index) && XLogStandbyInfoActive())
			hm_log_reuse(heap, index, FullTransactionIdFromU64(youngest));

		HM_TEST_POINT("space-reuse-logged");

		/* Only the holder of the merge lock makes spaces RETIRED. */
		state = GenericXLogStart(index);
		meta = hm_meta_update(index, state, &buffer);
		for (uint32 i = 0; i < meta->space_count; i++)
		{
			HmSpace    *space = &meta->spaces[i];

			if ((space->state == HM_SPACE_PENDING && publishing) ||
				(space->state == HM_SPACE_RETIRED && space->safexid != 0 &&
				 space->safexid <= youngest))
			{
				space->state = HM_SPACE_FREE;
				space->safexid = 0;
			}
		}
		coalesce(meta);
		hm_meta_finish(meta);
		GenericXLogFinish(state);
		UnlockReleaseBuffer(buffer);
	}
	if (publishing)
		hm_publish_unlock(index);
}

void
hm_space_truncate(Relation index)
{
	HmDirectory directory;
	const HmSpace *last;
	GenericXLogState *state;
	Buffer		buffer;
	HmMeta	   *meta;
	BlockNumber end;

	hm_directory_read(index, &directory);
	if (directory.meta.space_count == 0)
		return;
	last = &directory.meta.spaces[directory.meta.space_count - 1];
	if (last->state != HM_SPACE_FREE || space_end(last) != directory.meta.file_blocks ||
		last->blocks < MIN_TRUNCATE_BLOCKS || last->blocks < directory.meta.file_blocks / 16)
		return;

	/*
	 * The lock keeps out mappings of those blocks, on standbys too, as its
	 * acquisition is logged.  Logging it needs a transaction id.
	 */
	if (!ConditionalLockRelation(index, AccessExclusiveLock))
		return;
	if (RelationNeedsWAL(index))
		(void) GetTopTransactionId();

	state = GenericXLogStart(index);
	meta = hm_meta_update(index, state, &buffer);
	last = meta->space_count > 0 ? &meta->spaces[meta->space_count - 1] : NULL;
	if (last == NULL || last->state != HM_SPACE_FREE || space_end(last) != meta->file_blocks)
	{
		GenericXLogAbort(state);
		UnlockReleaseBuffer(buffer);
		UnlockRelation(index, AccessExclusiveLock);
		return;
	}
	end = last->block;
	remove_entry(meta, meta->space_count - 1);
	meta->file_blocks = end;
	hm_meta_finish(meta);
	GenericXLogFinish(state);
	UnlockReleaseBuffer(buffer);

	/* A crash here leaves blocks behind the end, which will be used again. */
	HM_TEST_POINT("space-truncating");
	RelationTruncate(index, end);
	UnlockRelation(index, AccessExclusiveLock);
}

/*
 * The locks are on objects of our own naming: the index, and a number that no
 * column of it has.  (Page locks would be at hand, but nothing may be locked
 * while one is held.)
 */
static LOCKTAG
object_tag(Relation index, uint16 number)
{
	LOCKTAG		tag;

	SET_LOCKTAG_OBJECT(tag, index->rd_lockInfo.lockRelId.dbId, RelationRelationId,
					   RelationGetRelid(index), number);
	return tag;
}

static bool
lock_object(Relation index, uint16 number, bool wait)
{
	LOCKTAG		tag = object_tag(index, number);

	switch (LockAcquire(&tag, ExclusiveLock, false, !wait))
	{
		case LOCKACQUIRE_NOT_AVAIL:
			return false;
		case LOCKACQUIRE_OK:
			return true;
		default:
			break;
	}

	/* A function in an index expression may have come back to the same index. */
	(void) LockRelease(&tag, ExclusiveLock, false);
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_IN_USE),
			 errmsg("index \"%s\" is being merged, checked or vacuumed by this very session",
					RelationGetRelationName(index))));
}

static void
unlock_object(Relation index, uint16 number)
{
	LOCKTAG		tag = object_tag(index, number);

	(void) LockRelease(&tag, ExclusiveLock, false);
}

/* Found out without taking the lock, so that nobody who asks is in another's way. */
bool
hm_merge_lock_held(Relation index)
{
	LOCKTAG		tag = object_tag(index, MERGE_LOCK);

	return hm_tag_holders(&tag, ExclusiveLock) > 0;
}

bool
hm_merge_lock(Relation index, bool wait)
{
	return lock_object(index, MERGE_LOCK, wait);
}

void
hm_merge_unlock(Relation index)
{
	unlock_object(index, MERGE_LOCK);
}

bool
hm_publish_lock(Relation index, bool wait)
{
	return lock_object(index, PUBLISH_LOCK, wait);
}

void
hm_publish_unlock(Relation index)
{
	unlock_object(index, PUBLISH_LOCK);
}
