// SPDX-License-Identifier: Apache-2.0
/* Product of int8 matrices of any strides with exact sums, for quantised products.
 *
 *     sums[i,j] = sum_k a[i,k] * b[k,j]    in int32, so modulo 2^32: exact for k up to 2^17
 *
 * What becomes of the sums is the caller's: runs of a row are handed over while they are in the cache. */
#pragma once
#include "op.h"

/* Called with sums[0..n) of row `row`, columns from `col` on. Each element once; from several threads at
 * once. */
typedef void hc_gemm_i8_finish(const void *ctx, size_t row, size_t col, size_t n, const int32_t *sums);

struct hc_gemm_i8 {
    size_t m, n, k;
    const int8_t *a, *b;
    int64_t a_row, a_col, b_row, b_col; /* strides */
    hc_gemm_i8_finish *finish;
    const void *ctx;
};

/* Longest run that finish is given. */
enum { HC_GEMM_I8_RUN = 256 };

/* Compute it on the pool, or in the caller inside another hc_parallel_for. Uses the scratch slots
 * HC_SCRATCH_GEMM_* of each thread. With k of 0 the sums are 0. */
aclnnStatus hc_gemm_i8(const struct hc_gemm_i8 *g);
