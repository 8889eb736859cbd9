"""The systems that bench.py measures, all with the same few methods:

    name            what to call it
    describe()      {"name", "kind", "builds", "bytes", "bytes_per_element", ...}
    answers(ef)     rows[i, j]: query i's j-th neighbour, numbered from 0
    batch(ef)       seconds of all queries, without a round trip between them
    more(ef)        what else is worth knowing at this ef
"""

import json
import os
import subprocess
import sys

import numpy as np

import awake
import server

HERE = os.path.dirname(os.path.abspath(__file__))


# ---------------------------------------------------------------- hnswlib, in process


class Hnswlib:
    """hnswlib in a process of its own, one thread for a batch, two for the build."""

    kind = "hnswlib"

    def __init__(self, name, process, facts):
        self.name, self.process, self.facts = name, process, facts

    @classmethod
    def start(cls, which, collection, arguments, work, say):
        """Builds the index; returns None, having said why, where that cannot be done."""
        name = f"hnswlib ({which})"
        try:
            python = cls._python(which, work, say)
        except (OSError, subprocess.CalledProcessError) as error:
            detail = getattr(error, "stderr", None) or str(error)
            say(f"{name}: left out: {detail.strip().splitlines()[-1]}")
            return None
        paths = []
        for what in ("base", "queries"):
            paths.append(os.path.join(work, f"hnswlib-{what}.npy"))
            if not os.path.exists(paths[-1]):
                np.save(paths[-1], getattr(collection, what))
        threads = arguments.workers + 1
        say(f"{name}: building with {threads} threads")
        process = subprocess.Popen(
            [python, "-B", os.path.join(HERE, "hnswlib_worker.py"), *paths, arguments.metric,
             str(arguments.m), str(arguments.ef_construction), str(threads), str(arguments.k)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=dict(os.environ, OPENBLAS_NUM_THREADS="1"))
        first = process.stdout.readline()
        if not first:
            say(f"{name}: left out: {process.stderr.read().strip().splitlines()[-1]}")
            process.wait()
            return None
        facts = json.loads(first)
        facts["threads"] = threads
        return cls(name, process, facts)

    @staticmethod
    def _python(which, work, say):
        """The interpreter that has this build of hnswlib."""
        if which == "debian":
            return "/usr/bin/python3"
        if which != "pypi":
            return which
        venv = os.path.join(work, "hnswlib-venv")
        python = os.path.join(venv, "bin", "python")
        if not os.path.exists(os.path.join(venv, "ready")):
            say("hnswlib (pypi): compiling it for this machine")
            for command in (["/usr/bin/python3", "-m", "venv", venv],
                            [python, "-m", "pip", "install", "-q", "--disable-pip-version-check", "hnswlib"]):
                subprocess.run(command, check=True, capture_output=True, text=True)
            open(os.path.join(venv, "ready"), "w", encoding="utf-8").close()
        return python

    def _ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def describe(self):
        return {"name": self.name, "kind": self.kind, "version": self.facts["version"],
                "module": self.facts["module"],
                "builds": [{"threads": self.facts["threads"], "seconds": self.facts["build_seconds"]}],
                "bytes": None, "bytes_per_element": None}

    def answers(self, ef):
        return np.array(self._ask(ef=ef, answers=True)["ids"], dtype=np.int64)

    def batch(self, ef):
        return self._ask(ef=ef)["seconds"]

    def more(self, ef):
        return {}

    def stop(self):
        self.process.stdin.close()
        self.process.wait()


# ---------------------------------------------------------------- indexes of the server


class ServerIndex:
    """An index of the server, built as often as there are values of --memory."""

    kind = table = index = method = options = operator_class = ef_setting = None

    def __init__(self, collection, arguments, say):
        self.arguments, self.n_queries, self.n_rows = arguments, len(collection.queries), len(collection.base)
        self.prepare(collection)
        self.search = server.Search(self.table, self.index, arguments.metric, arguments.k,
                                    query_table=self.query_table, ef_setting=self.ef_setting)
        self.sessions, self.builds = {}, []
        for memory in arguments.memory:
            say(f"{self.name}: building with maintenance_work_mem = {memory}")
            self.builds.append(self._build(memory))
            say(f"  {self.builds[-1]['seconds']:.1f} s")
        connection = server.connect()
        self.bytes = server.relation_size(connection, self.index)
        self.table_bytes = server.one(connection, "SELECT pg_table_size(%s)", (self.table,))
        connection.close()

    query_table = "queries"

    def prepare(self, collection):
        """Makes what the index needs besides the tables base and queries."""

    def _build(self, memory):
        connection = server.connect([("maintenance_work_mem", memory),
                                     ("max_parallel_maintenance_workers", self.arguments.workers)])
        server.execute(connection, f"DROP INDEX IF EXISTS {self.index}")
        server.execute(connection, "CHECKPOINT")
        written = server.one(connection, "SELECT pg_current_wal_insert_lsn()")
        seconds = server.create_index(
            connection, f"CREATE INDEX {self.index} ON {self.table} USING {self.method}"
                        f" (embedding {self.operator_class}) WITH ({self.options})", server.Progress())
        wal = server.one(connection, "SELECT pg_wal_lsn_diff(pg_current_wal_insert_lsn(), %s)", (written,))
        server.execute(connection, f"VACUUM ANALYZE {self.table}")
        server.execute(connection, "CHECKPOINT")
        connection.close()
        return {"maintenance_work_mem": memory, "processes": self.arguments.workers + 1,
                "seconds": seconds, "wal_bytes": int(wal)}

    def _session(self, ef):
        if ef not in self.sessions:
            self.sessions = {ef: self.search.open(ef)}
            self.search.batch(self.sessions[ef])        # the first one warms caches
        return self.sessions[ef]

    def describe(self):
        return {"name": self.name, "kind": self.kind, "options": self.options, "builds": self.builds,
                "bytes": self.bytes, "bytes_per_element": self.bytes / self.n_rows,
                "table_bytes": self.table_bytes, "stats": self.stats()}

    def stats(self):
        return None

    def answers(self, ef):
        return self.search.answers(self._session(ef), self.n_queries)

    def batch(self, ef):
        return self.search.batch(self._session(ef))

    def more(self, ef):
        if not self.arguments.seconds:
            return {}
        with awake.processors(self.arguments.awake):
            return {"pgbench": [self.search.pgbench(clients, self.arguments.seconds, self.n_queries, ef)
                                for clients in self.arguments.clients]}

    def drop(self):
        for session in self.sessions.values():
            session.close()
        self.sessions = {}
        connection = server.connect()
        server.execute(connection, f"DROP INDEX {self.index}")
        connection.close()


class HnswMmap(ServerIndex):
    kind, table, index, method = "hnsw_mmap", "base", "base_hnsw_mmap", "hnsw_mmap"
    ef_setting = "hnsw_mmap.ef_search"

    def __init__(self, mode, collection, arguments, say):
        self.name = f"hnsw_mmap {mode}"
        self.operator_class = f"real_{arguments.metric}_ops"
        self.options = f"m = {arguments.m}, ef_construction = {arguments.ef_construction}, vectors = '{mode}'"
        super().__init__(collection, arguments, say)

    def stats(self):
        connection = server.connect()
        stats = server.one(connection, "SELECT to_json(s) FROM hnsw_mmap_stats(%s::regclass) s", (self.index,))
        connection.close()
        return stats

    def more(self, ef):
        """Besides the latencies, what the search did: means over the first 100 queries."""
        found = super().more(ef)
        session, totals = self._session(ef), {}
        queries = min(100, self.n_queries)
        for query in range(1, queries + 1):
            server.execute(session, self.search.single.replace(":id", str(query)))
            last = server.one(session, "SELECT to_json(s) FROM hnsw_mmap_last_scan() s") or {}
            for name, value in last.items():
                if isinstance(value, (int, float)) and not isinstance(value, bool):
                    totals[name] = totals.get(name, 0) + value
        found["last_scan"] = {name: total / queries for name, total in totals.items()}
        return found


class HnswMmapFile(HnswMmap):
    """hnsw_mmap over a file of half-precision vectors: the table has references to its rows."""

    kind, table, index = "hnsw_mmap", "base_file", "base_file_hnsw_mmap"

    def __init__(self, collection, arguments, work, say):
        self.path = os.path.join(work, "base-half.npy")
        super().__init__("file", collection, arguments, say)

    def prepare(self, collection):
        self.operator_class = f"extvec_{self.arguments.metric}_ops"
        self.options = f"m = {self.arguments.m}, ef_construction = {self.arguments.ef_construction}"
        np.save(self.path, collection.base.astype(np.float16))
        os.chmod(self.path, 0o644)
        connection = server.connect()
        server.execute(connection, "SELECT hnsw_mmap_attach('bench', %s)", (self.path,))
        server.execute(connection, f"CREATE TABLE {self.table} (id integer PRIMARY KEY, embedding extvec)")
        server.execute(connection, f"ALTER TABLE {self.table} SET (parallel_workers = {self.arguments.workers})")
        server.execute(connection, f"INSERT INTO {self.table} SELECT i, hnsw_mmap_extvec('bench', i - 1)"
                                   f" FROM generate_series(1, {self.n_rows}) AS i")
        server.execute(connection, f"VACUUM ANALYZE {self.table}")
        connection.close()


class Pgvector(ServerIndex):
    """pgvector's HNSW on the same vectors in its own type."""

    kind, name, table, index, method = "pgvector", "pgvector", "base_pgvector", "base_pgvector_hnsw", "hnsw"
    query_table, ef_setting = "queries_pgvector", "hnsw.ef_search"

    def __init__(self, collection, arguments, say):
        self.operator_class = f"vector_{arguments.metric}_ops"
        self.options = f"m = {arguments.m}, ef_construction = {arguments.ef_construction}"
        super().__init__(collection, arguments, say)

    @staticmethod
    def available():
        connection = server.connect()
        found = server.one(connection, "SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'")
        connection.close()
        return bool(found)

    def prepare(self, collection):
        make_vector_tables(collection, self.arguments)


class HnswMmapOnVector(HnswMmap):
    """hnsw_mmap on the very column that pgvector has its index on."""

    table, index, query_table = Pgvector.table, "base_pgvector_hnsw_mmap", Pgvector.query_table

    def prepare(self, collection):
        self.name += " on vector"
        self.operator_class = f"vector_{self.arguments.metric}_ops"
        make_vector_tables(collection, self.arguments)
        connection = server.connect()
        server.execute(connection, "CREATE EXTENSION IF NOT EXISTS hnsw_mmap_pgvector")
        connection.close()


def make_vector_tables(collection, arguments):
    """Copies of the tables in pgvector's type, unless they are there."""
    connection = server.connect()
    server.execute(connection, "CREATE EXTENSION IF NOT EXISTS vector")
    for source in ("base", "queries"):
        copy = source + "_pgvector"
        if server.one(connection, "SELECT to_regclass(%s) IS NOT NULL", (copy,)):
            continue
        server.execute(connection, f"""
            CREATE TABLE {copy} (id integer PRIMARY KEY, embedding vector({collection.base.shape[1]}));
            ALTER TABLE {copy} ALTER embedding SET STORAGE MAIN, SET (parallel_workers = {arguments.workers});
            INSERT INTO {copy} SELECT id, embedding FROM {source} ORDER BY id""")
        server.execute(connection, f"VACUUM ANALYZE {copy}")
    connection.close()


# ---------------------------------------------------------------- around them


def round_trip(arguments, n_queries):
    """What pgbench reaches when it only looks its query's vector up: the cost of asking at all."""
    search = server.Search("base", "base_pkey")
    with awake.processors(arguments.awake):
        return [search.pgbench(clients, arguments.seconds, n_queries, script=search.lookup)
                for clients in arguments.clients]


def describe_server():
    connection = server.connect()
    described = {"postgresql": server.one(connection, "SHOW server_version"),
                 "shared_buffers": server.one(connection, "SHOW shared_buffers"),
                 "extensions": dict(server.execute(connection, "SELECT extname, extversion FROM pg_extension")),
                 "python": sys.version.split()[0], "numpy": np.__version__}
    connection.close()
    return described
