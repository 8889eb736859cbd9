"""Talking to PostgreSQL: loading vectors, building indexes, measuring queries.

Where the server is, libpq's variables say (PGHOST, PGPORT, PGUSER, PGDATABASE).
"""

import contextlib
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time

import numpy as np
import psycopg2

FLOAT4_OID = 700
COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER = b"\xff\xff"

OPERATOR = {"l2": "<->", "ip": "<#>", "cosine": "<=>"}


def connect(settings=()):
    """Opens a session in autocommit mode; settings are (name, value) pairs."""
    options = " ".join(f"-c {name}={value}" for name, value in settings)
    connection = psycopg2.connect("", options=options)
    connection.autocommit = True
    return connection


def execute(connection, sql, parameters=None):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchall() if cursor.description else None


def one(connection, sql, parameters=None):
    return execute(connection, sql, parameters)[0][0]


# ---------------------------------------------------------------- loading


def _copy_rows(vectors, first_id, texts):
    """Yields COPY's binary rows (id integer, embedding real[], then the texts) in blocks."""
    dimensions = vectors.shape[1]
    element = np.dtype([("length", ">i4"), ("value", ">f4")])
    row = np.dtype([("fields", ">i2"), ("id_length", ">i4"), ("id", ">i4"),
                    ("length", ">i4"), ("ndim", ">i4"), ("nulls", ">i4"), ("type", ">i4"),
                    ("dimensions", ">i4"), ("lower", ">i4"), ("elements", element, (dimensions,))])
    yield COPY_HEADER
    for first in range(0, len(vectors), 4096):
        block = vectors[first:first + 4096]
        rows = np.empty(len(block), dtype=row)
        rows["fields"] = 2 if texts is None else 2 + len(texts[0])
        rows["id_length"], rows["id"] = 4, np.arange(first_id + first, first_id + first + len(block))
        rows["length"] = 20 + 8 * dimensions
        rows["ndim"], rows["nulls"], rows["type"] = 1, 0, FLOAT4_OID
        rows["dimensions"], rows["lower"] = dimensions, 1
        rows["elements"]["length"], rows["elements"]["value"] = 4, block
        if texts is None:
            yield rows.tobytes()
        else:
            pieces = []
            for i, values in enumerate(texts[first:first + len(block)]):
                pieces.append(rows[i].tobytes())
                for value in values:
                    encoded = value.encode()
                    pieces += (len(encoded).to_bytes(4, "big"), encoded)
            yield b"".join(pieces)
    yield COPY_TRAILER


class _Stream:
    """A generator of bytes as the file that psycopg2 wants to read."""

    def __init__(self, blocks):
        self.blocks, self.rest = blocks, memoryview(b"")

    def read(self, size):
        if not self.rest:
            self.rest = memoryview(next(self.blocks, b""))
        taken, self.rest = self.rest[:size], self.rest[size:]
        return bytes(taken)


def copy_vectors(connection, table, vectors, texts=None):
    """COPYs vectors, numbered from 1, into the table's first two columns, and texts into those that follow."""
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY {table} FROM STDIN (FORMAT binary)",
                           _Stream(_copy_rows(vectors, 1, texts)), size=1 << 20)


# ---------------------------------------------------------------- progress


class Progress:
    """A line that is rewritten on a terminal; elsewhere one line each few seconds."""

    def __init__(self, stream=sys.stderr):
        self.stream, self.terminal = stream, stream.isatty()
        self.last, self.width = 0.0, 0

    def show(self, text):
        if self.terminal:
            self.stream.write("\r" + text.ljust(self.width))
            self.width = len(text)
        elif time.monotonic() - self.last >= 5:
            self.stream.write(text + "\n")
            self.last = time.monotonic()
        self.stream.flush()

    def done(self):
        if self.terminal and self.width:
            self.stream.write("\r" + " " * self.width + "\r")
            self.stream.flush()
        self.width = 0


def _show_index_progress(watcher, pid, started, progress):
    rows = execute(watcher, """
        SELECT phase, blocks_done, blocks_total, tuples_done, tuples_total
        FROM pg_stat_progress_create_index WHERE pid = %s""", (pid,))
    if rows:
        phase, blocks, all_blocks, tuples, all_tuples = rows[0]
        done, total = (tuples, all_tuples) if all_tuples else (blocks, all_blocks)
        share = f"{done / total:6.1%}" if total else ""
        progress.show(f"  {time.monotonic() - started:5.1f} s  {phase} {share}")


def create_index(connection, sql, progress):
    """Runs CREATE INDEX, showing pg_stat_progress_create_index; returns its seconds.

    The statement runs in a thread of its own, so that Ctrl-C is heard at once:
    then it is cancelled.
    """
    outcome = {}

    def build():
        try:
            execute(connection, sql)
        except psycopg2.Error as error:
            outcome["error"] = error
        outcome["seconds"] = time.monotonic() - started

    watcher, pid = connect(), connection.get_backend_pid()
    started = time.monotonic()
    builder = threading.Thread(target=build)
    builder.start()
    try:
        while builder.is_alive():
            builder.join(0.25)
            _show_index_progress(watcher, pid, started, progress)
    except KeyboardInterrupt:
        connection.cancel()
        raise
    finally:
        builder.join()
        progress.done()
        watcher.close()
    if "error" in outcome:
        raise outcome["error"]
    return outcome["seconds"]


