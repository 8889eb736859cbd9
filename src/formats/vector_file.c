/*-------------------------------------------------------------------------
 *
 * vector_file.c
 *	  The headers of files of vectors.
 *
 * An .npy file begins with a magic string, a version and the length of its
 * header: the literal of a Python dictionary with just the keys 'descr',
 * 'fortran_order' and 'shape', padded with blanks (NEP 1 of numpy).  It is read
 * as that and nothing more: no expression is evaluated, no number without end.
 *
 *-------------------------------------------------------------------------
 */
#include "formats/vector_file.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define NPY_MAGIC			"\x93NUMPY"
#define NPY_MAGIC_SIZE		6
#define NPY_PREFIX_V1		10	/* magic, version, 16-bit length */
#define NPY_PREFIX_V2		12	/* the length has 32 bits from version 2 on */
#define NPY_MAX_HEADER		65536
#define NPY_MAX_SHAPE		8	/* dimensions that are looked at, for the message */

/* The result under construction, and where its message goes. */
typedef struct Parse
{
	const HmVectorRequest *request;
	const unsigned char *bytes;
	size_t		available;
	uint64_t	size;
	HmVectorLayout *layout;
	char	   *message;
	size_t		message_size;
} Parse;

__attribute__((format(printf, 3, 4)))
static HmVectorStatus
fail(Parse *parse, HmVectorStatus status, const char *format,...)
{
	va_list		arguments;

	va_start(arguments, format);
	vsnprintf(parse->message, parse->message_size, format, arguments);
	va_end(arguments);
	return status;
}

const char *
hm_vector_format_name(HmVectorFormat format)
{
	return format == HM_FORMAT_NPY ? "npy" : format == HM_FORMAT_FVECS ? "fvecs" : "raw";
}

HmVectorFormat
hm_vector_format_of_name(const char *name)
{
	size_t		length = strlen(name);

	if (length > 4 && strcmp(name + length - 4, ".npy") == 0)
		return HM_FORMAT_NPY;
	if (length > 6 && strcmp(name + length - 6, ".fvecs") == 0)
		return HM_FORMAT_FVECS;
	return 0;
}

const char *
hm_vector_kind_name(HmElementKind kind)
{
	return kind == HM_F16 ? "f2" : "f4";
}

static uint32_t
load_le(const unsigned char *bytes, int count)
{
	uint32_t	value = 0;

	for (int i = count - 1; i >= 0; i--)
		value = value << 8 | bytes[i];
	return value;
}

/* The dimension that a file gives, checked; dim is anything. */
static HmVectorStatus
take_dimension(Parse *parse, uint64_t dim)
{
	if (dim < 1 || dim > HM_MAX_DIM)
		return fail(parse, HM_VECTOR_UNSUPPORTED,
					"Rows have %" PRIu64 " dimensions, expected 1 to %d.", dim, HM_MAX_DIM);
	if (parse->request->dim != 0 && dim != (uint64_t) parse->request->dim)
		return fail(parse, HM_VECTOR_MISMATCH,
					"Rows have %" PRIu64 " dimensions, expected %d.", dim, parse->request->dim);
	parse->layout->dim = (int) dim;
	return HM_VECTOR_OK;
}

static HmVectorStatus
take_kind(Parse *parse, HmElementKind kind)
{
	if (parse->request->kind != 0 && kind != parse->request->kind)
		return fail(parse, HM_VECTOR_MISMATCH, "Components are of type %s, expected %s.",
					hm_vector_kind_name(kind), hm_vector_kind_name(parse->request->kind));
	parse->layout->kind = kind;
	return HM_VECTOR_OK;
}

/*
 * Decides on the number of rows.  declared: by the header, or those for which
 * there is room.
 */
