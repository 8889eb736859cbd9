/*-------------------------------------------------------------------------
 *
 * driver.c
 *	  Runs a libFuzzer target where there is no libFuzzer.
 *
 *	  TARGET -max_total_time=SECONDS -seed=N -artifact_prefix=PATH SEEDS...
 *	  TARGET FILE...
 *
 * The options are libFuzzer's.  Without a time each file is run once, as it
 * is.  With one, inputs are made from the seeds (files, or directories of
 * files) by random changes, for so long.  It sees nothing of the target's
 * coverage, so good seeds matter.  The input that ends the program is written
 * to PATHcrash-N.
 *
 *-------------------------------------------------------------------------
 */
#include <dirent.h>
#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define MAX_SIZE	65536
#define MAX_SEEDS	1000

extern int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* Provided by the sanitizers: called before they end the program. */
extern void __sanitizer_set_death_callback(void (*callback) (void)) __attribute__((weak));

typedef struct Input
{
	uint8_t    *bytes;
	size_t		size;
} Input;

static Input seeds[MAX_SEEDS];
static int	seed_count;
static uint64_t random_state;
static uint64_t runs;
static const char *artifact_prefix = "";
static uint8_t *current;
static size_t current_size;

static void
fail(const char *what)
{
	perror(what);
	exit(2);
}

/* splitmix64 */
static uint64_t
next_random(void)
{
	uint64_t	z = (random_state += UINT64_C(0x9e3779b97f4a7c15));

	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static size_t
below(size_t bound)
{
	return bound == 0 ? 0 : (size_t) (next_random() % bound);
}

static void
load(const char *path)
{
	struct stat status;
	FILE	   *file;
	Input	   *input = &seeds[seed_count];

	if (stat(path, &status) != 0)
		fail(path);
	if (S_ISDIR(status.st_mode))
	{
		DIR		   *directory = opendir(path);
		struct dirent *entry;
		char		name[4096];

		if (directory == NULL)
			fail(path);
		while ((entry = readdir(directory)) != NULL)
		{
			if (entry->d_name[0] == '.')
				continue;
			snprintf(name, sizeof(name), "%s/%s", path, entry->d_name);
			load(name);
		}
		closedir(directory);
		return;
	}
	if (seed_count == MAX_SEEDS)
		return;
	file = fopen(path, "rb");
	input->bytes = malloc(MAX_SIZE);
	if (file == NULL || input->bytes == NULL)
		fail(path);
	input->size = fread(input->bytes, 1, MAX_SIZE, file);
	fclose(file);
	seed_count++;
}

/* Numbers at which things go wrong. */
static uint64_t
interesting(void)
{
	static const uint64_t values[] = {
		0, 1, 2, 16, 100, 127, 128, 255, 256, 0x7FFF, 0x8000, 0xFFFF, 0x10000,
		0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF, 0x100000000,
		INT64_MAX, (uint64_t) INT64_MAX + 1, UINT64_MAX - 7, UINT64_MAX
	};

	return values[below(sizeof(values) / sizeof(values[0]))] + below(3) - 1;
}

static size_t
change(uint8_t *bytes, size_t size)
{
	size_t		at = below(size);
	size_t		width = (size_t) 1 << below(4);
	uint64_t	value = interesting();
	const Input *other;
	size_t		n;

	/* headers are where the numbers are */
	if (below(2) == 0)
		at = below(size < 128 ? size : 128);
	switch (below(7))
	{
		case 0:
			if (size > 0)
				bytes[at] ^= (uint8_t) (1 << below(8));
			return size;
		case 1:
			if (size > 0)
				bytes[at] = (uint8_t) next_random();
			return size;
		case 2:					/* a number in place of another */
			if (width <= size)
				memcpy(bytes + (at > size - width ? size - width : at), &value, width);
			return size;
		case 3:
			return at;
		case 4:					/* takes some out */
			n = below(size - at + (size == 0));
			memmove(bytes + at, bytes + at + n, size - at - n);
			return size - n;
		case 5:					/* puts some in */
			n = below(32);
			if (size + n > MAX_SIZE)
				return size;
			memmove(bytes + at + n, bytes + at, size - at);
			for (size_t i = 0; i < n; i++)
				bytes[at + i] = (uint8_t) next_random();
			return size + n;
		default:				/* goes on like another seed */
			other = &seeds[below((size_t) seed_count)];
			n = other->size > at ? other->size - at : 0;
			memcpy(bytes + at, other->bytes + (other->size - n), n);
			return at + n;
	}
}

static void
run(const uint8_t *bytes, size_t size)
{
	/* memory of its very size, so that the first byte behind it is a fault */
	current = malloc(size > 0 ? size : 1);
	if (current == NULL)
		fail("malloc");
	memcpy(current, bytes, size);
	current_size = size;
	LLVMFuzzerTestOneInput(current, size);
	free(current);
	current = NULL;
	runs++;
}

static void
save_input(void)
{
	char		path[4096];
	FILE	   *file;

	if (current == NULL)
		return;
	snprintf(path, sizeof(path), "%scrash-%" PRIu64, artifact_prefix, runs);
	file = fopen(path, "wb");
	if (file == NULL)
		return;
	fwrite(current, 1, current_size, file);
	fclose(file);
	fprintf(stderr, "input written to %s\n", path);
}

static void
on_abort(int number)
{
	save_input();
	signal(number, SIG_DFL);
	raise(number);
}

int
main(int argc, char **argv)
{
	static uint8_t bytes[MAX_SIZE];
	long		seconds = 0;
	time_t		end;

	random_state = 1;
	for (int i = 1; i < argc; i++)
	{
		if (strncmp(argv[i], "-max_total_time=", 16) == 0)
			seconds = atol(argv[i] + 16);
		else if (strncmp(argv[i], "-seed=", 6) == 0)
			random_state = strtoull(argv[i] + 6, NULL, 0);
		else if (strncmp(argv[i], "-artifact_prefix=", 17) == 0)
			artifact_prefix = argv[i] + 17;
		else if (argv[i][0] != '-')
			load(argv[i]);
	}
	if (seed_count == 0)
		seeds[seed_count++].bytes = bytes;
	if (__sanitizer_set_death_callback != NULL)
		__sanitizer_set_death_callback(save_input);
	signal(SIGABRT, on_abort);

	for (int i = 0; i < seed_count; i++)
		run(seeds[i].bytes, seeds[i].size);
	end = time(NULL) + seconds;
	while (seconds > 0 && time(NULL) < end)
	{
		for (int i = 0; i < 256; i++)
		{
			const Input *input = &seeds[below((size_t) seed_count)];
			size_t		size = input->size;

			memcpy(bytes, input->bytes, size);
			for (size_t changes = 1 + below(6); changes > 0; changes--)
				size = change(bytes, size);
			run(bytes, size);
		}
	}
	printf("Done %" PRIu64 " runs\n", runs);
	return 0;
}
