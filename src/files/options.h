/*-------------------------------------------------------------------------
 *
 * options.h
 *	  What the options of a server of hnsw_mmap_file say.
 *
 *		path	absolute path of the file
 *		format	npy, fvecs or raw; by default what the path ends in says
 *		dtype	f2 or f4: needed for raw, otherwise what the file has to have
 *		dim		likewise
 *		offset	bytes before the first row, raw only; 0 by default
 *		number	1 .. 2^32 - 1: by which values refer to the file; by default a
 *				hash of the server's name
 *		rows	how many rows may be read, as of when the file was attached; by
 *				default as many as there are
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_FILES_OPTIONS_H
#define HM_FILES_OPTIONS_H

#include "postgres.h"

#include "formats/vector_file.h"
#include "nodes/pg_list.h"

#define HM_FILE_WRAPPER "hnsw_mmap_file"

typedef struct HmFileOptions
{
	const char *path;
	HmVectorRequest request;
} HmFileOptions;

/*
 * From a server's options, a list of DefElem: allocated in the current memory
 * context.  Raises an error where they make no sense.  Does not look at the
 * file, which need not be on this machine.
 */
extern void hm_file_options_read(List *list, HmFileOptions *options);

/* The number that values refer to a server by, whatever else its options say. */
extern uint32 hm_file_options_number(List *list, const char *name);

/* Raises an error unless the current user may say which files are read. */
extern void hm_file_options_check_role(void);

#endif							/* HM_FILES_OPTIONS_H */