static HmVectorStatus
take_rows(Parse *parse, uint64_t declared)
{
	HmVectorLayout *layout = parse->layout;
	uint64_t	wanted = parse->request->has_rows ? parse->request->rows : declared;
	uint64_t	room;

	if (layout->offset > parse->size)
		return fail(parse, HM_VECTOR_SHORT,
					"The file has %" PRIu64 " bytes, expected rows from byte %" PRIu64 " on.",
					parse->size, layout->offset);
	if (declared < wanted)
		return fail(parse, HM_VECTOR_SHORT,
					"The file has %" PRIu64 " rows, expected %" PRIu64 ".", declared, wanted);

	/* A stride is never 0; the prefix of row 0 lies before the offset. */
	room = (parse->size - layout->offset) / layout->stride;
	if (layout->prefixed && (parse->size - layout->offset) % layout->stride >= layout->stride - sizeof(int32_t))
		room++;
	if (room < wanted)
		return fail(parse, HM_VECTOR_SHORT,
					"The file of %" PRIu64 " bytes has room for %" PRIu64 " rows of %" PRIu64
					" bytes from byte %" PRIu64 " on, expected %" PRIu64 ".",
					parse->size, room, layout->stride, layout->offset, wanted);
	layout->rows = wanted;
	return HM_VECTOR_OK;
}

/* ---- npy ---- */

typedef struct Cursor
{
	const char *at;
	const char *end;
} Cursor;

static void
skip_space(Cursor *cursor)
{
	while (cursor->at < cursor->end &&
		   (*cursor->at == ' ' || *cursor->at == '\t' || *cursor->at == '\n' || *cursor->at == '\r'))
		cursor->at++;
}

/* Takes a character, behind any space, if it is the next. */
static bool
accept(Cursor *cursor, char c)
{
	skip_space(cursor);
	if (cursor->at == cursor->end || *cursor->at != c)
		return false;
	cursor->at++;
	return true;
}

/* Takes a string literal without escapes. */
static bool
accept_string(Cursor *cursor, const char **text, size_t *length)
{
	char		quote;
	const char *end;

	skip_space(cursor);
	if (cursor->at == cursor->end || (*cursor->at != '\'' && *cursor->at != '"'))
		return false;
	quote = *cursor->at;
	end = memchr(cursor->at + 1, quote, cursor->end - cursor->at - 1);
	if (end == NULL)
		return false;
	*text = cursor->at + 1;
	*length = end - *text;
	if (memchr(*text, '\\', *length) != NULL)
		return false;
	cursor->at = end + 1;
	return true;
}

static bool
accept_word(Cursor *cursor, const char *word)
{
	size_t		length = strlen(word);

	skip_space(cursor);
	if ((size_t) (cursor->end - cursor->at) < length || memcmp(cursor->at, word, length) != 0)
		return false;
	cursor->at += length;
	return true;
}

/* Takes a decimal number below 2^63; Python 2 wrote long ones with an L. */
static bool
accept_number(Cursor *cursor, uint64_t *number)
{
	const char *start;

	skip_space(cursor);
	start = cursor->at;
	*number = 0;
	while (cursor->at < cursor->end && *cursor->at >= '0' && *cursor->at <= '9')
	{
		uint64_t	digit = *cursor->at++ - '0';

		if (*number > (INT64_MAX - digit) / 10)
			return false;
		*number = *number * 10 + digit;
	}
	if (cursor->at == start)
		return false;
	if (cursor->at < cursor->end && *cursor->at == 'L')
		cursor->at++;
	return true;
}

typedef struct NpyHeader
{
	const char *descr;			/* NULL until it was read */
	size_t		descr_length;
	int			fortran_order;	/* -1 until it was read */
	int			ndim;			/* -1 until it was read */
	uint64_t	shape[NPY_MAX_SHAPE];
} NpyHeader;

/* A tuple: (), (1,), (1, 2), (1, 2,) and so on, but not (1). */
static bool
accept_shape(Cursor *cursor, NpyHeader *header)
{
	bool		comma = false;

	if (!accept(cursor, '('))
		return false;
	header->ndim = 0;
	while (!accept(cursor, ')'))
	{
		if ((header->ndim > 0 && !comma) || header->ndim == NPY_MAX_SHAPE ||
			!accept_number(cursor, &header->shape[header->ndim]))
			return false;
		header->ndim++;
		comma = accept(cursor, ',');
	}
	return header->ndim != 1 || comma;
}

