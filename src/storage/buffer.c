/*-------------------------------------------------------------------------
 *
 * buffer.c
 *	  Reading the index's pages through shared buffers.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/buffer.h"
#include "storage/bufmgr.h"
#include "storage/error.h"

/* Reports an error of the buffer manager as damage of the index. */
static void
report_unreadable(Relation index, BlockNumber block, MemoryContext context)
{
	ErrorData  *error;

	MemoryContextSwitchTo(context);
	error = CopyErrorData();
	if (error->sqlerrcode != ERRCODE_DATA_CORRUPTED)
		PG_RE_THROW();
	FlushErrorState();
	hm_corrupt(index, block, "The server says: %s.", error->message);
}

Buffer
hm_buffer_read(Relation index, BlockNumber block, int lock_mode)
{
	MemoryContext context = CurrentMemoryContext;
	Buffer		buffer = InvalidBuffer;

	PG_TRY();
	{
		buffer = ReadBuffer(index, block);
	}
	PG_CATCH();
	{
		report_unreadable(index, block, context);
	}
	PG_END_TRY();
	LockBuffer(buffer, lock_mode);
	return buffer;
}
