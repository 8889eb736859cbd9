"""What writing costs, section by section.  bench/README.md says what each number means.

Every section makes its own tables from `source`, drops them, and returns a dict
for results.json: its measurements, and under "goals" what they come to.
"""

import statistics
import time

import numpy as np

import report
import server
import vectors
import write_tables

GROWTH = 1.2                # a section's table grows by 20 %: then the policy has folded everything once, or is about to
CYCLE = 1.3                 # as far as `wal` grows a table to see that happen
ROUNDS = 10                 # of growth, and of turnover
BATCH = 100                 # rows of a transaction beside the background worker
BACKLOG = 4                 # logs so many times too long are looked at: beyond, inserters merge
WAL_SHARES = (8, 4, 2, 1)   # sizes that the formula is fitted to: the set's, divided by these
RECALLS = (0.90, 0.95, 0.98)


def goal(what, value, limit, at_most=True, unit="", note=""):
    """A number that has a bound; value may be None: it could not be found out."""
    met = None if value is None else bool(value <= limit if at_most else value >= limit)
    return {"what": what, "value": value, "limit": limit, "at_most": at_most, "unit": unit, "note": note, "met": met}


class Run:
    """The collection, the session that writes, and tables made from both."""

    def __init__(self, arguments, collection, say):
        self.arguments, self.collection, self.say = arguments, collection, say
        self.rows, self.n_queries = len(collection.base), len(collection.queries)
        self.progress = server.Progress()
        self.writer = write_tables.Writer(arguments)

    def table(self, name, rows, indexed=True, workers=0):
        """A table of the first rows, vacuumed and on disk; `built` says what its index took."""
        table = write_tables.Table(self.writer, self.arguments, name)
        table.insert(0, rows)
        table.built = table.build(workers) if indexed else None
        self.settle(table)
        return table

    def settle(self, *tables):
        for table in tables:
            table.vacuum()
        self.writer.execute("CHECKPOINT")

    def exact(self, rows=None):
        """Distances of the true neighbours, among all rows or some."""
        part = self.collection
        if rows is not None:
            part = vectors.Collection(part.name, part.base[rows], part.queries)
        self.say("  searching exactly")
        return vectors.exact_neighbours(part, self.arguments.metric, self.arguments.k)[1]

    def curve(self, table, exact):
        """Recall, distances per query and queries/s of a batch, for every ef."""
        points = []
        for ef in self.arguments.ef:
            session = table.search.open(ef)
            table.search.batch(session)
            seconds = server.median_seconds(lambda: table.search.batch(session), self.arguments.rounds)
            last = server.one(session, "SELECT to_json(s) FROM hnsw_mmap_last_scan() s")
            found = table.search.answers(session, self.n_queries)
            session.close()
            points.append({"ef": ef, "distances": last["distances"] / self.n_queries,
                           "recall": vectors.recall(self.collection, self.arguments.metric, found, exact, self.arguments.k),
                           "batch_queries_per_second": self.n_queries / seconds})
        return points


# ---------------------------------------------------------------- inserts


def _beside_the_worker(run, table, first, last):
    """Inserts in small transactions while background workers merge, until all is merged."""
    run.writer.background(True)
    started = time.monotonic()
    for start in range(first, last, BATCH):
        table.insert(start, min(start + BATCH, last))
        run.progress.show(f"  {start - first:,} of {last - first:,} rows inserted")
    inserted = time.monotonic()
    table.merge()
    merged = time.monotonic()
    run.progress.done()
    run.writer.background(False)
    return {"rows": last - first, "started": started, "ended": merged,
            "inserting_seconds": inserted - started, "seconds": merged - started,
            "rows_per_second": (last - first) / (merged - started), "merges": table.stats()["merges"]}


