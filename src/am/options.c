/*-------------------------------------------------------------------------
 *
 * options.c
 *	  CREATE INDEX … WITH (m, ef_construction, vectors).
 *
 * What is stored in the catalog is what the next build will use.  The values
 * that an index was built with are in its metapage: ALTER INDEX … SET changes
 * nothing until REINDEX.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/reloptions.h"
#include "am/am.h"
#include "graph/search.h"
#include "index/options.h"
#include "storage/lock.h"

static relopt_kind options_kind;

static relopt_enum_elt_def vectors_values[] = {
	{"heap", HM_VECTORS_HEAP},
	{"fp16", HM_VECTORS_FP16},
	{NULL}
};

StaticAssertDecl(sizeof(HmVectorsMode) == sizeof(int), "reloptions store enums as int");

/*
 * Declares the options; once per process, when the library is loaded.  A
 * change is taken up by the next build only, so it need keep out no reader.
 */
void
hm_options_register(void)
{
	options_kind = add_reloption_kind();
	add_int_reloption(options_kind, "m",
					  "Most neighbours of an element on each level above the lowest, where it has twice as many",
					  HM_DEFAULT_M, HM_MIN_M, HM_MAX_M, ShareUpdateExclusiveLock);
	add_int_reloption(options_kind, "ef_construction",
					  "How many candidates are considered when an element's neighbours are chosen",
					  HM_DEFAULT_EF_CONSTRUCTION, HM_MIN_EF_CONSTRUCTION, HM_MAX_EF_CONSTRUCTION,
					  ShareUpdateExclusiveLock);
	add_enum_reloption(options_kind, "vectors",
					   "Where searches read vectors: from the table (heap), or from half-precision copies in the index (fp16)",
					   vectors_values, HM_VECTORS_HEAP,
					   "Valid values are \"heap\" (read them from the table) and \"fp16\" (keep half-precision copies in the index).",
					   ShareUpdateExclusiveLock);
}

/*
 * With `validate`, raises errors for unknown options, values out of range and
 * combinations that cannot work; without, takes what the catalog has.
 */
bytea *
hm_options_parse(Datum reloptions, bool validate)
{
	static const relopt_parse_elt fields[] = {
		{"m", RELOPT_TYPE_INT, offsetof(HmOptions, m)},
		{"ef_construction", RELOPT_TYPE_INT, offsetof(HmOptions, ef_construction)},
		{"vectors", RELOPT_TYPE_ENUM, offsetof(HmOptions, vectors)},
	};
	HmOptions  *options;

	options = (HmOptions *) build_reloptions(reloptions, validate, options_kind,
											 sizeof(HmOptions), fields, lengthof(fields));

	/* An element chooses up to 2m neighbours from ef_construction candidates. */
	if (validate && options != NULL && options->ef_construction < 2 * options->m)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("ef_construction must be greater than or equal to 2 * m"),
				 errdetail("ef_construction is %d and m is %d.",
						   options->ef_construction, options->m)));

	return (bytea *) options;
}
