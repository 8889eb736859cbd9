-- LIMIT beyond ef_search, OFFSET, filters that reject nearly all, and the modes of iteration (scenarios 5 and 6).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE limits_data (id int PRIMARY KEY, category int, v real[]);
INSERT INTO limits_data SELECT i, i % 100, hm_test.vec(i, 8) FROM generate_series(1, 6000) AS i;
CREATE INDEX limits_heap ON limits_data USING hnsw_mmap (v) WITH (m = 8, ef_construction = 64);
ANALYZE limits_data;
SET enable_seqscan = off;
SET enable_sort = off;
SET enable_bitmapscan = off;

-- How many rows came, how many different ones, and whether in order.
CREATE FUNCTION limits_run(filter text, row_limit bigint, row_offset bigint DEFAULT 0)
RETURNS TABLE (count bigint, different bigint, ordered bool) LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY EXECUTE format($q$
        SELECT count(*), count(DISTINCT id), bool_and(d >= before IS NOT FALSE)
          FROM (SELECT id, d, lag(d) OVER () AS before
                  FROM (SELECT id, v <-> '{0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8}' AS d FROM limits_data WHERE %s
                         ORDER BY v <-> '{0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8}' LIMIT %L OFFSET %s) AS s) AS s
        $q$, filter, row_limit, row_offset);
END
$$;

SET hnsw_mmap.ef_search = 10;
SELECT * FROM limits_run('true', 10);
SELECT * FROM limits_run('true', 11);
SELECT * FROM limits_run('true', 100);
SELECT * FROM limits_run('true', 5000);
SELECT * FROM limits_run('true', 10, 3000);
SELECT * FROM limits_run('true', 10, 6000);
SELECT * FROM limits_run('true', 0);

-- Without LIMIT: all rows in relaxed order, each once.
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT count, different FROM limits_run('true', NULL);
SELECT count, different FROM limits_run('true', 5000);
SELECT hm_test.exact_ids('limits_data', d) = hm_test.indexed_ids('limits_data', d) AS complete
  FROM hm_test.distance('v', '<->', hm_test.vec(0, 8)) AS d;
-- Off: the first batch and no more.
SET hnsw_mmap.iterative_scan = off;
SELECT count BETWEEN 10 AND 20 AS first_batch, count = different AS different, ordered FROM limits_run('true', 5000);
SET hnsw_mmap.iterative_scan = strict_order;
SELECT count >= 5800 AS nearly_all, count = different AS different, ordered FROM limits_run('true', NULL);

-- The first rows of a long answer are the exact ones.
SET hnsw_mmap.ef_search = 200;
SELECT count(*) FILTER (WHERE e = i) AS right, count(*) AS asked
  FROM hm_test.distance('v', '<->', hm_test.vec(0, 8)) AS d,
       unnest(hm_test.exact('limits_data', d, 100), (hm_test.indexed('limits_data', d, 1000))[1:100]) AS x (e, i);

-- A filter that one row in a hundred passes.
SET hnsw_mmap.ef_search = 10;
SELECT * FROM limits_run('category = 42', 10);
SELECT * FROM limits_run('category = 42', 60);
SELECT * FROM limits_run('id % 1000 = 7', 6);
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT count, different FROM limits_run('category = 42', 10);
SELECT count, different FROM limits_run('category = 42', NULL);
SELECT hm_test.exact_ids('limits_data', d, NULL, 'category = 42') = hm_test.indexed_ids('limits_data', d, NULL, 'category = 42') AS complete
  FROM hm_test.distance('v', '<->', hm_test.vec(0, 8)) AS d;
SET hnsw_mmap.iterative_scan = off;
SELECT count <= 10 AS bounded FROM limits_run('category = 42', 10);
SET hnsw_mmap.iterative_scan = strict_order;
SET hnsw_mmap.ef_search = 100;
SELECT count(*) FILTER (WHERE cardinality(ARRAY(SELECT unnest(e) INTERSECT SELECT unnest(i))) >= 9) AS good, count(*) AS asked
  FROM generate_series(1, 20) AS q,
       LATERAL (SELECT hm_test.distance('v', '<->', hm_test.vec(-q, 8)) AS d) AS s,
       LATERAL (SELECT hm_test.exact_ids('limits_data', d, 10, 'category = 7') AS e,
                       hm_test.indexed_ids('limits_data', d, 10, 'category = 7') AS i) AS found;

-- A predicate that nothing satisfies ends, and earlier with a bound.
SET hnsw_mmap.ef_search = 10;
SELECT * FROM limits_run('category = -1', 10);
SET hnsw_mmap.max_scan_tuples = 500;
SELECT * FROM limits_run('category = -1', 10);
SELECT count BETWEEN 1 AND 600 AS bounded, ordered FROM limits_run('true', 5000);
SET hnsw_mmap.max_scan_tuples = 1;
SELECT * FROM limits_run('true', 10);
RESET hnsw_mmap.max_scan_tuples;

-- A threshold on the distance: relaxed order returns every row below it.
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT count(*) AS within FROM (SELECT id FROM limits_data WHERE v <-> '{0,0,0,0,0,0,0,0}' < 0.8 ORDER BY v <-> '{0,0,0,0,0,0,0,0}' LIMIT 1000) AS s;
SET enable_indexscan = off;
SELECT count(*) AS within FROM (SELECT id FROM limits_data WHERE v <-> '{0,0,0,0,0,0,0,0}' < 0.8 ORDER BY v <-> '{0,0,0,0,0,0,0,0}' LIMIT 1000) AS s;
RESET enable_indexscan;
SET hnsw_mmap.iterative_scan = strict_order;

-- A scan that turns into a sweep sorts within work_mem, or beyond it on disk.
SET work_mem = '64kB';
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT count, different FROM limits_run('true', NULL);
RESET work_mem;

-- The copies of vectors = 'fp16' are approximate, the order is not.
CREATE INDEX limits_fp16 ON limits_data USING hnsw_mmap (v) WITH (m = 8, ef_construction = 64, vectors = 'fp16');
DROP INDEX limits_heap;
RESET hnsw_mmap.iterative_scan;
SET hnsw_mmap.ef_search = 10;
SELECT * FROM limits_run('true', 5000);
SELECT * FROM limits_run('true', 10, 3000);
SELECT * FROM limits_run('category = 42', 60);
SELECT * FROM limits_run('category = -1', 10);
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT count, different FROM limits_run('true', NULL);

DROP FUNCTION limits_run;
DROP TABLE limits_data;
