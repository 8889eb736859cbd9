/*-------------------------------------------------------------------------
 *
 * page.c
 *	  The mechanical bytes of a page: identity, CRC, initialisation.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "port/pg_crc32c.h"
#include "storage/page.h"

#define CRC_OFFSET	(HM_IDENTITY_OFFSET + offsetof(HmPageIdentity, crc))

void
hm_page_init(Page page, const HmPageName *name)
{
	PageHeader	header = (PageHeader) page;
	HmPageIdentity *identity = HmPageGetIdentity(page);

	PageInit(page, BLCKSZ, 0);
	header->pd_lower = header->pd_upper = header->pd_special = SizeOfPageHeaderData;

	identity->magic = HM_MAGIC;
	identity->version = HM_FORMAT_VERSION;
	identity->kind = name->kind;
	identity->incarnation = name->incarnation;
	identity->part = name->part;
	identity->array = name->array;
	identity->page = name->page;
}

uint32
hm_page_crc(const char *page)
{
	pg_crc32c	crc;

	INIT_CRC32C(crc);
	COMP_CRC32C(crc, page + HM_IDENTITY_OFFSET, CRC_OFFSET - HM_IDENTITY_OFFSET);
	COMP_CRC32C(crc, page + HM_DATA_OFFSET, HM_PAGE_DATA);
	FIN_CRC32C(crc);
	return crc;
}

void
hm_page_seal(Page page)
{
	HmPageGetIdentity(page)->crc = hm_page_crc((const char *) page);
}

bool
hm_page_is(const char *page, const HmPageName *name)
{
	const HmPageIdentity *identity = HmPageGetIdentity(page);

	return identity->magic == HM_MAGIC &&
		identity->version == HM_FORMAT_VERSION &&
		identity->kind == name->kind &&
		identity->incarnation == name->incarnation &&
		identity->part == name->part &&
		identity->array == name->array &&
		identity->page == name->page;
}

bool
hm_page_verify(const char *page, const HmPageName *name)
{
	return hm_page_is(page, name) &&
		HmPageGetIdentity(page)->crc == hm_page_crc(page);
}
