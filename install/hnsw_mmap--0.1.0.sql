-- hnsw_mmap 0.1.0

-- complain if the script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION hnsw_mmap" to load this file. \quit

--
-- Types
--

CREATE TYPE float2;

CREATE FUNCTION float2_in(cstring) RETURNS float2
	AS 'MODULE_PATHNAME', 'hm_float2_in'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_in(cstring) IS 'text input of float2';

CREATE FUNCTION float2_out(float2) RETURNS cstring
	AS 'MODULE_PATHNAME', 'hm_float2_out'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_out(float2) IS 'text output of float2';

CREATE FUNCTION float2_recv(internal) RETURNS float2
	AS 'MODULE_PATHNAME', 'hm_float2_recv'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_recv(internal) IS 'binary input of float2';

CREATE FUNCTION float2_send(float2) RETURNS bytea
	AS 'MODULE_PATHNAME', 'hm_float2_send'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_send(float2) IS 'binary output of float2';

CREATE TYPE float2 (
	INPUT = float2_in,
	OUTPUT = float2_out,
	RECEIVE = float2_recv,
	SEND = float2_send,
	INTERNALLENGTH = 2,
	PASSEDBYVALUE,
	ALIGNMENT = int2,
	STORAGE = plain,
	CATEGORY = 'N'
);
COMMENT ON TYPE float2 IS 'half-precision floating-point number (IEEE binary16), 2 bytes: about 3 digits, magnitudes up to 65504';

-- Casts.  From integer and numeric they are no more than assignment casts,
-- unlike those to real: were they implicit, embedding <-> ARRAY[1, 2, 3] could
-- mean real[] or float2[] on the right, and would be rejected as ambiguous.

CREATE FUNCTION float2_to_float4(float2) RETURNS real
	AS 'MODULE_PATHNAME', 'hm_float2_to_float4'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_to_float4(float2) IS 'convert float2 to real, exact';

CREATE CAST (float2 AS real) WITH FUNCTION float2_to_float4(float2) AS IMPLICIT;

CREATE FUNCTION float2_to_float8(float2) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_float2_to_float8'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_to_float8(float2) IS 'convert float2 to double precision, exact';

CREATE CAST (float2 AS double precision) WITH FUNCTION float2_to_float8(float2) AS IMPLICIT;

CREATE FUNCTION float2_to_int2(float2) RETURNS smallint
	AS 'MODULE_PATHNAME', 'hm_float2_to_int2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_to_int2(float2) IS 'convert float2 to smallint, to the nearest whole number';

CREATE CAST (float2 AS smallint) WITH FUNCTION float2_to_int2(float2) AS ASSIGNMENT;

CREATE FUNCTION float2_to_int4(float2) RETURNS integer
	AS 'MODULE_PATHNAME', 'hm_float2_to_int4'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_to_int4(float2) IS 'convert float2 to integer, to the nearest whole number';

CREATE CAST (float2 AS integer) WITH FUNCTION float2_to_int4(float2) AS ASSIGNMENT;

CREATE FUNCTION float2_to_int8(float2) RETURNS bigint
	AS 'MODULE_PATHNAME', 'hm_float2_to_int8'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_to_int8(float2) IS 'convert float2 to bigint, to the nearest whole number';

CREATE CAST (float2 AS bigint) WITH FUNCTION float2_to_int8(float2) AS ASSIGNMENT;

CREATE FUNCTION float2_to_numeric(float2) RETURNS numeric
	AS 'MODULE_PATHNAME', 'hm_float2_to_numeric'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_to_numeric(float2) IS 'convert float2 to numeric, as the shortest text that stands for the value';

CREATE CAST (float2 AS numeric) WITH FUNCTION float2_to_numeric(float2) AS ASSIGNMENT;

CREATE FUNCTION float4_to_float2(real) RETURNS float2
	AS 'MODULE_PATHNAME', 'hm_float4_to_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float4_to_float2(real) IS 'convert real to float2, rounding to nearest; an error above 65504';

CREATE CAST (real AS float2) WITH FUNCTION float4_to_float2(real) AS ASSIGNMENT;

CREATE FUNCTION float8_to_float2(double precision) RETURNS float2
	AS 'MODULE_PATHNAME', 'hm_float8_to_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float8_to_float2(double precision) IS 'convert double precision to float2, rounding to nearest; an error above 65504';

CREATE CAST (double precision AS float2) WITH FUNCTION float8_to_float2(double precision) AS ASSIGNMENT;

CREATE FUNCTION int2_to_float2(smallint) RETURNS float2
	AS 'MODULE_PATHNAME', 'hm_int2_to_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION int2_to_float2(smallint) IS 'convert smallint to float2, rounding to nearest; an error above 65504';

CREATE CAST (smallint AS float2) WITH FUNCTION int2_to_float2(smallint) AS ASSIGNMENT;

CREATE FUNCTION int4_to_float2(integer) RETURNS float2
	AS 'MODULE_PATHNAME', 'hm_int4_to_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION int4_to_float2(integer) IS 'convert integer to float2, rounding to nearest; an error above 65504';

CREATE CAST (integer AS float2) WITH FUNCTION int4_to_float2(integer) AS ASSIGNMENT;

CREATE FUNCTION int8_to_float2(bigint) RETURNS float2
	AS 'MODULE_PATHNAME', 'hm_int8_to_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION int8_to_float2(bigint) IS 'convert bigint to float2, rounding to nearest; an error above 65504';

CREATE CAST (bigint AS float2) WITH FUNCTION int8_to_float2(bigint) AS ASSIGNMENT;

CREATE FUNCTION numeric_to_float2(numeric) RETURNS float2
	AS 'MODULE_PATHNAME', 'hm_numeric_to_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION numeric_to_float2(numeric) IS 'convert numeric to float2, rounding to nearest; an error above 65504';

CREATE CAST (numeric AS float2) WITH FUNCTION numeric_to_float2(numeric) AS ASSIGNMENT;

--
-- Comparison of float2
--

CREATE FUNCTION float2_lt(float2, float2) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_float2_lt'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_lt(float2, float2) IS 'implementation of < operator';

