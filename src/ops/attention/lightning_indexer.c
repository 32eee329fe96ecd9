// SPDX-License-Identifier: Apache-2.0
/* Which keys a query token attends to: those with the largest scores
 *
 *     score[j] = sum over heads of weight[h] * relu(q[h] . k[j])
 *
 * of those it may see, in descending order, the earlier one first where two are equal; -1 (and -inf) behind
 * them. Queries and keys that are quantised have scales: the score is that of q and k times k's scale, and a
 * head's weight is multiplied by q's. Scores of some tokens are one product of matrices, all their heads
 * below each other, which is added up and selected from while the next level of cache holds it. */
#include <math.h>
#include <stdatomic.h>

#include "indexer.h"
#include "top_k_top_p.h"

enum { CHUNK = 1 << 21 }; /* scores of all heads that are made at once */

enum slot { QUERY, KEY, WEIGHTS, Q_LENGTHS, K_LENGTHS, TABLE, INDICES, VALUES, Q_SCALE, K_SCALE };

/* Layouts may differ only where keys are in pages. */
struct args {
    enum hc_tokens_layout query, key;
    int64_t mode, count, sequences;
};

/* Some tokens of one sequence. */
struct loop {
    const struct args *a;
    const struct hc_span *span;
    const float *scores, *weights; /* [tokens, heads, keys], [all tokens, heads] */
    const float *key_scale;        /* of the sequence's keys; NULL: none */
    int64_t first, keys;           /* the first token, within its sequence */
    size_t heads;
    int64_t *index;
    float *value; /* NULL: not wanted */
    atomic_bool failed;
};

/* One token: its scores over all keys of the sequence, and the best of those that it may see. */
static void select_token(const struct loop *l, size_t t, struct hc_top_row *row, float *score) {
    const int64_t token = l->first + (int64_t)t, count = l->a->count;
    const size_t at = (size_t)(l->span->q + token), n = (size_t)l->keys;
    const size_t visible = (size_t)hc_tokens_visible(l->span, l->a->mode, token);
    size_t found = hc_min_size((size_t)count, visible);
    HC_DISPATCH(indexer_score)(l->heads, n, l->scores + t * l->heads * n, l->weights + at * l->heads, score);
    for (size_t i = 0; l->key_scale != NULL && i < n; i++) score[i] *= l->key_scale[i];
    const struct hc_pair *best =
        found > 0 ? hc_top_row_select(row, score, visible, found, false, false, &found) : NULL;
    for (size_t i = 0; i < (size_t)count; i++) {
        l->index[at * (size_t)count + i] = i < found ? (int64_t)best[i].at : -1;
        if (l->value != NULL) l->value[at * (size_t)count + i] = i < found ? score[best[i].at] : -INFINITY;
    }
}

/* Items are tokens of a chunk, whose products are there. */
static void select_tokens(void *ctx, size_t begin, size_t end) {
    struct loop *l = ctx;
    struct hc_top_row row;
    float *score = hc_scratch(HC_SCRATCH_A, (size_t)l->keys * sizeof *score);
    if (score == NULL || !hc_top_row_take((size_t)l->keys, &row)) atomic_store(&l->failed, true);
    else
        for (size_t t = begin; t < end; t++) select_token(l, t, &row, score);
}

struct call {
    const char *name;
    const float *q, *weights;
    struct hc_keys keys, key_scales; /* scales as keys of one element; their tensor is NULL: none */
    aclTensor scale_view;
    const struct hc_span *spans;
    float *key_rows, *key_scale, *scores; /* of one sequence */
    size_t heads, size, chunk;
};

/* Room for the longest sequence, and for as many of its tokens as fit into CHUNK scores. */
static void take_room(struct hc_plain *p, const struct args *a, struct call *c) {
    int64_t most = 1;
    for (int64_t b = 0; b < a->sequences && p->status == 0; b++) most = hc_max_i64(most, c->spans[b].k_len);
    c->chunk = hc_max_size(1, CHUNK / ((size_t)most * hc_max_size(c->heads, 1)));
    c->key_rows = hc_plain_take(p, (size_t)most * c->size, sizeof(float));
    if (c->key_scales.t != NULL) c->key_scale = hc_plain_take(p, (size_t)most, sizeof(float));
    c->scores = hc_plain_take(p, c->chunk * c->heads * (size_t)most, sizeof(float));
}

