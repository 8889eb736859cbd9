#!/usr/bin/env python3
"""What script/demo shows, once a server with hnsw_mmap is running: see there."""

import argparse
import os
import shutil
import sys
import textwrap
import time

import embed
import server
import vectors

K = 10
SEARCHES = ("volcano", "to laugh", "coffee", "jazz musician", "king of France", "fear of heights")
SHOWN = 5
PGBENCH_SECONDS = 5

INDEXES = (
    ("docs_heap", "vectors = 'heap'", "the graph only; vectors are read from the table"),
    ("docs_fp16", "vectors = 'fp16'", "the index keeps half-precision copies"),
)


def heading(text):
    print(f"\n\033[1m{text}\033[0m" if sys.stdout.isatty() else f"\n== {text}", flush=True)


def note(text):
    print(f"  {text}", flush=True)


def load(connection, collection, texts):
    server.execute(connection, """
        CREATE EXTENSION hnsw_mmap;
        CREATE TABLE docs (id integer PRIMARY KEY, embedding real[], words text, gloss text);
        ALTER TABLE docs ALTER embedding SET STORAGE MAIN;
        CREATE TABLE queries (id integer PRIMARY KEY, embedding real[]);
        ALTER TABLE queries ALTER embedding SET STORAGE MAIN""")
    started = time.monotonic()
    server.copy_vectors(connection, "docs", collection.base, texts)
    server.copy_vectors(connection, "queries", collection.queries)
    server.execute(connection, "VACUUM ANALYZE docs")
    server.execute(connection, "VACUUM ANALYZE queries")
    size = server.one(connection, "SELECT pg_table_size('docs')")
    note(f"loaded in {time.monotonic() - started:.1f} s: {size / 1e6:,.0f} MB, {size / len(collection.base):,.0f} bytes a row")
    return size


def measure_exact(collection):
    """Queries/s of the sequential scan, and a check that it finds what numpy finds."""
    connection = server.connect([("enable_indexscan", "off"), ("jit", "off")])
    _, exact = vectors.exact_neighbours(collection, "l2", K)
    started, n = time.perf_counter(), 0
    agreed = True
    while n < 5 or (time.perf_counter() - started < 3 and n < len(exact)):
        rows = server.execute(connection, f"""
            SELECT embedding <-> (SELECT embedding FROM queries WHERE id = {n + 1}) FROM docs
            ORDER BY 1 LIMIT {K}""")
        agreed = agreed and all(abs(row[0] - want) <= vectors.TOLERANCE for row, want in zip(rows, exact[n]))
        n += 1
    rate = n / (time.perf_counter() - started)
    connection.close()
    if not agreed:
        raise SystemExit("the sequential scan and numpy disagree about the exact neighbours")
    return exact, {"name": "no index", "seconds": None, "bytes": None, "recall": 1.0, "rate": rate, "batch": None}


def measure_index(connection, name, options, collection, exact):
    """Builds the index and measures it with the default settings."""
    seconds = server.create_index(
        connection, f"CREATE INDEX {name} ON docs USING hnsw_mmap (embedding real_l2_ops) WITH ({options})",
        server.Progress())
    size = server.relation_size(connection, name)
    note(f"built in {seconds:.1f} s: {size / 1e6:,.1f} MB, {size / len(collection.base):,.1f} bytes a row")
    search = server.Search("docs", name, k=K)
    session = search.open()
    found = vectors.recall(collection, "l2", search.answers(session, len(collection.queries)), exact, K)
    batch = len(collection.queries) / server.median_seconds(lambda: search.batch(session), 3)
    session.close()
    rate = search.pgbench(1, PGBENCH_SECONDS, len(collection.queries))["queries_per_second"]
    note(f"recall@{K} {found:.3f}; {rate:,.0f} queries/s from one client, {batch:,.0f} in one LATERAL join")
    return {"name": options, "seconds": seconds, "bytes": size, "recall": found, "rate": rate, "batch": batch}


