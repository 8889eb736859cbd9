-- The type float2: text, binary, casts, order, hashing.

-- Text: the shortest that reads back as the same, whole numbers exact
SELECT t AS input, t::float2 AS float2, t::float2::real AS real
  FROM unnest(ARRAY['0', '-0', '0.1', ' 1.5 ', '-2.25', '1e3', '0.333', '3.14159', '2047', '2048', '2049',
                    '65504', '65519.99', '-65504', '0x1p-3', '1e-7', '5.9604645e-08', '6.1035156e-05',
                    '2.98e-8', '2.99e-8', '1e-30', '-1e-400', 'NaN', 'nan', 'Infinity', '-inf', '+infinity']) t;

-- Ties go to even, and one rounding is all: 1 + 2^-11 lies between two float2s, the last is a little more
SELECT '1.00048828125'::float2::real, '1.00146484375'::float2::real, '1.000488281250001'::float2::real,
       1.000488281250001::double precision::float2::real AS from_double;

-- Every finite float2 survives text, real, double precision and numeric
CREATE TABLE halves AS
  SELECT (sign * mantissa * 2 ^ exponent)::double precision AS exact, (sign * mantissa * 2 ^ exponent)::float2 AS half
    FROM unnest(ARRAY[-1, 1]) sign, generate_series(-24, 5) exponent, generate_series(0, 2047) mantissa
   WHERE mantissa >= 1024 OR exponent = -24;
SELECT count(*), count(DISTINCT half) AS different, count(DISTINCT half::text) AS texts,
       bool_and(half::double precision = exact) AS exact,
       bool_and(half::text::float2 = half) AS by_text,
       bool_and(half::real::float2 = half) AS by_real,
       bool_and(half::double precision::float2 = half) AS by_double,
       bool_and(half::numeric::float2 = half) AS by_numeric,
       bool_and(half::text::numeric = half::numeric) AS numeric_is_text,
       max(length(half::text)) AS longest
  FROM halves;
SELECT half FROM halves WHERE exact IN (1.0 / 64, 1.0 / 32, 1 / 16384.0, 1 / 16777216.0, 0.0999755859375, 1024.0, 16384.0) ORDER BY exact;

-- extra_float_digits as for real
SET extra_float_digits = 0;
SELECT '0.1'::float2, '3.14159'::float2, '65504'::float2, '0.1'::float2::numeric AS numeric;
SET extra_float_digits = -5;
SELECT '0.1'::float2, '3.14159'::float2;
RESET extra_float_digits;

-- Not a float2
SELECT ''::float2;
SELECT '  '::float2;
SELECT 'abc'::float2;
SELECT '1.5x'::float2;
SELECT '1 2'::float2;
SELECT '65520'::float2;
SELECT '-65520'::float2;
SELECT '1e400'::float2;
SELECT '{1,70000}'::float2[];
SELECT 65520::real::float2;
SELECT (-1e300)::double precision::float2;
SELECT 70000::float2;
SELECT 9223372036854775807::float2;
SELECT 1e400::numeric::float2;

-- SQLSTATEs
DO $$
DECLARE
	expression text;
BEGIN
	FOREACH expression IN ARRAY ARRAY[$q$'x'::float2$q$, $q$'65520'::float2$q$, $q$1e10::real::float2$q$, $q$'65504'::float2::smallint$q$, $q$'NaN'::float2::integer$q$]
	LOOP
		BEGIN
			EXECUTE 'SELECT ' || expression;
		EXCEPTION WHEN others THEN
			RAISE NOTICE '%: % %', expression, SQLSTATE, SQLERRM;
		END;
	END LOOP;
END
$$;

-- Binary: two bytes, most significant first
SELECT v AS value, float2_send(v) FROM unnest('{0,-0,1,-2,0.1,65504,6e-8,Infinity,-Infinity,NaN}'::float2[]) v;
SELECT pg_column_size(1::float2), pg_column_size('{1,-2}'::float2[]) - pg_column_size('{1}'::float2[]) AS per_element;

-- Casts: implicit to real and double precision, the others by assignment
SELECT castsource::regtype AS source, casttarget::regtype AS target, castcontext AS context
  FROM pg_cast WHERE 'float2'::regtype IN (castsource, casttarget)
 ORDER BY castsource = 'float2'::regtype, castcontext DESC, castsource::regtype::text, casttarget::regtype::text;
SELECT 2.5::float2::smallint, 3.5::float2::integer, (-7)::float2::bigint, 0.1::float2::numeric, 'Infinity'::float2::numeric;
SELECT pg_typeof('1'::float2 + '2'::float2), '1'::float2 + '2'::float2 AS sum, sqrt('4'::float2), abs('-0.5'::float2);
SELECT pg_typeof('{1}'::float2[]::real[]), '{0.5,0.25}'::float2[]::real[], '{0.1}'::float2[]::double precision[];
SELECT '{0.1,2049,-1e-9}'::real[]::float2[], '{0.1}'::double precision[]::float2[], ARRAY[1, 2]::float2[], ARRAY[0.5, 1]::float2[];
SELECT '{1,1e30}'::real[]::float2[];
SELECT '{1,NULL,Infinity}'::real[]::float2[], '{{1,2},{3,4}}'::real[]::float2[];

CREATE TABLE assigned (h float2, a float2[], r real[]);
INSERT INTO assigned VALUES (1, ARRAY[1, 2], '{0.5}'::float2[]), (0.1, '{0.5,0.25}'::real[], ARRAY['1.5'::float2]),
                            ('0.3'::real, ARRAY[0.1, 1e-3], NULL), (1e-3::double precision, '{}', '{}');
