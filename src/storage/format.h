/*-------------------------------------------------------------------------
 *
 * format.h
 *	  What lies on disk, to the byte.  Format version 1.
 *
 * The main fork is:
 *
 *		block 0			metapage: the directory
 *		part pages		the graph, immutable once published
 *		log pages		rows inserted since, a chain
 *		tombstone pages	one bit per TID of a part, made by the first VACUUM
 *						that finds a dead row of it, or by the merge that
 *						writes the part when rows died meanwhile
 *
 * Space is handed out in runs of blocks that begin and end at multiples of
 * HM_RUN_ALIGNMENT; blocks 0 to 7 are the metapage's.  Every block below
 * HmMeta.file_blocks is in a run of a part, in a run of tombstones, or in one
 * of the directory's spaces.
 *
 * All numbers are in the machine's byte order, as everywhere in PostgreSQL.
 *
 * Every page, whatever its kind:
 *
 *		OFFSET	SIZE	DESCRIPTION
 *		0		24		PostgreSQL page header.  pd_lower = pd_upper =
 *						pd_special = 24: the whole page is special space, so
 *						that no byte of it counts as a hole and is dropped
 *						from a full-page image.  Pages of kind LOG have
 *						pd_lower at the end of their last slot, and pd_upper
 *						and pd_special at 8192: the rest of them is zero
 *		24		4		magic, HM_MAGIC
 *		28		2		format version
 *		30		2		kind, HmPageKind
 *		32		8		incarnation: random bits drawn when the index was built
 *		40		4		part pages and tombstones: the part's id, never reused;
 *						log pages: the page's sequence number
 *		44		2		part pages: the array, HmArray
 *		46		2		zero
 *		48		4		number of the page within its array
 *		52		8		zero
 *		60		4		CRC-32C of bytes 24-59 and 64-8191
 *		64		8128	data
 *
 * Identity and CRC, not the page's LSN or PostgreSQL's checksum, say whether
 * bytes seen through mmap are the published ones: on a standby, after a
 * promotion and in a database copied from a template, the file may hold older
 * contents or zeros for minutes while the page is right in shared buffers.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_FORMAT_H
#define HM_STORAGE_FORMAT_H

#include "postgres.h"

#include "base.h"
#include "graph/search.h"
#include "storage/block.h"
#include "storage/bufpage.h"
#include "storage/itemptr.h"

#define HM_MAGIC			0x4D4D4E48	/* "HNMM" */
#define HM_FORMAT_VERSION	1

#define HM_META_BLOCK		0
#define HM_RUN_ALIGNMENT	8	/* blocks: 64 kB, the largest page of a kernel */

/* Blocks that so many pages take. */
#define HM_RUN_BLOCKS(pages) \
	(((BlockNumber) (pages) + HM_RUN_ALIGNMENT - 1) / HM_RUN_ALIGNMENT * HM_RUN_ALIGNMENT)

typedef enum HmPageKind
{
	HM_PAGE_META = 1,
	HM_PAGE_PART,
	HM_PAGE_LOG,
	HM_PAGE_LOG_MORE,			/* the rest of a log entry larger than a page */
	HM_PAGE_TOMBSTONES
} HmPageKind;

typedef struct HmPageIdentity
{
	uint32		magic;
	uint16		version;
	uint16		kind;
	uint64		incarnation;
	uint32		part;
	uint16		array;
	uint16		unused;
	uint32		page;
	uint32		reserved[2];
	uint32		crc;
} HmPageIdentity;

#define HM_IDENTITY_OFFSET	24
#define HM_DATA_OFFSET		64
#define HM_PAGE_DATA		(BLCKSZ - HM_DATA_OFFSET)	/* 8128 */

StaticAssertDecl(BLCKSZ == 8192, "the format is defined for 8 kB blocks");
StaticAssertDecl(SizeOfPageHeaderData == HM_IDENTITY_OFFSET, "page header size");
StaticAssertDecl(sizeof(HmPageIdentity) == HM_DATA_OFFSET - HM_IDENTITY_OFFSET, "page identity size");
StaticAssertDecl(offsetof(HmPageIdentity, incarnation) == 8, "incarnation is at 32");
StaticAssertDecl(offsetof(HmPageIdentity, crc) == 36, "crc is at 60");

