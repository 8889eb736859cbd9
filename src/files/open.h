/*-------------------------------------------------------------------------
 *
 * open.h
 *	  Opening and mapping a file that anything may have happened to.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_FILES_OPEN_H
#define HM_FILES_OPEN_H

#include "postgres.h"

#include <sys/stat.h>

#include "files/registry.h"

/* By what a file is known to be the same, unchanged. */
typedef struct HmFileIdentity
{
	dev_t		device;
	ino_t		inode;
	off_t		size;
	struct timespec modified;
} HmFileIdentity;

/* A mapping: from the file's first byte to the last of its rows. */
typedef struct HmFileMapping
{
	HmFile		file;			/* must be first */
	const char *start;			/* NULL: no rows, nothing mapped */
	size_t		size;
	HmFileIdentity identity;
	HmVectorLayout layout;
	char	   *path;			/* for messages, behind this struct */
	struct HmFileMapping *next; /* among those that were superseded */
} HmFileMapping;

/*
 * Takes a look at the file without opening it.  False and the problem if it is
 * not there, or no regular file.
 */
extern bool hm_file_look(const char *name, const HmFileOptions *options,
						 HmFileIdentity *identity, HmFileProblem *problem);

static inline bool
hm_file_same(const HmFileIdentity *a, const HmFileIdentity *b)
{
	return a->device == b->device && a->inode == b->inode && a->size == b->size &&
		a->modified.tv_sec == b->modified.tv_sec && a->modified.tv_nsec == b->modified.tv_nsec;
}

/*
 * Opens the file, reads its header and maps it; if it is the one that `old`
 * maps (which may be NULL), with rows where they were, that is brought up to
 * date and returned.  The mapping lives until hm_file_unmap.  NULL and the
 * problem if the file cannot be read.
 */
extern HmFileMapping *hm_file_map(uint32 number, const char *name, const HmFileOptions *options,
								  HmFileMapping *old, HmFileProblem *problem);
extern void hm_file_unmap(HmFileMapping *mapping);

#endif							/* HM_FILES_OPEN_H */
