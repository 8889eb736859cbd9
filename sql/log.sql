-- Rows that no merge has met: every scan compares all of them, and the order is exact.
-- Once read, a process has copies of them; from 64 dimensions on it compares codes first.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

SET hnsw_mmap.background_merge = off;

CREATE TABLE log_rows (id int, v real[]);

-- Queries whose rows come in another order, or others, than without the index.
CREATE FUNCTION pg_temp.wrong(operator text, dim int, k bigint) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(*)
      FROM generate_series(1, 20) AS q,
           LATERAL (SELECT hm_test.distance('v', operator, hm_test.vec(1000000 + q, dim)) AS d) AS s
     WHERE hm_test.exact('log_rows', d, k) IS DISTINCT FROM hm_test.indexed('log_rows', d, k)
$$;

-- Every ninth vector has a component beside which the others hardly count; one
-- is NULL, one zero, one has no number and one is too large for a copy.
CREATE PROCEDURE pg_temp.add_rows(first int, last int, dim int) LANGUAGE sql AS $$
    INSERT INTO log_rows
    SELECT i, CASE i % 1000
                WHEN 3 THEN NULL
                WHEN 4 THEN array_fill(0::real, ARRAY[dim])
                WHEN 5 THEN array_fill('NaN'::real, ARRAY[dim])
                WHEN 6 THEN array_fill(1e19::real, ARRAY[dim])
                ELSE (SELECT array_agg(CASE WHEN n = 2 AND i % 9 = 0 THEN 50 * x ELSE x END ORDER BY n)
                        FROM unnest(hm_test.vec(i, dim)) WITH ORDINALITY AS c (x, n))
              END
      FROM generate_series(first, last) AS i
$$;

-- The first scan reads pages, the second has copies, the third some of both; the
-- fourth returns every row.
CREATE TABLE log_results (dim int, metric text, reading bigint, read bigint, added bigint, every bigint);
DO $$
DECLARE
    metric record;
    dim int;
    found bigint[];
BEGIN
    FOREACH dim IN ARRAY ARRAY[2, 63, 64, 97, 400] LOOP
        FOR metric IN SELECT * FROM (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>')) AS x (name, operator) LOOP
            EXECUTE format('CREATE INDEX log_index ON log_rows USING hnsw_mmap (v real_%s_ops)', metric.name);
            CALL pg_temp.add_rows(1, 400, dim);
            found := ARRAY[pg_temp.wrong(metric.operator, dim, 20), pg_temp.wrong(metric.operator, dim, 20)];
            CALL pg_temp.add_rows(401, 700, dim);
            found := found || pg_temp.wrong(metric.operator, dim, 20) || pg_temp.wrong(metric.operator, dim, NULL);
            INSERT INTO log_results VALUES (dim, metric.name, found[1], found[2], found[3], found[4]);
            TRUNCATE log_rows;
            DROP INDEX log_index;
        END LOOP;
    END LOOP;
END
$$;
SELECT * FROM log_results ORDER BY dim, metric;

-- A scan goes on when its process has thrown away the copies that it began with:
-- they are of four indexes only.
CREATE INDEX log_index ON log_rows USING hnsw_mmap (v);
CALL pg_temp.add_rows(10, 409, 100);
SET enable_seqscan = off;
SELECT id FROM log_rows ORDER BY v <-> hm_test.vec(0, 100) LIMIT 1;
BEGIN;
DECLARE nearest CURSOR FOR SELECT id, v <-> hm_test.vec(0, 100) AS d FROM log_rows ORDER BY v <-> hm_test.vec(0, 100);
CREATE TEMP TABLE fetched (place serial, id int, d float8);
DO $$
DECLARE
    nearest CONSTANT refcursor := 'nearest';
    r record;
    n int := 0;
BEGIN
    LOOP
        FETCH nearest INTO r;
        EXIT WHEN NOT FOUND;
        INSERT INTO fetched (id, d) VALUES (r.id, r.d);
        n := n + 1;
        IF n = 5 THEN
            FOR i IN 1 .. 5 LOOP
                EXECUTE format('CREATE TABLE log_other_%s (v real[])', i);
                EXECUTE format('CREATE INDEX ON log_other_%s USING hnsw_mmap (v)', i);
                EXECUTE format('INSERT INTO log_other_%s SELECT hm_test.vec(j, 100) FROM generate_series(1, 200) AS j', i);
                EXECUTE format('SELECT count(*) FROM (SELECT 1 FROM log_other_%s ORDER BY v <-> %L LIMIT 3) s', i, hm_test.vec(0, 100));
            END LOOP;
        END IF;
    END LOOP;
END
$$;
COMMIT;
SELECT count(*) AS fetched, count(*) FILTER (WHERE f.d IS DISTINCT FROM e.d) AS wrong
  FROM fetched AS f
  FULL JOIN unnest(hm_test.exact('log_rows', 'v <-> ' || quote_literal(hm_test.vec(0, 100)) || '::real[]', 1000000)) WITH ORDINALITY AS e (d, place) USING (place);
