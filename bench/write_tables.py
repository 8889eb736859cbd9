"""Tables that are written to, with an hnsw_mmap index and without, and the clocks beside them."""

import contextlib
import os
import re
import subprocess
import tempfile
import threading
import time

import server

METHOD = "hnsw_mmap"
EF_SETTING = "hnsw_mmap.ef_search"


def processor_seconds(connection):
    """Seconds that a session's process has run on a processor; None where /proc of the server is not to be had.

    Unlike a clock on the wall, that does not count what others do meanwhile.
    """
    try:
        with open(f"/proc/{connection.get_backend_pid()}/schedstat", encoding="ascii") as source:
            return int(source.read().split()[0]) / 1e9
    except OSError:
        return None


def elapsed(started, ended):
    """Between two of these; None if either is."""
    return None if started is None or ended is None else ended - started


class Writer:
    """A session that writes, and merges itself: no background worker does, unless it is told to."""

    def __init__(self, arguments):
        self.connection = server.connect([("jit", "off"), ("max_parallel_workers_per_gather", 0),
                                          ("wal_compression", "off")])
        # Settings of the extension exist once it is loaded.
        server.execute(self.connection, "LOAD 'hnsw_mmap'")
        self.background(False)
        if arguments.merge_log_entries:
            self.execute(f"SET hnsw_mmap.merge_log_entries = {arguments.merge_log_entries}")
        self.merge_log_entries = int(self.one("SHOW hnsw_mmap.merge_log_entries"))

    def background(self, wanted):
        self.execute(f"SET hnsw_mmap.background_merge = {'on' if wanted else 'off'}")

    def execute(self, sql, parameters=None):
        return server.execute(self.connection, sql, parameters)

    def one(self, sql, parameters=None):
        return server.one(self.connection, sql, parameters)

    @contextlib.contextmanager
    def measured(self):
        """Yields a dict that has `seconds`, `processor_seconds` and `wal_bytes` of the block once it has ended."""
        found = {}
        before = self.one("SELECT pg_current_wal_insert_lsn()")
        processor, started = processor_seconds(self.connection), time.perf_counter()
        yield found
        found["seconds"] = time.perf_counter() - started
        found["processor_seconds"] = elapsed(processor, processor_seconds(self.connection))
        found["wal_bytes"] = int(self.one("SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", (before,)))

    def checkpoints(self):
        """Something that changes with every checkpoint."""
        return self.one("SELECT checkpoint_lsn::text FROM pg_control_checkpoint()")

    def close(self):
        self.connection.close()


