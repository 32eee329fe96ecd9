// SPDX-License-Identifier: Apache-2.0
/* A square of HC_VL x HC_VL floats transposed in registers (kernel passes only). */
#pragma once
#include "simd.h"

/* Swap the off-diagonal s x s blocks of each 2s x 2s block: log2(HC_VL) stages transpose. */
static inline __attribute__((always_inline)) void vf_transpose_stage(vf *x, int s) {
    vi low, high;
    for (int l = 0; l < HC_VL; l++) {
        low[l] = (l & s) == 0 ? l : HC_VL + l - s;
        high[l] = (l & s) == 0 ? l + s : HC_VL + l;
    }
    _Pragma("GCC unroll 16") for (int i = 0; i < HC_VL; i++) {
        if ((i & s) != 0) continue;
        const vf a = x[i], b = x[i + s];
        x[i] = __builtin_shuffle(a, b, low);
        x[i + s] = __builtin_shuffle(a, b, high);
    }
}
static inline __attribute__((always_inline)) void vf_transpose(vf *x) {
    vf_transpose_stage(x, 1);
    vf_transpose_stage(x, 2);
#if HC_VL >= 8
    vf_transpose_stage(x, 4);
#endif
#if HC_VL >= 16
    vf_transpose_stage(x, 8);
#endif
}
