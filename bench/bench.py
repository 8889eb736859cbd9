#!/usr/bin/env python3
"""Measures hnsw_mmap beside hnswlib and pgvector.

script/bench runs this with a server of its own; it can also be run alone
against any server that libpq's variables lead to (it makes and drops a
database named hnsw_mmap_bench).  bench/README.md says what each number means.
"""

import argparse
import datetime
import json
import os
import shutil
import statistics
import sys
import tempfile

import connections
import report
import server
import systems
import vectors

DATABASE = "hnsw_mmap_bench"


def numbers(text):
    return [int(word) for word in text.split(",")]


def words(text):
    return [] if text == "none" else text.split(",")


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter):
    """Names the defaults that there are."""

    def _get_help_string(self, action):
        return action.help if action.default in (None, False, 0) else super()._get_help_string(action)


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="script/bench", description=__doc__.splitlines()[0],
        formatter_class=HelpFormatter, allow_abbrev=False)
    data = parser.add_argument_group("data")
    data.add_argument("--data", choices=("wordnet", "pairs", "manifold"), default="wordnet", help="the set to search")
    data.add_argument("--base", metavar="FILE", help="search this file's rows instead (.npy, .fvecs)")
    data.add_argument("--queries", metavar="FILE", help="queries for --base; without it, rows are held out")
    data.add_argument("--rows", type=int, metavar="N", help="size of the set (manifold, pairs: 1000000; others: all)")
    data.add_argument("--dimensions", type=int, default=128, metavar="N", help="of the manifold's space")
    data.add_argument("--latent", type=int, default=24, metavar="N", help="of the manifold itself")
    data.add_argument("--query-count", type=int, default=1000, metavar="N", help="how many queries")
    data.add_argument("--metric", choices=("l2", "ip", "cosine"), default="l2", help="which distance")
    data.add_argument("--k", type=int, default=10, metavar="N", help="neighbours wanted")
    index = parser.add_argument_group("index")
    index.add_argument("--m", type=int, default=16, help="of every index")
    index.add_argument("--ef-construction", type=int, default=200, metavar="N", help="of every index")
    index.add_argument("--modes", type=words, default="heap,fp16",
                       help="hnsw_mmap's `vectors` options to measure, file (half-precision vectors in a file), or none")
    index.add_argument("--bridge", type=words, default="none", metavar="LIST",
                       help="`vectors` options to measure on pgvector's own column, through hnsw_mmap_pgvector, or none")
    index.add_argument("--memory", type=words, default="1GB", metavar="LIST",
                       help="maintenance_work_mem: one build for each, the last one is searched")
    index.add_argument("--workers", type=int, default=1, metavar="N", help="parallel workers of a build, besides the session")
    peers = parser.add_argument_group("peers")
    peers.add_argument("--hnswlib", type=words, default="debian,pypi", metavar="LIST",
                       help="which builds: debian, pypi (built in a temporary venv), a Python that has it, or none")
    peers.add_argument("--no-pgvector", action="store_true", help="leave pgvector out even if the server has it")
    peers.add_argument("--baseline", metavar="NAME", help="compare with these published figures of bench/baselines.json, too")
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument("--ef", type=numbers, default="10,20,30,40,60,80,100,150,200,300,400", metavar="LIST",
                           help="values of ef_search")
    measuring.add_argument("--rounds", type=int, default=5, metavar="N", help="runs of each batch; the median counts")
    measuring.add_argument("--seconds", type=int, default=5, metavar="N", help="of each run of pgbench; 0 for none")
    measuring.add_argument("--clients", type=numbers, default=f"1,{os.cpu_count()}", metavar="LIST", help="clients of pgbench")
    measuring.add_argument("--awake", action="store_true",
                           help="keep processors from falling asleep between queries of pgbench (bench/README.md)")
    measuring.add_argument("--connections", type=int, default=0, metavar="N",
                           help="also measure N sessions at once: memory, page tables, first query")
    measuring.add_argument("--quick", action="store_true", help="small values of everything: does it work?")
    output = parser.add_argument_group("output")
    output.add_argument("--output", metavar="DIRECTORY", help="for the results; default: a new one in $TMPDIR")
    output.add_argument("--work", metavar="DIRECTORY", help="for intermediate files, kept; default: a temporary one")
    output.add_argument("--embeddings", metavar="DIRECTORY", help="of bench/embed.py, if it has run before")
    output.add_argument("--check", action="store_true", help="judge the options, measure nothing")
    arguments = parser.parse_args()

    if arguments.queries and not arguments.base:
        parser.error("--queries needs --base")
    for name in (arguments.base, arguments.queries):
        if name and not os.path.isfile(name):
            parser.error(f"no file {name}")
    if arguments.connections > 1000:
        parser.error("--connections: at most 1000")
    if not set(arguments.bridge) <= {"heap", "fp16"}:
        parser.error("--bridge: heap, fp16, both, or none")
    if arguments.baseline and arguments.baseline not in report.read_baselines():
        parser.error(f"--baseline: the file has {', '.join(report.read_baselines())}")
    if arguments.quick:
        arguments.ef = [10, 40, 160]
        arguments.seconds = min(arguments.seconds, 1)
        arguments.rounds = 2
        arguments.rows = arguments.rows or 10000
    return arguments


