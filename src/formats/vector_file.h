/*-------------------------------------------------------------------------
 *
 * vector_file.h
 *	  What a file of vectors consists of: its header, read as bytes that nobody
 *	  vouches for.
 *
 * Three formats, all of little-endian components, one row after the other:
 *
 *		npy		numpy's (versions 1 to 3): two dimensions, C order, '<f2' or '<f4'
 *		fvecs	TEXMEX's: each row an int32, the number of dimensions, and as
 *				many binary32
 *		raw		rows without any header, from an offset on
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_FORMATS_VECTOR_FILE_H
#define HM_FORMATS_VECTOR_FILE_H

#include "base.h"

typedef enum HmVectorFormat
{
	HM_FORMAT_NPY = 1,
	HM_FORMAT_FVECS = 2,
	HM_FORMAT_RAW = 3
} HmVectorFormat;

/* What is known of a file before it is read. */
typedef struct HmVectorRequest
{
	HmVectorFormat format;
	HmElementKind kind;			/* 0: as the file says; raw must say */
	int			dim;			/* 0: as the file says; raw must say */
	uint64_t	offset;			/* of the first row; raw only */

	/*
	 * The rows that are wanted.  With it the file may be longer, and may end in
	 * a part of a row, as it does while somebody appends to it; without it, it
	 * has to be whole.
	 */
	bool		has_rows;
	uint64_t	rows;
} HmVectorRequest;

/* Where the rows lie: row i's components are at offset + i * stride. */
typedef struct HmVectorLayout
{
	HmElementKind kind;
	int			dim;			/* 1 .. HM_MAX_DIM */
	uint64_t	rows;			/* those wanted, or all of the file */
	uint64_t	offset;			/* bytes before row 0's components */
	uint64_t	stride;			/* bytes from row to row */
	bool		prefixed;		/* each row's components follow an int32, equal to dim */
} HmVectorLayout;

typedef enum HmVectorStatus
{
	HM_VECTOR_OK = 0,
	HM_VECTOR_MALFORMED,		/* not a file of this format */
	HM_VECTOR_UNSUPPORTED,		/* it is, but of another type, shape or size than can be read */
	HM_VECTOR_MISMATCH,			/* its type or dimension is not the one asked for */
	HM_VECTOR_SHORT				/* it ends before the rows do */
} HmVectorStatus;

/* The leading bytes that decide everything, if the file has as many. */
#define HM_VECTOR_LEADING_BYTES (12 + 65536)

/*
 * Reads the header.  bytes: the file's first `available` bytes, the smaller of
 * its size and HM_VECTOR_LEADING_BYTES.  Looks at no byte beyond them, and
 * returns a layout whose rows all end within `size`.  Otherwise *layout is
 * undefined and `message`, of `message_size` bytes, says in ASCII what was found
 * and what was expected, as a sentence.
 */
extern HmVectorStatus hm_vector_file_parse(const HmVectorRequest *request,
										   const void *bytes, size_t available, uint64_t size,
										   HmVectorLayout *layout,
										   char *message, size_t message_size);

/* "npy", "fvecs", "raw"; and the format of a file's name, 0 if that says nothing. */
extern const char *hm_vector_format_name(HmVectorFormat format);
extern HmVectorFormat hm_vector_format_of_name(const char *name);

/* numpy's name of a type without the byte order: "f2", "f4". */
extern const char *hm_vector_kind_name(HmElementKind kind);

static inline size_t
hm_vector_kind_size(HmElementKind kind)
{
	return kind == HM_F16 ? sizeof(uint16_t) : sizeof(float);
}

#endif							/* HM_FORMATS_VECTOR_FILE_H */
