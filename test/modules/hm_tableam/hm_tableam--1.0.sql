-- What it can do and cannot: hm_tableam.c.

CREATE FUNCTION hm_tableam_handler(internal) RETURNS table_am_handler
	AS 'MODULE_PATHNAME' LANGUAGE C STRICT;

CREATE ACCESS METHOD hm_tableam TYPE TABLE HANDLER hm_tableam_handler;
