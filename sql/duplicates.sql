-- Many equal vectors beside distinct ones (scenario 4).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE duplicates_data (id int PRIMARY KEY, v real[]);
INSERT INTO duplicates_data SELECT i, '{0.5,0.5,0.5,0.5}' FROM generate_series(1, 100000) AS i;
INSERT INTO duplicates_data SELECT 100000 + i, hm_test.vec(i, 4) FROM generate_series(1, 1000) AS i;
ANALYZE duplicates_data;
SET hnsw_mmap.ef_search = 100;

CREATE FUNCTION duplicates_check() RETURNS TABLE (distinct_reachable bigint, top bool, all_equal bool, complete bool) LANGUAGE plpgsql AS $$
DECLARE
    d text := hm_test.distance('v', '<->', '{0.5,0.5,0.5,0.5}');
BEGIN
    SET LOCAL enable_seqscan = off;
    SET LOCAL enable_sort = off;
    -- Each of the distinct vectors is its own nearest row.
    SELECT count(*) INTO distinct_reachable
      FROM duplicates_data AS q,
           LATERAL (SELECT s.id FROM duplicates_data AS s ORDER BY s.v <-> q.v LIMIT 1) AS n
     WHERE q.id > 100000 AND n.id = q.id;
    top := hm_test.indexed('duplicates_data', d, 50) = hm_test.exact('duplicates_data', d, 50);
    -- The equal ones come first, all of them, then the nearest of the others; in
    -- strict order one that turned up late would be missing.
    SET LOCAL hnsw_mmap.ef_search = 1000;
    all_equal := hm_test.indexed('duplicates_data', d, 100050) = hm_test.exact('duplicates_data', d, 100050);
    SET LOCAL hnsw_mmap.ef_search = 100;
    SET LOCAL hnsw_mmap.iterative_scan = relaxed_order;
    complete := hm_test.indexed_ids('duplicates_data', d) = hm_test.exact_ids('duplicates_data', d);
    RETURN NEXT;
END
$$;

CREATE INDEX duplicates_index ON duplicates_data USING hnsw_mmap (v);
SELECT * FROM duplicates_check();
DROP INDEX duplicates_index;
CREATE INDEX duplicates_index ON duplicates_data USING hnsw_mmap (v) WITH (vectors = 'fp16', m = 4, ef_construction = 20);
SELECT * FROM duplicates_check();

-- Most of the equal rows go: the others must still be found.
DELETE FROM duplicates_data WHERE id <= 99900;
VACUUM duplicates_data;
SELECT * FROM duplicates_check();
DROP INDEX duplicates_index;
CREATE INDEX duplicates_index ON duplicates_data USING hnsw_mmap (v);
DELETE FROM duplicates_data WHERE id BETWEEN 99901 AND 99999;
SELECT * FROM duplicates_check();
VACUUM duplicates_data;
SELECT * FROM duplicates_check();

-- A vector of which every row is gone comes back with a new row.
DELETE FROM duplicates_data WHERE id <= 100000;
VACUUM duplicates_data;
INSERT INTO duplicates_data SELECT i, '{0.5,0.5,0.5,0.5}' FROM generate_series(1, 20) AS i;
SELECT * FROM duplicates_check();

-- Equal when rounded to half precision, but not equal.
TRUNCATE duplicates_data;
INSERT INTO duplicates_data SELECT i, ARRAY[1 + i * 1e-6, 1, 1, 1]::real[] FROM generate_series(1, 300) AS i;
REINDEX INDEX duplicates_index;
SET hnsw_mmap.ef_search = 400;
SELECT hm_test.mismatches('duplicates_data', 'v', '<->', 4) AS mismatches;
SELECT count(*) FILTER (WHERE n.id = q.id) AS found_itself
  FROM duplicates_data AS q, LATERAL (SELECT s.id FROM duplicates_data AS s ORDER BY s.v <-> q.v LIMIT 1) AS n;
DROP INDEX duplicates_index;
CREATE INDEX duplicates_index ON duplicates_data USING hnsw_mmap (v) WITH (vectors = 'fp16');
SELECT hm_test.mismatches('duplicates_data', 'v', '<->', 4) AS mismatches;

-- Minus zero and zero differ in their bytes, not in any distance.
TRUNCATE duplicates_data;
INSERT INTO duplicates_data VALUES (1, '{0,1,1,1}'), (2, '{-0,1,1,1}');
SET enable_seqscan = off;
SELECT id, v <-> '{0,1,1,1}' AS distance FROM duplicates_data ORDER BY v <-> '{0,1,1,1}', id;
RESET enable_seqscan;

DROP FUNCTION duplicates_check;
DROP TABLE duplicates_data;
