/*-------------------------------------------------------------------------
 *
 * fuzz_graph_file.c
 *	  Feeds arbitrary bytes to the readers of graph files.
 *
 * Whatever the bytes are, each function must stay inside them, and what has
 * passed the checks must be as graph_file.h promises.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "formats/graph_file.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static volatile uint8_t fuzz_sink;

static void
fuzz_require(bool condition)
{
	if (!condition)
		abort();
}

/* A refusal says why. */
static bool
fuzz_passed(bool passed, const HmGraphFileError *error)
{
	fuzz_require(passed || (error->text[0] != '\0' && strlen(error->text) < sizeof(error->text)));
	return passed;
}

/* Reads every bit of a file that has passed. */
static void
fuzz_read(const HmGraphFile *file, const uint64_t *upper)
{
	const HmGraphHeader *header = &file->header;
	uint32_t	slots[2 * HM_GRAPH_FILE_MAX_M];
	uint32_t	id;

	for (id = 0; id < header->count; id++)
	{
		int			level = hm_graph_file_level(file, upper, id);
		const uint8_t *vector = hm_graph_file_vector(file, id);

		fuzz_require(level >= 0 && level < HM_GRAPH_FILE_LEVELS && level <= header->top_level);
		for (; level >= 0; level--)
		{
			int			n = hm_graph_file_links(file, upper, id, level, slots);

			fuzz_require(n <= (int) (level == 0 ? 2 * header->m : header->m));
			while (n-- > 0)
				fuzz_require(slots[n] < header->count &&
							 hm_graph_file_level(file, upper, slots[n]) >= level);
		}
		fuzz_sink ^= (uint8_t) hm_graph_file_label(file, id) ^ hm_graph_file_is_deleted(file, id);
		if (vector != NULL)
			fuzz_sink ^= vector[0] ^ vector[header->vector_bytes - 1];
	}
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	HmGraphFileError error = {""};
	HmGraphShards shards = {0};
	HmGraphShard shard;
	HmGraphFile file;
	uint64_t   *upper;
	bool		ok;
	uint32_t	half;

	if (fuzz_passed(hm_graph_shards_read(&shards, bytes, size, &error), &error))
		fuzz_require(shards.shards > 0 && strlen(shards.space) < sizeof(shards.space));
	shards.total = 1000;
	if (fuzz_passed(hm_graph_shard_read(&shard, &shards, bytes, size, &error), &error))
		fuzz_require(shard.start <= shard.end && shard.end <= shards.total);

	error.text[0] = '\0';
	if (!fuzz_passed(hm_graph_file_open(&file, bytes, size, &error), &error))
		return 0;
	fuzz_require((uint64_t) file.header.count * file.element_size <= size);
	upper = malloc((file.header.count + 1) * sizeof(*upper));
	fuzz_require(upper != NULL);

	/* in two steps, as by one who looks for interrupts in between */
	half = file.header.count / 2;
	ok = fuzz_passed(hm_graph_file_check_levels(&file, upper, half, &error), &error) &&
		fuzz_passed(hm_graph_file_check_levels(&file, upper, file.header.count, &error), &error) &&
		fuzz_passed(hm_graph_file_check_links(&file, upper, 0, half, &error), &error) &&
		fuzz_passed(hm_graph_file_check_links(&file, upper, half, file.header.count, &error), &error);
	if (ok)
		fuzz_read(&file, upper);
	free(upper);
	return 0;
}