def _while_asking(run, table, first, last):
    """The same with a client that asks; adds its queries/s before and meanwhile."""
    before = max(2, run.arguments.seconds)
    queries = write_tables.QueryStream(table.search, run.n_queries, run.arguments.ef_search)
    try:
        time.sleep(2)
        quiet = time.monotonic()
        time.sleep(before)
        found = _beside_the_worker(run, table, first, last)
        time.sleep(1.5)
        found["queries_before"] = queries.rate(quiet, found["started"])
        found["queries_meanwhile"] = queries.rate(found["started"], found["ended"])
        found["queries_share"] = found["queries_meanwhile"] / found["queries_before"]
    finally:
        queries.stop()
    return found


def _total(steps, key):
    return sum(step["insert"][key] + step["merge"][key] for step in steps)


def inserts(run):
    base, rows = int(run.rows / GROWTH), run.rows
    count = min(10000, rows - base)
    indexed, plain = run.table("indexed", base), run.table("plain", base, indexed=False)
    found = {"base_rows": base, "log_rows": count, "build_rows_per_second": [base / indexed.built["seconds"]]}

    def reset(table):
        table.delete(f"id > {base}")
        table.vacuum()
        if table is indexed:
            table.merge()

    def rebuild():
        indexed.delete(f"id > {base}")
        indexed.vacuum()
        found["build_rows_per_second"].append(base / indexed.rebuild()["seconds"])
        run.settle(indexed)

    run.say("  into the log, in one statement")
    for key, table in (("log", indexed), ("plain", plain)):
        found[key + "_rows_per_second"] = []
        found[key + "_transactions_per_second"] = None
    for _ in range(run.arguments.rounds):
        for key, table in (("log", indexed), ("plain", plain)):
            found[key + "_rows_per_second"].append(count / table.insert(base, base + count)["seconds"])
            reset(table)

    if run.arguments.seconds:
        run.say("  into the log, a row per transaction")
        run.writer.execute(f"DROP SEQUENCE IF EXISTS ids; CREATE SEQUENCE ids START {rows + 1} CACHE 1000")
        for key, table in (("log", indexed), ("plain", plain)):
            script = f"INSERT INTO {table.name} SELECT nextval('ids'), embedding FROM source WHERE id = :id;"
            found[key + "_transactions_per_second"] = write_tables.Inserts(table.name, table.index).pgbench(
                1, run.arguments.seconds, rows, script=script)["queries_per_second"]
            reset(table)

    run.say("  inserting and merging in turn, one process")
    steps = [{"rows": done, "insert": inserted, "merge": merged}
             for done, inserted, merged in indexed.grow(base, rows, run.progress)]
    found["sustained_steps"] = steps
    found["sustained_rows_per_second"] = (rows - base) / _total(steps, "seconds")
    found["sustained_by_processor_time"] = None
    if indexed.built["processor_seconds"] is not None:
        found["sustained_by_processor_time"] = ((rows - base) / _total(steps, "processor_seconds")
                                                / (base / indexed.built["processor_seconds"]))
    rebuild()
    run.say("  beside the background worker")
    found["background"] = _beside_the_worker(run, indexed, base, rows)
    rebuild()
    run.say("  beside the background worker and a client that asks")
    found["background_asked"] = _while_asking(run, indexed, base, rows)
    rebuild()
    indexed.drop()
    plain.drop()

    per_core = found["sustained_rows_per_second"] / statistics.mean(found["build_rows_per_second"])
    found["goals"] = [
        goal("rows/s into the log, one statement", statistics.median(found["log_rows_per_second"]), 10000, False, "/s"),
        goal("sustained rows/s of one process, merges included, by those of the build in one", per_core, 0.5, False, " x"),
        goal("queries/s meanwhile, by those before", found["background_asked"]["queries_share"], 0.5, False, " x")]
    return found


# ---------------------------------------------------------------- WAL


