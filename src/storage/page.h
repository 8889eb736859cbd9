/*-------------------------------------------------------------------------
 *
 * page.h
 *	  The mechanical bytes of a page: identity, CRC, initialisation.
 *
 * Nothing here locks, logs or reads a buffer.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_STORAGE_PAGE_H
#define HM_STORAGE_PAGE_H

#include "storage/format.h"

/* What a page is expected to be. */
typedef struct HmPageName
{
	uint64		incarnation;
	uint32		part;
	uint16		kind;
	uint16		array;
	uint32		page;
} HmPageName;

/* Makes an empty page of that name: header, identity, zeroed data, no CRC yet. */
extern void hm_page_init(Page page, const HmPageName *name);

/* Stores the CRC of the page's present contents. */
extern void hm_page_seal(Page page);

/* True when the page carries that name.  The CRC is not looked at. */
extern bool hm_page_is(const char *page, const HmPageName *name);

/*
 * True when the page carries that name and its CRC matches.  Safe on bytes
 * that change meanwhile: it copies nothing and follows nothing.
 */
extern bool hm_page_verify(const char *page, const HmPageName *name);

/* The CRC a page should carry. */
extern uint32 hm_page_crc(const char *page);

#endif							/* HM_STORAGE_PAGE_H */
