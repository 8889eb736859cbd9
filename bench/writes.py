#!/usr/bin/env python3
"""Measures what writing to an hnsw_mmap index costs, and what it leaves behind for queries.

script/bench-writes runs this with a server of its own; it can also be run alone
against any server that libpq's variables lead to, as a superuser (it makes and
drops a database named hnsw_mmap_bench).  bench/README.md says what each number
means.
"""

import argparse
import datetime
import json
import os
import shutil
import sys
import tempfile
import time

import numpy as np
import psycopg2

import bench
import report
import server
import systems
import vectors
import write_report
import write_sections


def parse_arguments():
    parser = argparse.ArgumentParser(
        prog="script/bench-writes", description=__doc__.splitlines()[0],
        formatter_class=bench.HelpFormatter, allow_abbrev=False,
        epilog="Sections: " + ", ".join(write_sections.SECTIONS) + ".")
    parser.add_argument("--only", type=bench.words, default=",".join(write_sections.SECTIONS), metavar="LIST",
                        help="sections to run")
    data = parser.add_argument_group("data")
    data.add_argument("--data", choices=("wordnet", "pairs", "manifold"), default="wordnet", help="the set to write")
    data.add_argument("--base", metavar="FILE", help="write this file's rows instead (.npy, .fvecs)")
    data.add_argument("--queries", metavar="FILE", help="queries for --base; without it, rows are held out")
    data.add_argument("--rows", type=int, metavar="N", help="size of the set (manifold, pairs: 1000000; others: all)")
    data.add_argument("--dimensions", type=int, default=128, metavar="N", help="of the manifold's space")
    data.add_argument("--latent", type=int, default=24, metavar="N", help="of the manifold itself")
    data.add_argument("--query-count", type=int, default=1000, metavar="N", help="how many queries")
    data.add_argument("--metric", choices=("l2", "ip", "cosine"), default="l2", help="which distance")
    data.add_argument("--k", type=int, default=10, metavar="N", help="neighbours wanted")
    index = parser.add_argument_group("index")
    index.add_argument("--m", type=int, default=16, help="links per element")
    index.add_argument("--ef-construction", type=int, default=200, metavar="N", help="candidates of an insertion")
    index.add_argument("--mode", choices=("heap", "fp16"), default="heap", help="option `vectors`")
    index.add_argument("--merge-log-entries", type=int, metavar="N",
                       help="setting of that name: rows in the log when a merge is due; default: the server's")
    index.add_argument("--workers", type=int, default=1, metavar="N",
                       help="parallel workers of builds that are compared with, besides the session")
    measuring = parser.add_argument_group("measuring")
    measuring.add_argument("--ef-search", type=int, default=40, metavar="N", help="where one ef_search is enough")
    measuring.add_argument("--ef", type=bench.numbers, default="10,15,20,30,40,60,80,120,160,240,320", metavar="LIST",
                           help="values of ef_search for curves of recall")
    measuring.add_argument("--rounds", type=int, default=3, metavar="N", help="of everything that is timed; medians count")
    measuring.add_argument("--seconds", type=int, default=5, metavar="N", help="of each run of pgbench")
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
    unknown = [name for name in arguments.only if name not in write_sections.SECTIONS]
    if unknown:
        parser.error(f"--only: no section {', '.join(unknown)}; there are {', '.join(write_sections.SECTIONS)}")
    if arguments.rounds < 1 or arguments.seconds < 0:
        parser.error("--rounds: at least 1; --seconds: at least 0")
    if arguments.quick:
        arguments.rounds, arguments.seconds = 1, min(arguments.seconds, 1)
        arguments.rows = arguments.rows or 10000
        arguments.merge_log_entries = arguments.merge_log_entries or 100
    if arguments.rows is not None and arguments.rows < 1000:
        parser.error("--rows: at least 1000")
    return arguments


def load_collection(arguments, work, say):
    """As script/bench does; then the rows in random order: that in which they will arrive."""
    collection = bench.load_collection(arguments, work, say)
    order = np.random.default_rng(1).permutation(len(collection.base))
    return vectors.Collection(collection.name, collection.base[order], collection.queries)


def load(collection, say):
    say("loading")
    connection = server.connect()
    server.execute(connection, "CREATE EXTENSION hnsw_mmap")
    for table, rows in (("source", collection.base), ("queries", collection.queries)):
        server.execute(connection, f"CREATE TABLE {table} (id integer PRIMARY KEY, embedding real[])")
        server.execute(connection, f"ALTER TABLE {table} ALTER embedding SET STORAGE MAIN")
        server.copy_vectors(connection, table, rows)
        server.execute(connection, f"VACUUM ANALYZE {table}")
    connection.close()


def run(arguments, work, say, keep):
    """Measures; hands what there is so far to `keep` after every section."""
    machine = report.describe_machine()
    collection = load_collection(arguments, work, say)
    load(collection, say)
    state = write_sections.Run(arguments, collection, say)
    results = {"made": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
               "machine": machine, "server": systems.describe_server(),
               "data": collection.describe(), "metric": arguments.metric, "k": arguments.k,
               "parameters": {"m": arguments.m, "ef_construction": arguments.ef_construction, "vectors": arguments.mode,
                              "merge_log_entries": state.writer.merge_log_entries, "ef_search": arguments.ef_search,
                              "workers": arguments.workers, "rounds": arguments.rounds, "seconds": arguments.seconds},
               "sections": {}}
    for name in arguments.only:
        say(name)
        started = time.monotonic()
        results["sections"][name] = write_sections.SECTIONS[name](state)
        results["sections"][name]["took_seconds"] = time.monotonic() - started
        keep(results)
    state.writer.close()
    return results


def main():
    arguments = parse_arguments()
    if arguments.check:
        return
    output = arguments.output or tempfile.mkdtemp(prefix="hnsw_mmap-bench-")
    os.makedirs(output, exist_ok=True)
    work = arguments.work or tempfile.mkdtemp(prefix="hm-bench-work-")

    def say(text):
        print(text, file=sys.stderr, flush=True)

    def keep(results):
        with open(os.path.join(output, "results.json"), "w", encoding="utf-8") as out:
            json.dump(results, out, indent=1)
            out.write("\n")
        with open(os.path.join(output, "results.txt"), "w", encoding="utf-8") as out:
            out.write(write_report.table(results))

    try:
        with server.scratch_database(bench.DATABASE):
            results = run(arguments, work, say, keep)
    finally:
        if not arguments.work:
            shutil.rmtree(work, ignore_errors=True)
    print(write_report.table(results), end="")
    say(f"\nwritten to {output}: results.json, results.txt"
        + (", latency.png" if write_report.plot(results, os.path.join(output, "latency.png")) else ""))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
    except psycopg2.Error as error:
        sys.exit(f"script/bench-writes: {error}")
