/*-------------------------------------------------------------------------
 *
 * graph_file.h
 *	  The graph files of hnswlib and hnswlib-mmap.
 *
 * hnswlib's save_index keeps lists, labels and vectors; hnswlib-mmap's
 * save_graph keeps lists and labels only, and its sharded index is a directory
 * of such files with two kinds of small ones beside them.  All numbers are
 * little-endian, all offsets may be unaligned.
 *
 *		save_graph				save_index
 *		 0 u32 magic			 0 u64 offset of level 0: 0
 *		 4 u64 capacity			 8 u64 capacity
 *		12 u64 count			16 u64 count
 *		20 u64 M				24 u64 bytes per element
 *		28 u64 slots above		32 u64 offset of the label in an element
 *		36 u64 slots at level 0	40 u64 offset of the vector in an element
 *		44 u64 ef_construction	48 i32 top level (-1: empty)
 *		52 f64 1 / ln M			52 u32 entry point
 *		60 i32 top level		56 u64 slots above
 *		64 u32 entry point		64 u64 slots at level 0
 *		68 u64 bytes per vector	72 u64 M
 *		76						80 f64 1 / ln M
 *								88 u64 ef_construction
 *								96
 *
 * Then, for each element: u32 (degree in the low half, bit 16: deleted), the
 * slots of level 0, the vector (save_index only), u64 label.  Then, for each
 * element: u32 bytes of lists above level 0, and those lists, level 1 first,
 * each a u32 degree and the slots.  Slots behind the degree hold anything.
 *
 * A reader works on bytes that anybody may have written.  Every function stays
 * inside them; none allocates.  What a file says is used only after
 * hm_graph_file_open has found the header consistent and large enough,
 * hm_graph_file_check_levels has walked the lists above level 0 and
 * hm_graph_file_check_links has looked at every link.  The bytes must not
 * change meanwhile: read them into memory of your own first.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_FORMATS_GRAPH_FILE_H
#define HM_FORMATS_GRAPH_FILE_H

#include "base.h"

typedef enum HmGraphFormat
{
	HM_GRAPH_MMAP = 1,			/* hnswlib-mmap's save_graph */
	HM_GRAPH_HNSWLIB = 2		/* hnswlib's save_index */
} HmGraphFormat;

/* Largest M of a file that can be read, as HM_MAX_M. */
#define HM_GRAPH_FILE_MAX_M		100

/* Levels that are used: lists above level 15 are skipped, as HM_MAX_LEVELS. */
#define HM_GRAPH_FILE_LEVELS	16

/* Most elements of a file: the number of the last must be below 0xFFFFFFFF. */
#define HM_GRAPH_FILE_MAX_COUNT	(UINT32_MAX - 1)

/* What is wrong with a file, in words that can follow "graph file ... is damaged: ". */
typedef struct HmGraphFileError
{
	char		text[160];
} HmGraphFileError;

/* What the header says; also what a writer is given. */
typedef struct HmGraphHeader
{
	HmGraphFormat format;
	uint32_t	count;			/* elements */
	uint32_t	m;				/* slots above level 0; twice as many at level 0 */
	uint32_t	entry;			/* of no meaning if count is 0 */
	int			top_level;		/* the entry point's; -1 if count is 0 */
	uint64_t	ef_construction;
	uint64_t	vector_bytes;	/* of one vector; of save_graph perhaps 0: unknown */
} HmGraphHeader;

typedef struct HmGraphFile
{
	HmGraphHeader header;
	const uint8_t *bytes;
	uint64_t	size;

	/* where things lie, in bytes */
	uint64_t	elements;		/* the first element */
	uint64_t	element_size;
	uint64_t	vector_offset;	/* inside an element; save_index only */
	uint64_t	label_offset;	/* inside an element */

	/* the walk over the lists above level 0 */
	uint32_t	walked;			/* elements */
	uint64_t	walk;			/* where the next element's begin */
} HmGraphFile;

