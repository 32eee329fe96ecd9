// SPDX-License-Identifier: Apache-2.0
/* Kernels over tiles of attention: rows are queries, columns are keys or head elements. Everything is
 * float32; leading dimensions are multiples of ATTN_PAD, and buffers are padded to them (contents of the
 * padding do not matter). */
#pragma once
#include "op.h"

/* Floats; the widest vector, so that kernels may read and write whole vectors at the end of each row. */
enum { ATTN_PAD = 16 };

/* c[m][n] = (accumulate ? c : 0) + sum_k a[m * am + k * ak] * b[k * ldb + n]; am or ak is 1. Columns up to
 * the next multiple of ATTN_PAD are written too. One chain of additions in k per element: the result does not
 * depend on the tiling. */
struct attn_product {
    size_t m, n, k;
    const float *a, *b;
    size_t am, ak, ldb;
    float *c;
    size_t ldc;
    bool accumulate;
};
HC_KERNEL(attn_gemm, (const struct attn_product *p))
/* The same of a b that has values of bfloat16 only; attn_gemm_BF16 rounds a to them too. */
HC_KERNEL_BF16(attn_gemm_BF16, (const struct attn_product *p))
/* dst[c * ldd + r] = src[r * lds + c]; both tiles have rows up to the next multiple of ATTN_PAD. */
HC_KERNEL(attn_transpose, (size_t rows, size_t columns, const float *src, size_t lds, float *dst, size_t ldd))

/* How a row of scores becomes logits: (s + before) * scale + after, or -inf where masked. before and after
 * (position bias) may be NULL; mask: non-zero bytes are masked, may be NULL; columns outside [low, high) are
 * masked. */
struct attn_row {
    size_t n;
    float scale;
    const float *before, *after;
    const uint8_t *mask;
    size_t low, high;
};
/* s becomes what is a logit but for the factor *unit, which is positive; -inf where hidden. */
HC_KERNEL(attn_logits_row, (const struct attn_row *row, float *s, float *unit))
/* One step of the streaming softmax: s becomes exp(logit - max); *max and *sum are carried on; *rescale is
 * what earlier contributions are to be multiplied with. */
HC_KERNEL(attn_softmax_row, (const struct attn_row *row, float *s, float *max, float *sum, float *rescale))
/* s becomes exp(logit - max) * inverse_sum, for a max and a sum that are final. */
HC_KERNEL(attn_probability_row, (const struct attn_row *row, float *s, float max, float inverse_sum))
/* x[i] = bit number first + i of bits (least significant first) ? x[i] * factor : 0. */
HC_KERNEL(attn_dropout_row, (size_t n, float *x, const uint8_t *bits, size_t first, float factor))
/* ds[i] = p[i] * (dp[i] - delta), into dp; 0 where the row sees nothing, whatever is there. */
HC_KERNEL(attn_gradient_row, (const struct attn_row *row, const float *p, float *dp, float delta))
HC_KERNEL(attn_scale_row, (size_t n, float *x, float factor))
/* x[i] = (x[i] + x[i + step] + ... ) * factor, of `parts` terms, added in order; n up to
 * the next multiple of ATTN_PAD. */
HC_KERNEL(attn_sum_row, (size_t n, float *x, size_t parts, size_t step, float factor))
/* x[i] = (x[i] + offset[i]) * scale[i]; one number for all unless `each`. offset may be NULL. */
HC_KERNEL(attn_antiquant_row, (size_t n, float *x, const float *scale, const float *offset, bool each))
HC_KERNEL(attn_dot, (size_t n, const float *a, const float *b, float *out))
