/*-------------------------------------------------------------------------
 *
 * build_scale.c
 *	  Before the scan of a build: how large the table's vectors are.
 *
 * Half-precision copies are scaled, and the scale has to be known before the
 * first of them is made.  Any single vector may be unlike the others (a wrong
 * unit, a placeholder), and a scale made for it would round the others to
 * nothing, or make them too large to be ranked by the graph.  So a few blocks of
 * the table are read beforehand.  Other access methods than heap may be unable
 * to scan a part of a table: there the first vector has to do.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "access/tableam.h"
#include "index/build_state.h"
#include "utils/memutils.h"

#define BLOCKS			32		/* of the table, evenly spread; more if there are few vectors */
#define MOST_BLOCKS		8192
#define ENOUGH			30		/* vectors */
#define ROWS_OF_EACH	64		/* vectors may be out of line, which makes many rows of a block */

typedef struct SizeScan
{
	const HmBuildState *build;
	MemoryContext row_context;	/* reset after each row */
	HmSizes    *sizes;
	uint32		rows;			/* of this block */
} SizeScan;

/* Looks at one row: an IndexBuildCallback. */
static void
look_at_row(Relation index, ItemPointer tid, Datum *values, bool *isnull, bool alive, void *state)
{
	SizeScan   *scan = state;
	MemoryContext old;
	HmVector	vector;
	void	   *detoasted;		/* goes with row_context */

	/* of a deleted row the out-of-line value may be gone */
	if (isnull[0] || !alive || scan->rows >= ROWS_OF_EACH)
		return;
	scan->rows++;
	old = MemoryContextSwitchTo(scan->row_context);
	vector = scan->build->opclass->type->view(values[0], &detoasted);
	hm_sizes_add(scan->sizes, &vector);
	MemoryContextSwitchTo(old);
	MemoryContextReset(scan->row_context);
}

/* Looks at so many of the table's blocks. */
static void
look_at_blocks(SizeScan *scan, IndexInfo *index_info, BlockNumber blocks, BlockNumber wanted)
{
	const HmBuildState *build = scan->build;

	for (BlockNumber i = 0; i < wanted; i++)
	{
		BlockNumber block = (BlockNumber) ((uint64) i * blocks / wanted);

		scan->rows = 0;
		(void) table_index_build_range_scan(build->heap, build->index, index_info,
											false, false, false, block, 1, look_at_row, scan, NULL);
	}
}

void
hm_build_sizes(HmBuildState *build, IndexInfo *index_info, HmSizes *sizes)
{
	BlockNumber blocks;
	BlockNumber wanted = BLOCKS;
	SizeScan	scan = {
		.build = build,
		.row_context = AllocSetContextCreate(CurrentMemoryContext, "hnsw_mmap build sample",
											 ALLOCSET_DEFAULT_SIZES),
		.sizes = sizes
	};

	if (build->heap->rd_tableam == GetHeapamTableAmRoutine())
	{
		blocks = RelationGetNumberOfBlocks(build->heap);
		for (;;)
		{
			memset(sizes, 0, sizeof(*sizes));
			look_at_blocks(&scan, index_info, blocks, Min(wanted, blocks));
			if (sizes->count >= ENOUGH || wanted >= Min(blocks, MOST_BLOCKS))
				break;
			wanted *= 4;
		}
	}
	MemoryContextDelete(scan.row_context);
}