def load_collection(arguments, work, say):
    if arguments.base:
        return vectors.from_files(arguments.base, arguments.queries, arguments.query_count, arguments.rows)
    if arguments.data == "manifold":
        return vectors.manifold(arguments.rows or 1000000, arguments.dimensions, arguments.query_count, arguments.latent)
    directory = arguments.embeddings or os.path.join(work, "wordnet")
    if arguments.data == "pairs":
        return vectors.pairs(vectors.wordnet(directory, arguments.query_count, None, say), arguments.rows or 1000000)
    return vectors.wordnet(directory, arguments.query_count, arguments.rows, say)


class Bench:
    """One run: the collection, the truth about it, and what was measured."""

    def __init__(self, arguments, collection, say):
        self.arguments, self.collection, self.say = arguments, collection, say
        say(f"searching {collection.name} ({len(collection.base):,} x {collection.base.shape[1]}) exactly")
        _, self.exact = vectors.exact_neighbours(collection, arguments.metric, arguments.k)
        self.results = []

    def load(self):
        """Makes the tables that every index of the server is built on."""
        connection = server.connect()
        self.say("loading")
        if self.arguments.modes or self.arguments.bridge:
            server.execute(connection, "CREATE EXTENSION hnsw_mmap")
        tables = [("queries", self.collection.queries)]
        if self.arguments.modes != ["file"] or self.arguments.bridge or not self.arguments.no_pgvector:
            tables.append(("base", self.collection.base))
        for table, rows in tables:
            server.execute(connection, f"CREATE TABLE {table} (id integer PRIMARY KEY, embedding real[])")
            server.execute(connection, f"ALTER TABLE {table} ALTER embedding SET STORAGE MAIN,"
                                       f" SET (parallel_workers = {self.arguments.workers})")
            server.copy_vectors(connection, table, rows)
            server.execute(connection, f"VACUUM ANALYZE {table}")
        server.execute(connection, "CHECKPOINT")
        connection.close()

    def measure(self, system, beside=()):
        """The whole curve of one system.

        In every round each system of `beside` runs the same batch just after
        it, so that their ratio survives a machine that others use too.
        """
        arguments, n = self.arguments, len(self.collection.queries)
        result = system.describe()
        result["curve"], result["beside"] = [], {peer.name: [] for peer in beside}
        for ef in arguments.ef:
            point = {"ef": ef, "recall": vectors.recall(self.collection, arguments.metric, system.answers(ef),
                                                        self.exact, arguments.k)}
            timed = [system] + list(beside)
            seconds = {one.name: [] for one in timed}
            for _ in range(arguments.rounds):
                for one in timed:
                    seconds[one.name].append(one.batch(ef))
            rates = {name: n / statistics.median(values) for name, values in seconds.items()}
            point["batch_queries_per_second"] = rates[system.name]
            point["batch_spread"] = [n / max(seconds[system.name]), n / min(seconds[system.name])]
            for peer in beside:
                result["beside"][peer.name].append({"ef": ef, "batch_queries_per_second": rates[peer.name]})
            point.update(system.more(ef))
            result["curve"].append(point)
            self.say(f"  ef {ef:4}: recall {point['recall']:.4f}, {rates[system.name]:8,.0f} queries/s"
                     + "".join(f", {peer.name} {rates[peer.name]:,.0f}" for peer in beside))
        self.results.append(result)
        return result


