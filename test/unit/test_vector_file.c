/*-------------------------------------------------------------------------
 *
 * test_vector_file.c
 *	  Headers of vector files: what is accepted, what is refused and why.
 *
 *-------------------------------------------------------------------------
 */
#include <string.h>

#include "../fuzz/fuzz_vector_file.c"
#include "unit.h"

#define MAX_FILE	70000

/* A file under construction. */
typedef struct File
{
	uint8_t		bytes[MAX_FILE];
	size_t		size;
} File;

static File file;

static void
put(const void *bytes, size_t size)
{
	unit_require(file.size + size <= MAX_FILE, "room for a file");
	memcpy(file.bytes + file.size, bytes, size);
	file.size += size;
}

static void
put_zeros(size_t size)
{
	while (size-- > 0)
		put("", 1);
}

/* The header of an .npy file, not padded; length: what it says of its own. */
static void
make_npy_of_length(int version, const char *text, uint32_t length)
{
	uint8_t		start[12] = {0x93, 'N', 'U', 'M', 'P', 'Y', (uint8_t) version, 0,
		length & 255, length >> 8 & 255, length >> 16 & 255, length >> 24};

	file.size = 0;
	put(start, version == 1 ? 10 : 12);
	put(text, strlen(text));
}

static void
make_npy(int version, const char *text, size_t body)
{
	make_npy_of_length(version, text, (uint32_t) strlen(text));
	put_zeros(body);
}

/* Rows of an .fvecs file; the last has another dimension if `last` says so. */
static void
make_fvecs(int rows, int32_t dim, int32_t last)
{
	file.size = 0;
	for (int i = 0; i < rows; i++)
	{
		put(i == rows - 1 ? &last : &dim, sizeof(dim));
		put_zeros(dim * sizeof(float));
	}
}

static HmVectorLayout layout;
static char message[256];

/* Parses the file as it is, or as if it were that large. */
static HmVectorStatus
parse_large(HmVectorRequest request, uint64_t size)
{
	size_t		available = file.size < HM_VECTOR_LEADING_BYTES ? file.size : HM_VECTOR_LEADING_BYTES;
	uint8_t    *copy = unit_malloc(available);
	HmVectorStatus status;

	memcpy(copy, file.bytes, available);
	status = hm_vector_file_parse(&request, copy, available, size, &layout, message, sizeof(message));
	fuzz_check(&request, size, status, &layout, message, sizeof(message));
	free(copy);
	return status;
}

static HmVectorStatus
parse(HmVectorRequest request)
{
	return parse_large(request, file.size);
}

#define NPY		((HmVectorRequest) {.format = HM_FORMAT_NPY})
#define FVECS	((HmVectorRequest) {.format = HM_FORMAT_FVECS})

#define DICTIONARY(descr, order, shape) \
	"{'descr': '" descr "', 'fortran_order': " order ", 'shape': " shape ", }"

static void
check_layout(HmElementKind kind, int dim, uint64_t rows, uint64_t offset, uint64_t stride)
{
	UNIT_CHECK(layout.kind == kind && layout.dim == dim && layout.rows == rows &&
			   layout.offset == offset && layout.stride == stride,
			   "kind %d, dim %d, rows %" PRIu64 ", offset %" PRIu64 ", stride %" PRIu64,
			   layout.kind, layout.dim, layout.rows, layout.offset, layout.stride);
}

