/*-------------------------------------------------------------------------
 *
 * search.c
 *	  Best-first search of an HNSW graph, turned inside out.
 *
 * One loop serves every level.  It repeats three things: gather the unvisited
 * neighbours of the nearest two unexpanded candidates into a batch, have the
 * batch scored, merge it into the pool.  When nothing is left to expand, the
 * level is finished: the pool goes on to the level below with everything that
 * was scored so far, or its live candidates are the result.
 *
 * The visited set is shared by all levels.  That is safe, because whatever was
 * scored on an upper level stays a candidate below: either in the pool or,
 * when it is farther than all of the pool, in the overflow.
 *
 * A large ef is worked off in chunks, as by resuming, because a sorted array
 * of many thousand entries is slow to insert into.  The result is the same:
 * after each chunk, everything nearer than its last candidate is expanded.
 *
 *-------------------------------------------------------------------------
 */
#include "graph/search.h"

#include <limits.h>

#include "graph/key.h"
#include "graph/pool.h"

#define EXPAND_AT_ONCE	2		/* candidates whose lists make one batch */
#define LEVEL_1_BEAM	16
#define LARGEST_POOL	1024	/* live candidates kept sorted; see above */
#define SEEDS_OF_EACH	64		/* top ids, and as many random ones */

typedef enum SearchPhase
{
	GATHERING,					/* a batch is being collected */
	SCORING,					/* the caller has it */
	FINISHED
} SearchPhase;

struct HmSearchState
{
	HmAllocator allocator;
	HmStore    *store;
	HmPool		pool;
	SearchPhase phase;
	int			level;			/* being searched */
	int			last_level;		/* where to stop */
	int			wanted;			/* results in all */
	bool		seeded;			/* random starting points have been tried */
	bool		picked;			/* this batch's candidates have been chosen */

	/*
	 * Elements whose lists go into the batch: first the absent ones of the
	 * last batch, then the candidates being expanded.  The batch's first
	 * standin_n ids stand in for absent ones, so that if they are absent too,
	 * nothing stands in for them.
	 */
	uint32_t	queue[HM_MAX_BATCH + EXPAND_AT_ONCE];
	int			queue_at;
	int			queue_n;
	int			absent_n;		/* how many of the queue are absent */
	int			standin_n;

	/* the visited set's words that are not zero, to clear it by; see visit */
	uint32_t   *touched;
	size_t		touched_n;
	size_t		visited_words;

	size_t		result_capacity;
};

typedef struct HmSearchState HmSearchState;

HmSearch *
hm_search_create(const HmAllocator *allocator)
{
	HmSearch   *search = allocator->alloc(allocator->state, sizeof(*search));
	HmSearchState *state = allocator->alloc(allocator->state, sizeof(*state));

	if (search == NULL || state == NULL)
	{
		allocator->release(allocator->state, search);
		allocator->release(allocator->state, state);
		return NULL;
	}
	memset(search, 0, sizeof(*search));
	memset(state, 0, sizeof(*state));
	search->state = state;
	state->allocator = *allocator;
	state->phase = FINISHED;
	hm_pool_init(&state->pool, &state->allocator);
	return search;
}

void
hm_search_destroy(HmSearch *search)
{
	HmAllocator allocator;

	if (search == NULL)
		return;
	allocator = search->state->allocator;
	hm_pool_free(&search->state->pool);
	allocator.release(allocator.state, search->state->touched);
	allocator.release(allocator.state, search->visited);
	allocator.release(allocator.state, search->results);
	allocator.release(allocator.state, search->state);
	allocator.release(allocator.state, search);
}

