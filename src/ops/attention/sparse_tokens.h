// SPDX-License-Identifier: Apache-2.0
/* What attention over chosen tokens and its indexer share (DeepSeek sparse attention, arXiv 2512.02556):
 * sequences in the layouts BSND, TND and PA_BSND (pages), keys gathered by position, and products of float32.
 *
 * Query token i of a sequence of L queries and K keys may see the first
 * K - L + i + 1 keys with sparseMode 3, the first i + 1 with 2, all with 0. */
#pragma once
#include "plain.h"

enum hc_tokens_layout { HC_TOKENS_BSND, HC_TOKENS_TND, HC_TOKENS_PAGED };

/* One sequence: rows [q, q + q_len) of all query tokens, k_len keys from row k on (TND only). */
struct hc_span {
    int64_t q, q_len, k, k_len;
};
/* One head of keys, values or rotary parts: [B, S, N, D], [T, N, D] or pages [blocks, block size, N, D] by a
 * table. */
struct hc_keys {
    const aclTensor *t; /* NULL: none, of size 0 */
    enum hc_tokens_layout layout;
    const int64_t *table; /* [B, table_width], checked */
    int64_t table_width, head;
};

/* Phase one. `paged`: PA_BSND is a layout, too; null is BSND. */
aclnnStatus hc_tokens_layout(const char *op, const char *arg, const char *text, bool paged,
                             enum hc_tokens_layout *layout);
/* sparseMode 0 or 3; with 0 no window is supported, with 3 there is none. */
aclnnStatus hc_tokens_mode(const char *op, int64_t mode, int64_t before, int64_t after);
/* Keys in their layout, of so many heads and elements, or any (-1). */
aclnnStatus hc_tokens_check_keys(const char *op, const char *arg, const aclTensor *t,
                                 enum hc_tokens_layout layout, int64_t heads, int64_t size);

/* Views of what inference passes: heads beside each other in the last dimension as a dimension of their own
 * (that is a multiple of them); one query token of each sequence, [B, ...], as [B, 1, ...]; and the reverse.
 */
aclTensor hc_tokens_split_heads(const aclTensor *t, int64_t heads);
aclTensor hc_tokens_with_step(const aclTensor *t);
aclTensor hc_tokens_without_step(const aclTensor *t);

/* Phase two. Sequences of a call; lengths (NULL: all of a row) are what the interface calls actual: ends of
 * sequences for TND, else lengths. NULL with p->status set where they do not fit. */
const struct hc_span *hc_tokens_spans(struct hc_plain *p, const aclTensor *query, bool packed,
                                      const struct hc_keys *keys, const int64_t *q_lengths,
                                      const int64_t *k_lengths, int64_t sequences);
/* Query tokens of a tensor [B, S, ...] or [T, ...]. */
static inline int64_t hc_tokens_count(const aclTensor *query, bool packed) {
    return packed ? query->shape[0] : query->shape[0] * query->shape[1];
}
/* How many keys the query token i of a sequence may see. */
static inline int64_t hc_tokens_visible(const struct hc_span *s, int64_t mode, int64_t i) {
    const int64_t ahead = mode == 2 ? 0 : s->k_len - s->q_len;
    return mode == 0 ? s->k_len : hc_min_i64(hc_max_i64(ahead + i + 1, 0), s->k_len);
}
static inline size_t hc_keys_size(const struct hc_keys *k) {
    return k->t != NULL ? (size_t)k->t->shape[k->t->rank - 1] : 0;
}
/* dst[j * ld] = the row of key position[j] (j itself where position is NULL) of sequence b, j < n. */
void hc_keys_gather(const struct hc_keys *k, int64_t b, const struct hc_span *s, const int64_t *position,
                    size_t n, float *dst, size_t ld);
/* row[position[j] * stride + i] += add[j * ld + i] for i < size, in the order of j. */
void hc_keys_scatter(float *row, size_t stride, const int64_t *position, size_t n, size_t size,
                     const float *add, size_t ld);

/* A matrix of float32; strides in elements. */
struct hc_matrix {
    const float *at;
    int64_t row, col;
};
/* out [m, n], rows of ld elements, = alpha * a [m, k] b [k, n]. */
aclnnStatus hc_tokens_product(size_t m, size_t n, size_t k, struct hc_matrix a, struct hc_matrix b,
                              float *out, size_t ld, double alpha);