class Table:
    """A table (id integer PRIMARY KEY, embedding real[]) that takes its rows from table `source`.

    Its ids are those of the source, counted from 1.  Rows are ranges [first, last)
    of vectors numbered from 0, so that ids first + 1 to last are meant.
    """

    def __init__(self, writer, arguments, name):
        self.writer, self.arguments, self.name = writer, arguments, name
        self.index = f"{name}_{METHOD}"
        self.search = server.Search(name, self.index, arguments.metric, arguments.k, ef_setting=EF_SETTING)
        writer.execute(f"DROP TABLE IF EXISTS {name}")
        writer.execute(f"CREATE TABLE {name} (id integer PRIMARY KEY, embedding real[]) WITH (autovacuum_enabled = off)")
        writer.execute(f"ALTER TABLE {name} ALTER embedding SET STORAGE MAIN")

    def insert(self, first, last):
        """One statement; returns what Writer.measured does."""
        with self.writer.measured() as found:
            self.writer.execute(f"INSERT INTO {self.name} SELECT id, embedding FROM source"
                                f" WHERE id > {first} AND id <= {last} ORDER BY id")
        return found

    def delete(self, condition):
        self.writer.execute(f"DELETE FROM {self.name} WHERE {condition}")

    def vacuum(self, options="ANALYZE"):
        """Like insert.  INDEX_CLEANUP ON: a few dead rows alone do not make VACUUM look at indexes."""
        with self.writer.measured() as found:
            self.writer.execute(f"VACUUM (INDEX_CLEANUP ON, PARALLEL 0{', ' + options if options else ''}) {self.name}")
        return found

    def build(self, workers=0):
        """CREATE INDEX.  Like insert; processor time is that of this session, not of workers."""
        self.writer.execute(f"SET max_parallel_maintenance_workers = {workers};"
                            f" ALTER TABLE {self.name} SET (parallel_workers = {workers})")
        sql = (f"CREATE INDEX {self.index} ON {self.name} USING {METHOD}"
               f" (embedding real_{self.arguments.metric}_ops) WITH (m = {self.arguments.m},"
               f" ef_construction = {self.arguments.ef_construction}, vectors = '{self.arguments.mode}')")
        with self.writer.measured() as found:
            seconds = server.create_index(self.writer.connection, sql, server.Progress())
        found["seconds"] = seconds
        return found

    def rebuild(self, workers=0):
        self.writer.execute(f"DROP INDEX {self.index}")
        return self.build(workers)

    def merge(self):
        """Waits for others' merges, and merges what is left; returns its report, too."""
        with self.writer.measured() as found:
            report = self.writer.one(f"SELECT to_json(m) FROM hnsw_mmap_merge('{self.index}') m")
        return {**report, **found}

    def stats(self):
        return self.writer.one(f"SELECT to_json(s) FROM hnsw_mmap_stats('{self.index}') s")

    def verify(self):
        """hnsw_mmap_check, everything: an error if the index does not fit the table."""
        return self.writer.one(f"SELECT to_json(c) FROM hnsw_mmap_check('{self.index}', full => true) c")

    def grow(self, first, last, progress=None):
        """Inserts rows and merges whenever a merge is due, in one session; yields (rows so far, insert, merge)."""
        step = self.writer.merge_log_entries
        for start in range(first, last, step):
            end = min(start + step, last)
            inserted = self.insert(start, end)
            merged = self.merge()
            if progress:
                progress.show(f"  {end - first:,} of {last - first:,} rows inserted and merged")
            yield end - first, inserted, merged
        if progress:
            progress.done()

    def drop(self):
        self.writer.execute(f"DROP TABLE {self.name}")


class Inserts(server.Search):
    """pgbench's client that inserts a row per transaction, and does not wait for the disk to have it."""

    def settings(self, ef=None):
        return super().settings(ef) + [("synchronous_commit", "off"), ("hnsw_mmap.background_merge", "off")]


class QueryStream:
    """One client of pgbench that asks all the time; how many queries it got through in any second."""

    LINE = re.compile(r"progress: [\d.]+ s, ([\d.]+) tps")

    def __init__(self, search, n_queries, ef):
        self.directory = tempfile.TemporaryDirectory()
        path = os.path.join(self.directory.name, "query.sql")
        with open(path, "w", encoding="utf-8") as out:
            out.write(f"\\set id random(1, {n_queries})\n{search.single}\n")
        environment = dict(os.environ, PGOPTIONS=" ".join(
            f"-c {name}={value}" for name, value in search.settings(ef)))
        self.process = subprocess.Popen(
            ["pgbench", "-n", "-M", "prepared", "-c", "1", "-T", "86400", "-P", "1", "--random-seed=1", "-f", path],
            cwd=self.directory.name, env=environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self.seconds, self.said = [], []
        self.reader = threading.Thread(target=self._read)
        self.reader.start()

    def _read(self):
        for line in self.process.stderr:
            match = self.LINE.match(line)
            if match:
                self.seconds.append((time.monotonic(), float(match.group(1))))
            else:
                self.said.append(line)

    def rate(self, since, until):
        """Mean queries/s over the seconds that lie in between; those that overlap, where none does."""
        within = [rate for end, rate in self.seconds if end - 1 >= since and end <= until]
        within = within or [rate for end, rate in self.seconds if end > since and end - 1 < until]
        if not within:
            raise SystemExit("pgbench did not ask:\n" + "".join(self.said))
        return sum(within) / len(within)

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.reader.join()
        self.directory.cleanup()