/* Empties the visited set and makes it large enough for the store. */
static HmStatus
clear_visited(HmSearch *search, uint32_t element_count)
{
	HmSearchState *state = search->state;
	HmAllocator *allocator = &state->allocator;
	size_t		words = (size_t) element_count / 64 + 1;
	size_t		i;

	for (i = 0; i < state->touched_n; i++)
		search->visited[state->touched[i]] = 0;
	state->touched_n = 0;
	search->visited_count = 0;

	if (words > state->visited_words)
	{
		uint64_t   *visited = allocator->alloc(allocator->state, words * sizeof(*visited));
		uint32_t   *touched = allocator->alloc(allocator->state, (words + 1) * sizeof(*touched));

		if (visited == NULL || touched == NULL)
		{
			allocator->release(allocator->state, visited);
			allocator->release(allocator->state, touched);
			return HM_NO_MEMORY;
		}
		memset(visited, 0, words * sizeof(*visited));
		allocator->release(allocator->state, search->visited);
		allocator->release(allocator->state, state->touched);
		search->visited = visited;
		state->touched = touched;
		state->visited_words = words;
	}
	return HM_OK;
}

/*
 * Visits an element below element_count: true if it is new.  Without a branch
 * on that, because whether a neighbour is new is a coin toss; so `touched` has
 * one entry to spare, which is written and not counted.
 */
static inline bool
visit(HmSearch *search, uint32_t id)
{
	HmSearchState *state = search->state;
	uint64_t   *word = &search->visited[id / 64];
	uint64_t	bit = UINT64_C(1) << (id % 64);
	bool		fresh = (*word & bit) == 0;

	state->touched[state->touched_n] = id / 64;
	state->touched_n += *word == 0;
	*word |= bit;
	search->visited_count += fresh;
	return fresh;
}

static inline int
smaller(int a, int b)
{
	return a < b ? a : b;
}

static inline int
larger(int a, int b)
{
	return a > b ? a : b;
}

/* How many results the current level's pool has to hold. */
static int
beam(const HmSearch *search)
{
	const HmSearchState *state = search->state;

	if (state->level > state->last_level)
		return state->level == 1 ? LEVEL_1_BEAM : 1;
	return larger(1, smaller(LARGEST_POOL, state->wanted - search->result_n));
}

/* What both ways of beginning a search share. */
static HmStatus
begin(HmSearch *search, HmStore *store, int level, int last_level, int ef)
{
	HmSearchState *state = search->state;
	HmStatus	status;

	state->phase = FINISHED;
	search->batch_n = 0;
	search->result_n = 0;
	memset(&search->counters, 0, sizeof(search->counters));
	status = clear_visited(search, store->element_count);
	if (status != HM_OK)
		return status;

	state->store = store;
	state->level = level;
	state->last_level = last_level;
	state->wanted = larger(ef, 1);
	state->picked = false;
	state->queue_at = state->queue_n = state->absent_n = state->standin_n = 0;
	hm_pool_clear(&state->pool);
	if (!hm_pool_set_limit(&state->pool, beam(search)))
		return HM_NO_MEMORY;
	state->phase = GATHERING;
	return HM_OK;
}

HmStatus
hm_search_begin(HmSearch *search, HmStore *store, int ef)
{
	int			top = larger(0, smaller(store->top_level, HM_MAX_LEVELS - 1));
	HmStatus	status = begin(search, store, top, 0, ef);

	if (status != HM_OK)
		return status;
	search->state->seeded = false;
	if (store->entry_point < store->element_count)
	{
		visit(search, store->entry_point);
		search->batch_ids[search->batch_n++] = store->entry_point;
	}
	return HM_OK;
}

HmStatus
hm_search_begin_level(HmSearch *search, HmStore *store, int level,
					  const HmCandidate *starts, int start_n, int ef)
{
	HmPoolEntry fresh[HM_MAX_BATCH];
	HmSearchState *state = search->state;
	HmStatus	status = begin(search, store, level, level, ef);
	int			i = 0;

	if (status != HM_OK)
		return status;
	state->seeded = true;
	while (i < start_n)
	{
		int			n = 0;

		for (; i < start_n && n < HM_MAX_BATCH; i++)
		{
			if (starts[i].id >= store->element_count || !visit(search, starts[i].id))
				continue;
			fresh[n].key = hm_key(starts[i].distance, starts[i].id);
			fresh[n].flags = 0;
			n++;
		}
		if (!hm_pool_reserve(&state->pool, n))
		{
			state->phase = FINISHED;
			return HM_NO_MEMORY;
		}
		hm_pool_insert(&state->pool, fresh, n);
	}
	return HM_OK;
}

