// SPDX-License-Identifier: Apache-2.0
/* Which keys a query token attends to: those with the largest scores
 *
 *     score[j] = sum over heads of weight[h] * relu(q[h] . k[j])
 *
 * of those it may see, in descending order, the earlier one first where two are equal; -1 (and -inf) behind
 * them. Scores of some tokens are one product of matrices, all their heads below each other, which is added
 * up and selected from while the next level of cache holds it. */
#include <math.h>
#include <stdatomic.h>

#include "indexer.h"
#include "top_k_top_p.h"

enum { CHUNK = 1 << 21 }; /* scores of all heads that are made at once */

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

/* Operands query, key, weights, two lengths, table, indices, values. */
struct call {
    const float *q, *weights;
    struct hc_keys keys;
    const struct hc_span *spans;
    float *key_rows, *scores; /* of one sequence */
    size_t heads, size, chunk;
};

/* Room for the longest sequence, and for as many of its tokens as fit into CHUNK scores. */
static void take_room(struct hc_plain *p, const struct args *a, struct call *c) {
    int64_t most = 1;
    for (int64_t b = 0; b < a->sequences && p->status == 0; b++) most = hc_max_i64(most, c->spans[b].k_len);
    c->chunk = hc_max_size(1, CHUNK / ((size_t)most * hc_max_size(c->heads, 1)));
    c->key_rows = hc_plain_take(p, (size_t)most * c->size, sizeof(float));
    c->scores = hc_plain_take(p, c->chunk * c->heads * (size_t)most, sizeof(float));
}

/* Keys are converted once for a sequence, then chunks of its tokens follow. */
static aclnnStatus run_sequence(const struct call *c, int64_t b, struct loop *l) {
    const struct hc_span *s = l->span = &c->spans[b];
    const int64_t size = (int64_t)c->size;
    l->keys = s->k_len;
    hc_keys_gather(&c->keys, b, s, NULL, (size_t)s->k_len, c->key_rows, c->size);
    for (l->first = 0; l->first < s->q_len; l->first += (int64_t)c->chunk) {
        const size_t tokens = hc_min_size(c->chunk, (size_t)(s->q_len - l->first));
        const float *q = c->q + (s->q + l->first) * (int64_t)c->heads * size;
        HC_TRY(hc_tokens_product(tokens * c->heads, (size_t)s->k_len, c->size, (struct hc_matrix){q, size, 1},
                                 (struct hc_matrix){c->key_rows, 1, size}, c->scores, (size_t)s->k_len, 1));
        hc_parallel_for(tokens, 1, select_tokens, l);
        HC_CHECK(!atomic_load(&l->failed), ACLNN_ERR_INNER, "aclnnLightningIndexer: out of host memory");
    }
    return 0;
}

/* Rows that are no token's keep -1: a row of BSND may be longer than its sequence. */
static aclnnStatus compute(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const aclTensor *query = hc_arg(call, 0), *table = hc_arg(call, 5), *index = hc_arg(call, 6);
    struct call c = {.q = hc_plain_in(p, query),
                     .weights = hc_plain_in(p, hc_arg(call, 2)),
                     .keys = {hc_arg(call, 1), a->key,
                              hc_plain_index(p, "blockTableOptional", table, INT64_MIN, INT64_MAX),
                              table != NULL ? table->shape[1] : 0, 0},
                     .heads = (size_t)query->shape[query->rank - 2],
                     .size = (size_t)query->shape[query->rank - 1]};
    const int64_t *q_lengths =
        hc_plain_index(p, "actualSeqLengthsQueryOptional", hc_arg(call, 3), 0, INT64_MAX);
    const int64_t *k_lengths =
        hc_plain_index(p, "actualSeqLengthsKeyOptional", hc_arg(call, 4), 0, INT64_MAX);
    if (p->status == 0)
        c.spans =
            hc_tokens_spans(p, query, a->query == HC_TOKENS_TND, &c.keys, q_lengths, k_lengths, a->sequences);
    if (p->status == 0) take_room(p, a, &c);
    struct loop l = {.a = a, .weights = c.weights, .heads = c.heads, .scores = c.scores};
    l.index = hc_plain_out_index(p, index);
    l.value = hc_plain_out(p, hc_arg(call, 7));
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

static const char NAME[] = "aclnnLightningIndexer";

/* Lengths and table where the layouts ask for them. */
static aclnnStatus check_lengths(struct args *a, const aclTensor *query, const aclTensor *q_lengths,
                                 const aclTensor *k_lengths, const aclTensor *table) {
    a->sequences = query->shape[0];
    if (a->query == HC_TOKENS_TND) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "actualSeqLengthsQueryOptional", q_lengths, -1));
        a->sequences = q_lengths->shape[0];
    } else if (q_lengths != NULL) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "actualSeqLengthsQueryOptional", q_lengths, a->sequences));
    }
    if (a->key != HC_TOKENS_BSND || k_lengths != NULL)
        HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "actualSeqLengthsKeyOptional", k_lengths, a->sequences));
    if (a->key == HC_TOKENS_PAGED)
        HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "blockTableOptional", table, a->sequences, -1));
    return 0;
}

