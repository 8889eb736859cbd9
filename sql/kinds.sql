-- Indexes and tables of every kind: expression, partial, concurrently built, partitioned, unlogged, temporary, in a tablespace (scenarios 11, 14 and 16).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE kinds_data (id int PRIMARY KEY, category int, v real[], f8 float8[], t text);
INSERT INTO kinds_data SELECT i, i % 4, hm_test.vec(i, 6), hm_test.vec(i, 6)::float8[], hm_test.vec(i, 6)::text FROM generate_series(1, 2000) AS i;
INSERT INTO kinds_data (id) VALUES (3001), (3002);
ANALYZE kinds_data;
SET hnsw_mmap.ef_search = 400;

-- An expression: the vector is in no column, so the index must keep it.
CREATE INDEX kinds_expression ON kinds_data USING hnsw_mmap ((f8::real[]));
CREATE INDEX kinds_expression ON kinds_data USING hnsw_mmap ((f8::real[])) WITH (vectors = 'fp16');
SELECT hm_test.mismatches('kinds_data', 'f8::real[]', '<->', 6) AS mismatches;
INSERT INTO kinds_data (id, f8) SELECT i, hm_test.vec(i, 6)::float8[] FROM generate_series(4001, 4100) AS i;
SELECT hm_test.mismatches('kinds_data', 'f8::real[]', '<->', 6) AS mismatches;
DELETE FROM kinds_data WHERE id > 4000;
DROP INDEX kinds_expression;
CREATE FUNCTION kinds_parse(t text) RETURNS real[] LANGUAGE sql IMMUTABLE AS 'SELECT t::real[]';
CREATE INDEX kinds_expression ON kinds_data USING hnsw_mmap (kinds_parse(t) real_cosine_ops) WITH (vectors = 'fp16');
SELECT hm_test.mismatches('kinds_data', 'kinds_parse(t)', '<=>', 6) AS mismatches;
DROP INDEX kinds_expression;
-- A half-precision index on a full-precision column.
CREATE INDEX kinds_expression ON kinds_data USING hnsw_mmap ((v::float2[])) WITH (vectors = 'fp16');
SELECT hm_test.mismatches('kinds_data', 'v::float2[]', '<->', 6) AS mismatches;
DROP INDEX kinds_expression;

-- A partial index, and what it leaves in pg_class.
CREATE INDEX kinds_partial ON kinds_data USING hnsw_mmap (v) WHERE category = 1;
SELECT relname, reltuples FROM pg_class WHERE relname IN ('kinds_data', 'kinds_partial') ORDER BY relname COLLATE "C";
SELECT hm_test.mismatches('kinds_data', 'v', '<->', 6, filter => 'category = 1') AS mismatches;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT hm_test.indexes_used($$ SELECT id FROM kinds_data WHERE category = 2 ORDER BY v <-> '{1,1,1,1,1,1}' LIMIT 3 $$) AS other_category;
RESET enable_seqscan;
RESET enable_sort;
UPDATE kinds_data SET category = 1 WHERE id % 100 = 0;
UPDATE kinds_data SET category = 0 WHERE id % 100 = 1;
SELECT hm_test.mismatches('kinds_data', 'v', '<->', 6, filter => 'category = 1') AS mismatches;
VACUUM kinds_data;
SELECT hm_test.mismatches('kinds_data', 'v', '<->', 6, filter => 'category = 1') AS mismatches;
DROP INDEX kinds_partial;

-- CONCURRENTLY, and again.
CREATE INDEX CONCURRENTLY kinds_concurrently ON kinds_data USING hnsw_mmap (v);
SELECT indisvalid, indisready FROM pg_index WHERE indexrelid = 'kinds_concurrently'::regclass;
SELECT hm_test.mismatches('kinds_data', 'v', '<->', 6) AS mismatches;
REINDEX INDEX CONCURRENTLY kinds_concurrently;
SELECT hm_test.mismatches('kinds_data', 'v', '<->', 6) AS mismatches;
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT hm_test.indexed_ids('kinds_data', d) = hm_test.exact_ids('kinds_data', d) AS complete
  FROM hm_test.distance('v', '<->', hm_test.vec(0, 6)) AS d;
RESET hnsw_mmap.iterative_scan;
DROP INDEX CONCURRENTLY kinds_concurrently;

