-- Graphs and vectors to files and back; who may, and what is refused.  test/t/016_graphs.pl compares with hnswlib.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\getenv builddir PG_ABS_BUILDDIR
\set dir :builddir '/results'
\! rm -f "$PG_ABS_BUILDDIR"/results/graphs_*.file
\set graph :dir '/graphs_1.file'
\set graph_again :dir '/graphs_2.file'
\set index :dir '/graphs_3.file'
\set vectors :dir '/graphs_4.file'
\set empty :dir '/graphs_5.file'
\set file :dir '/graphs_7.file'
\set file_graph :dir '/graphs_8.file'
\set file_graph_again :dir '/graphs_9.file'
\set other :dir '/graphs_6.file'
\set ECHO all

-- no worker shall merge what is to be merged by hand
SET hnsw_mmap.background_merge = off;
CREATE TABLE graphs (id int PRIMARY KEY, label bigint, v real[]) WITH (autovacuum_enabled = off);
INSERT INTO graphs SELECT i, 1000000000000 + i, hm_test.vec(i, 16) FROM generate_series(1, 500) AS i;
INSERT INTO graphs SELECT i, 1000000000000 + i, hm_test.vec(7, 16) FROM generate_series(501, 505) AS i;
INSERT INTO graphs VALUES (506, 1, NULL);
CREATE INDEX graphs_v ON graphs USING hnsw_mmap (v) WITH (m = 4, ef_construction = 40);

-- One element for equal vectors; rows that only share it, and those without a vector, are counted.
SELECT elements, levels > 1 AS levels, dropped, unlisted FROM hnsw_mmap_export_graph('graphs_v', :'graph', 'label');
SELECT elements, dropped, unlisted FROM hnsw_mmap_export_graph('graphs_v', :'index', label_column => 'id', format => 'hnswlib');
SELECT size = 76 + 500 * (4 + 8 * 4 + 8 + 4) + upper AS size, upper % (4 + 4 * 4) AS rest
  FROM (SELECT (pg_stat_file(:'graph')).size) AS s, LATERAL (SELECT size - 76 - 500 * 48 AS upper) AS u;

-- The same graph again: all of its elements, and nothing to insert.
DROP INDEX graphs_v;
SELECT hnsw_mmap_import_graph(:'graph', 'graphs', 'v', index_name => 'graphs_v', label_column => 'label');
SELECT pg_get_indexdef('graphs_v'::regclass);
SELECT elements, rows, unreachable, table_rows FROM hnsw_mmap_check('graphs_v', true);
SET hnsw_mmap.ef_search = 500;
SELECT hm_test.mismatches('graphs', 'v', '<->', 16);
SELECT elements, dropped, unlisted FROM hnsw_mmap_export_graph('graphs_v', :'graph_again', 'label');
SELECT (pg_stat_file(:'graph')).size = (pg_stat_file(:'graph_again')).size AS same_size;

-- Rows of equal vectors may have labels of their own; one vector for each label; some rows have none.
INSERT INTO graphs SELECT i, 1000000000000 + i, hm_test.vec(i, 16) FROM generate_series(601, 650) AS i;
DELETE FROM graphs WHERE id % 5 = 2;
UPDATE graphs SET label = NULL WHERE id = 3;
SET client_min_messages = warning;	-- how many are inserted depends on who can still see deleted rows
SELECT hnsw_mmap_import_graph(:'graph', 'graphs', 'v', 'public.real_l2_ops', 'graphs_w', 'label', 'fp16');
RESET client_min_messages;
SELECT elements >= 440 AS elements, unreachable FROM hnsw_mmap_check('graphs_w', true);
SELECT vectors, m, ef_construction FROM hnsw_mmap_stats('graphs_w');
UPDATE graphs SET label = 1000000000004 WHERE id = 5;
\set VERBOSITY sqlstate
SELECT hnsw_mmap_import_graph(:'graph', 'graphs', 'v', index_name => 'graphs_x', label_column => 'label');
-- Export of what is not all in the graph, of labels that are not unique, of no label.
SELECT * FROM hnsw_mmap_export_graph('graphs_v', :'other', 'label');
VACUUM graphs;
SELECT log_entries > 0 AS log_entries FROM hnsw_mmap_merge('graphs_v', full => true);
SELECT * FROM hnsw_mmap_export_graph('graphs_v', :'other', 'label');
UPDATE graphs SET label = -5 WHERE id = 3;
SELECT hnsw_mmap_merge('graphs_v') IS NOT NULL AS merged;
SELECT * FROM hnsw_mmap_export_graph('graphs_v', :'other', 'label');

