/*-------------------------------------------------------------------------
 *
 * import.h
 *	  Building an index from a graph that another library made.
 *
 * hnsw_mmap_import_graph sets a request and runs CREATE INDEX; the build of an
 * index on that table takes it up.  Of the phases of a build it changes two:
 * the scan of the table notes each row's label as well, and building the graph
 * becomes taking over the lists of the file's elements (build_graph.c).
 *
 * Names: *nodes* are the file's elements, *elements* those of the index.  A node
 * is found by its label.  Several nodes may be one element, if the vectors of
 * their rows are equal; rows with one label must have equal vectors.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_IMPORT_H
#define HM_INDEX_IMPORT_H

#include "postgres.h"

#include "access/attnum.h"
#include "formats/graph_file.h"
#include "graph/build.h"
#include "index/scratch.h"
#include "nodes/execnodes.h"
#include "utils/rel.h"

/* What hnsw_mmap_import_graph wants to have built, and what came of it. */
typedef struct HmImportRequest
{
	Oid			table;
	const char *path;			/* of the file, or a shard's */
	const char *space;			/* "l2", "ip" or "cosine"; NULL: not known */
	uint64		label_base;		/* to be added to the file's labels */
	uint64		label_count;	/* that they have to be below, before that */
	AttrNumber	label;			/* a column of the table; 0: file rows of an extvec */

	/* out */
	Oid			index;			/* InvalidOid: not built */
	uint32		nodes;
	uint32		used;			/* nodes that are an element of the index now */
	uint32		inserted;		/* elements that the graph did not have */
} HmImportRequest;

/*
 * Sets the request for the builds that follow in this session, or with NULL
 * takes it back, which whoever set it has to do, after an error too.
 */
extern void hm_import_set_request(HmImportRequest *request);

/*
 * Reads enough of a graph file to say what it is.  Raises an error if it is not
 * one.  For those who may read files on the server; nothing is checked here.
 */
extern void hm_import_read_header(const char *path, HmGraphHeader *header);

/* Reads a small file whole, into palloc'd memory; an error if it is larger than that. */
extern void *hm_import_read_small(const char *path, size_t limit, size_t *size);

typedef struct HmImport HmImport;

/* The request for an index, or NULL.  Loads the file into scratch memory and checks it. */
extern HmImport *hm_import_begin(Relation heap, Relation index, HmScratchSet *set);

/*
 * The information for the scan: the index's own, or a copy with the label as a
 * second column.
 */
extern IndexInfo *hm_import_scan_info(const HmImport *import, IndexInfo *index_info);

/* The label in a row's values, as hm_import_scan_info has them; false: it has none. */
extern bool hm_import_label(const HmImport *import, const Datum *values, const bool *isnull,
							int64 *label);

/* Notes a live row's label, the element that it belongs to and its vector's norm. */
extern void hm_import_add_row(HmImport *import, int64 label, uint32 element, double norm);

/* Forgets all rows. */
extern void hm_import_forget_rows(HmImport *import);

/*
 * Finds out which node is which element, after the scan.  Raises an error if
 * the file is of another dimension or M, or no row has a label that it has, or
 * rows with different vectors have the same.  file_rows: of the vector file.
 */
extern void hm_import_match(HmImport *import, uint32 element_count, uint32 dim, uint32 m,
							uint64 file_rows);

/* Levels for hm_build_init, one per element, in scratch memory. */
extern const uint8 *hm_import_levels(const HmImport *import);

/* Takes over the lists of nodes, and makes up for neighbours that no row has. */
extern void hm_import_adopt(HmImport *import, HmBuilder *builder);

/*
 * Raises an error unless the lists look like those of nearest neighbours by
 * this metric.  copies: of the elements, dim half-precision values each.
 */
extern void hm_import_verify(HmImport *import, HmBuilder *builder, HmMetric metric,
							 const uint16 *copies, uint32 dim);

/* Fills the request. */
extern void hm_import_end(HmImport *import, uint32 element_count);

#endif							/* HM_INDEX_IMPORT_H */
