/*-------------------------------------------------------------------------
 *
 * overlay.c
 *	  A stored graph being changed: lists in memory in front of stored ones.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/overlay.h"

#include <string.h>

#include "graph/key.h"

#define FIRST_BLOCK		1024	/* lists in the first block of a pool */
#define FEWEST_CHANGES	64		/* entries of the smallest hash table */

static void *
allocate(HmOverlay *overlay, uint64_t count, size_t size)
{
	if (count > SIZE_MAX / size)
		return NULL;
	return overlay->allocator.alloc(overlay->allocator.state, (size_t) count * size);
}

static void
release(HmOverlay *overlay, void *memory)
{
	overlay->allocator.release(overlay->allocator.state, memory);
}

/*
 * Block k holds lists FIRST_BLOCK * (2^k - 1) up to FIRST_BLOCK * (2^(k+1) - 1):
 * says which one a list is in, and which of its lists.
 */
static inline int
locate_block(uint32_t list, uint32_t *within)
{
	uint64_t	shifted = (uint64_t) list + FIRST_BLOCK;
	int			block = 63 - __builtin_clzll(shifted / FIRST_BLOCK);

	*within = (uint32_t) (shifted - ((uint64_t) FIRST_BLOCK << block));
	return block;
}

static inline uint32_t *
pool_list(const HmListPool *pool, uint32_t list)
{
	uint32_t	within;
	int			block = locate_block(list, &within);

	return pool->blocks[block] + (size_t) within * pool->slots;
}

static void
clear_list(uint32_t *links, int slots)
{
	memset(links, 0xFF, (size_t) slots * sizeof(*links));
}

/* Appends an empty list.  False: no memory. */
static bool
pool_append(HmOverlay *overlay, HmListPool *pool)
{
	uint32_t	within;
	int			block = locate_block(pool->count, &within);

	if (block >= HM_LIST_BLOCKS || pool->count == UINT32_MAX)
		return false;
	if (pool->blocks[block] == NULL)
	{
		pool->blocks[block] = allocate(overlay, (uint64_t) FIRST_BLOCK << block,
									   pool->slots * sizeof(uint32_t));
		if (pool->blocks[block] == NULL)
			return false;
	}
	clear_list(pool->blocks[block] + (size_t) within * pool->slots, (int) pool->slots);
	pool->count++;
	return true;
}

static void
pool_free(HmOverlay *overlay, HmListPool *pool)
{
	int			block;

	for (block = 0; block < HM_LIST_BLOCKS; block++)
		release(overlay, pool->blocks[block]);
}

/* --- the table of changed lists --- */

/* The entry of a list, or the free one where it would be put. */
static inline HmChange *
find_change(const HmOverlay *overlay, uint32_t id, int level)
{
	uint32_t	mask = overlay->change_slots - 1;
	uint32_t	at = (uint32_t) hm_mix64((uint64_t) level << 32 | id) & mask;

	while (overlay->changes[at].id != HM_NO_ID &&
		   (overlay->changes[at].id != id || overlay->changes[at].level != (uint32_t) level))
		at = (at + 1) & mask;
	return &overlay->changes[at];
}

static inline uint32_t *
changed_list(const HmOverlay *overlay, const HmChange *change)
{
	return pool_list(change->level == 0 ? &overlay->changed_base : &overlay->changed_upper,
					 change->list);
}

/* Makes room for one more entry, the table never being more than half full. */
static bool
reserve_change(HmOverlay *overlay)
{
	HmChange   *old = overlay->changes;
	uint32_t	old_slots = overlay->change_slots;
	uint32_t	slots = old_slots > 0 ? 2 * old_slots : FEWEST_CHANGES;
	HmChange   *changes;
	uint32_t	i;

	if (overlay->change_count < old_slots / 2)
		return true;
	if (slots < old_slots)
		return false;
	changes = allocate(overlay, slots, sizeof(*changes));
	if (changes == NULL)
		return false;
	memset(changes, 0xFF, (size_t) slots * sizeof(*changes));
	overlay->changes = changes;
	overlay->change_slots = slots;
	for (i = 0; i < old_slots; i++)
	{
		if (old[i].id != HM_NO_ID)
			*find_change(overlay, old[i].id, (int) old[i].level) = old[i];
	}
	release(overlay, old);
	return true;
}

