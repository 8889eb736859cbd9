-- Vectors unlike each other in size: the graph is built by copies in half
-- precision and codes of eight bits, and must be as good as for any others.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

SET hnsw_mmap.background_merge = off;
SET hnsw_mmap.ef_search = 100;

CREATE TABLE magnitudes (id int, v real[]);

-- A vector times a factor, with something added to each component, or to the second one.
CREATE FUNCTION pg_temp.changed(v real[], factor float8, plus float8, plus_second float8) RETURNS real[] LANGUAGE sql AS $$
    SELECT array_agg((x * factor + plus + CASE n WHEN 2 THEN plus_second ELSE 0 END)::real ORDER BY n)
      FROM unnest(v) WITH ORDINALITY AS c (x, n)
$$;

-- Row i of a kind of data.
CREATE FUNCTION pg_temp.row_of(kind text, i int, dim int) RETURNS real[] LANGUAGE sql AS $$
    SELECT CASE
             WHEN kind = 'first is large' AND i = 1 THEN array_fill(8e8::real, ARRAY[dim])
             WHEN kind = 'first is small' AND i = 1 THEN array_fill(1e-9::real, ARRAY[dim])
             WHEN kind = 'first is small' THEN pg_temp.changed(v, 1, 2, 0)
             WHEN kind = 'few are large' AND i % 50 = 7 THEN pg_temp.changed(v, 25000, 25000, 0)
             WHEN kind = 'few are zero' AND i % 10 = 7 THEN array_fill(0::real, ARRAY[dim])
             WHEN kind = 'few are zero' THEN pg_temp.changed(v, 1, 100, 0)
             WHEN kind = 'one component' THEN pg_temp.changed(v, 1, 0, i % 3 * 1500)
             WHEN kind = 'two clusters' THEN pg_temp.changed(v, 1, i % 2 * 500, 0)
             WHEN kind = 'all are large' THEN pg_temp.changed(v, 1e7, 0, 0)
             WHEN kind = 'all are small' THEN pg_temp.changed(v, 1e-7, 0, 0)
             ELSE v
           END
      FROM hm_test.vec(i, dim) AS v
$$;

-- How many of the ten nearest rows, by distance, queries find; they are like the rows.
CREATE FUNCTION pg_temp.recall(kind text, dim int) RETURNS float8 LANGUAGE sql AS $$
    SELECT avg((SELECT count(*) FROM unnest(hm_test.indexed('magnitudes', d, 10)) AS x WHERE x <= (exact)[10]) / 10.0)
      FROM (SELECT d, hm_test.exact('magnitudes', d, 10) AS exact
              FROM generate_series(1, 20) AS q,
                   hm_test.distance('v', '<->', pg_temp.row_of(kind, 100000 + q * 41, dim)) AS d
             OFFSET 0) AS s
$$;

-- Of rows that were there when the index was built, and then of as many again
-- that a merge brought in.
CREATE TABLE magnitudes_results (kind text, dim int, vectors text, built float8, merged float8);
DO $$
DECLARE
    kind text;
    dim int;
    vectors text;
    built float8;
BEGIN
    FOREACH kind IN ARRAY '{ordinary,first is large,first is small,few are large,few are zero,one component,two clusters,all are large,all are small}'::text[] LOOP
        FOREACH dim IN ARRAY '{16,64}'::int[] LOOP
            FOREACH vectors IN ARRAY '{heap,fp16}'::text[] LOOP
                TRUNCATE magnitudes;
                INSERT INTO magnitudes SELECT i, pg_temp.row_of(kind, i, dim) FROM generate_series(1, 1500) AS i;
                EXECUTE format('CREATE INDEX magnitudes_v ON magnitudes USING hnsw_mmap (v) WITH (vectors = %L)', vectors);
                built := pg_temp.recall(kind, dim);
                INSERT INTO magnitudes SELECT i, pg_temp.row_of(kind, i, dim) FROM generate_series(1501, 3000) AS i;
                PERFORM hnsw_mmap_merge('magnitudes_v');
                INSERT INTO magnitudes_results VALUES (kind, dim, vectors, built, pg_temp.recall(kind, dim));
                DROP INDEX magnitudes_v;
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;
SELECT kind, dim, vectors, built >= 0.9 AS built, merged >= 0.9 AS merged,
       CASE WHEN built < 0.9 OR merged < 0.9 THEN (built, merged) END AS how_many
  FROM magnitudes_results ORDER BY kind COLLATE "C", dim, vectors;

