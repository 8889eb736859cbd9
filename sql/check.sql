-- hnsw_mmap_check: figures of sound indexes of every kind, in every state; what it refuses.
\set ECHO none
\getenv srcdir PG_ABS_SRCDIR
\set helpers :srcdir '/sql/include/helpers.sql'
\i :helpers
\set ECHO all

-- Merges happen where the test has them.
SET hnsw_mmap.background_merge = off;

-- An index's figures that do not depend on chance, by a full check and by a quick one.
CREATE FUNCTION check_index(index regclass)
RETURNS TABLE (elements bigint, live bigint, rows bigint, dead bigint, log_entries bigint, log_live bigint,
               parts bigint, table_rows bigint, few_unreachable bool, blocks_add_up bool, same_as_quick bool)
LANGUAGE sql AS $$
    SELECT f.elements, f.live_elements, f.rows, f.dead_rows, f.log_entries, f.log_live,
           f.parts, f.table_rows, f.unreachable_share <= 0.01,
           f.blocks_total = f.blocks_metapage + f.blocks_parts + f.blocks_tombstones + f.blocks_log + f.blocks_free
               + f.blocks_retired + f.blocks_pending + f.blocks_lost + f.blocks_behind_end,
           to_jsonb(f) - 'table_rows' = to_jsonb(q) - 'table_rows' AND q.table_rows IS NULL
      FROM hnsw_mmap_check(index, full => true) AS f, hnsw_mmap_check(index) AS q
$$;

-- Vectors, repeated ones, NULLs, zeros, and components beyond half precision.
CREATE TABLE check_data (id int PRIMARY KEY, v real[], note text) WITH (fillfactor = 80, autovacuum_enabled = off);
INSERT INTO check_data SELECT i, hm_test.vec(i, 8) FROM generate_series(1, 2000) AS i;
INSERT INTO check_data SELECT i, hm_test.vec(i % 10, 8) FROM generate_series(2001, 2100) AS i;
INSERT INTO check_data SELECT i FROM generate_series(2101, 2110) AS i;
INSERT INTO check_data SELECT i, array_fill(0::real, '{8}') FROM generate_series(2111, 2120) AS i;
INSERT INTO check_data SELECT i, array_fill(1e20::real, '{8}') FROM generate_series(2121, 2130) AS i;
CREATE INDEX check_heap ON check_data USING hnsw_mmap (v);
CREATE INDEX check_fp16 ON check_data USING hnsw_mmap (v real_cosine_ops) WITH (vectors = 'fp16', m = 8);
CREATE INDEX check_ip ON check_data USING hnsw_mmap (v real_ip_ops) WITH (vectors = 'fp16');
CREATE INDEX check_half ON check_data USING hnsw_mmap ((v::float2[])) WITH (vectors = 'fp16') WHERE id % 2 = 0 AND id <= 2120;
CREATE INDEX check_partial ON check_data USING hnsw_mmap (v) WHERE id > 1990;
CREATE INDEX check_empty ON check_data USING hnsw_mmap (v) WHERE id < 0;
CREATE VIEW check_all AS
SELECT i::regclass AS index, c.* FROM unnest('{check_heap,check_fp16,check_ip,check_half,check_partial,check_empty}'::text[]) AS i, check_index(i::regclass) AS c;
SELECT * FROM check_all;

