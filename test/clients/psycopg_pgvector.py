"""What applications do with pgvector's own Python package, through hnsw_mmap indexes.

    psycopg_pgvector.py CONNECTION_STRING

Makes a table of its own in a database that has hnsw_mmap_pgvector.  Prints a line
"ok - ..." or "not ok - ..." for each test.  Needs psycopg 3 and pgvector.
"""

import random
import sys

import psycopg
from pgvector import HalfVector, Vector
from pgvector.psycopg import register_vector

DIMENSIONS = 16
ROWS = 800
OPERATORS = ("<->", "<#>", "<=>")
COLUMNS = {"v": Vector, "h": HalfVector}


def report(right, what):
    print(("ok - " if right else "not ok - ") + what, flush=True)


def components(generator):
    # whole numbers of sixteenths, which half precision holds exactly
    return [generator.randint(-160, 160) / 16 for _ in range(DIMENSIONS)]


def load(connection, generator):
    """A table, loaded as large ones are: by binary COPY, indexes afterwards."""
    connection.execute("DROP TABLE IF EXISTS client")
    connection.execute(f"CREATE TABLE client (id int PRIMARY KEY, v vector({DIMENSIONS}), h halfvec({DIMENSIONS}))")
    with connection.cursor().copy("COPY client FROM STDIN WITH (FORMAT BINARY)") as copy:
        copy.set_types(["int4", "vector", "halfvec"])
        for i in range(ROWS):
            values = components(generator)
            copy.write_row((i, Vector(values), HalfVector(values)))
    for column, kind in (("v", "vector"), ("h", "halfvec")):
        for metric in ("l2", "ip", "cosine"):
            connection.execute(f"CREATE INDEX client_{column}_{metric} ON client USING hnsw_mmap ({column} {kind}_{metric}_ops)")
    # more than it has elements: what is compared here is not recall
    connection.execute("SET hnsw_mmap.ef_search = 1000")


def nearest(connection, column, operator, query, through_index=True, placeholder="%s", **how):
    """Distances of the ten nearest rows, and whether an hnsw_mmap index found them."""
    connection.execute(f"SET enable_seqscan = {'off' if through_index else 'on'}")
    connection.execute(f"SET enable_indexscan = {'on' if through_index else 'off'}")
    binary = how.pop("binary", False)
    statement = f"SELECT id, {column} {operator} {placeholder} FROM client ORDER BY {column} {operator} {placeholder} LIMIT 10"
    rows = connection.cursor(binary=binary).execute(statement, (query, query), **how).fetchall()
    plan = connection.execute("EXPLAIN " + statement, (query, query)).fetchall()
    return [row[1] for row in rows], f"using client_{column}_" in str(plan)


def test_queries(connection, generator):
    for column, kind in COLUMNS.items():
        for operator in OPERATORS:
            for what, how in (("text", {"placeholder": "%t"}), ("binary", {"placeholder": "%b", "binary": True}),
                              ("prepared", {"prepare": True}), ("prepared, binary", {"prepare": True, "placeholder": "%b"})):
                right = True
                for _ in range(4):
                    query = kind(components(generator))
                    exact, scanned = nearest(connection, column, operator, query, through_index=False)
                    found, used = nearest(connection, column, operator, query, **how)
                    right = right and used and not scanned and found == exact
                report(right, f"{kind.__name__} {operator}, parameters {what}")


def test_values(connection, generator):
    values = components(generator)
    connection.cursor().executemany("INSERT INTO client VALUES (%s, %s, %s)",
                                    [(ROWS + i, Vector([x + i for x in values]), HalfVector([x + i for x in values])) for i in range(5)])
    connection.execute("SET enable_seqscan = off")
    connection.execute("SET enable_indexscan = on")
    row = connection.execute("SELECT id, v, h FROM client ORDER BY v <-> %s LIMIT 1", (Vector(values),)).fetchone()
    report(row[0] == ROWS and list(row[1].to_list()) == values and list(row[2].to_list()) == values,
           "a row that was just inserted is found, and its values come back")
    connection.execute("UPDATE client SET v = %s WHERE id = 3", (Vector([9.5] * DIMENSIONS),))
    row = connection.cursor(binary=True).execute("SELECT id, v FROM client ORDER BY v <-> %s LIMIT 1", (Vector([9.5] * DIMENSIONS),)).fetchone()
    report(row[0] == 3 and row[1] == Vector([9.5] * DIMENSIONS), "so is one that was updated")
    rows = connection.execute("SELECT id FROM client ORDER BY v <=> %s LIMIT 3", (str(values),)).fetchall()
    report(rows[0][0] == ROWS, "a query as plain text, without an adapter")
    rows = connection.execute("SELECT id FROM client ORDER BY h <-> %s LIMIT 1", (Vector(values),)).fetchall()
    report(rows[0][0] == ROWS, "a vector asks a column of halfvec")


def test_cursor(connection, generator):
    """More rows than ef_search, a few at a time."""
    with connection.transaction():
        connection.execute("SET LOCAL hnsw_mmap.ef_search = 10")
        cursor = connection.cursor(name="many")
        cursor.itersize = 7
        cursor.execute("SELECT id, v <-> %(q)s FROM client ORDER BY v <-> %(q)s LIMIT 300", {"q": Vector(components(generator))})
        rows = cursor.fetchall()
        report(len({row[0] for row in rows}) == 300, "a server-side cursor returns 300 rows with an ef_search of 10")
        report(all(a[1] <= b[1] for a, b in zip(rows, rows[1:])), "in order")


def test_errors(connection):
    for column, kind in COLUMNS.items():
        try:
            connection.execute(f"SELECT id FROM client ORDER BY {column} <-> %s LIMIT 1", (kind([1, 2, 3]),))
            report(False, f"{column}: a query of other dimensions")
        except psycopg.errors.DataException as error:
            report(f"different vector dimensions {DIMENSIONS} and 3" in str(error), f"{column}: a query of other dimensions is refused as pgvector does")
        try:
            connection.execute(f"INSERT INTO client (id, {column}) VALUES (-1, %s)", (kind([1, 2]),))
            report(False, f"{column}: a value of other dimensions")
        except psycopg.errors.DataException as error:
            report(f"expected {DIMENSIONS} dimensions, not 2" in str(error), f"{column}: so is a value")


def main():
    generator = random.Random(20240229)
    with psycopg.connect(sys.argv[1], autocommit=True) as connection:
        register_vector(connection)
        load(connection, generator)
        test_queries(connection, generator)
        test_values(connection, generator)
        test_cursor(connection, generator)
        test_errors(connection)


main()
