-- hnsw_mmap_pgvector 0.1.0

-- complain if the script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION hnsw_mmap_pgvector" to load this file. \quit

-- Operator classes for pgvector's types, on pgvector's operators and under the
-- names that pgvector gives to those of its own access methods.  The functions
-- are in hnsw_mmap's library.

DO $$
BEGIN
	IF to_regtype('halfvec') IS NULL THEN
		RAISE EXCEPTION USING
			ERRCODE = 'feature_not_supported',
			MESSAGE = 'hnsw_mmap_pgvector needs the type halfvec of pgvector 0.7.0 or later',
			HINT = 'Try ALTER EXTENSION vector UPDATE.';
	END IF;
END
$$;

--
-- Support functions
--

CREATE FUNCTION hnsw_mmap_vector_l2_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_vector_l2_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_vector_l2_support(internal) IS 'support function of vector_l2_ops';

CREATE FUNCTION hnsw_mmap_vector_ip_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_vector_ip_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_vector_ip_support(internal) IS 'support function of vector_ip_ops';

CREATE FUNCTION hnsw_mmap_vector_cosine_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_vector_cosine_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_vector_cosine_support(internal) IS 'support function of vector_cosine_ops';

CREATE FUNCTION hnsw_mmap_halfvec_l2_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_halfvec_l2_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_halfvec_l2_support(internal) IS 'support function of halfvec_l2_ops';

CREATE FUNCTION hnsw_mmap_halfvec_ip_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_halfvec_ip_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_halfvec_ip_support(internal) IS 'support function of halfvec_ip_ops';

CREATE FUNCTION hnsw_mmap_halfvec_cosine_support(internal) RETURNS internal
	AS 'MODULE_PATHNAME', 'hm_halfvec_cosine_support'
	LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION hnsw_mmap_halfvec_cosine_support(internal) IS 'support function of halfvec_cosine_ops';

--
-- Operator classes
--

CREATE OPERATOR CLASS vector_l2_ops DEFAULT FOR TYPE vector USING hnsw_mmap AS
	OPERATOR 1 <-> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_vector_l2_support(internal);
COMMENT ON OPERATOR CLASS vector_l2_ops USING hnsw_mmap IS 'vector by Euclidean distance';

CREATE OPERATOR CLASS vector_ip_ops FOR TYPE vector USING hnsw_mmap AS
	OPERATOR 1 <#> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_vector_ip_support(internal);
COMMENT ON OPERATOR CLASS vector_ip_ops USING hnsw_mmap IS 'vector by inner product, largest first';

CREATE OPERATOR CLASS vector_cosine_ops FOR TYPE vector USING hnsw_mmap AS
	OPERATOR 1 <=> (vector, vector) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_vector_cosine_support(internal);
COMMENT ON OPERATOR CLASS vector_cosine_ops USING hnsw_mmap IS 'vector by cosine distance';

CREATE OPERATOR CLASS halfvec_l2_ops DEFAULT FOR TYPE halfvec USING hnsw_mmap AS
	OPERATOR 1 <-> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_halfvec_l2_support(internal);
COMMENT ON OPERATOR CLASS halfvec_l2_ops USING hnsw_mmap IS 'halfvec by Euclidean distance';

CREATE OPERATOR CLASS halfvec_ip_ops FOR TYPE halfvec USING hnsw_mmap AS
	OPERATOR 1 <#> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_halfvec_ip_support(internal);
COMMENT ON OPERATOR CLASS halfvec_ip_ops USING hnsw_mmap IS 'halfvec by inner product, largest first';

CREATE OPERATOR CLASS halfvec_cosine_ops FOR TYPE halfvec USING hnsw_mmap AS
	OPERATOR 1 <=> (halfvec, halfvec) FOR ORDER BY float_ops,
	FUNCTION 1 hnsw_mmap_halfvec_cosine_support(internal);
COMMENT ON OPERATOR CLASS halfvec_cosine_ops USING hnsw_mmap IS 'halfvec by cosine distance';

-- Names were looked up in the schema of this extension first, then in those of
-- hnsw_mmap and vector.  A type or operator of such a name that is not pgvector's
-- must not have been taken for it: its values would be read as vectors.
DO $$
DECLARE
	stranger regoperator;
BEGIN
	SELECT member.amopopr INTO stranger
	  FROM pg_amop AS member
	  JOIN pg_opclass AS class ON class.opcfamily = member.amopfamily
	  JOIN pg_depend AS ours ON ours.classid = 'pg_opclass'::regclass::oid AND ours.objid = class.oid
	 WHERE ours.refclassid = 'pg_extension'::regclass::oid
	   AND ours.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'hnsw_mmap_pgvector')
	   AND member.amopopr NOT IN (
		SELECT theirs.objid
		  FROM pg_depend AS theirs
		 WHERE theirs.classid = 'pg_operator'::regclass::oid
		   AND theirs.refclassid = 'pg_extension'::regclass::oid
		   AND theirs.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'vector'))
	 LIMIT 1;
	IF FOUND THEN
		RAISE EXCEPTION USING
			ERRCODE = 'invalid_object_definition',
			MESSAGE = format('operator %s does not belong to the extension vector', stranger),
			HINT = 'Create the extension in the schema of the extension vector.';
	END IF;
END
$$;
