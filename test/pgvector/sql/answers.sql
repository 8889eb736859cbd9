-- Through the index, rows come as pgvector's operators order them without it:
-- same rows, same distances, after a build and after all that happens to tables.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/../../sql/include/helpers.sql'
\i :helpers
\set ECHO all
SET hnsw_mmap.ef_search = 400;
SET hnsw_mmap.background_merge = off;

-- Few dimensions, so that values have length words of one byte; and many, so that they have four.
CREATE TABLE answers_short (id int PRIMARY KEY, n int DEFAULT 0, v vector(6), h halfvec(6));
CREATE TABLE answers_long (id int PRIMARY KEY, n int DEFAULT 0, v vector(70), h halfvec(70));
CREATE FUNCTION answers_add(first int, last int, salt int DEFAULT 0) RETURNS void LANGUAGE sql AS $$
    INSERT INTO answers_short (id, v, h) SELECT i, hm_test.vec(i + salt, 6), hm_test.vec(i + salt, 6) FROM generate_series(first, last) AS i;
    INSERT INTO answers_long (id, v, h) SELECT i, hm_test.vec(i + salt, 70), hm_test.vec(i + salt, 70) FROM generate_series(first, last) AS i;
$$;
SELECT answers_add(1, 300);

-- Every type, metric and mode; table answers_long with copies, answers_short without.
DO $$
DECLARE
    t record;
BEGIN
    FOR t IN SELECT * FROM (VALUES ('short', 'heap'), ('long', 'fp16')) AS t (name, vectors),
                           (VALUES ('v', 'vector'), ('h', 'halfvec')) AS c (col, type), unnest('{l2,ip,cosine}'::text[]) AS metric LOOP
        EXECUTE format('CREATE INDEX answers_%1$s_%2$s_%4$s ON answers_%1$s USING hnsw_mmap (%2$s %3$s_%4$s_ops) WITH (vectors = %5$L, m = 8, ef_construction = 40)',
                       t.name, t.col, t.type, t.metric, t.vectors);
    END LOOP;
END
$$;
SELECT count(*) FROM pg_class WHERE relname ~ '^answers_.*_(l2|ip|cosine)$' AND relkind = 'i';