SELECT * FROM assigned;

-- Order: NaN equals itself and is greatest, -0 equals 0
SELECT a, b, a < b AS lt, a <= b AS le, a = b AS eq, a <> b AS ne, a >= b AS ge, a > b AS gt, float2_cmp(a, b) < 0 AS cmp_lt,
       float2_hash(a) = float2_hash(b) AS same_hash, float2_hash_extended(a, 42) = float2_hash_extended(b, 42) AS same_seeded
  FROM (VALUES ('1'::float2, '2'::float2), ('-1', '-2'), ('-1', '1'), ('0', '-0'), ('NaN', 'NaN'), ('NaN', 'Infinity'),
               ('-Infinity', '-65504'), ('6e-8', '0'), ('-6e-8', '0'), ('0.5', '0.5')) v (a, b);
SELECT '0.1'::float2 = 0.1::real AS as_real, '0.5'::float2 = 0.5 AS as_numeric, 2 > '0.5'::float2 AS as_integer;
-- NaNs of different bits are one value
CREATE TABLE nans AS SELECT unnest('{NaN,-NaN}'::float2[]) AS h;
SELECT count(*), count(DISTINCT float2_send(h)) AS bits, count(DISTINCT h), bool_and(h = 'NaN') AS equal,
       count(DISTINCT float2_hash(h)) AS hashes FROM nans;

CREATE TABLE numbers (id serial, h float2, a float2[]);
INSERT INTO numbers (h, a) SELECT v, ARRAY[v, '1'] FROM unnest('{3,NaN,-1,0.1,-0,Infinity,0,-Infinity,0.1,NaN,65504}'::float2[]) v;
INSERT INTO numbers (h, a) VALUES (NULL, NULL);
ANALYZE numbers;
SELECT string_agg(h::text, ' ' ORDER BY h, id) AS ascending, string_agg(h::text, ' ' ORDER BY h DESC, id) AS descending FROM numbers;
SELECT string_agg(a::text, ' ' ORDER BY a, id) FROM numbers;
SELECT h, count(*) FROM numbers GROUP BY h ORDER BY h;
SELECT count(DISTINCT h), count(DISTINCT a) FROM numbers;
SET enable_sort = off;
SELECT count(*) AS groups FROM (SELECT h FROM numbers GROUP BY h) g;
SELECT count(*) AS groups FROM (SELECT DISTINCT a FROM numbers) g;
RESET enable_sort;

-- Joins by hash and by merge
SET enable_nestloop = off;
SET enable_mergejoin = off;
EXPLAIN (COSTS off) SELECT count(*) FROM numbers n JOIN numbers m USING (h);
SELECT count(*) FROM numbers n JOIN numbers m USING (h);
RESET enable_mergejoin;
SET enable_hashjoin = off;
EXPLAIN (COSTS off) SELECT count(*) FROM numbers n JOIN numbers m USING (h);
SELECT count(*) FROM numbers n JOIN numbers m USING (h);
RESET enable_hashjoin;
RESET enable_nestloop;

-- Indexes of every kind
CREATE UNIQUE INDEX halves_half ON halves (half) WHERE exact <> 0;
CREATE INDEX halves_hash ON halves USING hash (half);
ANALYZE halves;
SET enable_seqscan = off;
SET enable_bitmapscan = off;
EXPLAIN (COSTS off) SELECT exact FROM halves WHERE half = '0.1';
SELECT exact FROM halves WHERE half = '0.1';
EXPLAIN (COSTS off) SELECT half FROM halves WHERE exact <> 0 AND half > '65400' ORDER BY half;
SELECT half FROM halves WHERE exact <> 0 AND half > '65400' ORDER BY half;
RESET enable_seqscan;
RESET enable_bitmapscan;
INSERT INTO halves VALUES (1, 1);

CREATE TABLE uniques (a float2[] UNIQUE);
INSERT INTO uniques VALUES ('{1,2}'), ('{1,NaN}'), ('{0}');
INSERT INTO uniques VALUES ('{1,NaN}') ON CONFLICT DO NOTHING;
INSERT INTO uniques VALUES ('{-0}');
SELECT '{1,2}'::float2[] @> '{2}' AS contains, '{1,2}'::float2[] < '{1,NaN}' AS less, '{1,2}'::float2[] || '{3}' AS joined,
       array_position('{0.5,0.1}'::float2[], '0.1');

-- Binary COPY keeps every bit
\getenv builddir PG_ABS_BUILDDIR
\set file :builddir '/results/float2.bin'
\set load '\\copy copied FROM ' :'file' ' (FORMAT binary)'
CREATE TABLE copied (half float2, a float2[]);
COPY (SELECT half, ARRAY[half, 'NaN', NULL] FROM halves) TO STDOUT (FORMAT binary) \g :file
:load
SELECT count(*), bool_and(a = ARRAY[half, 'NaN', NULL]) FROM copied;
SELECT count(*) FROM (SELECT float2_send(half) FROM halves EXCEPT ALL SELECT float2_send(half) FROM copied) d;

-- Negative values compare whole as datums, computed or stored
SELECT count(*) FROM (SELECT ROW('-1'::float2)) c (r) JOIN (SELECT ROW(h) FROM numbers WHERE h = -1) s (r) ON c.r *= s.r;

DROP TABLE halves, assigned, nans, numbers, uniques, copied;