/* Takes one entry of the dictionary; each key may come once. */
static bool
accept_entry(Cursor *cursor, NpyHeader *header)
{
	const char *key;
	size_t		length;

	if (!accept_string(cursor, &key, &length) || !accept(cursor, ':'))
		return false;
	if (length == 5 && memcmp(key, "descr", 5) == 0 && header->descr == NULL)
		return accept_string(cursor, &header->descr, &header->descr_length);
	if (length == 13 && memcmp(key, "fortran_order", 13) == 0 && header->fortran_order < 0)
	{
		header->fortran_order = accept_word(cursor, "True") ? 1 : 0;
		return header->fortran_order == 1 || accept_word(cursor, "False");
	}
	if (length == 5 && memcmp(key, "shape", 5) == 0 && header->ndim < 0)
		return accept_shape(cursor, header);
	return false;
}

/* True if the whole text is such a dictionary. */
static bool
read_npy_header(Cursor *cursor, NpyHeader *header)
{
	bool		comma = true;

	memset(header, 0, sizeof(NpyHeader));
	header->fortran_order = -1;
	header->ndim = -1;

	if (!accept(cursor, '{'))
		return false;
	while (!accept(cursor, '}'))
	{
		if (!comma || !accept_entry(cursor, header))
			return false;
		comma = accept(cursor, ',');
	}
	skip_space(cursor);
	return cursor->at == cursor->end && header->descr != NULL &&
		header->fortran_order >= 0 && header->ndim >= 0;
}

/* Up to so many characters of a text as ASCII, for a message. */
static void
excerpt(char *to, size_t size, const char *text, size_t length)
{
	size_t		i;

	for (i = 0; i < length && i < size - 1; i++)
		to[i] = text[i] >= ' ' && text[i] <= '~' ? text[i] : '?';
	to[i] = '\0';
}

static HmVectorStatus
parse_npy(Parse *parse)
{
	HmVectorLayout *layout = parse->layout;
	HmVectorStatus status;
	NpyHeader	header;
	Cursor		cursor;
	size_t		prefix;
	uint32_t	length;
	char		text[40];

	if (parse->available < NPY_PREFIX_V1 || memcmp(parse->bytes, NPY_MAGIC, NPY_MAGIC_SIZE) != 0)
		return fail(parse, HM_VECTOR_MALFORMED, "It does not begin as an .npy file does.");
	if (parse->bytes[6] < 1 || parse->bytes[6] > 3 || parse->bytes[7] != 0)
		return fail(parse, HM_VECTOR_UNSUPPORTED, "The .npy version is %d.%d, expected 1.0, 2.0 or 3.0.",
					parse->bytes[6], parse->bytes[7]);
	prefix = parse->bytes[6] == 1 ? NPY_PREFIX_V1 : NPY_PREFIX_V2;
	if (parse->available < prefix)
		return fail(parse, HM_VECTOR_MALFORMED, "The file ends inside its header.");
	length = load_le(parse->bytes + 8, prefix - 8);
	if (length > NPY_MAX_HEADER)
		return fail(parse, HM_VECTOR_UNSUPPORTED, "The header has %" PRIu32 " bytes, expected at most %d.",
					length, NPY_MAX_HEADER);
	if (length > parse->available - prefix)
		return fail(parse, HM_VECTOR_MALFORMED, "The file ends inside its header of %" PRIu32 " bytes.", length);

	cursor.at = (const char *) parse->bytes + prefix;
	cursor.end = cursor.at + length;
	if (!read_npy_header(&cursor, &header))
	{
		excerpt(text, sizeof(text), cursor.at, cursor.end - cursor.at);
		return fail(parse, HM_VECTOR_MALFORMED,
					"The header is not the dictionary of a plain array: \"%s\" was not expected "
					"at byte %zu.", text, (size_t) (cursor.at - (const char *) parse->bytes));
	}

	if (header.descr_length != 3 ||
		(memcmp(header.descr, "<f2", 3) != 0 && memcmp(header.descr, "<f4", 3) != 0))
	{
		excerpt(text, sizeof(text), header.descr, header.descr_length);
		return fail(parse, HM_VECTOR_UNSUPPORTED, "Components are of type \"%s\", expected \"<f2\" or \"<f4\".", text);
	}
	if (header.fortran_order)
		return fail(parse, HM_VECTOR_UNSUPPORTED, "The array is in Fortran order, expected C order.");
	if (header.ndim != 2)
		return fail(parse, HM_VECTOR_UNSUPPORTED, "The array has %d dimension%s, expected 2.",
					header.ndim, header.ndim == 1 ? "" : "s");

	status = take_kind(parse, header.descr[2] == '2' ? HM_F16 : HM_F32);
	if (status == HM_VECTOR_OK)
		status = take_dimension(parse, header.shape[1]);
	if (status != HM_VECTOR_OK)
		return status;
	layout->offset = prefix + length;
	layout->stride = layout->dim * hm_vector_kind_size(layout->kind);
	return take_rows(parse, header.shape[0]);
}

