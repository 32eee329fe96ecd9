// SPDX-License-Identifier: Apache-2.0
/* Kernels that read and write bfloat16 themselves, for the few operators whose arithmetic is so short that
 * the conversion through blocks costs as much as the memory (HC_EW_BF16 of elementwise.h). Computed in float,
 * as ever. */
#pragma once
#include "elementwise.h"

#ifdef HC_ISA
#include "simd.h"

/* y = expression of the vf x; `prepare` may declare what it needs from args. */
#define HC_EW_BODY1_BF16(name, prepare, expression)                                                          \
    static inline __attribute__((always_inline)) vf name##_of(vf x, const void *args) {                      \
        (void)args;                                                                                          \
        prepare;                                                                                             \
        return (expression);                                                                                 \
    }                                                                                                        \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        hc_bf16 *y = out[0];                                                                                 \
        const hc_bf16 *x = in[0];                                                                            \
        size_t i = 0;                                                                                        \
        for (; i + 2 * HC_VL <= n; i += 2 * HC_VL) {                                                         \
            vf even, odd;                                                                                    \
            vf_load_bf16_apart(x + i, &even, &odd);                                                          \
            vf_store_bf16_apart(y + i, name##_of(even, args), name##_of(odd, args));                         \
        }                                                                                                    \
        for (; i + HC_VL <= n; i += HC_VL) vf_store_bf16(y + i, name##_of(vf_load_bf16(x + i), args));       \
        if (i < n) vf_store_bf16_part(y + i, name##_of(vf_load_bf16_part(x + i, n - i), args), n - i);       \
    }
/* The float scalar argument, for `prepare`. */
#define HC_EW_SCALAR_S const float s = ((const struct hc_ew_scalar *)args)->F32
/* A kernel over float32 memory: y = expression of the vf x and the float scalar argument s. */
#define HC_EW_BODY1_VF_SCALAR(name, expression)                                                              \
    static inline __attribute__((always_inline)) vf name##_of(vf x, const void *args) {                      \
        HC_EW_SCALAR_S;                                                                                      \
        return (expression);                                                                                 \
    }                                                                                                        \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        float *y = out[0];                                                                                   \
        const float *x = in[0];                                                                              \
        size_t i = 0;                                                                                        \
        for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, name##_of(vf_load(x + i), args));                 \
        if (i < n) vf_store_part(y + i, name##_of(vf_load_part(x + i, n - i), args), n - i);                 \
    }
/* y = expression of the vf a and b. */
#define HC_EW_BODY2_BF16(name, prepare, expression)                                                          \
    static inline __attribute__((always_inline)) vf name##_of(vf a, vf b, const void *args) {                \
        (void)args;                                                                                          \
        prepare;                                                                                             \
        return (expression);                                                                                 \
    }                                                                                                        \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        hc_bf16 *y = out[0];                                                                                 \
        const hc_bf16 *a = in[0], *b = in[1];                                                                \
        size_t i = 0;                                                                                        \
        for (; i + 2 * HC_VL <= n; i += 2 * HC_VL) {                                                         \
            vf a0, a1, b0, b1;                                                                               \
            vf_load_bf16_apart(a + i, &a0, &a1);                                                             \
            vf_load_bf16_apart(b + i, &b0, &b1);                                                             \
            vf_store_bf16_apart(y + i, name##_of(a0, b0, args), name##_of(a1, b1, args));                    \
        }                                                                                                    \
        for (; i + HC_VL <= n; i += HC_VL)                                                                   \
            vf_store_bf16(y + i, name##_of(vf_load_bf16(a + i), vf_load_bf16(b + i), args));                 \
        if (i < n) {                                                                                         \
            const vf last =                                                                                  \
                name##_of(vf_load_bf16_part(a + i, n - i), vf_load_bf16_part(b + i, n - i), args);           \
            vf_store_bf16_part(y + i, last, n - i);                                                          \
        }                                                                                                    \
    }
/* y = expression of the vf a, b and c. */
#define HC_EW_BODY3_BF16(name, prepare, expression)                                                          \
    static inline __attribute__((always_inline)) vf name##_of(vf a, vf b, vf c, const void *args) {          \
        (void)args;                                                                                          \
        prepare;                                                                                             \
        return (expression);                                                                                 \
    }                                                                                                        \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        hc_bf16 *y = out[0];                                                                                 \
        const hc_bf16 *a = in[0], *b = in[1], *c = in[2];                                                    \
        size_t i = 0;                                                                                        \
        for (; i + 2 * HC_VL <= n; i += 2 * HC_VL) {                                                         \
            vf a0, a1, b0, b1, c0, c1;                                                                       \
            vf_load_bf16_apart(a + i, &a0, &a1);                                                             \
            vf_load_bf16_apart(b + i, &b0, &b1);                                                             \
            vf_load_bf16_apart(c + i, &c0, &c1);                                                             \
            vf_store_bf16_apart(y + i, name##_of(a0, b0, c0, args), name##_of(a1, b1, c1, args));            \
        }                                                                                                    \
        for (; i + HC_VL <= n; i += HC_VL)                                                                   \
            vf_store_bf16(y + i,                                                                             \
                          name##_of(vf_load_bf16(a + i), vf_load_bf16(b + i), vf_load_bf16(c + i), args));   \
        if (i < n) {                                                                                         \
            const vf last = name##_of(vf_load_bf16_part(a + i, n - i), vf_load_bf16_part(b + i, n - i),      \
                                      vf_load_bf16_part(c + i, n - i), args);                                \
            vf_store_bf16_part(y + i, last, n - i);                                                          \
        }                                                                                                    \
    }
#endif