/* Queues the nearest unexpanded candidates, as many as the batch has room for. */
static void
pick_candidates(HmSearch *search, int list_size)
{
	HmSearchState *state = search->state;
	HmPool	   *pool = &state->pool;
	int			room = (HM_MAX_BATCH - search->batch_n) / list_size;

	state->queue_at = state->queue_n = state->absent_n = 0;
	while (state->queue_n < EXPAND_AT_ONCE && state->queue_n < room)
	{
		HmPoolEntry *entry;

		pool->cursor = hm_pool_unexpanded(pool, pool->cursor);
		if (pool->cursor == pool->size)
			break;
		entry = &pool->entries[pool->cursor++];
		entry->flags |= HM_ENTRY_EXPANDED;
		state->queue[state->queue_n++] = hm_key_id(entry->key);
	}
	search->counters.expanded += state->queue_n;
}

/*
 * Appends a list's unvisited ids to the batch.  While a graph is being built
 * others write to its lists; each id is read once, and whole.
 */
static inline void
append_unvisited(HmSearch *search, const uint32_t *links, int slots)
{
	uint32_t	element_count = search->state->store->element_count;
	int			n = search->batch_n;
	int			i;

	for (i = 0; i < slots; i++)
	{
		uint32_t	id = __atomic_load_n(&links[i], __ATOMIC_RELAXED);

		if (id == HM_NO_ID)
			break;
		if (HM_UNLIKELY(id >= element_count))
			continue;
		search->batch_ids[n] = id;
		n += visit(search, id);
	}
	search->batch_n = n;
}

/*
 * Fills the batch from the lists of absent elements and candidates.  False:
 * the store cannot give a list yet; the next call continues with it.
 */
static bool
gather(HmSearch *search)
{
	HmSearchState *state = search->state;
	HmStore    *store = state->store;
	int			list_size = store->m < HM_MAX_M ? (int) store->m : HM_MAX_M;

	list_size = larger(1, state->level == 0 ? 2 * list_size : list_size);
	for (;;)
	{
		const uint32_t *links;
		int			slots;

		if (state->queue_at == state->queue_n)
		{
			if (state->picked && search->batch_n > 0)
				break;
			state->picked = true;
			pick_candidates(search, list_size);
			if (state->queue_n == 0)
				break;
		}
		if (search->batch_n + list_size > HM_MAX_BATCH)
			break;
		links = store->links(store, state->queue[state->queue_at], state->level, &slots);
		if (HM_UNLIKELY(links == NULL))
		{
			search->links_id = state->queue[state->queue_at];
			search->links_level = state->level;
			return false;
		}
		append_unvisited(search, links, smaller(slots, list_size));
		if (state->queue_at < state->absent_n)
			state->standin_n = search->batch_n;
		state->queue_at++;
	}
	return true;
}

/* Says which lists will probably be read next, while the caller scores. */
static void
prefetch_next(HmSearch *search)
{
	HmSearchState *state = search->state;
	HmPool	   *pool = &state->pool;
	int			at = pool->cursor;
	int			i;

	if (state->store->prefetch == NULL)
		return;
	for (i = 0; i < EXPAND_AT_ONCE; i++, at++)
	{
		at = hm_pool_unexpanded(pool, at);
		if (at >= pool->size)
			break;
		state->store->prefetch(state->store, hm_key_id(pool->entries[at].key), state->level);
	}
}

