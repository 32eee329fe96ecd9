// SPDX-License-Identifier: Apache-2.0
/* Products of attention for a few rows, which read keys and values where they lie. */
#pragma once
#include "attention_kernels.h"

/* Rows from which loading a tile, for all rows at once, costs less; elements of a row that the kernels of
 * pairs take. */
enum { ATTN_FEW_ROWS = 16, ATTN_FEW_MOST = 512 };

/* Additions are made in the order of attn_gemm: the results have the same bits. Kernels of pairs add
 * otherwise. */
struct attn_few {
    size_t m, keys, d;
    const float *a;         /* queries [m][d], or weights [m][keys] */
    size_t lda;             /* from row to row */
    const char *const *row; /* of each key, d elements one after the other; as many as fill whole vectors */
    aclDataType dtype;      /* float32, bfloat16, float16 */
    float *c;               /* padded as attn_gemm's */
    size_t ldc;
    /* What is read next, asked for on the way, as rows lie far apart and often in pages of their own. */
    const char *const *ahead;
    size_t ahead_rows, ahead_bytes; /* of each */
};
/* c[m][keys] = a times each key. */
HC_KERNEL(attn_few_scores, (const struct attn_few *p))
/* c[m][d] += a times the values. */
HC_KERNEL(attn_few_outputs, (const struct attn_few *p))
/* The same of bfloat16 keys and values. Of queries that are bfloat16 in float32 clothes, and of weights that
 * are rounded to it; p->d and p->keys are at most ATTN_FEW_MOST, p->m is below ATTN_FEW_ROWS. */
HC_KERNEL_BF16(attn_few_scores_BF16, (const struct attn_few *p))
HC_KERNEL_BF16(attn_few_outputs_BF16, (const struct attn_few *p))
