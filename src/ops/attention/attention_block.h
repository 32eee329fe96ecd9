// SPDX-License-Identifier: Apache-2.0
/* A block of a product of attention's tiles, kept in registers: ATTN_ROWS rows of some vectors, one outer
 * product per step of k. The file that includes this has defined attn_step(a, b, c), which is c + a b of its
 * elements: floats, or pairs of bfloat16 that are as wide. */
#pragma once
#include "simd.h"

enum { ATTN_ROWS = 6 };

#define INLINE static inline __attribute__((always_inline))

/* c[rows][width vectors] from all k. rows and width are constants at each call, or `sum` would live in
 * memory. */
INLINE void block(size_t rows, size_t width, size_t k, const float *a, size_t am, size_t ak, const float *b,
                  size_t ldb, float *c, size_t ldc, bool accumulate) {
    vf sum[ATTN_ROWS][WIDTH];
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < width; j++)
            sum[i][j] = accumulate ? vf_load(c + i * ldc + j * HC_VL) : vf_zero();
    }
    for (size_t at = 0; at < k; at++) {
        vf column[WIDTH];
        for (size_t j = 0; j < width; j++) column[j] = vf_load(b + at * ldb + j * HC_VL);
        for (size_t i = 0; i < rows; i++) {
            const vf value = vf_set(a[i * am + at * ak]);
            for (size_t j = 0; j < width; j++) sum[i][j] = attn_step(value, column[j], sum[i][j]);
        }
    }
    for (size_t i = 0; i < rows; i++) {
        for (size_t j = 0; j < width; j++) vf_store(c + i * ldc + j * HC_VL, sum[i][j]);
    }
}

/* Constant row counts, so that the sums live in registers. */
#define CASE(count, width)                                                                                   \
    case count: block(count, width, k, a, am, ak, b, ldb, c, ldc, accumulate); break;
#define PANEL(name, width)                                                                                   \
    static void name(size_t m, size_t k, const float *a, size_t am, size_t ak, const float *b, size_t ldb,   \
                     float *c, size_t ldc, bool accumulate) {                                                \
        for (; m > 0; m -= m < ATTN_ROWS ? m : ATTN_ROWS) {                                                  \
            switch (m) {                                                                                     \
                CASE(1, width)                                                                               \
                CASE(2, width)                                                                               \
                CASE(3, width)                                                                               \
                CASE(4, width)                                                                               \
                CASE(5, width) default : block(ATTN_ROWS, width, k, a, am, ak, b, ldb, c, ldc, accumulate);  \
            }                                                                                                \
            a += ATTN_ROWS * am;                                                                             \
            c += ATTN_ROWS * ldc;                                                                            \
        }                                                                                                    \
    }
