/*-------------------------------------------------------------------------
 *
 * test_graph_file.c
 *	  Graph files of hnswlib and hnswlib-mmap, read and written.
 *
 * The files to read are put together here, from the description of the
 * formats, by code that shares nothing with what is tested.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <string.h>

#include "formats/graph_file.h"
#include "unit.h"

#define COUNT	60
#define M		5
#define DIM		3

/* A graph that means nothing, and the bytes of a file. */
typedef struct Model
{
	int			level[COUNT];
	int			degree[COUNT][4];
	uint32_t	links[COUNT][4][2 * M];
	bool		deleted[COUNT];
	uint64_t	label[COUNT];
	float		vector[COUNT][DIM];
	uint32_t	entry;
	int			top_level;

	uint8_t		bytes[65536];
	size_t		size;
	size_t		element_at;		/* where the elements begin */
	size_t		element_size;
	size_t		tail_at;		/* where the upper lists begin */
} Model;

static Model model;
static uint64_t upper[COUNT];

static void
put(const void *value, size_t size)
{
	memcpy(model.bytes + model.size, value, size);
	model.size += size;
}

#define PUT(type, value) do { type put_ = (type) (value); put(&put_, sizeof(put_)); } while (0)

static void
make_model(void)
{
	HmUnitRandom random = unit_random(1);

	memset(&model, 0, sizeof(model));
	for (int i = 0; i < COUNT; i++)
	{
		model.level[i] = i % 20 == 7 ? 3 : i % 5 == 0 ? 1 : 0;
		model.deleted[i] = i % 9 == 4;
		model.label[i] = UINT64_C(0x100000000) * (i % 3) + i;
		for (int d = 0; d < DIM; d++)
			model.vector[i][d] = (float) (i * 10 + d);
	}
	model.entry = 27;
	model.top_level = 3;
	for (int i = 0; i < COUNT; i++)
	{
		for (int level = 0; level <= model.level[i]; level++)
		{
			int			most = (int) unit_random_below(&random, (level == 0 ? 2 * M : M) + 1);

			while (model.degree[i][level] < most)
			{
				uint32_t	to = unit_random_below(&random, COUNT);

				if (model.level[to] >= level)
					model.links[i][level][model.degree[i][level]++] = to;
			}
		}
	}
}

static void
put_links(int i, int level, uint32_t flags)
{
	int			slots = level == 0 ? 2 * M : M;

	PUT(uint32_t, (uint32_t) model.degree[i][level] | flags);
	for (int slot = 0; slot < slots; slot++)
		PUT(uint32_t, slot < model.degree[i][level] ? model.links[i][level][slot] : 0);
}

static void
put_file(HmGraphFormat format, int count)
{
	double		mult = 1 / log(M);
	uint64_t	element_size = 4 + 4 * 2 * M + (format == HM_GRAPH_HNSWLIB ? sizeof(float) * DIM : 0) + 8;

	model.size = 0;
	if (format == HM_GRAPH_MMAP)
	{
		PUT(uint32_t, 0x47524150);
		PUT(uint64_t, count);
		PUT(uint64_t, count);
		PUT(uint64_t, M);
		PUT(uint64_t, M);
		PUT(uint64_t, 2 * M);
		PUT(uint64_t, 200);
		PUT(double, mult);
		PUT(int32_t, count > 0 ? model.top_level : -1);
		PUT(uint32_t, count > 0 ? model.entry : UINT32_MAX);
		PUT(uint64_t, sizeof(float) * DIM);
	}
	else
	{
		PUT(uint64_t, 0);
		PUT(uint64_t, count);
		PUT(uint64_t, count);
		PUT(uint64_t, element_size);
		PUT(uint64_t, element_size - 8);
		PUT(uint64_t, 4 + 4 * 2 * M);
		PUT(int32_t, count > 0 ? model.top_level : -1);
		PUT(uint32_t, count > 0 ? model.entry : UINT32_MAX);
		PUT(uint64_t, M);
		PUT(uint64_t, 2 * M);
		PUT(uint64_t, M);
		PUT(double, mult);
		PUT(uint64_t, 200);
	}
	model.element_at = model.size;
	model.element_size = element_size;
	for (int i = 0; i < count; i++)
	{
		put_links(i, 0, model.deleted[i] ? 0x10000 : 0);
		if (format == HM_GRAPH_HNSWLIB)
			put(model.vector[i], sizeof(model.vector[i]));
		PUT(uint64_t, model.label[i]);
	}
	model.tail_at = model.size;
	for (int i = 0; i < count; i++)
	{
		PUT(uint32_t, model.level[i] * (4 + 4 * M));
		for (int level = 1; level <= model.level[i]; level++)
			put_links(i, level, 0);
	}
}