/* Takes in a scored batch.  False: no memory, and nothing has changed. */
static bool
absorb(HmSearch *search)
{
	HmPoolEntry fresh[HM_MAX_BATCH];
	HmSearchState *state = search->state;
	HmPool	   *pool = &state->pool;
	uint64_t	bound = hm_pool_bound(pool);
	int			n = 0;
	int			i;

	if (!hm_pool_reserve(pool, search->batch_n))
		return false;

	/* what is left of the queue is absent elements that found no room */
	state->queue_n -= state->queue_at;
	memmove(state->queue, state->queue + state->queue_at,
			state->queue_n * sizeof(state->queue[0]));
	state->queue_at = 0;

	for (i = 0; i < search->batch_n; i++)
	{
		uint32_t	id = search->batch_ids[i];
		uint8_t		flag = search->batch_flags[i];
		HmPoolEntry entry;

		if (HM_UNLIKELY(flag >= HM_ABSENT))
		{
			search->counters.absent += flag == HM_ABSENT;
			if (flag == HM_ABSENT && i >= state->standin_n)
				state->queue[state->queue_n++] = id;
			continue;
		}
		entry.key = hm_key(search->batch_distance[i], id);
		entry.flags = flag == HM_DEAD ? HM_ENTRY_DEAD : 0;
		if (entry.key >> 32 < bound)
			fresh[n++] = entry;
		else
			hm_pool_put_overflow(pool, entry);
	}
	hm_pool_insert(pool, fresh, n);

	search->counters.scored += search->batch_n;
	search->batch_n = 0;
	state->absent_n = state->queue_n;
	state->standin_n = 0;
	state->picked = false;
	return true;
}

/*
 * Adds starting points from all over the graph to the batch: the first ids,
 * which have the highest levels, and random ones.  For a search that came to
 * an end too early, because the entry point and all around it is absent.
 */
static void
seed(HmSearch *search)
{
	uint32_t	element_count = search->state->store->element_count;
	uint32_t	i;

	search->state->seeded = true;
	for (i = 0; i < 2 * SEEDS_OF_EACH && element_count > 0; i++)
	{
		uint32_t	id = i < SEEDS_OF_EACH ? i : (uint32_t) (hm_mix64(i) % element_count);

		if (id >= element_count)
			continue;
		search->batch_ids[search->batch_n] = id;
		search->batch_n += visit(search, id);
	}
}

/* Makes room for n more results.  False: no memory. */
static bool
reserve_results(HmSearch *search, int n)
{
	HmSearchState *state = search->state;
	HmAllocator *allocator = &state->allocator;
	size_t		needed = (size_t) search->result_n + (size_t) n;
	HmCandidate *results;

	if (needed <= state->result_capacity && search->results != NULL)
		return true;
	if (needed > INT_MAX)
		return false;
	needed += needed / 2 + 16;
	if (needed > SIZE_MAX / sizeof(*results))
		return false;
	results = allocator->alloc(allocator->state, needed * sizeof(*results));
	if (results == NULL)
		return false;
	if (search->result_n > 0)
		memcpy(results, search->results, search->result_n * sizeof(*results));
	allocator->release(allocator->state, search->results);
	search->results = results;
	state->result_capacity = needed;
	return true;
}

/* Moves the pool's live candidates to the results.  False: no memory, nothing moved. */
static bool
emit(HmSearch *search)
{
	HmPool	   *pool = &search->state->pool;
	int			i;

	if (!reserve_results(search, pool->live))
		return false;
	for (i = 0; i < pool->size; i++)
	{
		if (!(pool->entries[i].flags & HM_ENTRY_DEAD))
			search->results[search->result_n++] = hm_key_candidate(pool->entries[i].key);
	}
	pool->size = pool->live = pool->cursor = 0;
	pool->spilled = false;
	return true;
}

static inline bool
comes_before(const HmCandidate *a, const HmCandidate *b)
{
	return hm_key(a->distance, a->id) < hm_key(b->distance, b->id);
}

