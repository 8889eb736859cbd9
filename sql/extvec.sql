-- Indexes on references to rows of a file: the table holds no vector.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set helpers :srcdir '/sql/include/files.sql'
\i :helpers
\set ECHO all
SET hnsw_mmap.ef_search = 400;
SET hnsw_mmap.background_merge = off;

SELECT rows, dim FROM hnsw_mmap_attach('extvec_f4', hm_test.write_file('extvec_f4.npy', hm_test.npy('f4', 12, 1, 1000)));
SELECT rows, dim FROM hnsw_mmap_attach('extvec_f2', hm_test.write_file('extvec_f2.npy', hm_test.npy('f2', 12, 1, 1000)));

CREATE TABLE extvec_data (id int PRIMARY KEY, n int DEFAULT 0, v extvec);
-- What the index and a sequential scan say of 20 queries and of all rows.
CREATE FUNCTION extvec_check(operator text DEFAULT '<->') RETURNS TABLE (wrong bigint, complete bool) LANGUAGE plpgsql AS $$
DECLARE
    d text := hm_test.distance('v', operator, hm_test.vec(0, 12));
BEGIN
    wrong := hm_test.mismatches('extvec_data', 'v', operator, 12);
    SET LOCAL hnsw_mmap.iterative_scan = relaxed_order;
    complete := hm_test.indexed_ids('extvec_data', d) = hm_test.exact_ids('extvec_data', d);
    RETURN NEXT;
END
$$;

-- Both kinds of components, all operators, both ways of keeping vectors.
INSERT INTO extvec_data (id, v) SELECT i, ('extvec_f4:' || i - 1)::extvec FROM generate_series(1, 900) AS i;
INSERT INTO extvec_data (id) VALUES (5001), (5002);
CREATE INDEX extvec_index ON extvec_data USING hnsw_mmap (v);
SELECT * FROM extvec_check();
SELECT column_type, metric, vectors, elements, dimension, bytes_vectors FROM hnsw_mmap_stats('extvec_index');
-- The graph reads vectors from the file and keeps none.
SET enable_seqscan = off;
SELECT id FROM extvec_data ORDER BY v <-> hm_test.vec(17, 12) LIMIT 1;
SELECT vectors_mmap > 0 AS through_mmap FROM hnsw_mmap_last_scan();
SELECT id FROM extvec_data ORDER BY v <-> 'extvec_f4:16'::extvec LIMIT 1;
SELECT id FROM extvec_data ORDER BY v <-> hm_test.vec(17, 12)::float2[] LIMIT 1;
RESET enable_seqscan;
SELECT hnsw_mmap_index_file('extvec_index') = number AS over_the_file FROM hnsw_mmap_files WHERE name = 'extvec_f4';
DROP INDEX extvec_index;
CREATE INDEX extvec_index ON extvec_data USING hnsw_mmap (v extvec_ip_ops);
SELECT * FROM extvec_check('<#>');
DROP INDEX extvec_index;
CREATE INDEX extvec_index ON extvec_data USING hnsw_mmap (v extvec_cosine_ops) WITH (vectors = 'fp16');
SELECT * FROM extvec_check('<=>');
DROP INDEX extvec_index;

-- Half precision, inserts, several rows that refer to one row of the file, updates, merges, VACUUM.
TRUNCATE extvec_data;
CREATE INDEX extvec_index ON extvec_data USING hnsw_mmap (v) WITH (m = 8);
SELECT hnsw_mmap_index_file('extvec_index') IS NULL AS over_no_file_yet;
INSERT INTO extvec_data (id, v) SELECT i, ('extvec_f2:' || i - 1)::extvec FROM generate_series(1, 600) AS i;
INSERT INTO extvec_data (id, v) SELECT 2000 + i, ('extvec_f2:' || i % 10)::extvec FROM generate_series(1, 100) AS i;
SELECT * FROM extvec_check();
SELECT log_entries, inserted, duplicates FROM hnsw_mmap_merge('extvec_index');
SELECT * FROM extvec_check();
INSERT INTO extvec_data (id, v) SELECT i, ('extvec_f2:' || i - 1)::extvec FROM generate_series(601, 900) AS i;
DELETE FROM extvec_data WHERE id % 5 = 0;
UPDATE extvec_data SET v = ('extvec_f2:' || id % 900)::extvec WHERE id % 7 = 0;
UPDATE extvec_data SET n = 1 WHERE id % 11 = 0;
SELECT * FROM extvec_check();
VACUUM extvec_data;
SELECT * FROM extvec_check();
SELECT log_entries > 0 AS merged FROM hnsw_mmap_merge('extvec_index', true);
SELECT * FROM extvec_check();
SELECT rows, log_entries, unreachable, blocks_lost FROM hnsw_mmap_check('extvec_index', true);
REINDEX INDEX extvec_index;
SELECT * FROM extvec_check();

-- One index, one file.
INSERT INTO extvec_data (id, v) VALUES (6000, 'extvec_f4:0');
BEGIN;
DROP INDEX extvec_index;
INSERT INTO extvec_data (id, v) VALUES (6000, 'extvec_f4:0');
SAVEPOINT a;
CREATE INDEX ON extvec_data USING hnsw_mmap (v);
ROLLBACK TO a;
CREATE INDEX ON extvec_data USING hnsw_mmap (v) WHERE id < 6000;
ROLLBACK;

-- A row that the file does not have.
INSERT INTO extvec_data (id, v) VALUES (6000, 'extvec_f2:1000');

-- The file grows: the index is over it still, and takes what is new.
SELECT rows FROM hnsw_mmap_attach('extvec_f2', hm_test.write_file('extvec_f2.npy', hm_test.npy('f2', 12, 1, 1100)));
INSERT INTO extvec_data (id, v) SELECT i, ('extvec_f2:' || i - 1)::extvec FROM generate_series(1001, 1100) AS i;
SELECT * FROM extvec_check();

-- It is replaced by another, then becomes shorter: errors, and no wrong answer.
SELECT rows FROM hnsw_mmap_attach('extvec_f2', hm_test.write_file('extvec_f2.npy', hm_test.npy('f2', 12, 2, 1200)));
SET enable_seqscan = off;
SELECT id FROM extvec_data ORDER BY v <-> hm_test.vec(17, 12) LIMIT 1;
INSERT INTO extvec_data (id, v) VALUES (7000, 'extvec_f2:1');
SELECT count(*) FROM hnsw_mmap_merge('extvec_index');
RESET enable_seqscan;
REINDEX INDEX extvec_index;
SELECT * FROM extvec_check();

DROP TABLE extvec_data;
DROP FUNCTION extvec_check;
SELECT hnsw_mmap_detach('extvec_f4');
SELECT hnsw_mmap_detach('extvec_f2');
