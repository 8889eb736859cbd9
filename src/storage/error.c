/*-------------------------------------------------------------------------
 *
 * error.c
 *	  How damaged storage is reported.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "storage/error.h"

void
hm_corrupt(Relation index, BlockNumber block, const char *detail,...)
{
	va_list		args;
	char		text[512];

	va_start(args, detail);
	vsnprintf(text, sizeof(text), detail, args);
	va_end(args);

	ereport(ERROR,
			(errcode(ERRCODE_INDEX_CORRUPTED),
			 errmsg("index \"%s\" is corrupted at block %u",
					RelationGetRelationName(index), block),
			 errdetail_internal("%s", text),
			 errhint("Please REINDEX it.")));
}
