"""From what bench.py measured: comparisons at equal recall, a table, a plot."""

import json
import math
import os
import platform

HERE = os.path.dirname(os.path.abspath(__file__))
RECALLS = (0.90, 0.95, 0.99)


def read_baselines():
    with open(os.path.join(HERE, "baselines.json"), encoding="utf-8") as source:
        return json.load(source)


def describe_machine():
    model, memory = platform.processor() or platform.machine(), None
    with open("/proc/cpuinfo", encoding="utf-8") as lines:
        for line in lines:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    with open("/proc/meminfo", encoding="ascii") as lines:
        memory = int(next(line for line in lines if line.startswith("MemTotal")).split()[1]) * 1024
    return {"processor": model, "cores": len(os.sched_getaffinity(0)), "memory_bytes": memory,
            "kernel": platform.release(), "architecture": platform.machine(), "load_average": os.getloadavg()[0]}


# ---------------------------------------------------------------- equal recall


def rate_at(points, wanted):
    """Queries/s at a recall, from (recall, queries/s) pairs: {"rate", "bound"}.

    Between two points the logarithm of the rate is taken as linear in recall.
    Below the first point the rate is at least that point's (bound ">="); a
    recall that was not reached has no rate (None).
    """
    points = sorted(points)
    if not points or points[-1][0] < wanted:
        return None
    if points[0][0] >= wanted:
        return {"rate": points[0][1], "bound": "" if points[0][0] == wanted else ">="}
    for (low, low_rate), (high, high_rate) in zip(points, points[1:]):
        if low <= wanted <= high and high > low:
            share = (wanted - low) / (high - low)
            return {"rate": math.exp((1 - share) * math.log(low_rate) + share * math.log(high_rate)), "bound": ""}
    return None


def ratio(ours, theirs):
    """How many times theirs ours is: {"ratio", "bound"} or None."""
    if not ours or not theirs:
        return None
    bound = {("", ""): "", (">=", ""): ">=", ("", ">="): "<="}.get((ours["bound"], theirs["bound"]), "~")
    return {"ratio": ours["rate"] / theirs["rate"], "bound": bound}


def batch_points(system):
    return [(point["recall"], point["batch_queries_per_second"]) for point in system["curve"]]


def sql_points(system, clients=1):
    return [(point["recall"], run["queries_per_second"]) for point in system["curve"]
            for run in point.get("pgbench", []) if run["clients"] == clients]


def client_counts(results):
    return sorted({run["clients"] for system in results["systems"]
                   for point in system["curve"] for run in point.get("pgbench", [])} | {1})


def sides(clients):
    """The names under which rates are kept: of the batch, of one client, and of more."""
    return ["batch"] + ["sql" if n == 1 else f"sql_{n}" for n in clients]


def rates_at(batch, curves, wanted):
    """Rates of all sides at a recall.  curves: one for each number of clients."""
    return [rate_at(points, wanted) for points in [batch] + curves]


def points_beside(system, peer):
    """A peer's curve from the batches that ran in turn with this system's."""
    rates = {one["ef"]: one["batch_queries_per_second"] for one in system["beside"].get(peer["name"], [])}
    return [(point["recall"], rates[point["ef"]]) for point in peer["curve"] if point["ef"] in rates]


def compare(results, baseline=None):
    """Adds "at_recall" to the results: every system's rates at RECALLS, and their ratios."""
    published = dict(read_baselines()[baseline], name=baseline) if baseline else None
    clients = client_counts(results)
    names = sides(clients)
    compared = {}
    for wanted in RECALLS:
        rows = []
        for system in results["systems"]:
            rates = rates_at(batch_points(system), [sql_points(system, n) for n in clients], wanted)
            row = {"name": system["name"], "ratios": {}, **dict(zip(names, rates))}
            for peer in results["systems"]:
                if peer is system or system["kind"] != "hnsw_mmap" or peer["kind"] == "hnsw_mmap":
                    continue
                theirs = rates_at(points_beside(system, peer) or batch_points(peer),
                                  [sql_points(peer, n) for n in clients], wanted)
                row["ratios"][peer["name"]] = dict(zip(names, map(ratio, rates, theirs)))
            if published and system["kind"] == "hnsw_mmap":
                theirs = rates_at(published.get("batch", []), [published.get("sql", []) if n == 1 else [] for n in clients], wanted)
                row["ratios"]["published: " + baseline] = dict(zip(names, map(ratio, rates, theirs)))
            rows.append(row)
        compared[f"{wanted:.2f}"] = rows
    results["at_recall"] = compared
    if published:
        results["baseline"] = published


# ---------------------------------------------------------------- for people


def _bounded(value, key, form):
    return "–" if not value else {">=": "≥ ", "<=": "≤ ", "~": "~ "}.get(value["bound"], "") + format(value[key], form)


def _header(results):
    machine, data, parameters = results["machine"], results["data"], results["parameters"]
    yield (f"{data['name']}: {data['rows']:,} x {data['dimensions']}, {data['queries']:,} queries,"
           f" {results['metric']}, recall@{results['k']} by distance")
    yield (f"{machine['processor']}, {machine['cores']} cores, {machine['memory_bytes'] / 2**30:.0f} GB,"
           f" PostgreSQL {results['server']['postgresql']}; load average {machine['load_average']:.1f} before")
    yield f"m = {parameters['m']}, ef_construction = {parameters['ef_construction']}"
    if parameters.get("awake"):
        yield "processors kept awake while pgbench ran"
    for run in results["round_trip"] or ():
        yield (f"looking the query's vector up and no more: {run['queries_per_second']:,.0f} queries/s"
               f" from {run['clients']} client{'s' * (run['clients'] > 1)}")