def show_neighbours(connection, embedder):
    width = max(72, min(shutil.get_terminal_size((110, 24)).columns, 140)) - 1
    for text in SEARCHES:
        vector = "{" + ",".join(map(repr, embedder.embed(text).tolist())) + "}"
        started = time.perf_counter()
        rows = server.execute(connection, f"""
            SELECT embedding <-> %(v)s::real[], words, gloss FROM docs
            ORDER BY embedding <-> %(v)s::real[] LIMIT {SHOWN}""", {"v": vector})
        milliseconds = 1000 * (time.perf_counter() - started)
        print(f"\n  {text}   ({milliseconds:.1f} ms)")
        for distance, words, gloss in rows:
            shown = textwrap.shorten(words, 30, placeholder="…")
            print(f"    {distance:.2f}  {shown:30}  " + textwrap.shorten(gloss, width - 42, placeholder="…"))
    sys.stdout.flush()


def show_summary(results, table_bytes, n_rows):
    def number(value, form):
        return format(value, form) if value is not None else "–"

    rows = [
        ("", lambda r: r["name"]),
        ("build, seconds", lambda r: number(r["seconds"], ".1f")),
        ("index size, MB", lambda r: number(r["bytes"] and r["bytes"] / 1e6, ".1f")),
        ("index, bytes a row", lambda r: number(r["bytes"] and r["bytes"] / n_rows, ".1f")),
        ("index / table", lambda r: number(r["bytes"] and r["bytes"] / table_bytes, ".1%")),
        (f"recall@{K}", lambda r: number(r["recall"], ".3f")),
        ("queries/s, one client", lambda r: number(r["rate"], ",.0f" if r["rate"] >= 100 else ".1f")),
        ("  beside the exact scan", lambda r: number(r["rate"] / results[0]["rate"], ",.0f") + " x"),
        ("queries/s, LATERAL join", lambda r: number(r["batch"], ",.0f")),
    ]
    for label, cell in rows:
        print(f"  {label:26}" + "".join(f"{cell(result):>18}" for result in results))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", required=True, metavar="DIRECTORY", help="where the embeddings go")
    arguments = parser.parse_args()
    directory = os.path.join(arguments.work, "wordnet")

    heading("116,659 texts of WordNet as 384-dimensional embeddings (about half a minute)")
    started = time.monotonic()
    collection = vectors.wordnet(directory, embed.HELD_OUT, progress=note)
    embedder = embed.Embedder.load(os.path.join(directory, "model.npz"))
    with open(os.path.join(directory, "texts.tsv"), encoding="utf-8") as lines:
        texts = [line.rstrip("\n").split("\t") for line in lines]
    note(f"took {time.monotonic() - started:.1f} s")

    heading("A table: docs (id integer, embedding real[], words text, gloss text)")
    connection = server.connect()
    table_bytes = load(connection, collection, texts)

    heading("Exact search, by sequential scan")
    exact, without_index = measure_exact(collection)
    note(f"{without_index['rate']:.1f} queries/s")

    results = [without_index]
    for i, (name, options, meaning) in enumerate(INDEXES):
        heading(f"CREATE INDEX {name} ON docs USING hnsw_mmap (embedding) WITH ({options})")
        note(meaning)
        if i > 0:
            server.execute(connection, f"DROP INDEX {INDEXES[i - 1][0]}")
        results.append(measure_index(connection, name, options, collection, exact))

    heading(f"SELECT words, gloss FROM docs ORDER BY embedding <-> $1 LIMIT {SHOWN}")
    show_neighbours(connection, embedder)

    heading(f"In short: {len(texts):,} rows, table {table_bytes / 1e6:,.0f} MB,"
            f" hnsw_mmap.ef_search = {server.one(connection, 'SHOW hnsw_mmap.ef_search')}")
    show_summary(results, table_bytes, len(texts))


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
