/*-------------------------------------------------------------------------
 *
 * export.h
 *	  An index's graph in another library's format.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_EXPORT_H
#define HM_INDEX_EXPORT_H

#include "postgres.h"

#include "access/attnum.h"
#include "formats/graph_file.h"
#include "utils/rel.h"
#include "utils/snapshot.h"

typedef struct HmExportTarget
{
	HmGraphFormat format;
	AttrNumber	label;			/* as hm_label_check wants it: see labels.h */
	void		(*write) (void *state, const void *bytes, size_t size);
	void		(*progress) (void *state, uint64 elements);
	void	   *state;
} HmExportTarget;

typedef struct HmExportReport
{
	uint64		elements;		/* written */
	int			levels;
	uint64		dropped;		/* elements without a row that the snapshot sees */
	uint64		unlisted;		/* rows seen whose label was not written */
} HmExportReport;

/*
 * Writes the graph.  An element's label is that of the first of its rows that
 * the snapshot sees; further rows with the same vector are only counted, as are
 * rows that no graph ranks.  Elements without such a row are left out, and
 * their neighbours take their place in other elements' lists, as far as there
 * is room.  Raises an error if the index has a log: what is there is not part of the
 * graph yet; if a label is null or negative, or not the only one of its kind.
 */
extern void hm_graph_export(Relation heap, Relation index, Snapshot snapshot,
							const HmExportTarget *target, HmExportReport *report);

#endif							/* HM_INDEX_EXPORT_H */
