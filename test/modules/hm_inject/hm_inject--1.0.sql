-- What each does: hm_inject.c.

CREATE FUNCTION hm_inject(point text, action text, skip int DEFAULT 0) RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;

CREATE FUNCTION hm_inject_release(point text) RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;

CREATE FUNCTION hm_inject_clear() RETURNS void
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;

CREATE FUNCTION hm_inject_waiting(point text) RETURNS int
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;

CREATE FUNCTION hm_inject_hits(point text) RETURNS bigint
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;
