/*-------------------------------------------------------------------------
 *
 * cpu.c
 *	  Which instruction sets can be used on this machine.
 *
 * Nothing here may itself need more than the baseline, so there is no target
 * attribute in this file.
 *
 *-------------------------------------------------------------------------
 */
#include "simd/tiers.h"

#ifdef HM_SIMD_X86

#include <cpuid.h>

/* CPUID leaf 1, register ECX */
#define CPUID_1_ECX_FMA			(1U << 12)
#define CPUID_1_ECX_OSXSAVE		(1U << 27)
#define CPUID_1_ECX_AVX			(1U << 28)
#define CPUID_1_ECX_F16C		(1U << 29)

/* CPUID leaf 7, subleaf 0 */
#define CPUID_7_EBX_AVX2		(1U << 5)
#define CPUID_7_EBX_AVX512F		(1U << 16)
#define CPUID_7_EBX_AVX512DQ	(1U << 17)
#define CPUID_7_EBX_AVX512BW	(1U << 30)
#define CPUID_7_EBX_AVX512VL	(1U << 31)
#define CPUID_7_ECX_AVX512_VNNI (1U << 11)

/* XCR0: register state that the operating system saves at a task switch */
#define XCR0_SSE				(1U << 1)
#define XCR0_YMM_HIGH			(1U << 2)
#define XCR0_OPMASK				(1U << 5)
#define XCR0_ZMM_0_15_HIGH		(1U << 6)
#define XCR0_ZMM_16_31			(1U << 7)

#define NEED_AVX2_LEAF_1		(CPUID_1_ECX_FMA | CPUID_1_ECX_AVX | CPUID_1_ECX_F16C)
#define NEED_AVX512_LEAF_7		(CPUID_7_EBX_AVX512F | CPUID_7_EBX_AVX512DQ | \
								 CPUID_7_EBX_AVX512BW | CPUID_7_EBX_AVX512VL)
#define NEED_AVX2_XCR0			(XCR0_SSE | XCR0_YMM_HIGH)
#define NEED_AVX512_XCR0		(NEED_AVX2_XCR0 | XCR0_OPMASK | \
								 XCR0_ZMM_0_15_HIGH | XCR0_ZMM_16_31)

static inline bool
has_all(uint32_t bits, uint32_t needed)
{
	return (bits & needed) == needed;
}

/* The low half of XCR0.  Only where CPUID reports OSXSAVE. */
static uint32_t
read_xcr0(void)
{
	uint32_t	low;
	uint32_t	high;

	/* The intrinsic would need a target attribute. */
	__asm__ volatile ("xgetbv" : "=a" (low), "=d" (high) : "c" (0));
	(void) high;
	return low;
}

HmCpu
hm_cpu_probe(void)
{
	HmCpu		cpu = {0};
	uint32_t	eax;
	uint32_t	ebx;
	uint32_t	ecx;
	uint32_t	edx;
	uint32_t	leaf_1_ecx;
	uint32_t	xcr0;

	/*
	 * A processor that has the instructions is not enough: if the operating
	 * system (or the hypervisor) does not save the wider registers, the
	 * instructions trap.
	 */
	if (!__get_cpuid(1, &eax, &ebx, &leaf_1_ecx, &edx) ||
		!has_all(leaf_1_ecx, CPUID_1_ECX_OSXSAVE) ||
		!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		return cpu;

	xcr0 = read_xcr0();
	cpu.avx2 = has_all(leaf_1_ecx, NEED_AVX2_LEAF_1) &&
		has_all(ebx, CPUID_7_EBX_AVX2) &&
		has_all(xcr0, NEED_AVX2_XCR0);
	cpu.avx512 = cpu.avx2 &&
		has_all(ebx, NEED_AVX512_LEAF_7) &&
		has_all(xcr0, NEED_AVX512_XCR0);
	cpu.avx512_vnni = cpu.avx512 &&
		has_all(ecx, CPUID_7_ECX_AVX512_VNNI);
	return cpu;
}

#else							/* !HM_SIMD_X86 */

HmCpu
hm_cpu_probe(void)
{
	HmCpu		cpu = {0};

#ifdef HM_SIMD_ARM64
	cpu.neon = true;			/* part of the architecture */
#endif
	return cpu;
}

#endif							/* HM_SIMD_X86 */
