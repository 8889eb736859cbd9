-- Build and scan: every metric, type and way to keep vectors, compared with exact results.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE scan_data (id int PRIMARY KEY, v real[], h float2[]);
INSERT INTO scan_data SELECT i, hm_test.vec(i, 16), hm_test.vec(i, 16)::float2[] FROM generate_series(1, 2000) AS i;
ANALYZE scan_data;

-- A query of either type against a column of either type; after CREATE INDEX,
-- and again when a tenth of the rows was inserted later and some are gone.
CREATE TABLE scan_results (metric text, column_type text, vectors text, query_type text, built bigint, changed bigint);

DO $$
DECLARE
    metric record;
    col record;
    vectors text;
    built bigint;
BEGIN
    FOR metric IN SELECT * FROM (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>')) AS x (name, operator) LOOP
        FOR col IN SELECT * FROM (VALUES ('v', 'real', 'real[]'), ('h', 'float2', 'real[]'), ('h', 'float2', 'float2[]')) AS x (name, type, query) LOOP
            FOREACH vectors IN ARRAY ARRAY['heap', 'fp16'] LOOP
                EXECUTE format('CREATE INDEX scan_index ON scan_data USING hnsw_mmap (%I %I) WITH (vectors = %L)',
                               col.name, col.type || '_' || metric.name || '_ops', vectors);
                SET LOCAL hnsw_mmap.ef_search = 400;
                built := hm_test.mismatches('scan_data', col.name, metric.operator, 16, 10, 20, 'true', col.query);
                DELETE FROM scan_data WHERE id % 50 = 7;
                INSERT INTO scan_data SELECT i, hm_test.vec(i, 16), hm_test.vec(i, 16)::float2[] FROM generate_series(2001, 2200) AS i;
                INSERT INTO scan_results
                    SELECT metric.name, col.type, vectors, col.query, built,
                           hm_test.mismatches('scan_data', col.name, metric.operator, 16, 10, 20, 'true', col.query);
                DROP INDEX scan_index;
                DELETE FROM scan_data WHERE id > 2000;
                INSERT INTO scan_data SELECT i, hm_test.vec(i, 16), hm_test.vec(i, 16)::float2[] FROM generate_series(7, 2000, 50) AS i;
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;

-- Queries (of 20) whose ten nearest rows differ from the exact ones.
SELECT * FROM scan_results ORDER BY metric COLLATE "C", column_type COLLATE "C", vectors COLLATE "C", query_type COLLATE "C";

-- The operator class of a type's own distance is the default one.
CREATE INDEX scan_index ON scan_data USING hnsw_mmap (v);
SET enable_seqscan = off;
SET enable_sort = off;
EXPLAIN (COSTS OFF) SELECT id FROM scan_data ORDER BY v <-> '{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}' LIMIT 3;
-- Another metric's operator cannot use it, nor can a distance from another column.
SELECT hm_test.indexes_used($$ SELECT id FROM scan_data ORDER BY v <=> '{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}' LIMIT 3 $$) AS cosine,
       hm_test.indexes_used($$ SELECT id FROM scan_data ORDER BY h <-> '{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}'::real[] LIMIT 3 $$) AS other_column,
       hm_test.indexes_used($$ SELECT id FROM scan_data ORDER BY v <-> '{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}' DESC LIMIT 3 $$) AS descending;
-- The operator commutes.
SELECT hm_test.indexes_used($$ SELECT id FROM scan_data ORDER BY '{1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1}' <-> v LIMIT 3 $$) AS commuted;
RESET enable_seqscan;
RESET enable_sort;

-- A row finds itself first.
SET hnsw_mmap.ef_search = 100;
SELECT count(*) FILTER (WHERE found = id AND distance = 0) AS found_itself, count(*) AS asked
  FROM (SELECT id, v FROM scan_data WHERE id % 20 = 0) AS q,
       LATERAL (SELECT s.id AS found, s.v <-> q.v AS distance FROM scan_data AS s ORDER BY s.v <-> q.v LIMIT 1) AS nearest;

-- m = 2 is a poor graph, but every row must be there.
DROP INDEX scan_index;
CREATE INDEX scan_index ON scan_data USING hnsw_mmap (v) WITH (m = 2, ef_construction = 4);
SET hnsw_mmap.iterative_scan = relaxed_order;
SET hnsw_mmap.ef_search = 1;
SELECT hm_test.exact_ids('scan_data', d) = hm_test.indexed_ids('scan_data', d) AS complete
  FROM hm_test.distance('v', '<->', hm_test.vec(77, 16)) AS d;

DROP TABLE scan_data, scan_results;