static void
test_npy_accepted(void)
{
	static const char *const texts[] = {
		DICTIONARY("<f4", "False", "(3, 2)") "        \n",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)}",
		"{'shape':(3,2,),'fortran_order':False,'descr':'<f4'}",
		" {\"shape\" : ( 3L , 2L ) , \"descr\" : \"<f4\" , \"fortran_order\" : False , } \r\n\t",
		"{'descr': '<f4', 'fortran_order': False, 'shape': (00003, 2)}",
	};

	for (size_t i = 0; i < sizeof(texts) / sizeof(texts[0]); i++)
	{
		for (int version = 1; version <= 3; version++)
		{
			make_npy(version, texts[i], 24);
			UNIT_CHECK(parse(NPY) == HM_VECTOR_OK, "version %d, %s: %s", version, texts[i], message);
			check_layout(HM_F32, 2, 3, (version == 1 ? 10 : 12) + strlen(texts[i]), 8);
		}
	}
	make_npy(1, DICTIONARY("<f2", "False", "(3, 2)"), 12);
	UNIT_CHECK(parse(NPY) == HM_VECTOR_OK, "%s", message);
	check_layout(HM_F16, 2, 3, file.size - 12, 4);

	/* no rows; more bytes than rows */
	make_npy(1, DICTIONARY("<f2", "False", "(0, 16000)"), 0);
	UNIT_CHECK(parse(NPY) == HM_VECTOR_OK && layout.rows == 0, "%s", message);
	make_npy(1, DICTIONARY("<f2", "False", "(1, 1)"), 100);
	UNIT_CHECK(parse(NPY) == HM_VECTOR_OK && layout.rows == 1, "%s", message);

	/* a large file, of which only the beginning is here */
	make_npy(1, DICTIONARY("<f2", "False", "(100000000000, 1000)"), 0);
	UNIT_CHECK(parse_large(NPY, UINT64_C(200000000000000) + file.size) == HM_VECTOR_OK, "%s", message);
	UNIT_CHECK(parse_large(NPY, UINT64_C(199999999999999) + file.size) == HM_VECTOR_SHORT, "%s", message);
}

static void
check_refused(HmVectorStatus status, HmVectorStatus expected, const char *what, const char *word)
{
	UNIT_CHECK(status == expected && strstr(message, word) != NULL, "%s: status %d, \"%s\", expected %d and \"%s\"",
			   what, status, message, expected, word);
}

static void
test_npy_refused(void)
{
	static const struct
	{
		const char *text;
		HmVectorStatus status;
		const char *word;
	}			cases[] = {
		{DICTIONARY("<f8", "False", "(3, 2)"), HM_VECTOR_UNSUPPORTED, "\"<f8\""},
		{DICTIONARY(">f4", "False", "(3, 2)"), HM_VECTOR_UNSUPPORTED, "\">f4\""},
		{DICTIONARY("|u1", "False", "(3, 2)"), HM_VECTOR_UNSUPPORTED, "\"|u1\""},
		{DICTIONARY("\x01\xc3\xbc", "False", "(3, 2)"), HM_VECTOR_UNSUPPORTED, "\"\?\?\?\""},
		{DICTIONARY("<f4", "True", "(3, 2)"), HM_VECTOR_UNSUPPORTED, "Fortran"},
		{DICTIONARY("<f4", "False", "()"), HM_VECTOR_UNSUPPORTED, "0 dimensions"},
		{DICTIONARY("<f4", "False", "(6,)"), HM_VECTOR_UNSUPPORTED, "1 dimension,"},
		{DICTIONARY("<f4", "False", "(3, 2, 1)"), HM_VECTOR_UNSUPPORTED, "3 dimensions"},
		{DICTIONARY("<f4", "False", "(3, 0)"), HM_VECTOR_UNSUPPORTED, "0 dimensions"},
		{DICTIONARY("<f4", "False", "(3, 16001)"), HM_VECTOR_UNSUPPORTED, "16001"},
		{DICTIONARY("<f4", "False", "(4, 2)"), HM_VECTOR_SHORT, "expected 4"},
		{DICTIONARY("<f4", "False", "(9223372036854775807, 2)"), HM_VECTOR_SHORT, "9223372036854775807"},
		{DICTIONARY("<f4", "False", "(2305843009213693952, 8)"), HM_VECTOR_SHORT, "2305843009213693952"},
		{DICTIONARY("<f4", "False", "(9223372036854775808, 2)"), HM_VECTOR_MALFORMED, "not expected"},
		{DICTIONARY("<f4", "False", "(99999999999999999999999, 2)"), HM_VECTOR_MALFORMED, "not expected"},
		{DICTIONARY("<f4", "False", "(-3, 2)"), HM_VECTOR_MALFORMED, "-3"},
		{DICTIONARY("<f4", "False", "(3 2)"), HM_VECTOR_MALFORMED, "not expected"},
		{DICTIONARY("<f4", "False", "(3)"), HM_VECTOR_MALFORMED, "not expected"},
		{DICTIONARY("<f4", "False", "(3,, 2)"), HM_VECTOR_MALFORMED, "not expected"},
		{DICTIONARY("<f4", "False", "[3, 2]"), HM_VECTOR_MALFORMED, "[3, 2]"},
		{DICTIONARY("<f4", "False", "(1,1,1,1,1,1,1,1,1)"), HM_VECTOR_MALFORMED, "not expected"},
		{DICTIONARY("<f4", "false", "(3, 2)"), HM_VECTOR_MALFORMED, "false"},
		{DICTIONARY("<f4", "__import__('os')", "(3, 2)"), HM_VECTOR_MALFORMED, "__import__"},
		{"{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (3, 2), }", HM_VECTOR_MALFORMED, "[('a'"},
		{"{'descr': '\\x3cf4', 'fortran_order': False, 'shape': (3, 2), }", HM_VECTOR_MALFORMED, "x3cf4"},
		{"{'descr': '<f4', 'descr': '<f2', 'fortran_order': False, 'shape': (3, 2), }", HM_VECTOR_MALFORMED, "not expected"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), 'more': 1}", HM_VECTOR_MALFORMED, "not expected"},
		{"{'descr': '<f4', 'fortran_order': False, }", HM_VECTOR_MALFORMED, "not expected"},
		{"{'descr': '<f4' 'fortran_order': False, 'shape': (3, 2), }", HM_VECTOR_MALFORMED, "'fortran_order'"},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2), } 1", HM_VECTOR_MALFORMED, "\"1\""},
		{"{'descr': '<f4', 'fortran_order': False, 'shape': (3, 2)", HM_VECTOR_MALFORMED, "not expected"},
		{"{'descr': '<f4", HM_VECTOR_MALFORMED, "not expected"},
		{"", HM_VECTOR_MALFORMED, "not expected"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
	{
		make_npy(1 + i % 3, cases[i].text, 24);
		check_refused(parse(NPY), cases[i].status, cases[i].text, cases[i].word);
	}
}

