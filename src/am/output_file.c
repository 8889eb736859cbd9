/*-------------------------------------------------------------------------
 *
 * output_file.c
 *	  A new file on the server that is there whole or not at all.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "am/output_file.h"
#include "catalog/pg_authid.h"
#include "compat.h"
#include "miscadmin.h"
#include "storage/fd.h"
#include "utils/acl.h"

#define BUFFER_SIZE (256 * 1024)

/* As readable as what COPY writes: for others to read, and for its owner to change. */
#define FILE_MODE	(S_IRUSR | S_IWUSR | S_IRGRP | S_IROTH)

static void
check_role(void)
{
	if (!has_privs_of_role(GetUserId(), ROLE_PG_WRITE_SERVER_FILES))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied to write a file on the server"),
				 errdetail("Only roles with privileges of the \"%s\" role may do so.",
						   "pg_write_server_files")));
}

/* The server's own mask hides files from everybody else; as in COPY, it is set aside. */
static int
create_file(const char *path)
{
	mode_t		mask = umask(S_IWGRP | S_IWOTH);
	int			fd;
	int			saved_errno;

	PG_TRY();
	{
		fd = OpenTransientFilePerm(path, O_CREAT | O_EXCL | O_WRONLY | PG_BINARY, FILE_MODE);
		saved_errno = errno;
	}
	PG_FINALLY();
	{
		umask(mask);
	}
	PG_END_TRY();
	errno = saved_errno;
	return fd;
}

void
hm_output_open(HmOutput *output, const char *path)
{
	check_role();
	if (!is_absolute_path(path))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("relative path not allowed for a file on the server: \"%s\"", path),
				 errhint("Give a path that begins with \"/\".")));

	output->path = path;
	output->used = 0;
	output->written = 0;
	output->buffer = palloc(BUFFER_SIZE);
	output->fd = create_file(path);
	if (output->fd < 0)
	{
		bool		exists = errno == EEXIST;

		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not create file \"%s\": %m", path),
				 exists ? errhint("Files are never overwritten; name another one, or remove this one.") : 0));
	}
}

/* Writes all of it at the file's end, or at an offset. */
static void
write_out(HmOutput *output, const char *bytes, size_t size, off_t offset)
{
	while (size > 0)
	{
		ssize_t		written;

		errno = 0;
		if (offset < 0)
			written = write(output->fd, bytes, size);
		else
			written = pg_pwrite(output->fd, bytes, size, offset);
		if (written < 0 && errno == EINTR)
			continue;
		if (written <= 0)
		{
			/* if write didn't set errno, assume problem is no disk space */
			if (errno == 0)
				errno = ENOSPC;
			ereport(ERROR,
					(errcode_for_file_access(),
					 errmsg("could not write file \"%s\": %m", output->path)));
		}
		bytes += written;
		size -= written;
		if (offset >= 0)
			offset += written;
	}
}

static void
flush_buffer(HmOutput *output)
{
	write_out(output, output->buffer, output->used, -1);
	output->used = 0;
}

void
hm_output_write(HmOutput *output, const void *bytes, size_t size)
{
	output->written += size;
	while (size > 0)
	{
		size_t		n = Min(size, BUFFER_SIZE - output->used);

		memcpy(output->buffer + output->used, bytes, n);
		output->used += n;
		bytes = (const char *) bytes + n;
		size -= n;
		if (output->used == BUFFER_SIZE)
			flush_buffer(output);
	}
}

void
hm_output_rewrite(HmOutput *output, const void *bytes, size_t size)
{
	Assert(size <= output->written);
	flush_buffer(output);
	write_out(output, bytes, size, 0);
}

void
hm_output_close(HmOutput *output)
{
	char	   *directory = pstrdup(output->path);

	flush_buffer(output);
	if (pg_fsync(output->fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not fsync file \"%s\": %m", output->path)));
	if (CloseTransientFile(output->fd) != 0)
		ereport(ERROR,
				(errcode_for_file_access(),
				 errmsg("could not close file \"%s\": %m", output->path)));
	output->fd = -1;
	get_parent_directory(directory);
	fsync_fname(directory, true);
	pfree(directory);
	pfree(output->buffer);
}

void
hm_output_abandon(int code, Datum output)
{
	HmOutput   *abandoned = (HmOutput *) DatumGetPointer(output);

	/* Its descriptor goes with the transaction; at exit, with the process. */
	if (unlink(abandoned->path) != 0 && errno != ENOENT)
		ereport(WARNING,
				(errcode_for_file_access(),
				 errmsg("could not remove file \"%s\": %m", abandoned->path)));
}
