// SPDX-License-Identifier: Apache-2.0
/* Instruction sets that kernels are compiled for, weakest first, and the one in use. */
#pragma once
#include "hc_util.h"

/* X(name): the lists of cmake/isa.cmake and of this macro are the same. avx512vnni is avx512 with dot
 * products of int8, avx512bf16 that with those of bfloat16, and amx that with products of tiles of them: few
 * kernels have code for any (HC_KERNEL_VNNI, HC_KERNEL_BF16 and HC_KERNEL_AMX of hc_kernel.h). */
#if defined(__x86_64__)
#define HC_FOR_ISAS(X) X(scalar) X(avx2) X(avx512) X(avx512vnni) X(avx512bf16) X(amx)
#elif defined(__aarch64__)
#define HC_FOR_ISAS(X) X(neon)
#else
#error "x86-64 and aarch64 are supported"
#endif

enum hc_isa_id {
#define X(name) HC_ISA_ID_##name,
    HC_FOR_ISAS(X)
#undef X
        HC_ISA_COUNT
};

/* Index of the instruction set in use: the best the CPU has, or the weaker one that HC_ISA names. Constant.
 */
HC_SHARED int hc_isa(void);
HC_SHARED const char *hc_isa_name(int isa);
/* Whether this CPU can run it, and the system lets this process. */
HC_SHARED bool hc_isa_available(int isa);
/* Non-zero with an error text if HC_ISA names a set that the CPU lacks. */
HC_SHARED int hc_isa_validate(void);
