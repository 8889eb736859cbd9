-- Rollback, savepoints, cursors, rescans and prepared statements (scenario 16).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE transactions_data (id int PRIMARY KEY, v real[]);
INSERT INTO transactions_data SELECT i, hm_test.vec(i, 6) FROM generate_series(1, 1000) AS i;
CREATE INDEX transactions_heap ON transactions_data USING hnsw_mmap (v);
SET hnsw_mmap.ef_search = 400;
SET enable_seqscan = off;
SET enable_sort = off;

-- What is rolled back is not found; what comes later in the same place is.
BEGIN;
INSERT INTO transactions_data VALUES (2001, '{2,2,2,2,2,2}');
SELECT id FROM transactions_data ORDER BY v <-> '{2,2,2,2,2,2}' LIMIT 1;
ROLLBACK;
SELECT id > 1000 AS found FROM transactions_data ORDER BY v <-> '{2,2,2,2,2,2}' LIMIT 1;
VACUUM transactions_data;
INSERT INTO transactions_data VALUES (2002, '{3,3,3,3,3,3}');
SELECT id, v <-> '{2,2,2,2,2,2}' > 2.4 AS distance FROM transactions_data ORDER BY v <-> '{3,3,3,3,3,3}' LIMIT 1;

BEGIN;
INSERT INTO transactions_data VALUES (2003, '{4,4,4,4,4,4}');
SAVEPOINT a;
INSERT INTO transactions_data VALUES (2004, '{5,5,5,5,5,5}');
DELETE FROM transactions_data WHERE id = 2002;
SAVEPOINT b;
INSERT INTO transactions_data VALUES (2005, '{6,6,6,6,6,6}');
SELECT id FROM transactions_data ORDER BY v <-> '{6,6,6,6,6,6}' LIMIT 3;
ROLLBACK TO b;
SELECT id FROM transactions_data ORDER BY v <-> '{6,6,6,6,6,6}' LIMIT 3;
ROLLBACK TO a;
SELECT id FROM transactions_data ORDER BY v <-> '{6,6,6,6,6,6}' LIMIT 2;
-- An error inside a subtransaction leaves the scan's resources in order.
SAVEPOINT c;
SELECT 1 / (id - id) FROM transactions_data ORDER BY v <-> '{6,6,6,6,6,6}' LIMIT 2;
ROLLBACK TO c;
SELECT id FROM transactions_data ORDER BY v <-> '{6,6,6,6,6,6}' LIMIT 2;
COMMIT;
SELECT hm_test.mismatches('transactions_data', 'v', '<->', 6) AS mismatches;

-- An index built in a transaction that fails is gone.
BEGIN;
CREATE INDEX transactions_gone ON transactions_data USING hnsw_mmap (v real_ip_ops);
SELECT hm_test.mismatches('transactions_data', 'v', '<#>', 6) AS mismatches;
ROLLBACK;
SELECT hm_test.indexes_used('SELECT id FROM transactions_data ORDER BY v <#> ''{1,1,1,1,1,1}'' LIMIT 1') AS gone;
-- So is a REINDEX: the old one is back.
BEGIN;
REINDEX INDEX transactions_heap;
INSERT INTO transactions_data SELECT i, hm_test.vec(i, 6) FROM generate_series(1001, 1100) AS i;
SELECT hm_test.mismatches('transactions_data', 'v', '<->', 6) AS mismatches;
ROLLBACK;
SELECT hm_test.mismatches('transactions_data', 'v', '<->', 6) AS mismatches;

