/*-------------------------------------------------------------------------
 *
 * output_file.h
 *	  A new file on the server that is there whole or not at all.
 *
 *		HmOutput	output;
 *
 *		hm_output_open(&output, path);
 *		PG_ENSURE_ERROR_CLEANUP(hm_output_abandon, PointerGetDatum(&output));
 *		{
 *			hm_output_write(&output, ...) ...
 *			hm_output_close(&output);
 *		}
 *		PG_END_ENSURE_ERROR_CLEANUP(hm_output_abandon, PointerGetDatum(&output));
 *
 * The file is removed after an error, and when the session is terminated.  A
 * server that dies leaves what was written by then.  A file that was closed
 * stays, whatever becomes of the transaction.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_AM_OUTPUT_FILE_H
#define HM_AM_OUTPUT_FILE_H

#include "postgres.h"

typedef struct HmOutput
{
	const char *path;
	int			fd;				/* -1: closed */
	char	   *buffer;
	size_t		used;			/* bytes in the buffer */
	uint64		written;		/* bytes that were given to hm_output_write */
} HmOutput;

/*
 * Creates a file, which must not exist yet, for members of
 * pg_write_server_files.  path: absolute, and has to outlive the output.
 */
extern void hm_output_open(HmOutput *output, const char *path);

extern void hm_output_write(HmOutput *output, const void *bytes, size_t size);

/* Writes over the file's first bytes, which have been written before. */
extern void hm_output_rewrite(HmOutput *output, const void *bytes, size_t size);

/* Makes the file durable. */
extern void hm_output_close(HmOutput *output);

/* Closes and removes it. */
extern void hm_output_abandon(int code, Datum output);

#endif							/* HM_AM_OUTPUT_FILE_H */