static void
test_npy_prefix(void)
{
	size_t		whole;

	make_npy(1, DICTIONARY("<f4", "False", "(3, 2)"), 24);
	whole = file.size;
	for (file.size = 0; file.size < whole; file.size++)
		UNIT_CHECK(parse(NPY) == (file.size < whole - 24 ? HM_VECTOR_MALFORMED : HM_VECTOR_SHORT),
				   "%zu bytes: %s", file.size, message);
	UNIT_CHECK(parse(NPY) == HM_VECTOR_OK, "%s", message);

	file.bytes[0] = 0x92;
	check_refused(parse(NPY), HM_VECTOR_MALFORMED, "magic", "does not begin");
	for (int version = 0; version < 256; version++)
	{
		if (version >= 1 && version <= 3)
			continue;
		make_npy(version, DICTIONARY("<f4", "False", "(3, 2)"), 24);
		check_refused(parse(NPY), HM_VECTOR_UNSUPPORTED, "version", "version");
	}
	make_npy(1, DICTIONARY("<f4", "False", "(3, 2)"), 24);
	file.bytes[7] = 1;
	check_refused(parse(NPY), HM_VECTOR_UNSUPPORTED, "minor version", "1.1");

	/* lengths of the header */
	make_npy_of_length(2, "{", 65536);
	check_refused(parse(NPY), HM_VECTOR_MALFORMED, "length 65536", "65536");
	make_npy_of_length(2, "{", 65537);
	check_refused(parse(NPY), HM_VECTOR_UNSUPPORTED, "length 65537", "65537");
	make_npy_of_length(3, "{", UINT32_MAX);
	check_refused(parse(NPY), HM_VECTOR_UNSUPPORTED, "longest length", "4294967295");
	make_npy_of_length(2, DICTIONARY("<f4", "False", "(3, 2)"), 65536);
	while (file.size < 12 + 65536)
		put(" ", 1);
	put_zeros(24);
	UNIT_CHECK(parse(NPY) == HM_VECTOR_OK && layout.offset == 12 + 65536, "%s", message);
}

