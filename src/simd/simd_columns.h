// SPDX-License-Identifier: Apache-2.0
/* Sums and maxima down HC_VL columns of floats, element i of a column at x[i * pitch]. Additions are those of
 * HC_ROW_SUM along a row, in the same order, so that a column has the bits that it would have as a row: each
 * lane of a row's sums is a vector of columns here (kernel passes only). */
#pragma once
#include "simd_rows.h"

/* The lanes of the four sums of a row, for HC_VL columns. */
enum { HC_COLUMN_SLOTS = 4 * HC_VL };

/* The lane to which a row's sum adds element i of a block of n. */
static inline size_t hc_column_slot(size_t i, size_t n) {
    const size_t fours = n / HC_COLUMN_SLOTS * HC_COLUMN_SLOTS, full = n / HC_VL * HC_VL;
    if (i < fours) return i % HC_COLUMN_SLOTS;
    return i < full ? i % HC_VL : HC_VL + i % HC_VL;
}

/* As vf_sum4 and vf_reduce_add do: the four sums, then the lanes by halves. */
static inline void hc_column_join(double *sum, vf *slot) {
    for (size_t l = 0; l < HC_VL; l++)
        slot[l] = (slot[l] + slot[HC_VL + l]) + (slot[2 * HC_VL + l] + slot[3 * HC_VL + l]);
    for (size_t half = HC_VL / 2; half > 0; half /= 2) {
        for (size_t l = 0; l < half; l++) slot[l] += slot[l + half];
    }
    for (size_t c = 0; c < HC_VL; c++) sum[c] += (double)slot[0][c];
}

/* sum[c] += a sum over i < n for column c, where `value` is the vf of element `at` of HC_VL columns. */
#define HC_COLUMN_SUM(sum, n, value)                                                                         \
    do {                                                                                                     \
        for (size_t hc_block_at = 0; hc_block_at < (n); hc_block_at += HC_ROW_BLOCK) {                       \
            const size_t hc_count = hc_min_size((n) - hc_block_at, HC_ROW_BLOCK);                            \
            vf hc_slot[HC_COLUMN_SLOTS];                                                                     \
            for (size_t hc_l = 0; hc_l < HC_COLUMN_SLOTS; hc_l++) hc_slot[hc_l] = vf_zero();                 \
            for (size_t hc_i = 0; hc_i < hc_count; hc_i++) {                                                 \
                const size_t at = hc_block_at + hc_i;                                                        \
                hc_slot[hc_column_slot(hc_i, hc_count)] += (value);                                          \
            }                                                                                                \
            hc_column_join(sum, hc_slot);                                                                    \
        }                                                                                                    \
    } while (0)

/* The largest of each column that is a number, -inf for none. */
static inline vf vf_column_max(const float *x, size_t n, size_t pitch) {
    const vf low = vf_set(-__builtin_inff());
    vf m[4] = {low, low, low, low};
    size_t i = 0;
    for (; i + 4 <= n; i += 4) {
        _Pragma("GCC unroll 4") for (size_t u = 0; u < 4; u++) m[u] =
            vf_max_number(vf_load(x + (i + u) * pitch), m[u]);
    }
    for (; i < n; i++) m[0] = vf_max_number(vf_load(x + i * pitch), m[0]);
    return vf_max_number(vf_max_number(m[0], m[1]), vf_max_number(m[2], m[3]));
}
