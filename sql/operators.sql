-- Distance operators and functions on real[] and float2[].

-- Every pair of types: 3-4-5, and a zero of each sign of angle
SELECT '{1,2}'::real[] <-> '{4,6}'::real[] AS l2_real_real, '{1,2}'::real[] <-> '{4,6}'::float2[] AS l2_real_float2,
       '{1,2}'::float2[] <-> '{4,6}'::real[] AS l2_float2_real, '{1,2}'::float2[] <-> '{4,6}'::float2[] AS l2_float2_float2;
SELECT '{1,2}'::real[] <#> '{4,6}'::real[] AS ip_real_real, '{1,2}'::real[] <#> '{4,6}'::float2[] AS ip_real_float2,
       '{1,2}'::float2[] <#> '{4,6}'::real[] AS ip_float2_real, '{1,2}'::float2[] <#> '{4,6}'::float2[] AS ip_float2_float2;
SELECT '{3,4}'::real[] <=> '{4,3}'::real[] AS cosine_real_real, '{3,4}'::real[] <=> '{4,3}'::float2[] AS cosine_real_float2,
       '{3,4}'::float2[] <=> '{4,3}'::real[] AS cosine_float2_real, '{3,4}'::float2[] <=> '{4,3}'::float2[] AS cosine_float2_float2;

-- The functions: as the operators, and the inner product with its own sign
SELECT a, b, l2_distance(a, b), inner_product(a, b), negative_inner_product(a, b), cosine_distance(a, b)
  FROM (VALUES ('{1,0}'::real[], '{0,1}'::real[]), ('{1,1}', '{2,2}'), ('{1,2}', '{-1,-2}'), ('{0.5}', '{0.25}'), ('{7}', '{7}')) v (a, b);
SELECT l2_distance('{1,2}'::real[], '{4,6}'::float2[]), l2_distance('{1,2}'::float2[], '{4,6}'::real[]), l2_distance('{1,2}'::float2[], '{4,6}'::float2[]),
       inner_product('{1,2}'::real[], '{4,6}'::float2[]), inner_product('{1,2}'::float2[], '{4,6}'::real[]), inner_product('{1,2}'::float2[], '{4,6}'::float2[]);
SELECT negative_inner_product('{1,2}'::real[], '{4,6}'::float2[]), negative_inner_product('{1,2}'::float2[], '{4,6}'::real[]), negative_inner_product('{1,2}'::float2[], '{4,6}'::float2[]),
       cosine_distance('{3,4}'::real[], '{4,3}'::float2[]), cosine_distance('{3,4}'::float2[], '{4,3}'::real[]), cosine_distance('{3,4}'::float2[], '{4,3}'::float2[]);
SELECT pg_typeof('{1}'::real[] <-> '{1}'), pg_typeof('{1}'::float2[] <=> '{1}');

-- Literals of other types
SELECT '{1,2}'::real[] <-> ARRAY[4, 6] AS integers, '{1,2}'::real[] <-> ARRAY[4.0, 6.0] AS numerics, ARRAY[4, 6] <-> '{1,2}'::float2[] AS left_integers;

-- NULL gives NULL
SELECT '{1}'::real[] <-> NULL::real[] AS l2, NULL::float2[] <#> '{1}'::real[] AS ip, cosine_distance(NULL::float2[], '{1}'::float2[]) AS cosine;

-- Arrays of any lower bound; a null bitmap that outlived its nulls
SELECT '[5:6]={1,2}'::real[] <-> '[-3:-2]={4,6}'::real[] AS lower_bounds;
CREATE TABLE healed (r real[], h float2[]);
INSERT INTO healed VALUES ('{1,NULL}', '{1,NULL}');
UPDATE healed SET r[2] = 2, h[2] = 2;
SELECT r <-> '{4,6}' AS r, h <-> '{4,6}'::float2[] AS h, r <=> h AS rh, pg_column_size(r) > pg_column_size('{1,2}'::real[]) AS has_bitmap FROM healed;

-- Stored short, long, compressed and out of line
CREATE TABLE stored (id int, r real[], h float2[]);
INSERT INTO stored SELECT n, array_fill(n::real, ARRAY[n]), array_fill(n::float2, ARRAY[n]) FROM unnest(ARRAY[1, 2, 3, 24, 26, 27, 50, 53, 54, 384, 1000, 16000]) n;
ALTER TABLE stored ALTER r SET STORAGE EXTERNAL, ALTER h SET STORAGE EXTERNAL;
INSERT INTO stored SELECT -id, r || '{}', h || '{}' FROM stored;
SELECT id, r <-> array_fill(0::real, ARRAY[abs(id)]) = sqrt(abs(id) ^ 3) AS r,
       h <-> array_fill(0::float2, ARRAY[abs(id)]) = sqrt(abs(id) ^ 3) AS h,
       r <=> h AS angle, h <-> r AS difference, r <-> h AS swapped
  FROM stored WHERE abs(id) <= 1000 ORDER BY abs(id), id;