def _wal_cycle(run, base):
    """Grows a table, and one without the index, until everything has been folded into a new base."""
    indexed, plain = run.table("indexed", base), run.table("plain", base, indexed=False)
    step, last = run.writer.merge_log_entries, min(int(base * CYCLE), run.rows)
    checkpoints = run.writer.checkpoints()
    steps, parts, complete = [], 1, False
    for start in range(base, last - step + 1, step):    # whole steps: a merge of a few rows is dear
        end = start + step
        log, without, merge = indexed.insert(start, end), plain.insert(start, end), indexed.merge()
        complete = merge["parts_folded"] == parts
        parts += 1 - merge["parts_folded"]
        steps.append({"rows": end - start, "parts": parts, "parts_folded": merge["parts_folded"],
                      "table_bytes": without["wal_bytes"], "log_bytes": log["wal_bytes"] - without["wal_bytes"],
                      "merge_bytes": merge["wal_bytes"], "blocks_written": merge["blocks_written"]})
        run.progress.show(f"  {end - base:,} rows inserted, {parts} parts")
        if complete:
            break
    run.progress.done()
    interrupted = run.writer.checkpoints() != checkpoints
    verified = indexed.verify()
    indexed.drop()
    plain.drop()
    rows = sum(one["rows"] for one in steps)
    per_row = {key: sum(one[key + "_bytes"] for one in steps) / rows for key in ("table", "log", "merge")}
    return {"base_rows": base, "inserted": rows, "middle": base + rows / 2, "complete": complete,
            "checkpoint_in_between": interrupted, "per_row": per_row,
            "index_bytes_per_row": per_row["log"] + per_row["merge"], "steps": steps, "check": verified}


def wal(run):
    cycles = []
    for share in WAL_SHARES:
        base = int(run.rows / CYCLE / share)
        if base < 4 * run.writer.merge_log_entries:
            continue
        run.say(f"  from {base:,} rows on")
        cycles.append(_wal_cycle(run, base))
    found = {"cycles": cycles, "formula": None, "goals": []}
    if len(cycles) < 2:
        return found
    sizes = [cycle["middle"] for cycle in cycles]
    slope, start = np.polyfit(np.log2(np.array(sizes) / 100000), [cycle["index_bytes_per_row"] for cycle in cycles], 1)
    found["formula"] = {"at_100000": float(start), "per_doubling": float(slope),
                        "residuals": [cycle["index_bytes_per_row"] - float(start + slope * np.log2(size / 100000))
                                      for cycle, size in zip(cycles, sizes)]}
    unfinished = [] if all(cycle["complete"] for cycle in cycles) else ["without every new base: at least"]
    for size, limit in ((100000, 3000), (1000000, 4500)):
        near = min(sizes) / 1.25 <= size <= max(sizes) * 1.25
        note = ", ".join(unfinished + ([] if near else ["extrapolated"]))
        found["goals"].append(goal(f"WAL of the index per row at {size:,} rows, by the formula",
                                   float(start + slope * np.log2(size / 100000)), limit, unit=" bytes", note=note))
    return found


# ---------------------------------------------------------------- loading


def load(run):
    rows = min(100000, run.rows)
    rounds = []
    for number in range(run.arguments.rounds):
        run.say(f"  round {number + 1}: the index first")
        table = run.table("loaded", 0)
        run.writer.background(True)
        inserted, merged = table.insert(0, rows), table.merge()
        run.writer.background(False)
        stats = table.stats()
        if stats["log_entries"]:
            raise SystemExit(f"{stats['log_entries']} rows are still in the log")
        first = {"insert_seconds": inserted["seconds"], "merge_seconds": merged["seconds"],
                 "seconds": inserted["seconds"] + merged["seconds"], "wal_bytes": inserted["wal_bytes"] + merged["wal_bytes"],
                 "merges": stats["merges"], "parts": stats["parts"]}
        if number == 0:
            first["check"] = table.verify()
        run.say(f"  round {number + 1}: the rows first")
        table = write_tables.Table(run.writer, run.arguments, "loaded")
        inserted = table.insert(0, rows)
        built, alone = table.build(run.arguments.workers), table.rebuild(0)
        table.drop()
        after = {"insert_seconds": inserted["seconds"], "build_seconds": built["seconds"], "build_alone_seconds": alone["seconds"],
                 "seconds": inserted["seconds"] + built["seconds"], "alone_seconds": inserted["seconds"] + alone["seconds"],
                 "wal_bytes": inserted["wal_bytes"] + built["wal_bytes"]}
        rounds.append({"index_first": first, "rows_first": after, "ratio": first["seconds"] / after["seconds"],
                       "ratio_alone": first["seconds"] / after["alone_seconds"]})
    return {"rows": rows, "processes": run.arguments.workers + 1, "rounds": rounds, "goals": [
        goal(f"loading {rows:,} rows into an indexed table, by loading and then indexing",
             statistics.median(one["ratio"] for one in rounds), 2, unit=" x")]}