/* Keys are converted once for a sequence, then chunks of its tokens follow. */
static aclnnStatus run_sequence(const struct call *c, int64_t b, struct loop *l) {
    const struct hc_span *s = l->span = &c->spans[b];
    const int64_t size = (int64_t)c->size;
    l->keys = s->k_len;
    hc_keys_gather(&c->keys, b, s, NULL, (size_t)s->k_len, c->key_rows, c->size);
    hc_keys_gather(&c->key_scales, b, s, NULL, (size_t)s->k_len, c->key_scale, 1);
    l->key_scale = c->key_scale;
    for (l->first = 0; l->first < s->q_len; l->first += (int64_t)c->chunk) {
        const size_t tokens = hc_min_size(c->chunk, (size_t)(s->q_len - l->first));
        const float *q = c->q + (s->q + l->first) * (int64_t)c->heads * size;
        HC_TRY(hc_tokens_product(tokens * c->heads, (size_t)s->k_len, c->size, (struct hc_matrix){q, size, 1},
                                 (struct hc_matrix){c->key_rows, 1, size}, c->scores, (size_t)s->k_len, 1));
        hc_parallel_for(tokens, 1, select_tokens, l);
        HC_CHECK(!atomic_load(&l->failed), ACLNN_ERR_INNER, "%s: out of host memory", c->name);
    }
    return 0;
}

/* A scale of each key as a key of one element, and weights with the scales of queries in memory of ours. */
static void take_scales(const struct hc_call *call, struct hc_plain *p, struct call *c) {
    const aclTensor *given = hc_arg(call, K_SCALE);
    const float *q_scale = hc_plain_in(p, hc_arg(call, Q_SCALE));
    if (given == NULL || p->status != 0) return;
    const size_t n = hc_numel(hc_arg(call, WEIGHTS));
    float *weights = hc_plain_take(p, n, sizeof *weights);
    for (size_t i = 0; weights != NULL && i < n; i++) weights[i] = c->weights[i] * q_scale[i];
    c->weights = weights;
    c->scale_view = *given;
    c->scale_view.shape[given->rank] = c->scale_view.stride[given->rank] = 1;
    c->scale_view.rank++;
    c->key_scales = c->keys;
    c->key_scales.t = &c->scale_view;
}

/* Rows that are no token's keep -1: a row of BSND may be longer than its sequence. */
static aclnnStatus compute(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const aclTensor *query = hc_arg(call, QUERY), *table = hc_arg(call, TABLE),
                    *index = hc_arg(call, INDICES);
    struct call c = {.name = call->name,
                     .q = hc_plain_in(p, query),
                     .weights = hc_plain_in(p, hc_arg(call, WEIGHTS)),
                     .keys = {hc_arg(call, KEY), a->key,
                              hc_plain_index(p, "blockTableOptional", table, INT64_MIN, INT64_MAX),
                              table != NULL ? table->shape[1] : 0, 0},
                     .heads = (size_t)query->shape[query->rank - 2],
                     .size = (size_t)query->shape[query->rank - 1]};
    const int64_t *q_lengths =
        hc_plain_index(p, "actualSeqLengthsQueryOptional", hc_arg(call, Q_LENGTHS), 0, INT64_MAX);
    const int64_t *k_lengths =
        hc_plain_index(p, "actualSeqLengthsKeyOptional", hc_arg(call, K_LENGTHS), 0, INT64_MAX);
    if (p->status == 0)
        c.spans =
            hc_tokens_spans(p, query, a->query == HC_TOKENS_TND, &c.keys, q_lengths, k_lengths, a->sequences);
    take_scales(call, p, &c);
    if (p->status == 0) take_room(p, a, &c);
    struct loop l = {.a = a, .weights = c.weights, .heads = c.heads, .scores = c.scores};
    l.index = hc_plain_out_index(p, index);
    l.value = hc_plain_out(p, hc_arg(call, VALUES));
    if (p->status != 0) return p->status;
    for (int64_t i = 0; i < index->numel; i++) {
        l.index[i] = -1;
        if (l.value != NULL) l.value[i] = -INFINITY;
    }
    for (int64_t b = 0; b < a->sequences; b++) HC_TRY(run_sequence(&c, b, &l));
    return 0;
}

/* Nothing is written where a length or a page is wrong. */
static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    return hc_plain_close(&p, compute(call, &p));
}

/* ---- phase one ---- */

/* What both operators are given, by the names that they share. */
struct request {
    const char *name;
    const aclTensor *query, *key, *weights, *q_lengths, *k_lengths, *table;
    const char *q_layout, *k_layout;
    int64_t before, after;
};

