/*-------------------------------------------------------------------------
 *
 * graph_file_write.c
 *	  Writing the graph files of hnswlib and hnswlib-mmap.
 *
 *-------------------------------------------------------------------------
 */
#include "formats/graph_file.h"

#include <math.h>
#include <string.h>

#include "formats/graph_bytes.h"

/* Doubles are IEEE everywhere, but have the machine's byte order. */
static uint8_t *
put_f64(uint8_t *at, double value)
{
	uint64_t	bits;

	memcpy(&bits, &value, sizeof(bits));
	return hm_put_u64(at, bits);
}

size_t
hm_graph_element_bytes(const HmGraphHeader *header)
{
	return sizeof(uint32_t) * (1 + 2 * (size_t) header->m) + sizeof(uint64_t) +
		(header->format == HM_GRAPH_HNSWLIB ? (size_t) header->vector_bytes : 0);
}

size_t
hm_graph_upper_bytes(const HmGraphHeader *header, int level)
{
	return sizeof(uint32_t) + (size_t) level * sizeof(uint32_t) * (1 + header->m);
}

size_t
hm_graph_write_header(const HmGraphHeader *header, uint8_t *bytes)
{
	uint8_t    *at = bytes;
	uint32_t	entry = header->count > 0 ? header->entry : UINT32_MAX;
	double		mult = 1 / log((double) header->m);

	if (header->format == HM_GRAPH_HNSWLIB)
	{
		uint64_t	size = hm_graph_element_bytes(header);

		at = hm_put_u64(at, 0);
		at = hm_put_u64(at, header->count);
		at = hm_put_u64(at, header->count);
		at = hm_put_u64(at, size);
		at = hm_put_u64(at, size - sizeof(uint64_t));
		at = hm_put_u64(at, size - sizeof(uint64_t) - header->vector_bytes);
		at = hm_put_u32(at, (uint32_t) header->top_level);
		at = hm_put_u32(at, entry);
		at = hm_put_u64(at, header->m);
		at = hm_put_u64(at, 2 * (uint64_t) header->m);
		at = hm_put_u64(at, header->m);
		at = put_f64(at, mult);
		at = hm_put_u64(at, header->ef_construction);
	}
	else
	{
		at = hm_put_u32(at, HM_GRAPH_MMAP_MAGIC);
		at = hm_put_u64(at, header->count);
		at = hm_put_u64(at, header->count);
		at = hm_put_u64(at, header->m);
		at = hm_put_u64(at, header->m);
		at = hm_put_u64(at, 2 * (uint64_t) header->m);
		at = hm_put_u64(at, header->ef_construction);
		at = put_f64(at, mult);
		at = hm_put_u32(at, (uint32_t) header->top_level);
		at = hm_put_u32(at, entry);
		at = hm_put_u64(at, header->vector_bytes);
	}
	return (size_t) (at - bytes);
}

/* A degree, which may carry flags, and a list's slots; those not used are 0. */
static uint8_t *
put_list(uint8_t *at, uint32_t degree, const uint32_t *slots, int used, uint32_t size)
{
	uint32_t	i;

	at = hm_put_u32(at, degree);
	for (i = 0; i < size; i++)
		at = hm_put_u32(at, i < (uint32_t) used ? slots[i] : 0);
	return at;
}

size_t
hm_graph_write_element(const HmGraphHeader *header, const uint32_t *slots, int used,
					   bool deleted, uint64_t label, const void *vector, uint8_t *bytes)
{
	uint8_t    *at = put_list(bytes, (uint32_t) used | (deleted ? 0x10000 : 0), slots, used,
							  2 * header->m);

	if (header->format == HM_GRAPH_HNSWLIB)
	{
		memcpy(at, vector, (size_t) header->vector_bytes);
		at += header->vector_bytes;
	}
	at = hm_put_u64(at, label);
	return (size_t) (at - bytes);
}

size_t
hm_graph_write_upper(const HmGraphHeader *header, int level, const uint32_t *slots,
					 const int *used, uint8_t *bytes)
{
	uint8_t    *at = hm_put_u32(bytes, (uint32_t) (hm_graph_upper_bytes(header, level) - sizeof(uint32_t)));
	int			i;

	for (i = 0; i < level; i++)
		at = put_list(at, (uint32_t) used[i], slots + (size_t) i * header->m, used[i], header->m);
	return (size_t) (at - bytes);
}
