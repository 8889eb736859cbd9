/*-------------------------------------------------------------------------
 *
 * attached.c
 *	  The attached file behind an index on extvec.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "files/extvec.h"
#include "index/attached.h"
#include "storage/error.h"

bool
hm_is_attached(const HmOpclass *opclass)
{
	return opclass->type == &hm_type_extvec;
}

/* What an index keeps of a file. */
static HmIndexedFile
identify(HmFile *file)
{
	HmIndexedFile identity = {
		.rows = file->rows,
		.fingerprint = hm_file_fingerprint(file, file->rows),
		.number = file->number
	};

	return identity;
}

/* A file's name for a message, or its number. */
static const char *
file_label(uint32 number)
{
	const char *name = hm_file_server_name(number);

	return name != NULL ? name : psprintf("#%u", number);
}

HmFile *
hm_attached_file(Relation index, const HmOpclass *opclass, const HmMeta *meta)
{
	const HmIndexedFile *identity = &meta->file;
	HmFile	   *file;

	if (!hm_is_attached(opclass) || meta->dim == 0)
		return NULL;
	if (identity->number == 0)
		hm_corrupt(index, HM_META_BLOCK, "It has vectors and names no file.");
	file = hm_file_acquire(identity->number);
	if (file->rows < identity->rows)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("file \"%s\" is shorter than it was for index \"%s\"",
						NameStr(file->name), RelationGetRelationName(index)),
				 errdetail("It has " UINT64_FORMAT " rows, and had " UINT64_FORMAT ".",
						   file->rows, identity->rows),
				 errhint("Put the file back, or REINDEX the index.")));

	if ((uint32) file->dim != meta->dim ||
		hm_file_fingerprint(file, identity->rows) != identity->fingerprint)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("file \"%s\" is not the one that index \"%s\" was built over",
						NameStr(file->name), RelationGetRelationName(index)),
				 errdetail("Its vectors have changed."),
				 errhint("Put the file back, or REINDEX the index.")));
	return file;
}

void
hm_attached_no_row(Relation index, const HmFile *file, uint64 row)
{
	ereport(ERROR,
			(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
			 errmsg("index \"%s\" refers to row " UINT64_FORMAT " of file \"%s\", which has " UINT64_FORMAT " rows",
					RelationGetRelationName(index), row, NameStr(file->name), file->rows),
			 errhint("Put the file back, or REINDEX the index.")));
	pg_unreachable();
}

bool
hm_attached_note(Relation index, const HmOpclass *opclass, Datum value, HmIndexedFile *identity)
{
	const HmExtvec *reference;

	if (!hm_is_attached(opclass))
		return false;
	reference = DatumGetExtvec(value);
	if (identity->number == 0)
	{
		*identity = identify(hm_file_acquire(reference->file));
		return true;
	}
	if (reference->file != identity->number)
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("index \"%s\" is over file \"%s\", and cannot hold a vector of file \"%s\"",
						RelationGetRelationName(index),
						file_label(identity->number), file_label(reference->file)),
				 errhint("Create a partial index, or a partition, for each file.")));
	return false;
}

HM_OPCLASS_SUPPORT(hm_extvec_l2_support, hm_type_extvec, HM_L2)
HM_OPCLASS_SUPPORT(hm_extvec_ip_support, hm_type_extvec, HM_INNER_PRODUCT)
HM_OPCLASS_SUPPORT(hm_extvec_cosine_support, hm_type_extvec, HM_COSINE)
