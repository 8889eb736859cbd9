/*-------------------------------------------------------------------------
 *
 * open.c
 *	  Opening and mapping a file that anything may have happened to.
 *
 * The path was given by who may read any file of the server; what is behind it
 * now may have been put there by somebody else.  So it is opened for reading
 * only, only if it is a regular file, and without waiting for anybody: a FIFO
 * that took its place between the two looks opens at once, and is found out.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "files/open.h"
#include "storage/fd.h"
#include "storage/guard.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

static bool
system_problem(const char *what, const char *name, const char *path, HmFileProblem *problem)
{
	int			error = errno;

	problem->sqlstate = error == ENOENT || error == ENOTDIR ? ERRCODE_UNDEFINED_FILE :
		error == EACCES || error == EPERM ? ERRCODE_INSUFFICIENT_PRIVILEGE :
		error == ENOMEM ? ERRCODE_OUT_OF_MEMORY : ERRCODE_IO_ERROR;
	problem->message = psprintf("could not %s file \"%s\" of server \"%s\": %s", what, path, name, strerror(error));
	problem->detail = NULL;
	problem->hint = error == ENOENT ?
		"Each machine with this database, a standby for one, needs the file under that path." : NULL;
	return false;
}

static bool
is_regular(const struct stat *st, const char *name, const char *path, HmFileProblem *problem)
{
	if (S_ISREG(st->st_mode))
		return true;
	problem->sqlstate = ERRCODE_WRONG_OBJECT_TYPE;
	problem->message = psprintf("\"%s\" of server \"%s\" is not a regular file", path, name);
	problem->detail = NULL;
	problem->hint = NULL;
	return false;
}

static HmFileIdentity
identity_of(const struct stat *st)
{
	HmFileIdentity identity = {st->st_dev, st->st_ino, st->st_size, st->st_mtim};

	return identity;
}

bool
hm_file_look(const char *name, const HmFileOptions *options, HmFileIdentity *identity, HmFileProblem *problem)
{
	struct stat st;

	if (stat(options->path, &st) != 0)
		return system_problem("open", name, options->path, problem);
	*identity = identity_of(&st);
	return is_regular(&st, name, options->path, problem);
}

/* Reads the first bytes of the file, as many as the parser may want. */
static char *
read_leading_bytes(int fd, off_t size, size_t *available)
{
	size_t		wanted = Min((uint64) size, HM_VECTOR_LEADING_BYTES);
	char	   *bytes = palloc(wanted + 1);

	*available = 0;
	while (*available < wanted)
	{
		ssize_t		got = pread(fd, bytes + *available, wanted - *available, *available);

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return NULL;
		if (got == 0)			/* truncated since */
			break;
		*available += got;
	}
	return bytes;
}

static bool
read_layout(int fd, const struct stat *st, const char *name, const HmFileOptions *options,
			HmVectorLayout *layout, HmFileProblem *problem)
{
	char		text[256];
	size_t		available;
	char	   *bytes = read_leading_bytes(fd, st->st_size, &available);
	HmVectorStatus status;

	if (bytes == NULL)
		return system_problem("read", name, options->path, problem);
	status = hm_vector_file_parse(&options->request, bytes, available, st->st_size, layout, text, sizeof(text));
	pfree(bytes);
	if (status == HM_VECTOR_OK)
		return true;

	problem->detail = pstrdup(text);
	if (status == HM_VECTOR_SHORT && options->request.has_rows)
	{
		problem->sqlstate = ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE;
		problem->message = psprintf("file \"%s\" of server \"%s\" is shorter than it was when attached", options->path, name);
		problem->hint = "If that is as it should be, attach it again with hnsw_mmap_attach.";
	}
	else
	{
		problem->sqlstate = ERRCODE_DATA_EXCEPTION;
		problem->message = psprintf("file \"%s\" of server \"%s\" cannot be read as %s", options->path, name,
									hm_vector_format_name(options->request.format));
		problem->hint = NULL;
	}
	return false;
}

/* Opens the file and reads its header; the descriptor, or -1. */
static int
open_file(const char *name, const HmFileOptions *options, struct stat *st,
		  HmVectorLayout *layout, HmFileProblem *problem)
{
	HmFileIdentity identity;
	int			fd;

#ifdef WORDS_BIGENDIAN
	problem->sqlstate = ERRCODE_FEATURE_NOT_SUPPORTED;
	problem->message = "vector files cannot be read on a big-endian machine";
	problem->detail = problem->hint = NULL;
	return -1;
#endif
	/* Opening a device may do something to it. */
	if (!hm_file_look(name, options, &identity, problem))
		return -1;
	fd = OpenTransientFile(options->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC | PG_BINARY);
	if (fd < 0)
	{
		(void) system_problem("open", name, options->path, problem);
		return -1;
	}
	if (fstat(fd, st) != 0)
		(void) system_problem("stat", name, options->path, problem);
	else if (is_regular(st, name, options->path, problem) &&
			 read_layout(fd, st, name, options, layout, problem))
		return fd;
	CloseTransientFile(fd);
	return -1;
}