/*
 * Recognises the format and reads the header: of the bytes, no more than
 * HM_GRAPH_HEADER_BYTES.  False: *error says why not.
 */
extern bool hm_graph_file_open(HmGraphFile *file, const void *bytes, uint64_t size,
							   HmGraphFileError *error);

/*
 * Walks the lists above level 0 of the next elements, up to number `end`, and
 * sets upper[i] to where those of element i begin (header.count entries).
 * With the last element the entry point's level and the file's end are checked.
 */
extern bool hm_graph_file_check_levels(HmGraphFile *file, uint64_t *upper, uint32_t end,
									   HmGraphFileError *error);

/*
 * Checks the lists of elements first .. end - 1: their sizes, and that each
 * link leads to an element which has that level.  A link may lead to its own
 * element, or be there twice.  After hm_graph_file_check_levels has walked all
 * elements.
 */
extern bool hm_graph_file_check_links(const HmGraphFile *file, const uint64_t *upper,
									  uint32_t first, uint32_t end, HmGraphFileError *error);

extern uint64_t hm_graph_file_label(const HmGraphFile *file, uint32_t id);
extern bool hm_graph_file_is_deleted(const HmGraphFile *file, uint32_t id);

/* An element's level as it can be stored: below HM_GRAPH_FILE_LEVELS. */
extern int	hm_graph_file_level(const HmGraphFile *file, const uint64_t *upper, uint32_t id);

/*
 * Copies an element's list at a level that it has.  slots: room for 2m at
 * level 0, m above.  Returns how many were copied.
 */
extern int	hm_graph_file_links(const HmGraphFile *file, const uint64_t *upper,
								uint32_t id, int level, uint32_t *slots);

/* The vector beside an element, unaligned; NULL where the file has none. */
extern const void *hm_graph_file_vector(const HmGraphFile *file, uint32_t id);

/* A sharded index: DIR/index.meta, and for each shard N DIR/shard_N.graph and DIR/shard_N.meta. */
typedef struct HmGraphShards
{
	uint64_t	shards;
	uint64_t	total;			/* vectors in all */
	uint64_t	dim;
	uint64_t	m;
	uint64_t	ef_construction;
	char		space[16];		/* "l2", "ip" or "cosine" */
} HmGraphShards;

/* More shards than anybody has. */
#define HM_GRAPH_MAX_SHARDS	65536

/* Rows of the vector array that a shard's labels count from, and up to. */
typedef struct HmGraphShard
{
	uint64_t	start;
	uint64_t	end;
} HmGraphShard;

extern bool hm_graph_is_shards(const void *bytes, uint64_t size);
extern bool hm_graph_shards_read(HmGraphShards *shards, const void *bytes, uint64_t size,
								 HmGraphFileError *error);
extern bool hm_graph_shard_read(HmGraphShard *shard, const HmGraphShards *shards,
								const void *bytes, uint64_t size, HmGraphFileError *error);

/*
 * Writing: header, then every element, then every element's upper lists.  Each
 * function puts bytes into memory of the caller and returns how many.
 */

/* Most bytes that a header takes. */
#define HM_GRAPH_HEADER_BYTES	96

/* Bytes of an element, and of an element's lists above level 0. */
extern size_t hm_graph_element_bytes(const HmGraphHeader *header);
extern size_t hm_graph_upper_bytes(const HmGraphHeader *header, int level);

extern size_t hm_graph_write_header(const HmGraphHeader *header, uint8_t *bytes);

/* vector: header->vector_bytes, save_index only. */
extern size_t hm_graph_write_element(const HmGraphHeader *header, const uint32_t *slots, int used,
									 bool deleted, uint64_t label, const void *vector,
									 uint8_t *bytes);

/* slots: m for each level from 1 to `level`, the used ones first; used[L - 1]: how many. */
extern size_t hm_graph_write_upper(const HmGraphHeader *header, int level, const uint32_t *slots,
								   const int *used, uint8_t *bytes);

#endif							/* HM_FORMATS_GRAPH_FILE_H */