-- Arguments.
\set VERBOSITY terse
SELECT hnsw_mmap_export_graph('graphs_v', 'relative', 'label');
SELECT hnsw_mmap_export_graph('graphs_v', '/nowhere', 'v');
SELECT hnsw_mmap_export_graph('graphs_v', '/nowhere', 'none');
SELECT hnsw_mmap_export_graph('graphs_v', '/nowhere', 'ctid');
SELECT hnsw_mmap_export_graph('graphs_v', '/nowhere');
SELECT hnsw_mmap_export_graph('graphs_v', '/nowhere', 'id', 'faiss');
SELECT hnsw_mmap_export_graph('graphs_pkey', '/nowhere', 'id');
SELECT hnsw_mmap_export_graph('graphs_v', NULL, 'id');
SELECT hnsw_mmap_export_graph('graphs_v', '/nowhere/at/all', 'id');
SELECT hnsw_mmap_import_graph('relative', 'graphs', 'v', label_column => 'label');
SELECT hnsw_mmap_import_graph('/nowhere/at/all', 'graphs', 'v', label_column => 'label');
SELECT hnsw_mmap_import_graph('/dev/null', 'graphs', 'v', label_column => 'label');
SELECT hnsw_mmap_import_graph('/nowhere', 'graphs', 'none', label_column => 'label');
SELECT hnsw_mmap_import_graph(:'graph', 'graphs', 'v');
SELECT hnsw_mmap_import_graph('/nowhere', 'pg_views', 'definition', label_column => 'label');
SELECT hnsw_mmap_import_graph('/nowhere', NULL, 'v');
SELECT hnsw_mmap_export_vectors('graphs', 'v', 'relative');
SELECT hnsw_mmap_export_vectors('graphs', 'none', '/nowhere');
SELECT hnsw_mmap_export_vectors('graphs', 'v', '/nowhere', dtype => 'f8');
SELECT hnsw_mmap_export_vectors('graphs', 'v', '/nowhere', 'none');
SELECT hnsw_mmap_export_vectors('pg_views', 'definition', '/nowhere');

-- Another dimension, other vectors: refused.
\set VERBOSITY sqlstate
CREATE TABLE graphs_other AS SELECT i AS id, hm_test.vec(i, 17) AS v FROM generate_series(1, 500) AS i;
SELECT hnsw_mmap_import_graph(:'index', 'graphs_other', 'v', label_column => 'id');
CREATE TABLE graphs_wrong AS SELECT i AS id, hm_test.vec(1000 - i, 16) AS v FROM generate_series(1, 500) AS i;
SELECT hnsw_mmap_import_graph(:'index', 'graphs_wrong', 'v', label_column => 'id');
UPDATE graphs_wrong SET id = -id;
SELECT hnsw_mmap_import_graph(:'index', 'graphs_wrong', 'v', label_column => 'id');
SELECT count(*) FROM pg_index WHERE indrelid IN ('graphs_other'::regclass, 'graphs_wrong'::regclass);
-- A file is never written over, and an error leaves none.
SELECT hnsw_mmap_export_graph('graphs_v', :'graph', 'id');
SELECT (pg_stat_file(:'other', true)).size;

-- An empty graph.
\set VERBOSITY default
CREATE TABLE graphs_empty (id int, v real[]);
CREATE INDEX graphs_empty_v ON graphs_empty USING hnsw_mmap (v);
SELECT * FROM hnsw_mmap_export_graph('graphs_empty_v', :'empty', 'id');
SELECT hnsw_mmap_import_graph(:'empty', 'graphs_empty', 'v', label_column => 'id');
\! rm -f "$PG_ABS_BUILDDIR"/results/graphs_5.file
SELECT * FROM hnsw_mmap_export_graph('graphs_empty_v', :'empty', 'id', 'hnswlib');
SELECT hnsw_mmap_import_graph(:'empty', 'graphs_empty', 'v', 'real_ip_ops', label_column => 'id');

-- Vectors, in the order of the key; a missing one is a row of NaN.
TRUNCATE graphs_empty;
ALTER TABLE graphs_empty ADD PRIMARY KEY (id);
INSERT INTO graphs_empty VALUES (2, '{1,2,3}'), (1, NULL), (3, '{-1,0.5,65504}'), (4, NULL);
SELECT * FROM hnsw_mmap_export_vectors('graphs_empty', 'v', :'vectors');
SELECT convert_from(substr(b, 11, 118), 'SQL_ASCII') ~ '^{''descr'': ''<f2'', ''fortran_order'': False, ''shape'': \(4, 3\), } *\n$' AS header,
       length(b), encode(substr(b, 129), 'hex') FROM pg_read_binary_file(:'vectors') AS b;