# ---------------------------------------------------------------- VACUUM


def vacuum(run):
    rows = min(115000, run.rows)
    rounds = []
    for number in range(run.arguments.rounds):
        run.say(f"  round {number + 1}")
        tables = [run.table("indexed", rows), run.table("plain", rows, indexed=False)]
        for table in tables:
            table.delete("id % 10 = 0")
        run.writer.execute("CHECKPOINT")
        done = {table.name: table.vacuum("") for table in (tables if number % 2 else reversed(tables))}
        merged = tables[0].merge()
        found = {"with": done["indexed"], "without": done["plain"], "merge": merged, "check": tables[0].verify(),
                 "index_seconds": done["indexed"]["seconds"] - done["plain"]["seconds"],
                 "index_wal_bytes": done["indexed"]["wal_bytes"] - done["plain"]["wal_bytes"]}
        for table in tables:
            table.drop()
        rounds.append(found)
    return {"rows": rows, "deleted": rows // 10, "rounds": rounds, "goals": [
        goal(f"VACUUM of the index after deleting 10 % of {rows:,} rows",
             statistics.median(one["index_seconds"] for one in rounds), 1, unit=" s")]}


# ---------------------------------------------------------------- latency


def latency(run):
    """Batches of a table that grows and of a copy that does not, in turn."""
    step = run.writer.merge_log_entries
    spare = BACKLOG * step if BACKLOG * step <= run.rows // 4 else 0
    base = int((run.rows - spare) / GROWTH)
    growing, fixed = (run.table(name, base, workers=run.arguments.workers) for name in ("growing", "fixed"))
    sessions = [(table.search, table.search.open(run.arguments.ef_search)) for table in (growing, fixed)]
    states, seen = [], set()

    def batches():
        """Of both tables: seconds, and those on a processor."""
        found = []
        for search, session in sessions:
            processor = write_tables.processor_seconds(session)
            seconds = search.batch(session)
            found.append((seconds, write_tables.elapsed(processor, write_tables.processor_seconds(session))))
        return found

    def observe():
        batches()                                       # the first one looks at what is new
        last = server.one(sessions[0][1], "SELECT to_json(s) FROM hnsw_mmap_last_scan() s")
        pairs = [batches() for _ in range(2 * run.arguments.rounds + 1)]
        clock = 0 if pairs[0][0][1] is None else 1
        stats = growing.stats()
        states.append({"rows": stats["rows"] + stats["log_live"], "log_entries": stats["log_entries"], "parts": stats["parts"],
                       "us": statistics.median(ours[0] for ours, _ in pairs) / run.n_queries * 1e6,
                       "fixed_us": statistics.median(fixed[0] for _, fixed in pairs) / run.n_queries * 1e6,
                       "ratio": statistics.median(ours[clock] / fixed[clock] for ours, fixed in pairs),
                       "clock": ("wall", "processor")[clock], "distances": last["distances"] / run.n_queries})
        run.progress.show(f"  {stats['log_entries']:,} rows in the log, {stats['parts']} parts: {states[-1]['ratio']:.2f} x")
        return stats["parts"]

    parts, last = observe(), int(base * GROWTH)
    for start in range(base, last, step):
        end = min(start + step, last)
        stops = [end] if parts in seen else [start + (end - start) * quarter // 4 for quarter in (1, 2, 3, 4)]
        seen.add(parts)
        for low, high in zip([start] + stops, stops):
            growing.insert(low, high)
            observe()
        growing.merge()
        parts = observe()
    if spare:
        reached = 0
        for factor in (2, BACKLOG):
            growing.insert(last + reached, last + factor * step)
            reached = factor * step
            observe()
    run.progress.done()
    for _, session in sessions:
        session.close()
    growing.drop()
    fixed.drop()

    usual = [state["ratio"] for state in states if state["log_entries"] <= step]
    empty = [state["ratio"] for state in states if state["log_entries"] == 0]
    backlog = [state["ratio"] for state in states if state["log_entries"] > step]
    return {"base_rows": base, "ef_search": run.arguments.ef_search, "merge_log_entries": step, "states": states,
            "backlog": max(backlog) / min(usual) if backlog else None, "goals": [
                goal("query latency, worst by best state", max(usual) / min(usual), 2, unit=" x"),
                goal("the same with an empty log", max(empty) / min(empty), 1.15, unit=" x")]}


# ---------------------------------------------------------------- what is left behind


def _distances_at(points, wanted):
    """Distances at a recall, interpolated as report.py does; None where no two points enclose it."""
    found = report.rate_at([(point["recall"], 1 / point["distances"]) for point in points], wanted)
    return 1 / found["rate"] if found and not found["bound"] else None


def _beside_fresh(run, table, exact, what):
    """Compares an index that was grown with `rounds` that are built anew from the same table."""
    table.vacuum()
    stats, check = table.stats(), table.verify()
    run.say("  measuring it")
    grown, fresh = run.curve(table, exact), []
    for number in range(run.arguments.rounds):
        run.say(f"  building it anew, {number + 1} of {run.arguments.rounds}")
        table.rebuild(run.arguments.workers)
        run.settle(table)
        fresh.append(run.curve(table, exact))
    compared = []
    for wanted in RECALLS:
        ours, theirs = _distances_at(grown, wanted), [_distances_at(points, wanted) for points in fresh]
        ratio = ours / statistics.median(theirs) if ours and None not in theirs else None
        compared.append({"recall": wanted, "distances": ours, "fresh": theirs, "ratio": ratio})
    ratios = [one["ratio"] for one in compared if one["ratio"]]
    return {"rows": stats["rows"], "parts": stats["parts"], "merges": stats["merges"], "check": check,
            "curve": grown, "fresh": fresh, "at_recall": compared, "goals": [
                goal(f"distances at equal recall after {what}, by a fresh build's", max(ratios) if ratios else None, 1.15,
                     unit=" x", note="" if ratios else "no recall that both reached: give lower or higher --ef")]}


def growth(run):
    sizes = [int(run.rows / GROWTH ** left) for left in range(ROUNDS, -1, -1)]
    table = run.table("grown", sizes[0])
    for first, last in zip(sizes, sizes[1:]):
        run.say(f"  growing from {first:,} to {last:,} rows")
        for _ in table.grow(first, last, run.progress):
            pass
    found = _beside_fresh(run, table, run.exact(), f"{ROUNDS} rounds of 20 % growth")
    table.drop()
    return found


def turnover(run):
    """Each round deletes a fifth of the rows at random, and inserts as many that were never there."""
    each = int(run.rows / (1 + ROUNDS / 5)) // 5
    first = 5 * each
    random = np.random.default_rng(1)
    live, repaired = np.arange(first), 0
    table = run.table("turned", first)
    for number in range(ROUNDS):
        run.say(f"  round {number + 1}: replacing {each:,} of {first:,} rows")
        random.shuffle(live)
        table.delete(f"id IN ({','.join(str(row + 1) for row in live[:each])})")
        table.vacuum("")
        repaired += table.merge()["repaired"]
        start = first + number * each
        for _, _, merged in table.grow(start, start + each, run.progress):
            repaired += merged["repaired"]
        live = np.concatenate((live[each:], np.arange(start, start + each)))
    found = _beside_fresh(run, table, run.exact(np.sort(live)), f"{ROUNDS} rounds of 20 % turnover")
    found["lists_repaired"] = repaired
    table.drop()
    return found


SECTIONS = {"inserts": inserts, "wal": wal, "load": load, "vacuum": vacuum,
            "latency": latency, "growth": growth, "turnover": turnover}
