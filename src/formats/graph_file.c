/*-------------------------------------------------------------------------
 *
 * graph_file.c
 *	  Reading the graph files of hnswlib and hnswlib-mmap.
 *
 *-------------------------------------------------------------------------
 */
#include "formats/graph_file.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "formats/graph_bytes.h"

/* Always false, for the caller to return. */
__attribute__((format(printf, 2, 3)))
static bool
damaged(HmGraphFileError *error, const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(error->text, sizeof(error->text), format, arguments);
	va_end(arguments);
	return false;
}

/* What the two headers have in common, as wide as the file has it. */
typedef struct RawHeader
{
	uint64_t	capacity;
	uint64_t	count;
	uint64_t	m;
	uint64_t	upper_slots;
	uint64_t	base_slots;
	uint64_t	ef_construction;
	int32_t		top_level;
	uint32_t	entry;
} RawHeader;

static void
read_mmap_header(HmGraphFile *file, RawHeader *raw)
{
	const uint8_t *bytes = file->bytes;

	raw->capacity = hm_get_u64(bytes + 4);
	raw->count = hm_get_u64(bytes + 12);
	raw->m = hm_get_u64(bytes + 20);
	raw->upper_slots = hm_get_u64(bytes + 28);
	raw->base_slots = hm_get_u64(bytes + 36);
	raw->ef_construction = hm_get_u64(bytes + 44);
	raw->top_level = (int32_t) hm_get_u32(bytes + 60);
	raw->entry = hm_get_u32(bytes + 64);
	file->header.format = HM_GRAPH_MMAP;
	file->header.vector_bytes = hm_get_u64(bytes + 68);
	file->elements = HM_GRAPH_MMAP_HEADER;
}

static void
read_hnswlib_header(HmGraphFile *file, RawHeader *raw)
{
	const uint8_t *bytes = file->bytes;

	raw->capacity = hm_get_u64(bytes + 8);
	raw->count = hm_get_u64(bytes + 16);
	raw->top_level = (int32_t) hm_get_u32(bytes + 48);
	raw->entry = hm_get_u32(bytes + 52);
	raw->upper_slots = hm_get_u64(bytes + 56);
	raw->base_slots = hm_get_u64(bytes + 64);
	raw->m = hm_get_u64(bytes + 72);
	raw->ef_construction = hm_get_u64(bytes + 88);
	file->header.format = HM_GRAPH_HNSWLIB;
	file->elements = HM_GRAPH_HNSWLIB_HEADER;
}

/*
 * save_index has no magic number: it is recognised by offsets that follow from
 * each other.
 */
static bool
is_hnswlib(const uint8_t *bytes, uint64_t size)
{
	uint64_t	element_size;
	uint64_t	label_offset;
	uint64_t	vector_offset;

	if (size < HM_GRAPH_HNSWLIB_HEADER)
		return false;
	element_size = hm_get_u64(bytes + 24);
	label_offset = hm_get_u64(bytes + 32);
	vector_offset = hm_get_u64(bytes + 40);
	return hm_get_u64(bytes) == 0 &&
		label_offset <= UINT32_MAX && label_offset + sizeof(uint64_t) == element_size &&
		vector_offset <= label_offset &&
		hm_get_u64(bytes + 64) <= 2 * HM_GRAPH_FILE_MAX_M &&
		vector_offset == sizeof(uint32_t) * (1 + hm_get_u64(bytes + 64));
}

/* Where the parts of an element lie. */
static bool
lay_out(HmGraphFile *file, HmGraphFileError *error)
{
	HmGraphHeader *header = &file->header;

	file->vector_offset = sizeof(uint32_t) * (1 + 2 * (uint64_t) header->m);
	if (header->format == HM_GRAPH_HNSWLIB)
	{
		/* is_hnswlib has seen that there is no overflow in these */
		file->element_size = hm_get_u64(file->bytes + 24);
		file->label_offset = hm_get_u64(file->bytes + 32);
		header->vector_bytes = file->label_offset - file->vector_offset;
		if (header->vector_bytes == 0 && header->count > 0)
			return damaged(error, "its vectors have no bytes");
	}
	else
	{
		file->label_offset = file->vector_offset;
		file->element_size = file->label_offset + sizeof(uint64_t);
	}

	/* both factors are below 2^33 */
	if (file->elements > file->size ||
		header->count > (file->size - file->elements) / file->element_size)
		return damaged(error, "%u elements of %" PRIu64 " bytes do not fit into its %" PRIu64 " bytes",
					   header->count, file->element_size, file->size);
	file->walk = file->elements + header->count * file->element_size;
	return true;
}

