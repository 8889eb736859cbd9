-- NULL, zero, NaN and infinite vectors: what a sequential scan returns, in its order (scenarios 2 and 3).
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE nulls_data (id int PRIMARY KEY, v real[], h float2[]);
INSERT INTO nulls_data (id, v) SELECT i, hm_test.vec(i, 3) FROM generate_series(1, 200) AS i;
INSERT INTO nulls_data (id, v) VALUES
    (1001, NULL), (1002, NULL), (1003, NULL),
    (1011, '{0,0,0}'), (1012, '{0,0,0}'), (1013, '{-0,0,-0}'),
    (1021, '{NaN,0,0}'), (1022, '{1,2,NaN}'), (1023, '{NaN,NaN,NaN}'),
    (1031, '{Infinity,0,0}'), (1032, '{0,-Infinity,0}'), (1033, '{Infinity,-Infinity,1}'), (1034, '{Infinity,NaN,1}'),
    (1041, '{1e30,1e30,1e30}'), (1042, '{3e38,3e38,-3e38}'), (1043, '{1e-30,1e-30,1e-30}'), (1044, '{1e-45,0,0}'),
    (1051, '{65504,0,0}'), (1052, '{65520,0,0}'), (1053, '{70000,-70000,1}'), (1054, '{6e-8,6e-8,0}');
-- What overflows half precision becomes infinite there, or is refused.
UPDATE nulls_data SET h = v::float2[] WHERE id <= 1034 OR id IN (1044, 1051, 1054);
UPDATE nulls_data SET h = '{Infinity,0,1}' WHERE id = 1041;

-- Every row must be returned, in the order of a sequential scan: NaN after all
-- numbers, NULL after NaN.  The queries themselves may be as odd as the rows.
CREATE FUNCTION nulls_compare(later boolean) RETURNS TABLE (operator text, column_name text, vectors text, "order" text, wrong text[])
LANGUAGE plpgsql AS $$
DECLARE
    queries text[] := '{"{1,2,3}","{0,0,0}","{NaN,0,0}","{Infinity,1,1}","{1e30,0,-1e30}","{-0.001,0.5,60000}","{1e-30,1e-30,0}"}';
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
                EXECUTE format('CREATE INDEX nulls_index ON nulls_data USING hnsw_mmap (%I %I) WITH (vectors = %L)', column_name,
                               CASE column_name WHEN 'v' THEN 'real' ELSE 'float2' END || '_' || metric.name || '_ops', vectors);
                IF later THEN
                    INSERT INTO nulls_data SELECT * FROM kept;
                    DROP TABLE kept;
                END IF;
                FOREACH "order" IN ARRAY ARRAY['strict_order', 'relaxed_order'] LOOP
                    PERFORM set_config('hnsw_mmap.iterative_scan', "order", true);
                    wrong := '{}';
                    FOREACH query IN ARRAY queries LOOP
                        d := hm_test.distance(column_name, operator, query::real[]);
                        IF hm_test.exact('nulls_data', d) IS DISTINCT FROM hm_test.indexed('nulls_data', d) THEN
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
SET hnsw_mmap.ef_search = 300;
SELECT * FROM nulls_compare(false);
SELECT * FROM nulls_compare(true) WHERE wrong <> '{}';
-- Few at a time: what comes last still comes, once.
SET hnsw_mmap.ef_search = 3;
CREATE INDEX nulls_index ON nulls_data USING hnsw_mmap (v real_cosine_ops);
SET hnsw_mmap.iterative_scan = relaxed_order;
SELECT hm_test.exact_ids('nulls_data', d) = hm_test.indexed_ids('nulls_data', d) AS complete
  FROM hm_test.distance('v', '<=>', '{1,2,3}') AS d;
RESET hnsw_mmap.iterative_scan;
RESET hnsw_mmap.ef_search;

-- A NULL query returns every row; LIMIT counts.
SET enable_seqscan = off;
SET enable_sort = off;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM nulls_data ORDER BY v <=> NULL) AS s;
SELECT count(*) FROM (SELECT id FROM nulls_data ORDER BY v <=> (SELECT v FROM nulls_data WHERE id = 1001) LIMIT 205) AS s;
SELECT count(*), count(DISTINCT id) FROM (SELECT id FROM nulls_data ORDER BY v <=> (SELECT v FROM nulls_data WHERE id = 1001)) AS s;

-- A lateral self-join, NULL rows among the queries.
SELECT count(*) AS pairs, count(n.id) AS neighbours
  FROM nulls_data AS q LEFT JOIN LATERAL (SELECT s.id FROM nulls_data AS s ORDER BY s.v <=> q.v LIMIT 3) AS n ON true
 WHERE q.id > 190;
RESET enable_seqscan;
RESET enable_sort;

-- From NULL to a vector, and back.
UPDATE nulls_data SET v = '{100,200,300}' WHERE id = 1001;
SELECT id FROM (SELECT id, v <=> '{1,2,3}' AS d FROM nulls_data WHERE id <> 1053 ORDER BY v <=> '{1,2,3}' LIMIT 40) AS s WHERE id = 1001;
UPDATE nulls_data SET v = NULL WHERE id = 1001;
SET hnsw_mmap.iterative_scan = relaxed_order;
SET hnsw_mmap.ef_search = 300;
SELECT hm_test.exact('nulls_data', d) = hm_test.indexed('nulls_data', d) AS same
  FROM hm_test.distance('v', '<=>', '{1,2,3}') AS d;
VACUUM nulls_data;
SELECT hm_test.exact('nulls_data', d) = hm_test.indexed('nulls_data', d) AS same
  FROM hm_test.distance('v', '<=>', '{1,2,3}') AS d;

-- Nothing but NULLs, nothing but zeros.
TRUNCATE nulls_data;
INSERT INTO nulls_data (id) SELECT i FROM generate_series(1, 30) AS i;
REINDEX INDEX nulls_index;
SELECT cardinality(hm_test.indexed_ids('nulls_data', 'v <=> ''{1,2,3}''')) AS nulls;
UPDATE nulls_data SET v = '{0,0,0}';
REINDEX INDEX nulls_index;
SELECT cardinality(hm_test.indexed_ids('nulls_data', 'v <=> ''{1,2,3}''')) AS zeros,
       hm_test.indexed('nulls_data', 'v <=> ''{1,2,3}''', 2) AS distances;

DROP FUNCTION nulls_compare;
DROP TABLE nulls_data;
