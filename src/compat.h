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

#include "access/nbtxlog.h"
#include "access/relscan.h"
#include "access/xloginsert.h"
#include "catalog/catalog.h"
#include "catalog/pg_class.h"
#include "catalog/pg_foreign_server.h"
#include "commands/vacuum.h"
#include "common/relpath.h"
#include "pgstat.h"
#include "storage/bufmgr.h"
#include "storage/bufpage.h"
#include "storage/fd.h"
#include "storage/smgr.h"
#include "utils/acl.h"
#include "utils/backend_status.h"
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

/* True when the current transaction created the relation, or gave it new files. */
static inline bool
hm_made_in_transaction(Relation rel)
{
#if PG_VERSION_NUM >= 160000
	return rel->rd_createSubid != InvalidSubTransactionId ||
		rel->rd_firstRelfilelocatorSubid != InvalidSubTransactionId;
#else
	return rel->rd_createSubid != InvalidSubTransactionId ||
		rel->rd_firstRelfilenodeSubid != InvalidSubTransactionId;
#endif
}

/*
 * Whether a user may maintain a table: its owner may, and from 17 whoever has
 * the privilege MAINTAIN.
 */
static inline AclResult
hm_maintain_check(Oid table, Oid user)
{
#if PG_VERSION_NUM >= 170000
	return pg_class_aclcheck(table, user, ACL_MAINTAIN);
#elif PG_VERSION_NUM >= 160000
	return object_ownercheck(RelationRelationId, table, user) ? ACLCHECK_OK : ACLCHECK_NOT_OWNER;
#else
	return pg_class_ownercheck(table, user) ? ACLCHECK_OK : ACLCHECK_NOT_OWNER;
#endif
}

/* Whether a user has USAGE on a foreign server. */
static inline AclResult
hm_server_usage_check(Oid server, Oid user)
{
#if PG_VERSION_NUM >= 160000
	return object_aclcheck(ForeignServerRelationId, server, user, ACL_USAGE);
#else
	return pg_foreign_server_aclcheck(server, user, ACL_USAGE);
#endif
}

/* A process of this moment's list, counted from 1; its function was renamed in 16. */
static inline const PgBackendStatus *
hm_backend_status(int number)
{
#if PG_VERSION_NUM >= 160000
	const LocalPgBackendStatus *local = pgstat_get_local_beentry_by_index(number);
#else
	const LocalPgBackendStatus *local = pgstat_fetch_stat_local_beentry(number);
#endif

	return local != NULL ? &local->backendStatus : NULL;
}

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
 * Logs that space is about to be used again which snapshots up to the given
 * transaction may still be reading: a hot standby cancels those queries, or
 * waits for them, before it replays what follows.  The record is nbtree's,
 * whose replay does that and nothing else.
 */
static inline void
hm_log_reuse(Relation heap, Relation index, FullTransactionId horizon)
{
	xl_btree_reuse_page record;

	memset(&record, 0, sizeof(record));
	record.block = InvalidBlockNumber;
#if PG_VERSION_NUM >= 160000
	record.locator = index->rd_locator;
	record.snapshotConflictHorizon = horizon;
	record.isCatalogRel = RelationIsAccessibleInLogicalDecoding(heap);
#else
	record.node = index->rd_node;
	record.latestRemovedFullXid = horizon;
#endif
	XLogBeginInsert();
	XLogRegisterData((char *) &record, SizeOfBtreeReusePage);
	(void) XLogInsert(RM_BTREE_ID, XLOG_BTREE_REUSE_PAGE);
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
