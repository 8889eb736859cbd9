/*-------------------------------------------------------------------------
 *
 * insert.c
 *	  aminsert: a row becomes an entry of the log.
 *
 * Nothing of the graph is read or changed.  The only lock held for longer than
 * a page copy is that of the log's last page, while one entry is added; see
 * storage/log.h.  When the log has become long, a merge is asked for; when it
 * is overdue, or the table temporary, the inserter merges it (index/merge.c),
 * after all locks on pages were let go.  A rolled back insertion leaves its entry, which points to a
 * dead row like any other index entry does, until VACUUM blanks it.
 *
 * The first vector that an empty index meets fixes its dimension, and for
 * references to rows of a file, the file.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "files/extvec.h"
#include "index/attached.h"
#include "index/element.h"
#include "index/index.h"
#include "index/merge.h"
#include "storage/log.h"
#include "storage/metapage.h"

bool
hm_insert(Relation index, Datum *values, bool *isnull, ItemPointer tid, Relation heap,
		  IndexUniqueCheck check_unique, bool index_unchanged, IndexInfo *index_info)
{
	const HmOpclass *opclass = hm_opclass(index);
	HmDirectory directory;
	HmLogEntry	entry = {.tid = *tid, .kind = HM_TAIL_NULL};
	HmElement	element;
	HmVector	vector;
	void	   *copied;
	float	   *scratch;
	uint16	   *copy;

	hm_directory_read(index, &directory);

	if (isnull[0])
	{
		hm_log_append(index, &directory, &entry, NULL);
		hm_merge_consider(heap, index, &directory);
		return false;
	}

	vector = opclass->type->view(values[0], &copied);
	if (directory.meta.dim == 0)
	{
		HmIndexedFile file = {0};
		HmSizes		sizes = {0};

		(void) hm_attached_note(index, opclass, values[0], &file);
		hm_sizes_add(&sizes, &vector);
		hm_log_set_dimension(index, &directory, vector.dim,
							 hm_element_scale(opclass->metric, &sizes), &file);
	}
	(void) hm_attached_note(index, opclass, values[0], &directory.meta.file);
	(void) hm_attached_file(index, opclass, &directory.meta);
	if ((uint32) vector.dim != directory.meta.dim)
		ereport(ERROR,
				(errcode(ERRCODE_DATA_EXCEPTION),
				 errmsg("expected %u dimensions, not %d", directory.meta.dim, vector.dim),
				 errdetail("Index \"%s\" has vectors of %u dimensions.",
						   RelationGetRelationName(index), directory.meta.dim)));

	scratch = palloc(vector.dim * sizeof(float));
	copy = palloc(vector.dim * sizeof(uint16));
	element = hm_element_make(opclass->metric, directory.meta.scale, &vector, scratch, copy);
	entry.kind = element.kind;
	entry.norm = element.norm;
	entry.fingerprint = element.fingerprint;
	entry.hash = hm_is_attached(opclass) ? (uint64) DatumGetExtvec(values[0])->row :
		hm_vector_hash(&vector, directory.incarnation);
	hm_log_append(index, &directory, &entry, element.kind == HM_LOG_VECTOR ? copy : NULL);
	hm_merge_consider(heap, index, &directory);

	pfree(scratch);
	pfree(copy);
	if (copied != NULL)
		pfree(copied);
	return false;
}
