-- The planner's choices, and the answers of plans that it was forced into (scenario 14).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE plans_data (id int PRIMARY KEY, category int, tenant int, v real[]);
INSERT INTO plans_data SELECT i, i % 10, i % 2000, hm_test.vec(i, 32) FROM generate_series(1, 20000) AS i;
CREATE INDEX plans_tenant ON plans_data (tenant);
CREATE INDEX plans_v ON plans_data USING hnsw_mmap (v) WITH (m = 8, ef_construction = 32);
VACUUM ANALYZE plans_data;
SET max_parallel_workers_per_gather = 0;
CREATE FUNCTION plans_query() RETURNS real[] LANGUAGE plpgsql STABLE PARALLEL SAFE AS 'BEGIN RETURN hm_test.vec(0, 32); END';

-- Chosen for ORDER BY ... LIMIT.
EXPLAIN (COSTS OFF) SELECT id FROM plans_data ORDER BY v <-> plans_query() LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM plans_data ORDER BY v <-> plans_query() LIMIT 100;
EXPLAIN (COSTS OFF) SELECT id FROM plans_data WHERE category = 3 ORDER BY v <-> plans_query() LIMIT 10;
EXPLAIN (COSTS OFF) SELECT q.id, n.id FROM plans_data AS q, LATERAL (SELECT s.id FROM plans_data AS s ORDER BY s.v <-> q.v LIMIT 3) AS n WHERE q.id < 100;

-- Not without LIMIT, nor for most of the table.
EXPLAIN (COSTS OFF) SELECT id FROM plans_data ORDER BY v <-> plans_query();
EXPLAIN (COSTS OFF) SELECT id FROM plans_data ORDER BY v <-> plans_query() LIMIT 19000;
-- Not where another index leaves few rows to sort.
EXPLAIN (COSTS OFF) SELECT id FROM plans_data WHERE id = 7 ORDER BY v <-> plans_query() LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM plans_data WHERE tenant = 7 ORDER BY v <-> plans_query() LIMIT 10;
-- Never without ORDER BY.
EXPLAIN (COSTS OFF) SELECT count(*) FROM plans_data;
EXPLAIN (COSTS OFF) SELECT id FROM plans_data WHERE v IS NOT NULL LIMIT 10;
EXPLAIN (COSTS OFF) SELECT id FROM plans_data WHERE v <-> plans_query() < 1;
EXPLAIN (COSTS OFF) SELECT id FROM plans_data ORDER BY category LIMIT 10;
EXPLAIN (COSTS OFF) SELECT max(id), category FROM plans_data GROUP BY category;
-- Nor for the distance in a form that is no bare operator.
EXPLAIN (COSTS OFF) SELECT id FROM plans_data ORDER BY 1 - (v <=> plans_query()) DESC LIMIT 10;
-- Nor, up to 16, with a second column: from 17 an incremental sort reads the index.
SET enable_incremental_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM plans_data ORDER BY v <-> plans_query(), id LIMIT 10;
RESET enable_incremental_sort;
SET hnsw_mmap.ef_search = 400;
WITH i AS MATERIALIZED (SELECT id FROM plans_data ORDER BY v <-> plans_query(), id LIMIT 10),
     e AS MATERIALIZED (SELECT id FROM plans_data ORDER BY (v <-> plans_query()) + 0, id LIMIT 10)
SELECT count(*) >= 9 AS same FROM i JOIN e USING (id);
RESET hnsw_mmap.ef_search;

-- Small tables are read in sequence.
CREATE TABLE plans_small AS SELECT * FROM plans_data WHERE id <= 100;
CREATE INDEX ON plans_small USING hnsw_mmap (v);
ANALYZE plans_small;
EXPLAIN (COSTS OFF) SELECT id FROM plans_small ORDER BY v <-> plans_query() LIMIT 10;

