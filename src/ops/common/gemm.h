// SPDX-License-Identifier: Apache-2.0
/* Matrix product of any strides, batch and dtype, for matmul operators, attention and mixture of experts.
 *
 *     out[b,i,j] = epilogue(alpha * sum_k a[b,i,k] * b[b,k,j] + beta * self[b,i,j])
 *
 * float32, bfloat16 and float16 may be mixed freely and are accumulated in float32, float64 in float64,
 * integers modulo 2^64 (so exactly modulo the width of out), complex in complex128; the result is rounded
 * once, to out's dtype. The order of additions depends on the sizes only: any thread count gives the same
 * bits. With hc_batch_invariant it depends on k only: a row of out has the same bits whatever m, n and the
 * batch are. */
#pragma once
#include "convert.h"

enum { HC_GEMM_BATCH_DIMS = HC_MAX_RANK - 2 };

/* A matrix, or one per batch index. Strides are in elements; 0 repeats (a bias is a `self` with row 0). */
struct hc_gemm_matrix {
    void *data; /* first element; NULL for a `self` that is not there */
    aclDataType dtype;
    int64_t row, col;
    int64_t batch[HC_GEMM_BATCH_DIMS]; /* stride of each batch dimension */
};

/* Called with runs of one row while they are in the cache: x[0..n) are the values of out[batch, row,
 * col..col+n) in float32, to be changed in place (activation, gate, dropout). Each element once; from several
 * threads at once. `batch` is the row-major index over batch_shape. Only for the float32, bfloat16 and
 * float16 family. */
typedef void hc_gemm_epilogue(void *ctx, size_t batch, size_t row, size_t col, size_t n, float *x);

struct hc_gemm {
    size_t m, n, k;
    int batch_rank; /* 0: one product */
    int64_t batch_shape[HC_GEMM_BATCH_DIMS];
    struct hc_gemm_matrix a, b, out;
    struct hc_gemm_matrix self; /* may be the same view as out (accumulation); not read when beta is 0 */
    aclScalar alpha, beta;      /* beta counts only where self is given */
    hc_gemm_epilogue *epilogue; /* may be NULL */
    void *epilogue_ctx;
};

/* A real factor: .alpha = HC_GEMM_REAL(0.125). A zero-initialised alpha is 0, so always set it. */
#define HC_GEMM_REAL(x) ((aclScalar){ACL_DOUBLE, {.f = (x)}})

/* Compute it on the pool, or in the caller inside another hc_parallel_for: a caller with many small products
 * of its own loops over them in parallel and calls this for each. out must not overlap a or b, nor self
 * unless it is the very same view. Uses the scratch slots HC_SCRATCH_GEMM_* of each thread. Returns 0, or a
 * code (out of memory, dtypes that do not go together). */
HC_SHARED aclnnStatus hc_gemm(const struct hc_gemm *g);

/* The block type that products of these dtypes are computed in; -1 if they do not go together. */
int hc_gemm_compute(aclDataType a, aclDataType b, aclDataType out);
