/*-------------------------------------------------------------------------
 *
 * scratch.c
 *	  Temporary files mapped as memory: where an index build keeps what is big.
 *
 * The files come from OpenTemporaryFile, so they lie where temp_tablespaces
 * says, are deleted with the resource owner at the end of a failed
 * (sub)transaction or when the process exits, and swept away at the next start
 * if the server was killed.  Other processes open them by name.
 *
 * fd.c counts and bounds what goes through FileWrite; nothing here does, so
 * temp_file_limit is checked by hand, against this build's files together.
 *
 * Why space is reserved: a store into a hole of a mapped file finds a full
 * disk by SIGBUS, where an ordinary error is wanted.  posix_fallocate answers
 * the question at once.  File systems that copy on write (btrfs) and failing
 * disks can still fault a store, hence hm_scratch_call.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "commands/tablespace.h"
#include "index/scratch.h"
#include "miscadmin.h"
#include "storage/guard.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#define SIZE_UNIT		(64 * 1024) /* sizes are multiples: every kernel's page */
#define SMALLEST		(2 * SIZE_UNIT)
#define RESERVE_STEP	((uint64) 64 * 1024 * 1024) /* bytes between looks for interrupts */

struct HmScratchSet
{
	MemoryContext context;
	MemoryContextCallback on_reset;
	uint64		reserved;		/* bytes of this process's files */
	HmScratch  *first;
};

static void
unmap(HmScratch *scratch)
{
	if (scratch->base == NULL)
		return;
	hm_guard_remove_range(scratch->base);
	munmap(scratch->base, scratch->size);
	scratch->base = NULL;
}

/* The memory context goes: unmap.  The files are the resource owner's business. */
static void
set_reset(void *argument)
{
	HmScratchSet *set = argument;

	for (HmScratch *scratch = set->first; scratch != NULL; scratch = scratch->next)
		unmap(scratch);
	set->first = NULL;
}

HmScratchSet *
hm_scratch_set_create(void)
{
	HmScratchSet *set = palloc0(sizeof(HmScratchSet));

	set->context = CurrentMemoryContext;
	set->on_reset.func = set_reset;
	set->on_reset.arg = set;
	MemoryContextRegisterResetCallback(set->context, &set->on_reset);
	return set;
}

HmScratch *
hm_scratch_create(HmScratchSet *set)
{
	HmScratch  *scratch = MemoryContextAllocZero(set->context, sizeof(HmScratch));

	scratch->file = -1;
	scratch->set = set;
	scratch->next = set->first;
	set->first = scratch;
	return scratch;
}

/* Writes zeros, for file systems that cannot reserve space otherwise. Returns an errno. */
static int
write_zeros(int fd, uint64 offset, uint64 size)
{
	static const char zeros[8192];

	while (size > 0)
	{
		ssize_t		written = pwrite(fd, zeros, Min(size, sizeof(zeros)), (off_t) offset);

		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
			return written < 0 ? errno : ENOSPC;
		offset += written;
		size -= written;
	}
	return 0;
}

/* Reserves disk space for a range of the file; errors when there is none. */
static void
reserve_space(int fd, const char *path, uint64 offset, uint64 end)
{
	while (offset < end)
	{
		uint64		step = Min(end - offset, RESERVE_STEP);
		int			error;

		CHECK_FOR_INTERRUPTS();
		error = posix_fallocate(fd, (off_t) offset, (off_t) step);
		if (error == EINTR)
			continue;
		if (error == EOPNOTSUPP || error == EINVAL)
			error = write_zeros(fd, offset, step);
		if (error != 0)
		{
			errno = error;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not extend temporary file \"%s\" to " UINT64_FORMAT " bytes: %m",
							path, end),
					 errhint("Free some disk space, or set temp_tablespaces to where there is some.")));
		}
		offset += step;
	}
}

/* Maps the first `size` bytes of the file. */
static void
map(HmScratch *scratch, int fd, const char *path, size_t size)
{
	void	   *base = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (base == MAP_FAILED)
		ereport(ERROR,
				(errcode(ERRCODE_OUT_OF_MEMORY),
				 errmsg("could not map %zu bytes of temporary file \"%s\": %m", size, path)));
	scratch->base = base;
	scratch->size = size;
	hm_guard_add_range(base, size);
}

static int
open_file(const char *path)
{
	int			fd = OpenTransientFile(path, O_RDWR | PG_BINARY);

	if (fd < 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not open temporary file \"%s\": %m", path)));
	return fd;
}

void
hm_scratch_reserve(HmScratch *scratch, uint64 size)
{
	HmScratchSet *set = scratch->set;
	uint64		old_size = scratch->size;
	uint64		new_size;
	const char *path;
	int			fd;

	if (size <= old_size)
		return;

	new_size = Max(size, old_size + old_size / 2);
	new_size = Max(new_size, SMALLEST);
	new_size = (new_size + SIZE_UNIT - 1) / SIZE_UNIT * SIZE_UNIT;
	if (new_size > SIZE_MAX)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("index build needs " UINT64_FORMAT " bytes of address space in one piece",
						new_size)));

	/* Same message and code as in fd.c. */
	if (temp_file_limit >= 0 &&
		set->reserved + (new_size - old_size) > (uint64) temp_file_limit * 1024)
		ereport(ERROR,
				(errcode(ERRCODE_CONFIGURATION_LIMIT_EXCEEDED),
				 errmsg("temporary file size exceeds temp_file_limit (%dkB)",
						temp_file_limit)));

	if (scratch->file < 0)
	{
		PrepareTempTablespaces();
		scratch->file = OpenTemporaryFile(false);
	}

	/*
	 * A descriptor of our own for the moment: the file manager may have closed
	 * its one to stay below its limit, and does not say so.
	 */
	path = FilePathName(scratch->file);
	fd = open_file(path);
	reserve_space(fd, path, old_size, new_size);
	set->reserved += new_size - old_size;

	unmap(scratch);
	map(scratch, fd, path, (size_t) new_size);
	CloseTransientFile(fd);
}

const char *
hm_scratch_path(const HmScratch *scratch)
{
	return FilePathName(scratch->file);
}

HmScratch *
hm_scratch_attach(HmScratchSet *set, const char *path, size_t size)
{
	HmScratch  *scratch = hm_scratch_create(set);
	int			fd = open_file(path);
	struct stat status;

	if (fstat(fd, &status) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not stat file \"%s\": %m", path)));
	if ((uint64) status.st_size < size)
		elog(ERROR, "temporary file \"%s\" is shorter than %zu bytes", path, size);
	map(scratch, fd, path, size);
	CloseTransientFile(fd);
	return scratch;
}

void
hm_scratch_close(HmScratch *scratch)
{
	HmScratchSet *set = scratch->set;
	HmScratch **link = &set->first;

	while (*link != scratch)
		link = &(*link)->next;
	*link = scratch->next;

	unmap(scratch);
	if (scratch->file >= 0)
	{
		FileClose(scratch->file);
		set->reserved -= scratch->size;
	}
	pfree(scratch);
}

void
hm_scratch_set_close(HmScratchSet *set)
{
	while (set->first != NULL)
		hm_scratch_close(set->first);
}

void
hm_scratch_failed(void)
{
	ereport(ERROR,
			(errcode(ERRCODE_IO_ERROR),
			 errmsg("could not access a temporary file of the index build"),
			 errdetail("Its disk failed, or had no space left where space had been reserved.")));
}

void
hm_scratch_call(void (*function) (void *argument), void *argument)
{
	if (!hm_guarded_call(function, argument))
		hm_scratch_failed();
}
