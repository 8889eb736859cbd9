-- From 1 to 16,000 dimensions, and vectors that do not fit (scenario 15).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

-- The same small set in ever more dimensions, in both modes; then rows that
-- come later, which the log must hold whatever their size.
CREATE TABLE dimensions_results (dim int, vectors text, built bigint, changed bigint, complete bool);
DO $$
DECLARE
    dim int;
    count int;
    vectors text;
    built bigint;
BEGIN
    SET LOCAL client_min_messages = error;      -- long vectors are stored out of line
    FOREACH dim IN ARRAY ARRAY[1, 2, 3, 7, 17, 100, 1536, 2000, 2001, 4100, 8000, 16000] LOOP
        count := CASE WHEN dim > 4000 THEN 50 WHEN dim > 1000 THEN 100 ELSE 400 END;
        FOREACH vectors IN ARRAY ARRAY['heap', 'fp16'] LOOP
            CREATE TABLE dimensions_data (id int, v real[]);
            EXECUTE 'INSERT INTO dimensions_data SELECT i, hm_test.vec(i, $1) FROM generate_series(1, $2) AS i' USING dim, count;
            EXECUTE format('CREATE INDEX ON dimensions_data USING hnsw_mmap (v) WITH (m = 8, ef_construction = 64, vectors = %L)', vectors);
            SET LOCAL hnsw_mmap.ef_search = 400;
            built := hm_test.mismatches('dimensions_data', 'v', '<->', dim, 10, 3);
            EXECUTE 'INSERT INTO dimensions_data SELECT i, hm_test.vec(i, $1) FROM generate_series($2 + 1, $2 + 20) AS i' USING dim, count;
            DELETE FROM dimensions_data WHERE id % 10 = 0;
            INSERT INTO dimensions_results
                SELECT dim, vectors, built, hm_test.mismatches('dimensions_data', 'v', '<->', dim, 10, 3),
                       hm_test.exact_ids('dimensions_data', d) = hm_test.indexed_ids('dimensions_data', d)
                  FROM hm_test.distance('v', '<->', hm_test.vec(0, dim)) AS d;
            DROP TABLE dimensions_data;
        END LOOP;
    END LOOP;
END
$$;
SELECT * FROM dimensions_results ORDER BY dim, vectors COLLATE "C";

-- Beyond the limit.
CREATE TABLE dimensions_data (id int, v real[], h float2[]);
CREATE INDEX dimensions_v ON dimensions_data USING hnsw_mmap (v);
CREATE INDEX dimensions_h ON dimensions_data USING hnsw_mmap (h) WITH (vectors = 'fp16');
INSERT INTO dimensions_data (id, v) VALUES (1, array_fill(1::real, ARRAY[16001]));
INSERT INTO dimensions_data (id, h) VALUES (1, array_fill(1::real, ARRAY[16001])::float2[]);
DROP INDEX dimensions_v, dimensions_h;
INSERT INTO dimensions_data (id, v) VALUES (1, array_fill(1::real, ARRAY[16001]));
CREATE INDEX dimensions_v ON dimensions_data USING hnsw_mmap (v);
CREATE INDEX dimensions_v ON dimensions_data USING hnsw_mmap (v) WITH (vectors = 'fp16');
TRUNCATE dimensions_data;

-- Of different lengths: at build, at insert, in a query.
INSERT INTO dimensions_data (id, v) VALUES (1, '{1,2,3}'), (2, '{1,2}');
CREATE INDEX dimensions_v ON dimensions_data USING hnsw_mmap (v);
DELETE FROM dimensions_data WHERE id = 2;
CREATE INDEX dimensions_v ON dimensions_data USING hnsw_mmap (v);
INSERT INTO dimensions_data (id, v) VALUES (2, '{1,2}');
INSERT INTO dimensions_data (id, v) VALUES (2, '{1,2,3,4}');
UPDATE dimensions_data SET v = '{1}' WHERE id = 1;
-- What is no vector at all.
INSERT INTO dimensions_data (id, v) VALUES (2, '{}');
INSERT INTO dimensions_data (id, v) VALUES (2, '{1,NULL,3}');
INSERT INTO dimensions_data (id, v) VALUES (2, '{{1,2,3}}');
INSERT INTO dimensions_data (id, v) VALUES (2, '{{1},{2},{3}}');
-- An array whose subscripts do not begin at 1 is a vector like any other.
INSERT INTO dimensions_data (id, v) VALUES (3, '[5:7]={4,5,6}');
SET enable_seqscan = off;
SET enable_sort = off;
SELECT id, v <-> '{4,5,6}' AS distance FROM dimensions_data ORDER BY v <-> '{4,5,6}' LIMIT 5;
SELECT id FROM dimensions_data ORDER BY v <-> '{1,2}' LIMIT 5;
SELECT id FROM dimensions_data ORDER BY v <-> '{1,2,3,4}' LIMIT 5;
SELECT id FROM dimensions_data ORDER BY v <-> '{}' LIMIT 5;
SELECT id FROM dimensions_data ORDER BY v <-> '{1,NULL,3}' LIMIT 5;
SELECT id FROM dimensions_data ORDER BY v <-> '{{1,2,3}}' LIMIT 5;
RESET enable_seqscan;
RESET enable_sort;
-- The session and the index are none the worse for it.
SELECT cardinality(hm_test.indexed_ids('dimensions_data', 'v <-> ''{1,2,3}''')) AS rows;

-- The same in rows that a build meets.
DROP INDEX dimensions_v;
INSERT INTO dimensions_data (id, v) VALUES (4, '{}');
CREATE INDEX dimensions_v ON dimensions_data USING hnsw_mmap (v);
UPDATE dimensions_data SET v = '{1,NULL,3}' WHERE id = 4;
CREATE INDEX dimensions_v ON dimensions_data USING hnsw_mmap (v) WITH (vectors = 'fp16');
UPDATE dimensions_data SET v = '{{1,2,3}}' WHERE id = 4;
CREATE INDEX dimensions_v ON dimensions_data USING hnsw_mmap (v);
UPDATE dimensions_data SET v = NULL WHERE id = 4;
CREATE INDEX dimensions_v ON dimensions_data USING hnsw_mmap (v);
SELECT cardinality(hm_test.indexed_ids('dimensions_data', 'v <-> ''{1,2,3}''')) AS rows;

DROP TABLE dimensions_data, dimensions_results;