/* All checks, on a copy of exactly so many bytes; file->bytes is not kept. */
static bool
passes(const uint8_t *bytes, size_t size, HmGraphFile *file, HmGraphFileError *error)
{
	uint8_t    *copy = unit_malloc(size + 1);	/* unaligned */
	bool		ok;

	memcpy(copy + 1, bytes, size);
	memset(error, 0, sizeof(*error));
	ok = hm_graph_file_open(file, copy + 1, size, error) &&
		file->header.count <= COUNT &&
		hm_graph_file_check_levels(file, upper, file->header.count / 3, error) &&
		hm_graph_file_check_levels(file, upper, file->header.count, error) &&
		hm_graph_file_check_links(file, upper, 0, file->header.count, error);
	free(copy);
	return ok;
}

static void
check_read(HmGraphFormat format)
{
	HmGraphFileError error;
	HmGraphFile file;

	make_model();
	put_file(format, COUNT);
	UNIT_CHECK(passes(model.bytes, model.size, &file, &error), "%s", error.text);
	UNIT_CHECK(file.header.format == format, "format %d", file.header.format);
	UNIT_CHECK(file.header.count == COUNT && file.header.m == M, "count %u, m %u", file.header.count, file.header.m);
	UNIT_CHECK(file.header.entry == 27 && file.header.top_level == 3, "entry %u at %d",
			   file.header.entry, file.header.top_level);
	UNIT_CHECK(file.header.ef_construction == 200, "ef %" PRIu64, file.header.ef_construction);
	UNIT_CHECK(file.header.vector_bytes == sizeof(float) * DIM, "vector %" PRIu64, file.header.vector_bytes);

	file.bytes = model.bytes;
	for (uint32_t i = 0; i < COUNT; i++)
	{
		const void *vector = hm_graph_file_vector(&file, i);

		UNIT_CHECK(hm_graph_file_label(&file, i) == model.label[i], "label of %u", i);
		UNIT_CHECK(hm_graph_file_is_deleted(&file, i) == model.deleted[i], "deleted mark of %u", i);
		UNIT_CHECK(hm_graph_file_level(&file, upper, i) == model.level[i], "level of %u", i);
		for (int level = 0; level <= model.level[i]; level++)
		{
			uint32_t	slots[2 * M];
			int			n = hm_graph_file_links(&file, upper, i, level, slots);

			UNIT_CHECK(n == model.degree[i][level] &&
					   memcmp(slots, model.links[i][level], n * sizeof(slots[0])) == 0,
					   "list of %u at level %d: %d links", i, level, n);
		}
		if (format == HM_GRAPH_MMAP)
			UNIT_CHECK(vector == NULL, "a vector of %u", i);
		else
			UNIT_CHECK(memcmp(vector, model.vector[i], sizeof(model.vector[i])) == 0, "vector of %u", i);
	}
}

static void
test_read_mmap(void)
{
	check_read(HM_GRAPH_MMAP);
}

static void
test_read_hnswlib(void)
{
	check_read(HM_GRAPH_HNSWLIB);
}

static void
test_write(void)
{
	make_model();
	for (int format = HM_GRAPH_MMAP; format <= HM_GRAPH_HNSWLIB; format++)
	{
		for (int count = 0; count <= COUNT; count += COUNT)
		{
			HmGraphHeader header = {
				.format = format, .count = (uint32_t) count, .m = M, .entry = 27,
				.top_level = count > 0 ? 3 : -1, .ef_construction = 200, .vector_bytes = sizeof(float) * DIM
			};
			uint8_t    *bytes = unit_malloc(65536);
			size_t		at = hm_graph_write_header(&header, bytes);

			UNIT_CHECK(at <= HM_GRAPH_HEADER_BYTES, "header of %zu bytes", at);
			for (int i = 0; i < count; i++)
			{
				size_t		n = hm_graph_write_element(&header, model.links[i][0], model.degree[i][0],
													   model.deleted[i], model.label[i], model.vector[i], bytes + at);

				UNIT_CHECK(n == hm_graph_element_bytes(&header), "element of %zu bytes", n);
				at += n;
			}
			for (int i = 0; i < count; i++)
			{
				uint32_t	slots[3 * M];
				size_t		n;

				for (int level = 1; level <= model.level[i]; level++)
					memcpy(slots + (level - 1) * M, model.links[i][level], M * sizeof(uint32_t));
				n = hm_graph_write_upper(&header, model.level[i], slots, model.degree[i] + 1, bytes + at);
				UNIT_CHECK(n == hm_graph_upper_bytes(&header, model.level[i]), "upper lists of %zu bytes", n);
				at += n;
			}
			put_file(format, count);
			UNIT_CHECK(at == model.size && memcmp(bytes, model.bytes, at) == 0,
					   "format %d, %d elements: %zu bytes", format, count, at);
			free(bytes);
		}
	}
}

