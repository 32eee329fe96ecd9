// SPDX-License-Identifier: Apache-2.0
/* Sums and maxima over a contiguous row of floats or bfloat16: blocks of 1024 in vectors, blocks added up in
 * double. Within a block four vectors are summed side by side, so that additions do not wait for each other;
 * the error of a sum is that of 1024 / (4 * lanes) float additions, whatever the length of the row. The order
 * depends on the length and the instruction set only. */
#pragma once
#include "simd.h"

enum { HC_ROW_BLOCK = 1024 };

/* The first n < HC_VL lanes of x, the others `fill`. */
static inline vf vf_fill(vf x, size_t n, float fill) {
    static const int32_t LANE[16] = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
    return vf_select(*(const vi_unaligned *)LANE < (int32_t)n, x, vf_set(fill));
}
static inline vf vf_load_fill(const float *p, size_t n, float fill) {
    return vf_fill(vf_load_part(p, n), n, fill);
}

/* The four sums of a block, in a fixed order. */
static inline double vf_sum4(const vf *s) { return (double)vf_reduce_add((s[0] + s[1]) + (s[2] + s[3])); }

/* result += a sum over i < n: load_full is the vf of elements from `at`, load_tail that of the last `rest`
 * ones, zero elsewhere. */
#define HC_ROW_SUM(result, n, load_full, load_tail)                                                          \
    do {                                                                                                     \
        for (size_t hc_block_at = 0; hc_block_at < (n); hc_block_at += HC_ROW_BLOCK) {                       \
            const size_t hc_end = hc_min_size((n), hc_block_at + HC_ROW_BLOCK);                              \
            vf hc_sums[4] = {vf_zero(), vf_zero(), vf_zero(), vf_zero()};                                    \
            size_t i = hc_block_at;                                                                          \
            for (; i + 4 * HC_VL <= hc_end; i += 4 * HC_VL) {                                                \
                _Pragma("GCC unroll 4") for (size_t hc_u = 0; hc_u < 4; hc_u++) {                            \
                    const size_t at = i + hc_u * HC_VL;                                                      \
                    hc_sums[hc_u] += (load_full);                                                            \
                }                                                                                            \
            }                                                                                                \
            for (; i + HC_VL <= hc_end; i += HC_VL) {                                                        \
                const size_t at = i;                                                                         \
                hc_sums[0] += (load_full);                                                                   \
            }                                                                                                \
            if (i < hc_end) {                                                                                \
                const size_t at = i, rest = hc_end - i;                                                      \
                hc_sums[1] += (load_tail);                                                                   \
            }                                                                                                \
            (result) += vf_sum4(hc_sums);                                                                    \
        }                                                                                                    \
    } while (0)

static inline double vf_row_sum(const float *x, size_t n) {
    double sum = 0;
    HC_ROW_SUM(sum, n, vf_load(x + at), vf_load_part(x + at, rest));
    return sum;
}
static inline double vf_row_dot(const float *a, const float *b, size_t n) {
    double sum = 0;
    HC_ROW_SUM(sum, n, vf_load(a + at) * vf_load(b + at),
               vf_load_part(a + at, rest) * vf_load_part(b + at, rest));
    return sum;
}
/* The largest by max_of(value, so far), -inf for no values: vf_max gives NaN if any is, vf_max_number the
 * largest of those that are none, which is enough where a NaN shows in a sum of exponentials. load_full and
 * load_tail as for HC_ROW_SUM, with lanes that do not exist below all others. */
#define HC_ROW_MAX(result, n, max_of, load_full, load_tail)                                                  \
    do {                                                                                                     \
        const vf hc_low = vf_set(-__builtin_inff());                                                         \
        vf hc_m[4] = {hc_low, hc_low, hc_low, hc_low};                                                       \
        size_t i = 0;                                                                                        \
        for (; i + 4 * HC_VL <= (n); i += 4 * HC_VL) {                                                       \
            _Pragma("GCC unroll 4") for (size_t hc_u = 0; hc_u < 4; hc_u++) {                                \
                const size_t at = i + hc_u * HC_VL;                                                          \
                hc_m[hc_u] = max_of((load_full), hc_m[hc_u]);                                                \
            }                                                                                                \
        }                                                                                                    \
        for (; i + HC_VL <= (n); i += HC_VL) {                                                               \
            const size_t at = i;                                                                             \
            hc_m[0] = max_of((load_full), hc_m[0]);                                                          \
        }                                                                                                    \
        if (i < (n)) {                                                                                       \
            const size_t at = i, rest = (n) - i;                                                             \
            hc_m[1] = max_of((load_tail), hc_m[1]);                                                          \
        }                                                                                                    \
        (result) = vf_reduce_max(max_of(max_of(hc_m[0], hc_m[1]), max_of(hc_m[2], hc_m[3])));                \
    } while (0)

/* NaN if any is; -inf for no values. */
static inline float vf_row_max(const float *x, size_t n) {
    float max;
    HC_ROW_MAX(max, n, vf_max, vf_load(x + at), vf_load_fill(x + at, rest, -__builtin_inff()));
    return max;
}