SELECT id, r <-> array_fill(16000::real, ARRAY[16000]) AS r, h <-> array_fill(16000::float2, ARRAY[16000]) AS h, h <=> r AS angle FROM stored WHERE abs(id) = 16000 ORDER BY id;

-- Arrays that PL/pgSQL holds expanded
DO $$
DECLARE
	r real[] := '{1,2}';
	h float2[] := '{1,2}';
BEGIN
	r[3] := 3;
	h[3] := 5;
	RAISE NOTICE '% % %', r <-> h, h <#> r, r <=> r;
END
$$;

-- NaN and infinities: what IEEE arithmetic gives
SELECT a, b, a <-> b AS l2, a <#> b AS ip, a <=> b AS cosine, a::float2[] <-> b AS l2_float2, a <#> b::float2[] AS ip_float2, a::float2[] <=> b::float2[] AS cosine_float2
  FROM (VALUES ('{NaN,1}'::real[], '{1,1}'::real[]), ('{Infinity,1}', '{1,1}'), ('{-Infinity,1}', '{1,1}'), ('{Infinity,1}', '{Infinity,1}'),
               ('{Infinity,1}', '{-Infinity,1}'), ('{Infinity,1}', '{0,1}'), ('{0,0}', '{1,1}'), ('{0,0}', '{0,0}'), ('{-0,0}', '{0,0}')) v (a, b);

-- Finite vectors have finite distances, however large or small
SELECT a, b, a <-> b AS l2, a <#> b AS ip, round((a <=> b)::numeric, 6) AS cosine
  FROM (VALUES ('{3e38,0}'::real[], '{0,3e38}'::real[]), ('{1e30,1e30}', '{1e30,-1e30}'), ('{3e38,3e38}', '{-3e38,-3e38}'),
               ('{3e-30,4e-30}', '{0,0}'), ('{1e-40,0}', '{1e-40,1e-40}'), ('{1e-45}', '{-1e-45}'), ('{1e38}', '{1e-38}')) v (a, b);
SELECT '{65504,65504}'::float2[] <-> '{-65504,-65504}'::float2[] AS l2, '{6e-8}'::float2[] <=> '{6e-8}'::float2[] AS cosine;

-- A cosine distance stays between 0 and 2
SELECT count(*), min(v <=> v) >= 0 AS not_negative, max(v <=> v) < 1e-6 AS equal, max(v <=> w) <= 2 AS at_most_two, min(v <=> w) > 2 - 1e-6 AS opposite
  FROM (SELECT array_agg(sin(i * j)::real) AS v, array_agg((-3 * sin(i * j))::real) AS w
          FROM generate_series(1, 200) i, generate_series(1, 33) j GROUP BY i) s;

