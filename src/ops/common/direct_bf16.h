// SPDX-License-Identifier: Apache-2.0
/* Kernels that read and write bfloat16 themselves, for the few operators whose arithmetic is so short that
 * the conversion through blocks costs as much as the memory (HC_EW_BF16 of elementwise.h). Computed in float,
 * as ever. */
#pragma once
#include "elementwise.h"

#ifdef HC_ISA
#include "simd.h"

/* n < HC_VL elements, the other lanes 0; nothing beyond them is read or written. */
static inline vf hc_load_bf16_part(const hc_bf16 *p, size_t n) {
    uint16_t lanes[HC_VL] = {0};
    memcpy(lanes, p, n * sizeof *p);
    return vf_load_bf16(lanes);
}
static inline void hc_store_bf16_part(hc_bf16 *p, vf x, size_t n) {
    uint16_t lanes[HC_VL];
    vf_store_bf16(lanes, x);
    memcpy(p, lanes, n * sizeof *p);
}

/* y = expression of the vf x and the float s, the scalar argument. */
#define HC_EW_BODY1_BF16(name, expression)                                                                   \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        hc_bf16 *y = out[0];                                                                                 \
        const hc_bf16 *x_ = in[0];                                                                           \
        const float s = ((const struct hc_ew_scalar *)args)->F32;                                            \
        size_t i = 0;                                                                                        \
        for (; i + HC_VL <= n; i += HC_VL) {                                                                 \
            const vf x = vf_load_bf16(x_ + i);                                                               \
            vf_store_bf16(y + i, (expression));                                                              \
        }                                                                                                    \
        if (i < n) {                                                                                         \
            const vf x = hc_load_bf16_part(x_ + i, n - i);                                                   \
            hc_store_bf16_part(y + i, (expression), n - i);                                                  \
        }                                                                                                    \
    }
/* y = expression of the vf a and b; `prepare` may declare what it needs from args. */
#define HC_EW_BODY2_BF16(name, prepare, expression)                                                          \
    void HC_FN(name)(size_t n, void *const *out, const void *const *in, const void *args) {                  \
        hc_bf16 *y = out[0];                                                                                 \
        const hc_bf16 *a_ = in[0], *b_ = in[1];                                                              \
        (void)args;                                                                                          \
        prepare;                                                                                             \
        size_t i = 0;                                                                                        \
        for (; i + HC_VL <= n; i += HC_VL) {                                                                 \
            const vf a = vf_load_bf16(a_ + i), b = vf_load_bf16(b_ + i);                                     \
            vf_store_bf16(y + i, (expression));                                                              \
        }                                                                                                    \
        if (i < n) {                                                                                         \
            const vf a = hc_load_bf16_part(a_ + i, n - i), b = hc_load_bf16_part(b_ + i, n - i);             \
            hc_store_bf16_part(y + i, (expression), n - i);                                                  \
        }                                                                                                    \
    }
#endif