#define HmPageGetIdentity(page) ((HmPageIdentity *) ((char *) (page) + HM_IDENTITY_OFFSET))
#define HmPageGetData(page)		((char *) (page) + HM_DATA_OFFSET)

/*
 * The arrays of a part, in the order in which they are stored.  Each starts on
 * a page of its own and is dense: entry i of an array with p entries per page
 * is at data offset (i % p) * size of page i / p.  An entry larger than a page
 * starts on a page of its own and continues on the following ones.
 *
 *		ARRAY		ENTRY							COUNT
 *		LINKS		2m x uint32						elements
 *		UPPER		m x uint32						sum over L >= 1 of level_count[L];
 *													level L's entries follow level
 *													L-1's, in order of element
 *		REFS		HmRef							elements
 *		POSTINGS	HmPosting						posting_count, by element, which
 *													may be one of an older part
 *		TAIL		HmTailEntry						tail_count, by kind: WIDE, NAN, NULL
 *		ROWS		uint64: file row of an extvec	elements, in such indexes only
 *		PATCH_KEYS	HmPatchKey						patch_count, by (level, element)
 *		PATCH_LISTS	uint32							all replaced lists, used slots only;
 *													none crosses the end of a page
 *		VECTORS		dim x half precision			elements, if vectors = 'fp16'
 *
 * Elements are numbered across parts: a part's first is first_element, the
 * next part's follows its last.  Within a part they are in descending order of
 * level, so that its elements of level >= L are its first level_count[L].
 * Postings and patches name elements by those numbers, links too.
 *
 * A patch replaces a list of an element of an older part.  An element's list
 * at a level is that of the newest part that has a patch for it, or else its
 * own in LINKS or UPPER.
 *
 * ROWS is there only if the column refers to rows of an attached file, and no
 * copies are kept: the row that has an element's vector.
 */
typedef enum HmArray
{
	HM_ARRAY_LINKS = 0,
	HM_ARRAY_UPPER,
	HM_ARRAY_REFS,
	HM_ARRAY_POSTINGS,
	HM_ARRAY_TAIL,
	HM_ARRAY_ROWS,
	HM_ARRAY_PATCH_KEYS,
	HM_ARRAY_PATCH_LISTS,
	HM_ARRAY_VECTORS,
	HM_ARRAYS
} HmArray;

/* Where an element's row is.  8 bytes. */
typedef struct HmRef
{
	ItemPointerData tid;
	uint16		fingerprint;	/* hm_fingerprint of the row's vector */
} HmRef;

StaticAssertDecl(sizeof(HmRef) == 8, "ref size");

/* A further row with the element's very vector.  12 bytes. */
typedef struct HmPosting
{
	uint32		element;
	ItemPointerData tid;
	uint16		unused;
} HmPosting;

StaticAssertDecl(sizeof(HmPosting) == 12, "posting size");

/* Why a row is not in the graph; also used by log entries. */
typedef enum HmTailKind
{
	HM_TAIL_NULL = 1,			/* NULL vector: distance NULL, ordered last */
	HM_TAIL_NAN,				/* every distance is NaN: ordered before NULL */
	HM_TAIL_WIDE				/* components or norm beyond half precision's
								 * or float's range: its distance is computed
								 * from the row in every scan */
} HmTailKind;

/* A row outside the graph.  8 bytes. */
typedef struct HmTailEntry
{
	ItemPointerData tid;
	uint16		kind;			/* HmTailKind */
} HmTailEntry;

StaticAssertDecl(sizeof(HmTailEntry) == 8, "tail entry size");

/* Which list a part replaces, and where its slots lie in PATCH_LISTS.  16 bytes. */
typedef struct HmPatchKey
{
	uint32		element;
	uint16		level;
	uint16		count;			/* used slots */
	uint64		offset;			/* of the first slot, in slots */
} HmPatchKey;

StaticAssertDecl(sizeof(HmPatchKey) == 16, "patch key size");

/* Where a list of so many slots goes, if the slots before `next` are taken. */
#define HM_PATCH_PAGE_SLOTS	(HM_PAGE_DATA / sizeof(uint32))