static void
test_request(void)
{
	HmVectorRequest request = NPY;

	make_npy(1, DICTIONARY("<f4", "False", "(3, 2)"), 24);
	request.kind = HM_F32;
	request.dim = 2;
	UNIT_CHECK(parse(request) == HM_VECTOR_OK, "%s", message);
	request.kind = HM_F16;
	check_refused(parse(request), HM_VECTOR_MISMATCH, "kind", "f4, expected f2");
	request.kind = HM_F32;
	request.dim = 3;
	check_refused(parse(request), HM_VECTOR_MISMATCH, "dim", "2 dimensions, expected 3");

	/* so many rows, whatever else is there */
	request = NPY;
	request.has_rows = true;
	for (request.rows = 0; request.rows <= 3; request.rows++)
		UNIT_CHECK(parse(request) == HM_VECTOR_OK && layout.rows == request.rows, "%s", message);
	check_refused(parse(request), HM_VECTOR_SHORT, "rows", "3 rows, expected 4");
	request.rows = UINT64_MAX;
	check_refused(parse(request), HM_VECTOR_SHORT, "all rows", "expected 18446744073709551615");

	/* the header is ahead of the rows, as while somebody appends */
	request.rows = 2;
	file.size -= 5;
	UNIT_CHECK(parse(request) == HM_VECTOR_OK && layout.rows == 2, "%s", message);
	request.rows = 3;
	check_refused(parse(request), HM_VECTOR_SHORT, "part of a row", "room for 2");

	request.format = 0;
	check_refused(parse(request), HM_VECTOR_MALFORMED, "no format", "unknown");
}

static void
test_fvecs(void)
{
	HmVectorRequest request = FVECS;

	for (int rows = 1; rows <= 4; rows++)
	{
		make_fvecs(rows, 3, 3);
		UNIT_CHECK(parse(FVECS) == HM_VECTOR_OK && layout.prefixed, "%s", message);
		check_layout(HM_F32, 3, rows, 4, 16);
	}
	file.size -= 1;
	check_refused(parse(FVECS), HM_VECTOR_SHORT, "part of a row", "multiple of the 16");
	request.has_rows = true;
	for (request.rows = 0; request.rows <= 3; request.rows++)
		UNIT_CHECK(parse(request) == HM_VECTOR_OK && layout.rows == request.rows, "%s", message);
	check_refused(parse(request), HM_VECTOR_SHORT, "rows", "expected 4");
	file.size = 3;
	check_refused(parse(FVECS), HM_VECTOR_MALFORMED, "3 bytes", "3 bytes");
	file.size = 0;
	check_refused(parse(FVECS), HM_VECTOR_MALFORMED, "nothing", "0 bytes");

	make_fvecs(3, 3, 4);
	check_refused(parse(FVECS), HM_VECTOR_MALFORMED, "another dimension", "Row 2 has 4");
	make_fvecs(1, 3, -1);
	check_refused(parse(FVECS), HM_VECTOR_UNSUPPORTED, "dimension -1", "4294967295");
	make_fvecs(1, 3, 0);
	check_refused(parse(FVECS), HM_VECTOR_UNSUPPORTED, "dimension 0", "0 dimensions");
	make_fvecs(1, 1, 16001);
	check_refused(parse(FVECS), HM_VECTOR_UNSUPPORTED, "dimension 16001", "16001");

	/* the largest file there can be */
	make_fvecs(1, 3, 3);
	UNIT_CHECK(parse_large(FVECS, UINT64_C(1) << 63) == HM_VECTOR_OK, "%s", message);
	check_layout(HM_F32, 3, UINT64_C(1) << 59, 4, 16);

	request = FVECS;
	request.kind = HM_F16;
	check_refused(parse(request), HM_VECTOR_MISMATCH, "kind", "f4, expected f2");
}

