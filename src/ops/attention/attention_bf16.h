// SPDX-License-Identifier: Apache-2.0
/* Vectors of floats as bfloat16, for products of attention's tiles on instruction sets that multiply those.
 */
#pragma once
#include "simd.h"

/* The upper half of each float, which is a bfloat16; cut off, so that nothing becomes infinite. */
static inline vf high_part(vf x) {
    return (vf)_mm512_and_si512((__m512i)x, _mm512_set1_epi32((int)0xffff0000u));
}

/* 16 elements each, one after the other, rounded to nearest, ties to even. */
static inline vf side_by_side(vf first, vf second) { return (vf)_mm512_cvtne2ps_pbh(second, first); }
/* By turns, rounded alike. */
static inline vf by_turns(vf even, vf odd) {
    static const uint16_t TURNS[] = {0, 16, 1, 17, 2,  18, 3,  19, 4,  20, 5,  21, 6,  22, 7,  23,
                                     8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31};
    return (vf)_mm512_permutexvar_epi16(_mm512_loadu_si512(TURNS), (__m512i)side_by_side(even, odd));
}
/* By turns; what is below the upper half is cut off. */
static inline vf in_pairs(vf even, vf odd) {
    return (vf)_mm512_or_si512(_mm512_srli_epi32((__m512i)even, 16), (__m512i)high_part(odd));
}

/* The first n floats, at most a vector of them; zeros behind. */
static inline vf first_of(const float *p, size_t n) {
    return n >= HC_VL ? vf_load(p) : (vf)_mm512_maskz_loadu_ps((__mmask16)((1u << n) - 1), p);
}

/* A row of floats along k as pairs, two vectors of which make one; what fills the last is zero. */
static inline void row_in_pairs(size_t steps, const float *row, float *to) {
    for (size_t k = 0; k < steps; k += 2 * HC_VL) {
        const size_t left = steps - k;
        const vf x = first_of(row + k, left),
                 y = left > HC_VL ? first_of(row + k + HC_VL, left - HC_VL) : vf_zero();
        vf_store(to + k / 2, side_by_side(x, y));
    }
}