\! rm -f "$PG_ABS_BUILDDIR"/results/graphs_4.file
SELECT * FROM hnsw_mmap_export_vectors('graphs_empty', 'v', :'vectors', dtype => 'f4');
SELECT length(b), encode(substr(b, 129), 'hex') FROM pg_read_binary_file(:'vectors') AS b;
\! rm -f "$PG_ABS_BUILDDIR"/results/graphs_4.file
CREATE VIEW graphs_half AS SELECT id, v::float2[] AS v FROM graphs_empty;
SELECT * FROM hnsw_mmap_export_vectors('graphs_half', 'v', :'vectors', 'id');
SELECT length(b), encode(substr(b, 129), 'hex') FROM pg_read_binary_file(:'vectors') AS b;
\! rm -f "$PG_ABS_BUILDDIR"/results/graphs_4.file
INSERT INTO graphs_empty VALUES (5, '{1,2,70000}');
SELECT * FROM hnsw_mmap_export_vectors('graphs_empty', 'v', :'vectors');
DROP INDEX graphs_empty_v, graphs_empty_v_idx, graphs_empty_v_idx1;
UPDATE graphs_empty SET v = '{1}' WHERE id = 5;
SELECT * FROM hnsw_mmap_export_vectors('graphs_empty', 'v', :'vectors');
UPDATE graphs_empty SET v = NULL;
SELECT * FROM hnsw_mmap_export_vectors('graphs_empty', 'v', :'vectors');
SELECT * FROM hnsw_mmap_export_vectors('graphs_half', 'v', :'vectors');
SELECT (pg_stat_file(:'vectors', true)).size;

CREATE INDEX graphs_empty_w ON graphs_empty USING hnsw_mmap (v);

-- From the table to a file, and the graph with it: rows of the file are its labels.
CREATE TABLE graphs_heap AS SELECT i AS id, hm_test.vec(i, 16) AS v FROM generate_series(0, 399) AS i;
SELECT * FROM hnsw_mmap_export_vectors('graphs_heap', 'v', :'file', 'id', 'f4');
CREATE INDEX graphs_heap_v ON graphs_heap USING hnsw_mmap (v) WITH (m = 4, ef_construction = 40);
SELECT elements FROM hnsw_mmap_export_graph('graphs_heap_v', :'file_graph', 'id');
SELECT dtype, rows, dim FROM hnsw_mmap_attach('graphs_vectors', :'file', 'npy');
CREATE TABLE graphs_file AS SELECT i AS id, ('graphs_vectors:' || i)::extvec AS v FROM generate_series(0, 399) AS i;
SELECT hnsw_mmap_import_graph(:'file_graph', 'graphs_file', 'v', index_name => 'graphs_file_v');
SELECT elements, unreachable, table_rows FROM hnsw_mmap_check('graphs_file_v', true);
SET enable_seqscan = off;
SET enable_sort = off;
SELECT count(*) FROM generate_series(0, 399, 10) AS i,
       LATERAL (SELECT id FROM graphs_file ORDER BY v <-> hm_test.vec(i, 16) LIMIT 1) AS s WHERE id <> i;
RESET enable_seqscan;
RESET enable_sort;
SELECT elements, unlisted FROM hnsw_mmap_export_graph('graphs_file_v', :'file_graph_again');
SELECT (pg_stat_file(:'file_graph')).size = (pg_stat_file(:'file_graph_again')).size AS same_size;
-- Labels that are no rows of the file.
\set VERBOSITY sqlstate
SELECT hnsw_mmap_import_graph(:'graph', 'graphs_file', 'v');
\set VERBOSITY default
DROP TABLE graphs_heap, graphs_file;
SELECT hnsw_mmap_detach('graphs_vectors');

-- Roles: for files, for the rows, for the table; row security.
\set VERBOSITY sqlstate
CREATE ROLE graphs_user;
GRANT SELECT ON graphs TO graphs_user;
SET ROLE graphs_user;
SELECT hnsw_mmap_export_vectors('graphs', 'v', '/nowhere/at/all');
SELECT hnsw_mmap_export_graph('graphs_v', '/nowhere/at/all', 'id');
SELECT hnsw_mmap_import_graph('/nowhere/at/all', 'graphs', 'v', label_column => 'id');
RESET ROLE;
GRANT pg_write_server_files, pg_read_server_files TO graphs_user;
SET ROLE graphs_user;
SELECT hnsw_mmap_import_graph(:'graph', 'graphs', 'v', label_column => 'id');
SELECT hnsw_mmap_export_vectors('graphs_empty', 'v', :'vectors');
SELECT hnsw_mmap_export_graph('graphs_empty_w', :'other', 'id');
RESET ROLE;
ALTER TABLE graphs ENABLE ROW LEVEL SECURITY;
CREATE POLICY graphs_few ON graphs FOR SELECT USING (id <= 10);
SET ROLE graphs_user;
SELECT rows, (SELECT count(*) FROM graphs) AS seen FROM hnsw_mmap_export_vectors('graphs', 'v', :'vectors');
SELECT hnsw_mmap_export_graph('graphs_v', :'other', 'id');
RESET ROLE;
\set VERBOSITY default
SELECT (pg_stat_file(:'other', true)).size;
\! rm -f "$PG_ABS_BUILDDIR"/results/graphs_*.file
DROP VIEW graphs_half;
DROP TABLE graphs, graphs_other, graphs_wrong, graphs_empty;
DROP ROLE graphs_user;
