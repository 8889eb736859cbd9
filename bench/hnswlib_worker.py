"""Runs hnswlib in a process of its own: any Python that has hnswlib and numpy may run this.

    hnswlib_worker.py BASE.npy QUERIES.npy METRIC M EF_CONSTRUCTION THREADS K

answers each line of JSON on standard input with one on standard output:
first, unasked, {"version", "module", "build_seconds", "bytes"}; then to
{"ef": n} with {"seconds": s, "ids": [[...]]}: all queries as one batch, in one
thread; "ids" only if "answers" is true in the request.
"""

import json
import os
import resource
import sys
import time

import hnswlib
import numpy as np


def version():
    try:
        from importlib.metadata import version as installed
        return installed("hnswlib")
    except Exception:                           # Debian's package has no metadata of that name
        return "unknown"


def main():
    base_path, queries_path, metric, m, ef_construction, threads, k = sys.argv[1:]
    base, queries = np.load(base_path), np.load(queries_path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    index = hnswlib.Index(metric, base.shape[1])
    index.init_index(len(base), M=int(m), ef_construction=int(ef_construction), random_seed=100)
    started = time.perf_counter()
    index.add_items(base, num_threads=int(threads))
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"version": version(), "module": os.path.abspath(hnswlib.__file__),
                      "build_seconds": seconds, "bytes": grown * 1024}), flush=True)
    index.set_num_threads(1)
    for line in sys.stdin:
        request = json.loads(line)
        index.set_ef(max(request["ef"], int(k)))
        started = time.perf_counter()
        ids, _ = index.knn_query(queries, k=int(k), num_threads=1)
        answer = {"seconds": time.perf_counter() - started}
        if request.get("answers"):
            answer["ids"] = ids.tolist()
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