static inline uint64
hm_patch_offset(uint64 next, uint32 count)
{
	uint64		within = next % HM_PATCH_PAGE_SLOTS;

	return within + count > HM_PATCH_PAGE_SLOTS ? next - within + HM_PATCH_PAGE_SLOTS : next;
}

/* A contiguous range of blocks. */
typedef struct HmRun
{
	BlockNumber block;
	uint32		pages;
} HmRun;

#define HM_MAX_RUNS		8
#define HM_MAX_PARTS	16

/*
 * One part, in the directory.  The pages of a part are numbered from 0 across
 * its runs; array A is pages array_page[A] .. array_page[A + 1] - 1.
 */
typedef struct HmPartDesc
{
	uint32		part;			/* id, never reused within an incarnation */
	uint32		first_element;	/* number of its first element; 0 in the oldest part */
	uint32		element_count;
	uint32		posting_count;
	uint32		tail_count;
	uint32		patch_count;
	uint64		patch_slots;	/* entries of PATCH_LISTS, skipped ones included */
	uint32		level_count[HM_MAX_LEVELS]; /* elements of level >= L */
	uint32		array_page[HM_ARRAYS + 1];
	float		max_norm;		/* largest Euclidean norm of a vector in it */
	BlockNumber tombstone_block;	/* first of its tombstone pages, which are
									 * contiguous; InvalidBlockNumber if none */
	uint32		dead_count;		/* tombstones set */
	uint32		run_count;
	HmRun		runs[HM_MAX_RUNS];
} HmPartDesc;

StaticAssertDecl(sizeof(HmPartDesc) == 216, "part descriptor size");
StaticAssertDecl(offsetof(HmPartDesc, level_count) == 32, "part descriptor layout");
StaticAssertDecl(offsetof(HmPartDesc, array_page) == 96, "part descriptor layout");
StaticAssertDecl(offsetof(HmPartDesc, runs) == 152, "part descriptor layout");

/* How the index keeps vectors: the option `vectors`. */
typedef enum HmVectorsMode
{
	HM_VECTORS_HEAP = 1,
	HM_VECTORS_FP16
} HmVectorsMode;

/*
 * What a run of blocks that belongs to no part is used for.
 *
 *		FREE		nothing: it may be handed out
 *		PENDING		a merge, or VACUUM with new tombstones, is writing there, or
 *					died while it was; to be freed by the next merge
 *		LOG			pages of the log, or reserved for it
 *		RETIRED		held what nobody who reads the directory now can reach, but
 *					who has read an older one may: see storage/space.h
 */
typedef enum HmSpaceState
{
	HM_SPACE_FREE = 1,
	HM_SPACE_PENDING,
	HM_SPACE_LOG,
	HM_SPACE_RETIRED
} HmSpaceState;

/* One of the directory's spaces.  24 bytes. */
typedef struct HmSpace
{
	BlockNumber block;			/* a multiple of HM_RUN_ALIGNMENT */
	uint32		blocks;			/* likewise */
	uint32		state;			/* HmSpaceState */
	uint32		unused;
	uint64		safexid;		/* RETIRED: free when every snapshot is younger than
								 * this full transaction id; 0: not stamped yet */
} HmSpace;

StaticAssertDecl(sizeof(HmSpace) == 24, "space size");

#define HM_MAX_SPACES	188

/*
 * The attached file that an index on extvec was built over: what must still be
 * so when its vectors are read.  All zero for other types, and until the first
 * vector arrives.  24 bytes.
 */
typedef struct HmIndexedFile
{
	uint64		rows;			/* it had then; it may have grown since */
	uint64		fingerprint;	/* of these rows: hm_file_fingerprint */
	uint32		number;			/* as in every extvec of the column; 0: none */
	uint32		unused;
} HmIndexedFile;

StaticAssertDecl(sizeof(HmIndexedFile) == 24, "file identity size");

