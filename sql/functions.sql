-- hnsw_mmap_stats and hnsw_mmap_last_scan, which also prove which path a scan took; the catalog entries.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

-- Nothing was scanned yet.
SELECT index, distances, expanded, rows FROM hnsw_mmap_last_scan();

CREATE TABLE functions_data (id int PRIMARY KEY, v real[]) WITH (autovacuum_enabled = off);
INSERT INTO functions_data SELECT i, hm_test.vec(i, 32) FROM generate_series(1, 3000) AS i;
INSERT INTO functions_data SELECT i, hm_test.vec(1, 32) FROM generate_series(3001, 3010) AS i;
INSERT INTO functions_data SELECT i FROM generate_series(3011, 3015) AS i;
CREATE INDEX functions_heap ON functions_data USING hnsw_mmap (v) WITH (m = 8, ef_construction = 64);
CREATE INDEX functions_fp16 ON functions_data USING hnsw_mmap (v real_cosine_ops) WITH (vectors = 'fp16');
CREATE INDEX functions_empty ON functions_data USING hnsw_mmap (v real_ip_ops) WHERE id < 0;

-- Equal vectors are one element; NULLs are in no graph.
SELECT elements, rows, unrankable, tombstones, log_entries, log_live, parts, dimension, column_type, metric, vectors, m, ef_construction
  FROM hnsw_mmap_stats('functions_heap');
SELECT elements, rows, unrankable, tombstones, log_entries, log_live, parts, dimension, column_type, metric, vectors, m, ef_construction
  FROM hnsw_mmap_stats('functions_fp16');
SELECT elements, rows, unrankable, tombstones, log_entries, parts, dimension, degree_min, degree_avg, degree_max, bytes_per_element, read_through
  FROM hnsw_mmap_stats('functions_empty');
SELECT levels BETWEEN 2 AND 10 AS levels, degree_min BETWEEN 1 AND 8 AS degree_min, degree_avg BETWEEN 4 AND 16 AS degree_avg, degree_max <= 16 AS degree_max
  FROM hnsw_mmap_stats('functions_heap');
-- Every byte of the file is accounted for, but for the metapage and the gaps between runs.
SELECT i, bytes_total = pg_relation_size(i) AS total,
       bytes_total - bytes_links - bytes_upper - bytes_patches - bytes_refs - bytes_postings - bytes_vectors - bytes_log - bytes_tombstones - bytes_free BETWEEN 8192 AND 16 * 8192 AS rest
  FROM unnest(ARRAY['functions_heap', 'functions_fp16']::regclass[]) AS i, hnsw_mmap_stats(i);
-- The target of the format: links and refs, page overhead included.
SELECT ((bytes_links + bytes_upper + bytes_refs) / elements::float8)::numeric(10, 0) BETWEEN 70 AND 90 AS per_element FROM hnsw_mmap_stats('functions_heap');

-- Writes: the log, blanked entries, tombstones.
INSERT INTO functions_data SELECT i, hm_test.vec(i, 32) FROM generate_series(4001, 4100) AS i;
SELECT elements, rows, log_entries, log_live FROM hnsw_mmap_stats('functions_heap');
DELETE FROM functions_data WHERE id % 100 = 0;
SELECT elements, rows, tombstones, log_entries, log_live FROM hnsw_mmap_stats('functions_heap');
VACUUM functions_data;
SELECT elements, rows, tombstones, log_live FROM hnsw_mmap_stats('functions_heap');
SELECT elements, rows, tombstones, log_live FROM hnsw_mmap_stats('functions_fp16');
REINDEX TABLE functions_data;
SELECT elements, rows, tombstones, log_entries, log_live, parts FROM hnsw_mmap_stats('functions_heap');

-- A scan through the graph: many distances, few compared with the table, and
-- the vectors by mmap unless that is switched off for this run.
SET enable_seqscan = off;
SET enable_sort = off;
SET hnsw_mmap.ef_search = 40;
SELECT count(*) FROM (SELECT id FROM functions_data ORDER BY v <-> hm_test.vec(0, 32) LIMIT 10) AS s;
SELECT index, distances BETWEEN 100 AND 2500 AS distances, expanded BETWEEN 20 AND 500 AS expanded,
       CASE WHEN current_setting('hnsw_mmap.heap_mmap')::bool THEN vectors_mmap > 100 AND vectors_buffers < 60 ELSE vectors_mmap = 0 AND vectors_buffers > 100 END AS path,
       sweeps, rows FROM hnsw_mmap_last_scan();
