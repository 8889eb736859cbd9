-- Vectors stored out of line or compressed (scenario 9).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE toast_data (id int PRIMARY KEY, body text, v real[]);
INSERT INTO toast_data SELECT i, repeat(md5(i::text), 60), hm_test.vec(i, 600) FROM generate_series(1, 300) AS i;
-- CREATE INDEX says that heap mode will be slow here, and what to do.
CREATE INDEX toast_heap ON toast_data USING hnsw_mmap (v);
SET hnsw_mmap.ef_search = 400;
SELECT hm_test.mismatches('toast_data', 'v', '<->', 600, 10, 10) AS mismatches;
INSERT INTO toast_data SELECT i, NULL, hm_test.vec(i, 600) FROM generate_series(301, 320) AS i;
UPDATE toast_data SET v = hm_test.vec(id + 5000, 600) WHERE id % 3 = 0;
SELECT hm_test.mismatches('toast_data', 'v', '<->', 600, 10, 10) AS mismatches;
VACUUM toast_data;
SELECT hm_test.mismatches('toast_data', 'v', '<->', 600, 10, 10) AS mismatches;
REINDEX INDEX toast_heap;
SELECT hm_test.mismatches('toast_data', 'v', '<->', 600, 10, 10) AS mismatches;
DROP INDEX toast_heap;

-- No warning with copies in the index: they do not care.
CREATE INDEX toast_fp16 ON toast_data USING hnsw_mmap (v) WITH (vectors = 'fp16');
SELECT hm_test.mismatches('toast_data', 'v', '<->', 600, 10, 10) AS mismatches;
DROP TABLE toast_data;

-- With STORAGE MAIN the vector stays, the text moves out: no warning.
CREATE TABLE toast_main (id int PRIMARY KEY, body text, v real[]);
ALTER TABLE toast_main ALTER COLUMN v SET STORAGE MAIN;
INSERT INTO toast_main SELECT i, repeat(md5(i::text), 60), hm_test.vec(i, 400) FROM generate_series(1, 300) AS i;
CREATE INDEX ON toast_main USING hnsw_mmap (v);
SELECT hm_test.mismatches('toast_main', 'v', '<->', 400, 10, 10) AS mismatches;
DROP TABLE toast_main;

-- Short vectors beside short texts are inline: no warning either.
CREATE TABLE toast_short (id int PRIMARY KEY, body text, v real[]);
INSERT INTO toast_short SELECT i, md5(i::text), hm_test.vec(i, 100) FROM generate_series(1, 300) AS i;
CREATE INDEX ON toast_short USING hnsw_mmap (v);
DROP TABLE toast_short;

-- Compressed in place: constant vectors shrink to almost nothing.
CREATE TABLE toast_compressed (id int PRIMARY KEY, v real[]);
INSERT INTO toast_compressed SELECT i, array_fill(i::real, ARRAY[1000]) FROM generate_series(1, 200) AS i;
SELECT count(*) FILTER (WHERE pg_column_size(v) < 1000) AS compressed FROM toast_compressed;
CREATE INDEX ON toast_compressed USING hnsw_mmap (v) WITH (vectors = 'heap');
SELECT hm_test.indexed('toast_compressed', d, 10) = hm_test.exact('toast_compressed', d, 10) AS same
  FROM hm_test.distance('v', '<->', array_fill(77.3::real, ARRAY[1000])) AS d;
DROP TABLE toast_compressed;

-- Updated over and over, then vacuumed and built anew.
CREATE TABLE toast_loop (id int PRIMARY KEY, n int, v real[]) WITH (autovacuum_enabled = off);
INSERT INTO toast_loop SELECT i, 0, hm_test.vec(i, 1000) FROM generate_series(1, 50) AS i;
SET client_min_messages = error;
CREATE INDEX toast_loop_v ON toast_loop USING hnsw_mmap (v);
RESET client_min_messages;
DO $$ BEGIN FOR i IN 1..20 LOOP UPDATE toast_loop SET n = i, v = hm_test.vec(id + 100 * i, 1000); END LOOP; END $$;
SELECT hm_test.mismatches('toast_loop', 'v', '<->', 1000, 10, 5) AS mismatches;
VACUUM toast_loop;
SELECT hm_test.mismatches('toast_loop', 'v', '<->', 1000, 10, 5) AS mismatches;
REINDEX INDEX toast_loop_v;
SELECT hm_test.mismatches('toast_loop', 'v', '<->', 1000, 10, 5) AS mismatches;
DROP TABLE toast_loop;

