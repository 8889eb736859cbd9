-- Helpers for the regression tests: read by each of them, so that any test can
-- be run alone.  Everything lies in the schema hm_test.

SET client_min_messages = warning;

CREATE SCHEMA IF NOT EXISTS hm_test;

-- A pseudo-random vector, components in [-1, 1): a function of its arguments
-- alone, so that expected results depend on no generator's state.
CREATE OR REPLACE FUNCTION hm_test.vec(seed bigint, dim int) RETURNS real[]
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS $$
    SELECT array_agg(((hashint8extended(i, seed) & 1048575)::float8 / 524288 - 1)::real ORDER BY i)
      FROM generate_series(1, dim) AS i
$$;

-- The hnsw_mmap indexes that the plan of a query uses.
CREATE OR REPLACE FUNCTION hm_test.indexes_used(query text) RETURNS name[]
LANGUAGE plpgsql AS $$
DECLARE
    plan json;
BEGIN
    EXECUTE 'EXPLAIN (COSTS OFF, FORMAT JSON) ' || query INTO plan;
    RETURN ARRAY(SELECT DISTINCT c.relname
                   FROM regexp_matches(plan::text, '"Index Name": "([^"]+)"', 'g') AS match (groups)
                   JOIN pg_class c ON c.relname = groups[1]
                   JOIN pg_am a ON a.oid = c.relam
                  WHERE a.amname = 'hnsw_mmap'
                  ORDER BY c.relname);
END
$$;

-- Runs SELECT what FROM relation WHERE filter ORDER BY distance LIMIT k and
-- returns its column as an array, in order; through an hnsw_mmap index, or
-- without any index.  The SET clauses end the effect of set_config below.
CREATE OR REPLACE FUNCTION hm_test.answer(through_index bool, what text, relation regclass, distance text, k bigint, filter text)
RETURNS text
LANGUAGE plpgsql
SET enable_seqscan = on SET enable_indexscan = on SET enable_bitmapscan = off SET enable_sort = on
SET enable_indexonlyscan = off SET max_parallel_workers_per_gather = 0
AS $$
DECLARE
    query text := format('SELECT %s AS x FROM %s WHERE %s ORDER BY %s LIMIT %L', what, relation, filter, distance, k);
    result text;
BEGIN
    IF through_index THEN
        PERFORM set_config('enable_seqscan', 'off', true), set_config('enable_sort', 'off', true);
        IF hm_test.indexes_used(query) = '{}' THEN
            RAISE EXCEPTION 'no hnsw_mmap index is used by: %', query;
        END IF;
    ELSE
        PERFORM set_config('enable_indexscan', 'off', true);
    END IF;
    EXECUTE format('SELECT array_agg(x)::text FROM (%s) AS s', query) INTO result;
    RETURN result;
END
$$;

-- Distances of the first k rows, nearest first: exactly, and through the index.
CREATE OR REPLACE FUNCTION hm_test.exact(relation regclass, distance text, k bigint DEFAULT NULL, filter text DEFAULT 'true')
RETURNS float8[] LANGUAGE sql AS $$
    SELECT hm_test.answer(false, distance, relation, distance, k, filter)::float8[]
$$;

CREATE OR REPLACE FUNCTION hm_test.indexed(relation regclass, distance text, k bigint DEFAULT NULL, filter text DEFAULT 'true')
RETURNS float8[] LANGUAGE sql AS $$
    SELECT hm_test.answer(true, distance, relation, distance, k, filter)::float8[]
$$;

-- The ids of the first k rows, sorted by id.
CREATE OR REPLACE FUNCTION hm_test.exact_ids(relation regclass, distance text, k bigint DEFAULT NULL, filter text DEFAULT 'true')
RETURNS bigint[] LANGUAGE sql AS $$
    SELECT array_agg(id ORDER BY id) FROM unnest(hm_test.answer(false, 'id', relation, distance, k, filter)::bigint[]) AS id
$$;

CREATE OR REPLACE FUNCTION hm_test.indexed_ids(relation regclass, distance text, k bigint DEFAULT NULL, filter text DEFAULT 'true')
RETURNS bigint[] LANGUAGE sql AS $$
    SELECT array_agg(id ORDER BY id) FROM unnest(hm_test.answer(true, 'id', relation, distance, k, filter)::bigint[]) AS id
$$;

-- "column operator 'query'", the query being the given vector.
CREATE OR REPLACE FUNCTION hm_test.distance(column_name text, operator text, query real[], type text DEFAULT 'real[]')
RETURNS text LANGUAGE sql IMMUTABLE AS $$
    SELECT format('%s %s %L::%s', column_name, operator, query, type)
$$;

-- For how many of some queries do index and exact scan differ in the distances
-- of the first k rows?  Every distance is the operator's own result for the row,
-- so that equal answers are equal to the last bit.
CREATE OR REPLACE FUNCTION hm_test.mismatches(relation regclass, column_name text, operator text, dim int,
                                              k bigint DEFAULT 10, queries int DEFAULT 20, filter text DEFAULT 'true',
                                              type text DEFAULT 'real[]')
RETURNS bigint LANGUAGE sql AS $$
    -- One is forgiven: graphs are built in random order, and are approximate.
    SELECT greatest(count(*) - 1, 0)
      FROM generate_series(1, queries) AS q,
           LATERAL (SELECT hm_test.distance(column_name, operator, hm_test.vec(1000000 + q, dim), type) AS d) AS s
     WHERE hm_test.exact(relation, d, k, filter) IS DISTINCT FROM hm_test.indexed(relation, d, k, filter)
$$;

RESET client_min_messages;
