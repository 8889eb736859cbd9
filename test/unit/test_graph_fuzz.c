/*-------------------------------------------------------------------------
 *
 * test_graph_fuzz.c
 *	  The fuzz target of fuzz_links.c on seeded random inputs, without libFuzzer.
 *
 * HM_FUZZ_SECONDS in the environment says for how long (3).
 *
 *-------------------------------------------------------------------------
 */
#include <time.h>

#include "fuzz_links.c"
#include "unit.h"

#define MAX_SIZE 20000

static void
test_random_inputs(void)
{
	HmUnitRandom random = unit_random(1);
	const char *seconds = getenv("HM_FUZZ_SECONDS");
	time_t		end = time(NULL) + (seconds != NULL ? atoi(seconds) : 3);
	uint64_t	runs = 0;

	while (time(NULL) < end)
	{
		size_t		size = unit_random_below(&random, unit_random_below(&random, 2) == 0 ? 600 : MAX_SIZE);
		uint8_t    *bytes = unit_malloc(size);
		uint32_t	kind = unit_random_below(&random, 4);

		/* plain noise; noise with few values; mostly unused slots; one value */
		for (size_t i = 0; i < size; i++)
		{
			uint8_t		byte = (uint8_t) unit_random_u64(&random);

			bytes[i] = kind == 1 ? byte % 5 : kind == 2 && byte > 40 ? 0xFF : kind == 3 && i > 40 ? 7 : byte;
		}
		/* small graphs more often than large ones */
		if (size >= 2 && unit_random_below(&random, 4) > 0)
			bytes[1] = 0;
		LLVMFuzzerTestOneInput(bytes, size);
		free(bytes);
		runs++;
	}
	printf("# %llu inputs\n", (unsigned long long) runs);
	UNIT_CHECK(runs > 20, "%llu", (unsigned long long) runs);
}

int
main(void)
{
	unit_start();
	unit_run("arbitrary link arrays", test_random_inputs);
	return unit_finish();
}