/* Sorts the results: those of one chunk are in order already, several need a heap sort. */
static void
sort_results(HmSearch *search)
{
	HmCandidate *a = search->results;
	int			n = search->result_n;
	int			start;
	int			end;
	int			i;

	for (i = 1; i < n && !comes_before(&a[i], &a[i - 1]); i++)
		 /* in order so far */ ;
	if (i >= n)
		return;

	/* heap sort: first build the heap, then take the largest off again and again */
	for (start = n / 2, end = n; end > 1;)
	{
		HmCandidate sifted;
		int			at;

		if (start > 0)
			sifted = a[at = --start];
		else
		{
			sifted = a[--end];
			a[end] = a[0];
			at = 0;
		}
		while (2 * at + 1 < end)
		{
			int			child = 2 * at + 1;

			if (child + 1 < end && comes_before(&a[child], &a[child + 1]))
				child++;
			if (!comes_before(&sifted, &a[child]))
				break;
			a[at] = a[child];
			at = child;
		}
		a[at] = sifted;
	}
}

/* Goes down one level.  False: no memory; may be called again. */
static bool
descend(HmSearch *search)
{
	HmSearchState *state = search->state;
	HmPool	   *pool = &state->pool;

	state->level--;
	if (!hm_pool_set_limit(pool, beam(search)))
	{
		state->level++;
		return false;
	}
	hm_pool_restart(pool);
	hm_pool_refill(pool);

	/* nothing alive so far: perhaps the entry point has better neighbours here */
	if (pool->size == 0 && state->store->entry_point < state->store->element_count)
	{
		state->queue[0] = state->store->entry_point;
		state->queue_at = 0;
		state->queue_n = state->absent_n = 1;
	}
	state->picked = false;
	return true;
}

/*
 * Nothing is left to expand in the pool: fill it from the overflow, go on to
 * the next level or chunk, or finish.  False: no memory; may be called again.
 */
static bool
advance(HmSearch *search)
{
	HmSearchState *state = search->state;
	HmPool	   *pool = &state->pool;

	state->picked = false;
	if (pool->live < pool->limit && hm_pool_refill(pool))
		return true;
	if (state->level > state->last_level)
		return descend(search);
	if (!emit(search))
		return false;

	if (search->result_n < state->wanted && (pool->overflow_size > 0 || !state->seeded))
	{
		if (!hm_pool_set_limit(pool, beam(search)))
			return false;
		if (!hm_pool_refill(pool))
			seed(search);
		return true;
	}
	sort_results(search);
	state->phase = FINISHED;
	return true;
}

HmStep
hm_search_step(HmSearch *search)
{
	HmSearchState *state = search->state;

	if (state->phase == SCORING)
	{
		if (!absorb(search))
			return HM_STEP_NO_MEMORY;
		state->phase = GATHERING;
	}
	while (state->phase == GATHERING)
	{
		if (!gather(search))
			return HM_STEP_LINKS;
		if (search->batch_n > 0)
		{
			state->phase = SCORING;
			prefetch_next(search);
			return HM_STEP_SCORE;
		}
		if (!advance(search))
			return HM_STEP_NO_MEMORY;
	}
	return HM_STEP_DONE;
}

HmStatus
hm_search_resume(HmSearch *search, int ef)
{
	HmSearchState *state = search->state;

	if (state->phase != FINISHED || state->store == NULL)
		return HM_OK;
	search->result_n = 0;
	state->wanted = larger(ef, 1);
	if (!hm_pool_set_limit(&state->pool, beam(search)))
		return HM_NO_MEMORY;
	hm_pool_refill(&state->pool);
	state->picked = false;
	state->phase = GATHERING;
	return HM_OK;
}

HmStatus
hm_search_drain(HmSearch *search)
{
	HmSearchState *state = search->state;
	HmPool	   *pool = &state->pool;

	search->result_n = 0;
	if (!emit(search))
		return HM_NO_MEMORY;
	while (pool->overflow_size > 0)
	{
		if (!reserve_results(search, 1))
			return HM_NO_MEMORY;
		while (pool->overflow_size > 0 && (size_t) search->result_n < state->result_capacity)
		{
			HmPoolEntry entry = hm_pool_pop_overflow(pool);

			if (!(entry.flags & HM_ENTRY_DEAD))
				search->results[search->result_n++] = hm_key_candidate(entry.key);
		}
	}
	sort_results(search);
	state->phase = FINISHED;
	return HM_OK;
}
