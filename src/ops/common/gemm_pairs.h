// SPDX-License-Identifier: Apache-2.0
/* Vectors of pairs of bfloat16 along k (kernel passes of gemm_pairs.c and gemm_amx.c only). */
#pragma once
#include "simd.h"

/* The first n of 32 elements, the rest zero. */
static inline vf load_pairs(const void *p, size_t n) {
    if (n >= 2 * HC_VL) return (vf)_mm512_loadu_si512(p);
    return (vf)_mm512_maskz_loadu_epi16((__mmask32)((1u << n) - 1), p);
}

/* HC_VL columns of two rows of B (rows of A^T), which lie `next` elements apart; 0: there is no second. */
static inline __m512i two_rows(const uint16_t *p, int64_t next, __mmask16 columns) {
    const __m512i low = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, p));
    if (next == 0) return low;
    const __m512i high = _mm512_cvtepu16_epi32(_mm256_maskz_loadu_epi16(columns, p + next));
    return _mm512_or_si512(low, _mm512_slli_epi32(high, 16));
}
