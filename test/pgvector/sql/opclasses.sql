-- Operator classes under pgvector's names on pgvector's operators; dimensions; what is refused.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/../../sql/include/helpers.sql'
\i :helpers
\set ECHO all

SELECT opcname, opcintype::regtype, opcdefault, amvalidate(c.oid), amopopr::regoperator
  FROM pg_opclass AS c JOIN pg_am AS a ON a.oid = opcmethod JOIN pg_amop AS o ON amopfamily = opcfamily
 WHERE amname = 'hnsw_mmap' AND opcintype IN ('vector'::regtype, 'halfvec'::regtype) ORDER BY c.oid;

-- Moving from pgvector is one word.
CREATE TABLE opclasses (id int PRIMARY KEY, v vector(3), h halfvec(3), u vector);
CREATE INDEX opclasses_theirs ON opclasses USING hnsw (v vector_cosine_ops) WITH (m = 16, ef_construction = 64);
CREATE INDEX opclasses_ours ON opclasses USING hnsw_mmap (v vector_cosine_ops) WITH (m = 16, ef_construction = 64);
SELECT replace(pg_get_indexdef('opclasses_theirs'::regclass), 'theirs ON public.opclasses USING hnsw ', 'ours ON public.opclasses USING hnsw_mmap ')
     = pg_get_indexdef('opclasses_ours'::regclass) AS same;
DROP INDEX opclasses_theirs, opclasses_ours;

-- The dimension is the column's, before there is a row; else that of the first.
CREATE INDEX opclasses_v ON opclasses USING hnsw_mmap (v);
CREATE INDEX opclasses_h ON opclasses USING hnsw_mmap (h halfvec_ip_ops);
CREATE INDEX opclasses_u ON opclasses USING hnsw_mmap (u vector_cosine_ops);
CREATE INDEX opclasses_e ON opclasses USING hnsw_mmap ((u::vector(4)) vector_l2_ops) WITH (vectors = 'fp16');
CREATE VIEW opclasses_stats AS
SELECT i, column_type, metric, dimension, rows + log_live AS rows
  FROM unnest('{opclasses_v,opclasses_h,opclasses_u,opclasses_e}'::regclass[]) AS i, hnsw_mmap_stats(i);
SELECT * FROM opclasses_stats;
DROP VIEW opclasses_stats;
DROP INDEX opclasses_e;
INSERT INTO opclasses VALUES (1, '[1,2,3]', '[1,2,3]', '[1,2]'), (2, NULL, NULL, NULL), (3, '[3,2,1]', '[3,2,1]', '[2,1]');
SELECT dimension FROM hnsw_mmap_stats('opclasses_u');

-- Errors that pgvector's users know, with and without the index.
INSERT INTO opclasses (id, v) VALUES (4, '[1,2]');
INSERT INTO opclasses (id, h) VALUES (4, '[1,2,3,4]');
INSERT INTO opclasses (id, u) VALUES (4, '[1,2,3]');
INSERT INTO opclasses (id, v) VALUES (4, '[1,NaN,3]');
SET enable_seqscan = off;
SELECT id FROM opclasses ORDER BY v <-> '[1,2]' LIMIT 1;
SELECT id FROM opclasses ORDER BY h <#> '[1,2,3,4]' LIMIT 1;
SELECT id FROM opclasses ORDER BY u <=> '[1,2,3]' LIMIT 1;
SET enable_indexscan = off;
SELECT id FROM opclasses ORDER BY v <-> '[1,2]' LIMIT 1;
RESET enable_indexscan;

-- A query of any type that pgvector takes is compared by pgvector's operator,
-- through the index; real[] too has operators here, and says so in the plan.
EXPLAIN (COSTS OFF) SELECT id FROM opclasses ORDER BY v <-> '[1,2,3]' LIMIT 1;
EXPLAIN (COSTS OFF) SELECT id FROM opclasses ORDER BY v <-> '[1,2,3]'::vector LIMIT 1;
EXPLAIN (COSTS OFF) SELECT id FROM opclasses ORDER BY h <#> '[1,2,3]'::vector LIMIT 1;
PREPARE nearest AS SELECT id FROM opclasses ORDER BY v <-> $1 LIMIT 1;
SELECT parameter_types FROM pg_prepared_statements WHERE name = 'nearest';
SET plan_cache_mode = force_generic_plan;
EXPLAIN (COSTS OFF) EXECUTE nearest('[1,2,3]');
EXECUTE nearest('[3,2,0]');
RESET plan_cache_mode;
RESET enable_seqscan;
EXPLAIN (COSTS OFF) SELECT id FROM opclasses ORDER BY v <-> '{1,2,3}'::real[] LIMIT 1;

-- What there is no operator class for.
CREATE INDEX ON opclasses USING hnsw_mmap (v vector_l1_ops);
CREATE INDEX ON opclasses USING hnsw_mmap (v halfvec_l2_ops);
CREATE INDEX ON opclasses USING hnsw_mmap ((v::sparsevec));
-- vectors of different dimensions in one column
INSERT INTO opclasses (id, u) VALUES (5, NULL);
DROP INDEX opclasses_u;
INSERT INTO opclasses (id, u) VALUES (6, '[1,2,3]');
\set VERBOSITY terse
CREATE INDEX opclasses_u ON opclasses USING hnsw_mmap (u);
\set VERBOSITY default
-- An index for those of one dimension.
CREATE INDEX opclasses_u ON opclasses USING hnsw_mmap (u) WHERE vector_dims(u) = 3;
SELECT hm_test.indexed_ids('opclasses', 'u <-> ''[1,1,1]''', 5, 'vector_dims(u) = 3');

-- The type of the column is the index's business only as far as its layout goes: a domain will do.
CREATE DOMAIN embedding AS vector(3);
CREATE TABLE opclasses_domain (id int, e embedding);
INSERT INTO opclasses_domain SELECT i, hm_test.vec(i, 3) FROM generate_series(1, 100) AS i;
CREATE INDEX opclasses_domain_e ON opclasses_domain USING hnsw_mmap (e vector_l2_ops);
SELECT dimension FROM hnsw_mmap_stats('opclasses_domain_e');
SELECT hm_test.exact_ids('opclasses_domain', 'e <-> ''[0,0,0]''', 5) = hm_test.indexed_ids('opclasses_domain', 'e <-> ''[0,0,0]''', 5) AS same;
SELECT vectors_mmap > 0 OR current_setting('hnsw_mmap.heap_mmap') = 'off' AS in_place FROM hnsw_mmap_last_scan();

DROP TABLE opclasses_domain;
DROP DOMAIN embedding;
DROP TABLE opclasses;
