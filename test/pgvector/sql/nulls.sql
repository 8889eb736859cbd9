-- NULL, zero, huge and tiny vectors: what a sequential scan with pgvector's operators returns, in its order.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/../../sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE nulls_data (id int PRIMARY KEY, v vector(3), h halfvec(3));
INSERT INTO nulls_data SELECT i, hm_test.vec(i, 3), hm_test.vec(i, 3) FROM generate_series(1, 100) AS i;
INSERT INTO nulls_data (id, v) VALUES
    (1001, NULL), (1002, NULL), (1003, '[0,0,0]'), (1004, '[0,0,0]'), (1005, '[-0,0,-0]'),
    (1011, '[1e30,1e30,1e30]'), (1012, '[3e38,3e38,-3e38]'), (1013, '[1e19,1,1]'), (1014, '[7e4,0,-7e4]'),
    (1021, '[1e-30,1e-30,1e-30]'), (1022, '[1e-45,0,0]'), (1023, '[1e-20,0,1e-20]'), (1024, '[1e-16,0,1]');
UPDATE nulls_data SET h = v WHERE id <= 1005;
UPDATE nulls_data SET h = '[65504,-65504,65504]' WHERE id = 1011;
UPDATE nulls_data SET h = '[6e-8,0,-6e-8]' WHERE id = 1021;

SET hnsw_mmap.ef_search = 400;

CREATE FUNCTION nulls_compare(later boolean) RETURNS TABLE (operator text, column_name text, vectors text, "order" text, wrong text[])
LANGUAGE plpgsql AS $$
DECLARE
    queries text[] := '{"[1,2,3]","[0,0,0]","[1e30,0,-1e30]","[-0.001,0.5,60000]","[1e-30,1e-30,0]","[3e38,0,0]"}';
    halves text[] := '{"[1,2,3]","[0,0,0]","[65504,0,-65504]","[6e-8,0,0]"}';
    metric record;
    query text;
    d text;
BEGIN
    FOR metric IN SELECT * FROM (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>')) AS x (name, operator) LOOP
        operator := metric.operator;
        FOREACH column_name IN ARRAY ARRAY['v', 'h'] LOOP
            FOREACH vectors IN ARRAY ARRAY['heap', 'fp16'] LOOP
                -- Either all rows come from the build, or these all come by INSERT.
                IF later THEN
                    CREATE TEMP TABLE kept AS SELECT * FROM nulls_data WHERE id > 1000;
                    DELETE FROM nulls_data WHERE id > 1000;
                END IF;
                EXECUTE format('CREATE INDEX nulls_index ON nulls_data USING hnsw_mmap (%I %I) WITH (vectors = %L, m = 8, ef_construction = 40)', column_name,
                               CASE column_name WHEN 'v' THEN 'vector' ELSE 'halfvec' END || '_' || metric.name || '_ops', vectors);
                IF later THEN
                    INSERT INTO nulls_data SELECT * FROM kept;
                    DROP TABLE kept;
                END IF;
                FOREACH "order" IN ARRAY ARRAY['strict_order', 'relaxed_order'] LOOP
                    PERFORM set_config('hnsw_mmap.iterative_scan', "order", true);
                    wrong := '{}';
                    FOREACH query IN ARRAY CASE column_name WHEN 'v' THEN queries ELSE halves END LOOP
                        d := format('%s %s %L', column_name, operator, query);
                        IF hm_test.exact('nulls_data', d) IS DISTINCT FROM hm_test.indexed('nulls_data', d) OR
                           hm_test.exact_ids('nulls_data', d) IS DISTINCT FROM hm_test.indexed_ids('nulls_data', d) THEN
                            wrong := wrong || query;
                        END IF;
                    END LOOP;
                    RETURN NEXT;
                END LOOP;
                DROP INDEX nulls_index;
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;
SELECT * FROM nulls_compare(false) WHERE wrong <> '{}';
SELECT * FROM nulls_compare(true) WHERE wrong <> '{}';

-- pgvector's hnsw leaves rows out that have no cosine, and NULLs; here they come last.
CREATE INDEX nulls_index ON nulls_data USING hnsw_mmap (v vector_cosine_ops);
SET hnsw_mmap.iterative_scan = relaxed_order;
SET enable_seqscan = off;
SET enable_sort = off;
SELECT count(*), count(v) AS vectors, count(*) FILTER (WHERE d = 'NaN') AS nan, count(*) FILTER (WHERE d IS NULL) AS nulls
  FROM (SELECT v, v <=> '[1,2,3]' AS d FROM nulls_data ORDER BY v <=> '[1,2,3]' OFFSET 0) AS s;
SELECT array_agg(kind ORDER BY first) AS order_of_kinds
  FROM (SELECT kind, min(position) AS first
          FROM (SELECT CASE WHEN d IS NULL THEN 'null' WHEN d = 'NaN' THEN 'NaN' ELSE 'number' END AS kind, row_number() OVER () AS position
                  FROM (SELECT v <=> '[1,2,3]' AS d FROM nulls_data ORDER BY v <=> '[1,2,3]' OFFSET 0) AS s) AS s
         GROUP BY kind) AS s;
-- A lateral join, some of its queries NULL or without a direction.
SELECT q.id, array_length(nearest, 1) AS nearest
  FROM nulls_data AS q, LATERAL (SELECT array_agg(id) AS nearest FROM (SELECT id FROM nulls_data AS d ORDER BY d.v <=> q.v LIMIT 3) AS s) AS n
 WHERE q.id IN (1, 2, 1001, 1003) ORDER BY q.id;
DROP TABLE nulls_data;
DROP FUNCTION nulls_compare;