-- Symmetric to the last bit, and close to the sum in double precision
SELECT count(*), bool_and(r <-> s = s <-> r AND r <#> s = s <#> r AND r <=> s = s <=> r AND r <-> h = h <-> r AND r <#> h = h <#> r AND r <=> h = h <=> r
                          AND h <-> k = k <-> h AND h <#> k = k <#> h AND h <=> k = k <=> h) AS symmetric,
       max(abs((r <-> s) / exact - 1)) < 1e-6 AS close
  FROM (SELECT array_agg(sin(i * j)::real ORDER BY j) AS r, array_agg(cos(i * j)::real ORDER BY j) AS s,
               array_agg(sin(i * j)::real::float2 ORDER BY j) AS h, array_agg(cos(i * j)::real::float2 ORDER BY j) AS k,
               sqrt(sum((sin(i * j)::real - cos(i * j)::real::double precision) ^ 2)) AS exact
          FROM generate_series(1, 130) i, generate_series(1, 150) j WHERE j <= i GROUP BY i) v;

-- Not vectors
SELECT '{1,2}'::real[] <-> '{1,2,3}'::real[];
SELECT '{1,2}'::float2[] <=> '{1}'::real[];
SELECT '{}'::real[] <-> '{1}'::real[];
SELECT '{1}'::real[] <#> '{}'::float2[];
SELECT '{}'::real[] <=> '{}'::real[];
SELECT '{{1,2},{3,4}}'::real[] <-> '{1,2}'::real[];
SELECT '{1}'::float2[] <-> '{{{1}}}'::float2[];
SELECT '{1,NULL}'::real[] <-> '{1,2}'::real[];
SELECT '{1,2,3,4,5,6,7,8}'::float2[] <#> '{1,2,3,4,5,6,7,NULL}'::float2[];
SELECT array_fill(1::real, ARRAY[16001]) <-> array_fill(1::real, ARRAY[16001]);
SELECT array_fill(1::float2, ARRAY[100000]) <=> '{1}'::real[];
SELECT array_fill(3::real, ARRAY[16000]) <-> array_fill(2::float2, ARRAY[16000]);
SELECT array_fill(1::float2, ARRAY[16000]) <#> array_fill(2::float2, ARRAY[16000]);

-- SQLSTATEs
DO $$
DECLARE
	other text;
BEGIN
	FOREACH other IN ARRAY ARRAY['{1}', '{}', '{{1,2}}', '{1,NULL}']
	LOOP
		BEGIN
			EXECUTE format('SELECT ''{1,2}''::real[] <-> %L::real[]', other);
		EXCEPTION WHEN others THEN
			RAISE NOTICE '%: % %', other, SQLSTATE, SQLERRM;
		END;
	END LOOP;
	PERFORM '{1}'::real[] <-> array_fill(1::real, ARRAY[16001]);
EXCEPTION WHEN others THEN
	RAISE NOTICE '% %', SQLSTATE, SQLERRM;
END
$$;

-- Exact search: NaN and NULL come last
CREATE TABLE searched (id int, v real[], h float2[]);
INSERT INTO searched SELECT i, v, v::float2[] FROM unnest(ARRAY['{1,1}', '{0,0}', NULL, '{3,4}', '{NaN,1}', '{-1,0}', '{Infinity,0}']) WITH ORDINALITY t (x, i), LATERAL (SELECT x::real[]) y (v);
SELECT id, v, v <-> '{0,0}' AS l2 FROM searched ORDER BY v <-> '{0,0}', id;
SELECT id, v, v <=> '{1,0}' AS cosine FROM searched ORDER BY v <=> '{1,0}', id;
SELECT id, h <#> '{1,1}'::real[] AS ip FROM searched ORDER BY h <#> '{1,1}'::real[], id;
PREPARE nearest(real[]) AS SELECT id FROM searched ORDER BY h <-> $1, id LIMIT 2;
EXECUTE nearest('{1,2}');

-- Immutable: fit for an expression index and a generated column
CREATE INDEX searched_length ON searched ((v <-> '{0,0}'::real[]));
CREATE INDEX searched_cosine ON searched (cosine_distance(h, '{1,0}'::float2[]));
SET enable_seqscan = off;
EXPLAIN (COSTS off) SELECT id FROM searched WHERE v <-> '{0,0}'::real[] < 2;
SELECT id FROM searched WHERE v <-> '{0,0}'::real[] < 2 ORDER BY id;
RESET enable_seqscan;
CREATE TABLE generated (v real[], length double precision GENERATED ALWAYS AS (v <-> '{0,0}'::real[]) STORED);
INSERT INTO generated VALUES ('{3,4}'), (NULL);
SELECT * FROM generated;

-- Every function of a distance or of float2 is immutable, strict and parallel safe;
-- those that look into a vector file are stable
SELECT proname FROM pg_proc, pg_depend
 WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'hnsw_mmap')
   AND classid = 'pg_proc'::regclass AND objid = pg_proc.oid AND proname !~ '^hnsw_mmap_'
   AND NOT (provolatile = CASE WHEN pg_get_function_identity_arguments(pg_proc.oid) ~ 'extvec' OR proname IN ('extvec_in', 'extvec_recv') THEN provolatile ELSE 'i' END
            AND provolatile IN ('i', 's') AND proisstrict AND proparallel = 's')
 ORDER BY proname;

-- Everything that a user may meet has a comment
SELECT pg_describe_object(classid, objid, 0) AS uncommented FROM pg_depend
 WHERE refclassid = 'pg_extension'::regclass AND refobjid = (SELECT oid FROM pg_extension WHERE extname = 'hnsw_mmap')
   AND classid IN ('pg_proc'::regclass, 'pg_operator'::regclass, 'pg_type'::regclass, 'pg_opclass'::regclass, 'pg_am'::regclass)
   AND NOT (classid = 'pg_type'::regclass AND EXISTS (SELECT FROM pg_type AS t WHERE t.typarray = objid OR t.oid = objid AND t.typrelid <> 0))
   AND obj_description(objid, classid::regclass::name) IS NULL
 ORDER BY 1;

-- Operators know their commutators
SELECT count(*) AS operators, count(*) FILTER (WHERE c.oprcode::oid IS NULL OR c.oprcom <> o.oid OR c.oprleft <> o.oprright) AS without_commutator
  FROM pg_operator o LEFT JOIN pg_operator c ON c.oid = o.oprcom
 WHERE o.oprname IN ('<->', '<#>', '<=>') AND o.oprleft IN ('real[]'::regtype, 'float2[]'::regtype);

-- The operator classes
SELECT opcname, opcintype::regtype AS type, opcdefault AS is_default, amopopr::regoperator AS operator
  FROM pg_opclass JOIN pg_am ON pg_am.oid = opcmethod JOIN pg_amop ON amopfamily = opcfamily
 WHERE amname = 'hnsw_mmap' AND opcintype IN ('real[]'::regtype, 'float2[]'::regtype) ORDER BY opcname, amopopr::regoperator::text;

DROP TABLE healed, stored, searched, generated;