bool
hm_file_examine(const char *name, const HmFileOptions *options,
				HmVectorLayout *layout, uint64 *size, HmFileProblem *problem)
{
	struct stat st;
	int			fd = open_file(name, options, &st, layout, problem);

	if (fd < 0)
		return false;
	CloseTransientFile(fd);
	*size = st.st_size;
	return true;
}

/* One allocation, so that there is nothing to leak if it fails. */
static HmFileMapping *
make_mapping(uint32 number, const char *name, const char *path, const HmVectorLayout *layout)
{
	HmFileMapping *mapping = MemoryContextAllocZero(TopMemoryContext, sizeof(HmFileMapping) + strlen(path) + 1);

	mapping->file.number = number;
	mapping->file.kind = layout->kind;
	mapping->file.dim = layout->dim;
	mapping->file.prefixed = layout->prefixed;
	mapping->file.rows = layout->rows;
	mapping->file.stride = layout->stride;
	namestrcpy(&mapping->file.name, name);
	mapping->layout = *layout;
	mapping->path = (char *) (mapping + 1);
	strcpy(mapping->path, path);
	return mapping;
}

static bool
same_layout(const HmVectorLayout *a, const HmVectorLayout *b)
{
	return a->kind == b->kind && a->dim == b->dim && a->rows == b->rows && a->offset == b->offset &&
		a->stride == b->stride && a->prefixed == b->prefixed;
}

HmFileMapping *
hm_file_map(uint32 number, const char *name, const HmFileOptions *options,
			HmFileMapping *old, HmFileProblem *problem)
{
	HmFileMapping *mapping;
	HmVectorLayout layout;
	struct stat st;
	void	   *start;
	int			fd = open_file(name, options, &st, &layout, problem);

	if (fd < 0)
		return NULL;

	/* Somebody appends to it, or touched it: what is mapped serves as before. */
	if (old != NULL && old->identity.device == st.st_dev && old->identity.inode == st.st_ino &&
		same_layout(&old->layout, &layout) && strcmp(old->path, options->path) == 0)
	{
		CloseTransientFile(fd);
		old->identity = identity_of(&st);
		namestrcpy(&old->file.name, name);
		old->file.fingerprint_rows = 0;
		return old;
	}

	mapping = make_mapping(number, name, options->path, &layout);
	mapping->identity = identity_of(&st);
	if (layout.rows > 0)
	{
		mapping->size = layout.offset + (layout.rows - 1) * layout.stride + hm_file_row_size(&mapping->file);
		start = mmap(NULL, mapping->size, PROT_READ, MAP_SHARED, fd, 0);
		if (start == MAP_FAILED)
		{
			(void) system_problem("map", name, options->path, problem);
			CloseTransientFile(fd);
			pfree(mapping);
			return NULL;
		}
		(void) madvise(start, mapping->size, MADV_RANDOM);
		mapping->start = start;
		mapping->file.base = mapping->start + layout.offset;
		hm_guard_add_range(start, mapping->size);
	}
	CloseTransientFile(fd);
	return mapping;
}

void
hm_file_unmap(HmFileMapping *mapping)
{
	if (mapping->start != NULL)
	{
		hm_guard_remove_range(mapping->start);
		munmap((void *) mapping->start, mapping->size);
	}
	pfree(mapping);
}

void
hm_file_read_ahead(HmFile *file, bool ahead)
{
	const HmFileMapping *mapping = (const HmFileMapping *) file;

	if (mapping->start != NULL)
		(void) madvise((void *) mapping->start, mapping->size, ahead ? MADV_SEQUENTIAL : MADV_RANDOM);
}

uint64
hm_file_size(const HmFile *file)
{
	return ((const HmFileMapping *) file)->identity.size;
}

/*
 * The kernel tells this only to who owns the file or may write it, lest others
 * watch what he reads; to all others it says that everything is in memory.
 */
bool
hm_file_resident(const HmFile *file, uint64 *bytes)
{
	const HmFileMapping *mapping = (const HmFileMapping *) file;
	size_t		page = sysconf(_SC_PAGESIZE);
	unsigned char present[4096];
	struct stat st;

	*bytes = 0;
	if (mapping->start == NULL)
		return true;
	if (stat(mapping->path, &st) != 0 || (st.st_uid != geteuid() && access(mapping->path, W_OK) != 0))
		return false;
	for (size_t at = 0; at < mapping->size; at += sizeof(present) * page)
	{
		size_t		piece = Min(mapping->size - at, sizeof(present) * page);

		CHECK_FOR_INTERRUPTS();
		if (mincore((void *) (mapping->start + at), piece, present) != 0)
			return false;
		for (size_t i = 0; i < (piece + page - 1) / page; i++)
			*bytes += (present[i] & 1) ? Min(page, piece - i * page) : 0;
	}
	return true;
}
