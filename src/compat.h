/*-------------------------------------------------------------------------
 *
 * compat.h
 *	  Differences between PostgreSQL 15, 16, 17 and 18.
 *
 * The only file that names PG_VERSION_NUM; script/lint rejects any other.
 * Include it after postgres.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_COMPAT_H
#define HM_COMPAT_H

#include "access/relscan.h"
#include "commands/vacuum.h"
#include "common/relpath.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/fd.h"
#include "storage/smgr.h"
#include "utils/rel.h"
#include "utils/snapmgr.h"

#if PG_VERSION_NUM < 150000
#error "hnsw_mmap needs PostgreSQL 15 or later"
#endif

/* The physical identity of a relation: RelFileNode became RelFileLocator in 16. */
#if PG_VERSION_NUM >= 160000
#include "storage/relfilelocator.h"
typedef RelFileLocator HmRelFileLocator;
#define hm_rel_locator(rel)		((rel)->rd_locator)
#define hm_locator_equals(a, b) RelFileLocatorEquals(a, b)
#define hm_locator_number(loc)	((loc).relNumber)
#else
#include "storage/relfilenode.h"
typedef RelFileNode HmRelFileLocator;
#define hm_rel_locator(rel)		((rel)->rd_node)
#define hm_locator_equals(a, b) RelFileNodeEquals(a, b)
#define hm_locator_number(loc)	((loc).relNode)
#endif

/*
 * Writes the path of the relation's main fork, segment 0, relative to the data
 * directory.  relpath returns a palloc'd string up to 17 and a struct from 18.
 */
static inline void
hm_relation_path(Relation rel, char *path, size_t size)
{
#if PG_VERSION_NUM >= 180000
	strlcpy(path, relpath(RelationGetSmgr(rel)->smgr_rlocator, MAIN_FORKNUM).str, size);
#elif PG_VERSION_NUM >= 160000
	char	   *p = relpath(RelationGetSmgr(rel)->smgr_rlocator, MAIN_FORKNUM);

	strlcpy(path, p, size);
	pfree(p);
#else
	char	   *p = relpath(RelationGetSmgr(rel)->smgr_rnode, MAIN_FORKNUM);

	strlcpy(path, p, size);
	pfree(p);
#endif
}

/* A block buffer fit for smgrextend: aligned for direct I/O from 16. */
#if PG_VERSION_NUM >= 160000
typedef PGIOAlignedBlock HmBlock;
#else
typedef PGAlignedBlock HmBlock;
#endif

/* Allocates so many of them in the current context. */
static inline HmBlock *
hm_alloc_blocks(int count)
{
#if PG_VERSION_NUM >= 160000
	return (HmBlock *) palloc_aligned(count * sizeof(HmBlock), PG_IO_ALIGN_SIZE, 0);
#else
	return (HmBlock *) palloc(count * sizeof(HmBlock));
#endif
}

/* A place where VACUUM may sleep. */
static inline void
hm_vacuum_delay_point(void)
{
#if PG_VERSION_NUM >= 180000
	vacuum_delay_point(false);
#else
	vacuum_delay_point();
#endif
}

/* Counts the beginning of an index scan, where the server keeps such counts. */
static inline void
hm_count_index_scan(IndexScanDesc scan)
{
	pgstat_count_index_scan(scan->indexRelation);
#if PG_VERSION_NUM >= 180000
	if (scan->instrument)
		scan->instrument->nsearches++;
#endif
}

/*
 * Raises "snapshot too old" where old_snapshot_threshold, which 17 removed,
 * says that rows this snapshot needs may be gone: what core's access methods
 * do for every page that they read for a scan.
 */
static inline void
hm_test_old_snapshot(Relation index, Snapshot snapshot, BlockNumber block)
{
#if PG_VERSION_NUM < 170000
	if (old_snapshot_threshold >= 0)
	{
		Buffer		buffer = ReadBuffer(index, block);

		LockBuffer(buffer, BUFFER_LOCK_SHARE);
		TestForOldSnapshot(snapshot, index, BufferGetPage(buffer));
		UnlockReleaseBuffer(buffer);
	}
#endif
}

/* True when data files are opened with O_DIRECT, which must not be mixed with mmap. */
static inline bool
hm_data_is_direct_io(void)
{
#if PG_VERSION_NUM >= 160000
	return (io_direct_flags & IO_DIRECT_DATA) != 0;
#else
	return false;
#endif
}

/*
 * Marks a path as no better than so many that were switched off.  From 18 they
 * are counted; before, the path's cost alone has to say it.
 */
#if PG_VERSION_NUM >= 180000
#define hm_disable_path(path, nodes)	((void) ((path)->disabled_nodes += (nodes)))
#else
#define hm_disable_path(path, nodes)	((void) (path))
#endif

/* 18 has pg_noreturn, to be written before a declaration, in its place. */
#ifndef pg_attribute_noreturn
#define pg_attribute_noreturn() __attribute__((noreturn))
#endif

#endif							/* HM_COMPAT_H */
