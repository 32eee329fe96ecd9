// SPDX-License-Identifier: Apache-2.0
/* Layouts, sequences and gathers of sparse attention. */
#include "sparse_tokens.h"

#include <string.h>

#include "gemm.h"

HC_KERNEL(tokens_add, (size_t n, float *to, const float *add))

#ifdef HC_ISA

void HC_FN(tokens_add)(size_t n, float *to, const float *add) {
    for (size_t i = 0; i < n; i++) to[i] += add[i];
}

#else

/* The names in the order of the enumeration. */
aclnnStatus hc_tokens_layout(const char *op, const char *arg, const char *text, bool paged,
                             enum hc_tokens_layout *layout) {
    static const char *const NAMES[] = {"BSND", "TND", "PA_BSND"};
    for (int i = 0; i < (paged ? 3 : 2); i++) {
        if (text != NULL && *text != '\0' && strcmp(text, NAMES[i]) != 0) continue;
        *layout = i;
        return 0;
    }
    return hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: %s is \"%s\", wanted BSND%s TND%s", op, arg, text,
                   paged ? "," : " or", paged ? " or PA_BSND" : "");
}

aclnnStatus hc_tokens_mode(const char *op, int64_t mode, int64_t before, int64_t after) {
    HC_CHECK(mode == 0 || mode == 3, ACLNN_ERR_PARAM_INVALID, "%s: sparseMode is %lld, wanted 0 or 3", op,
             (long long)mode);
    HC_CHECK(mode == 3 || (before == INT64_MAX && after == INT64_MAX), ACLNN_ERR_PARAM_INVALID,
             "%s: preTokens is %lld, nextTokens %lld: with sparseMode 0 only 2^63 - 1 is supported", op,
             (long long)before, (long long)after);
    return 0;
}

aclnnStatus hc_tokens_check_keys(const char *op, const char *arg, const aclTensor *t,
                                 enum hc_tokens_layout layout, int64_t heads, int64_t size) {
    if (layout == HC_TOKENS_TND) return HC_PLAIN_CHECK(op, arg, t, -1, heads, size);
    return HC_PLAIN_CHECK(op, arg, t, -1, -1, heads, size);
}

aclTensor hc_tokens_split_heads(const aclTensor *t, int64_t heads) {
    aclTensor v = *t;
    const int32_t last = v.rank++ - 1;
    v.shape[last] = heads, v.shape[last + 1] = t->shape[last] / heads;
    v.stride[last] = t->stride[last] * v.shape[last + 1], v.stride[last + 1] = t->stride[last];
    return v;
}

aclTensor hc_tokens_with_step(const aclTensor *t) {
    aclTensor v = *t;
    for (int32_t d = v.rank++; d > 1; d--) v.shape[d] = t->shape[d - 1], v.stride[d] = t->stride[d - 1];
    v.shape[1] = 1, v.stride[1] = 0;
    return v;
}

aclTensor hc_tokens_without_step(const aclTensor *t) {
    aclTensor v = *t;
    v.rank--;
    for (int32_t d = 1; d < v.rank; d++) v.shape[d] = t->shape[d + 1], v.stride[d] = t->stride[d + 1];
    return v;
}

/* Length of sequence b; an end of TND is not before the last one's. */
static aclnnStatus length_of(const char *op, const char *what, const int64_t *lengths, int64_t b, bool ends,
                             int64_t most, int64_t *begin, int64_t *length) {
    const int64_t end = lengths != NULL ? lengths[b] : most;
    *begin = ends && b > 0 ? lengths[b - 1] : 0;
    HC_CHECK(end >= *begin && end <= most, ACLNN_ERR_PARAM_INVALID,
             "%s: the actual length of the %s has %lld at %lld, wanted %s up to %lld", op, what,
             (long long)end, (long long)b, ends ? "ends that do not fall," : "lengths", (long long)most);
    *length = end - *begin;
    return 0;
}

/* The pages of a sequence are pages of the cache. */
static aclnnStatus check_pages(const char *op, const struct hc_keys *k, int64_t b, int64_t length) {
    const int64_t size = k->t->shape[1], pages = size > 0 ? (length + size - 1) / size : 0;
    for (int64_t i = 0; i < pages; i++) {
        const int64_t page = k->table[b * k->table_width + i];
        HC_CHECK(page >= 0 && page < k->t->shape[0], ACLNN_ERR_PARAM_INVALID,
                 "%s: blockTable has %lld for page %lld of sequence %lld, wanted 0 to %lld", op,
                 (long long)page, (long long)i, (long long)b, (long long)k->t->shape[0] - 1);
    }
    return 0;
}

