-- An index on an empty table, and what comes after it (scenario 1).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE empty_data (id int, v real[]);
CREATE INDEX empty_heap ON empty_data USING hnsw_mmap (v);
CREATE INDEX empty_fp16 ON empty_data USING hnsw_mmap (v real_ip_ops) WITH (vectors = 'fp16');
SET enable_seqscan = off;
SET enable_sort = off;
SELECT hm_test.indexes_used('SELECT id FROM empty_data ORDER BY v <-> ''{1,2,3}'' LIMIT 5') AS l2,
       hm_test.indexes_used('SELECT id FROM empty_data ORDER BY v <#> ''{1,2,3}'' LIMIT 5') AS ip;

-- Nothing to find, whatever the query's dimension.
SELECT id FROM empty_data ORDER BY v <-> '{1,2,3}' LIMIT 5;
SELECT id FROM empty_data ORDER BY v <-> '{1,2,3,4}' LIMIT 5;
SELECT id FROM empty_data ORDER BY v <-> NULL LIMIT 5;
SELECT id FROM empty_data ORDER BY v <#> '{1,2,3}' LIMIT 5;
VACUUM empty_data;
SELECT id FROM empty_data ORDER BY v <-> '{1,2,3}' LIMIT 5;

-- NULL fixes no dimension, the first vector does.
INSERT INTO empty_data VALUES (0, NULL);
SELECT id FROM empty_data ORDER BY v <-> '{1,2,3}' LIMIT 5;
INSERT INTO empty_data VALUES (1, '{1,2,3}'), (2, '{1,2,4}');
SELECT id, v <-> '{1,2,3}' AS distance FROM empty_data ORDER BY v <-> '{1,2,3}' LIMIT 5;
SELECT id, v <#> '{1,2,3}' AS distance FROM empty_data ORDER BY v <#> '{1,2,3}' LIMIT 5;
INSERT INTO empty_data VALUES (3, '{1,2}');
SELECT id FROM empty_data ORDER BY v <-> '{1,2}' LIMIT 5;

-- TRUNCATE forgets it again.
TRUNCATE empty_data;
SELECT id FROM empty_data ORDER BY v <-> '{1,2,3}' LIMIT 5;
INSERT INTO empty_data VALUES (4, '{1,2}'), (5, '{2,2}');
SELECT id FROM empty_data ORDER BY v <-> '{1,2}' LIMIT 5;
SELECT id FROM empty_data ORDER BY v <#> '{1,2}' LIMIT 5;

-- So does deleting everything and building anew.
DELETE FROM empty_data;
SELECT id FROM empty_data ORDER BY v <-> '{1,2}' LIMIT 5;
VACUUM empty_data;
SELECT id FROM empty_data ORDER BY v <-> '{1,2}' LIMIT 5;
REINDEX TABLE empty_data;
INSERT INTO empty_data VALUES (6, '{1,2,3,4}');
SELECT id FROM empty_data ORDER BY v <-> '{1,2,3,4}' LIMIT 5;

-- In the transaction that made the table, TRUNCATE happens in place.
BEGIN;
CREATE TABLE empty_new (id int, v real[]);
CREATE INDEX ON empty_new USING hnsw_mmap (v);
INSERT INTO empty_new SELECT i, hm_test.vec(i, 3) FROM generate_series(1, 50) AS i;
SELECT count(*) FROM (SELECT id FROM empty_new ORDER BY v <-> '{1,2,3}' LIMIT 20) AS s;
TRUNCATE empty_new;
SELECT count(*) FROM (SELECT id FROM empty_new ORDER BY v <-> '{1,2,3}' LIMIT 20) AS s;
INSERT INTO empty_new SELECT i, hm_test.vec(i, 5) FROM generate_series(1, 10) AS i;
SELECT count(*) FROM (SELECT id FROM empty_new ORDER BY v <-> '{1,2,3,4,5}' LIMIT 20) AS s;
COMMIT;
SELECT count(*) FROM (SELECT id FROM empty_new ORDER BY v <-> '{1,2,3,4,5}' LIMIT 20) AS s;

-- One row, built.
CREATE TABLE empty_one AS SELECT 1 AS id, '{5}'::real[] AS v;
CREATE INDEX ON empty_one USING hnsw_mmap (v);
SELECT id, v <-> '{7}' AS distance FROM empty_one ORDER BY v <-> '{7}' LIMIT 5;

DROP TABLE empty_data, empty_new, empty_one;
