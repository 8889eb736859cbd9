"""From what writes.py measured: a table for people, and a plot of latencies."""

import statistics


def _median(values):
    return statistics.median(values)


def _header(results):
    machine, data, parameters = results["machine"], results["data"], results["parameters"]
    yield f"{data['name']}: {data['rows']:,} x {data['dimensions']}, {data['queries']:,} queries, {results['metric']}"
    yield (f"{machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GB,"
           f" PostgreSQL {results['server']['postgresql']}; load average {machine['load_average']:.1f} before")
    yield (f"m = {parameters['m']}, ef_construction = {parameters['ef_construction']}, vectors = '{parameters['vectors']}',"
           f" merge_log_entries = {parameters['merge_log_entries']:,}; medians of {parameters['rounds']}")


def _line(what, value):
    return f"  {what:68} {value:>14}"


def _spread(values, form=",.0f"):
    return f" ({format(min(values), form)} to {format(max(values), form)})" if len(values) > 1 else ""


def _inserts(found):
    yield _line(f"table of {found['base_rows']:,} rows; rows/s of its build in one process",
                f"{statistics.mean(found['build_rows_per_second']):,.0f}") + _spread(found["build_rows_per_second"])
    for key, what in (("log", "into the log"), ("plain", "into the table without the index")):
        yield _line(f"rows/s {what}, {found['log_rows']:,} in one statement", f"{_median(found[key + '_rows_per_second']):,.0f}")
        if found[key + "_transactions_per_second"]:
            yield _line(f"rows/s {what}, a row per transaction", f"{found[key + '_transactions_per_second']:,.0f}")
    steps = found["sustained_steps"]
    yield _line("rows/s sustained, inserting and merging in turn, one process", f"{found['sustained_rows_per_second']:,.0f}")
    yield _line("  of that time in merges", f"{_share(steps):.0%}")
    if found["sustained_by_processor_time"]:
        yield _line("  by those of the build, both by processor time instead of the clock",
                    f"{found['sustained_by_processor_time']:.2f} x")
    asked = found["background_asked"]
    yield _line("rows/s until merged, beside the background worker", f"{found['background']['rows_per_second']:,.0f}")
    yield _line("rows/s until merged, beside the worker and a client that asks", f"{asked['rows_per_second']:,.0f}")
    yield _line("queries/s of that client before", f"{asked['queries_before']:,.0f}")
    yield _line("queries/s of that client meanwhile", f"{asked['queries_meanwhile']:,.0f}")


def _share(steps):
    merging = sum(step["merge"]["seconds"] for step in steps)
    return merging / (merging + sum(step["insert"]["seconds"] for step in steps))


def _wal(found):
    yield "  bytes of WAL per row       table   index: log      merges         sum    rows inserted"
    for cycle in found["cycles"]:
        row = cycle["per_row"]
        remark = "" if cycle["complete"] else ", the base not yet rewritten"
        remark += ", A CHECKPOINT IN BETWEEN" if cycle["checkpoint_in_between"] else ""
        yield (f"  from {cycle['base_rows']:10,} rows  {row['table']:10,.0f}  {row['log']:10,.0f}  {row['merge']:10,.0f}"
               f"  {cycle['index_bytes_per_row']:10,.0f}    {cycle['inserted']:,}{remark}")
    formula = found["formula"]
    if formula:
        yield (f"  n rows: {formula['at_100000']:,.0f} {formula['per_doubling']:+,.0f} x log2(n / 100,000) bytes a row for the index;"
               f" off by at most {max(map(abs, formula['residuals'])):,.0f}")
    else:
        yield "  too few rows for a formula: sizes from four times merge_log_entries on count"


def _load(found):
    rounds = found["rounds"]
    for key, part, what in (
            ("index_first", "insert_seconds", "index first: s to load"),
            ("index_first", "merge_seconds", "index first: s until merged after that"),
            ("rows_first", "insert_seconds", "rows first: s to load"),
            ("rows_first", "build_seconds", f"rows first: s of CREATE INDEX, {found['processes']} processes"),
            ("rows_first", "build_alone_seconds", "rows first: s of CREATE INDEX, 1 process")):
        values = [one[key][part] for one in rounds]
        yield _line(what, f"{_median(values):.2f}") + _spread(values, ".2f")
    values = [one["ratio_alone"] for one in rounds]
    yield _line("index first, by rows first with 1 process", f"{_median(values):.2f} x") + _spread(values, ".2f")


def _vacuum(found):
    rounds = found["rounds"]
    for what, values, form in (
            ("s of VACUUM with the index", [one["with"]["seconds"] for one in rounds], ".3f"),
            ("s of VACUUM without", [one["without"]["seconds"] for one in rounds], ".3f"),
            ("kB of WAL of the index", [one["index_wal_bytes"] / 1e3 for one in rounds], ",.0f"),
            ("s of the merge with repair that follows", [one["merge"]["seconds"] for one in rounds], ".2f"),
            ("  MB of WAL", [one["merge"]["wal_bytes"] / 1e6 for one in rounds], ",.1f"),
            ("  lists repaired", [one["merge"]["repaired"] for one in rounds], ",.0f")):
        yield _line(what, format(_median(values), form)) + _spread(values, form)


