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
#if defined(HC_ISA_avx2)
/* In its own instructions: 24 where the stages take 32. */
static inline __attribute__((always_inline)) void vf_transpose(vf *x) {
    vf pairs[8], fours[8];
    _Pragma("GCC unroll 4") for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_ps(x[i], x[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_ps(x[i], x[i + 1]);
    }
    _Pragma("GCC unroll 2") for (int i = 0; i < 8; i += 4) {
        _Pragma("GCC unroll 2") for (int h = 0; h < 2; h++) {
            const __m256d low = (__m256d)pairs[i + h], high = (__m256d)pairs[i + h + 2];
            fours[i + 2 * h] = (vf)_mm256_unpacklo_pd(low, high);
            fours[i + 2 * h + 1] = (vf)_mm256_unpackhi_pd(low, high);
        }
    }
    _Pragma("GCC unroll 4") for (int i = 0; i < 4; i++) {
        x[i] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x20);
        x[i + 4] = _mm256_permute2f128_ps(fours[i], fours[i + 4], 0x31);
    }
}
#else
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
#endif
