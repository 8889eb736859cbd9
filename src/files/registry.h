/*-------------------------------------------------------------------------
 *
 * registry.h
 *	  Attached vector files, for who lists and attaches them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_FILES_REGISTRY_H
#define HM_FILES_REGISTRY_H

#include "postgres.h"

#include "files/file.h"
#include "files/options.h"
#include "nodes/pg_list.h"

/* A server of the wrapper, as the catalog has it. */
typedef struct HmFileServer
{
	Oid			oid;
	uint32		number;
	const char *name;
	List	   *options;		/* of DefElem */
} HmFileServer;

/* All of them, in the current memory context; none if there is no such wrapper. */
extern List *hm_file_servers(void);

/* Why a file cannot be read: an error that has not been raised. */
typedef struct HmFileProblem
{
	int			sqlstate;
	const char *message;
	const char *detail;			/* these may be NULL */
	const char *hint;
} HmFileProblem;

extern void hm_file_raise(const HmFileProblem *problem) pg_attribute_noreturn();

/* As hm_file_acquire, but returns NULL and the problem where that raises an error. */
extern HmFile *hm_file_try(uint32 number, HmFileProblem *problem);

/*
 * Opens a file as its options say, for a moment, and reads its header: false and
 * the problem if it cannot be read.  name: of the server, for messages.
 */
extern bool hm_file_examine(const char *name, const HmFileOptions *options,
							HmVectorLayout *layout, uint64 *size, HmFileProblem *problem);

/* The size of a mapped file, in bytes, when it was last looked at. */
extern uint64 hm_file_size(const HmFile *file);

/*
 * How much of what is mapped is in memory, in bytes; false where the kernel does
 * not say, as to a process that may not write the file.
 */
extern bool hm_file_resident(const HmFile *file, uint64 *bytes);

#endif							/* HM_FILES_REGISTRY_H */