/* ---- fvecs ---- */

static HmVectorStatus
parse_fvecs(Parse *parse)
{
	HmVectorLayout *layout = parse->layout;
	HmVectorStatus status;

	if (parse->available < sizeof(int32_t))
		return fail(parse, HM_VECTOR_MALFORMED, "The file has %zu bytes, expected a first row.", parse->available);
	status = take_kind(parse, HM_F32);
	if (status == HM_VECTOR_OK)
		status = take_dimension(parse, load_le(parse->bytes, sizeof(int32_t)));
	if (status != HM_VECTOR_OK)
		return status;

	layout->prefixed = true;
	layout->offset = sizeof(int32_t);
	layout->stride = sizeof(int32_t) + layout->dim * sizeof(float);
	if (parse->size % layout->stride != 0 && !parse->request->has_rows)
		return fail(parse, HM_VECTOR_SHORT,
					"The file has %" PRIu64 " bytes, expected a multiple of the %" PRIu64
					" that a row of %d dimensions takes.", parse->size, layout->stride, layout->dim);
	status = take_rows(parse, parse->size / layout->stride);
	if (status != HM_VECTOR_OK)
		return status;

	/* Those rows whose prefix is at hand. */
	for (uint64_t row = 1; row < layout->rows &&
		 row * layout->stride + sizeof(int32_t) <= parse->available; row++)
	{
		uint32_t	dim = load_le(parse->bytes + row * layout->stride, sizeof(int32_t));

		if (dim != (uint32_t) layout->dim)
			return fail(parse, HM_VECTOR_MALFORMED,
						"Row %" PRIu64 " has %" PRIu32 " dimensions, expected %d as row 0 has.",
						row, dim, layout->dim);
	}
	return HM_VECTOR_OK;
}

/* ---- raw ---- */

static HmVectorStatus
parse_raw(Parse *parse)
{
	const HmVectorRequest *request = parse->request;
	HmVectorLayout *layout = parse->layout;
	HmVectorStatus status;

	if (request->kind == 0 || request->dim == 0)
		return fail(parse, HM_VECTOR_MISMATCH, "A raw file does not say its type and dimension, expected them to be given.");
	status = take_dimension(parse, (uint64_t) request->dim);
	if (status != HM_VECTOR_OK)
		return status;
	layout->kind = request->kind;
	layout->offset = request->offset;
	layout->stride = layout->dim * hm_vector_kind_size(layout->kind);

	if (layout->offset > parse->size)
		return take_rows(parse, 0);
	if ((parse->size - layout->offset) % layout->stride != 0 && !request->has_rows)
		return fail(parse, HM_VECTOR_SHORT,
					"The file has %" PRIu64 " bytes from byte %" PRIu64 " on, expected a multiple of the %" PRIu64
					" that a row of %d dimensions of type %s takes.",
					parse->size - layout->offset, layout->offset, layout->stride, layout->dim,
					hm_vector_kind_name(layout->kind));
	return take_rows(parse, (parse->size - layout->offset) / layout->stride);
}

HmVectorStatus
hm_vector_file_parse(const HmVectorRequest *request, const void *bytes, size_t available, uint64_t size,
					 HmVectorLayout *layout, char *message, size_t message_size)
{
	Parse		parse = {request, bytes, available, size, layout, message, message_size};

	memset(layout, 0, sizeof(HmVectorLayout));
	message[0] = '\0';
	if (available > size)
		parse.available = (size_t) size;
	switch (request->format)
	{
		case HM_FORMAT_NPY:
			return parse_npy(&parse);
		case HM_FORMAT_FVECS:
			return parse_fvecs(&parse);
		case HM_FORMAT_RAW:
			return parse_raw(&parse);
	}
	return fail(&parse, HM_VECTOR_MALFORMED, "The format is unknown.");
}
