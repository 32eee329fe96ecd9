// SPDX-License-Identifier: Apache-2.0
/* Kernels: functions compiled once per instruction set from one source.
 *
 * A file with kernels has two halves. `#ifdef HC_ISA` is compiled once per instruction set and defines
 * functions HC_FN(name); `#else` is compiled once. HC_KERNEL, before both, declares the kernel for every set,
 * so that a definition with another signature does not compile. HC_KERNEL_BF16 declares one that only sets
 * with dot products of bfloat16 have: HC_DISPATCH of it is NULL elsewhere, and its file names
 * HC_ISA_avx512bf16. HC_KERNEL_VNNI does the same for dot products of int8, HC_ISA_avx512vnni, and
 * HC_KERNEL_AMX for products of tiles, HC_ISA_amx. */
#pragma once
#include "hc_isa.h"

/* The symbol of a kernel for one instruction set: scale_f32__avx2. */
#define HC_ISA_SYMBOL(name, isa) HC_PASTE(name##__, isa)
#define HC_FN(name) HC_ISA_SYMBOL(name, HC_ISA)

/* A kernel that is not there is an error of the linker, but in a build for part of the sets (HC_ONLY in
 * cmake/isa.cmake): there it is NULL in its table, where hc_isa() never looks. */
#ifdef HC_BUILT
#define HC_LINKED __attribute__((weak))
#else
#define HC_LINKED
#endif
#if defined(__x86_64__)
#define HC_KERNEL(name, params)                                                                              \
    void name##__scalar params HC_LINKED;                                                                    \
    void name##__avx2 params HC_LINKED;                                                                      \
    void name##__avx512 params HC_LINKED;                                                                    \
    typedef void name##_fn params;                                                                           \
    static name##_fn *const name##_table[] __attribute__((unused)) = {                                       \
        name##__scalar, name##__avx2, name##__avx512, name##__avx512, name##__avx512, name##__avx512};
#define HC_KERNEL_VNNI(name, params)                                                                         \
    void name##__avx512vnni params HC_LINKED;                                                                \
    typedef void name##_fn params;                                                                           \
    static name##_fn *const name##_table[] __attribute__((unused)) = {                                       \
        NULL, NULL, NULL, name##__avx512vnni, name##__avx512vnni, name##__avx512vnni};
#define HC_KERNEL_BF16(name, params)                                                                         \
    void name##__avx512bf16 params HC_LINKED;                                                                \
    typedef void name##_fn params;                                                                           \
    static name##_fn *const name##_table[]                                                                   \
        __attribute__((unused)) = {NULL, NULL, NULL, NULL, name##__avx512bf16, name##__avx512bf16};
#define HC_KERNEL_AMX(name, params)                                                                          \
    void name##__amx params HC_LINKED;                                                                       \
    typedef void name##_fn params;                                                                           \
    static name##_fn *const name##_table[]                                                                   \
        __attribute__((unused)) = {NULL, NULL, NULL, NULL, NULL, name##__amx};
#else
#define HC_KERNEL(name, params)                                                                              \
    void name##__neon params HC_LINKED;                                                                      \
    typedef void name##_fn params;                                                                           \
    static name##_fn *const name##_table[] __attribute__((unused)) = {name##__neon};
#define HC_KERNEL_BF16(name, params)                                                                         \
    typedef void name##_fn params;                                                                           \
    static name##_fn *const name##_table[] __attribute__((unused)) = {NULL};
#define HC_KERNEL_VNNI HC_KERNEL_BF16
#define HC_KERNEL_AMX HC_KERNEL_BF16
#endif
/* The kernel for this CPU: a function pointer. */
#define HC_DISPATCH(name) (name##_table[hc_isa()])
