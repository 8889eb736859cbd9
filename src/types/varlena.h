/*-------------------------------------------------------------------------
 *
 * varlena.h
 *	  Values of varying length in bytes that nobody vouches for.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_TYPES_VARLENA_H
#define HM_TYPES_VARLENA_H

#include "postgres.h"

#include "compat.h"

/*
 * The bytes of a plain varlena value behind its length word, 1 or 4 bytes long,
 * and in *size how many; NULL if the value is compressed or out of line, or does
 * not fit into what is available.  Nothing is read outside that, and each number
 * is used only after it was copied and checked, so that bytes that change
 * meanwhile do no harm.
 */
static inline const char *
hm_untrusted_payload(const char *attribute, size_t available, size_t *size)
{
	union
	{
		varattrib_1b shorter;
		varattrib_4b longer;
	}			start;

	if (available < VARHDRSZ_SHORT)
		return NULL;

	/* The first byte tells the forms apart. */
	memset(&start, 0, sizeof(start));
	memcpy(&start, attribute, VARHDRSZ_SHORT);
	if (VARATT_IS_1B_E(&start))
		return NULL;
	if (VARATT_IS_1B(&start))
	{
		size_t		length = VARSIZE_1B(&start);

		if (length > available)
			return NULL;
		*size = length - VARHDRSZ_SHORT;
		return attribute + VARHDRSZ_SHORT;
	}

	/* Take it again as part of the length word, which then decides alone. */
	if (available < VARHDRSZ)
		return NULL;
	memcpy(&start, attribute, VARHDRSZ);
	if (!VARATT_IS_4B_U(&start) ||
		VARSIZE_4B(&start) < VARHDRSZ || VARSIZE_4B(&start) > available)
		return NULL;
	*size = VARSIZE_4B(&start) - VARHDRSZ;
	return attribute + VARHDRSZ;
}

#endif							/* HM_TYPES_VARLENA_H */