def _curve(system):
    clients = [run["clients"] for run in system["curve"][0].get("pgbench", [])]
    yield "     ef   recall    batch/s" + "".join(
        f"   {n:2} client{'s' if n > 1 else ' '}/s    p50 us    p99 us" for n in clients)
    for point in system["curve"]:
        yield (f"  {point['ef']:5}  {point['recall']:7.4f}  {point['batch_queries_per_second']:9,.0f}" + "".join(
            f"   {run['queries_per_second']:12,.0f} {run['p50_us']:9,.0f} {run['p99_us']:9,.0f}"
            for run in point.get("pgbench", [])))


def _builds(system):
    for build in system["builds"]:
        if "threads" in build:
            yield f"  built in {build['seconds']:.1f} s with {build['threads']} threads"
        else:
            yield (f"  built in {build['seconds']:.1f} s with {build['processes']} processes,"
                   f" maintenance_work_mem = {build['maintenance_work_mem']}; {build['wal_bytes'] / 1e6:,.0f} MB of WAL")
    if system["bytes"]:
        yield (f"  {system['bytes'] / 1e6:,.1f} MB, {system['bytes_per_element']:,.1f} bytes per element;"
               f" the table {system['table_bytes'] / 1e6:,.1f} MB")


def _sessions(found):
    yield (f"  {found['sessions']} sessions, {found['queries_each']} queries each: first query"
           f" p50 {found['first_query']['p50_ms']:.2f} ms, p99 {found['first_query']['p99_ms']:.2f} ms;"
           f" later ones {found['later_queries']['p50_ms']:.2f}, {found['later_queries']['p99_ms']:.2f};"
           f" connecting {found['connect']['p50_ms']:.2f}; the lookup before {found['lookup_by_key']['p50_ms']:.2f}")
    total = found.get("total_kb")
    if total:
        yield (f"  together PSS {total['Pss'] / 1024:,.0f} MB (anonymous {total['Pss_Anon'] / 1024:,.0f},"
               f" files {total['Pss_File'] / 1024:,.0f}, shared buffers {total['Pss_Shmem'] / 1024:,.0f}),"
               f" page tables {total['VmPTE'] / 1024:,.0f} MB (largest {found['largest_pte_kb']:,} kB)")
    else:
        yield f"  memory not readable: {found['memory_unreadable']}"


def _at_recall(results):
    clients = client_counts(results)
    names = sides(clients)
    heads = ["batch"] + [f"{n} client" + "s" * (n > 1) for n in clients]
    for wanted, rows in results["at_recall"].items():
        yield ""
        yield f"At recall {wanted}, queries/s:".ljust(43) + "".join(f"{head:>14}" for head in heads)
        for row in rows:
            yield f"  {row['name']:41}" + "".join(f"{_bounded(row[name], 'rate', ',.0f'):>14}" for name in names)
            for peer, found in row["ratios"].items():
                shown = [_bounded(found[name], "ratio", ".2f") for name in names]
                if set(shown) != {"–"}:
                    shown = [side + (" x" if side != "–" else "") for side in shown]
                    yield f"      beside {peer:30}" + "".join(f"{side:>14}" for side in shown)


def table(results):
    lines = list(_header(results))
    for system in results["systems"]:
        version = f", {system['version']}" if system.get("version") else ""
        lines += ["", system["name"] + version]
        lines += _builds(system)
        if "connections" in system:
            lines += _sessions(system["connections"])
        lines += _curve(system)
    lines += _at_recall(results)
    if "baseline" in results:
        lines += ["", f"published: {results['baseline']['name']}: {results['baseline']['source']}"]
    return "\n".join(lines) + "\n"


def plot(results, path):
    """Draws recall against queries/s; returns whether it could (matplotlib may be absent)."""
    try:
        import matplotlib
        matplotlib.use("Agg")
        from matplotlib import pyplot
    except ImportError:
        return False
    panels = [("in one batch", batch_points), ("one client, a round trip each", sql_points)]
    panels = [panel for panel in panels if any(panel[1](system) for system in results["systems"])]
    figure, axes = pyplot.subplots(1, len(panels), figsize=(6.5 * len(panels), 5), squeeze=False)
    data = results["data"]
    for axis, (title, points_of) in zip(axes[0], panels):
        for number, system in enumerate(results["systems"]):
            points = points_of(system)
            if points:
                style = "--" if system["kind"] == "hnswlib" else "-"
                axis.plot(*zip(*points), style, marker="o", markersize=4, color=f"C{number}", label=system["name"])
        axis.set_yscale("log")
        axis.set_xlabel(f"recall@{results['k']}")
        axis.set_ylabel("queries/s")
        axis.set_title(title)
        axis.grid(True, which="both", alpha=0.3)
        axis.legend()
    figure.suptitle(f"{data['name']}, {data['rows']:,} x {data['dimensions']}: {results['machine']['processor']}")
    figure.tight_layout()
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
    return True