static void
test_truncated(void)
{
	HmGraphFileError error;
	HmGraphFile file;

	make_model();
	for (int format = HM_GRAPH_MMAP; format <= HM_GRAPH_HNSWLIB; format++)
	{
		put_file(format, COUNT);
		for (size_t size = 0; size < model.size; size++)
		{
			UNIT_CHECK(!passes(model.bytes, size, &file, &error), "format %d, %zu bytes", format, size);
			UNIT_CHECK(error.text[0] != '\0', "no reason is given");
		}
		UNIT_CHECK(!passes(model.bytes, model.size + 1, &file, &error), "a byte too many");
		put_file(format, 0);
		UNIT_CHECK(passes(model.bytes, model.size, &file, &error), "no elements: %s", error.text);
	}
}

/* Writes over a number of the file; with that it must be refused for this reason. */
static void
check_refused(size_t at, const void *value, size_t size, const char *reason)
{
	HmGraphFileError error;
	HmGraphFile file;
	uint8_t		saved[8];

	memcpy(saved, model.bytes + at, size);
	memcpy(model.bytes + at, value, size);
	UNIT_CHECK(!passes(model.bytes, model.size, &file, &error), "%s: accepted", reason);
	UNIT_CHECK(strstr(error.text, reason) != NULL, "\"%s\" instead of \"%s\"", error.text, reason);
	memcpy(model.bytes + at, saved, size);
}

#define CHECK_REFUSED(at, type, value, reason) \
	do { type refused_ = (type) (value); check_refused(at, &refused_, sizeof(refused_), reason); } while (0)

static void
test_damaged(void)
{
	make_model();
	put_file(HM_GRAPH_MMAP, COUNT);
	CHECK_REFUSED(0, uint32_t, 0, "it begins like no file");
	CHECK_REFUSED(12, uint64_t, COUNT + 1, "is the limit");
	CHECK_REFUSED(12, uint64_t, UINT64_MAX, "is the limit");
	CHECK_REFUSED(20, uint64_t, 1, "M is 1");
	CHECK_REFUSED(20, uint64_t, UINT64_MAX, "M is");
	CHECK_REFUSED(28, uint64_t, M + 1, "slots");
	CHECK_REFUSED(36, uint64_t, M, "slots");
	CHECK_REFUSED(60, int32_t, -1, "top level is -1");
	CHECK_REFUSED(60, int32_t, 2, "above the top level 2");
	CHECK_REFUSED(60, int32_t, 4, "entry point has level 3");
	CHECK_REFUSED(64, uint32_t, COUNT, "entry point is element 60");
	CHECK_REFUSED(64, uint32_t, 1, "entry point has level 0");
	CHECK_REFUSED(model.element_at, uint32_t, 2 * M + 1, "element 0 has 11 neighbours");
	CHECK_REFUSED(model.element_at + 27 * model.element_size, uint32_t, 0xFFFF, "element 27 has 65535 neighbours");
	CHECK_REFUSED(model.tail_at, uint32_t, 23, "no multiple");
	CHECK_REFUSED(model.tail_at, uint32_t, 24 * 1000, "ends within the upper lists of element 0");
	CHECK_REFUSED(model.tail_at, uint32_t, UINT32_C(24) * 0x0AAAAAA, "ends within");
	CHECK_REFUSED(model.tail_at + 4, uint32_t, M + 1, "element 0 has 6 neighbours at level 1");

	model.degree[3][0] = 1;
	model.links[3][0][0] = COUNT;
	model.degree[0][1] = 1;
	model.links[0][1][0] = 5;
	put_file(HM_GRAPH_MMAP, COUNT);
	CHECK_REFUSED(0, uint32_t, 0x47524150, "element 3 is linked to element 60 of 60");
	model.links[3][0][0] = 3;
	model.links[0][1][0] = 1;
	put_file(HM_GRAPH_MMAP, COUNT);
	CHECK_REFUSED(0, uint32_t, 0x47524150, "linked at level 1 to element 1");

	/* without a magic number */
	make_model();
	put_file(HM_GRAPH_HNSWLIB, COUNT);
	CHECK_REFUSED(0, uint64_t, 1, "it begins like no file");
	CHECK_REFUSED(24, uint64_t, model.element_size + 1, "it begins like no file");
	CHECK_REFUSED(32, uint64_t, UINT64_MAX - 7, "it begins like no file");
	CHECK_REFUSED(40, uint64_t, 0, "it begins like no file");
	CHECK_REFUSED(64, uint64_t, UINT64_MAX / 4, "it begins like no file");
	CHECK_REFUSED(16, uint64_t, COUNT - 1, "");
}

