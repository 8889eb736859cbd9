/*-------------------------------------------------------------------------
 *
 * scratch.h
 *	  Temporary files mapped as memory: where an index build keeps what is big.
 *
 * A scratch area is a PostgreSQL temporary file, mapped shared, whose space on
 * disk is reserved before it is mapped.  Several processes may map one.  Its
 * memory is the kernel's page cache, so a build larger than memory slows down
 * with the disk instead of failing, whatever maintenance_work_mem says.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_SCRATCH_H
#define HM_INDEX_SCRATCH_H

#include "postgres.h"

#include "compat.h"
#include "storage/fd.h"

/* All the scratch areas of one build, in one process. */
typedef struct HmScratchSet HmScratchSet;

/* One area.  Zero-filled where nothing was written. */
typedef struct HmScratch
{
	char	   *base;			/* NULL while size is 0; moves when the area grows */
	size_t		size;			/* bytes usable */
	File		file;			/* the leader's; -1 in an attached area */
	HmScratchSet *set;
	struct HmScratch *next;
} HmScratch;

/*
 * The set lives in the current memory context: when that is reset or deleted,
 * after an error too, everything is unmapped.  The files belong to the current
 * resource owner, which deletes them if nobody closes them; those of a killed
 * server are deleted when it starts again.
 */
extern HmScratchSet *hm_scratch_set_create(void);

/* An area of no size, with no file yet. */
extern HmScratch *hm_scratch_create(HmScratchSet *set);

/*
 * Makes at least `size` bytes usable; a growing area gets half as much again,
 * so that appending is linear.  Errors: ERRCODE_DISK_FULL and other file
 * errors, ERRCODE_CONFIGURATION_LIMIT_EXCEEDED (temp_file_limit),
 * ERRCODE_OUT_OF_MEMORY (address space).
 */
extern void hm_scratch_reserve(HmScratch *scratch, uint64 size);

/* The area's file, for hm_scratch_attach in another process.  Not before hm_scratch_reserve. */
extern const char *hm_scratch_path(const HmScratch *scratch);

/* Maps another process's area, which must not grow or close meanwhile. */
extern HmScratch *hm_scratch_attach(HmScratchSet *set, const char *path, size_t size);

/* Unmaps the area and, in the process that made it, deletes the file. */
extern void hm_scratch_close(HmScratch *scratch);

/* Closes every area of the set. */
extern void hm_scratch_set_close(HmScratchSet *set);

/*
 * Runs a function that touches scratch memory.  A fault of the file under it
 * (SIGBUS) becomes ERRCODE_IO_ERROR.  The function must do nothing but load,
 * store and compute: see storage/guard.h.
 */
extern void hm_scratch_call(void (*function) (void *argument), void *argument);

/* The error that hm_scratch_call raises, for those who have to tidy up first. */
extern void hm_scratch_failed(void) pg_attribute_noreturn();

#endif							/* HM_INDEX_SCRATCH_H */
