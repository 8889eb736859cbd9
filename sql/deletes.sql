-- Deleted and updated rows, before and after VACUUM (scenario 7).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE deletes_data (id int PRIMARY KEY, v real[], note text) WITH (fillfactor = 80, autovacuum_enabled = off);
INSERT INTO deletes_data SELECT i, hm_test.vec(i, 8) FROM generate_series(1, 5000) AS i;
ANALYZE deletes_data;

-- Deletes the thousand rows nearest to a point; at every stage the ten nearest
-- of those that are left must be found: all ten, and most of them the right ones,
-- even where the graph has lost the very neighbourhood of the query.
CREATE FUNCTION deletes_check(stage text) RETURNS TABLE (what text, mismatches bigint, "full" bool, near bool) LANGUAGE plpgsql AS $$
DECLARE
    d text := hm_test.distance('v', '<->', hm_test.vec(0, 8));
    e float8[] := hm_test.exact('deletes_data', d, 10);
    i float8[] := hm_test.indexed('deletes_data', d, 10);
BEGIN
    what := stage;
    mismatches := greatest(hm_test.mismatches('deletes_data', 'v', '<->', 8) - 2, 0);
    "full" := cardinality(i) IS NOT DISTINCT FROM cardinality(e);
    near := (SELECT count(*) FROM unnest(i) AS x WHERE x <= e[cardinality(e)]) >= coalesce(cardinality(e), 0) * 0.5;
    RETURN NEXT;
END
$$;
CREATE FUNCTION deletes_nearest() RETURNS void LANGUAGE sql AS $$
    DELETE FROM deletes_data WHERE id IN (SELECT id FROM deletes_data ORDER BY v <-> hm_test.vec(0, 8) LIMIT 1000)
$$;
SET hnsw_mmap.ef_search = 400;

CREATE INDEX deletes_heap ON deletes_data USING hnsw_mmap (v);
SELECT * FROM deletes_check('heap: built');
SELECT deletes_nearest();
SELECT * FROM deletes_check('heap: deleted');
SET enable_indexscan = off;
SELECT count(*) FROM deletes_data;    -- prunes pages
RESET enable_indexscan;
SELECT * FROM deletes_check('heap: pruned');
VACUUM deletes_data;
SELECT * FROM deletes_check('heap: vacuumed');
-- New rows take the places of the old ones.
INSERT INTO deletes_data SELECT i, hm_test.vec(i, 8) FROM generate_series(5001, 6000) AS i;
SELECT * FROM deletes_check('heap: places taken again');
SELECT deletes_nearest();
VACUUM deletes_data;
SELECT * FROM deletes_check('heap: vacuumed again');
VACUUM FULL deletes_data;
SELECT * FROM deletes_check('heap: rewritten');
DROP INDEX deletes_heap;

CREATE INDEX deletes_fp16 ON deletes_data USING hnsw_mmap (v) WITH (vectors = 'fp16');
SELECT deletes_nearest();
SELECT * FROM deletes_check('fp16: deleted');
VACUUM deletes_data;
SELECT * FROM deletes_check('fp16: vacuumed');
INSERT INTO deletes_data SELECT i, hm_test.vec(i, 8) FROM generate_series(6001, 7000) AS i;
SELECT * FROM deletes_check('fp16: places taken again');
VACUUM (INDEX_CLEANUP off) deletes_data;
SELECT * FROM deletes_check('fp16: index skipped');
VACUUM (INDEX_CLEANUP on, PARALLEL 0) deletes_data;
SELECT * FROM deletes_check('fp16: index not skipped');

-- Updates: of another column on the same page (HOT) and of the vector itself.
DROP INDEX deletes_fp16;
CREATE INDEX deletes_heap ON deletes_data USING hnsw_mmap (v);
UPDATE deletes_data SET note = 'hot' WHERE id % 3 = 0;
SELECT * FROM deletes_check('heap: hot updates');
VACUUM deletes_data;
SELECT * FROM deletes_check('heap: hot chains pruned');
UPDATE deletes_data SET v = hm_test.vec(id + 100000, 8) WHERE id % 4 = 0;
SELECT * FROM deletes_check('heap: vectors changed');
VACUUM deletes_data;
SELECT * FROM deletes_check('heap: changed and vacuumed');
-- A row changed a thousand times is one row.
DO $$ BEGIN FOR i IN 1..1000 LOOP UPDATE deletes_data SET note = i::text WHERE id = (SELECT min(id) FROM deletes_data); END LOOP; END $$;
SELECT * FROM deletes_check('heap: one row, a thousand versions');
VACUUM deletes_data;
SELECT * FROM deletes_check('heap: one row again');
-- Each row once, none too many, none missing.
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT hm_test.indexed_ids('deletes_data', d) = hm_test.exact_ids('deletes_data', d) AS complete
  FROM hm_test.distance('v', '<->', hm_test.vec(0, 8)) AS d;
RESET hnsw_mmap.iterative_scan;

-- All but a few are gone; then all.
DELETE FROM deletes_data WHERE id % 500 <> 1;
SELECT * FROM deletes_check('heap: few left');
VACUUM deletes_data;
SELECT * FROM deletes_check('heap: few left, vacuumed');
DELETE FROM deletes_data;
SELECT * FROM deletes_check('heap: none left');
VACUUM deletes_data;
SELECT * FROM deletes_check('heap: none left, vacuumed');
INSERT INTO deletes_data SELECT i, hm_test.vec(i, 8) FROM generate_series(1, 50) AS i;
SELECT * FROM deletes_check('heap: begun anew');

-- Rows of the log go, and others take their places: what this session has read of
-- the log is of no use to it then.
SET hnsw_mmap.background_merge = off;
CREATE TABLE deletes_log (id int PRIMARY KEY, v real[]) WITH (autovacuum_enabled = off);
CREATE INDEX deletes_log_index ON deletes_log USING hnsw_mmap (v);
INSERT INTO deletes_log SELECT i, hm_test.vec(i, 8) FROM generate_series(1, 2000) AS i;
CREATE FUNCTION deletes_complete() RETURNS bool LANGUAGE sql AS $$
    SELECT hm_test.indexed_ids('deletes_log', d) = hm_test.exact_ids('deletes_log', d)
      FROM hm_test.distance('v', '<->', hm_test.vec(0, 8)) AS d
$$;
SELECT deletes_complete();
DELETE FROM deletes_log WHERE id % 2 = 0;
VACUUM deletes_log;
INSERT INTO deletes_log SELECT i, hm_test.vec(i, 8) FROM generate_series(2001, 3000) AS i;
SELECT deletes_complete();
SELECT log_entries > 2000 AS in_the_log FROM hnsw_mmap_stats('deletes_log_index');
RESET hnsw_mmap.background_merge;

DROP FUNCTION deletes_check, deletes_nearest, deletes_complete;
DROP TABLE deletes_data, deletes_log;
