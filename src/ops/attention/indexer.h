// SPDX-License-Identifier: Apache-2.0
/* The lightning indexer's scores, I[j] = sum over heads of w[h] * relu(q[h] . k[j]), and their gradients for
 * one query token and the keys that it sees. */
#pragma once
#include "sparse_tokens.h"

/* score[i] = sum over h < heads of w[h] * relu(p[h * n + i]) */
HC_KERNEL(indexer_score, (size_t heads, size_t n, const float *p, const float *w, float *score))
/* From p = q . k and the gradient di of the scores: dw[h], and the gradient of p in its place. */
HC_KERNEL(indexer_grad, (size_t heads, size_t n, float *p, const float *w, const float *di, float *dw))

/* One query token: q [heads, size], n keys k [n, size]; `products` [heads, n] and dk_rows [n, size] are
 * memory. */
struct hc_indexer_token {
    size_t heads, size, n;
    const float *q, *w, *k;
    float *products, *dk_rows;
};
/* products = q . k, and the scores of n keys. */
aclnnStatus hc_indexer_scores(const struct hc_indexer_token *t, float *score);
/* After that: gradients of q and w, and dk [.., size] += those of the keys at their positions. */
aclnnStatus hc_indexer_gradients(const struct hc_indexer_token *t, const float *di, const int64_t *position,
                                 float *dq, float *dw, float *dk);