/*
 * The metapage's data, at offset 64.
 *
 *		OFFSET	SIZE	DESCRIPTION
 *		64		4		dimension; 0 until the first vector arrives
 *		68		1		metric, HmMetric
 *		69		1		element kind of the column, HmElementKind
 *		70		1		vectors, HmVectorsMode
 *		71		1		zero
 *		72		4		m
 *		76		4		ef_construction
 *		80		4		log: first page, or InvalidBlockNumber
 *		84		4		log: a page at or near the end of the chain
 *		88		4		log: sequence number of the next page
 *		92		4		parts
 *		96		8		tombstone version: grows with every VACUUM that sets any
 *						or blanks log entries, and with every merge
 *		104		4		id for the next part
 *		108		4		scale: half-precision copies hold x * 2^scale
 *		112		4		log: sequence number of the first page
 *		116		4		log: next block of the reserve
 *		120		4		log: blocks left in the reserve
 *		124		4		entry point: an element of the top level, or HM_NO_ID
 *		128		4		blocks accounted for; what lies behind was added to the
 *						file by somebody who died, and will be used
 *		132		4		blocks lost: accounted for nowhere else, as there were
 *						too many spaces
 *		136		4		spaces
 *		140		4		log: times that it was sealed
 *		144		8		merges published since the index was built
 *		152		24		the attached file, HmIndexedFile
 *		176		3456	parts[16], 216 bytes each, oldest first
 *		3632	4512	spaces[188], 24 bytes each, by block
 */
typedef struct HmMeta
{
	uint32		dim;
	uint8		metric;
	uint8		element_kind;
	uint8		vectors;
	uint8		unused;
	uint32		m;
	uint32		ef_construction;
	BlockNumber log_head;
	BlockNumber log_tail;
	uint32		log_next_sequence;
	uint32		part_count;
	uint64		tombstone_version;
	uint32		next_part;
	int32		scale;
	uint32		log_head_sequence;
	BlockNumber log_reserve;
	uint32		log_reserve_blocks;
	uint32		entry_point;
	BlockNumber file_blocks;
	uint32		lost_blocks;
	uint32		space_count;
	uint32		log_seals;
	uint64		merges;
	HmIndexedFile file;
	HmPartDesc	parts[HM_MAX_PARTS];
	HmSpace		spaces[HM_MAX_SPACES];
} HmMeta;

StaticAssertDecl(offsetof(HmMeta, tombstone_version) == 32, "metapage layout");
StaticAssertDecl(offsetof(HmMeta, log_head_sequence) == 48, "metapage layout");
StaticAssertDecl(offsetof(HmMeta, merges) == 80, "metapage layout");
StaticAssertDecl(offsetof(HmMeta, file) == 88, "metapage layout");
StaticAssertDecl(offsetof(HmMeta, parts) == 112, "metapage layout");
StaticAssertDecl(offsetof(HmMeta, spaces) == 112 + 216 * HM_MAX_PARTS, "metapage layout");
StaticAssertDecl(sizeof(HmMeta) <= HM_PAGE_DATA, "metapage fits");

/* True if the vectors are in an attached file and nowhere else. */
static inline bool
hm_has_rows(const HmMeta *meta)
{
	return meta->file.number != 0 && meta->vectors == HM_VECTORS_HEAP;
}

/* Elements of all parts: one more than the largest number. */
static inline uint32
hm_element_count(const HmMeta *meta)
{
	const HmPartDesc *last = &meta->parts[meta->part_count - 1];

	return meta->part_count == 0 ? 0 : last->first_element + last->element_count;
}

/*
 * Log pages: a header, then slots of one size.
 *
 *		OFFSET	SIZE	DESCRIPTION
 *		64		4		next page of the chain, or InvalidBlockNumber
 *		68		2		entries on this page
 *		70		2		size of a slot: the dimension may become known, and
 *						entries grow, in the middle of a chain
 *		72		...		slots
 */
typedef struct HmLogPageHeader
{
	BlockNumber next;
	uint16		count;
	uint16		slot_size;
} HmLogPageHeader;

StaticAssertDecl(sizeof(HmLogPageHeader) == 8, "log page header size");

/* An entry's kind is an HmTailKind or one of these. */
#define HM_LOG_BLANK	0		/* its row is dead: VACUUM has been here */
#define HM_LOG_VECTOR	16		/* has a vector that can be ranked */

