/*-------------------------------------------------------------------------
 *
 * import_graph.c
 *	  Building an index from another library's graph: the lists.
 *
 * A node whose label no live row has, or that is marked as deleted, is not
 * taken over.  Where it was a neighbour its own neighbours take its place, and
 * theirs where those are gone too, as far as HOP_NODES; the selection heuristic
 * chooses among them and the neighbours that are left.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include <math.h>

#include "graph/build_graph.h"
#include "index/import_state.h"
#include "miscadmin.h"
#include "simd/simd.h"

#define ADOPT_STEP		256		/* elements between looks for interrupts */
#define HOP_NODES		64		/* missing nodes that are gone past, for one list */
#define HOP_ELEMENTS	128		/* elements that come in for them, at most */
#define SAMPLE			256		/* elements whose lists are looked at */

/* Arguments of adopt_step. */
typedef struct AdoptCall
{
	HmImport   *import;
	HmBuilder  *builder;
	uint32		first;
	uint32		end;
} AdoptCall;

/* What an element's list will be made from. */
typedef struct Gathered
{
	uint32		ids[HM_MAX_BATCH];
	int			n;
	uint32		missing[HOP_NODES];
	int			missing_n;
} Gathered;

static inline void
note_missing(Gathered *gathered, uint32 node)
{
	for (int i = 0; i < gathered->missing_n; i++)
	{
		if (gathered->missing[i] == node)
			return;
	}
	if (gathered->missing_n < HOP_NODES)
		gathered->missing[gathered->missing_n++] = node;
}

/* Adds the elements of a node's neighbours, no more than `limit` in all. */
static void
gather_links(const HmImport *import, uint32 node, int level, int limit, Gathered *gathered)
{
	const uint32 *element_of_node = (const uint32 *) import->element_of_node->base;
	uint32		slots[2 * HM_GRAPH_FILE_MAX_M];
	int			n = hm_graph_file_links(&import->file, hm_import_upper(import), node, level, slots);

	for (int i = 0; i < n; i++)
	{
		uint32		element = element_of_node[slots[i]];

		if (element == HM_NO_ID)
			note_missing(gathered, slots[i]);
		else if (gathered->n < limit)
			gathered->ids[gathered->n++] = element;
	}
}

static void
adopt_list(const HmImport *import, HmBuilder *builder, uint32 element, int level)
{
	const uint32 *next_node = (const uint32 *) import->next_node->base;
	uint32		node = ((const uint32 *) import->node_of_element->base)[element];
	Gathered	gathered;
	int			limit;

	gathered.n = 0;
	gathered.missing_n = 0;
	for (; node != HM_NO_ID; node = next_node[node])
	{
		if (hm_graph_file_level(&import->file, hm_import_upper(import), node) >= level)
			gather_links(import, node, level, HM_MAX_BATCH - HOP_ELEMENTS, &gathered);
	}
	limit = gathered.n + HOP_ELEMENTS;
	for (int i = 0; i < gathered.missing_n && gathered.n < limit; i++)
		gather_links(import, gathered.missing[i], level, limit, &gathered);
	hm_build_adopt(builder, element, level, gathered.ids, gathered.n, gathered.missing_n > 0);
}

static void
adopt_step(void *argument)
{
	AdoptCall  *call = argument;
	HmImport   *import = call->import;
	const uint32 *node_of_element = (const uint32 *) import->node_of_element->base;

	for (uint32 element = call->first; element < call->end; element++)
	{
		if (node_of_element[element] == HM_NO_ID)
			continue;
		for (int level = hm_build_level(call->builder->graph, element); level >= 0; level--)
			adopt_list(import, call->builder, element, level);
	}
}

/* The file's entry point first: of several elements as high it is to stay that. */
static void
adopt_entry_step(void *argument)
{
	AdoptCall  *call = argument;

	call->first = ((const uint32 *) call->import->element_of_node->base)[call->import->file.header.entry];
	call->end = call->first + 1;
	if (call->first != HM_NO_ID)
		adopt_step(call);
}

void
hm_import_adopt(HmImport *import, HmBuilder *builder)
{
	AdoptCall	call = {.import = import, .builder = builder};

	hm_scratch_call(adopt_entry_step, &call);
	for (uint64 first = 0; first < import->element_count; first += ADOPT_STEP)
	{
		call.first = (uint32) first;
		call.end = (uint32) Min(first + ADOPT_STEP, import->element_count);
		hm_scratch_call(adopt_step, &call);
		CHECK_FOR_INTERRUPTS();
	}
}

/* Arguments and results of verify_step. */
typedef struct VerifyCall
{
	HmImport   *import;
	HmBuilder  *builder;
	const uint16 *copies;
	uint32		dim;
	uint32		element;
	bool		looked;			/* the element has neighbours */
	bool		nearest_linked[HM_COSINE + 1];	/* by each metric */
} VerifyCall;

