// SPDX-License-Identifier: Apache-2.0
/* Products are by hc_gemm, all heads of a token below each other; the rest is a pass over them. */
#include "indexer.h"

#ifdef HC_ISA
#include "simd_rows.h"

/* NaN stays NaN. */
static inline float relu(float x) { return x > 0.0f || x != x ? x : 0.0f; }

void HC_FN(indexer_score)(size_t heads, size_t n, const float *p, const float *w, float *score) {
    for (size_t i = 0; i < n; i++) score[i] = 0;
    for (size_t h = 0; h < heads; h++, p += n) {
        const float f = w[h];
        for (size_t i = 0; i < n; i++) score[i] += f * relu(p[i]);
    }
}

void HC_FN(indexer_grad)(size_t heads, size_t n, float *p, const float *w, const float *di, float *dw) {
    for (size_t h = 0; h < heads; h++, p += n) {
        for (size_t i = 0; i < n; i++) p[i] = relu(p[i]);
        dw[h] = (float)vf_row_dot(p, di, n);
        for (size_t i = 0; i < n; i++) p[i] = p[i] > 0.0f ? w[h] * di[i] : 0.0f;
    }
}

#else

aclnnStatus hc_indexer_scores(const struct hc_indexer_token *t, float *score) {
    const int64_t size = (int64_t)t->size;
    if (t->n == 0) return 0;
    HC_TRY(hc_tokens_product(t->heads, t->n, t->size, (struct hc_matrix){t->q, size, 1},
                             (struct hc_matrix){t->k, 1, size}, t->products, t->n, 1));
    HC_DISPATCH(indexer_score)(t->heads, t->n, t->products, t->w, score);
    return 0;
}

aclnnStatus hc_indexer_gradients(const struct hc_indexer_token *t, const float *di, const int64_t *position,
                                 float *dq, float *dw, float *dk) {
    const int64_t size = (int64_t)t->size, n = (int64_t)t->n;
    if (n == 0) return 0; /* the gradients of a token that sees nothing are 0, as they began */
    HC_DISPATCH(indexer_grad)(t->heads, t->n, t->products, t->w, di, dw);
    HC_TRY(hc_tokens_product(t->heads, t->size, t->n, (struct hc_matrix){t->products, n, 1},
                             (struct hc_matrix){t->k, size, 1}, dq, t->size, 1));
    HC_TRY(hc_tokens_product(t->n, t->size, t->heads, (struct hc_matrix){t->products, 1, n},
                             (struct hc_matrix){t->q, size, 1}, t->dk_rows, t->size, 1));
    hc_keys_scatter(dk, t->size, position, t->n, t->size, t->dk_rows, t->size);
    return 0;
}
#endif