/* Levels that cannot be stored are cut off. */
static void
test_many_levels(void)
{
	HmGraphFileError error;
	HmGraphFile file;

	make_model();
	put_file(HM_GRAPH_MMAP, 1);
	model.size = model.tail_at;
	PUT(uint32_t, 40 * (4 + 4 * M));
	memset(model.bytes + model.size, 0, 40 * (4 + 4 * M));
	model.size += 40 * (4 + 4 * M);
	model.bytes[60] = 40;
	memset(model.bytes + 64, 0, 4);
	memset(model.bytes + model.element_at, 0, 4);
	UNIT_CHECK(passes(model.bytes, model.size, &file, &error), "%s", error.text);
	file.bytes = model.bytes;
	UNIT_CHECK(hm_graph_file_level(&file, upper, 0) == HM_GRAPH_FILE_LEVELS - 1, "level %d",
			   hm_graph_file_level(&file, upper, 0));
}

static void
test_shards(void)
{
	HmGraphFileError error;
	HmGraphShards shards;
	HmGraphShard shard;
	const uint64_t values[] = {4, 1000, 384, 16, 200, 6};

	model.size = 0;
	PUT(uint32_t, 0x53484458);
	put(values, sizeof(values));
	put("cosine", 6);
	UNIT_CHECK(hm_graph_is_shards(model.bytes, model.size), "not recognised");
	UNIT_CHECK(hm_graph_shards_read(&shards, model.bytes, model.size, &error), "%s", error.text);
	UNIT_CHECK(shards.shards == 4 && shards.total == 1000 && shards.dim == 384 && shards.m == 16 &&
			   shards.ef_construction == 200 && strcmp(shards.space, "cosine") == 0, "%s", shards.space);
	for (size_t size = 0; size < model.size; size++)
		UNIT_CHECK(!hm_graph_shards_read(&shards, model.bytes, size, &error), "%zu bytes", size);
	for (int i = 0; i < 3; i++)
	{
		uint64_t	all = UINT64_MAX;

		put_file(HM_GRAPH_MMAP, 0);
		model.size = 0;
		PUT(uint32_t, 0x53484458);
		put(values, sizeof(values));
		put("cosine", 6);
		memcpy(model.bytes + 4 + 8 * i, &all, sizeof(all));
		UNIT_CHECK(!hm_graph_shards_read(&shards, model.bytes, model.size, &error), "number %d", i);
	}
	shards.total = 1000;

	model.size = 0;
	PUT(uint64_t, 250);
	PUT(uint64_t, 500);
	PUT(uint64_t, 250);
	UNIT_CHECK(hm_graph_shard_read(&shard, &shards, model.bytes, 24, &error) &&
			   shard.start == 250 && shard.end == 500, "%s", error.text);
	UNIT_CHECK(!hm_graph_shard_read(&shard, &shards, model.bytes, 23, &error), "23 bytes");
	model.bytes[8]++;
	UNIT_CHECK(!hm_graph_shard_read(&shard, &shards, model.bytes, 24, &error), "count");
	model.bytes[15] = 255;
	UNIT_CHECK(!hm_graph_shard_read(&shard, &shards, model.bytes, 24, &error), "end");
}

int
main(void)
{
	unit_start();
	unit_run("files of save_graph are read", test_read_mmap);
	unit_run("files of save_index are read", test_read_hnswlib);
	unit_run("both are written byte by byte", test_write);
	unit_run("files that end too early or too late are refused", test_truncated);
	unit_run("damaged files are refused", test_damaged);
	unit_run("levels above 15 are cut off", test_many_levels);
	unit_run("a sharded index's small files", test_shards);
	return unit_finish();
}
