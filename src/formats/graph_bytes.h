/*-------------------------------------------------------------------------
 *
 * graph_bytes.h
 *	  Little-endian numbers at any address, and sizes of graph files.
 *
 * Private to graph_file.c and graph_file_write.c.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_FORMATS_GRAPH_BYTES_H
#define HM_FORMATS_GRAPH_BYTES_H

#include "base.h"

#define HM_GRAPH_MMAP_MAGIC		0x47524150	/* "PARG" */
#define HM_GRAPH_MMAP_HEADER	76
#define HM_GRAPH_HNSWLIB_HEADER 96
#define HM_GRAPH_SHARDS_MAGIC	0x53484458	/* "XDHS" */
#define HM_GRAPH_SHARDS_HEADER	52	/* the name follows */
#define HM_GRAPH_SHARD_SIZE		24

static inline uint32_t
hm_get_u32(const uint8_t *at)
{
	return (uint32_t) at[0] | (uint32_t) at[1] << 8 | (uint32_t) at[2] << 16 | (uint32_t) at[3] << 24;
}

static inline uint64_t
hm_get_u64(const uint8_t *at)
{
	return hm_get_u32(at) | (uint64_t) hm_get_u32(at + 4) << 32;
}

/* Both return the address behind. */
static inline uint8_t *
hm_put_u32(uint8_t *at, uint32_t value)
{
	at[0] = (uint8_t) value;
	at[1] = (uint8_t) (value >> 8);
	at[2] = (uint8_t) (value >> 16);
	at[3] = (uint8_t) (value >> 24);
	return at + 4;
}

static inline uint8_t *
hm_put_u64(uint8_t *at, uint64_t value)
{
	return hm_put_u32(hm_put_u32(at, (uint32_t) value), (uint32_t) (value >> 32));
}

#endif							/* HM_FORMATS_GRAPH_BYTES_H */
