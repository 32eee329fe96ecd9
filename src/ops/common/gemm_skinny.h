// SPDX-License-Identifier: Apache-2.0
/* Products with few rows: limited by reading B once, so B is not packed (private to gemm*.c). */
#pragma once
#include "gemm_kernels.h"

enum { GEMM_SKINNY_ALWAYS = 4 }; /* rows up to which it pays for any B */

bool gemm_is_skinny(const struct hc_gemm *g, enum hc_block block);
/* One product of the float family; g's data pointers are those of batch index `batch`. */
aclnnStatus gemm_skinny(const struct hc_gemm *g, size_t batch);

/* y[i*ldy + j] = sum over k of a[i*lda + k] * b(k, first + j), i < m, j < n, k < steps. a is float32, zero
 * beyond `steps` up to a whole vector; y has room for a whole vector more. */
struct gemm_few_rows {
    const float *a;
    size_t lda, m, n, steps;
    const char *b; /* at the first step and column */
    aclDataType dtype;
    int64_t pitch; /* bytes from one column (dot) or step (sum) to the next; the other is contiguous */
    float *y;
    size_t ldy;
};
HC_KERNEL(gemm_few_dot_F32, (const struct gemm_few_rows *s))
HC_KERNEL(gemm_few_sum_F32, (const struct gemm_few_rows *s))
