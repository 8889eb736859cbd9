"""What many sessions at once cost: memory, page tables, and the first query of each.

Reads the server's processes in /proc, so it must run on the server's machine,
as root or as the server's own user.
"""

import time

import numpy as np

import server


def _percentiles(seconds):
    return {"p50_ms": float(np.percentile(seconds, 50)) * 1e3, "p99_ms": float(np.percentile(seconds, 99)) * 1e3}


def _memory(pid):
    """Proportional set size and page tables of a process, in kB."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup", encoding="ascii") as lines:
        for line in lines:
            name, _, value = line.partition(":")
            if name in ("Pss", "Pss_Anon", "Pss_File", "Pss_Shmem", "Rss"):
                found[name] = int(value.split()[0])
    with open(f"/proc/{pid}/status", encoding="ascii") as lines:
        for line in lines:
            if line.startswith("VmPTE"):
                found["VmPTE"] = int(line.split()[1])
    return found


def _timed(connection, sql):
    started = time.perf_counter()
    server.execute(connection, sql)
    return time.perf_counter() - started


def measure(system, count, n_queries):
    """Opens sessions one after the other, searches in each, and adds up what they hold.

    Each asks 20 different queries with the default ef; before the first one a
    lookup by primary key has filled the caches that any query needs.
    """
    search, sessions = system.search, []
    connect, lookup, first, later, pids = [], [], [], [], []
    try:
        for i in range(count):
            started = time.perf_counter()
            session = server.connect(search.settings())
            connect.append(time.perf_counter() - started)
            sessions.append(session)
            pids.append(session.get_backend_pid())
            lookup.append(_timed(session, f"SELECT id FROM {search.table} WHERE id = {i + 1}"))
            for j in range(20):
                query = (i * 20 + j) % n_queries + 1
                seconds = _timed(session, search.single.replace(":id", str(query)))
                (first if j == 0 else later).append(seconds)
        try:
            memory = [_memory(pid) for pid in pids]
        except OSError as error:
            memory, unreadable = [], str(error)
    finally:
        for session in sessions:
            session.close()
    result = {"sessions": count, "queries_each": 20, "connect": _percentiles(connect),
              "lookup_by_key": _percentiles(lookup), "first_query": _percentiles(first),
              "later_queries": _percentiles(later)}
    if memory:
        result["total_kb"] = {name: sum(one.get(name, 0) for one in memory) for name in memory[0]}
        result["largest_pte_kb"] = max(one.get("VmPTE", 0) for one in memory)
    else:
        result["memory_unreadable"] = unreadable
    return result
