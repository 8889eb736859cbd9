/*-------------------------------------------------------------------------
 *
 * dispatch.c
 *	  Which tier's kernels are in use.
 *
 *-------------------------------------------------------------------------
 */
#include "simd/tiers.h"

const HmKernels *hm_kernels = &hm_kernels_serial;

/*
 * Asks the processor once: CPUID is slow, and traps under a hypervisor.
 */
static HmCpu
this_cpu(void)
{
	static bool probed = false;
	static HmCpu cpu;

	if (!probed)
	{
		cpu = hm_cpu_probe();
		probed = true;
	}
	return cpu;
}

const HmKernels *
hm_simd_kernels(HmSimdTier tier)
{
	HmCpu		cpu = this_cpu();

	if (tier == HM_SIMD_SERIAL)
		return &hm_kernels_serial;
#ifdef HM_SIMD_X86
	if (tier == HM_SIMD_AVX2 && cpu.avx2)
		return &hm_kernels_avx2;
	if (tier == HM_SIMD_AVX512 && cpu.avx512_vnni)
		return &hm_kernels_avx512_vnni;
	if (tier == HM_SIMD_AVX512 && cpu.avx512)
		return &hm_kernels_avx512;
#endif
#ifdef HM_SIMD_ARM64
	if (tier == HM_SIMD_NEON && cpu.neon)
		return &hm_kernels_neon;
#endif
	(void) cpu;
	return NULL;
}

bool
hm_simd_supported(HmSimdTier tier)
{
	return hm_simd_kernels(tier) != NULL;
}

bool
hm_simd_force(HmSimdTier tier)
{
	const HmKernels *kernels = hm_simd_kernels(tier);

	if (kernels == NULL)
		return false;
	hm_kernels = kernels;
	return true;
}

void
hm_simd_init(void)
{
	/* Tiers of one architecture are numbered from slow to fast. */
	for (int tier = HM_SIMD_TIERS - 1; tier >= 0; tier--)
	{
		if (hm_simd_force((HmSimdTier) tier))
			break;
	}
}

const char *
hm_simd_tier_name(HmSimdTier tier)
{
	switch (tier)
	{
		case HM_SIMD_SERIAL:
			return "serial";
		case HM_SIMD_AVX2:
			return "avx2";
		case HM_SIMD_AVX512:
			return "avx512";
		case HM_SIMD_NEON:
			return "neon";
		case HM_SIMD_TIERS:
			break;
	}
	return "unknown";
}