/* --- the graph as changed, for the search --- */

static const uint32_t no_links[1] = {HM_NO_ID};

static const uint32_t *
overlay_links(HmStore *store, uint32_t id, int level, int *slots)
{
	HmOverlay  *overlay = (HmOverlay *) store;
	const uint32_t *links = hm_overlay_list(overlay, id, level, slots);

	if (links != NULL)
		return links;
	if (HM_UNLIKELY(hm_overlay_is_own(overlay, id) || overlay->under == NULL))
	{
		/* a damaged list has led to an element that lacks the level */
		*slots = 1;
		return no_links;
	}
	return overlay->under->links(overlay->under, id, level, slots);
}

static void
overlay_prefetch(HmStore *store, uint32_t id, int level)
{
	HmOverlay  *overlay = (HmOverlay *) store;
	int			slots;
	int			slot;
	const uint32_t *links;

	if (!hm_overlay_is_own(overlay, id))
	{
		if (overlay->under != NULL && overlay->under->prefetch != NULL)
			overlay->under->prefetch(overlay->under, id, level);
		return;
	}
	links = hm_overlay_list(overlay, id, level, &slots);
	for (slot = 0; links != NULL && slot < slots; slot += 16)
		__builtin_prefetch(&links[slot]);
}

HmOverlay *
hm_overlay_create(HmStore *under, uint32_t first, uint32_t capacity, uint32_t m,
				  const HmAllocator *allocator)
{
	HmOverlay  *overlay;

	if (m < 2 || m > HM_MAX_M || capacity >= HM_NO_ID - first)
		return NULL;
	overlay = allocator->alloc(allocator->state, sizeof(*overlay));
	if (overlay == NULL)
		return NULL;
	memset(overlay, 0, sizeof(*overlay));
	overlay->allocator = *allocator;
	overlay->store.element_count = first;
	overlay->store.entry_point = HM_NO_ID;
	overlay->store.m = m;
	overlay->store.links = overlay_links;
	overlay->store.prefetch = overlay_prefetch;
	overlay->under = under;
	overlay->first = first;
	overlay->capacity = capacity;
	overlay->upper.slots = m;
	overlay->changed_base.slots = 2 * m;
	overlay->changed_upper.slots = m;

	overlay->levels = allocate(overlay, (uint64_t) capacity + 1, sizeof(*overlay->levels));
	overlay->upper_start = allocate(overlay, (uint64_t) capacity + 1, sizeof(*overlay->upper_start));
	overlay->base = allocate(overlay, (uint64_t) capacity + 1, 2 * m * sizeof(*overlay->base));
	overlay->base_changed = allocate(overlay, (uint64_t) first / 64 + 1, sizeof(*overlay->base_changed));
	if (overlay->levels == NULL || overlay->upper_start == NULL || overlay->base == NULL ||
		overlay->base_changed == NULL || !reserve_change(overlay))
	{
		hm_overlay_destroy(overlay);
		return NULL;
	}
	memset(overlay->base_changed, 0, ((size_t) first / 64 + 1) * sizeof(*overlay->base_changed));
	return overlay;
}

void
hm_overlay_destroy(HmOverlay *overlay)
{
	HmAllocator allocator;

	if (overlay == NULL)
		return;
	allocator = overlay->allocator;
	pool_free(overlay, &overlay->upper);
	pool_free(overlay, &overlay->changed_base);
	pool_free(overlay, &overlay->changed_upper);
	release(overlay, overlay->levels);
	release(overlay, overlay->upper_start);
	release(overlay, overlay->base);
	release(overlay, overlay->base_changed);
	release(overlay, overlay->changes);
	release(overlay, overlay->sorted);
	allocator.release(allocator.state, overlay);
}

uint32_t
hm_overlay_add(HmOverlay *overlay, int level)
{
	uint32_t	own = overlay->own_count;
	uint32_t	before = overlay->upper.count;

	HM_ASSERT(level >= 0 && level < HM_MAX_LEVELS);
	if (own == overlay->capacity)
		return HM_NO_ID;
	while (overlay->upper.count - before < (uint32_t) level)
	{
		if (!pool_append(overlay, &overlay->upper))
		{
			overlay->upper.count = before;
			return HM_NO_ID;
		}
	}
	overlay->levels[own] = (uint8_t) level;
	overlay->upper_start[own] = before;
	clear_list(overlay->base + (size_t) own * 2 * overlay->store.m, (int) (2 * overlay->store.m));
	overlay->own_count++;
	return overlay->store.element_count++;
}

