/*-------------------------------------------------------------------------
 *
 * unit.h
 *	  A small harness for tests that need no server.
 *
 * A test program is a list of test functions, run in order:
 *
 *	  int
 *	  main(void)
 *	  {
 *		  unit_start();
 *		  unit_run("the sum of nothing is zero", test_empty_sum);
 *		  return unit_finish();
 *	  }
 *
 * Each prints "ok" or "not ok"; the last line is "N passed, N failed".  A test
 * fails when a UNIT_CHECK in it does; it goes on nevertheless, so that one run
 * shows all that is wrong.
 *
 * Random data comes from HmUnitRandom, seeded by HM_TEST_SEED in the
 * environment or a fixed number; the seed is printed, and every test starts
 * from it, whichever tests ran before.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_UNIT_H
#define HM_UNIT_H

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

/* Failed checks of one test that are printed; the others are counted. */
#define UNIT_MAX_REPORTS 10

typedef struct HmUnitState
{
	int			passed;
	int			failed;
	uint64_t	checks;			/* of the current test */
	uint64_t	failures;
	uint64_t	seed;
} HmUnitState;

static HmUnitState unit_state;

/*
 * Checks a condition; what follows it is a printf format and arguments that
 * say what was being tested and what came out.
 */
#define UNIT_CHECK(condition, ...) \
	do \
	{ \
		unit_state.checks++; \
		if (!(condition)) \
			unit_report(__FILE__, __LINE__, #condition, __VA_ARGS__); \
	} while (0)

__attribute__((format(printf, 4, 5), unused, cold))
static void
unit_report(const char *file, int line, const char *condition,
			const char *format,...)
{
	va_list		arguments;

	if (++unit_state.failures > UNIT_MAX_REPORTS)
		return;

	printf("# %s:%d: not true: %s: ", file, line, condition);
	va_start(arguments, format);
	vprintf(format, arguments);
	va_end(arguments);
	putchar('\n');
}

static inline void
unit_start(void)
{
	const char *seed = getenv("HM_TEST_SEED");

	unit_state = (HmUnitState) {0};
	unit_state.seed = seed != NULL ? strtoull(seed, NULL, 0) : 20240229;
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("# HM_TEST_SEED=%" PRIu64 "\n", unit_state.seed);
}

static inline void
unit_run(const char *name, void (*test) (void))
{
	unit_state.checks = 0;
	unit_state.failures = 0;
	test();

	if (unit_state.failures > 0)
		printf("# %" PRIu64 " of %" PRIu64 " checks failed\n",
			   unit_state.failures, unit_state.checks);
	printf("%s %d - %s\n", unit_state.failures == 0 ? "ok" : "not ok",
		   unit_state.passed + unit_state.failed + 1, name);
	if (unit_state.failures == 0)
		unit_state.passed++;
	else
		unit_state.failed++;
}

/* Prints the totals.  Returns the program's exit status. */
static inline int
unit_finish(void)
{
	printf("%d passed, %d failed\n", unit_state.passed, unit_state.failed);
	return unit_state.failed == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* For what must not fail in a test, such as its own malloc. */
static inline void
unit_require(bool condition, const char *what)
{
	if (!condition)
	{
		perror(what);
		exit(EXIT_FAILURE);
	}
}

static inline void *
unit_malloc(size_t size)
{
	void	   *memory = malloc(size > 0 ? size : 1);

	unit_require(memory != NULL, "malloc");
	return memory;
}

/* xoshiro256** (Blackman and Vigna, 2018) */
typedef struct HmUnitRandom
{
	uint64_t	s[4];
} HmUnitRandom;

static inline uint64_t
unit_rotate_left(uint64_t x, int k)
{
	return x << k | x >> (64 - k);
}

static inline uint64_t
unit_random_u64(HmUnitRandom *random)
{
	uint64_t   *s = random->s;
	uint64_t	result = unit_rotate_left(s[1] * 5, 7) * 9;
	uint64_t	t = s[1] << 17;

	s[2] ^= s[0];
	s[3] ^= s[1];
	s[1] ^= s[2];
	s[0] ^= s[3];
	s[2] ^= t;
	s[3] = unit_rotate_left(s[3], 45);
	return result;
}

/*
 * A generator for this run's seed.  Different streams are independent.  Its
 * state is filled by SplitMix64, as the authors of xoshiro recommend.
 */
static inline HmUnitRandom
unit_random(uint64_t stream)
{
	HmUnitRandom random;
	uint64_t	x = unit_state.seed ^ stream * UINT64_C(0xd1342543de82ef95);

	for (int i = 0; i < 4; i++)
	{
		uint64_t	z = (x += UINT64_C(0x9e3779b97f4a7c15));

		z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
		z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
		random.s[i] = z ^ z >> 31;
	}
	return random;
}

/* An integer in [0, bound); the bias is below bound / 2^32. */
static inline uint32_t
unit_random_below(HmUnitRandom *random, uint32_t bound)
{
	return (uint32_t) ((unit_random_u64(random) >> 32) * bound >> 32);
}

/* A number in [low, high). */
static inline double
unit_random_between(HmUnitRandom *random, double low, double high)
{
	return low + (high - low) * ((double) (unit_random_u64(random) >> 11) * 0x1p-53);
}

#endif							/* HM_UNIT_H */