# ---------------------------------------------------------------- searching


class Search:
    """Nearest-neighbour queries of table `queries` in a table, through one index.

    Both tables are (id integer PRIMARY KEY, embedding ...); ids count from 1.
    """

    def __init__(self, table, index, metric="l2", k=10, column="embedding", query_table="queries", ef_setting=None):
        self.table, self.index, self.k = table, index, k
        self.ef_setting = ef_setting
        operator = OPERATOR[metric]
        self.lateral = (f"{query_table} q, LATERAL (SELECT id FROM {table}"
                        f" ORDER BY {column} {operator} q.embedding LIMIT {k}) r")
        self.single = (f"SELECT id FROM {table} ORDER BY {column} {operator}"
                       f" (SELECT embedding FROM {query_table} WHERE id = :id) LIMIT {k};")
        self.lookup = f"SELECT (SELECT embedding FROM {query_table} WHERE id = :id) IS NULL;"
        self.query_table = query_table

    def settings(self, ef=None):
        wanted = [("jit", "off"), ("max_parallel_workers_per_gather", 0)]
        if ef is not None and self.ef_setting:
            wanted.append((self.ef_setting, ef))
        return wanted

    def open(self, ef=None):
        """A session that searches with this ef; fails if the planner would not take the index."""
        connection = connect(self.settings(ef))
        plan = "\n".join(row[0] for row in execute(connection, f"EXPLAIN SELECT * FROM {self.lateral}"))
        if self.index not in plan:
            raise SystemExit(f"the planner does not use index {self.index}:\n{plan}")
        execute(connection, f"PREPARE batch AS SELECT sum(r.id) FROM {self.lateral}")
        return connection

    def answers(self, connection, n_queries):
        """Returns rows[i, j], numbered from 0: query i's j-th neighbour, -1 where there is none."""
        found = np.full((n_queries, self.k), -1, dtype=np.int64)
        filled = np.zeros(n_queries, dtype=np.int64)
        for query, row in execute(connection, f"SELECT q.id, r.id FROM {self.lateral}"):
            found[query - 1, filled[query - 1]] = row - 1
            filled[query - 1] += 1
        return found

    def batch(self, connection):
        """Seconds of all queries as one LATERAL join: no round trip between them."""
        started = time.perf_counter()
        execute(connection, "EXECUTE batch")
        return time.perf_counter() - started

    def pgbench(self, clients, seconds, n_queries, ef=None, script=None):
        """One prepared query per transaction, drawn at random; returns queries/s and latencies in microseconds."""
        with tempfile.TemporaryDirectory() as directory:
            path = os.path.join(directory, "query.sql")
            with open(path, "w", encoding="utf-8") as out:
                out.write(f"\\set id random(1, {n_queries})\n{script or self.single}\n")
            environment = dict(os.environ, PGOPTIONS=" ".join(
                f"-c {name}={value}" for name, value in self.settings(ef)))
            done = subprocess.run(
                ["pgbench", "-n", "-M", "prepared", "-c", str(clients), "-j", str(clients), "-T", str(seconds),
                 "-l", "--log-prefix=log", "--random-seed=1", "-f", path],
                cwd=directory, env=environment, capture_output=True, text=True)
            if done.returncode:
                raise SystemExit(f"pgbench failed:\n{done.stderr}")
            latencies = np.concatenate([
                np.loadtxt(os.path.join(directory, name), usecols=2, ndmin=1)
                for name in os.listdir(directory) if name.startswith("log")])
        rate = next(line for line in done.stdout.splitlines() if line.startswith("tps"))
        return {"clients": clients, "queries_per_second": float(rate.split()[2]),
                "p50_us": float(np.percentile(latencies, 50)), "p99_us": float(np.percentile(latencies, 99))}


@contextlib.contextmanager
def scratch_database(name):
    """A database of its own for the block; libpq's variables lead to it meanwhile."""
    home = os.environ.get("PGDATABASE")
    connection = connect()
    execute(connection, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    execute(connection, f"CREATE DATABASE {name}")
    connection.close()
    os.environ["PGDATABASE"] = name
    try:
        yield
    finally:
        if home is None:
            del os.environ["PGDATABASE"]
        else:
            os.environ["PGDATABASE"] = home
        connection = connect()
        execute(connection, f"DROP DATABASE {name} WITH (FORCE)")
        connection.close()


def relation_size(connection, name):
    return one(connection, "SELECT pg_relation_size(%s::regclass)", (name,))


def median_seconds(measure, rounds):
    return statistics.median(measure() for _ in range(rounds))
