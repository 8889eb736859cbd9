-- Index options and settings: ranges, defaults and messages.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

CREATE TABLE options_data (id int PRIMARY KEY, v real[], h float2[], t text, f8 float8[]);
INSERT INTO options_data SELECT i, hm_test.vec(i, 4), hm_test.vec(i, 4)::float2[], i::text FROM generate_series(1, 100) AS i;

-- The edges of each range are inside, what lies beyond is refused.
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (m = 1);
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (m = 101);
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (m = 'many');
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (ef_construction = 3);
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (ef_construction = 2001);
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (vectors = 'int4');
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (vectors = '');
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (lists = 100);
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (fillfactor = 70);
CREATE INDEX options_index ON options_data USING hnsw_mmap (v) WITH (m = 20, ef_construction = 39);
CREATE INDEX options_2 ON options_data USING hnsw_mmap (v) WITH (m = 2, ef_construction = 4);
CREATE INDEX options_100 ON options_data USING hnsw_mmap (v) WITH (m = 100, ef_construction = 2000);
CREATE INDEX options_fp16 ON options_data USING hnsw_mmap (v) WITH (vectors = 'fp16');
CREATE INDEX options_case ON options_data USING hnsw_mmap (v) WITH (vectors = 'HEAP');
CREATE INDEX options_default ON options_data USING hnsw_mmap (v);
SELECT relname, reloptions FROM pg_class WHERE relname LIKE 'options\_%' AND relkind = 'i' AND relam <> 403 ORDER BY relname COLLATE "C";
DROP INDEX options_2, options_100, options_case, options_default;

-- What the access method cannot do.
CREATE UNIQUE INDEX ON options_data USING hnsw_mmap (v);
CREATE INDEX ON options_data USING hnsw_mmap (v, h);
CREATE INDEX ON options_data USING hnsw_mmap (v) INCLUDE (id);
CREATE INDEX ON options_data USING hnsw_mmap (v DESC);
CREATE INDEX ON options_data USING hnsw_mmap (v NULLS FIRST);
CREATE INDEX ON options_data USING hnsw_mmap (t);
CREATE INDEX ON options_data USING hnsw_mmap (id);
CREATE INDEX ON options_data USING hnsw_mmap (f8);
CREATE INDEX ON options_data USING hnsw_mmap (v float2_l2_ops);
CREATE INDEX ON options_data USING hnsw_mmap (h real_l2_ops);
CREATE INDEX ON options_data USING hnsw_mmap (v vector_l2_ops);
CLUSTER options_data USING options_fp16;
\set VERBOSITY sqlstate
ALTER TABLE options_data ADD EXCLUDE USING hnsw_mmap (v WITH <->);
\set VERBOSITY default

-- An option changed later counts from the next REINDEX; until then the index
-- is what it was built as.
ALTER INDEX options_fp16 SET (m = 1);
ALTER INDEX options_fp16 SET (m = 4, vectors = 'heap');
SELECT m, vectors FROM hnsw_mmap_stats('options_fp16');
INSERT INTO options_data (id, v) SELECT i, hm_test.vec(i, 4) FROM generate_series(101, 120) AS i;
SELECT hm_test.mismatches('options_data', 'v', '<->', 4) AS mismatches;
REINDEX INDEX options_fp16;
SELECT m, vectors FROM hnsw_mmap_stats('options_fp16');
ALTER INDEX options_fp16 RESET (m, vectors);
ALTER INDEX options_fp16 SET (vectors = 'fp16');
SELECT hm_test.mismatches('options_data', 'v', '<->', 4) AS mismatches;
SELECT reloptions FROM pg_class WHERE relname = 'options_fp16';

-- Settings.
SELECT name, setting, min_val, max_val, enumvals, context FROM pg_settings
 WHERE name LIKE 'hnsw\_mmap.%' AND name <> 'hnsw_mmap.simd' AND name <> 'hnsw_mmap.heap_mmap' ORDER BY name COLLATE "C";
SELECT count(*) FILTER (WHERE short_desc = '' OR short_desc IS NULL) AS undescribed FROM pg_settings WHERE name LIKE 'hnsw\_mmap.%';
SET hnsw_mmap.ef_search = 0;
SET hnsw_mmap.ef_search = 1000001;
SET hnsw_mmap.ef_search = 'wide';
SET hnsw_mmap.iterative_scan = sometimes;
SET hnsw_mmap.iterative_scan = off;
SET hnsw_mmap.iterative_scan = relaxed_order;
SET hnsw_mmap.iterative_scan = strict_order;
SET hnsw_mmap.max_scan_tuples = -1;
SET hnsw_mmap.heap_mmap = perhaps;
SET hnsw_mmap.no_such_setting = 1;

-- Kernel tiers: serial is everywhere; one of another processor's is an error,
-- whichever processor this is.
SET hnsw_mmap.simd = serial;
DO $$
DECLARE
    tier text;
    refused int := 0;
    state text;
BEGIN
    FOREACH tier IN ARRAY ARRAY['neon', 'avx2'] LOOP
        BEGIN
            PERFORM set_config('hnsw_mmap.simd', tier, false);
        EXCEPTION WHEN OTHERS THEN
            refused := refused + 1;
            state := SQLSTATE;
        END;
    END LOOP;
    RAISE NOTICE '% refused: %', CASE WHEN refused > 0 THEN 'another processor''s tier is' ELSE 'nothing is' END, state;
END
$$;
RESET hnsw_mmap.simd;

DROP TABLE options_data;