-- One that fails is left invalid, as with any access method; once the reason is
-- gone it can be built anew.
INSERT INTO kinds_data (id, v) VALUES (5000, '{1,2,3}');
CREATE INDEX CONCURRENTLY kinds_concurrently ON kinds_data USING hnsw_mmap (v);
SELECT indisvalid FROM pg_index WHERE indexrelid = 'kinds_concurrently'::regclass;
DELETE FROM kinds_data WHERE id = 5000;
REINDEX INDEX CONCURRENTLY kinds_concurrently;
SELECT indisvalid FROM pg_index WHERE indexrelid = 'kinds_concurrently'::regclass;
SELECT hm_test.mismatches('kinds_data', 'v', '<->', 6) AS mismatches;

-- A column added, dropped, moved: the attribute number changes nothing.
ALTER TABLE kinds_data DROP COLUMN category;
ALTER TABLE kinds_data ADD COLUMN late real[] DEFAULT '{9,9,9}';
CREATE INDEX kinds_late ON kinds_data USING hnsw_mmap (late);
SELECT hm_test.mismatches('kinds_data', 'v', '<->', 6) AS mismatches, hm_test.mismatches('kinds_data', 'late', '<->', 3) AS late;
ALTER TABLE kinds_data ALTER COLUMN v TYPE float2[] USING v::float2[];
DROP TABLE kinds_data;

-- Partitions.
CREATE TABLE kinds_parted (id int, category int, v real[]) PARTITION BY LIST (category);
CREATE TABLE kinds_part_0 PARTITION OF kinds_parted FOR VALUES IN (0);
CREATE TABLE kinds_part_1 PARTITION OF kinds_parted FOR VALUES IN (1);
CREATE TABLE kinds_part_2 (v real[], category int, id int);
INSERT INTO kinds_part_2 SELECT hm_test.vec(i, 6), 2, i FROM generate_series(2, 1500, 3) AS i;
INSERT INTO kinds_parted SELECT i, i % 3, hm_test.vec(i, 6) FROM generate_series(1, 1500) AS i WHERE i % 3 < 2;
CREATE INDEX kinds_parted_v ON kinds_parted USING hnsw_mmap (v);
ALTER TABLE kinds_parted ATTACH PARTITION kinds_part_2 FOR VALUES IN (2);
ANALYZE kinds_parted;
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM kinds_parted ORDER BY v <-> '{1,1,1,1,1,1}' LIMIT 3;
RESET enable_seqscan;
RESET enable_sort;
SELECT hm_test.mismatches('kinds_parted', 'v', '<->', 6) AS mismatches,
       hm_test.mismatches('kinds_parted', 'v', '<->', 6, filter => 'category = 2') AS one_partition;
UPDATE kinds_parted SET category = 0 WHERE id % 3 = 1 AND id < 300;
SELECT hm_test.mismatches('kinds_parted', 'v', '<->', 6) AS mismatches;
ALTER TABLE kinds_parted DETACH PARTITION kinds_part_1;
SELECT hm_test.mismatches('kinds_parted', 'v', '<->', 6) AS mismatches, hm_test.mismatches('kinds_part_1', 'v', '<->', 6) AS detached;
DROP TABLE kinds_parted, kinds_part_1;

-- Unlogged, and back.
CREATE UNLOGGED TABLE kinds_unlogged AS SELECT i AS id, hm_test.vec(i, 6) AS v FROM generate_series(1, 1000) AS i;
CREATE INDEX ON kinds_unlogged USING hnsw_mmap (v) WITH (vectors = 'fp16');
INSERT INTO kinds_unlogged SELECT i, hm_test.vec(i, 6) FROM generate_series(1001, 1100) AS i;
DELETE FROM kinds_unlogged WHERE id % 10 = 0;
VACUUM kinds_unlogged;
SELECT hm_test.mismatches('kinds_unlogged', 'v', '<->', 6) AS unlogged;
ALTER TABLE kinds_unlogged SET LOGGED;
SELECT hm_test.mismatches('kinds_unlogged', 'v', '<->', 6) AS logged;
ALTER TABLE kinds_unlogged SET UNLOGGED;
SELECT hm_test.mismatches('kinds_unlogged', 'v', '<->', 6) AS unlogged;
DROP TABLE kinds_unlogged;

