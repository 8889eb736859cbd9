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
 * are hardly noticed.  A transaction left open counts as a reader.
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
#include "utils/snapmgr.h"
#include "utils/timestamp.h"

#define OVERDUE_FACTOR		4	/* a log so many times its bound makes inserters merge */
#define OVERDUE_IF_READ		2	/* and so many, while it is read */
#define INLINE_PAUSE		60000	/* milliseconds after an inserter's merge that failed */
#define LOOK_INTERVAL		1000	/* microseconds between looks at what others do */
#define READ_FOR			100000	/* microseconds that an index counts as read after that was seen */
#define SHORTEST_DELAY		1000	/* microseconds: less is saved up */
#define INDEXES_KNOWN		8	/* of a table that has several, say */

/* What others do with an index, as last looked at. */
typedef struct Others
{
	Oid			index;
	int64		looked;			/* when, in microseconds */
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
 * Whether others are reading an index.  They hold the one lock on it that
 * conflicts with AccessExclusiveLock alone.  Planning a query of the table
 * takes it too.
 */
static bool
is_read(Oid index)
{
	return hm_lock_holders(index, AccessExclusiveLock) > hm_lock_holders(index, ExclusiveLock);
}

static bool
is_merged(Relation index)
{
	if (!hm_merge_lock(index, false))
		return true;
	hm_merge_unlock(index);
	return false;
}

/* Looks again what others do if that is due; looking takes some microseconds. */
static Others *
look_at_others(Relation index)
{
	static Others known[INDEXES_KNOWN];
	Oid			oid = RelationGetRelid(index);
	Others	   *others = &known[oid % INDEXES_KNOWN];
	instr_time	clock;
	int64		now;

	INSTR_TIME_SET_CURRENT(clock);
	now = (int64) INSTR_TIME_GET_MICROSEC(clock);
	if (others->index != oid)
		*others = (Others) {.index = oid, .seen_read = PG_INT64_MIN / 2};
	else if (now - others->looked < LOOK_INTERVAL)
		return others;

	others->looked = now;
	if (is_read(oid))
		others->seen_read = now;
	others->read = now - others->seen_read < READ_FOR;
	others->merge = others->read && is_merged(index);
	if (!others->merge)
		others->delay = 0;
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
