// SPDX-License-Identifier: Apache-2.0
/* Kernels: functions compiled once per instruction set from one source.
 *
 * A file with kernels has two halves. `#ifdef HC_ISA` is compiled once per instruction set and defines
 * functions HC_FN(name); `#else` is compiled once. HC_KERNEL, before both, declares the kernel for every set,
 * so that a definition with another signature does not compile. */
#pragma once
#include "hc_isa.h"

/* The symbol of a kernel for one instruction set: scale_f32__avx2. */
#define HC_ISA_SYMBOL(name, isa) HC_PASTE(name##__, isa)
#define HC_FN(name) HC_ISA_SYMBOL(name, HC_ISA)

#if defined(__x86_64__)
#define HC_KERNEL(name, params)                                                                              \
    void name##__scalar params;                                                                              \
    void name##__avx2 params;                                                                                \
    void name##__avx512 params;                                                                              \
    typedef void name##_fn params;                                                                           \
    static name##_fn *const name##_table[]                                                                   \
        __attribute__((unused)) = {name##__scalar, name##__avx2, name##__avx512};
#else
#define HC_KERNEL(name, params)                                                                              \
    void name##__neon params;                                                                                \
    typedef void name##_fn params;                                                                           \
    static name##_fn *const name##_table[] __attribute__((unused)) = {name##__neon};
#endif
/* The kernel for this CPU: a function pointer. */
#define HC_DISPATCH(name) (name##_table[hc_isa()])
