// SPDX-License-Identifier: Apache-2.0
/* Products of attention for a few rows, which read keys and values where they lie. */
#pragma once
#include "attention_kernels.h"

/* Rows from which loading a tile, for all rows at once, costs less; elements of a row that the kernels of
 * pairs take; keys in whole blocks; columns of two vectors. */
enum { ATTN_FEW_ROWS = 16, ATTN_FEW_MOST = 512, ATTN_FEW_KEYS = 32, ATTN_FEW_APART = 32 };

/* Additions are made in the order of attn_gemm: the results have the same bits. Kernels of pairs add
 * otherwise. */
struct attn_few {
    size_t m, keys, d; /* m: rows of a key head */
    size_t heads;      /* key heads, each row's side by side; those of one follow those of another in a, c */
    const float *a;    /* queries [heads m][d], or weights [heads m][keys] */
    size_t lda;        /* from row to row */
    const char *const *row; /* of each key, heads d elements one after the other; up to a multiple of
                             * ATTN_FEW_KEYS, to which c is padded too */
    aclDataType dtype;      /* float32, bfloat16, float16 */
    float *c;               /* padded as attn_gemm's */
    size_t ldc;
    /* What is read next, likewise, asked for on the way: rows often lie far apart, in pages of their own. */
    const char *const *ahead;
    size_t ahead_rows, ahead_bytes; /* of each, of all heads */
};
/* c[heads m][keys] = a times each key. */
HC_KERNEL(attn_few_scores, (const struct attn_few *p))
/* c[heads m][d] += a times the values. */
HC_KERNEL(attn_few_outputs, (const struct attn_few *p))
/* Scores of bfloat16 keys with another order of additions; d is a multiple of ATTN_FEW_APART. Of queries that
 * attn_few_apart has changed: of each two vectors of columns the even ones, then the odd ones. */
HC_KERNEL(attn_few_dots, (const struct attn_few *p))
HC_KERNEL(attn_few_apart, (size_t rows, size_t d, float *x, size_t ld))
/* The same of bfloat16 keys and values. Of queries that are bfloat16 in float32 clothes, and of weights that
 * are rounded to it; p->d and p->keys are at most ATTN_FEW_MOST, p->m is below ATTN_FEW_ROWS. */
HC_KERNEL_BF16(attn_few_scores_BF16, (const struct attn_few *p))
HC_KERNEL_BF16(attn_few_outputs_BF16, (const struct attn_few *p))