/* Ranks of a pair by all metrics, from the cosine of their copies and their norms. */
static void
rank_pair(const VerifyCall *call, uint32 a, uint32 b, double *rank)
{
	const float *norms = (const float *) call->import->norms->base;
	HmDotNorms	sums = hm_kernels->dot_norms_f16(call->copies + (size_t) a * call->dim,
												 call->copies + (size_t) b * call->dim, call->dim);
	double		lengths = sqrt((double) sums.norm_a) * sqrt((double) sums.norm_b);
	double		cosine = lengths > 0 ? sums.dot / lengths : 0;
	double		product = cosine * norms[a] * norms[b];

	rank[HM_L2] = (double) norms[a] * norms[a] + (double) norms[b] * norms[b] - 2 * product;
	rank[HM_INNER_PRODUCT] = -product;
	rank[HM_COSINE] = -cosine;
}

/*
 * Looks whether the nearest element among an element's neighbours and their
 * neighbours is one of the former.  It is, nearly always, by the metric that
 * the graph was built for: of all candidates, selection takes the nearest first.
 */
static void
verify_step(void *argument)
{
	VerifyCall *call = argument;
	const HmBuildGraph *graph = call->builder->graph;
	HmBuildList near = hm_build_list(graph, call->element, 0);
	int			near_n = hm_list_used(&near);
	double		best[HM_COSINE + 1] = {INFINITY, INFINITY, INFINITY, INFINITY};

	call->looked = near_n > 0;
	for (int i = 0; i < near_n; i++)
	{
		double		rank[HM_COSINE + 1];

		rank_pair(call, call->element, hm_link_id(&near, i), rank);
		for (int metric = HM_L2; metric <= HM_COSINE; metric++)
			best[metric] = Min(best[metric], rank[metric]);
	}
	for (int metric = HM_L2; metric <= HM_COSINE; metric++)
		call->nearest_linked[metric] = true;
	for (int i = 0; i < near_n; i++)
	{
		HmBuildList far = hm_build_list(graph, hm_link_id(&near, i), 0);
		int			far_n = hm_list_used(&far);

		for (int j = 0; j < far_n; j++)
		{
			double		rank[HM_COSINE + 1];

			if (hm_link_id(&far, j) == call->element)
				continue;
			rank_pair(call, call->element, hm_link_id(&far, j), rank);
			for (int metric = HM_L2; metric <= HM_COSINE; metric++)
				call->nearest_linked[metric] &= !(rank[metric] < best[metric] - 1e-3 * fabs(best[metric]));
		}
	}
}

static const char *
metric_name(HmMetric metric)
{
	switch (metric)
	{
		case HM_L2:
			return "Euclidean distance (l2)";
		case HM_INNER_PRODUCT:
			return "inner product (ip)";
		case HM_COSINE:
			return "cosine distance (cosine)";
	}
	return "";
}

void
hm_import_verify(HmImport *import, HmBuilder *builder, HmMetric metric,
				 const uint16 *copies, uint32 dim)
{
	VerifyCall	call = {.import = import, .builder = builder, .copies = copies, .dim = dim};
	uint32		sample = Min(SAMPLE, import->element_count);
	double		found[HM_COSINE + 1] = {0};
	int			looked = 0;
	HmMetric	best = metric;

	for (uint32 i = 0; i < sample; i++)
	{
		call.element = (uint32) ((uint64) i * import->element_count / sample);
		if (!hm_build_is_adopted(builder->graph, call.element))
			continue;
		hm_scratch_call(verify_step, &call);
		CHECK_FOR_INTERRUPTS();
		if (!call.looked)
			continue;
		looked++;
		for (int other = HM_L2; other <= HM_COSINE; other++)
			found[other] += call.nearest_linked[other];
	}
	for (int other = HM_L2; other <= HM_COSINE; other++)
	{
		if (found[other] > found[best])
			best = other;
	}
	ereport(DEBUG1,
			(errmsg_internal("of %d lists, %.0f have the nearest element by l2, %.0f by ip, %.0f by cosine",
							 looked, found[HM_L2], found[HM_INNER_PRODUCT], found[HM_COSINE])));
	if (looked == 0 || (found[metric] >= 0.5 * looked && found[metric] >= found[best] - 0.15 * looked))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_DATA_EXCEPTION),
			 errmsg("graph file \"%s\" does not look like a graph of these vectors by %s",
					import->request->path, metric_name(metric)),
			 errdetail("Of %d elements, %.0f are linked to the nearest among their neighbours' neighbours.",
					   looked, found[metric]),
			 found[best] >= 0.5 * looked ?
			 errhint("It does by %s: name that operator class.", metric_name(best)) :
			 errhint("Perhaps its labels are other rows' than those of the table.")));
}
