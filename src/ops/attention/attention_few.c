// SPDX-License-Identifier: Apache-2.0
/* A step of decoding is bound by reading keys and values. Each is read once for all rows, in its own type;
 * keys are turned from rows into columns in registers, as a score is a chain of additions over the columns of
 * a key. */
#include "attention_few.h"

#ifdef HC_ISA
#include "gemm_load.h"
#include "simd_transpose.h"

/* Rows and vectors of a block: its sums, and what is multiplied, live in registers. */
#if defined(HC_ISA_avx512) || defined(__aarch64__)
enum { SCORE_ROWS = 8, OUTPUT_ROWS = 4, WIDTH = 4 };
#else
enum { SCORE_ROWS = 4, OUTPUT_ROWS = 4, WIDTH = 2 };
#endif

ALWAYS_INLINE void ask_for(const struct attn_few *p, size_t key) {
    for (size_t i = 0; key < p->ahead_rows && i < p->ahead_bytes; i += HC_CACHE_LINE)
        __builtin_prefetch(p->ahead[key] + i, 0,
                           2); /* rows that far apart would fill few sets of the first level */
}

/* A vector of keys against ROWS rows. */
ALWAYS_INLINE void score_block(const struct attn_few *p, size_t key, size_t r0, int ROWS, aclDataType dtype) {
    const float *a = p->a + r0 * p->lda;
    vf sum[SCORE_ROWS];
    for (int r = 0; r < ROWS; r++) sum[r] = vf_zero();
    for (size_t i = 0; i < p->d; i += HC_VL) {
        const size_t left = p->d - i;
        vf x[HC_VL];
        _Pragma("GCC unroll 16") for (size_t j = 0; j < HC_VL; j++) x[j] =
            load_some(element(p->row[key + j], (int64_t)i, dtype), left, dtype);
        vf_transpose(x);
        _Pragma("GCC unroll 16") for (size_t j = 0; j < HC_VL; j++) {
            if (j >= left) break;
            for (int r = 0; r < ROWS; r++)
                sum[r] = vf_fma(vf_set(a[(size_t)r * p->lda + i + j]), x[j], sum[r]);
        }
    }
    for (int r = 0; r < ROWS; r++) vf_store(p->c + (r0 + (size_t)r) * p->ldc + key, sum[r]);
}

/* Constant row counts, so that the sums live in registers. */
ALWAYS_INLINE void scores(const struct attn_few *p, aclDataType dtype) {
    for (size_t key = 0; key < p->keys; key += HC_VL) {
        size_t r = 0;
        for (size_t j = 0; j < HC_VL; j++) ask_for(p, key + j);
        for (; r + SCORE_ROWS <= p->m; r += SCORE_ROWS) score_block(p, key, r, SCORE_ROWS, dtype);
        if (p->m - r >= 4) score_block(p, key, r, 4, dtype), r += 4;
        if (p->m - r >= 2) score_block(p, key, r, 2, dtype), r += 2;
        if (p->m - r >= 1) score_block(p, key, r, 1, dtype);
    }
}

/* Some vectors of ROWS rows of the output, over all keys. */
ALWAYS_INLINE void output_block(const struct attn_few *p, size_t i, int VECTORS, size_t r0, int ROWS,
                                aclDataType dtype) {
    const float *a = p->a + r0 * p->lda;
    float *c = p->c + r0 * p->ldc + i;
    vf sum[OUTPUT_ROWS][WIDTH];
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < VECTORS; v++) sum[r][v] = vf_load(c + (size_t)r * p->ldc + (size_t)v * HC_VL);
    }
    for (size_t key = 0; key < p->keys; key++) {
        vf x[WIDTH];
        if (i == 0 && r0 == 0) ask_for(p, key);
        for (int v = 0; v < VECTORS; v++) {
            const size_t at = i + (size_t)v * HC_VL;
            x[v] = load_some(element(p->row[key], (int64_t)at, dtype), p->d - at, dtype);
        }
        for (int r = 0; r < ROWS; r++) {
            const vf weight = vf_set(a[(size_t)r * p->lda + key]);
            for (int v = 0; v < VECTORS; v++) sum[r][v] = vf_fma(weight, x[v], sum[r][v]);
        }
    }
    for (int r = 0; r < ROWS; r++) {
        for (int v = 0; v < VECTORS; v++) vf_store(c + (size_t)r * p->ldc + (size_t)v * HC_VL, sum[r][v]);
    }
}

/* Four rows share what is loaded of the values; two and one are what is left of them. */
ALWAYS_INLINE void output_rows(const struct attn_few *p, size_t i, int VECTORS, aclDataType dtype) {
    size_t r = 0;
    for (; r + OUTPUT_ROWS <= p->m; r += OUTPUT_ROWS) output_block(p, i, VECTORS, r, OUTPUT_ROWS, dtype);
    if (p->m - r >= 2) output_block(p, i, VECTORS, r, 2, dtype), r += 2;
    if (p->m - r >= 1) output_block(p, i, VECTORS, r, 1, dtype);
}

/* Whole blocks of vectors, then one vector at a time; the last may reach into the padding of c. */
ALWAYS_INLINE void outputs(const struct attn_few *p, aclDataType dtype) {
    size_t i = 0;
    for (; i + WIDTH * HC_VL <= p->d; i += WIDTH * HC_VL) output_rows(p, i, WIDTH, dtype);
    for (; i < p->d; i += HC_VL) output_rows(p, i, 1, dtype);
}

void HC_FN(attn_few_scores)(const struct attn_few *p) {
    if (p->dtype == ACL_FLOAT) scores(p, ACL_FLOAT);
    else if (p->dtype == ACL_BF16) scores(p, ACL_BF16);
    else scores(p, ACL_FLOAT16);
}
void HC_FN(attn_few_outputs)(const struct attn_few *p) {
    if (p->dtype == ACL_FLOAT) outputs(p, ACL_FLOAT);
    else if (p->dtype == ACL_BF16) outputs(p, ACL_BF16);
    else outputs(p, ACL_FLOAT16);
}
#endif