-- Inserted, deleted, updated on the same page and not, before and after VACUUM.
INSERT INTO check_data SELECT i, hm_test.vec(i, 8) FROM generate_series(3001, 3300) AS i;
INSERT INTO check_data VALUES (3301, NULL), (3302, array_fill(0::real, '{8}')), (3303, array_fill(-1e20::real, '{8}'));
SELECT * FROM check_all;
BEGIN;
INSERT INTO check_data SELECT i, hm_test.vec(i, 8) FROM generate_series(4001, 4010) AS i;
SELECT log_live, table_rows FROM check_index('check_heap');
ROLLBACK;
DELETE FROM check_data WHERE id % 10 = 0;
UPDATE check_data SET note = 'hot' WHERE id % 7 = 0;
UPDATE check_data SET v = hm_test.vec(id + 10000, 8) WHERE id % 11 = 0;
UPDATE check_data SET v = NULL WHERE id % 97 = 0;
UPDATE check_data SET id = -id WHERE id % 89 = 0;
SELECT * FROM check_all;
VACUUM check_data;
SELECT * FROM check_all;
-- Their places are taken.
INSERT INTO check_data SELECT i, hm_test.vec(i, 8) FROM generate_series(5001, 5300) AS i;
SELECT * FROM check_all;
-- In a transaction that began before that, and sees less.
BEGIN ISOLATION LEVEL REPEATABLE READ;
SELECT count(*) FROM check_data;
SELECT table_rows FROM check_index('check_heap');
ROLLBACK;
-- Merged: the dead are dropped.
SELECT count(hnsw_mmap_merge(index)) AS merged FROM check_all;
SELECT index, dead, log_entries, table_rows, few_unreachable, blocks_add_up, same_as_quick FROM check_all;
VACUUM (FULL) check_data;
SELECT * FROM check_all;
-- Several parts, with replaced lists; a row beside its like in an older part.
INSERT INTO check_data SELECT i, hm_test.vec(i, 8) FROM generate_series(6001, 6020) AS i;
INSERT INTO check_data VALUES (6021, hm_test.vec(6001, 8)), (6022, hm_test.vec(5001, 8)), (6023, NULL);
SELECT count(hnsw_mmap_merge(index)) AS merged FROM check_all;
INSERT INTO check_data VALUES (6024, hm_test.vec(6001, 8)), (6025, hm_test.vec(6025, 8)), (6026, NULL);
SELECT count(hnsw_mmap_merge(index)) AS merged FROM check_all;
SELECT parts > 1 AS several_parts, patches > 0 AS patches FROM hnsw_mmap_check('check_heap');
SELECT parts > 1 AS several_parts, patches > 0 AS patches FROM hnsw_mmap_check('check_fp16');
DELETE FROM check_data WHERE id IN (6001, 6002, 6021, 6026);
VACUUM check_data;
SELECT index, rows - dead AS rows, table_rows, few_unreachable, blocks_add_up, same_as_quick FROM check_all;
SELECT count(hnsw_mmap_merge(index, full => true)) AS merged FROM check_all;
SELECT index, parts, rows - dead AS rows, table_rows, few_unreachable, blocks_add_up, same_as_quick FROM check_all;
REINDEX TABLE check_data;
DELETE FROM check_data;
SELECT * FROM check_all;
VACUUM check_data;
SELECT * FROM check_all;

-- Entries larger than a page, unlogged and temporary tables.
CREATE UNLOGGED TABLE check_large (id int, v real[]) WITH (autovacuum_enabled = off);
CREATE INDEX check_large_v ON check_large USING hnsw_mmap (v) WITH (vectors = 'fp16');
INSERT INTO check_large SELECT i, hm_test.vec(i, 9000) FROM generate_series(1, 10) AS i;
SELECT log_live, log_pages, blocks_log >= log_pages AS log_has_room FROM hnsw_mmap_check('check_large_v', true);
REINDEX INDEX check_large_v;
INSERT INTO check_large SELECT i, hm_test.vec(i, 9000) FROM generate_series(11, 15) AS i;
SELECT * FROM check_index('check_large_v');
DROP TABLE check_large;
CREATE TEMPORARY TABLE check_temporary (id int, v real[]);
INSERT INTO check_temporary SELECT i, hm_test.vec(i, 8) FROM generate_series(1, 500) AS i;
CREATE INDEX check_temporary_v ON check_temporary USING hnsw_mmap (v);
INSERT INTO check_temporary SELECT i, hm_test.vec(i, 8) FROM generate_series(501, 600) AS i;
DELETE FROM check_temporary WHERE id % 5 = 0;
VACUUM check_temporary;
SELECT * FROM check_index('check_temporary_v');
DROP TABLE check_temporary;