-- Merged, with dead rows and rows whose versions differ in another column only;
-- out of line as it is, and compressed.  Merges happen where the test has them.
SET hnsw_mmap.background_merge = off;
CREATE TABLE toast_merge (id int PRIMARY KEY, n int DEFAULT 0, body text, v real[]) WITH (autovacuum_enabled = off);
ALTER TABLE toast_merge ALTER v SET STORAGE EXTERNAL;
INSERT INTO toast_merge (id, v) SELECT i, hm_test.vec(i, 600) FROM generate_series(1, 300) AS i;
SELECT pg_relation_size(reltoastrelid) > 300 * 2400 AS out_of_line FROM pg_class WHERE relname = 'toast_merge';
SET client_min_messages = error;
CREATE INDEX toast_merge_heap ON toast_merge USING hnsw_mmap (v);
CREATE INDEX toast_merge_fp16 ON toast_merge USING hnsw_mmap (v real_cosine_ops) WITH (vectors = 'fp16');
RESET client_min_messages;
CREATE VIEW toast_merge_state AS
SELECT i::regclass AS index, log_live, table_rows,
       (SELECT hm_test.mismatches('toast_merge', 'v', operator, 600, 10, 10)) AS mismatches
  FROM (VALUES ('toast_merge_heap', '<->'), ('toast_merge_fp16', '<=>')) AS t (i, operator), hnsw_mmap_check(i::regclass, true);
SET hnsw_mmap.ef_search = 400;
INSERT INTO toast_merge (id, v) SELECT i, hm_test.vec(i, 600) FROM generate_series(301, 330) AS i;
-- The same vector again, out of line beside compressed, and none.
ALTER TABLE toast_merge ALTER v SET STORAGE EXTENDED;
INSERT INTO toast_merge (id, v) SELECT i, hm_test.vec(i - 100, 600) FROM generate_series(401, 410) AS i;
INSERT INTO toast_merge (id, v) SELECT i, array_fill(i::real, ARRAY[600]) FROM generate_series(411, 415) AS i;
INSERT INTO toast_merge (id) VALUES (416), (417);
SELECT * FROM toast_merge_state;
SELECT inserted, duplicates FROM hnsw_mmap_merge('toast_merge_heap');
SELECT inserted, duplicates FROM hnsw_mmap_merge('toast_merge_fp16');
SELECT * FROM toast_merge_state;
UPDATE toast_merge SET n = 1 WHERE id <= 5;
UPDATE toast_merge SET body = repeat(md5(id::text), 100) WHERE id BETWEEN 6 AND 10;
UPDATE toast_merge SET v = hm_test.vec(-id, 600) WHERE id BETWEEN 11 AND 20;
DELETE FROM toast_merge WHERE id BETWEEN 21 AND 80;
SELECT count(hnsw_mmap_merge(index)) AS merged FROM toast_merge_state;
SELECT * FROM toast_merge_state;
-- So many are dead that the next merge makes one part of all.
VACUUM (INDEX_CLEANUP ON) toast_merge;
INSERT INTO toast_merge (id, v) SELECT i, hm_test.vec(i, 600) FROM generate_series(501, 520) AS i;
SELECT count(hnsw_mmap_merge(index)) AS merged FROM toast_merge_state;
SELECT * FROM toast_merge_state;
SELECT count(hnsw_mmap_merge(index, full => true)) AS merged FROM toast_merge_state;
SELECT * FROM toast_merge_state;
-- All of them rewritten, and the index with them.
SET client_min_messages = error;
VACUUM (FULL) toast_merge;
RESET client_min_messages;
SELECT * FROM toast_merge_state;
DROP VIEW toast_merge_state;
DROP TABLE toast_merge;
RESET hnsw_mmap.background_merge;
