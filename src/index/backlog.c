/*-------------------------------------------------------------------------
 *
 * backlog.c
 *	  What is done about a log that grows: asked for a merge, merged, slowed.
 *
 * Who finds that a merge is due asks for a worker.  That may not be enough: an
 * inserter adds rows ten times as fast as they can be merged, and there may be
 * no worker at all.
 *
 * While nobody reads the index that harms nobody, and large merges are cheaper
 * than small ones: so the log may grow to several times its bound before an
 * inserter that finds nobody merging merges it itself.
 *
 * Queries, however, compare every entry of the log.  While there are some,
 * inserters help earlier, and where another process merges already, they are
 * held back a little with each row, the more the longer the log is, so that it
 * hardly grows longer in the time that the merge takes.  They do not wait for
 * it: hnsw_mmap.insert_delay bounds what a row can be delayed.
 *
 * Readers are told by the lock that a scan of the index keeps until its
 * transaction ends, looked at now and then, so that a few short queries a second
 * are not noticed.  A transaction left open counts as a reader.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/xact.h"
#include "access/xlog.h"
#include "index/merge.h"
#include "index/options.h"
#include "index/request.h"
#include "miscadmin.h"
#include "pgstat.h"
#include "portability/instr_time.h"
#include "storage/holders.h"
#include "storage/log.h"
#include "storage/space.h"
#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define OVERDUE_FACTOR		4	/* a log so many times its bound makes inserters merge */
#define OVERDUE_IF_READ		2	/* and so many, while it is read */
#define INLINE_PAUSE		60000	/* milliseconds after an inserter's merge that failed */
#define LOOK_INTERVAL		1000	/* microseconds between looks at what others do, or more: */
#define LOOK_SHARE			50	/* one part of so many of the time is spent on it at most */
#define AVERAGE_OF			16	/* looks */
#define FORGET_AFTER		1000000	/* microseconds without a look, after which one begins anew */
#define READ_SHARE			0.25	/* an index counts as read if it is that much of the time, */
#define READ_FOR			100000	/* and so many microseconds longer */
#define SHORTEST_DELAY		1000	/* microseconds: less is saved up */

/* What others do with an index, as last looked at. */
typedef struct Others
{
	Oid			index;			/* hash key */
	int64		looked;			/* when, in microseconds */
	int64		look_next;
	double		share;			/* of the time in which somebody reads it */
	int64		seen_read;
	bool		read;			/* somebody reads it, or did a moment ago */
	bool		merge;			/* somebody merges it, while it is read */
	double		delay;			/* microseconds that this process owes them */
} Others;

uint64
hm_log_length(const HmMeta *meta)
{
	uint64		pages;

	if (meta->log_head == InvalidBlockNumber)
		return 0;
	pages = meta->log_next_sequence - meta->log_head_sequence;

	/* of the last page it is not known how full it is */
	return (pages - 1) * hm_log_entries_per_page(meta);
}

/*
 * The share of the time in which others read an index, by another look.  They
 * hold the one lock on it that conflicts with AccessExclusiveLock alone.
 * Planning a query of the table takes it too.
 *
 * The two numbers are not of one moment, so an inserter that ends or begins in
 * between makes the difference one too large or too small.  It is the one as
 * often as the other, and hardly shows in an average.
 */
static double
share_read(const Others *others, int64 now)
{
	int			readers = hm_lock_holders(others->index, AccessExclusiveLock) -
		hm_lock_holders(others->index, ExclusiveLock);
	double		seen = Max(-1, Min(1, readers));

	if (now - others->looked > FORGET_AFTER)
		return seen;
	return others->share + (seen - others->share) / AVERAGE_OF;
}

