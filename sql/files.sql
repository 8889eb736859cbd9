-- Attached vector files and the type extvec: what needs no other process; 015_files.pl has the rest.
\set ECHO none
-- The files are where the server may certainly write, and are removed at the end.
SELECT current_setting('data_directory') || '/hm_files' AS dir \gset
CREATE SCHEMA hm_files;
SELECT set_config('hm_files.dir', :'dir', false) \g /dev/null

-- Bytes of numbers, little-endian, and of files.
CREATE FUNCTION hm_files.reverse(bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(substr($1, i, 1), '' ORDER BY i DESC) FROM generate_series(1, length($1)) AS i
$$;
CREATE FUNCTION hm_files.bytes(real[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(hm_files.reverse(float4send(x)), '' ORDER BY i) FROM unnest($1) WITH ORDINALITY AS u(x, i)
$$;
CREATE FUNCTION hm_files.bytes(float2[]) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT string_agg(hm_files.reverse(float2_send(x)), '' ORDER BY i) FROM unnest($1) WITH ORDINALITY AS u(x, i)
$$;
CREATE FUNCTION hm_files.npy(descr text, n int, dim int, body bytea) RETURNS bytea LANGUAGE sql IMMUTABLE AS $$
    SELECT '\x934e554d505901007600'::bytea || convert_to(rpad(format(
        '{''descr'': ''%s'', ''fortran_order'': False, ''shape'': (%s, %s), }', descr, n, dim), 117) || E'\n', 'UTF8') || body
$$;
-- Row i of every file here: whole numbers, so that every tier of kernels gives the same distances.
CREATE FUNCTION hm_files.vec(i bigint, dim int) RETURNS real[] LANGUAGE sql IMMUTABLE AS $$
    SELECT array_agg(((i * 7 + j * j * 3) % 17 - 5)::real ORDER BY j) FROM generate_series(1, dim) AS j
$$;
CREATE FUNCTION hm_files.rows(n int, dim int) RETURNS bytea LANGUAGE sql AS $$
    SELECT string_agg(hm_files.bytes(hm_files.vec(i, dim)), '' ORDER BY i) FROM generate_series(0, n - 1) AS i
$$;
CREATE FUNCTION hm_files.rows2(n int, dim int) RETURNS bytea LANGUAGE sql AS $$
    SELECT string_agg(hm_files.bytes(hm_files.vec(i, dim)::float2[]), '' ORDER BY i) FROM generate_series(0, n - 1) AS i
$$;
CREATE FUNCTION hm_files.fvecs(n int, dim int) RETURNS bytea LANGUAGE sql AS $$
    SELECT string_agg(hm_files.reverse(int4send(dim)) || hm_files.bytes(hm_files.vec(i, dim)), '' ORDER BY i) FROM generate_series(0, n - 1) AS i
$$;
CREATE FUNCTION hm_files.path(name text) RETURNS text LANGUAGE sql STABLE AS $$
    SELECT current_setting('hm_files.dir') || '_' || name
$$;
CREATE FUNCTION hm_files.write(name text, content bytea) RETURNS void LANGUAGE plpgsql AS $$
DECLARE
    o oid := lo_from_bytea(0, content);
BEGIN
    PERFORM lo_export(o, hm_files.path(name)), lo_unlink(o);
END
$$;
-- The result of a query, or its error without the directory's name.
CREATE FUNCTION hm_files.try(statement text) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    result text;
    message text;
    detail text;
    hint text;
BEGIN
    EXECUTE statement INTO result;
    RETURN result;
EXCEPTION WHEN OTHERS THEN
    GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT;
    RETURN replace(concat_ws(E'\n  ', SQLSTATE || ' ' || message, nullif(detail, ''), nullif(hint, '')), current_setting('hm_files.dir') || '_', 'DIR/');
END
$$;
GRANT USAGE ON SCHEMA hm_files TO PUBLIC;
\set ECHO all
\pset format unaligned
\t on

SELECT hm_files.write('single.npy', hm_files.npy('<f4', 40, 6, hm_files.rows(40, 6))),
       hm_files.write('half.npy', hm_files.npy('<f2', 40, 6, hm_files.rows2(40, 6))),
       hm_files.write('texmex.fvecs', hm_files.fvecs(40, 6)),
       hm_files.write('plain.bin', '\x00112233445566778899aabbccddeeff001122334455667788'::bytea || hm_files.rows2(40, 6));

-- ---- Attaching ----

\t off
SELECT * FROM hnsw_mmap_attach('single', hm_files.path('single.npy'));
SELECT * FROM hnsw_mmap_attach('half', hm_files.path('half.npy'));
SELECT * FROM hnsw_mmap_attach('Texmex file', hm_files.path('texmex.fvecs'), dtype => 'f4', dim => 6);
SELECT * FROM hnsw_mmap_attach('plain', hm_files.path('plain.bin'), 'raw', 'f2', 6, 25);
-- The same by hand, its number being a hash of the name, and all of its rows being there.
SELECT format('CREATE SERVER by_hand FOREIGN DATA WRAPPER hnsw_mmap_file OPTIONS (path %L, format ''npy'')', hm_files.path('single.npy')) AS statement \gset
:statement;
SELECT name, number, replace(path, current_setting('hm_files.dir') || '_', 'DIR/') AS path, format, dtype, rows, dim, bytes,
       coalesce(resident_bytes <= bytes, true) AS resident, problem FROM hnsw_mmap_files ORDER BY name COLLATE "C";
SELECT srvname, array_to_string(array(SELECT replace(o, current_setting('hm_files.dir') || '_', 'DIR/') FROM unnest(srvoptions) AS o), ' ') AS options
  FROM pg_foreign_server ORDER BY srvname COLLATE "C";
\t on

-- ---- extvec: text, binary, order ----

SELECT 'single:7'::extvec, 'SINGLE:7'::extvec, '"single":7'::extvec, '"Texmex file":0'::extvec, 'half:9223372036854775807'::extvec;
SELECT hnsw_mmap_extvec('single', 7), hnsw_mmap_extvec('Texmex file', 12), '#1:2'::extvec, '#4294967295:3'::extvec;
SELECT v, extvec_file(v), extvec_number(v), extvec_row(v) FROM unnest(ARRAY['single:7', '#1:2']::extvec[]) AS v;
-- A number that has a server is written by its name.
SELECT ('#' || extvec_number('half:0') || ':5')::extvec;
SELECT input, hm_files.try(format('SELECT %L::extvec', input)) FROM unnest(ARRAY['', 'single', 'single:', ':1', 'single:1x', 'single: 1', 'single:-1',
    'single:9223372036854775808', '"single:1', '"":1', '"Single":1', 'absent:1', '#0:1', '#4294967296:1', '#:1', '#1', '{1,2}', '[1,2]', 'a"b:1']) AS input;
SELECT hm_files.try($$SELECT hnsw_mmap_extvec('single', -1)$$), hm_files.try($$SELECT hnsw_mmap_extvec('absent', 1)$$);

CREATE TABLE files_items (id int PRIMARY KEY, s extvec, h extvec, t extvec, p extvec);
INSERT INTO files_items SELECT i, hnsw_mmap_extvec('single', i), hnsw_mmap_extvec('half', i), hnsw_mmap_extvec('Texmex file', i), hnsw_mmap_extvec('plain', i)
  FROM generate_series(0, 39) AS i;
SELECT pg_column_size(s), typlen, typalign FROM files_items, pg_type WHERE typname = 'extvec' LIMIT 1;

COPY files_items TO :'dir' (FORMAT binary);
CREATE TEMPORARY TABLE files_copy (LIKE files_items);
COPY files_copy FROM :'dir' (FORMAT binary);
SELECT count(*), bool_and(a.s::text = b.s::text) FROM files_items a JOIN files_copy b USING (id, s, h, t, p);
SELECT extvec_send('#258:3');

SELECT a, b, a < b, a <= b, a = b, a <> b, a >= b, a > b, extvec_cmp(a, b)
  FROM (VALUES ('#1:5'::extvec, '#1:5'::extvec), ('#1:5', '#1:6'), ('#2:5', '#1:6'), ('#4294967295:0', '#1:6')) AS p(a, b);
CREATE UNIQUE INDEX files_items_s ON files_items (s);
CREATE INDEX files_items_h ON files_items USING hash (h);
BEGIN;
SET LOCAL enable_seqscan = off;
EXPLAIN (COSTS OFF) SELECT id FROM files_items WHERE s = 'single:3';
SELECT id FROM files_items WHERE s = 'single:3';
SELECT id FROM files_items WHERE h = 'half:3';
SELECT min(id), max(id) FROM files_items WHERE s BETWEEN 'single:10' AND 'single:12';
COMMIT;
SELECT count(DISTINCT s), count(DISTINCT extvec_hash(s)) > 35, count(DISTINCT extvec_hash_extended(s, 1)) > 35 FROM files_items;
INSERT INTO files_items VALUES (-1, 'single:3');

-- ---- The vectors ----

SELECT s::real[], h::real[], t::real[], p::real[], hm_files.vec(id, 6) FROM files_items WHERE id = 11;
SELECT count(*) FROM files_items WHERE s::real[] = hm_files.vec(id, 6) AND h::real[] = hm_files.vec(id, 6)
   AND t::real[] = hm_files.vec(id, 6) AND p::real[] = hm_files.vec(id, 6);
-- By assignment, but not implicitly.
CREATE TEMPORARY TABLE files_reals (v real[]);
INSERT INTO files_reals SELECT s FROM files_items WHERE id = 2;
SELECT * FROM files_reals;
SELECT array_length(s, 1) FROM files_items LIMIT 1;

-- Every operator and function, in every pair of types, gives what it gives for arrays.
SELECT o, count(*) AS pairs, string_agg(differ, ' ') FILTER (WHERE differ <> '0') AS differ
  FROM unnest(ARRAY['<->', '<#>', '<=>', 'l2_distance', 'inner_product', 'negative_inner_product', 'cosine_distance']) AS o,
       unnest(ARRAY['x.s', 'x.h', 'x.t', 'x.p', 'x.s::real[]', 'x.h::real[]::float2[]']) AS a,
       unnest(ARRAY['y.s', 'y.h', 'y.t', 'y.p', 'y.s::real[]', 'y.h::real[]::float2[]']) AS b,
       format(CASE WHEN o ~ '<' THEN '(%1$s) %3$s (%2$s)' ELSE '%3$s(%1$s, %2$s)' END, a, b, o) AS asked,
       format(CASE WHEN o ~ '<' THEN '(%1$s) %3$s (%2$s)' ELSE '%3$s(%1$s, %2$s)' END, 'hm_files.vec(x.id, 6)', 'hm_files.vec(y.id, 6)', o) AS expected,
       LATERAL (SELECT hm_files.try(format('SELECT count(*) FROM files_items AS x, files_items AS y WHERE x.id < 5 AND y.id %% 13 = 3 AND %s IS DISTINCT FROM %s', asked, expected)) AS differ) AS d
 GROUP BY o ORDER BY o COLLATE "C";
SELECT provolatile, proparallel, proisstrict, procost, count(*) FROM pg_proc
 WHERE 'extvec'::regtype = ANY (proargtypes) AND proname ~ 'distance|product' GROUP BY 1, 2, 3, 4;
SELECT hm_files.try($$SELECT s <-> NULL::real[] IS NULL AND NULL::extvec <=> s IS NULL FROM files_items LIMIT 1$$);

-- Without an index, every plan works.
SELECT id, s <-> 'single:5' FROM files_items ORDER BY s <-> 'single:5', id LIMIT 4;
SELECT id, s <-> hm_files.vec(5, 6) FROM files_items ORDER BY s <-> hm_files.vec(5, 6), id LIMIT 4;
SELECT id, h <#> ARRAY[1, 2, 3, 4, 5, 6] FROM files_items ORDER BY 2, id LIMIT 2;
BEGIN;
SET LOCAL parallel_setup_cost = 0;
SET LOCAL parallel_tuple_cost = 0;
SET LOCAL min_parallel_table_scan_size = 0;
SET LOCAL parallel_leader_participation = off;
SELECT sum(s <-> h), count(*) FROM files_items;
COMMIT;

-- What an operand has to be.
SELECT e, hm_files.try('SELECT s ' || e || ' FROM files_items LIMIT 1') FROM unnest(ARRAY[
    '<-> ARRAY[1,2,3]::real[]', '<-> ''{1,2,3,4,5,6}''', '<-> ''single:40''', '<-> hnsw_mmap_extvec(''single'', 9223372036854775807)',
    '<-> ''#77:0''', '<-> ''{}''::real[]']) AS e;
SELECT hm_files.try($$SELECT '#77:0'::extvec::real[]$$), hm_files.try($$SELECT 'half:40'::extvec::real[]$$);

-- ---- Options ----

SELECT o, hm_files.try(format('CREATE SERVER wrong FOREIGN DATA WRAPPER hnsw_mmap_file OPTIONS (%s)', o)) FROM unnest(ARRAY[
    'format ''npy''', 'path ''a.npy''', 'path ''''', 'path ''/a.bin''', 'path ''/a.npy'', format ''NPY''', 'path ''/a'', format ''raw''', 'path ''/a'', format ''raw'', dtype ''f4''',
    'path ''/a.npy'', dtype ''f8''', 'path ''/a.npy'', dim ''0''', 'path ''/a.npy'', dim ''16001''', 'path ''/a.npy'', dim ''4x''', 'path ''/a.npy'', offset ''4''',
    'path ''/a'', format ''raw'', dtype ''f4'', dim ''4'', offset ''-1''', 'path ''/a.npy'', number ''0''', 'path ''/a.npy'', number ''4294967296''', 'path ''/a.npy'', rows ''''',
    'path ''/a.npy'', rows ''9223372036854775808''', 'path ''/a.npy'', colour ''red''']) AS o;
SELECT hm_files.try($$ALTER FOREIGN DATA WRAPPER hnsw_mmap_file OPTIONS (ADD path '/a.npy')$$),
       hm_files.try($$CREATE USER MAPPING FOR CURRENT_USER SERVER single OPTIONS (password 'x')$$),
       hm_files.try($$ALTER SERVER single OPTIONS (DROP path)$$);
-- The validator does not look for the file; who uses it does.
CREATE SERVER absent FOREIGN DATA WRAPPER hnsw_mmap_file OPTIONS (path '/nonexistent/absent.npy', dim '6');
SELECT 'absent:1'::extvec;
SELECT hm_files.try($$SELECT 'absent:1'::extvec::real[]$$);
SELECT problem FROM hnsw_mmap_files WHERE name = 'absent';
DROP SERVER absent;

-- ---- Files that are not what they should be ----

SELECT hm_files.write('empty.npy', ''), hm_files.write('text.npy', 'these are no vectors'), hm_files.write('double.npy', hm_files.npy('<f8', 2, 2, repeat('x', 32)::bytea)),
       hm_files.write('cut.npy', hm_files.npy('<f4', 40, 6, hm_files.rows(39, 6))), hm_files.write('odd.fvecs', hm_files.fvecs(3, 6) || '\x00'),
       hm_files.write('mixed.fvecs', hm_files.fvecs(3, 6) || hm_files.fvecs(6, 2) || hm_files.fvecs(1, 1));
\set command 'cat >/dev/null; rm -f ' :dir '_fifo.npy; mkfifo ' :dir '_fifo.npy'
COPY (SELECT 1) TO PROGRAM :'command';
SELECT file, hm_files.try(format('SELECT hnsw_mmap_attach(''wrong'', hm_files.path(%L))', file)) FROM unnest(ARRAY[
    'absent.npy', 'empty.npy', 'text.npy', 'double.npy', 'cut.npy', 'odd.fvecs', 'mixed.fvecs', 'fifo.npy', 'single.npy/x.npy']) AS file;
SELECT hm_files.try(format('SELECT hnsw_mmap_attach(''wrong'', %L, ''npy'')', path)) FROM unnest(ARRAY['/', '/dev/null']) AS path;
SELECT hm_files.try($$SELECT hnsw_mmap_attach('wrong', hm_files.path('single.npy'), dim => 7)$$), hm_files.try($$SELECT hnsw_mmap_attach('wrong', hm_files.path('single.npy'), dtype => 'f2')$$),
       hm_files.try($$SELECT hnsw_mmap_attach('wrong')$$), hm_files.try($$SELECT hnsw_mmap_attach(NULL, '/a.npy')$$), hm_files.try($$SELECT hnsw_mmap_detach('wrong')$$);
SELECT count(*) FROM pg_foreign_server WHERE srvname = 'wrong';
-- A row that is damaged behind what is looked at when the file is opened.
SELECT hm_files.write('damaged.fvecs', string_agg(hm_files.reverse(int4send(CASE WHEN i = 900 THEN 31 ELSE 30 END)) || hm_files.bytes(array_fill(i::real, ARRAY[30])), '' ORDER BY i))
  FROM generate_series(0, 999) AS i;
SELECT rows FROM hnsw_mmap_attach('damaged', hm_files.path('damaged.fvecs'));
SELECT hm_files.try('SELECT ''damaged:899''::extvec <-> ''damaged:901'''), hm_files.try('SELECT ''damaged:899''::extvec <-> ''damaged:900'''), hm_files.try('SELECT ''damaged:900''::extvec::real[]');
SELECT hnsw_mmap_detach('damaged');

-- ---- Files that change ----

-- Grown: the new rows are there when it has been attached again, also in the same transaction.
SELECT hm_files.write('single.npy', hm_files.npy('<f4', 50, 6, hm_files.rows(50, 6)));
SELECT s <-> 'single:5' FROM files_items WHERE id = 4;
SELECT hm_files.try($$SELECT 'single:40'::extvec::real[]$$);
BEGIN;
SELECT 'single:39'::extvec::real[];
SELECT name, rows, bytes FROM hnsw_mmap_attach('single');
SELECT 'single:49'::extvec::real[] = hm_files.vec(49, 6);
ROLLBACK;
SELECT hm_files.try($$SELECT 'single:40'::extvec::real[]$$);
SELECT rows FROM hnsw_mmap_attach('single');
SELECT 'single:49'::extvec::real[] = hm_files.vec(49, 6);
-- Shorter: nothing of it is read until it has been attached again.
SELECT hm_files.write('single.npy', hm_files.npy('<f4', 30, 6, hm_files.rows(30, 6)));
SELECT hm_files.try($$SELECT 'single:3'::extvec::real[]$$);
SELECT replace(problem, current_setting('hm_files.dir') || '_', 'DIR/') FROM hnsw_mmap_files WHERE name = 'single';
SELECT rows FROM hnsw_mmap_attach('single');
SELECT hm_files.try($$SELECT 'single:3'::extvec::real[]$$), hm_files.try($$SELECT 'single:30'::extvec::real[]$$);
-- Replaced by one of another dimension.
SELECT hm_files.write('single.npy', hm_files.npy('<f4', 60, 3, hm_files.rows(60, 3)));
SELECT hm_files.try($$SELECT 'single:3'::extvec::real[]$$), hm_files.try($$SELECT 'single:3'::extvec <-> 'half:3'$$);
-- By something else altogether.
SELECT hm_files.write('single.npy', 'these are no vectors');
SELECT hm_files.try($$SELECT 'single:3'::extvec::real[]$$);
SELECT hm_files.write('single.npy', hm_files.npy('<f4', 40, 6, hm_files.rows(40, 6)));
SELECT rows FROM hnsw_mmap_attach('single');
SELECT count(*) FROM files_items WHERE s <-> h = 0;
-- Attached again under another path, with what was said before.
SELECT hm_files.write('moved.bin', '\x00' || hm_files.rows2(41, 6));
SELECT rows FROM hnsw_mmap_attach('plain', hm_files.path('moved.bin'), "offset" => 1);
SELECT hm_files.try($$SELECT 'plain:40'::extvec::real[] = hm_files.vec(40, 6)$$);

-- ---- Numbers and names ----

-- A server that was attached keeps its number under another name.
ALTER SERVER half RENAME TO "Half, renamed";
SELECT h, h <-> s FROM files_items WHERE id = 3;
SELECT extvec_number('by_hand:1'), 'by_hand:1'::extvec <-> 'single:1';
CREATE TEMPORARY TABLE files_hash AS SELECT 'by_hand:1'::extvec AS v;
ALTER SERVER by_hand RENAME TO renamed;
SELECT v, extvec_file(v), hm_files.try('SELECT v::real[] FROM files_hash') FROM files_hash;
SELECT format('ALTER SERVER renamed OPTIONS (ADD number ''%s'')', extvec_number(v)) AS statement FROM files_hash \gset
:statement;
SELECT v, v <-> 'single:1' FROM files_hash;
-- One number for two: neither is guessed.
SELECT format('ALTER SERVER renamed OPTIONS (SET number ''%s'')', extvec_number(s)) AS statement FROM files_items LIMIT 1 \gset
:statement;
SELECT s, extvec_file(s), hm_files.try('SELECT s::real[] FROM files_items WHERE id = 3') FROM files_items WHERE id = 3;
SELECT name, problem FROM hnsw_mmap_files ORDER BY name COLLATE "C";
DROP SERVER renamed;
SELECT s, s <-> h FROM files_items WHERE id = 3;
-- Of a server that is gone, a value keeps the number; attached anew it is the same.
SELECT hnsw_mmap_detach('single');
SELECT s, hm_files.try('SELECT s::real[] FROM files_items WHERE id = 3') FROM files_items WHERE id = 3;
SELECT rows FROM hnsw_mmap_attach('single', hm_files.path('single.npy'));
SELECT s, s <-> h FROM files_items WHERE id = 3;
-- A number that is taken is not given to another.
ALTER SERVER single RENAME TO first;
SELECT name, number FROM hnsw_mmap_attach('single', hm_files.path('half.npy'));
SELECT s, s = 'first:3', s = 'single:3' FROM files_items WHERE id = 3;
SELECT hnsw_mmap_detach('single');
ALTER SERVER first RENAME TO single;

-- ---- Indexes over files, as the view has them ----

CREATE INDEX files_items_a ON files_items USING hnsw_mmap (h);
CREATE INDEX files_items_b ON files_items USING hnsw_mmap (h extvec_cosine_ops) WHERE id % 2 = 0;
CREATE INDEX files_items_c ON files_items USING hnsw_mmap (p);
CREATE INDEX files_items_d ON files_items USING hnsw_mmap (p) WHERE id < 0;
SELECT name, indexes FROM hnsw_mmap_files ORDER BY name COLLATE "C";
DROP INDEX files_items_b, files_items_c, files_items_d;
CREATE TABLE files_private AS SELECT h FROM files_items;
CREATE INDEX ON files_private USING hnsw_mmap (h);

-- ---- Who may ----

CREATE ROLE regress_hm_reader;
CREATE ROLE regress_hm_owner IN ROLE pg_read_server_files;
GRANT SELECT ON files_items TO PUBLIC;
-- Vectors need USAGE; references do not.
SET ROLE regress_hm_reader;
SELECT s, s = 'single:3', hm_files.try('SELECT s::real[] FROM files_items WHERE id = 3'), hm_files.try('SELECT s <-> h FROM files_items WHERE id = 3') FROM files_items WHERE id = 3;
SELECT name, number IS NOT NULL AS number, path, format, dtype, rows, dim, bytes, resident_bytes, indexes, problem FROM hnsw_mmap_files ORDER BY name COLLATE "C";
SELECT hm_files.try($$SELECT hnsw_mmap_attach('mine', '/a.npy')$$), hm_files.try($$SELECT hnsw_mmap_attach('single')$$), hm_files.try($$SELECT hnsw_mmap_detach('single')$$),
       hm_files.try($$CREATE SERVER mine FOREIGN DATA WRAPPER hnsw_mmap_file OPTIONS (path '/a.npy')$$);
RESET ROLE;
GRANT USAGE ON FOREIGN SERVER single TO regress_hm_reader;
SET ROLE regress_hm_reader;
SELECT s::real[], hm_files.try('SELECT s <-> h FROM files_items WHERE id = 3') FROM files_items WHERE id = 3;
SELECT name, path IS NOT NULL AS path, rows, problem FROM hnsw_mmap_files ORDER BY name COLLATE "C";
RESET ROLE;
-- Whoever the query runs as at that moment: the owner in a SECURITY DEFINER function, not after it.
CREATE FUNCTION hm_files.as_owner(extvec) RETURNS float8 LANGUAGE sql SECURITY DEFINER AS $$ SELECT $1 <-> $1 $$;
CREATE FUNCTION hm_files.as_caller(extvec) RETURNS text LANGUAGE plpgsql AS $$ BEGIN RETURN hm_files.try(format('SELECT %L::extvec <-> %1$L', $1)); END $$;
SET ROLE regress_hm_reader;
SELECT hm_files.as_owner(h), hm_files.as_caller(h), hm_files.as_owner(h), hm_files.as_caller(s) FROM files_items WHERE id < 2;
-- A privilege that is taken away is gone at once, in the same transaction too.
RESET ROLE;
BEGIN;
SELECT hm_files.as_caller(s) FROM files_items WHERE id = 3;
REVOKE USAGE ON FOREIGN SERVER single FROM regress_hm_reader;
SET LOCAL ROLE regress_hm_reader;
SELECT hm_files.as_caller(s) FROM files_items WHERE id = 3;
ROLLBACK;
SET ROLE regress_hm_reader;
SELECT hm_files.as_caller(s) FROM files_items WHERE id = 3;
-- Members of pg_read_server_files attach files; they own the server, and may not do so to another's.
SET ROLE regress_hm_owner;
SELECT name, rows FROM hnsw_mmap_attach('mine', hm_files.path('half.npy'));
SELECT 'mine:3'::extvec::real[], hm_files.try($$SELECT hnsw_mmap_attach('single')$$), hm_files.try($$SELECT hnsw_mmap_detach('single')$$);
SELECT name, path IS NOT NULL AS path, rows, problem FROM hnsw_mmap_files ORDER BY name COLLATE "C";
-- Who may not choose files any more may not change the server's options either.
RESET ROLE;
REVOKE pg_read_server_files FROM regress_hm_owner;
SET ROLE regress_hm_owner;
SELECT hm_files.try($$SELECT hnsw_mmap_attach('mine')$$), hm_files.try($$ALTER SERVER mine OPTIONS (SET path '/etc/passwd')$$), hm_files.try($$ALTER SERVER mine OPTIONS (ADD dim '6')$$);
SELECT hnsw_mmap_detach('mine');
RESET ROLE;
-- Nothing is attached where nothing may be written.
BEGIN READ ONLY;
SELECT hm_files.try($$SELECT hnsw_mmap_attach('other', hm_files.path('half.npy'))$$);
SELECT 'single:3'::extvec <-> 'single:3';
ROLLBACK;

DROP TABLE files_items, files_private;
SELECT count(hnsw_mmap_detach(name)) FROM hnsw_mmap_files;
DROP ROLE regress_hm_reader, regress_hm_owner;
SET client_min_messages = warning;
DROP SCHEMA hm_files CASCADE;
\set command 'cat >/dev/null; rm -f ' :dir '*'
COPY (SELECT 1) TO PROGRAM :'command';