bool
hm_graph_file_open(HmGraphFile *file, const void *bytes, uint64_t size, HmGraphFileError *error)
{
	RawHeader	raw;

	memset(file, 0, sizeof(*file));
	file->bytes = bytes;
	file->size = size;

	if (size >= HM_GRAPH_MMAP_HEADER && hm_get_u32(file->bytes) == HM_GRAPH_MMAP_MAGIC)
		read_mmap_header(file, &raw);
	else if (is_hnswlib(file->bytes, size))
		read_hnswlib_header(file, &raw);
	else
		return damaged(error, "it begins like no file of save_graph or save_index");

	if (raw.m < 2 || raw.m > HM_GRAPH_FILE_MAX_M)
		return damaged(error, "M is %" PRIu64 ", but must be between 2 and %d",
					   raw.m, HM_GRAPH_FILE_MAX_M);
	if (raw.upper_slots != raw.m || raw.base_slots != 2 * raw.m)
		return damaged(error, "lists have %" PRIu64 " and %" PRIu64 " slots, where M = %" PRIu64 " has %" PRIu64 " and %" PRIu64,
					   raw.base_slots, raw.upper_slots, raw.m, 2 * raw.m, raw.m);
	if (raw.count > raw.capacity || raw.count > HM_GRAPH_FILE_MAX_COUNT)
		return damaged(error, "it has %" PRIu64 " elements, where %" PRIu64 " is the limit",
					   raw.count, raw.capacity < HM_GRAPH_FILE_MAX_COUNT ? raw.capacity : HM_GRAPH_FILE_MAX_COUNT);
	if (raw.count > 0 && raw.entry >= raw.count)
		return damaged(error, "its entry point is element %u of %" PRIu64, raw.entry, raw.count);
	if (raw.top_level < (raw.count > 0 ? 0 : -1))
		return damaged(error, "its top level is %d", raw.top_level);

	file->header.count = (uint32_t) raw.count;
	file->header.m = (uint32_t) raw.m;
	file->header.entry = raw.entry;
	file->header.ef_construction = raw.ef_construction;
	file->header.top_level = raw.count > 0 ? raw.top_level : -1;
	return lay_out(file, error);
}

/* Bytes of a list above level 0. */
static inline uint64_t
upper_list_bytes(const HmGraphFile *file)
{
	return sizeof(uint32_t) * (1 + (uint64_t) file->header.m);
}

/* The level as the file has it, which may be above all that are used. */
static inline uint64_t
stored_level(const HmGraphFile *file, const uint64_t *upper, uint32_t id)
{
	return hm_get_u32(file->bytes + upper[id]) / upper_list_bytes(file);
}

bool
hm_graph_file_check_levels(HmGraphFile *file, uint64_t *upper, uint32_t end,
						   HmGraphFileError *error)
{
	const HmGraphHeader *header = &file->header;

	for (; file->walked < end; file->walked++)
	{
		uint64_t	length;

		if (file->size - file->walk < sizeof(uint32_t))
			return damaged(error, "it ends before the upper lists of element %u", file->walked);
		length = hm_get_u32(file->bytes + file->walk);
		if (length % upper_list_bytes(file) != 0)
			return damaged(error, "upper lists of element %u take %" PRIu64 " bytes, which is no multiple of %" PRIu64,
						   file->walked, length, upper_list_bytes(file));
		if (length > file->size - file->walk - sizeof(uint32_t))
			return damaged(error, "it ends within the upper lists of element %u", file->walked);
		upper[file->walked] = file->walk;
		if (length / upper_list_bytes(file) > (uint64_t) header->top_level)
			return damaged(error, "element %u has level %" PRIu64 ", above the top level %d",
						   file->walked, length / upper_list_bytes(file), header->top_level);
		file->walk += sizeof(uint32_t) + length;
	}

	if (file->walked < header->count)
		return true;
	if (file->walk != file->size)
		return damaged(error, "%" PRIu64 " bytes follow the last element", file->size - file->walk);
	if (header->count > 0 && stored_level(file, upper, header->entry) != (uint64_t) header->top_level)
		return damaged(error, "its entry point has level %" PRIu64 ", not the top level %d",
					   stored_level(file, upper, header->entry), header->top_level);
	return true;
}

static inline const uint8_t *
element(const HmGraphFile *file, uint32_t id)
{
	return file->bytes + file->elements + id * file->element_size;
}

/* A list: its degree, followed by its slots. */
static inline const uint8_t *
stored_list(const HmGraphFile *file, const uint64_t *upper, uint32_t id, int level)
{
	if (level == 0)
		return element(file, id);
	return file->bytes + upper[id] + sizeof(uint32_t) + (level - 1) * upper_list_bytes(file);
}

/* hnswlib keeps degrees in sixteen bits, and flags in those above. */
static inline uint32_t
stored_degree(const uint8_t *list)
{
	return hm_get_u32(list) & 0xFFFF;
}