/* torch_npu.npu_lightning_indexer. */
HC_API aclnnStatus aclnnLightningIndexerGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *weights,
    const aclTensor *actualSeqLengthsQueryOptional, const aclTensor *actualSeqLengthsKeyOptional,
    const aclTensor *blockTableOptional, char *layoutQueryOptional, char *layoutKeyOptional,
    int64_t sparseCount, int64_t sparseMode, int64_t preTokens, int64_t nextTokens, bool returnValues,
    const aclTensor *sparseIndicesOut, const aclTensor *sparseValuesOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    struct args a = {.mode = sparseMode, .count = sparseCount};
    HC_TRY(hc_tokens_layout(NAME, "layoutQueryOptional", layoutQueryOptional, false, &a.query));
    HC_TRY(hc_tokens_layout(NAME, "layoutKeyOptional", layoutKeyOptional, true, &a.key));
    HC_TRY(hc_tokens_mode(NAME, sparseMode, preTokens, nextTokens));
    HC_CHECK(a.key == HC_TOKENS_PAGED || a.key == a.query, ACLNN_ERR_PARAM_INVALID,
             "%s: layoutKeyOptional is \"%s\", wanted that of the query or PA_BSND", NAME, layoutKeyOptional);
    HC_CHECK(sparseCount > 0, ACLNN_ERR_PARAM_INVALID, "%s: sparseCount is %lld, wanted more than 0", NAME,
             (long long)sparseCount);
    const bool packed = a.query == HC_TOKENS_TND;
    if (packed) HC_TRY(HC_PLAIN_CHECK(NAME, "query", query, -1, -1, -1));
    else HC_TRY(HC_PLAIN_CHECK(NAME, "query", query, -1, -1, -1, -1));
    HC_TRY(hc_tokens_check_keys(NAME, "key", key, a.key, 1, query->shape[query->rank - 1]));
    HC_TRY(hc_plain_check(NAME, "weights", weights, query->rank - 1, query->shape));
    HC_CHECK(a.key != HC_TOKENS_BSND || key->shape[0] == query->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: key is %s, query %s: wanted as many sequences", NAME, HC_SHOW(key), HC_SHOW(query));
    HC_TRY(check_lengths(&a, query, actualSeqLengthsQueryOptional, actualSeqLengthsKeyOptional,
                         blockTableOptional));
    const int64_t *n = query->shape,
                  shape[4] = {n[0], packed ? 1 : n[1], packed ? sparseCount : 1, sparseCount};
    HC_TRY(hc_plain_check_index(NAME, "sparseIndicesOut", sparseIndicesOut, query->rank, shape));
    if (returnValues) HC_TRY(hc_plain_check(NAME, "sparseValuesOut", sparseValuesOut, query->rank, shape));
    const aclTensor *values = returnValues ? sparseValuesOut : NULL;
    const aclTensor *table = a.key == HC_TOKENS_PAGED ? blockTableOptional : NULL;
    return HC_PLAN(NAME, run, &a, HC_IN(query), HC_IN(key), HC_IN(weights),
                   HC_IN_OPT(actualSeqLengthsQueryOptional), HC_IN_OPT(actualSeqLengthsKeyOptional),
                   HC_IN_OPT(table), HC_OUT(sparseIndicesOut), HC_OUT_OPT(values));
}
HC_OP_LAUNCH(aclnnLightningIndexer)