def run(arguments, work, say):
    machine = report.describe_machine()         # now: its load average shall be that of others
    collection = load_collection(arguments, work, say)
    bench = Bench(arguments, collection, say)
    peers = []
    try:
        for which in arguments.hnswlib:
            peer = systems.Hnswlib.start(which, collection, arguments, work, say)
            if peer:
                peers.append(peer)
                say(f"{peer.name}: built in {peer.facts['build_seconds']:.1f} s, {peer.facts['threads']} threads")
        for peer in peers:
            bench.measure(peer)

        bench.load()
        found = None
        for mode in arguments.modes:
            if mode == "file":
                system = systems.HnswMmapFile(collection, arguments, work, say)
            else:
                system = systems.HnswMmap(mode, collection, arguments, say)
            bench.measure(system, peers)
            if arguments.connections:
                found = bench.results[-1]
                say(f"  {arguments.connections} sessions at once")
                found["connections"] = connections.measure(system, arguments.connections, len(collection.queries))
            system.drop()
        if not arguments.no_pgvector and systems.Pgvector.available():
            system = systems.Pgvector(collection, arguments, say)
            bench.measure(system, peers)
            if arguments.connections:
                bench.results[-1]["connections"] = connections.measure(
                    system, arguments.connections, len(collection.queries))
            system.drop()
        for mode in arguments.bridge if systems.Pgvector.available() else ():
            system = systems.HnswMmapOnVector(mode, collection, arguments, say)
            bench.measure(system, peers)
            system.drop()
        empty = systems.round_trip(arguments, len(collection.queries)) if arguments.seconds else None
        return {"made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
                "machine": machine, "server": systems.describe_server(),
                "data": collection.describe(), "metric": arguments.metric, "k": arguments.k,
                "parameters": {"m": arguments.m, "ef_construction": arguments.ef_construction,
                               "workers": arguments.workers, "rounds": arguments.rounds, "seconds": arguments.seconds,
                               "awake": arguments.awake},
                "round_trip": empty, "systems": bench.results}
    finally:
        for peer in peers:
            peer.stop()


def main():
    arguments = parse_arguments()
    if arguments.check:
        return
    output = arguments.output or tempfile.mkdtemp(prefix="hnsw_mmap-bench-")
    os.makedirs(output, exist_ok=True)
    work = arguments.work or tempfile.mkdtemp(prefix="hm-bench-work-")

    def say(text):
        print(text, file=sys.stderr, flush=True)

    try:
        with server.scratch_database(DATABASE):
            results = run(arguments, work, say)
    finally:
        if not arguments.work:
            shutil.rmtree(work, ignore_errors=True)
    report.compare(results, arguments.baseline)
    with open(os.path.join(output, "results.json"), "w", encoding="utf-8") as out:
        json.dump(results, out, indent=1)
        out.write("\n")
    table = report.table(results)
    with open(os.path.join(output, "results.txt"), "w", encoding="utf-8") as out:
        out.write(table)
    print(table, end="")
    say(f"\nwritten to {output}: results.json, results.txt"
        + (", recall.png" if report.plot(results, os.path.join(output, "recall.png")) else ""))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