-- Temporary, in local buffers.
CREATE TEMP TABLE kinds_temporary AS SELECT i AS id, hm_test.vec(i, 6) AS v FROM generate_series(1, 1000) AS i;
CREATE INDEX kinds_temporary_heap ON kinds_temporary USING hnsw_mmap (v);
CREATE INDEX kinds_temporary_fp16 ON kinds_temporary USING hnsw_mmap (v real_ip_ops) WITH (vectors = 'fp16');
INSERT INTO kinds_temporary SELECT i, hm_test.vec(i, 6) FROM generate_series(1001, 1100) AS i;
DELETE FROM kinds_temporary WHERE id % 10 = 0;
VACUUM kinds_temporary;
SELECT hm_test.mismatches('kinds_temporary', 'v', '<->', 6) AS l2, hm_test.mismatches('kinds_temporary', 'v', '<#>', 6) AS ip;
DROP TABLE kinds_temporary;
-- Emptied at every commit, in place.
CREATE TEMP TABLE kinds_temporary (id int, v real[]) ON COMMIT DELETE ROWS;
CREATE INDEX ON kinds_temporary USING hnsw_mmap (v) WITH (vectors = 'fp16');
BEGIN;
INSERT INTO kinds_temporary SELECT i, hm_test.vec(i, 6) FROM generate_series(1, 300) AS i;
SELECT hm_test.mismatches('kinds_temporary', 'v', '<->', 6) AS mismatches;
COMMIT;
SELECT cardinality(hm_test.indexed_ids('kinds_temporary', 'v <-> ''{1,2,3,4,5,6}''')) AS rows;
BEGIN;
INSERT INTO kinds_temporary SELECT i, hm_test.vec(i, 4) FROM generate_series(1, 300) AS i;
SELECT hm_test.mismatches('kinds_temporary', 'v', '<->', 4) AS mismatches;
CREATE INDEX kinds_temporary_second ON kinds_temporary USING hnsw_mmap (v);
SELECT hm_test.mismatches('kinds_temporary', 'v', '<->', 4) AS mismatches;
COMMIT;
BEGIN;
INSERT INTO kinds_temporary SELECT i, hm_test.vec(i, 4) FROM generate_series(1, 20) AS i;
SELECT hm_test.mismatches('kinds_temporary', 'v', '<->', 4) AS mismatches;
ROLLBACK;
DROP TABLE kinds_temporary;

-- In another tablespace, and back.
SET allow_in_place_tablespaces = on;
CREATE TABLESPACE hm_kinds LOCATION '';
CREATE TABLE kinds_space AS SELECT i AS id, hm_test.vec(i, 6) AS v FROM generate_series(1, 1000) AS i;
CREATE INDEX kinds_space_v ON kinds_space USING hnsw_mmap (v) TABLESPACE hm_kinds;
SELECT hm_test.mismatches('kinds_space', 'v', '<->', 6) AS mismatches;
INSERT INTO kinds_space SELECT i, hm_test.vec(i, 6) FROM generate_series(1001, 1100) AS i;
ALTER INDEX kinds_space_v SET TABLESPACE pg_default;
SELECT hm_test.mismatches('kinds_space', 'v', '<->', 6) AS mismatches;
ALTER TABLE kinds_space SET TABLESPACE hm_kinds;
SELECT hm_test.mismatches('kinds_space', 'v', '<->', 6) AS mismatches;
DROP TABLE kinds_space;
DROP TABLESPACE hm_kinds;

-- A materialized view.
CREATE TABLE kinds_base AS SELECT i AS id, hm_test.vec(i, 6) AS v FROM generate_series(1, 500) AS i;
CREATE MATERIALIZED VIEW kinds_view AS SELECT id, v FROM kinds_base;
CREATE UNIQUE INDEX ON kinds_view (id);
CREATE INDEX ON kinds_view USING hnsw_mmap (v);
INSERT INTO kinds_base SELECT i, hm_test.vec(i, 6) FROM generate_series(501, 600) AS i;
REFRESH MATERIALIZED VIEW kinds_view;
SELECT hm_test.mismatches('kinds_view', 'v', '<->', 6) AS mismatches;
DELETE FROM kinds_base WHERE id % 7 = 0;
REFRESH MATERIALIZED VIEW CONCURRENTLY kinds_view;
SELECT hm_test.mismatches('kinds_view', 'v', '<->', 6) AS mismatches;
DROP MATERIALIZED VIEW kinds_view;
DROP TABLE kinds_base;
DROP FUNCTION kinds_parse;