def _latency(found):
    yield (f"  table of {found['base_rows']:,} rows and 20 % more; us per query in a batch at ef_search = {found['ef_search']},"
           " beside a copy that does not grow")
    yield f"  ratio: of {found['states'][0]['clock']} time, in pairs"
    yield "       rows   in the log   parts     us/query      copy's     ratio   distances"
    for state in found["states"]:
        yield (f"  {state['rows']:9,}   {state['log_entries']:10,}   {state['parts']:5}   {state['us']:10,.1f}"
               f"  {state['fixed_us']:10,.1f}   {state['ratio']:7.2f}   {state['distances']:9,.0f}")
    if found["backlog"]:
        yield _line("a log that merges do not keep up with, worst by best", f"{found['backlog']:.2f} x")


def _fresh(found):
    parts = f"{found['parts']} part" + "s" * (found["parts"] > 1)
    check = found["check"]
    yield _line(f"{found['merges']:,} merges, {parts}; elements that cannot be reached",
                f"{check['unreachable']:,} of {check['elements']:,}")
    if "lists_repaired" in found:
        yield _line("lists repaired", f"{found['lists_repaired']:,}")
    yield "       ef     recall  distances    batch/s   fresh: recall  distances    batch/s"
    for number, point in enumerate(found["curve"]):
        fresh = [points[number] for points in found["fresh"]]
        yield (f"  {point['ef']:7}    {point['recall']:7.4f}  {point['distances']:9,.0f}  {point['batch_queries_per_second']:9,.0f}"
               f"         {_median([one['recall'] for one in fresh]):7.4f}"
               f"  {_median([one['distances'] for one in fresh]):9,.0f}"
               f"  {_median([one['batch_queries_per_second'] for one in fresh]):9,.0f}")
    for one in found["at_recall"]:
        if one["ratio"]:
            yield _line(f"distances at recall {one['recall']:.2f}: {one['distances']:,.0f}; fresh {_median(one['fresh']):,.0f}"
                        + _spread(one["fresh"]), f"{one['ratio']:.2f} x")


LINES = {"inserts": _inserts, "wal": _wal, "load": _load, "vacuum": _vacuum,
         "latency": _latency, "growth": _fresh, "turnover": _fresh}


def _goals(results):
    for section in results["sections"].values():
        for one in section["goals"]:
            large = one["limit"] >= 100
            form = ",.0f" if large else ",.2f"
            value = "–" if one["value"] is None else format(one["value"], form) + one["unit"]
            limit = f"{'≤' if one['at_most'] else '≥'} {one['limit']:{',.0f' if large else 'g'}}"
            met = {True: "met", False: "MISSED", None: "not known"}[one["met"]]
            yield f"  {one['what']:84} {value:>12}   {limit:>8}   {met}" + (f", {one['note']}" if one["note"] else "")


def table(results):
    lines = list(_header(results))
    for name, section in results["sections"].items():
        lines += ["", f"{name} ({section['took_seconds']:,.0f} s)"]
        lines += LINES[name](section)
    lines += ["", "goals"]
    lines += _goals(results)
    return "\n".join(lines) + "\n"


def plot(results, path):
    """Draws latency by rows in the log and parts, relative to the copy that does not grow; returns whether there was what it takes (matplotlib may be absent)."""
    found = results["sections"].get("latency")
    if not found:
        return False
    try:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    states, bound = found["states"], found["merge_log_entries"]
    figure, (by_log, by_rows) = pyplot.subplots(1, 2, figsize=(13, 5))
    for number, parts in enumerate(sorted({state["parts"] for state in states})):
        points = sorted((state["log_entries"], state["ratio"]) for state in states if state["parts"] == parts)
        by_log.plot(*zip(*points), "o", markersize=4, color=f"C{number}", label=f"{parts} part{'s' * (parts > 1)}")
        means = {log: statistics.mean(ratio for at, ratio in points if at == log) for log, _ in points}
        by_log.plot(list(means), list(means.values()), "-", linewidth=1, color=f"C{number}")
    by_log.axvline(bound, color="grey", linestyle=":", linewidth=1)
    stops = [factor for factor in (0, 0.5, 1, 2, 4, 8) if factor * bound <= max(state["log_entries"] for state in states)]
    by_log.set_xscale("symlog", linthresh=bound)
    by_log.set_xticks([factor * bound for factor in stops], [f"{factor * bound:,.0f}" for factor in stops])
    by_log.minorticks_off()
    by_log.set_xlabel("rows in the log (dotted: a merge is due)")
    by_log.legend(loc="lower left", fontsize=8, ncols=2)
    usual = [state for state in states if state["log_entries"] <= bound]
    for wanted, label in ((lambda log: log == 0, "empty log"), (lambda log: log >= 0.9 * bound, "full log")):
        points = [(state["rows"], state["ratio"]) for state in usual if wanted(state["log_entries"])]
        if points:
            by_rows.plot(*zip(*points), "-o", markersize=4, label=label)
    for state in usual:
        if state["log_entries"] == 0:
            by_rows.annotate(str(state["parts"]), (state["rows"], state["ratio"]), textcoords="offset points",
                             xytext=(0, 6), ha="center", fontsize=8)
    by_rows.set_xlabel(f"rows, from {found['base_rows']:,} on (numbers: parts)")
    by_rows.legend(loc="lower left")
    for axis in (by_log, by_rows):
        axis.set_ylabel(f"query's {states[0]['clock']} time, relative to the copy's")
        axis.set_ylim(bottom=0)
        axis.grid(True, alpha=0.3)
    data = results["data"]
    figure.suptitle(f"{data['name']}, {data['dimensions']} dimensions, vectors = '{results['parameters']['vectors']}',"
                    f" ef_search = {found['ef_search']}: {results['machine']['processor']}")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
