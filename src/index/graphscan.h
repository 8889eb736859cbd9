/*-------------------------------------------------------------------------
 *
 * graphscan.h
 *	  The graph's elements by approximate distance, as many as are wanted.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_INDEX_GRAPHSCAN_H
#define HM_INDEX_GRAPHSCAN_H

#include "postgres.h"

#include "graph/search.h"
#include "index/sorter.h"
#include "index/source.h"

typedef struct HmGraphScan
{
	HmReader   *reader;
	HmSource   *source;
	HmSearch   *search;
	double		max_norm;
	bool		exact_copies;

	bool		begun;			/* the first batch is there */
	bool		exhausted;		/* the graph leads no further */
	bool		more;			/* there may be more than what is at hand */
	int			result_next;
	double		presumed;		/* what comes later is presumed no nearer */

	HmSorter   *sorter;			/* a sweep; NULL: batches */
	bool		sweep_has;		/* its next element was taken out already */
	double		sweep_distance;
	int64		sweep_id;
} HmGraphScan;

/*
 * Begins a scan of the reader's graph.  search: working memory, which may come
 * from an earlier scan.
 */
extern void hm_graph_scan_begin(HmGraphScan *scan, HmReader *reader, HmSource *source,
								HmSearch *search);
extern void hm_graph_scan_end(HmGraphScan *scan);

/* True when an element is at hand. *lower: the lower bound of its distance. */
extern bool hm_graph_scan_lower(HmGraphScan *scan, double *lower);

/* Takes the element at hand. */
extern uint32 hm_graph_scan_take(HmGraphScan *scan);

/*
 * What the elements that are not at hand are presumed to be no nearer than:
 * infinity when there are none.
 */
extern double hm_graph_scan_presumed(const HmGraphScan *scan);

/* True when no more elements are to be had. */
static inline bool
hm_graph_scan_ended(const HmGraphScan *scan)
{
	return !scan->more;
}

/*
 * Gets more elements at hand, by the next batch or by a sweep of all the rest,
 * or ends the scan when there are none or settings forbid it.  *search is where
 * the owner of the working memory keeps it: set to NULL when a fault left it
 * in a state in which it cannot be used again.
 */
extern void hm_graph_scan_more(HmGraphScan *scan, HmSearch **search);

/* True when every element was at hand or had no vector to read. */
extern bool hm_graph_scan_complete(const HmGraphScan *scan);

/* Working memory for a search: hm_graph_search_put gives it back for the next scan. */
extern HmSearch *hm_graph_search_get(void);
extern void hm_graph_search_put(HmSearch *search);

#endif							/* HM_INDEX_GRAPHSCAN_H */