void
hm_overlay_remove_last(HmOverlay *overlay)
{
	HM_ASSERT(overlay->own_count > 0);
	overlay->own_count--;
	overlay->store.element_count--;
	overlay->upper.count = overlay->upper_start[overlay->own_count];
}

/* Overwrites a list with what is of use in a stored one. */
static void
copy_links(HmOverlay *overlay, uint32_t *list, int size, uint32_t id, const uint32_t *links, int n)
{
	uint32_t	end = overlay->first + overlay->capacity;
	int			used = 0;
	int			i;
	int			j;

	for (i = 0; i < n && used < size && links[i] != HM_NO_ID; i++)
	{
		uint32_t	link = links[i];

		if (link >= end || link == id)
			continue;
		for (j = 0; j < used && list[j] != link; j++)
			 /* look for the same link */ ;
		if (j == used)
			list[used++] = link;
	}
	clear_list(list + used, size - used);
}

void
hm_overlay_set(HmOverlay *overlay, uint32_t id, int level, const uint32_t *links, int n)
{
	int			slots;
	uint32_t   *list = hm_overlay_list(overlay, id, level, &slots);

	HM_ASSERT(hm_overlay_is_own(overlay, id) && list != NULL);
	copy_links(overlay, list, slots, id, links, n);
}

HmStatus
hm_overlay_change(HmOverlay *overlay, uint32_t id, int level, const uint32_t *links, int n)
{
	HmListPool *pool = level == 0 ? &overlay->changed_base : &overlay->changed_upper;
	HmChange   *change;

	HM_ASSERT(!hm_overlay_is_own(overlay, id) && level >= 0 && level < HM_MAX_LEVELS);
	if (!reserve_change(overlay))
		return HM_NO_MEMORY;
	change = find_change(overlay, id, level);
	if (change->id == HM_NO_ID)
	{
		if (!pool_append(overlay, pool))
			return HM_NO_MEMORY;
		change->id = id;
		change->level = (uint32_t) level;
		change->list = pool->count - 1;
		overlay->change_count++;
		if (level == 0)
			overlay->base_changed[id / 64] |= UINT64_C(1) << (id % 64);
	}
	copy_links(overlay, changed_list(overlay, change), (int) pool->slots, id, links, n);
	return HM_OK;
}

uint32_t *
hm_overlay_list(HmOverlay *overlay, uint32_t id, int level, int *slots)
{
	const HmChange *change;

	*slots = hm_overlay_slots(overlay, level);
	if (hm_overlay_is_own(overlay, id))
	{
		uint32_t	own = id - overlay->first;

		if (own >= overlay->own_count || level > overlay->levels[own])
			return NULL;
		return level == 0 ? overlay->base + (size_t) own * *slots :
			pool_list(&overlay->upper, overlay->upper_start[own] + (uint32_t) level - 1);
	}
	if (HM_LIKELY(level == 0 && ((overlay->base_changed[id / 64] >> (id % 64)) & 1) == 0))
		return NULL;
	change = find_change(overlay, id, level);
	return change->id != HM_NO_ID ? changed_list(overlay, change) : NULL;
}

bool
hm_overlay_has_lost(HmOverlay *overlay, uint32_t id, int level, bool *lost)
{
	int			slots;
	const uint32_t *links = overlay_links(&overlay->store, id, level, &slots);
	int			i;

	*lost = false;
	if (links == NULL)
		return false;
	for (i = 0; i < slots && links[i] != HM_NO_ID && !*lost; i++)
		*lost = hm_overlay_is_dead(overlay, links[i]);
	return true;
}

bool
hm_overlay_next_change(HmOverlay *overlay, uint32_t *at, HmChange *change)
{
	while (*at < overlay->change_slots)
	{
		*change = overlay->changes[(*at)++];
		if (change->id != HM_NO_ID)
			return true;
	}
	return false;
}
