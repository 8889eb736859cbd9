-- Partial indexes, expressions, joins, filters, partitions; beside pgvector's own index.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/../../sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE plans (id int PRIMARY KEY, tenant int, v vector(8));
INSERT INTO plans SELECT i, i % 4, hm_test.vec(i, 8) FROM generate_series(1, 2000) AS i;

-- Both on one column: the planner takes the one that it thinks cheaper, and either does without the other.
CREATE INDEX plans_theirs ON plans USING hnsw (v vector_l2_ops);
CREATE INDEX plans_ours ON plans USING hnsw_mmap (v vector_l2_ops);
ANALYZE plans;
CREATE FUNCTION plans_index() RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    plan text;
BEGIN
    EXECUTE 'EXPLAIN (COSTS OFF, FORMAT JSON) SELECT id FROM plans ORDER BY v <-> ''[1,2,3,4,5,6,7,8]'' LIMIT 5' INTO plan;
    RETURN substring(plan FROM '"Index Name": "([^"]+)"');
END
$$;
SET enable_seqscan = off;
SELECT plans_index() IN ('plans_ours', 'plans_theirs') AS one_of_them;
BEGIN;
DROP INDEX plans_theirs;
SELECT plans_index();
SELECT count(*) FROM (SELECT id FROM plans ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 500) AS s;
ROLLBACK;
BEGIN;
DROP INDEX plans_ours;
SELECT plans_index();
ROLLBACK;
-- Both are kept up to date.
INSERT INTO plans VALUES (9001, 0, '[9,9,9,9,9,9,9,9]');
BEGIN;
DROP INDEX plans_theirs;
SELECT id FROM plans ORDER BY v <-> '[9,9,9,9,9,9,9,9]' LIMIT 1;
ROLLBACK;
BEGIN;
DROP INDEX plans_ours;
SELECT id FROM plans ORDER BY v <-> '[9,9,9,9,9,9,9,9]' LIMIT 1;
ROLLBACK;
DROP INDEX plans_theirs;
RESET enable_seqscan;

-- A filter does not leave the answer short, nor does a LIMIT beyond ef_search.
SET hnsw_mmap.ef_search = 10;
SELECT count(*) FROM (SELECT id FROM plans WHERE tenant = 1 ORDER BY v <-> '[1,2,3,4,5,6,7,8]' LIMIT 300) AS s;
RESET hnsw_mmap.ef_search;
SELECT hm_test.mismatches('plans', 'v', '<->', 8, 10, 5, 'tenant = 1', 'real[]::vector') AS mismatches;

-- A join by nearness.
SET hnsw_mmap.ef_search = 400;
SELECT count(*) AS pairs, count(*) FILTER (WHERE q.id = d.id) AS with_themselves
  FROM (SELECT * FROM plans WHERE id <= 100) AS q, LATERAL (SELECT id FROM plans AS p ORDER BY p.v <-> q.v LIMIT 3) AS d;
SELECT hm_test.indexes_used('SELECT * FROM plans AS q, LATERAL (SELECT id FROM plans AS p ORDER BY p.v <-> q.v LIMIT 3) AS d');
DROP INDEX plans_ours;

-- Partial indexes, one for each tenant.
CREATE INDEX plans_tenant_0 ON plans USING hnsw_mmap (v vector_cosine_ops) WHERE tenant = 0;
CREATE INDEX plans_tenant_1 ON plans USING hnsw_mmap (v vector_cosine_ops) WHERE tenant = 1;
SELECT i, rows FROM unnest('{plans_tenant_0,plans_tenant_1}'::regclass[]) AS i, hnsw_mmap_stats(i);
SELECT t AS tenant, hm_test.mismatches('plans', 'v', '<=>', 8, 10, 5, 'tenant = ' || t, 'real[]::vector') AS mismatches FROM generate_series(0, 1) AS t;
DROP INDEX plans_tenant_0, plans_tenant_1;

-- An expression, as in pgvector's recipes for half precision: it needs copies.
CREATE INDEX plans_half ON plans USING hnsw_mmap ((v::halfvec(8)) halfvec_l2_ops);
CREATE INDEX plans_half ON plans USING hnsw_mmap ((v::halfvec(8)) halfvec_l2_ops) WITH (vectors = 'fp16');
SELECT hm_test.mismatches('plans', '(v::halfvec(8))', '<->', 8, 10, 5, 'true', 'real[]::halfvec') AS mismatches;
DROP INDEX plans_half;
CREATE INDEX plans_part ON plans USING hnsw_mmap ((subvector(v, 1, 4)::vector(4)) vector_l2_ops) WITH (vectors = 'fp16');
INSERT INTO plans SELECT i, i % 4, hm_test.vec(i, 8) FROM generate_series(2001, 2050) AS i;
SELECT hm_test.mismatches('plans', '(subvector(v, 1, 4)::vector(4))', '<->', 4, 10, 5, 'true', 'real[]::vector') AS mismatches;
SELECT inserted FROM hnsw_mmap_merge('plans_part');
SELECT hm_test.mismatches('plans', '(subvector(v, 1, 4)::vector(4))', '<->', 4, 10, 5, 'true', 'real[]::vector') AS mismatches;
DROP TABLE plans;
DROP FUNCTION plans_index;

-- Partitions, each with its index.
CREATE TABLE plans_parted (id int, v vector(8)) PARTITION BY HASH (id);
CREATE TABLE plans_parted_0 PARTITION OF plans_parted FOR VALUES WITH (MODULUS 2, REMAINDER 0);
CREATE TABLE plans_parted_1 PARTITION OF plans_parted FOR VALUES WITH (MODULUS 2, REMAINDER 1);
CREATE INDEX ON plans_parted USING hnsw_mmap (v vector_ip_ops);
INSERT INTO plans_parted SELECT i, hm_test.vec(i, 8) FROM generate_series(1, 600) AS i;
SELECT hm_test.mismatches('plans_parted', 'v', '<#>', 8, 10, 5, 'true', 'real[]::vector') AS mismatches;
DROP TABLE plans_parted;

-- Large vectors are out of line unless they are told not to be: a table that is loaded is rewritten.
CREATE TABLE plans_toast (id int PRIMARY KEY, v vector(700));
INSERT INTO plans_toast SELECT i, hm_test.vec(i, 700) FROM generate_series(1, 100) AS i;
CREATE INDEX plans_toast_v ON plans_toast USING hnsw_mmap (v vector_cosine_ops);
ALTER TABLE plans_toast ALTER COLUMN v SET STORAGE MAIN;
VACUUM FULL plans_toast;
SELECT hm_test.mismatches('plans_toast', 'v', '<=>', 700, 10, 3, 'true', 'real[]::vector') AS mismatches;
SELECT vectors_buffers = 0 OR current_setting('hnsw_mmap.heap_mmap') = 'off' AS in_place FROM hnsw_mmap_last_scan();
DROP TABLE plans_toast;
-- Two thousand dimensions and more never fit.
CREATE TABLE plans_wide (id int PRIMARY KEY, v vector(2100));
INSERT INTO plans_wide SELECT i, hm_test.vec(i, 2100) FROM generate_series(1, 10) AS i;
CREATE INDEX plans_wide_v ON plans_wide USING hnsw_mmap (v vector_cosine_ops);
DROP TABLE plans_wide;
RESET hnsw_mmap.ef_search;