-- Cursors: step by step, while rows come and go; backward; beyond the end.
BEGIN;
DECLARE forward CURSOR FOR SELECT id FROM transactions_data ORDER BY v <-> '{9,9,9,9,9,9}';
INSERT INTO transactions_data VALUES (2010, '{9,9,9,9,9,9}');
FETCH 2 FROM forward;
INSERT INTO transactions_data VALUES (2011, '{9,9,9,9,9,8}');
DELETE FROM transactions_data WHERE id <= 500;
MOVE 500 IN forward;
CLOSE forward;
-- Backward through a materialised result.
EXPLAIN (COSTS OFF) DECLARE scroll_explained SCROLL CURSOR FOR SELECT id FROM transactions_data ORDER BY v <-> '{9,9,9,9,9,9}';
DECLARE backward SCROLL CURSOR FOR SELECT id FROM transactions_data ORDER BY v <-> '{9,9,9,9,9,9}';
FETCH 3 FROM backward;
FETCH BACKWARD 2 FROM backward;
FETCH FIRST FROM backward;
FETCH ABSOLUTE 3 FROM backward;
DECLARE forward_only NO SCROLL CURSOR FOR SELECT id FROM transactions_data ORDER BY v <-> '{9,9,9,9,9,9}';
FETCH 1 FROM forward_only;
SAVEPOINT d;
FETCH BACKWARD 1 FROM forward_only;
ROLLBACK TO d;
-- A cursor opened in a subtransaction that fails.
SAVEPOINT e;
DECLARE lost CURSOR FOR SELECT id FROM transactions_data ORDER BY v <-> '{9,9,9,9,9,9}';
FETCH 1 FROM lost;
ROLLBACK TO e;
FETCH 1 FROM backward;
-- Updating the row that a cursor stands on.
DECLARE positioned CURSOR FOR SELECT id FROM transactions_data ORDER BY v <-> '{9,9,9,9,9,9}' FOR UPDATE;
FETCH 1 FROM positioned;
UPDATE transactions_data SET v = '{0,0,0,0,0,0}' WHERE CURRENT OF positioned;
FETCH 1 FROM positioned;
DECLARE held CURSOR WITH HOLD FOR SELECT id FROM transactions_data ORDER BY v <-> '{9,9,9,9,9,9}' LIMIT 3;
FETCH 1 FROM held;
COMMIT;
DELETE FROM transactions_data WHERE id > 2000;
FETCH 2 FROM held;
CLOSE held;
SELECT hm_test.mismatches('transactions_data', 'v', '<->', 6) AS mismatches;

-- Two scans of one index in turn, in one query and in two cursors.
BEGIN;
DECLARE one CURSOR FOR SELECT v <-> '{1,1,1,1,1,1}' > 0 AS far FROM transactions_data ORDER BY v <-> '{1,1,1,1,1,1}';
DECLARE two CURSOR FOR SELECT v <-> '{-1,-1,-1,-1,-1,-1}' > 0 AS far FROM transactions_data ORDER BY v <-> '{-1,-1,-1,-1,-1,-1}';
FETCH 1 FROM one;
FETCH 1 FROM two;
MOVE 400 IN one;
MOVE 400 IN two;
FETCH 1 FROM one;
FETCH 1 FROM two;
COMMIT;

-- A rescan for each outer row gives what one query for each gives.
CREATE TABLE transactions_queries AS SELECT i AS q, hm_test.vec(-i, 6) AS v FROM generate_series(1, 50) AS i;
INSERT INTO transactions_queries VALUES (51, NULL);
SELECT count(*) AS rows, count(*) FILTER (WHERE n.id <> ALL (hm_test.exact_ids('transactions_data', hm_test.distance('v', '<->', q.v), 5))) <= 2 AS right
  FROM transactions_queries AS q,
       LATERAL (SELECT s.id FROM transactions_data AS s ORDER BY s.v <-> q.v LIMIT 5) AS n
 WHERE q.v IS NOT NULL;
SELECT count(*) AS rows
  FROM transactions_queries AS q, LATERAL (SELECT s.id FROM transactions_data AS s ORDER BY s.v <-> q.v LIMIT 5) AS n;
-- Rescans that stop early or go on for long.
SELECT sum(n.c) AS rows
  FROM transactions_queries AS q,
       LATERAL (SELECT count(*) AS c FROM (SELECT s.id FROM transactions_data AS s ORDER BY s.v <-> q.v LIMIT 1 + q.q % 5 * 50) AS s) AS n;

-- Custom and generic plans of a prepared statement.
PREPARE nearest (real[]) AS SELECT id FROM transactions_data ORDER BY v <-> $1 LIMIT 1;
CREATE FUNCTION transactions_same(query real[]) RETURNS bool LANGUAGE plpgsql AS $$
DECLARE
    found int;
BEGIN
    EXECUTE format('EXECUTE nearest (%L)', query) INTO found;
    RETURN ARRAY[found::bigint] = hm_test.exact_ids('transactions_data', hm_test.distance('v', '<->', query), 1);
END
$$;
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE nearest ('{1,1,1,1,1,1}');
SELECT bool_and(transactions_same(v)) AS same FROM transactions_queries WHERE q <= 10;
SET plan_cache_mode = force_custom_plan;
SELECT bool_and(transactions_same(v)) AS same FROM transactions_queries WHERE q <= 10;
RESET plan_cache_mode;
DEALLOCATE nearest;

-- Under every isolation level.
BEGIN ISOLATION LEVEL SERIALIZABLE;
SELECT hm_test.mismatches('transactions_data', 'v', '<->', 6) AS mismatches;
COMMIT;
BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY;
SELECT hm_test.mismatches('transactions_data', 'v', '<->', 6) AS mismatches;
COMMIT;

DROP FUNCTION transactions_same;
DROP TABLE transactions_data, transactions_queries;