/* Lengths and table where the layouts ask for them. */
static aclnnStatus check_lengths(const struct request *r, struct args *a) {
    a->sequences = r->query->shape[0];
    if (a->query == HC_TOKENS_TND) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(r->name, "actualSeqLengthsQueryOptional", r->q_lengths, -1));
        a->sequences = r->q_lengths->shape[0];
    } else if (r->q_lengths != NULL) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(r->name, "actualSeqLengthsQueryOptional", r->q_lengths, a->sequences));
    }
    if (a->key != HC_TOKENS_BSND || r->k_lengths != NULL)
        HC_TRY(HC_PLAIN_CHECK_INDEX(r->name, "actualSeqLengthsKeyOptional", r->k_lengths, a->sequences));
    if (a->key == HC_TOKENS_PAGED)
        HC_TRY(HC_PLAIN_CHECK_INDEX(r->name, "blockTableOptional", r->table, a->sequences, -1));
    return 0;
}

/* Before queries and keys, whose types the operators check themselves. */
static aclnnStatus check_layouts(const struct request *r, struct args *a) {
    HC_TRY(hc_tokens_layout(r->name, "layoutQueryOptional", r->q_layout, false, &a->query));
    HC_TRY(hc_tokens_layout(r->name, "layoutKeyOptional", r->k_layout, true, &a->key));
    HC_TRY(hc_tokens_mode(r->name, a->mode, r->before, r->after));
    HC_CHECK(a->key == HC_TOKENS_PAGED || a->key == a->query, ACLNN_ERR_PARAM_INVALID,
             "%s: layoutKeyOptional is \"%s\", wanted that of the query or PA_BSND", r->name, r->k_layout);
    HC_CHECK(a->count > 0, ACLNN_ERR_PARAM_INVALID, "%s: sparseCount is %lld, wanted more than 0", r->name,
             (long long)a->count);
    return 0;
}

/* After them. `shape` becomes that of the results. */
static aclnnStatus check_others(const struct request *r, struct args *a, const char *out_name,
                                const aclTensor *out, int64_t shape[4]) {
    const aclTensor *query = r->query;
    const int64_t *n = query->shape;
    const bool packed = a->query == HC_TOKENS_TND;
    HC_TRY(hc_plain_check(r->name, "weights", r->weights, query->rank - 1, n));
    HC_CHECK(a->key != HC_TOKENS_BSND || r->key->shape[0] == n[0], ACLNN_ERR_PARAM_INVALID,
             "%s: key is %s, query %s: wanted as many sequences", r->name, HC_SHOW(r->key), HC_SHOW(query));
    HC_TRY(check_lengths(r, a));
    shape[0] = n[0], shape[1] = packed ? 1 : n[1], shape[2] = packed ? a->count : 1, shape[3] = a->count;
    return hc_plain_check_index(r->name, out_name, out, query->rank, shape);
}

/* torch_npu.npu_lightning_indexer. */
HC_API aclnnStatus aclnnLightningIndexerGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *weights,
    const aclTensor *actualSeqLengthsQueryOptional, const aclTensor *actualSeqLengthsKeyOptional,
    const aclTensor *blockTableOptional, char *layoutQueryOptional, char *layoutKeyOptional,
    int64_t sparseCount, int64_t sparseMode, int64_t preTokens, int64_t nextTokens, bool returnValues,
    const aclTensor *sparseIndicesOut, const aclTensor *sparseValuesOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnLightningIndexer";
    struct args a = {.mode = sparseMode, .count = sparseCount};
    int64_t shape[4];
    const struct request r = {NAME,
                              query,
                              key,
                              weights,
                              actualSeqLengthsQueryOptional,
                              actualSeqLengthsKeyOptional,
                              blockTableOptional,
                              layoutQueryOptional,
                              layoutKeyOptional,
                              preTokens,
                              nextTokens};
    HC_TRY(check_layouts(&r, &a));
    if (a.query == HC_TOKENS_TND) HC_TRY(HC_PLAIN_CHECK(NAME, "query", query, -1, -1, -1));
    else HC_TRY(HC_PLAIN_CHECK(NAME, "query", query, -1, -1, -1, -1));
    HC_TRY(hc_tokens_check_keys(NAME, "key", key, a.key, 1, query->shape[query->rank - 1]));
    HC_TRY(check_others(&r, &a, "sparseIndicesOut", sparseIndicesOut, shape));
    if (returnValues) HC_TRY(hc_plain_check(NAME, "sparseValuesOut", sparseValuesOut, query->rank, shape));
    const aclTensor *values = returnValues ? sparseValuesOut : NULL, *none = NULL;
    const aclTensor *table = a.key == HC_TOKENS_PAGED ? blockTableOptional : NULL;
    return HC_PLAN(NAME, run, &a, HC_IN(query), HC_IN(key), HC_IN(weights),
                   HC_IN_OPT(actualSeqLengthsQueryOptional), HC_IN_OPT(actualSeqLengthsKeyOptional),
                   HC_IN_OPT(table), HC_OUT(sparseIndicesOut), HC_OUT_OPT(values), HC_IN_OPT(none),
                   HC_IN_OPT(none));
}
HC_OP_LAUNCH(aclnnLightningIndexer)