/*
 * A log entry: a row's TID and, for HM_LOG_VECTOR, a half-precision copy of
 * its vector (as in VECTORS), and what a merge must know of the vector itself.
 * A copy that does not fit into the page ends on up to HM_LOG_MAX_MORE pages of kind LOG_MORE, each filled from its data
 * offset 0; such an entry has its page to itself.
 *
 *		OFFSET	SIZE	DESCRIPTION
 *		0		6		TID
 *		6		2		kind
 *		8		4		Euclidean norm of the vector
 *		12		2		fingerprint of the vector, as in HmRef
 *		14		2		zero
 *		16		8		hash of the vector's bytes: see hm_vector_hash; or its
 *						row, if the vector is in an attached file
 *		24		16		entries larger than a page only: the LOG_MORE pages'
 *						block numbers in order, then InvalidBlockNumber
 *		24|40	...		the copy, dim x half precision
 */
typedef struct HmLogEntry
{
	ItemPointerData tid;
	uint16		kind;
	float		norm;
	uint16		fingerprint;
	uint16		unused;
	uint64		hash;			/* or row */
} HmLogEntry;

StaticAssertDecl(sizeof(HmLogEntry) == 24, "log entry size");

#define HM_LOG_MAX_MORE 4
#define HM_LOG_PAGE_SLOTS	(HM_PAGE_DATA - sizeof(HmLogPageHeader))	/* 8120 bytes */

StaticAssertDecl(HM_MAX_DIM * 2 <= HM_LOG_PAGE_SLOTS - 40 + HM_LOG_MAX_MORE * HM_PAGE_DATA,
				 "the largest vector fits into a log entry");

/* Tombstone pages: HM_TOMBSTONE_BITS bits each, the first in the lowest bit. */
#define HM_TOMBSTONE_BITS	(HM_PAGE_DATA * 8)

/*
 * Bit numbers within a part: element i's ref, then postings, then the tail.
 */
#define HM_TOMBSTONE_COUNT(part) \
	((uint64) (part)->element_count + (part)->posting_count + (part)->tail_count)
#define HM_TOMBSTONE_PAGES(part) \
	((uint32) ((HM_TOMBSTONE_COUNT(part) + HM_TOMBSTONE_BITS - 1) / HM_TOMBSTONE_BITS))

/* Bytes of one entry of an array. */
static inline uint32
hm_array_entry_size(const HmMeta *meta, HmArray array)
{
	switch (array)
	{
		case HM_ARRAY_LINKS:
			return 2 * meta->m * sizeof(uint32);
		case HM_ARRAY_UPPER:
			return meta->m * sizeof(uint32);
		case HM_ARRAY_REFS:
			return sizeof(HmRef);
		case HM_ARRAY_POSTINGS:
			return sizeof(HmPosting);
		case HM_ARRAY_TAIL:
			return sizeof(HmTailEntry);
		case HM_ARRAY_ROWS:
			return sizeof(uint64);
		case HM_ARRAY_PATCH_KEYS:
			return sizeof(HmPatchKey);
		case HM_ARRAY_PATCH_LISTS:
			return sizeof(uint32);
		case HM_ARRAY_VECTORS:
			return meta->dim * sizeof(uint16);
		case HM_ARRAYS:
			break;
	}
	return 0;
}

/* Entries of an array that a part holds. */
extern uint64 hm_array_entry_count(const HmMeta *meta, const HmPartDesc *part, HmArray array);

/* Computes array_page[] from the counts; false: more pages than a file has blocks. */
extern bool hm_part_layout(const HmMeta *meta, HmPartDesc *part);

/* The block of a part's page. */
extern BlockNumber hm_part_block(const HmPartDesc *part, uint32 page);

/* Pages that so many entries of such a size take. */
static inline uint64
hm_entries_pages(uint64 count, uint32 entry_size)
{
	if (entry_size <= HM_PAGE_DATA)
	{
		uint32		per_page = HM_PAGE_DATA / entry_size;

		return (count + per_page - 1) / per_page;
	}
	return count * ((entry_size + HM_PAGE_DATA - 1) / HM_PAGE_DATA);
}

#endif							/* HM_STORAGE_FORMAT_H */
