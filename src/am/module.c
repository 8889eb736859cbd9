/*-------------------------------------------------------------------------
 *
 * module.c
 *	  The library's entry point, and the settings.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <limits.h>

#include "am/am.h"
#include "am/worker.h"
#include "fmgr.h"
#include "index/options.h"
#include "lib/stringinfo.h"
#include "simd/simd.h"
#include "storage/testpoint.h"
#include "utils/guc.h"

PG_MODULE_MAGIC;

PGDLLEXPORT void _PG_init(void);

/* hnsw_mmap.simd: an HmSimdTier, or this. */
#define SIMD_AUTO HM_SIMD_TIERS

static int	simd_setting = SIMD_AUTO;

static const struct config_enum_entry simd_values[] = {
	{"auto", SIMD_AUTO, false},
	{"serial", HM_SIMD_SERIAL, false},
	{"avx2", HM_SIMD_AVX2, false},
	{"avx512", HM_SIMD_AVX512, false},
	{"neon", HM_SIMD_NEON, false},
	{NULL, 0, false}
};

static const struct config_enum_entry iterative_scan_values[] = {
	{"off", HM_ITERATIVE_OFF, false},
	{"relaxed_order", HM_ITERATIVE_RELAXED, false},
	{"strict_order", HM_ITERATIVE_STRICT, false},
	{NULL, 0, false}
};

static bool
check_simd(int *newval, void **extra, GucSource source)
{
	StringInfoData supported;

	if (*newval == SIMD_AUTO || hm_simd_supported((HmSimdTier) *newval))
		return true;

	initStringInfo(&supported);
	for (int tier = 0; tier < HM_SIMD_TIERS; tier++)
	{
		if (hm_simd_supported((HmSimdTier) tier))
			appendStringInfo(&supported, "%s\"%s\"", supported.len > 0 ? ", " : "",
							 hm_simd_tier_name((HmSimdTier) tier));
	}
	GUC_check_errdetail("The instruction set \"%s\" is not available here; this processor and build support %s.",
						hm_simd_tier_name((HmSimdTier) *newval), supported.data);
	return false;
}

static void
assign_simd(int newval, void *extra)
{
	if (newval == SIMD_AUTO)
		hm_simd_init();
	else
		hm_simd_force((HmSimdTier) newval);
}

static void
define_settings(void)
{
	DefineCustomIntVariable("hnsw_mmap.ef_search",
							"Sets how many candidates a search of an hnsw_mmap index keeps.",
							"More find more of the true nearest neighbours and take longer. "
							"A query that needs more rows than this continues the search.",
							&hm_ef_search,
							HM_DEFAULT_EF_SEARCH, 1, HM_MAX_EF_SEARCH,
							PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomEnumVariable("hnsw_mmap.iterative_scan",
							 "Sets how a scan goes on when the first ef_search rows are not enough.",
							 "strict_order drops rows found too late to be in order, relaxed_order returns them "
							 "out of order, off ends the scan.",
							 &hm_iterative_scan,
							 HM_ITERATIVE_STRICT, iterative_scan_values,
							 PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("hnsw_mmap.max_scan_tuples",
							"Sets how many vectors a scan may compare before it stops looking for more rows.",
							"The first ef_search rows are looked for in any case. Zero sets no bound.",
							&hm_max_scan_tuples,
							0, 0, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomBoolVariable("hnsw_mmap.heap_mmap",
							 "Reads vectors from the table's files through mmap.",
							 "If off, an index with vectors = 'heap' reads them through shared buffers, which is slower.",
							 &hm_heap_mmap,
							 true,
							 PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("hnsw_mmap.max_mapped_touched",
							"Sets how much mapped memory a session may touch before it returns the page tables.",
							"Page tables take about 0.2 % of it in each session. Zero sets no bound.",
							&hm_max_mapped_touched,
							hm_max_mapped_touched, 0, INT_MAX,
							PGC_USERSET, GUC_UNIT_MB, NULL, NULL, NULL);

	/*
	 * Worker processes are few and everybody's: whether they may be taken for
	 * this is not for each user to say.
	 */
	DefineCustomBoolVariable("hnsw_mmap.background_merge",
							 "Starts a background worker when the log of an hnsw_mmap index has grown long.",
							 "It merges the log into the graph. The workers count against max_worker_processes. "
							 "If off, this session asks for none, and hnsw_mmap_merge merges.",
							 &hm_background_merge,
							 true,
							 PGC_SUSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("hnsw_mmap.merge_log_entries",
							"Sets how many rows the log of an hnsw_mmap index takes before a merge is due.",
							"Every scan compares them all; fewer make merges more frequent, and each row costlier to insert.",
							&hm_merge_log_entries,
							HM_DEFAULT_MERGE_LOG_ENTRIES, 1, INT_MAX,
							PGC_USERSET, 0, NULL, NULL, NULL);

	DefineCustomIntVariable("hnsw_mmap.insert_delay",
							"Sets how long inserting a row is delayed at most while the log is too long for queries.",
							"Only if queries read the index while another process merges it. Zero delays none.",
							&hm_insert_delay,
							HM_DEFAULT_INSERT_DELAY, 0, 100,
							PGC_USERSET, GUC_UNIT_MS, NULL, NULL, NULL);

	/* Assigns the boot value too, and with it chooses the kernels. */
	DefineCustomEnumVariable("hnsw_mmap.simd",
							 "Sets the instruction set that distances are computed with.",
							 "auto chooses the fastest that the processor has.",
							 &simd_setting,
							 SIMD_AUTO, simd_values,
							 PGC_USERSET, 0, check_simd, assign_simd, NULL);

	MarkGUCPrefixReserved("hnsw_mmap");
}

void
_PG_init(void)
{
	hm_test_point_hook = (HmTestPointHook *) find_rendezvous_variable(HM_TEST_POINT_VARIABLE);
	hm_options_register();
	define_settings();
	hm_worker_register();
}
