/*-------------------------------------------------------------------------
 *
 * import_state.h
 *	  What the files of the import share.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_IMPORT_STATE_H
#define HM_INDEX_IMPORT_STATE_H

#include "index/import.h"

/* A row of the table, in scratch memory. */
typedef struct HmImportRow
{
	uint64		label;
	uint32		element;
	float		norm;			/* of its vector */
} HmImportRow;

struct HmImport
{
	HmImportRequest *request;
	HmScratchSet *set;
	HmGraphFile file;
	HmScratch  *bytes;			/* the file */
	HmScratch  *upper;			/* uint64 per node: where its upper lists begin */
	HmScratch  *slots;			/* uint32: hash table of labels; a node's number + 1, 0: empty */
	uint64		slot_mask;
	uint64		seed;			/* of its hash */
	Oid			label_type;
	uint64		last_label;		/* the largest */

	HmScratch  *rows;			/* HmImportRow */
	uint64		row_count;

	HmScratch  *element_of_node;	/* uint32 each; HM_NO_ID: none */
	HmScratch  *next_node;		/* of the same element; HM_NO_ID: the last */
	HmScratch  *node_of_element;	/* the first; HM_NO_ID: none */
	HmScratch  *norms;			/* float per element that has a node */
	HmScratch  *levels;			/* uint8 per element */
	uint32		element_count;
	uint32		used_nodes;
	uint32		used_elements;
};

static inline const uint64 *
hm_import_upper(const HmImport *import)
{
	return (const uint64 *) import->upper->base;
}

/* Raises an error for what a file says. */
extern void hm_import_refuse(const HmImport *import, const char *text) pg_attribute_noreturn();

#endif							/* HM_INDEX_IMPORT_STATE_H */