static void
test_raw(void)
{
	HmVectorRequest request = {.format = HM_FORMAT_RAW, .kind = HM_F16, .dim = 3, .offset = 25};

	file.size = 0;
	put_zeros(25 + 18);
	UNIT_CHECK(parse(request) == HM_VECTOR_OK && !layout.prefixed, "%s", message);
	check_layout(HM_F16, 3, 3, 25, 6);
	put_zeros(2);
	check_refused(parse(request), HM_VECTOR_SHORT, "part of a row", "20 bytes from byte 25 on");
	request.has_rows = true;
	request.rows = 3;
	UNIT_CHECK(parse(request) == HM_VECTOR_OK && layout.rows == 3, "%s", message);
	request.has_rows = false;

	file.size = 25;
	UNIT_CHECK(parse(request) == HM_VECTOR_OK && layout.rows == 0, "%s", message);
	file.size = 24;
	check_refused(parse(request), HM_VECTOR_SHORT, "offset", "24 bytes, expected rows from byte 25");
	request.offset = UINT64_MAX;
	check_refused(parse(request), HM_VECTOR_SHORT, "largest offset", "expected rows from byte 1844");
	request.dim = 0;
	check_refused(parse(request), HM_VECTOR_MISMATCH, "no dim", "to be given");
	request.dim = -1;
	UNIT_CHECK(parse(request) == HM_VECTOR_UNSUPPORTED, "%s", message);
}

static void
test_names(void)
{
	UNIT_CHECK(hm_vector_format_of_name("/data/a.npy") == HM_FORMAT_NPY, "npy");
	UNIT_CHECK(hm_vector_format_of_name("/data/a.npy.fvecs") == HM_FORMAT_FVECS, "fvecs");
	UNIT_CHECK(hm_vector_format_of_name("/data/a.bin") == 0 && hm_vector_format_of_name("") == 0 &&
			   hm_vector_format_of_name(".npy") == 0 && hm_vector_format_of_name("npy") == 0, "others");
	UNIT_CHECK(strcmp(hm_vector_format_name(HM_FORMAT_RAW), "raw") == 0, "raw");
	UNIT_CHECK(strcmp(hm_vector_kind_name(HM_F16), "f2") == 0 && strcmp(hm_vector_kind_name(HM_F32), "f4") == 0, "kinds");
}

/* Valid files with a few bytes changed: most interesting in the dictionary. */
static void
test_changed_bytes(void)
{
	HmUnitRandom random = unit_random(1);
	uint8_t		input[2000];
	FuzzRequest request;

	for (int run = 0; run < 200000; run++)
	{
		size_t		size;
		int			changes = 1 + unit_random_below(&random, 4);

		if (run % 4 == 0)
			make_fvecs(3, 2, 2);
		else
			make_npy(1 + run % 3, DICTIONARY("<f4", "False", "(3, 2)"), 24);
		memset(&request, 0, sizeof(request));
		request.format = run % 4 == 0 ? HM_FORMAT_FVECS : 1 + unit_random_below(&random, 3) % 3;
		request.flags = unit_random_below(&random, 16);
		request.dim = unit_random_below(&random, 3);
		request.rows = unit_random_u64(&random) >> unit_random_below(&random, 64);
		request.size = unit_random_u64(&random) >> unit_random_below(&random, 64);
		memcpy(input, &request, sizeof(request));
		memcpy(input + sizeof(request), file.bytes, file.size);
		size = sizeof(request) + file.size;
		while (changes-- > 0)
			input[sizeof(request) + unit_random_below(&random, file.size)] = run % 2 == 0 ? (uint8_t) unit_random_u64(&random)
				: (uint8_t) "{}()[],:'\"L0123456789 \\<f24"[unit_random_below(&random, 27)];
		LLVMFuzzerTestOneInput(input, unit_random_below(&random, 8) == 0 ? unit_random_below(&random, size) : size);
	}
	UNIT_CHECK(true, "not aborted");
}

int
main(void)
{
	unit_start();
	unit_run("npy: dictionaries that are accepted", test_npy_accepted);
	unit_run("npy: dictionaries that are refused", test_npy_refused);
	unit_run("npy: magic, version, length of the header", test_npy_prefix);
	unit_run("what is asked for", test_request);
	unit_run("fvecs", test_fvecs);
	unit_run("raw", test_raw);
	unit_run("names", test_names);
	unit_run("changed bytes", test_changed_bytes);
	return unit_finish();
}