/* A byte for each element, of the query's shape (key NULL), or of keys in their layout. */
static aclnnStatus check_quantised(const char *name, const aclTensor *query, const aclTensor *key,
                                   enum hc_tokens_layout layout) {
    const aclTensor *t = key != NULL ? key : query;
    const char *const arg = key != NULL ? "key" : "query";
    const int32_t rank = layout == HC_TOKENS_TND ? 3 : 4;
    HC_CHECK(t->dtype == ACL_INT8 || t->dtype == ACL_FLOAT8_E4M3FN || t->dtype == ACL_HIFLOAT8,
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted int8, float8_e4m3fn or hifloat8", name, arg,
             HC_SHOW(t));
    HC_CHECK(t->rank == rank, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %d dimensions", name, arg,
             HC_SHOW(t), (int)rank);
    HC_CHECK(t == query || (t->dtype == query->dtype && t->shape[rank - 2] == 1 &&
                            t->shape[rank - 1] == query->shape[query->rank - 1]),
             ACLNN_ERR_PARAM_INVALID,
             "%s: key is %s, query %s: wanted one head of as many elements and its type", name, HC_SHOW(t),
             HC_SHOW(query));
    return 0;
}

/* torch_npu.npu_quant_lightning_indexer: one scale for each query head, and for each key. */
HC_API aclnnStatus aclnnQuantLightningIndexerGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *weights,
    const aclTensor *queryDequantScale, const aclTensor *keyDequantScale,
    const aclTensor *actualSeqLengthsQueryOptional, const aclTensor *actualSeqLengthsKeyOptional,
    const aclTensor *blockTableOptional, int64_t queryQuantMode, int64_t keyQuantMode,
    char *layoutQueryOptional, char *layoutKeyOptional, int64_t sparseCount, int64_t sparseMode,
    int64_t preTokens, int64_t nextTokens, const aclTensor *out, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnQuantLightningIndexer";
    struct args a = {.mode = sparseMode, .count = sparseCount};
    int64_t shape[4];
    const struct request r = {NAME,
                              query,
                              key,
                              weights,
                              actualSeqLengthsQueryOptional,
                              actualSeqLengthsKeyOptional,
                              blockTableOptional,
                              layoutQueryOptional,
                              layoutKeyOptional,
                              preTokens,
                              nextTokens};
    HC_TRY(check_layouts(&r, &a));
    HC_CHECK(query != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: query is null", NAME);
    HC_CHECK(key != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: key is null", NAME);
    HC_CHECK(queryQuantMode == 0 && keyQuantMode == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: queryQuantMode is %lld, keyQuantMode %lld, wanted 0: a scale for each token and head", NAME,
             (long long)queryQuantMode, (long long)keyQuantMode);
    HC_TRY(check_quantised(NAME, query, NULL, a.query));
    HC_TRY(check_quantised(NAME, query, key, a.key));
    HC_TRY(hc_plain_check(NAME, "queryDequantScale", queryDequantScale, query->rank - 1, query->shape));
    HC_TRY(hc_plain_check(NAME, "keyDequantScale", keyDequantScale, key->rank - 1, key->shape));
    HC_TRY(check_others(&r, &a, "out", out, shape));
    const aclTensor *table = a.key == HC_TOKENS_PAGED ? blockTableOptional : NULL, *values = NULL;
    return HC_PLAN(NAME, run, &a, HC_IN(query), HC_IN(key), HC_IN(weights),
                   HC_IN_OPT(actualSeqLengthsQueryOptional), HC_IN_OPT(actualSeqLengthsKeyOptional),
                   HC_IN_OPT(table), HC_OUT(out), HC_OUT_OPT(values), HC_IN(queryDequantScale),
                   HC_IN(keyDequantScale));
}
HC_OP_LAUNCH(aclnnQuantLightningIndexer)
