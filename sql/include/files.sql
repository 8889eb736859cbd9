-- Vector files for the regression tests, written by the server through large
-- objects: so the tests need a superuser, and the files are where the server is.
-- Read after helpers.sql.

-- Bytes in the other order: the server sends numbers in network order, files
-- have them in little-endian order.
CREATE OR REPLACE FUNCTION hm_test.reverse(bytes bytea) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT string_agg(substr(bytes, i, 1), '' ORDER BY i DESC) FROM generate_series(1, length(bytes)) AS i
$$;

-- The components of a vector as a file has them; kind is f2 or f4.
CREATE OR REPLACE FUNCTION hm_test.components(vector real[], kind text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS $$
    SELECT string_agg(hm_test.reverse(CASE kind WHEN 'f2' THEN float2_send(x::float2) ELSE float4send(x) END), '' ORDER BY i)
      FROM unnest(vector) WITH ORDINALITY AS c (x, i)
$$;

-- A .npy file, format version 1.0, of the vectors that hm_test.vec gives for first .. last.
CREATE OR REPLACE FUNCTION hm_test.npy(kind text, dim int, first int, last int) RETURNS bytea LANGUAGE sql AS $$
    WITH text AS (SELECT format('{''descr'': ''<%s'', ''fortran_order'': False, ''shape'': (%s, %s), }', kind, last - first + 1, dim) AS header),
    padded AS (SELECT header || repeat(' ', 63 - (10 + length(header)) % 64) || E'\n' AS header FROM text)
    SELECT '\x934e554d50590100'::bytea || hm_test.reverse(int2send(length(header)::int2)) || convert_to(header, 'SQL_ASCII') ||
           (SELECT string_agg(hm_test.components(hm_test.vec(i, dim), kind), '' ORDER BY i) FROM generate_series(first, last) AS i)
      FROM padded
$$;

-- Writes a file into the server's data directory, whose path is returned.
CREATE OR REPLACE FUNCTION hm_test.write_file(name text, bytes bytea) RETURNS text LANGUAGE plpgsql AS $$
DECLARE
    path text := current_setting('data_directory') || '/' || name;
    object oid := lo_from_bytea(0, bytes);
BEGIN
    PERFORM lo_export(object, path);
    PERFORM lo_unlink(object);
    RETURN path;
END
$$;