static bool
check_list(const HmGraphFile *file, const uint64_t *upper, uint32_t id, int level,
		   HmGraphFileError *error)
{
	const uint8_t *list = stored_list(file, upper, id, level);
	uint32_t	degree = stored_degree(list);
	uint32_t	slots = level == 0 ? 2 * file->header.m : file->header.m;
	uint32_t	i;

	if (degree > slots)
		return damaged(error, "element %u has %u neighbours at level %d, where %u is the limit",
					   id, degree, level, slots);
	for (i = 0; i < degree; i++)
	{
		uint32_t	to = hm_get_u32(list + sizeof(uint32_t) * (1 + i));

		if (to >= file->header.count)
			return damaged(error, "element %u is linked to element %u of %u", id, to, file->header.count);
		if (level > 0 && stored_level(file, upper, to) < (uint64_t) level)
			return damaged(error, "element %u is linked at level %d to element %u, which has not that level",
						   id, level, to);
	}
	return true;
}

bool
hm_graph_file_check_links(const HmGraphFile *file, const uint64_t *upper,
						  uint32_t first, uint32_t end, HmGraphFileError *error)
{
	uint32_t	id;
	int			level;

	for (id = first; id < end; id++)
	{
		for (level = hm_graph_file_level(file, upper, id); level >= 0; level--)
		{
			if (!check_list(file, upper, id, level, error))
				return false;
		}
	}
	return true;
}

uint64_t
hm_graph_file_label(const HmGraphFile *file, uint32_t id)
{
	return hm_get_u64(element(file, id) + file->label_offset);
}

bool
hm_graph_file_is_deleted(const HmGraphFile *file, uint32_t id)
{
	return (element(file, id)[2] & 1) != 0;
}

int
hm_graph_file_level(const HmGraphFile *file, const uint64_t *upper, uint32_t id)
{
	uint64_t	level = stored_level(file, upper, id);

	return level < HM_GRAPH_FILE_LEVELS ? (int) level : HM_GRAPH_FILE_LEVELS - 1;
}

int
hm_graph_file_links(const HmGraphFile *file, const uint64_t *upper, uint32_t id, int level,
					uint32_t *slots)
{
	const uint8_t *list = stored_list(file, upper, id, level);
	int			degree = (int) stored_degree(list);
	int			i;

	for (i = 0; i < degree; i++)
		slots[i] = hm_get_u32(list + sizeof(uint32_t) * (1 + i));
	return degree;
}

const void *
hm_graph_file_vector(const HmGraphFile *file, uint32_t id)
{
	return file->header.format == HM_GRAPH_HNSWLIB ? element(file, id) + file->vector_offset : NULL;
}

bool
hm_graph_is_shards(const void *bytes, uint64_t size)
{
	return size >= sizeof(uint32_t) && hm_get_u32(bytes) == HM_GRAPH_SHARDS_MAGIC;
}

bool
hm_graph_shards_read(HmGraphShards *shards, const void *bytes, uint64_t size,
					 HmGraphFileError *error)
{
	const uint8_t *at = bytes;
	uint64_t	length;

	memset(shards, 0, sizeof(*shards));
	if (size < HM_GRAPH_SHARDS_HEADER || !hm_graph_is_shards(bytes, size))
		return damaged(error, "it begins like no index.meta of a sharded index");
	shards->shards = hm_get_u64(at + 4);
	shards->total = hm_get_u64(at + 12);
	shards->dim = hm_get_u64(at + 20);
	shards->m = hm_get_u64(at + 28);
	shards->ef_construction = hm_get_u64(at + 36);
	length = hm_get_u64(at + 44);
	if (shards->shards == 0 || shards->shards > HM_GRAPH_MAX_SHARDS)
		return damaged(error, "it has %" PRIu64 " shards", shards->shards);
	if (shards->total > HM_GRAPH_FILE_MAX_COUNT)
		return damaged(error, "it has %" PRIu64 " vectors", shards->total);
	if (shards->dim == 0 || shards->dim > HM_MAX_DIM)
		return damaged(error, "its vectors have %" PRIu64 " dimensions", shards->dim);
	if (length >= sizeof(shards->space) || length != size - HM_GRAPH_SHARDS_HEADER)
		return damaged(error, "the name of its space takes %" PRIu64 " bytes", length);
	memcpy(shards->space, at + HM_GRAPH_SHARDS_HEADER, (size_t) length);
	return true;
}

bool
hm_graph_shard_read(HmGraphShard *shard, const HmGraphShards *shards,
					const void *bytes, uint64_t size, HmGraphFileError *error)
{
	const uint8_t *at = bytes;
	uint64_t	count;

	if (size != HM_GRAPH_SHARD_SIZE)
		return damaged(error, "it has %" PRIu64 " bytes, not %d", size, HM_GRAPH_SHARD_SIZE);
	shard->start = hm_get_u64(at);
	shard->end = hm_get_u64(at + 8);
	count = hm_get_u64(at + 16);
	if (shard->start > shard->end || shard->end > shards->total ||
		count != shard->end - shard->start)
		return damaged(error, "it has %" PRIu64 " vectors from %" PRIu64 " to %" PRIu64 " of %" PRIu64,
					   count, shard->start, shard->end, shards->total);
	return true;
}