-- Damage of the kind that no page shows: rows that the index does not know, or
-- knows as others.
CREATE TABLE check_damage (id int, v real[]) WITH (autovacuum_enabled = off);
INSERT INTO check_damage SELECT i, hm_test.vec(i, 8) FROM generate_series(1, 200) AS i;
CREATE FUNCTION check_mutable(real[]) RETURNS real[] LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
CREATE INDEX check_damage_v ON check_damage USING hnsw_mmap (check_mutable(v)) WITH (vectors = 'fp16') WHERE id % 2 = 0;
SELECT elements, table_rows FROM check_index('check_damage_v');
-- The function is not what it was when the index was built.
CREATE OR REPLACE FUNCTION check_mutable(real[]) RETURNS real[] LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1[5:8] || $1[1:4]; END $$;
SELECT elements FROM hnsw_mmap_check('check_damage_v');
\set VERBOSITY sqlstate
SELECT elements FROM hnsw_mmap_check('check_damage_v', true);
\set VERBOSITY terse
CREATE OR REPLACE FUNCTION check_mutable(real[]) RETURNS real[] LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN NULL::real[]; END $$;
SELECT elements FROM hnsw_mmap_check('check_damage_v', true);
CREATE OR REPLACE FUNCTION check_mutable(real[]) RETURNS real[] LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 || $1; END $$;
SELECT elements FROM hnsw_mmap_check('check_damage_v', true);
CREATE OR REPLACE FUNCTION check_mutable(real[]) RETURNS real[] LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN array_fill('NaN'::real, '{8}'); END $$;
SELECT elements FROM hnsw_mmap_check('check_damage_v', true);
CREATE OR REPLACE FUNCTION check_mutable(real[]) RETURNS real[] LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;
-- Nor is the predicate.
CREATE FUNCTION check_whim(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 > 100; END $$;
CREATE INDEX check_damage_whim ON check_damage USING hnsw_mmap (v) WHERE check_whim(id);
SELECT elements, table_rows FROM check_index('check_damage_whim');
CREATE OR REPLACE FUNCTION check_whim(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 > 150; END $$;
SELECT elements FROM hnsw_mmap_check('check_damage_whim', true);
CREATE OR REPLACE FUNCTION check_whim(int) RETURNS bool LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1 > 50; END $$;
SELECT elements FROM hnsw_mmap_check('check_damage_whim', true);
\set VERBOSITY default
-- Index expressions run as the owner of the table, with a search path of their
-- own, and can do nothing but compute.
CREATE ROLE hm_check_owner;
CREATE ROLE hm_check_reader;
CREATE OR REPLACE FUNCTION check_mutable(real[]) RETURNS real[] LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RAISE EXCEPTION '%, %', current_user, current_setting('search_path');
END
$$;
ALTER TABLE check_damage OWNER TO hm_check_owner;
SELECT elements FROM hnsw_mmap_check('check_damage_v', true);
SHOW search_path;
SELECT current_user = session_user AS myself;
DROP INDEX check_damage_whim;
CREATE OR REPLACE FUNCTION check_mutable(real[]) RETURNS real[] LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RETURN $1; END $$;

-- Who may.
SET ROLE hm_check_reader;
SELECT elements FROM hnsw_mmap_check('check_damage_v');
SELECT elements FROM hnsw_mmap_check('check_damage_v', true);
RESET ROLE;
GRANT SELECT ON check_damage TO hm_check_reader;
SET ROLE hm_check_reader;
SELECT elements, table_rows FROM hnsw_mmap_check('check_damage_v', true);
RESET ROLE;
ALTER TABLE check_damage ENABLE ROW LEVEL SECURITY;
SET ROLE hm_check_reader;
SELECT elements FROM hnsw_mmap_check('check_damage_v');
SELECT elements FROM hnsw_mmap_check('check_damage_v', true);
RESET ROLE;
SET ROLE hm_check_owner;
SELECT elements, table_rows FROM hnsw_mmap_check('check_damage_v', true);
RESET ROLE;

-- What it refuses.
SELECT * FROM hnsw_mmap_check('check_data');
SELECT * FROM hnsw_mmap_check('check_data_pkey');
SELECT * FROM hnsw_mmap_check(0);
SELECT hnsw_mmap_check(NULL) IS NULL AS strict;
CREATE TABLE check_parted (id int, v real[]) PARTITION BY RANGE (id);
CREATE INDEX check_parted_v ON check_parted USING hnsw_mmap (v);
SELECT * FROM hnsw_mmap_check('check_parted_v');
DROP TABLE check_parted;

DROP TABLE check_damage;
DROP ROLE hm_check_owner, hm_check_reader;
DROP VIEW check_all;
DROP TABLE check_data;
DROP FUNCTION check_index, check_mutable, check_whim;
RESET hnsw_mmap.background_merge;
