/*-------------------------------------------------------------------------
 *
 * tiers.h
 *	  What the files of src/simd share: which tiers are compiled in, their
 *	  kernel tables, and the probe that tells whether they can run.
 *
 * Private to src/simd and its tests; everyone else includes simd/simd.h.
 *
 *-------------------------------------------------------------------------
 */
#ifndef HM_SIMD_TIERS_H
#define HM_SIMD_TIERS_H

#include "simd/simd.h"

/*
 * Kernels beyond the baseline of the architecture carry a target attribute
 * rather than being in files compiled with other flags: PGXS compiles every
 * file twice, once to LLVM bitcode, with the same flags.
 */
#if defined(__x86_64__) && defined(__GNUC__)
#define HM_SIMD_X86 1
#elif defined(__aarch64__) && defined(__GNUC__)
#define HM_SIMD_ARM64 1
#endif

/* What both the processor and the operating system let us use. */
typedef struct HmCpu
{
	bool		avx2;			/* AVX2, FMA and F16C; YMM state is saved */
	bool		avx512;			/* and AVX-512 F, BW, DQ, VL; opmask and ZMM
								 * state is saved */
	bool		avx512_vnni;	/* and AVX-512 VNNI */
	bool		neon;
} HmCpu;

extern HmCpu hm_cpu_probe(void);

extern const HmKernels hm_kernels_serial;

#ifdef HM_SIMD_X86
extern const HmKernels hm_kernels_avx2;
extern const HmKernels hm_kernels_avx512;
extern const HmKernels hm_kernels_avx512_vnni;	/* differs in dot_i8 only */
#endif

#ifdef HM_SIMD_ARM64
extern const HmKernels hm_kernels_neon;
#endif

/* The members of a kernel table that simd/kernel_template.h generates. */
#define HM_TEMPLATE_KERNELS(tier) \
	.l2sq_f32 = hm_l2sq_f32_##tier, \
	.l2sq_f32_f16 = hm_l2sq_f32_f16_##tier, \
	.l2sq_f16 = hm_l2sq_f16_##tier, \
	.dot_f32 = hm_dot_f32_##tier, \
	.dot_f32_f16 = hm_dot_f32_f16_##tier, \
	.dot_f16 = hm_dot_f16_##tier, \
	.dot_norms_f32 = hm_dot_norms_f32_##tier, \
	.dot_norms_f32_f16 = hm_dot_norms_f32_f16_##tier, \
	.dot_norms_f16 = hm_dot_norms_f16_##tier, \
	.f32_to_f16 = hm_f32_to_f16_##tier, \
	.f16_to_f32 = hm_f16_to_f32_##tier

#endif							/* HM_SIMD_TIERS_H */