-- An index on an empty table has nothing to go by but its first vector.
TRUNCATE magnitudes;
CREATE INDEX magnitudes_v ON magnitudes USING hnsw_mmap (v);
INSERT INTO magnitudes VALUES (1, array_fill(8e8::real, '{16}'));
INSERT INTO magnitudes SELECT i, hm_test.vec(i, 16) FROM generate_series(2, 1000) AS i;
SELECT inserted FROM hnsw_mmap_merge('magnitudes_v');
REINDEX INDEX magnitudes_v;
SELECT pg_temp.recall('ordinary', 16) >= 0.9 AS found;
INSERT INTO magnitudes SELECT i, hm_test.vec(i, 16) FROM generate_series(1001, 2000) AS i;
SELECT inserted FROM hnsw_mmap_merge('magnitudes_v');
SELECT pg_temp.recall('ordinary', 16) >= 0.9 AS found;
TRUNCATE magnitudes;
INSERT INTO magnitudes VALUES (1, array_fill(1e-9::real, '{16}'));
INSERT INTO magnitudes SELECT i, hm_test.vec(i, 16) FROM generate_series(2, 1000) AS i;
SELECT inserted FROM hnsw_mmap_merge('magnitudes_v');
SELECT pg_temp.recall('ordinary', 16) >= 0.9 AS found;
REINDEX INDEX magnitudes_v;
INSERT INTO magnitudes SELECT i, hm_test.vec(i, 16) FROM generate_series(1001, 2000) AS i;
SELECT inserted FROM hnsw_mmap_merge('magnitudes_v');
SELECT pg_temp.recall('ordinary', 16) >= 0.9 AS found;
-- What no scale could help says nothing of the scale.
TRUNCATE magnitudes;
INSERT INTO magnitudes SELECT i, array_fill((CASE i % 2 WHEN 0 THEN 1e-22 ELSE 'inf' END)::real, '{16}') FROM generate_series(1, 300) AS i;
SELECT inserted FROM hnsw_mmap_merge('magnitudes_v');
-- A few vectors among many rows without one, the first of them unlike the others.
TRUNCATE magnitudes;
INSERT INTO magnitudes VALUES (1, array_fill(8e8::real, '{16}'));
INSERT INTO magnitudes SELECT i, NULL FROM generate_series(2, 60000) AS i;
INSERT INTO magnitudes SELECT i, hm_test.vec(i, 16) FROM generate_series(60001, 60300) AS i;
INSERT INTO magnitudes SELECT i, NULL FROM generate_series(60301, 120000) AS i;
REINDEX INDEX magnitudes_v;
SELECT pg_temp.recall('ordinary', 16) >= 0.9 AS found;
-- A copy of half precision needs no scale, nor does the cosine distance
TRUNCATE magnitudes;
CREATE INDEX magnitudes_cosine ON magnitudes USING hnsw_mmap (v real_cosine_ops);
DROP INDEX magnitudes_v;
INSERT INTO magnitudes VALUES (1, array_fill(8e8::real, '{16}'));
INSERT INTO magnitudes SELECT i, hm_test.vec(i, 16) FROM generate_series(2, 1000) AS i;
SELECT inserted FROM hnsw_mmap_merge('magnitudes_cosine');

DROP TABLE magnitudes, magnitudes_results;