-- Forced to, the index returns every row, without ORDER BY too.
SET enable_seqscan = off;
SET enable_bitmapscan = off;
SET enable_sort = off;
CREATE TABLE plans_forced AS SELECT id, v FROM plans_data WHERE id <= 3000;
INSERT INTO plans_forced VALUES (3001, NULL), (3002, NULL), (3003, '{NaN,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0}');
CREATE INDEX plans_forced_v ON plans_forced USING hnsw_mmap (v);
CREATE INDEX plans_forced_partial ON plans_forced USING hnsw_mmap (v) WHERE id <= 1000;
INSERT INTO plans_forced SELECT i, hm_test.vec(i, 32) FROM generate_series(3004, 3100) AS i;
DELETE FROM plans_forced WHERE id BETWEEN 501 AND 600;
SELECT count(*), count(DISTINCT id), count(v) FROM plans_forced;
SELECT count(*) FROM plans_forced WHERE id <= 1000;
SELECT count(*) FROM plans_forced WHERE v IS NULL;
SELECT count(*) FROM plans_forced WHERE v IS NOT NULL;
SELECT count(*) FROM plans_forced AS a JOIN plans_forced AS b USING (id);
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT count(*) FROM plans_forced;
SET hnsw_mmap.iterative_scan = off;
SELECT count(*) FROM plans_forced;
SET hnsw_mmap.max_scan_tuples = 10;
SELECT count(*) FROM plans_forced;
RESET hnsw_mmap.max_scan_tuples;
RESET hnsw_mmap.iterative_scan;
RESET enable_seqscan;
RESET enable_bitmapscan;
RESET enable_sort;

-- Aggregates, joins and subqueries over a nearest-neighbour query.
SELECT count(*), count(DISTINCT category) <= 10 AS categories
  FROM (SELECT category FROM plans_data ORDER BY v <-> plans_query() LIMIT 50) AS s;
SELECT count(*) FROM plans_data AS a WHERE a.id IN (SELECT id FROM plans_data ORDER BY v <-> plans_query() LIMIT 50);
SELECT count(*) FROM (SELECT id FROM plans_data ORDER BY v <-> plans_query() LIMIT 50) AS s JOIN plans_data USING (id);
WITH near AS MATERIALIZED (SELECT id, v <-> plans_query() AS d FROM plans_data ORDER BY v <-> plans_query() LIMIT 20)
SELECT count(*), bool_and(d >= lagged IS NOT FALSE) AS ordered FROM (SELECT d, lag(d) OVER (ORDER BY d) AS lagged FROM near) AS s;
SELECT count(*) FROM ((SELECT id FROM plans_data ORDER BY v <-> plans_query() LIMIT 5)
                      UNION ALL (SELECT id FROM plans_data ORDER BY v <-> hm_test.vec(1, 32) LIMIT 5)) AS s;
DELETE FROM plans_data WHERE id IN (SELECT id FROM plans_data ORDER BY v <-> plans_query() LIMIT 5);
SELECT count(*) FROM plans_data;

-- Below a parallel plan: the index scan runs in one process each.
SET max_parallel_workers_per_gather = 2;
SET parallel_setup_cost = 0;
SET parallel_tuple_cost = 0;
SET min_parallel_table_scan_size = 0;
SELECT count(*), count(DISTINCT q.id) FROM plans_data AS q, LATERAL (SELECT s.id FROM plans_data AS s ORDER BY s.v <-> q.v LIMIT 2) AS n WHERE q.id % 100 = 0;
-- Its name is another from 16 on.
SELECT set_config(name, 'on', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');
SELECT count(*) FROM (SELECT id FROM plans_data ORDER BY v <-> plans_query() LIMIT 50) AS s;
SELECT set_config(name, 'off', false) FROM pg_settings WHERE name IN ('force_parallel_mode', 'debug_parallel_query');

DROP TABLE plans_data, plans_small, plans_forced;
DROP FUNCTION plans_query;
