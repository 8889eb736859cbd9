/*-------------------------------------------------------------------------
 *
 * fuzz_links.c
 *	  Feeds arbitrary bytes to everything that reads a stored graph.
 *
 * The bytes are taken as counts, an entry point, link arrays and what the
 * scorer says; whatever they are, a search must end, stay inside its memory,
 * and return each element at most once.  A libFuzzer target; test_graph_fuzz.c
 * runs it on random and mutated inputs where there is no libFuzzer.
 *
 *-------------------------------------------------------------------------
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "graph/check.h"
#include "graph/search.h"

/* What the bytes begin with. */
typedef struct FuzzHeader
{
	uint16_t	element_count;
	uint16_t	ef;
	uint32_t	entry_point;
	int8_t		top_level;
	uint8_t		m;
	uint8_t		resumptions;
	uint8_t		flags;			/* of the FUZZ_ constants */
} FuzzHeader;

#define FUZZ_REFUSE		1		/* the store cannot give a list at first */
#define FUZZ_WIDE_IDS	2		/* links are taken as they are, not folded to be nearly in range */
#define FUZZ_DRAIN		4		/* ends by draining */

#define FUZZ_MAX_ELEMENTS 1500

typedef struct FuzzStore
{
	HmStore		store;
	const uint8_t *bytes;
	size_t		size;
	uint8_t		flags;
	uint32_t	requests;
	uint32_t	list[1024];
} FuzzStore;

extern int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

static void
fuzz_require(bool condition)
{
	if (!condition)
		abort();
}

static void *
fuzz_alloc(void *state, size_t size)
{
	return malloc(size > 0 ? size : 1);
}

static void
fuzz_release(void *state, void *pointer)
{
	free(pointer);
}

/* A list is 32 bits at a time from the bytes, at a place that depends on id and level. */
static const uint32_t *
fuzz_links(HmStore *store, uint32_t id, int level, int *slots)
{
	FuzzStore  *fuzz = (FuzzStore *) store;
	size_t		at = ((size_t) id * 37 + (size_t) level * 1009) * 4;
	int			i;

	/* the reader checks an id before it asks for its list */
	fuzz_require(id < store->element_count && level >= 0 && level < HM_MAX_LEVELS);
	if ((fuzz->flags & FUZZ_REFUSE) && ++fuzz->requests % 3 == 1)
		return NULL;

	/* sometimes more slots than there should be */
	*slots = (int) (level == 0 ? 2 * store->m : store->m) + (id % 7 == 0 ? 9 : 0);
	for (i = 0; i < *slots; i++, at += 4)
	{
		uint32_t	link = HM_NO_ID;

		if (fuzz->size >= 4)
			memcpy(&link, fuzz->bytes + at % (fuzz->size - 3), 4);
		if (!(fuzz->flags & FUZZ_WIDE_IDS) && link != HM_NO_ID)
			link %= store->element_count + 2;
		fuzz->list[i] = link;
	}
	return fuzz->list;
}

static void
fuzz_score(const FuzzStore *fuzz, HmSearch *search)
{
	int			i;

	fuzz_require(search->batch_n > 0 && search->batch_n <= HM_MAX_BATCH);
	for (i = 0; i < search->batch_n; i++)
	{
		uint32_t	id = search->batch_ids[i];
		uint8_t		byte;

		fuzz_require(id < fuzz->store.element_count);
		byte = fuzz->size > 0 ? fuzz->bytes[(size_t) id * 7 % fuzz->size] : 0;
		search->batch_flags[i] = (byte & 0x30) == 0x30 ? byte & 3 : HM_SCORED;
		search->batch_distance[i] = byte == 0xFF ? NAN : byte == 0xFE ? -INFINITY : (float) (byte % 50) - 5;
	}
}

/* Runs to the end; checks what came out against all that came out before. */
static void
fuzz_run(const FuzzStore *fuzz, HmSearch *search, uint8_t *seen)
{
	HmStep		step;
	int			i;

	while ((step = hm_search_step(search)) != HM_STEP_DONE)
	{
		fuzz_require(step != HM_STEP_NO_MEMORY);
		if (step == HM_STEP_SCORE)
			fuzz_score(fuzz, search);
	}
	for (i = 0; i < search->result_n; i++)
	{
		fuzz_require(search->results[i].id < fuzz->store.element_count);
		fuzz_require(!seen[search->results[i].id]++);
		fuzz_require(i == 0 || search->results[i - 1].distance <= search->results[i].distance);
	}
}

static void
fuzz_check(FuzzStore *fuzz)
{
	HmAllocator allocator = {fuzz_alloc, fuzz_release, NULL};
	HmGraphReport report;
	uint32_t	level_count[HM_MAX_LEVELS];
	int			i;

	for (i = 0; i < HM_MAX_LEVELS; i++)
		level_count[i] = i < fuzz->store.top_level + 1 ? fuzz->store.element_count >> (2 * i) : 0;
	if (fuzz->size > 0 && fuzz->bytes[0] == 0)
		level_count[1] = fuzz->store.element_count + 5;
	fuzz_require(hm_graph_check(&fuzz->store, level_count, &allocator, &report) != HM_NO_MEMORY);
	fuzz_require(report.unreachable <= fuzz->store.element_count);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	static HmSearch *search = NULL;
	static uint8_t seen[FUZZ_MAX_ELEMENTS];
	HmAllocator allocator = {fuzz_alloc, fuzz_release, NULL};
	FuzzHeader	header;
	FuzzStore	fuzz;
	int			i;

	if (size < sizeof(header))
		return 0;
	memcpy(&header, bytes, sizeof(header));
	memset(&fuzz, 0, sizeof(fuzz));
	fuzz.store.element_count = header.element_count % FUZZ_MAX_ELEMENTS;
	fuzz.store.entry_point = header.flags & FUZZ_WIDE_IDS ? header.entry_point :
		header.entry_point % (fuzz.store.element_count + 1);
	fuzz.store.top_level = header.top_level;
	fuzz.store.m = header.m % 128;
	fuzz.store.links = fuzz_links;
	fuzz.bytes = bytes + sizeof(header);
	fuzz.size = size - sizeof(header);
	fuzz.flags = header.flags;

	/* one search for all inputs, so that what one leaves behind can hurt the next */
	if (search == NULL)
		search = hm_search_create(&allocator);
	fuzz_require(search != NULL);
	memset(seen, 0, sizeof(seen));
	fuzz_require(hm_search_begin(search, &fuzz.store, header.ef % 2500) == HM_OK);
	fuzz_run(&fuzz, search, seen);
	for (i = 0; i < header.resumptions % 8; i++)
	{
		fuzz_require(hm_search_resume(search, header.ef % 97 + 1) == HM_OK);
		fuzz_run(&fuzz, search, seen);
	}
	if (header.flags & FUZZ_DRAIN)
	{
		fuzz_require(hm_search_drain(search) == HM_OK);
		fuzz_run(&fuzz, search, seen);
	}
	fuzz_check(&fuzz);
	return 0;
}