CREATE FUNCTION float2_le(float2, float2) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_float2_le'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_le(float2, float2) IS 'implementation of <= operator';

CREATE FUNCTION float2_eq(float2, float2) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_float2_eq'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_eq(float2, float2) IS 'implementation of = operator';

CREATE FUNCTION float2_ne(float2, float2) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_float2_ne'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_ne(float2, float2) IS 'implementation of <> operator';

CREATE FUNCTION float2_ge(float2, float2) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_float2_ge'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_ge(float2, float2) IS 'implementation of >= operator';

CREATE FUNCTION float2_gt(float2, float2) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_float2_gt'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_gt(float2, float2) IS 'implementation of > operator';

CREATE OPERATOR < (
	LEFTARG = float2, RIGHTARG = float2, FUNCTION = float2_lt,
	COMMUTATOR = >, NEGATOR = >=,
	RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR < (float2, float2) IS 'less than; NaN equals itself and is greater than all else';

CREATE OPERATOR <= (
	LEFTARG = float2, RIGHTARG = float2, FUNCTION = float2_le,
	COMMUTATOR = >=, NEGATOR = >,
	RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR <= (float2, float2) IS 'less than or equal; NaN equals itself and is greater than all else';

CREATE OPERATOR = (
	LEFTARG = float2, RIGHTARG = float2, FUNCTION = float2_eq,
	COMMUTATOR = =, NEGATOR = <>,
	RESTRICT = eqsel, JOIN = eqjoinsel,
	HASHES, MERGES
);
COMMENT ON OPERATOR = (float2, float2) IS 'equal; NaN equals itself and is greater than all else';

CREATE OPERATOR <> (
	LEFTARG = float2, RIGHTARG = float2, FUNCTION = float2_ne,
	COMMUTATOR = <>, NEGATOR = =,
	RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (float2, float2) IS 'not equal; NaN equals itself and is greater than all else';

CREATE OPERATOR >= (
	LEFTARG = float2, RIGHTARG = float2, FUNCTION = float2_ge,
	COMMUTATOR = <=, NEGATOR = <,
	RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR >= (float2, float2) IS 'greater than or equal; NaN equals itself and is greater than all else';

CREATE OPERATOR > (
	LEFTARG = float2, RIGHTARG = float2, FUNCTION = float2_gt,
	COMMUTATOR = <, NEGATOR = <=,
	RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR > (float2, float2) IS 'greater than; NaN equals itself and is greater than all else';

CREATE FUNCTION float2_cmp(float2, float2) RETURNS integer
	AS 'MODULE_PATHNAME', 'hm_float2_cmp'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_cmp(float2, float2) IS 'less-equal-greater: negative, zero or positive';

CREATE FUNCTION float2_sortsupport(internal) RETURNS void
	AS 'MODULE_PATHNAME', 'hm_float2_sortsupport'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_sortsupport(internal) IS 'sort support';

CREATE FUNCTION float2_hash(float2) RETURNS integer
	AS 'MODULE_PATHNAME', 'hm_float2_hash'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_hash(float2) IS 'hash';

CREATE FUNCTION float2_hash_extended(float2, bigint) RETURNS bigint
	AS 'MODULE_PATHNAME', 'hm_float2_hash_extended'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION float2_hash_extended(float2, bigint) IS 'hash with a seed';

CREATE OPERATOR CLASS float2_ops DEFAULT FOR TYPE float2 USING btree AS
	OPERATOR 1 <,
	OPERATOR 2 <=,
	OPERATOR 3 =,
	OPERATOR 4 >=,
	OPERATOR 5 >,
	FUNCTION 1 float2_cmp(float2, float2),
	FUNCTION 2 float2_sortsupport(internal);
COMMENT ON OPERATOR CLASS float2_ops USING btree IS 'order of float2';

CREATE OPERATOR CLASS float2_ops DEFAULT FOR TYPE float2 USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 float2_hash(float2),
	FUNCTION 2 float2_hash_extended(float2, bigint);
COMMENT ON OPERATOR CLASS float2_ops USING hash IS 'hashing of float2';

--
-- Distance functions
--

-- A vector is a one-dimensional array of 1 to 16,000 elements without nulls;
-- both must have as many.  Elements may be NaN or infinite: the results are
-- those of IEEE arithmetic, and NaN sorts last.  One distance costs about as
-- much as ten simple operators.

CREATE FUNCTION l2_distance(real[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_l2_distance_real_real'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION l2_distance(real[], real[]) IS 'Euclidean distance';

CREATE FUNCTION l2_distance(real[], float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_l2_distance_real_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION l2_distance(real[], float2[]) IS 'Euclidean distance';

CREATE FUNCTION l2_distance(float2[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_l2_distance_float2_real'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION l2_distance(float2[], real[]) IS 'Euclidean distance';

CREATE FUNCTION l2_distance(float2[], float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_l2_distance_float2_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION l2_distance(float2[], float2[]) IS 'Euclidean distance';

CREATE FUNCTION inner_product(real[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_inner_product_real_real'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION inner_product(real[], real[]) IS 'inner product';

CREATE FUNCTION inner_product(real[], float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_inner_product_real_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION inner_product(real[], float2[]) IS 'inner product';

CREATE FUNCTION inner_product(float2[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_inner_product_float2_real'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION inner_product(float2[], real[]) IS 'inner product';

CREATE FUNCTION inner_product(float2[], float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_inner_product_float2_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION inner_product(float2[], float2[]) IS 'inner product';

CREATE FUNCTION negative_inner_product(real[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_negative_inner_product_real_real'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION negative_inner_product(real[], real[]) IS 'inner product times -1, so that the largest comes first';

CREATE FUNCTION negative_inner_product(real[], float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_negative_inner_product_real_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION negative_inner_product(real[], float2[]) IS 'inner product times -1, so that the largest comes first';

CREATE FUNCTION negative_inner_product(float2[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_negative_inner_product_float2_real'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION negative_inner_product(float2[], real[]) IS 'inner product times -1, so that the largest comes first';

CREATE FUNCTION negative_inner_product(float2[], float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_negative_inner_product_float2_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION negative_inner_product(float2[], float2[]) IS 'inner product times -1, so that the largest comes first';

CREATE FUNCTION cosine_distance(real[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_cosine_distance_real_real'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION cosine_distance(real[], real[]) IS '1 - cosine of the angle, 0 to 2; NaN where a vector is zero';

CREATE FUNCTION cosine_distance(real[], float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_cosine_distance_real_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION cosine_distance(real[], float2[]) IS '1 - cosine of the angle, 0 to 2; NaN where a vector is zero';

CREATE FUNCTION cosine_distance(float2[], real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_cosine_distance_float2_real'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION cosine_distance(float2[], real[]) IS '1 - cosine of the angle, 0 to 2; NaN where a vector is zero';

CREATE FUNCTION cosine_distance(float2[], float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_cosine_distance_float2_float2'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION cosine_distance(float2[], float2[]) IS '1 - cosine of the angle, 0 to 2; NaN where a vector is zero';

--
-- Distance operators
--

CREATE OPERATOR <-> (
	LEFTARG = real[], RIGHTARG = real[], FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (real[], real[]) IS 'Euclidean distance';

CREATE OPERATOR <-> (
	LEFTARG = real[], RIGHTARG = float2[], FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (real[], float2[]) IS 'Euclidean distance';

CREATE OPERATOR <-> (
	LEFTARG = float2[], RIGHTARG = real[], FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (float2[], real[]) IS 'Euclidean distance';

CREATE OPERATOR <-> (
	LEFTARG = float2[], RIGHTARG = float2[], FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (float2[], float2[]) IS 'Euclidean distance';

CREATE OPERATOR <#> (
	LEFTARG = real[], RIGHTARG = real[], FUNCTION = negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (real[], real[]) IS 'negative inner product';

CREATE OPERATOR <#> (
	LEFTARG = real[], RIGHTARG = float2[], FUNCTION = negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (real[], float2[]) IS 'negative inner product';

CREATE OPERATOR <#> (
	LEFTARG = float2[], RIGHTARG = real[], FUNCTION = negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (float2[], real[]) IS 'negative inner product';

CREATE OPERATOR <#> (
	LEFTARG = float2[], RIGHTARG = float2[], FUNCTION = negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (float2[], float2[]) IS 'negative inner product';

CREATE OPERATOR <=> (
	LEFTARG = real[], RIGHTARG = real[], FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (real[], real[]) IS 'cosine distance';

CREATE OPERATOR <=> (
	LEFTARG = real[], RIGHTARG = float2[], FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (real[], float2[]) IS 'cosine distance';

CREATE OPERATOR <=> (
	LEFTARG = float2[], RIGHTARG = real[], FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (float2[], real[]) IS 'cosine distance';

CREATE OPERATOR <=> (
	LEFTARG = float2[], RIGHTARG = float2[], FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (float2[], float2[]) IS 'cosine distance';

--
-- Attached vector files
--

-- A file is a server of this wrapper, which has no tables.  Its options: path
-- (absolute); format (npy, fvecs, raw; default: what the path ends in); dtype
-- (f2, f4) and dim, needed for raw, otherwise what the file has to have; offset
-- (raw only); number (by which values refer to the file; default: a hash of the
-- server's name, so add the option before renaming such a server); rows (how
-- many may be read).  Only superusers and members of pg_read_server_files may
-- set options; whoever has USAGE on the server may read the vectors.

CREATE FUNCTION hnsw_mmap_file_validator(text[], oid) RETURNS void
	AS 'MODULE_PATHNAME', 'hm_file_validator'
	LANGUAGE C STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_file_validator(text[], oid) IS 'validator of foreign-data wrapper hnsw_mmap_file';

CREATE FOREIGN DATA WRAPPER hnsw_mmap_file
	NO HANDLER VALIDATOR hnsw_mmap_file_validator;
COMMENT ON FOREIGN DATA WRAPPER hnsw_mmap_file IS 'files of vectors, to which values of type extvec refer';
GRANT USAGE ON FOREIGN DATA WRAPPER hnsw_mmap_file TO pg_read_server_files;

CREATE TYPE extvec;

CREATE FUNCTION extvec_in(cstring) RETURNS extvec
	AS 'MODULE_PATHNAME', 'hm_extvec_in'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_in(cstring) IS 'text input of extvec';

CREATE FUNCTION extvec_out(extvec) RETURNS cstring
	AS 'MODULE_PATHNAME', 'hm_extvec_out'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_out(extvec) IS 'text output of extvec';

CREATE FUNCTION extvec_recv(internal) RETURNS extvec
	AS 'MODULE_PATHNAME', 'hm_extvec_recv'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_recv(internal) IS 'binary input of extvec';

CREATE FUNCTION extvec_send(extvec) RETURNS bytea
	AS 'MODULE_PATHNAME', 'hm_extvec_send'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_send(extvec) IS 'binary output of extvec';

CREATE TYPE extvec (
	INPUT = extvec_in,
	OUTPUT = extvec_out,
	RECEIVE = extvec_recv,
	SEND = extvec_send,
	INTERNALLENGTH = 16,
	ALIGNMENT = double,
	STORAGE = plain
);
COMMENT ON TYPE extvec IS 'a vector that is row n of an attached file, written file:n, 16 bytes';

CREATE FUNCTION hnsw_mmap_extvec(file name, "row" bigint) RETURNS extvec
	AS 'MODULE_PATHNAME', 'hm_sql_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_extvec(name, bigint) IS 'a row of an attached file, counted from 0; whether the file has it shows when it is used';

CREATE FUNCTION extvec_file(extvec) RETURNS name
	AS 'MODULE_PATHNAME', 'hm_extvec_file'
	LANGUAGE C STABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_file(extvec) IS 'the name of the attached file, NULL if no server has its number, or two have';

CREATE FUNCTION extvec_number(extvec) RETURNS bigint
	AS 'MODULE_PATHNAME', 'hm_extvec_number'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_number(extvec) IS 'the number of the attached file';

CREATE FUNCTION extvec_row(extvec) RETURNS bigint
	AS 'MODULE_PATHNAME', 'hm_extvec_row'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_row(extvec) IS 'the row, counted from 0';

-- Explicit or by assignment: a vector that is read by itself should be asked for.

CREATE FUNCTION extvec_to_real_array(extvec) RETURNS real[]
	AS 'MODULE_PATHNAME', 'hm_extvec_to_real_array'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION extvec_to_real_array(extvec) IS 'the vector, read from its file';

CREATE CAST (extvec AS real[]) WITH FUNCTION extvec_to_real_array(extvec) AS ASSIGNMENT;

-- References compare by file number, then by row, and without their files.

CREATE FUNCTION extvec_lt(extvec, extvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_extvec_lt'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_lt(extvec, extvec) IS 'implementation of <';

CREATE FUNCTION extvec_le(extvec, extvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_extvec_le'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_le(extvec, extvec) IS 'implementation of <=';

CREATE FUNCTION extvec_eq(extvec, extvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_extvec_eq'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_eq(extvec, extvec) IS 'implementation of =';

CREATE FUNCTION extvec_ne(extvec, extvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_extvec_ne'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_ne(extvec, extvec) IS 'implementation of <>';

CREATE FUNCTION extvec_ge(extvec, extvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_extvec_ge'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_ge(extvec, extvec) IS 'implementation of >=';

CREATE FUNCTION extvec_gt(extvec, extvec) RETURNS boolean
	AS 'MODULE_PATHNAME', 'hm_extvec_gt'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_gt(extvec, extvec) IS 'implementation of >';

CREATE OPERATOR < (
	LEFTARG = extvec, RIGHTARG = extvec, FUNCTION = extvec_lt,
	COMMUTATOR = >, NEGATOR = >=,
	RESTRICT = scalarltsel, JOIN = scalarltjoinsel
);
COMMENT ON OPERATOR < (extvec, extvec) IS 'less than, by file number and row';

CREATE OPERATOR <= (
	LEFTARG = extvec, RIGHTARG = extvec, FUNCTION = extvec_le,
	COMMUTATOR = >=, NEGATOR = >,
	RESTRICT = scalarlesel, JOIN = scalarlejoinsel
);
COMMENT ON OPERATOR <= (extvec, extvec) IS 'less than or equal, by file number and row';

CREATE OPERATOR = (
	LEFTARG = extvec, RIGHTARG = extvec, FUNCTION = extvec_eq,
	COMMUTATOR = =, NEGATOR = <>,
	RESTRICT = eqsel, JOIN = eqjoinsel,
	HASHES, MERGES
);
COMMENT ON OPERATOR = (extvec, extvec) IS 'equal, by file number and row';

CREATE OPERATOR <> (
	LEFTARG = extvec, RIGHTARG = extvec, FUNCTION = extvec_ne,
	COMMUTATOR = <>, NEGATOR = =,
	RESTRICT = neqsel, JOIN = neqjoinsel
);
COMMENT ON OPERATOR <> (extvec, extvec) IS 'not equal, by file number and row';

CREATE OPERATOR >= (
	LEFTARG = extvec, RIGHTARG = extvec, FUNCTION = extvec_ge,
	COMMUTATOR = <=, NEGATOR = <,
	RESTRICT = scalargesel, JOIN = scalargejoinsel
);
COMMENT ON OPERATOR >= (extvec, extvec) IS 'greater than or equal, by file number and row';

CREATE OPERATOR > (
	LEFTARG = extvec, RIGHTARG = extvec, FUNCTION = extvec_gt,
	COMMUTATOR = <, NEGATOR = <=,
	RESTRICT = scalargtsel, JOIN = scalargtjoinsel
);
COMMENT ON OPERATOR > (extvec, extvec) IS 'greater than, by file number and row';

CREATE FUNCTION extvec_cmp(extvec, extvec) RETURNS integer
	AS 'MODULE_PATHNAME', 'hm_extvec_cmp'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_cmp(extvec, extvec) IS 'less-equal-greater: negative, zero or positive';

CREATE FUNCTION extvec_hash(extvec) RETURNS integer
	AS 'MODULE_PATHNAME', 'hm_extvec_hash'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_hash(extvec) IS 'hash';

CREATE FUNCTION extvec_hash_extended(extvec, bigint) RETURNS bigint
	AS 'MODULE_PATHNAME', 'hm_extvec_hash_extended'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION extvec_hash_extended(extvec, bigint) IS 'hash with a seed';

CREATE OPERATOR CLASS extvec_ops DEFAULT FOR TYPE extvec USING btree AS
	OPERATOR 1 <,
	OPERATOR 2 <=,
	OPERATOR 3 =,
	OPERATOR 4 >=,
	OPERATOR 5 >,
	FUNCTION 1 extvec_cmp(extvec, extvec);
COMMENT ON OPERATOR CLASS extvec_ops USING btree IS 'order of extvec';

CREATE OPERATOR CLASS extvec_ops DEFAULT FOR TYPE extvec USING hash AS
	OPERATOR 1 =,
	FUNCTION 1 extvec_hash(extvec),
	FUNCTION 2 extvec_hash_extended(extvec, bigint);
COMMENT ON OPERATOR CLASS extvec_ops USING hash IS 'hashing of extvec';

-- Distances read the files: they are STABLE, need USAGE on the servers, and
-- raise an error if a file is not there.

CREATE FUNCTION l2_distance(extvec, extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_l2_distance_extvec_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION l2_distance(extvec, extvec) IS 'Euclidean distance';

CREATE FUNCTION l2_distance(extvec, real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_l2_distance_extvec_real'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION l2_distance(extvec, real[]) IS 'Euclidean distance';

CREATE FUNCTION l2_distance(real[], extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_l2_distance_real_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION l2_distance(real[], extvec) IS 'Euclidean distance';

CREATE FUNCTION l2_distance(extvec, float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_l2_distance_extvec_float2'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION l2_distance(extvec, float2[]) IS 'Euclidean distance';

CREATE FUNCTION l2_distance(float2[], extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_l2_distance_float2_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION l2_distance(float2[], extvec) IS 'Euclidean distance';

CREATE FUNCTION inner_product(extvec, extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_inner_product_extvec_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION inner_product(extvec, extvec) IS 'inner product';

CREATE FUNCTION inner_product(extvec, real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_inner_product_extvec_real'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION inner_product(extvec, real[]) IS 'inner product';

CREATE FUNCTION inner_product(real[], extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_inner_product_real_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION inner_product(real[], extvec) IS 'inner product';

CREATE FUNCTION inner_product(extvec, float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_inner_product_extvec_float2'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION inner_product(extvec, float2[]) IS 'inner product';

CREATE FUNCTION inner_product(float2[], extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_inner_product_float2_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION inner_product(float2[], extvec) IS 'inner product';

CREATE FUNCTION negative_inner_product(extvec, extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_negative_inner_product_extvec_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION negative_inner_product(extvec, extvec) IS 'inner product times -1, so that the largest comes first';

CREATE FUNCTION negative_inner_product(extvec, real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_negative_inner_product_extvec_real'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION negative_inner_product(extvec, real[]) IS 'inner product times -1, so that the largest comes first';

CREATE FUNCTION negative_inner_product(real[], extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_negative_inner_product_real_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION negative_inner_product(real[], extvec) IS 'inner product times -1, so that the largest comes first';

CREATE FUNCTION negative_inner_product(extvec, float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_negative_inner_product_extvec_float2'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION negative_inner_product(extvec, float2[]) IS 'inner product times -1, so that the largest comes first';

CREATE FUNCTION negative_inner_product(float2[], extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_negative_inner_product_float2_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION negative_inner_product(float2[], extvec) IS 'inner product times -1, so that the largest comes first';

CREATE FUNCTION cosine_distance(extvec, extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_cosine_distance_extvec_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION cosine_distance(extvec, extvec) IS '1 - cosine of the angle, 0 to 2; NaN where a vector is zero';

CREATE FUNCTION cosine_distance(extvec, real[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_cosine_distance_extvec_real'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION cosine_distance(extvec, real[]) IS '1 - cosine of the angle, 0 to 2; NaN where a vector is zero';

CREATE FUNCTION cosine_distance(real[], extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_cosine_distance_real_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION cosine_distance(real[], extvec) IS '1 - cosine of the angle, 0 to 2; NaN where a vector is zero';

CREATE FUNCTION cosine_distance(extvec, float2[]) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_cosine_distance_extvec_float2'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION cosine_distance(extvec, float2[]) IS '1 - cosine of the angle, 0 to 2; NaN where a vector is zero';

CREATE FUNCTION cosine_distance(float2[], extvec) RETURNS double precision
	AS 'MODULE_PATHNAME', 'hm_cosine_distance_float2_extvec'
	LANGUAGE C STABLE STRICT PARALLEL SAFE COST 10;
COMMENT ON FUNCTION cosine_distance(float2[], extvec) IS '1 - cosine of the angle, 0 to 2; NaN where a vector is zero';

CREATE OPERATOR <-> (
	LEFTARG = extvec, RIGHTARG = extvec, FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (extvec, extvec) IS 'Euclidean distance';

CREATE OPERATOR <-> (
	LEFTARG = extvec, RIGHTARG = real[], FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (extvec, real[]) IS 'Euclidean distance';

CREATE OPERATOR <-> (
	LEFTARG = real[], RIGHTARG = extvec, FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (real[], extvec) IS 'Euclidean distance';

CREATE OPERATOR <-> (
	LEFTARG = extvec, RIGHTARG = float2[], FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (extvec, float2[]) IS 'Euclidean distance';

CREATE OPERATOR <-> (
	LEFTARG = float2[], RIGHTARG = extvec, FUNCTION = l2_distance, COMMUTATOR = <->
);
COMMENT ON OPERATOR <-> (float2[], extvec) IS 'Euclidean distance';

CREATE OPERATOR <#> (
	LEFTARG = extvec, RIGHTARG = extvec, FUNCTION = negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (extvec, extvec) IS 'negative inner product';

CREATE OPERATOR <#> (
	LEFTARG = extvec, RIGHTARG = real[], FUNCTION = negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (extvec, real[]) IS 'negative inner product';

CREATE OPERATOR <#> (
	LEFTARG = real[], RIGHTARG = extvec, FUNCTION = negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (real[], extvec) IS 'negative inner product';

CREATE OPERATOR <#> (
	LEFTARG = extvec, RIGHTARG = float2[], FUNCTION = negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (extvec, float2[]) IS 'negative inner product';

CREATE OPERATOR <#> (
	LEFTARG = float2[], RIGHTARG = extvec, FUNCTION = negative_inner_product, COMMUTATOR = <#>
);
COMMENT ON OPERATOR <#> (float2[], extvec) IS 'negative inner product';

CREATE OPERATOR <=> (
	LEFTARG = extvec, RIGHTARG = extvec, FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (extvec, extvec) IS 'cosine distance';

CREATE OPERATOR <=> (
	LEFTARG = extvec, RIGHTARG = real[], FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (extvec, real[]) IS 'cosine distance';

CREATE OPERATOR <=> (
	LEFTARG = real[], RIGHTARG = extvec, FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (real[], extvec) IS 'cosine distance';

CREATE OPERATOR <=> (
	LEFTARG = extvec, RIGHTARG = float2[], FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (extvec, float2[]) IS 'cosine distance';

CREATE OPERATOR <=> (
	LEFTARG = float2[], RIGHTARG = extvec, FUNCTION = cosine_distance, COMMUTATOR = <=>
);
COMMENT ON OPERATOR <=> (float2[], extvec) IS 'cosine distance';

-- hnsw_mmap_attach creates a server, or changes one that exists: options that are
-- NULL stay as they were.  It opens the file and notes how many rows it has, so
-- a file that has grown is attached again.  hnsw_mmap_detach drops the server;
-- values that refer to it stay, and are errors to use until a server has its
-- number again.

CREATE FUNCTION hnsw_mmap_attach(
	name name,
	path text DEFAULT NULL,
	format text DEFAULT NULL,
	dtype text DEFAULT NULL,
	dim integer DEFAULT NULL,
	"offset" bigint DEFAULT NULL,
	OUT name name,
	OUT number bigint,
	OUT format text,
	OUT dtype text,
	OUT rows bigint,
	OUT dim integer,
	OUT bytes bigint
) RETURNS record
	AS 'MODULE_PATHNAME', 'hm_sql_attach'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION hnsw_mmap_attach(name, text, text, text, integer, bigint) IS 'attaches a file of vectors under a name, or attaches it again as it is now';

CREATE FUNCTION hnsw_mmap_detach(name name) RETURNS void
	AS 'MODULE_PATHNAME', 'hm_sql_detach'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION hnsw_mmap_detach(name) IS 'detaches a file; values of type extvec that refer to it are not looked for';

-- What is attached.  Path and format are for those who may use the server or
-- choose files, the rest for those who may use it; problem says why a file cannot
-- be read.  resident_bytes, how much of it is in memory, is NULL unless the
-- server's operating system user owns the file or may write it.

CREATE FUNCTION hnsw_mmap_file_list(
	OUT name name,
	OUT number bigint,
	OUT path text,
	OUT format text,
	OUT dtype text,
	OUT rows bigint,
	OUT dim integer,
	OUT bytes bigint,
	OUT resident_bytes bigint,
	OUT problem text
) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'hm_sql_file_list'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION hnsw_mmap_file_list() IS 'files that are attached in this database';

--
-- Access method
--

CREATE FUNCTION hnsw_mmap_handler(internal) RETURNS index_am_handler
	AS 'MODULE_PATHNAME', 'hm_handler'
	LANGUAGE C;
COMMENT ON FUNCTION hnsw_mmap_handler(internal) IS 'hnsw_mmap index access method handler';

CREATE ACCESS METHOD hnsw_mmap TYPE INDEX HANDLER hnsw_mmap_handler;
COMMENT ON ACCESS METHOD hnsw_mmap IS 'nearest neighbours by HNSW: a graph read, like the vectors, through mmap';

--
-- Operator classes
--

-- Operator 1 gives the order; support function 1 tells the access method the
-- type and the metric.  A column can be asked for the neighbours of either
-- kind of vector.

CREATE FUNCTION hnsw_mmap_real_l2_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_real_l2_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_real_l2_support(internal) IS 'support function of real_l2_ops';

CREATE FUNCTION hnsw_mmap_real_ip_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_real_ip_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_real_ip_support(internal) IS 'support function of real_ip_ops';

CREATE FUNCTION hnsw_mmap_real_cosine_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_real_cosine_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_real_cosine_support(internal) IS 'support function of real_cosine_ops';

CREATE FUNCTION hnsw_mmap_float2_l2_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_float2_l2_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_float2_l2_support(internal) IS 'support function of float2_l2_ops';

CREATE FUNCTION hnsw_mmap_float2_ip_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_float2_ip_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_float2_ip_support(internal) IS 'support function of float2_ip_ops';

CREATE FUNCTION hnsw_mmap_float2_cosine_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_float2_cosine_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_float2_cosine_support(internal) IS 'support function of float2_cosine_ops';

CREATE FUNCTION hnsw_mmap_extvec_l2_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_extvec_l2_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_extvec_l2_support(internal) IS 'support function of extvec_l2_ops';

CREATE FUNCTION hnsw_mmap_extvec_ip_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_extvec_ip_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_extvec_ip_support(internal) IS 'support function of extvec_ip_ops';

CREATE FUNCTION hnsw_mmap_extvec_cosine_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_extvec_cosine_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_extvec_cosine_support(internal) IS 'support function of extvec_cosine_ops';

CREATE OPERATOR CLASS real_l2_ops DEFAULT FOR TYPE real[] USING hnsw_mmap AS
	OPERATOR 1 <-> (real[], real[]) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_real_l2_support(internal);
ALTER OPERATOR FAMILY real_l2_ops USING hnsw_mmap ADD
	OPERATOR 1 <-> (real[], float2[]) FOR ORDER BY float_ops;
COMMENT ON OPERATOR CLASS real_l2_ops USING hnsw_mmap IS 'real[] by Euclidean distance';

CREATE OPERATOR CLASS real_ip_ops FOR TYPE real[] USING hnsw_mmap AS
	OPERATOR 1 <#> (real[], real[]) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_real_ip_support(internal);
ALTER OPERATOR FAMILY real_ip_ops USING hnsw_mmap ADD
	OPERATOR 1 <#> (real[], float2[]) FOR ORDER BY float_ops;
COMMENT ON OPERATOR CLASS real_ip_ops USING hnsw_mmap IS 'real[] by inner product, largest first';

CREATE OPERATOR CLASS real_cosine_ops FOR TYPE real[] USING hnsw_mmap AS
	OPERATOR 1 <=> (real[], real[]) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_real_cosine_support(internal);
ALTER OPERATOR FAMILY real_cosine_ops USING hnsw_mmap ADD
	OPERATOR 1 <=> (real[], float2[]) FOR ORDER BY float_ops;
COMMENT ON OPERATOR CLASS real_cosine_ops USING hnsw_mmap IS 'real[] by cosine distance';

CREATE OPERATOR CLASS float2_l2_ops DEFAULT FOR TYPE float2[] USING hnsw_mmap AS
	OPERATOR 1 <-> (float2[], float2[]) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_float2_l2_support(internal);
ALTER OPERATOR FAMILY float2_l2_ops USING hnsw_mmap ADD
	OPERATOR 1 <-> (float2[], real[]) FOR ORDER BY float_ops;
COMMENT ON OPERATOR CLASS float2_l2_ops USING hnsw_mmap IS 'float2[] by Euclidean distance';

CREATE OPERATOR CLASS float2_ip_ops FOR TYPE float2[] USING hnsw_mmap AS
	OPERATOR 1 <#> (float2[], float2[]) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_float2_ip_support(internal);
ALTER OPERATOR FAMILY float2_ip_ops USING hnsw_mmap ADD
	OPERATOR 1 <#> (float2[], real[]) FOR ORDER BY float_ops;
COMMENT ON OPERATOR CLASS float2_ip_ops USING hnsw_mmap IS 'float2[] by inner product, largest first';

CREATE OPERATOR CLASS float2_cosine_ops FOR TYPE float2[] USING hnsw_mmap AS
	OPERATOR 1 <=> (float2[], float2[]) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_float2_cosine_support(internal);
ALTER OPERATOR FAMILY float2_cosine_ops USING hnsw_mmap ADD
	OPERATOR 1 <=> (float2[], real[]) FOR ORDER BY float_ops;
COMMENT ON OPERATOR CLASS float2_cosine_ops USING hnsw_mmap IS 'float2[] by cosine distance';

CREATE OPERATOR CLASS extvec_l2_ops DEFAULT FOR TYPE extvec USING hnsw_mmap AS
	OPERATOR 1 <-> (extvec, extvec) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_extvec_l2_support(internal);
ALTER OPERATOR FAMILY extvec_l2_ops USING hnsw_mmap ADD
	OPERATOR 1 <-> (extvec, real[]) FOR ORDER BY float_ops,
	OPERATOR 1 <-> (extvec, float2[]) FOR ORDER BY float_ops;
COMMENT ON OPERATOR CLASS extvec_l2_ops USING hnsw_mmap IS 'vectors of attached files by Euclidean distance';

CREATE OPERATOR CLASS extvec_ip_ops FOR TYPE extvec USING hnsw_mmap AS
	OPERATOR 1 <#> (extvec, extvec) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_extvec_ip_support(internal);
ALTER OPERATOR FAMILY extvec_ip_ops USING hnsw_mmap ADD
	OPERATOR 1 <#> (extvec, real[]) FOR ORDER BY float_ops,
	OPERATOR 1 <#> (extvec, float2[]) FOR ORDER BY float_ops;
COMMENT ON OPERATOR CLASS extvec_ip_ops USING hnsw_mmap IS 'vectors of attached files by inner product, largest first';

CREATE OPERATOR CLASS extvec_cosine_ops FOR TYPE extvec USING hnsw_mmap AS
	OPERATOR 1 <=> (extvec, extvec) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_extvec_cosine_support(internal);
ALTER OPERATOR FAMILY extvec_cosine_ops USING hnsw_mmap ADD
	OPERATOR 1 <=> (extvec, real[]) FOR ORDER BY float_ops,
	OPERATOR 1 <=> (extvec, float2[]) FOR ORDER BY float_ops;
COMMENT ON OPERATOR CLASS extvec_cosine_ops USING hnsw_mmap IS 'vectors of attached files by cosine distance';

--
-- Functions
--

-- Both describe what this process sees, so they are not for parallel workers.
-- hnsw_mmap_stats is for those who may SELECT from the table, and for members
-- of pg_stat_scan_tables.  Its rows and tombstones count TIDs, dead ones
-- included; patches are neighbour lists that newer parts replace; bytes include
-- page headers.

CREATE FUNCTION hnsw_mmap_stats(
	index regclass,
	OUT elements bigint,
	OUT rows bigint,
	OUT unrankable bigint,
	OUT tombstones bigint,
	OUT log_entries bigint,
	OUT log_live bigint,
	OUT parts integer,
	OUT patches bigint,
	OUT merges bigint,
	OUT levels integer,
	OUT degree_min integer,
	OUT degree_avg double precision,
	OUT degree_max integer,
	OUT bytes_total bigint,
	OUT bytes_links bigint,
	OUT bytes_upper bigint,
	OUT bytes_patches bigint,
	OUT bytes_refs bigint,
	OUT bytes_postings bigint,
	OUT bytes_vectors bigint,
	OUT bytes_log bigint,
	OUT bytes_tombstones bigint,
	OUT bytes_free bigint,
	OUT bytes_per_element double precision,
	OUT dimension integer,
	OUT column_type text,
	OUT metric text,
	OUT vectors text,
	OUT m integer,
	OUT ef_construction integer,
	OUT incarnation text,
	OUT read_through text,
	OUT pages_verified bigint,
	OUT pages_overlaid bigint
) RETURNS record
	AS 'MODULE_PATHNAME', 'hm_sql_stats'
	LANGUAGE C VOLATILE STRICT PARALLEL RESTRICTED;
COMMENT ON FUNCTION hnsw_mmap_stats(regclass) IS 'what an hnsw_mmap index holds, how large its pieces are, and how this session reads it';

CREATE FUNCTION hnsw_mmap_index_file(index regclass) RETURNS bigint
	AS 'MODULE_PATHNAME', 'hm_sql_index_file'
	LANGUAGE C VOLATILE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_index_file(regclass) IS 'number of the attached file that an index on extvec was built over, NULL if it has no vector yet';

-- The attached files, and the indexes over each, of those that the user may ask
-- hnsw_mmap_index_file about.

CREATE VIEW hnsw_mmap_files AS
	WITH candidates AS MATERIALIZED (
		SELECT c.oid AS index
		  FROM pg_index AS i
		  JOIN pg_class AS c ON c.oid = i.indexrelid
		  JOIN pg_am AS a ON a.oid = c.relam
		  JOIN pg_opclass AS o ON o.oid = i.indclass[0]
		 WHERE a.amname = 'hnsw_mmap' AND c.relkind = 'i' AND i.indisvalid AND o.opcintype = 'extvec'::regtype
		   AND (c.relpersistence <> 't' OR c.relnamespace = pg_my_temp_schema())
		   AND (has_table_privilege(i.indrelid, 'SELECT') OR pg_has_role('pg_stat_scan_tables', 'USAGE'))
	), used AS MATERIALIZED (
		SELECT index, hnsw_mmap_index_file(index) AS number FROM candidates
	)
	SELECT f.name, f.number, f.path, f.format, f.dtype, f.rows, f.dim, f.bytes, f.resident_bytes,
		   ARRAY(SELECT u.index::regclass FROM used AS u WHERE u.number = f.number ORDER BY u.index) AS indexes,
		   f.problem
	  FROM hnsw_mmap_file_list() AS f;
COMMENT ON VIEW hnsw_mmap_files IS 'files that are attached in this database, and the indexes over them';
GRANT SELECT ON hnsw_mmap_files TO PUBLIC;

CREATE FUNCTION hnsw_mmap_last_scan(
	OUT index regclass,
	OUT distances bigint,
	OUT expanded bigint,
	OUT vectors_mmap bigint,
	OUT vectors_buffers bigint,
	OUT vectors_absent bigint,
	OUT pages_verified bigint,
	OUT pages_overlaid bigint,
	OUT resumptions bigint,
	OUT sweeps bigint,
	OUT dropped bigint,
	OUT log_entries bigint,
	OUT rows bigint,
	OUT kernels text
) RETURNS record
	AS 'MODULE_PATHNAME', 'hm_sql_last_scan'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION hnsw_mmap_last_scan() IS 'what this session''s last scan of an hnsw_mmap index did';

--
-- Merging
--

-- hnsw_mmap_merge is for the table's owner, and for who may MAINTAIN it from 17.
-- It waits for other merges of the index, and keeps neither readers nor writers
-- nor VACUUM waiting.  Of hnsw_mmap_merge_progress everybody sees the merges of
-- his own processes and indexes, members of pg_read_all_stats all of them.

CREATE FUNCTION hnsw_mmap_merge(
	index regclass,
	full boolean DEFAULT false,
	OUT log_entries bigint,
	OUT inserted bigint,
	OUT duplicates bigint,
	OUT dropped bigint,
	OUT repaired bigint,
	OUT linked bigint,
	OUT parts_folded bigint,
	OUT blocks_written bigint,
	OUT distances bigint
) RETURNS record
	AS 'MODULE_PATHNAME', 'hm_sql_merge'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION hnsw_mmap_merge(regclass, boolean) IS 'merges the log of an hnsw_mmap index into its graph, or, if full, makes one part of it all';

CREATE FUNCTION hnsw_mmap_merge_progress(
	OUT pid integer,
	OUT index regclass,
	OUT phase text,
	OUT done bigint,
	OUT total bigint
) RETURNS SETOF record
	AS 'MODULE_PATHNAME', 'hm_sql_merge_progress'
	LANGUAGE C VOLATILE PARALLEL RESTRICTED;
COMMENT ON FUNCTION hnsw_mmap_merge_progress() IS 'merges of hnsw_mmap indexes that are going on in this database';

--
-- Verification
--

-- Damage is an error, XX002.  For those who may SELECT from the table, and for
-- members of pg_stat_scan_tables; full comparison evaluates index expressions
-- as the owner of the table.  The blocks_ columns add up to blocks_total;
-- table_rows is NULL without full.

CREATE FUNCTION hnsw_mmap_check(
	index regclass,
	full boolean DEFAULT false,
	OUT elements bigint,
	OUT live_elements bigint,
	OUT unreachable bigint,
	OUT rows bigint,
	OUT dead_rows bigint,
	OUT log_entries bigint,
	OUT log_live bigint,
	OUT log_pages bigint,
	OUT parts bigint,
	OUT patches bigint,
	OUT levels bigint,
	OUT blocks_total bigint,
	OUT blocks_metapage bigint,
	OUT blocks_parts bigint,
	OUT blocks_tombstones bigint,
	OUT blocks_log bigint,
	OUT blocks_free bigint,
	OUT blocks_retired bigint,
	OUT blocks_pending bigint,
	OUT blocks_lost bigint,
	OUT blocks_behind_end bigint,
	OUT unreachable_share double precision,
	OUT table_rows bigint
) RETURNS record
	AS 'MODULE_PATHNAME', 'hm_sql_check'
	LANGUAGE C VOLATILE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION hnsw_mmap_check(regclass, boolean) IS 'raises an error if an hnsw_mmap index is damaged, or if full if it does not fit its table; returns what it consists of';

--
-- Graphs and vectors of others
--

-- Files are new ones on the server, written for members of
-- pg_write_server_files who may SELECT what is in them.

CREATE FUNCTION hnsw_mmap_export_vectors(
	"table" regclass,
	"column" name,
	path text,
	order_by name DEFAULT NULL,
	dtype text DEFAULT 'f2',
	OUT rows bigint,
	OUT dim integer
) RETURNS record
	AS 'MODULE_PATHNAME', 'hm_sql_export_vectors'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION hnsw_mmap_export_vectors(regclass, name, text, name, text) IS 'writes a column''s vectors to a new .npy file, in the order of the primary key or of another column';

CREATE FUNCTION hnsw_mmap_export_graph(
	index regclass,
	path text,
	label_column name DEFAULT NULL,
	format text DEFAULT 'hnswlib-mmap',
	OUT elements bigint,
	OUT levels integer,
	OUT dropped bigint,
	OUT unlisted bigint
) RETURNS record
	AS 'MODULE_PATHNAME', 'hm_sql_export_graph'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION hnsw_mmap_export_graph(regclass, text, name, text) IS 'writes the graph of an hnsw_mmap index to a new file of hnswlib or hnswlib-mmap';

-- For members of pg_read_server_files who may create an index on the table.

CREATE FUNCTION hnsw_mmap_import_graph(
	path text,
	"table" regclass,
	"column" name,
	opclass text DEFAULT NULL,
	index_name name DEFAULT NULL,
	label_column name DEFAULT NULL,
	vectors text DEFAULT NULL
) RETURNS regclass
	AS 'MODULE_PATHNAME', 'hm_sql_import_graph'
	LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION hnsw_mmap_import_graph(text, regclass, name, text, name, name, text) IS 'creates an hnsw_mmap index from a graph that hnswlib or hnswlib-mmap wrote';
