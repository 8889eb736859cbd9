/*-------------------------------------------------------------------------
 *
 * fuzz_vector_file.c
 *	  Feeds arbitrary bytes to the reader of vector files' headers.
 *
 * The first bytes are what is asked for, the others the file.  Whatever they
 * are, the reader must stay inside the file's bytes; what it accepts must lie
 * inside the file and be what was asked for; what it refuses, it must explain.
 *
 *-------------------------------------------------------------------------
 */
#include <stdlib.h>
#include <string.h>

#include "formats/vector_file.h"

extern int	LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

/* What the bytes begin with. */
typedef struct FuzzRequest
{
	uint8_t		format;
	uint8_t		flags;			/* of the FUZZ_ constants */
	uint16_t	dim;			/* 0: not asked for */
	uint32_t	offset;
	uint64_t	rows;
	uint64_t	size;
} FuzzRequest;

#define FUZZ_KIND		1		/* a kind is asked for */
#define FUZZ_F16		2		/* which: half precision */
#define FUZZ_ROWS		4		/* rows are asked for */
#define FUZZ_LARGE		8		/* the file is larger than the bytes that are there */

static void
fuzz_require(bool condition)
{
	if (!condition)
		abort();
}

/* Everything that vector_file.h says of a result. */
static void
fuzz_check(const HmVectorRequest *request, uint64_t size, HmVectorStatus status,
		   const HmVectorLayout *layout, const char *message, size_t message_size)
{
	unsigned __int128 end;

	if (status != HM_VECTOR_OK)
	{
		const char *last = memchr(message, '\0', message_size);

		fuzz_require(last != NULL && last > message);
		for (; *message != '\0'; message++)
			fuzz_require(*message >= ' ' && *message <= '~');
		return;
	}
	fuzz_require(layout->kind == HM_F16 || layout->kind == HM_F32);
	fuzz_require(layout->dim >= 1 && layout->dim <= HM_MAX_DIM);
	fuzz_require(request->kind == 0 || layout->kind == request->kind);
	fuzz_require(request->dim == 0 || layout->dim == request->dim);
	fuzz_require(!request->has_rows || layout->rows == request->rows);
	fuzz_require(layout->stride >= layout->dim * hm_vector_kind_size(layout->kind));
	fuzz_require(!layout->prefixed || layout->offset >= sizeof(int32_t));

	end = layout->offset;
	if (layout->rows > 0)
		end += (unsigned __int128) (layout->rows - 1) * layout->stride +
			layout->dim * hm_vector_kind_size(layout->kind);
	fuzz_require(end <= size);
}

int
LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size)
{
	FuzzRequest fuzz;
	HmVectorRequest request = {0};
	HmVectorLayout layout;
	HmVectorStatus status;
	char		message[256];
	uint64_t	file_size;
	size_t		available;
	uint8_t    *file;

	if (size < sizeof(fuzz))
		return 0;
	memcpy(&fuzz, bytes, sizeof(fuzz));
	bytes += sizeof(fuzz);
	size -= sizeof(fuzz);

	request.format = fuzz.format % 4;
	request.kind = !(fuzz.flags & FUZZ_KIND) ? 0 : fuzz.flags & FUZZ_F16 ? HM_F16 : HM_F32;
	request.dim = fuzz.dim;
	request.offset = fuzz.offset;
	request.has_rows = (fuzz.flags & FUZZ_ROWS) != 0;
	request.rows = fuzz.rows;

	/* a copy of its own, so that a byte too many is noticed */
	available = size < HM_VECTOR_LEADING_BYTES ? size : HM_VECTOR_LEADING_BYTES;
	file_size = fuzz.flags & FUZZ_LARGE && fuzz.size > size ? fuzz.size : size;
	file = malloc(available > 0 ? available : 1);
	fuzz_require(file != NULL);
	memcpy(file, bytes, available);
	status = hm_vector_file_parse(&request, file, available, file_size, &layout, message, sizeof(message));
	fuzz_check(&request, file_size, status, &layout, message, sizeof(message));
	free(file);
	return 0;
}