SET hnsw_mmap.heap_mmap = off;
SELECT count(*) FROM (SELECT id FROM functions_data ORDER BY v <-> hm_test.vec(0, 32) LIMIT 10) AS s;
SELECT vectors_mmap, vectors_buffers > 100 AS vectors_buffers FROM hnsw_mmap_last_scan();
RESET hnsw_mmap.heap_mmap;
-- Copies need no table.
SELECT count(*) FROM (SELECT id FROM functions_data ORDER BY v <=> hm_test.vec(0, 32) LIMIT 10) AS s;
SELECT index, distances > 100 AS distances, vectors_buffers < 60 AS few_rows_read, rows FROM hnsw_mmap_last_scan();
-- In one session a page is verified once.
SELECT count(*) FROM (SELECT id FROM functions_data ORDER BY v <=> hm_test.vec(0, 32) LIMIT 10) AS s;
SELECT pages_verified, pages_overlaid FROM hnsw_mmap_last_scan();
-- Resumed, and in the end swept.
SET hnsw_mmap.ef_search = 10;
SELECT count(*) FROM (SELECT id FROM functions_data ORDER BY v <-> hm_test.vec(0, 32) LIMIT 50) AS s;
SELECT resumptions + sweeps > 0 AS went_on, sweeps <= 1 AS sweeps, rows FROM hnsw_mmap_last_scan();
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT count(*) FROM (SELECT id FROM functions_data ORDER BY v <-> hm_test.vec(0, 32)) AS s;
SELECT sweeps, dropped, rows FROM hnsw_mmap_last_scan();
RESET hnsw_mmap.iterative_scan;
-- Absent vectors: rows deleted but not vacuumed, pruned by a look at them.
DELETE FROM functions_data WHERE id BETWEEN 1000 AND 1999;
SELECT count(*) FROM functions_data WHERE id BETWEEN 1000 AND 1999;
SET hnsw_mmap.ef_search = 100;
SELECT count(*) FROM (SELECT id FROM functions_data ORDER BY v <-> hm_test.vec(0, 32) LIMIT 10) AS s;
-- The log is compared entry by entry.
INSERT INTO functions_data SELECT i, hm_test.vec(i, 32) FROM generate_series(5001, 5100) AS i;
SELECT count(*) FROM (SELECT id FROM functions_data ORDER BY v <-> hm_test.vec(0, 32) LIMIT 10) AS s;
SELECT log_entries FROM hnsw_mmap_last_scan();
SELECT kernels <> '' AS kernels FROM hnsw_mmap_last_scan();
RESET enable_seqscan;
RESET enable_sort;

-- What the functions refuse.
SELECT * FROM hnsw_mmap_stats('functions_data');
SELECT * FROM hnsw_mmap_stats('functions_data_pkey');
SELECT * FROM hnsw_mmap_stats(0);
SELECT hnsw_mmap_stats(NULL) IS NULL AS strict;
CREATE TABLE functions_parted (id int, v real[]) PARTITION BY RANGE (id);
CREATE INDEX functions_parted_v ON functions_parted USING hnsw_mmap (v);
SELECT * FROM hnsw_mmap_stats('functions_parted_v');
DROP TABLE functions_parted;
CREATE ROLE hm_functions_reader;
SET ROLE hm_functions_reader;
SELECT * FROM hnsw_mmap_stats('functions_heap');
SELECT hnsw_mmap_last_scan() IS NOT NULL AS last_scan;
RESET ROLE;
GRANT SELECT ON functions_data TO hm_functions_reader;
SET ROLE hm_functions_reader;
SELECT dimension FROM hnsw_mmap_stats('functions_heap');
RESET ROLE;
DROP TABLE functions_data;
DROP ROLE hm_functions_reader;

-- The catalog: every operator class is valid, and nothing is undocumented.
SELECT opcname, amvalidate(c.oid) AS valid, opcdefault, opcintype::regtype
  FROM pg_opclass AS c JOIN pg_am AS a ON a.oid = c.opcmethod WHERE amname = 'hnsw_mmap' ORDER BY opcname COLLATE "C";
SELECT amname, amtype, pg_indexam_has_property(oid, 'can_order') AS can_order, pg_indexam_has_property(oid, 'can_unique') AS can_unique,
       pg_indexam_has_property(oid, 'can_multi_col') AS can_multi_col, pg_indexam_has_property(oid, 'can_exclude') AS can_exclude,
       pg_indexam_has_property(oid, 'can_include') AS can_include
  FROM pg_am WHERE amname = 'hnsw_mmap';
SELECT p.oid::regprocedure AS undescribed
  FROM pg_proc AS p JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'hnsw_mmap'
 WHERE obj_description(p.oid, 'pg_proc') IS NULL ORDER BY 1;
SELECT p.oid::regprocedure AS not_parallel_safe
  FROM pg_proc AS p JOIN pg_depend AS d ON d.objid = p.oid AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
  JOIN pg_extension AS e ON e.oid = d.refobjid AND e.extname = 'hnsw_mmap'
 WHERE p.proparallel <> 's' AND p.prorettype NOT IN ('index_am_handler'::regtype, 'trigger'::regtype) ORDER BY p.oid::regprocedure::text COLLATE "C";
-- An operator class of one's own must be complete.
CREATE OPERATOR CLASS functions_bad FOR TYPE real[] USING hnsw_mmap AS OPERATOR 1 <-> (real[], real[]) FOR ORDER BY float_ops;
SELECT amvalidate(oid) FROM pg_opclass WHERE opcname = 'functions_bad';
CREATE TABLE functions_bad_data (v real[]);
CREATE INDEX ON functions_bad_data USING hnsw_mmap (v functions_bad);
DROP TABLE functions_bad_data;
DROP OPERATOR CLASS functions_bad USING hnsw_mmap CASCADE;
DROP OPERATOR FAMILY IF EXISTS functions_bad USING hnsw_mmap;