/* Every sequence lies within what there is: later loops take that for granted. */
static aclnnStatus find_spans(struct hc_plain *p, const aclTensor *query, bool packed,
                              const struct hc_keys *k, const int64_t *q_lengths, const int64_t *k_lengths,
                              int64_t sequences, struct hc_span *spans) {
    const int64_t *n = k->t->shape;
    const bool ends = k->layout == HC_TOKENS_TND;
    const int64_t most = ends ? n[0] : k->layout == HC_TOKENS_PAGED ? k->table_width * n[1] : n[1];
    for (int64_t b = 0; b < sequences; b++) {
        struct hc_span *s = &spans[b];
        HC_TRY(length_of(p->op, "queries", q_lengths, b, packed, query->shape[packed ? 0 : 1], &s->q,
                         &s->q_len));
        HC_TRY(length_of(p->op, "keys", k_lengths, b, ends, most, &s->k, &s->k_len));
        if (!packed) s->q = b * query->shape[1];
        if (k->layout == HC_TOKENS_PAGED) HC_TRY(check_pages(p->op, k, b, s->k_len));
    }
    return 0;
}

const struct hc_span *hc_tokens_spans(struct hc_plain *p, const aclTensor *query, bool packed,
                                      const struct hc_keys *keys, const int64_t *q_lengths,
                                      const int64_t *k_lengths, int64_t sequences) {
    struct hc_span *spans = hc_plain_take(p, (size_t)sequences, sizeof *spans);
    if (spans != NULL) p->status = find_spans(p, query, packed, keys, q_lengths, k_lengths, sequences, spans);
    return p->status == 0 ? spans : NULL;
}

/* Keys by position, in whatever way their layout finds them. */
struct gather {
    const struct hc_keys *k;
    const struct hc_span *s;
    const int64_t *position;
    int64_t b;
    float *dst;
    size_t ld;
};

/* Items are keys. */
static void gather_rows(void *ctx, size_t begin, size_t end) {
    const struct gather *g = ctx;
    const aclTensor *t = g->k->t;
    const int64_t *s = t->stride;
    hc_load_fn *load = hc_load_for(t->dtype, HC_F32);
    for (size_t j = begin; j < end; j++) {
        const int64_t at = g->position != NULL ? g->position[j] : (int64_t)j;
        int64_t place;
        if (g->k->layout == HC_TOKENS_TND) place = (g->s->k + at) * s[0];
        else if (g->k->layout == HC_TOKENS_BSND) place = g->b * s[0] + at * s[1];
        else {
            const int64_t page = g->k->table[g->b * g->k->table_width + at / t->shape[1]];
            place = page * s[0] + at % t->shape[1] * s[1];
        }
        place += g->k->head * s[t->rank - 2];
        load(hc_keys_size(g->k), g->dst + j * g->ld, hc_data(t) + place * t->item_size, s[t->rank - 1]);
    }
}

void hc_keys_gather(const struct hc_keys *k, int64_t b, const struct hc_span *s, const int64_t *position,
                    size_t n, float *dst, size_t ld) {
    if (k->t == NULL) return;
    struct gather g = {k, s, position, b, dst, ld};
    hc_parallel_for(n, 1 + 16384 / (1 + hc_keys_size(k)), gather_rows, &g);
}

enum { COLUMNS = 64 };

struct scatter {
    float *row;
    const int64_t *position;
    const float *add;
    size_t n, stride, ld;
};

/* Pieces are columns: positions may repeat, and each row gets what is added in one order. */
static void scatter_columns(void *ctx, size_t begin, size_t end) {
    const struct scatter *s = ctx;
    for (size_t j = 0; j < s->n; j++) {
        const size_t at = s->position != NULL ? (size_t)s->position[j] : j;
        HC_DISPATCH(tokens_add)(end - begin, s->row + at * s->stride + begin, s->add + j * s->ld + begin);
    }
}

void hc_keys_scatter(float *row, size_t stride, const int64_t *position, size_t n, size_t size,
                     const float *add, size_t ld) {
    hc_parallel_for(size, COLUMNS, scatter_columns, &(struct scatter){row, position, add, n, stride, ld});
}

/* All products here are float32: operands were converted when they were gathered. */
aclnnStatus hc_tokens_product(size_t m, size_t n, size_t k, struct hc_matrix a, struct hc_matrix b,
                              float *out, size_t ld, double alpha) {
    return hc_gemm(
        &(const struct hc_gemm){.m = m,
                                .n = n,
                                .k = k,
                                .a = {.data = (void *)a.at, .dtype = ACL_FLOAT, .row = a.row, .col = a.col},
                                .b = {.data = (void *)b.at, .dtype = ACL_FLOAT, .row = b.row, .col = b.col},
                                .out = {.data = out, .dtype = ACL_FLOAT, .row = (int64_t)ld, .col = 1},
                                .alpha = HC_GEMM_REAL(alpha)});
}
#endif