-- Nothing: all is well.
CREATE FUNCTION answers_wrong() RETURNS TABLE (index regclass, wrong bigint, sound bool) LANGUAGE sql AS $$
    SELECT i, hm_test.mismatches(t.name::regclass, col, operator, dim, 10, 5, 'true', 'real[]::' || type),
           (SELECT table_rows = c.live_rows + c.log_live
              FROM (SELECT table_rows, rows - dead_rows AS live_rows, log_live FROM hnsw_mmap_check(i, true)) AS c)
      FROM (VALUES ('answers_short', 6), ('answers_long', 70)) AS t (name, dim),
           (VALUES ('v', 'vector'), ('h', 'halfvec')) AS c (col, type),
           (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>')) AS m (metric, operator),
           format('%s_%s_%s', t.name, col, metric) AS x, CAST(x AS regclass) AS i
$$;
CREATE FUNCTION answers_merge(whole bool DEFAULT false) RETURNS bigint LANGUAGE sql AS $$
    SELECT count(hnsw_mmap_merge(oid, whole)) FROM pg_class WHERE relname ~ '^answers_.*_(l2|ip|cosine)$' AND relkind = 'i'
$$;
SELECT * FROM answers_wrong() WHERE wrong > 0 OR NOT sound;

-- Inserted, merged, deleted, vacuumed, updated, merged again.
SELECT answers_add(301, 340);
INSERT INTO answers_short SELECT id + 1000, 0, v, h FROM answers_short WHERE id % 10 = 0;
INSERT INTO answers_long SELECT id + 1000, 0, v, h FROM answers_long WHERE id % 10 = 0;
SELECT * FROM answers_wrong() WHERE wrong > 0 OR NOT sound;
SELECT answers_merge();
SELECT * FROM answers_wrong() WHERE wrong > 0 OR NOT sound;
SELECT sum(log_entries) AS log_entries, sum(rows) = 12 * 374 AS all_rows
  FROM pg_class, hnsw_mmap_stats(oid) WHERE relname ~ '^answers_.*_(l2|ip|cosine)$' AND relkind = 'i';
DELETE FROM answers_short WHERE id % 7 = 0;
DELETE FROM answers_long WHERE id % 7 = 0;
UPDATE answers_short SET n = 1 WHERE id % 3 = 0;
UPDATE answers_long SET v = h, h = v WHERE id % 3 = 0;
VACUUM (INDEX_CLEANUP ON) answers_short, answers_long;
SELECT answers_add(401, 420);
SELECT * FROM answers_wrong() WHERE wrong > 0 OR NOT sound;
SELECT answers_merge(true);
SELECT * FROM answers_wrong() WHERE wrong > 0 OR NOT sound;
DROP TABLE answers_short, answers_long;

-- Rounding.  The rows are one vector, turned by another angle each; the query's
-- components are all the same.  So all distances are equal but for what rounding
-- made of them, and that depends on the order of the components.  Every row must
-- come in the order of what pgvector made of it, to the last bit.
CREATE TABLE rounding (id int PRIMARY KEY, v vector(1500), h halfvec(1500));
ALTER TABLE rounding ALTER v SET STORAGE MAIN, ALTER h SET STORAGE EXTERNAL;
INSERT INTO rounding SELECT i, turned, turned
  FROM hm_test.vec(1, 1500) AS base, generate_series(1, 150) AS i, LATERAL (SELECT base[i + 1:] || base[1:i] AS turned) AS t;
CREATE FUNCTION rounding_compare() RETURNS TABLE (type text, operator text, vectors text, nearly_equal bool, rounded bool, same bool)
LANGUAGE plpgsql SET hnsw_mmap.iterative_scan = relaxed_order SET hnsw_mmap.ef_search = 400 SET client_min_messages = error AS $$
DECLARE
    metric record;
    d text;
    e float8[];
BEGIN
    FOREACH type IN ARRAY '{vector,halfvec}'::text[] LOOP
        FOR metric IN SELECT * FROM (VALUES ('l2', '<->'), ('ip', '<#>'), ('cosine', '<=>')) AS m (name, operator) LOOP
            FOREACH vectors IN ARRAY '{heap,fp16}'::text[] LOOP
                operator := metric.operator;
                EXECUTE format('CREATE INDEX rounding_index ON rounding USING hnsw_mmap (%s %s_%s_ops) WITH (vectors = %L, m = 4, ef_construction = 20)',
                               left(type, 1), type, metric.name, vectors);
                d := format('%s %s array_fill(0.3::real, ARRAY[1500])::%s', left(type, 1), operator, type);
                e := hm_test.exact('rounding', d);
                nearly_equal := array_length(e, 1) = 150 AND e[150] - e[1] < 1e-4 * greatest(1, abs(e[1]));
                rounded := (SELECT count(DISTINCT x) > 1 FROM unnest(e) AS x);
                same := e = hm_test.indexed('rounding', d);
                RETURN NEXT;
                DROP INDEX rounding_index;
            END LOOP;
        END LOOP;
    END LOOP;
END
$$;
SELECT count(*), bool_and(nearly_equal) AS nearly_equal, bool_or(rounded) AS rounded, count(*) FILTER (WHERE NOT same) AS wrong
  FROM rounding_compare();
DROP FUNCTION rounding_compare;
DROP TABLE rounding;

-- The most dimensions that pgvector's types have.
CREATE TABLE widest (id int PRIMARY KEY, v vector(16000), h halfvec(16000));
INSERT INTO widest SELECT i, x, x FROM generate_series(1, 20) AS i, hm_test.vec(i, 16000) AS x;
CREATE INDEX ON widest USING hnsw_mmap (v vector_cosine_ops) WITH (m = 4, ef_construction = 20);
CREATE INDEX ON widest USING hnsw_mmap (h halfvec_l2_ops) WITH (m = 4, ef_construction = 20, vectors = 'fp16');
INSERT INTO widest SELECT i, x, x FROM generate_series(21, 23) AS i, hm_test.vec(i, 16000) AS x;
SELECT hm_test.exact('widest', d) = hm_test.indexed('widest', d) AS same
  FROM unnest(ARRAY['v <=> (SELECT v FROM widest WHERE id = 3)', 'h <-> (SELECT h FROM widest WHERE id = 21)']) AS d;
DROP TABLE widest;
DROP FUNCTION answers_add, answers_wrong, answers_merge;
RESET hnsw_mmap.background_merge;
RESET hnsw_mmap.ef_search;