/* What this process remembers of others and an index; made if there is nothing. */
static Others *
others_of(Oid index)
{
	static HTAB *known = NULL;
	Others	   *others;
	bool		found;

	if (known == NULL)
	{
		HASHCTL		control = {
			.keysize = sizeof(Oid),
			.entrysize = sizeof(Others),
			.hcxt = TopMemoryContext
		};

		known = hash_create("hnsw_mmap backlogs", 16, &control,
							HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
	}
	others = hash_search(known, &index, HASH_ENTER, &found);
	if (!found)
		*others = (Others) {
		.index = index, .looked = PG_INT64_MIN / 2, .seen_read = PG_INT64_MIN / 2
	};
	return others;
}

/* Microseconds of a clock that nobody sets. */
static int64
now_us(void)
{
	instr_time	now;

	INSTR_TIME_SET_CURRENT(now);
	return (int64) INSTR_TIME_GET_MICROSEC(now);
}

/*
 * Looks again what others do if that is due.  Looking takes some microseconds,
 * or many where max_connections is in the thousands, and is the less often done.
 */
static Others *
look_at_others(Relation index)
{
	Others	   *others = others_of(RelationGetRelid(index));
	int64		now = now_us();
	int64		taken;

	if (now < others->look_next)
		return others;
	others->share = share_read(others, now);
	others->looked = now;
	if (others->share >= READ_SHARE)
		others->seen_read = now;
	others->read = now - others->seen_read < READ_FOR;
	others->merge = others->read && hm_merge_lock_held(index);
	if (!others->merge)
		others->delay = 0;

	taken = now_us() - now;
	others->look_next = now + Min(Max(LOOK_INTERVAL, taken * LOOK_SHARE), READ_FOR);
	return others;
}

/* Holds an inserter back, as far as the log is beyond its bound. */
static void
hold_back(Others *others, uint64 entries)
{
	double		beyond = (double) entries / hm_merge_log_entries - 1;

	others->delay += Min(beyond, 1) * hm_insert_delay * 1000;
	if (others->delay < SHORTEST_DELAY)
		return;
	pgstat_report_wait_start(PG_WAIT_EXTENSION);
	pg_usleep((long) others->delay);
	pgstat_report_wait_end();
	others->delay = 0;
	CHECK_FOR_INTERRUPTS();
}

/*
 * An inserter's own merge.  If the last one of this process did not come to
 * its end, as with a statement_timeout that is shorter than it takes, the next
 * insertion does not try again.
 */
static void
merge_inline(Relation heap, Relation index)
{
	static Oid	attempted = InvalidOid;
	static TimestampTz since;
	HmMergeReport report;
	TimestampTz now = GetCurrentTimestamp();

	if (attempted == RelationGetRelid(index) &&
		!TimestampDifferenceExceeds(since, now, INLINE_PAUSE))
		return;
	attempted = RelationGetRelid(index);
	since = now;
	(void) hm_merge(heap, index, HM_MERGE_SMALL, false, &report, NULL, NULL);
	attempted = InvalidOid;
}

/* True when this process may merge, or ask for it, here and now. */
static bool
may_merge(void)
{
	return hm_background_merge && IsUnderPostmaster && !RecoveryInProgress() &&
		!IsInParallelMode() && CritSectionCount == 0 && IsTransactionState();
}

void
hm_merge_consider(Relation heap, Relation index, const HmDirectory *directory)
{
	uint64		entries = hm_log_length(&directory->meta);
	uint64		bound = hm_merge_log_entries;
	Others	   *others;

	if (likely(entries < bound) || !may_merge())
		return;

	/* No worker can see a temporary table, nor does anybody else read it. */
	if (RelationUsesLocalBuffers(index))
	{
		if (ActiveSnapshotSet())
			merge_inline(heap, index);
		return;
	}

	/*
	 * A serializable transaction must not appear to have read the rows that a
	 * merge looks at.
	 */
	others = look_at_others(index);
	if (entries < (others->read ? OVERDUE_IF_READ : OVERDUE_FACTOR) * bound ||
		IsolationIsSerializable() || !ActiveSnapshotSet())
		hm_merge_request(index);
	else if (!others->merge)
		merge_inline(heap, index);
	if (others->merge)
		hold_back(others, entries);
}

void
hm_merge_after_vacuum(Relation index, const HmDirectory *directory)
{
	if (hm_merge_is_due(directory) && may_merge() && !RelationUsesLocalBuffers(index))
		hm_merge_request(index);
}
