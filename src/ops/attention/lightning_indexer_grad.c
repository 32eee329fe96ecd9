// SPDX-License-Identifier: Apache-2.0
/* Gradients of the lightning indexer (arXiv 2512.02556): of its scores themselves, or of the divergence of
 * its choice from attention's, by which it is trained:
 *
 *     loss = sum over tokens of KL(p || softmax(I)),  dI = softmax(I) - p
 *     p[j] = mean over attention's heads of exp(scale * q . k[j] - max) / sum
 *
 * where heads with sinks leave some of their weight, exp(sink - max) / sum, to no key: what all of them leave
 * to keys is then what the sum over heads is divided by, in place of their number.
 *
 * over the keys chosen for a token (sparse) or all it may see (dense). Both probabilities are at least 1e-8
 * in the logarithm. Tokens follow each other, as they add to the same keys; threads share their products. The
 * order of additions depends on shapes only. */
#include <math.h>
#include <string.h>

#include "indexer.h"

/* p[j] += exp(score[j] - max) / sum */
HC_KERNEL(indexer_target, (size_t n, float *p, const float *score, float max, float sum))
/* Scores to the gradient softmax(scores) - p, and what they add to the loss. */
HC_KERNEL(indexer_divergence,
          (size_t n, float *score, const float *p, const float *max, const float *sum, double *loss))
HC_KERNEL(indexer_statistics, (size_t n, const float *score, float *max, float *sum))

#ifdef HC_ISA
#include "simd_math.h"
#include "simd_rows.h"

enum { PART = 256 };

/* Heads are added up one after the other, in the order of the interface. */
void HC_FN(indexer_target)(size_t n, float *p, const float *score, float max, float sum) {
    const float inverse = 1.0f / sum;
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL)
        vf_store(p + i, vf_load(p + i) + vf_exp(vf_load(score + i) - max) * inverse);
    if (i < n)
        vf_store_part(p + i,
                      vf_load_part(p + i, n - i) + vf_exp(vf_load_part(score + i, n - i) - max) * inverse,
                      n - i);
}

/* As a softmax would have them: the sum is in double. */
void HC_FN(indexer_statistics)(size_t n, const float *score, float *max, float *sum) {
    double total = 0;
    *max = vf_row_max(score, n);
    const vf m = vf_set(*max);
    HC_ROW_SUM(total, n, vf_exp(vf_load(score + at) - m),
               vf_exp(vf_load_fill(score + at, rest, -__builtin_inff()) - m));
    *sum = (float)total;
}

/* NaN stays NaN. */
static inline vf at_least(vf x, float low) { return vf_select(x < low, vf_set(low), x); }

/* Parts of the row are short enough that what they add to the loss lies on the stack until it is summed. */
void HC_FN(indexer_divergence)(size_t n, float *score, const float *p, const float *max, const float *sum,
                               double *loss) {
    const float inverse = 1.0f / *sum, least = 1e-8f;
    float part[PART];
    for (size_t begin = 0; begin < n; begin += PART) {
        const size_t end = hc_min_size(n, begin + PART);
        for (size_t i = begin; i < end; i += HC_VL) {
            const size_t rest = hc_min_size(HC_VL, end - i);
            const vf s = rest == HC_VL ? vf_load(score + i) : vf_load_part(score + i, rest);
            const vf t = rest == HC_VL ? vf_load(p + i) : vf_load_part(p + i, rest);
            const vf y = vf_exp(s - *max) * inverse;
            const vf l = t * (vf_log(at_least(t, least)) - vf_log(at_least(y, least)));
            if (rest == HC_VL) vf_store(score + i, y - t);
            else vf_store_part(score + i, y - t, rest);
            vf_store(part + (i - begin), l);
        }
        *loss += vf_row_sum(part, end - begin);
    }
}

#else

struct args {
    enum hc_tokens_layout layout;
    int64_t mode, sequences, count; /* count: keys that are chosen for a token; 0: all that it may see */
    double scale;
    bool q_given, k_given;
    int64_t lengths[]; /* of queries, then of keys, where the interface gives them as numbers */
};

/* Operands of all plans; what one does not have is null. */
enum {
    QUERY,
    KEY,
    Q_ROPE,
    K_ROPE,
    Q_INDEX,
    K_INDEX,
    WEIGHTS,
    INDICES,
    GRAD,
    MAX,
    SUM,
    I_MAX,
    I_SUM,
    Q_LENGTHS,
    K_LENGTHS,
    D_QUERY,
    D_KEY,
    D_WEIGHTS,
    LOSS,
    LSE_MAX,
    LSE_SUM,
    SINKS
};

/* Attention, whose probabilities are the target: groups of H / N heads share a head of keys. */
struct attention {
    const float *q, *q_rope, *max, *sum, *sinks;
    struct hc_keys key, rope;
    size_t heads, key_heads, size, rotary;
};

/* One call. There is one indexer, and attention only where its probabilities are the target. */
struct loop {
    const struct args *a;
    struct attention at;
    const float *q, *weights, *grad, *i_max, *i_sum;
    struct hc_keys key; /* the indexer's */
    const struct hc_span *spans;
    const int64_t *chosen;
    size_t tokens, heads, size, room;
    float *dq, *dk, *dw;
    float *lse_max, *lse_sum; /* wanted alone, without gradients */
    double loss;
    /* Memory of one token: room is the most keys it may have. */
    int64_t *position;
    float *k, *products, *dk_rows, *score, *target, *aq, *ak, *logits;
};

/* For the token with the most keys: tokens follow each other, so one set is enough. */
static void take_memory(struct hc_plain *p, struct loop *l) {
    const size_t all = l->at.size + l->at.rotary, n = l->room;
    l->position = hc_plain_take(p, n, sizeof *l->position);
    l->k = hc_plain_take(p, n * l->size, sizeof(float));
    l->dk_rows = hc_plain_take(p, n * l->size, sizeof(float));
    l->products = hc_plain_take(p, n * l->heads, sizeof(float));
    l->score = hc_plain_take(p, n, sizeof(float)), l->target = hc_plain_take(p, n, sizeof(float));
    l->aq = hc_plain_take(p, l->at.heads * all, sizeof(float)),
    l->ak = hc_plain_take(p, n * all, sizeof(float));
    l->logits = hc_plain_take(p, l->at.heads * n, sizeof(float));
}

/* Keys of token i of sequence b, of those that it may see: chosen ones, up to the first -1, or all. */
static aclnnStatus find_keys(const char *op, const struct loop *l, int64_t b, int64_t i, size_t *n) {
    const struct hc_span *s = &l->spans[b];
    const int64_t visible = hc_tokens_visible(s, l->a->mode, i), count = l->a->count;
    *n = l->chosen == NULL ? (size_t)visible : 0;
    if (l->chosen == NULL) return 0;
    const int64_t *chosen = l->chosen + (s->q + i) * count;
    for (int64_t j = 0; j < count && chosen[j] != -1; j++) {
        HC_CHECK(chosen[j] >= 0 && chosen[j] < s->k_len, ACLNN_ERR_PARAM_INVALID,
                 "%s: sparseIndices has %lld for token %lld, wanted -1 to %lld", op, (long long)chosen[j],
                 (long long)(s->q + i), (long long)s->k_len - 1);
        if (chosen[j] >= visible) continue;
        if (l->grad != NULL) l->score[*n] = l->grad[(s->q + i) * count + j];
        l->position[(*n)++] = chosen[j];
    }
    return 0;
}

/* Attention's logits of the heads that share head `key_head` of keys, into the target; *left += the weight
 * that they leave to keys. */
static aclnnStatus add_target(const struct loop *l, int64_t b, int64_t i, const int64_t *position, size_t n,
                              size_t key_head, double *left) {
    const struct attention *at = &l->at;
    const struct hc_span *s = &l->spans[b];
    const size_t group = at->heads / at->key_heads, all = at->size + at->rotary;
    const size_t token = (size_t)(s->q + i), first = token * at->heads + key_head * group;
    struct hc_keys key = at->key, rope = at->rope;
    key.head = rope.head = (int64_t)key_head;
    for (size_t h = 0; h < group; h++) {
        memcpy(l->aq + h * all, at->q + (first + h) * at->size, at->size * sizeof(float));
        if (at->rotary > 0)
            memcpy(l->aq + h * all + at->size, at->q_rope + (first + h) * at->rotary,
                   at->rotary * sizeof(float));
    }
    hc_keys_gather(&key, b, s, position, n, l->ak, all);
    hc_keys_gather(&rope, b, s, position, n, l->ak + at->size, all);
    HC_TRY(hc_tokens_product(group, n, all, (struct hc_matrix){l->aq, (int64_t)all, 1},
                             (struct hc_matrix){l->ak, 1, (int64_t)all}, l->logits, n, l->a->scale));
    /* Statistics are [B, N, S, group] or [N, T, group]. */
    const bool packed = l->a->layout == HC_TOKENS_TND;
    const size_t per = packed ? l->tokens : l->tokens / hc_max_size(1, (size_t)l->a->sequences);
    const size_t row =
        packed ? key_head * per + token : ((size_t)b * at->key_heads + key_head) * per + (size_t)i;
    for (size_t h = 0; h < group; h++) {
        const float max = at->max[row * group + h], sum = at->sum[row * group + h];
        HC_DISPATCH(indexer_target)(n, l->target, l->logits + h * n, max, sum);
        *left +=
            at->sinks != NULL ? 1 - exp((double)(at->sinks[key_head * group + h] - max)) / (double)sum : 1;
    }
    return 0;
}

/* The gradient of one token's scores in their place, and its loss. */
static aclnnStatus score_gradients(struct loop *l, int64_t b, int64_t i, const int64_t *position, size_t n) {
    const size_t token = (size_t)(l->spans[b].q + i);
    memset(l->target, 0, n * sizeof *l->target);
    double left = 0;
    for (size_t h = 0; h < l->at.key_heads; h++) HC_TRY(add_target(l, b, i, position, n, h, &left));
    /* Sinks that have all the weight leave no target to learn from. */
    const float factor = left > 0 ? (float)(1 / left) : 0;
    for (size_t j = 0; j < n; j++) l->target[j] *= factor;
    float max, sum;
    if (l->i_max != NULL) max = l->i_max[token], sum = l->i_sum[token];
    else HC_DISPATCH(indexer_statistics)(n, l->score, &max, &sum);
    HC_DISPATCH(indexer_divergence)(n, l->score, l->target, &max, &sum, &l->loss);
    return 0;
}

/* What a token that sees no key has: no gradients, and statistics of nothing. */
static void empty_token(const struct loop *l, size_t token) {
    if (l->lse_max != NULL) l->lse_max[token] = -INFINITY, l->lse_sum[token] = 0;
}

/* Everything about token i of sequence b: its keys, its scores, what their gradient is, and where that goes.
 */
static aclnnStatus run_token(const char *op, struct loop *l, int64_t b, int64_t i) {
    const struct hc_span *s = &l->spans[b];
    const size_t token = (size_t)(s->q + i);
    size_t n;
    HC_TRY(find_keys(op, l, b, i, &n));
    if (n == 0) {
        empty_token(l, token);
        return 0;
    }
    const int64_t *position = l->chosen != NULL ? l->position : NULL;
    const struct hc_indexer_token t = {
        l->heads, l->size,     n,         l->q + token * l->heads * l->size, l->weights + token * l->heads,
        l->k,     l->products, l->dk_rows};
    if (position != NULL) hc_keys_gather(&l->key, b, s, position, n, l->k, l->size);
    if (l->lse_max != NULL) {
        HC_TRY(hc_indexer_scores(&t, l->score));
        HC_DISPATCH(indexer_statistics)(n, l->score, l->lse_max + token, l->lse_sum + token);
        return 0;
    }
    if (l->grad != NULL) {
        /* The gradient of the scores is given and lies in their place already. */
        HC_TRY(hc_indexer_scores(&t, l->target));
    } else {
        HC_TRY(hc_indexer_scores(&t, l->score));
        HC_TRY(score_gradients(l, b, i, position, n));
    }
    const aclTensor *key = l->key.t;
    const size_t first = (size_t)(l->a->layout == HC_TOKENS_TND ? s->k : b * key->shape[1]);
    return hc_indexer_gradients(&t, l->score, position, l->dq + token * l->heads * l->size,
                                l->dw + token * l->heads, l->dk + first * l->size);
}

/* A token that sees nothing, and a key that nobody sees, have gradients of 0. */
static float *zeroed_out(struct hc_plain *p, const aclTensor *t) {
    float *x = hc_plain_out(p, t);
    if (x != NULL) memset(x, 0, hc_numel(t) * sizeof *x);
    return x;
}

/* Of the losses; the gradient of scores has no attention. */
static struct attention open_attention(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const aclTensor *query = hc_arg(call, QUERY), *key = hc_arg(call, KEY);
    if (query == NULL) return (struct attention){.key_heads = 1};
    struct attention at = {.q = hc_plain_in(p, query),
                           .q_rope = hc_plain_in(p, hc_arg(call, Q_ROPE)),
                           .max = hc_plain_in(p, hc_arg(call, MAX)),
                           .sum = hc_plain_in(p, hc_arg(call, SUM)),
                           .sinks = hc_plain_in(p, hc_arg(call, SINKS)),
                           .key = {key, a->layout, NULL, 0, 0},
                           .rope = {hc_arg(call, K_ROPE), a->layout, NULL, 0, 0},
                           .heads = (size_t)query->shape[query->rank - 2],
                           .key_heads = (size_t)key->shape[key->rank - 2],
                           .size = (size_t)query->shape[query->rank - 1]};
    at.rotary = hc_keys_size(&at.rope);
    return at;
}

/* Opens what there is of the operands: what a plan does not have is NULL, and its step is left out. */
static aclnnStatus compute(const struct hc_call *call, struct hc_plain *p, struct loop *l) {
    const struct args *a = call->args;
    const bool packed = a->layout == HC_TOKENS_TND;
    const aclTensor *query = hc_arg(call, Q_INDEX), *key = hc_arg(call, K_INDEX);
    l->a = a, l->at = open_attention(call, p);
    l->q = hc_plain_in(p, query), l->weights = hc_plain_in(p, hc_arg(call, WEIGHTS));
    l->grad = hc_plain_in(p, hc_arg(call, GRAD));
    l->i_max = hc_plain_in(p, hc_arg(call, I_MAX)), l->i_sum = hc_plain_in(p, hc_arg(call, I_SUM));
    l->chosen = hc_plain_index(p, "sparseIndices", hc_arg(call, INDICES), INT64_MIN, INT64_MAX);
    l->key = (struct hc_keys){key, a->layout, NULL, 0, 0};
    l->tokens = (size_t)hc_tokens_count(query, packed);
    l->heads = (size_t)query->shape[query->rank - 2], l->size = (size_t)query->shape[query->rank - 1];
    l->room = (size_t)(a->count > 0 ? a->count : key->shape[packed ? 0 : 1]);
    const int64_t *q_lengths =
        hc_plain_index(p, "the lengths of the queries", hc_arg(call, Q_LENGTHS), 0, INT64_MAX);
    const int64_t *k_lengths =
        hc_plain_index(p, "the lengths of the keys", hc_arg(call, K_LENGTHS), 0, INT64_MAX);
    if (a->q_given) q_lengths = a->lengths;
    if (a->k_given) k_lengths = a->lengths + (a->q_given ? a->sequences : 0);
    if (p->status == 0)
        l->spans = hc_tokens_spans(p, query, packed, &l->key, q_lengths, k_lengths, a->sequences);
    take_memory(p, l);
    l->dq = zeroed_out(p, hc_arg(call, D_QUERY)), l->dk = zeroed_out(p, hc_arg(call, D_KEY));
    l->dw = zeroed_out(p, hc_arg(call, D_WEIGHTS));
    float *loss = hc_plain_out(p, hc_arg(call, LOSS));
    l->lse_max = zeroed_out(p, hc_arg(call, LSE_MAX)), l->lse_sum = zeroed_out(p, hc_arg(call, LSE_SUM));
    if (p->status != 0) return p->status;
    for (int64_t b = 0; b < a->sequences; b++) {
        /* All keys of a sequence stay; chosen ones are gathered by each token. */
        if (l->chosen == NULL)
            hc_keys_gather(&l->key, b, &l->spans[b], NULL, (size_t)l->spans[b].k_len, l->k, l->size);
        for (int64_t i = 0; i < l->spans[b].q_len; i++) HC_TRY(run_token(call->name, l, b, i));
    }
    if (loss != NULL) *loss = (float)l->loss;
    return 0;
}

static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct loop l = {0};
    return hc_plain_close(&p, compute(call, &p, &l));
}

/* The indexer's operands, in all plans. */
struct inputs {
    const char *name;
    const aclTensor *query, *key, *weights, *dq, *dk, *dw;
    const char *layout;
    int64_t mode, before, after;
};

/* The indexer's shapes, which all operators here share. */
static aclnnStatus check(const struct inputs *in, struct args *a) {
    const char *name = in->name;
    HC_TRY(hc_tokens_layout(name, "layout", in->layout, false, &a->layout));
    HC_TRY(hc_tokens_mode(name, in->mode, in->before, in->after));
    a->mode = in->mode;
    if (a->layout == HC_TOKENS_TND)
        HC_TRY(HC_PLAIN_CHECK(name, "the indexer's query", in->query, -1, -1, -1));
    else HC_TRY(HC_PLAIN_CHECK(name, "the indexer's query", in->query, -1, -1, -1, -1));
    const int32_t rank = in->query->rank;
    HC_TRY(
        hc_tokens_check_keys(name, "the indexer's key", in->key, a->layout, 1, in->query->shape[rank - 1]));
    HC_CHECK(a->layout == HC_TOKENS_TND || in->key->shape[0] == in->query->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: the indexer's key is %s, its query %s: wanted as many sequences", name, HC_SHOW(in->key),
             HC_SHOW(in->query));
    HC_TRY(hc_plain_check(name, "weights", in->weights, rank - 1, in->query->shape));
    a->sequences = in->query->shape[0];
    return 0;
}

/* Gradients have the shapes of what they are gradients of. */
static aclnnStatus check_gradients(const struct inputs *in) {
    const int32_t rank = in->query->rank;
    HC_TRY(hc_plain_check(in->name, "the gradient of the query", in->dq, rank, in->query->shape));
    HC_TRY(hc_plain_check(in->name, "the gradient of the key", in->dk, rank, in->key->shape));
    return hc_plain_check(in->name, "the gradient of the weights", in->dw, rank - 1, in->query->shape);
}

/* Chosen keys of every token: [.., 1, count], or without the 1. */
static aclnnStatus check_indices(const struct inputs *in, const aclTensor *t, struct args *a) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: sparseIndices is null", in->name);
    const int64_t tokens = hc_tokens_count(in->query, a->layout == HC_TOKENS_TND);
    HC_CHECK((t->dtype == ACL_INT32 || t->dtype == ACL_INT64) && t->rank >= 2 && t->shape[t->rank - 1] > 0 &&
                 t->numel == tokens * t->shape[t->rank - 1],
             ACLNN_ERR_PARAM_INVALID,
             "%s: sparseIndices is %s, wanted a row of int32 for each of %lld tokens", in->name, HC_SHOW(t),
             (long long)tokens);
    a->count = t->shape[t->rank - 1];
    return 0;
}

/* torch_npu.npu_lightning_indexer_grad: of the scores of the chosen keys. Results are the same bits with and
 * without `deterministic`; headNum says nothing that the query does not. */
HC_API aclnnStatus aclnnLightningIndexerGradGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *dy, const aclTensor *sparseIndices,
    const aclTensor *weights, const aclTensor *actualSeqQLenOptional, const aclTensor *actualSeqKvLenOptional,
    int64_t headNum, char *inputLayout, int64_t sparseMode, int64_t preTokens, int64_t nextTokens,
    bool deterministic, const aclTensor *dqOut, const aclTensor *dkOut, const aclTensor *dweightsOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)headNum, (void)deterministic;
    static const char NAME[] = "aclnnLightningIndexerGrad";
    const struct inputs in = {NAME,        query,       key,        weights,   dqOut,     dkOut,
                              dweightsOut, inputLayout, sparseMode, preTokens, nextTokens};
    struct args a = {0};
    HC_TRY(check(&in, &a));
    HC_TRY(check_gradients(&in));
    HC_TRY(check_indices(&in, sparseIndices, &a));
    HC_CHECK(dy != NULL && hc_fits_f32(dy->dtype) && dy->numel == sparseIndices->numel,
             ACLNN_ERR_PARAM_INVALID, "%s: dy is %s, wanted a gradient for each of sparseIndices %s", NAME,
             dy ? HC_SHOW(dy) : "null", HC_SHOW(sparseIndices));
    if (a.layout == HC_TOKENS_TND) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "actualSeqQLenOptional", actualSeqQLenOptional, -1));
        a.sequences = actualSeqQLenOptional->shape[0];
        HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "actualSeqKvLenOptional", actualSeqKvLenOptional, a.sequences));
    }
    if (actualSeqQLenOptional != NULL)
        HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "actualSeqQLenOptional", actualSeqQLenOptional, a.sequences));
    if (actualSeqKvLenOptional != NULL)
        HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "actualSeqKvLenOptional", actualSeqKvLenOptional, a.sequences));
    const aclTensor *none = NULL;
    return HC_PLAN(NAME, run, &a, HC_IN_OPT(none), HC_IN_OPT(none), HC_IN_OPT(none), HC_IN_OPT(none),
                   HC_IN(query), HC_IN(key), HC_IN(weights), HC_IN(sparseIndices), HC_IN(dy), HC_IN_OPT(none),
                   HC_IN_OPT(none), HC_IN_OPT(none), HC_IN_OPT(none), HC_IN_OPT(actualSeqQLenOptional),
                   HC_IN_OPT(actualSeqKvLenOptional), HC_OUT(dqOut), HC_OUT(dkOut), HC_OUT(dweightsOut),
                   HC_OUT_OPT(none), HC_OUT_OPT(none), HC_OUT_OPT(none), HC_IN_OPT(none));
}
HC_OP_LAUNCH(aclnnLightningIndexerGrad)

/* What the losses have besides the indexer. */
struct target {
    const aclTensor *query, *key, *q_rope, *k_rope, *max, *sum, *i_max, *i_sum, *indices, *loss, *lse_max,
        *lse_sum;
    const aclIntArray *q_lengths, *k_lengths;
    double scale;
    const aclTensor *sinks; /* of attention's heads, or NULL */
};

/* [B, heads, S, group] or [heads, T, group]; without the last dimension where group is 0. */
static aclnnStatus check_statistics(const struct inputs *in, const struct args *a, const char *arg,
                                    const aclTensor *t, int64_t heads, int64_t group) {
    const int64_t *n = in->query->shape;
    const bool packed = a->layout == HC_TOKENS_TND;
    const int64_t shape[4] = {packed ? heads : n[0], packed ? n[0] : heads, packed ? group : n[1], group};
    return hc_plain_check(in->name, arg, t, (packed ? 2 : 3) + (group > 0), shape);
}

/* Attention's operands: the same tokens, heads of queries in groups. */
static aclnnStatus check_attention(const struct inputs *in, const struct target *t, const struct args *a) {
    const char *name = in->name;
    int64_t shape[4];
    const int32_t rank = in->query->rank;
    memcpy(shape, in->query->shape, sizeof shape);
    shape[rank - 2] = shape[rank - 1] = -1;
    HC_TRY(hc_plain_check(name, "query", t->query, rank, shape));
    memcpy(shape, in->key->shape, sizeof shape);
    shape[rank - 2] = -1, shape[rank - 1] = t->query->shape[rank - 1];
    HC_TRY(hc_plain_check(name, "key", t->key, rank, shape));
    const int64_t heads = t->query->shape[rank - 2], key_heads = t->key->shape[rank - 2];
    HC_CHECK(key_heads > 0 && heads % key_heads == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: query is %s, key %s: wanted a multiple of its heads", name, HC_SHOW(t->query),
             HC_SHOW(t->key));
    HC_CHECK((t->q_rope == NULL) == (t->k_rope == NULL), ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             t->q_rope == NULL ? "queryRope" : "keyRope");
    if (t->q_rope != NULL) {
        memcpy(shape, t->query->shape, sizeof shape);
        shape[rank - 1] = -1;
        HC_TRY(hc_plain_check(name, "queryRope", t->q_rope, rank, shape));
        memcpy(shape, t->key->shape, sizeof shape);
        shape[rank - 1] = t->q_rope->shape[rank - 1];
        HC_TRY(hc_plain_check(name, "keyRope", t->k_rope, rank, shape));
    }
    if (t->sinks != NULL) HC_TRY(HC_PLAIN_CHECK(name, "sinks", t->sinks, heads));
    HC_TRY(check_statistics(in, a, "softmaxMax", t->max, key_heads, heads / key_heads));
    HC_TRY(check_statistics(in, a, "softmaxSum", t->sum, key_heads, heads / key_heads));
    HC_CHECK(t->loss != NULL && t->loss->numel == 1 && hc_fits_f32(t->loss->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: loss is %s, wanted one number", name, t->loss != NULL ? HC_SHOW(t->loss) : "null");
    return 0;
}

/* A client that has no lengths may pass a list without any. */
static const aclIntArray *given_lengths(const aclIntArray *list) {
    return list != NULL && list->size > 0 ? list : NULL;
}

/* Numbers of sequences travel behind the other arguments, as the caller's arrays do not outlive this call. */
static aclnnStatus plan_with_lengths(const struct inputs *in, const struct target *t,
                                     const struct args *given, uint64_t *workspaceSize,
                                     aclOpExecutor **executor) {
    const bool packed = given->layout == HC_TOKENS_TND;
    const aclIntArray *q = given_lengths(t->q_lengths), *k = given_lengths(t->k_lengths);
    const size_t sequences = packed && q != NULL ? q->size : (size_t)given->sequences;
    HC_CHECK(!packed || (q != NULL && k != NULL), ACLNN_ERR_PARAM_NULLPTR,
             "%s: the lengths of the %s are null", in->name, q == NULL ? "queries" : "keys");
    HC_CHECK((q == NULL || q->size == sequences) && (k == NULL || k->size == sequences),
             ACLNN_ERR_PARAM_INVALID, "%s: there are lengths of %zu and %zu sequences, wanted %zu", in->name,
             q != NULL ? q->size : 0, k != NULL ? k->size : 0, sequences);
    const size_t bytes = sizeof *given + 2 * sequences * sizeof(int64_t);
    struct args *a = hc_block_take_zeroed(1, bytes);
    HC_CHECK(a != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu lengths", in->name, sequences);
    *a = *given;
    a->sequences = (int64_t)sequences, a->q_given = q != NULL, a->k_given = k != NULL, a->scale = t->scale;
    if (q != NULL) memcpy(a->lengths, q->data, sequences * sizeof(int64_t));
    if (k != NULL) memcpy(a->lengths + (q != NULL ? sequences : 0), k->data, sequences * sizeof(int64_t));
    const aclTensor *none = NULL;
    const struct hc_operand operands[] = {
        HC_IN_OPT(t->query),    HC_IN_OPT(t->key),  HC_IN_OPT(t->q_rope), HC_IN_OPT(t->k_rope),
        HC_IN(in->query),       HC_IN(in->key),     HC_IN(in->weights),   HC_IN_OPT(t->indices),
        HC_IN_OPT(none),        HC_IN_OPT(t->max),  HC_IN_OPT(t->sum),    HC_IN_OPT(t->i_max),
        HC_IN_OPT(t->i_sum),    HC_IN_OPT(none),    HC_IN_OPT(none),      HC_OUT_OPT(in->dq),
        HC_OUT_OPT(in->dk),     HC_OUT_OPT(in->dw), HC_OUT_OPT(t->loss),  HC_OUT_OPT(t->lse_max),
        HC_OUT_OPT(t->lse_sum), HC_IN_OPT(t->sinks)};
    const aclnnStatus status = hc_plan(&(const struct hc_plan){.name = in->name,
                                                               .run = run,
                                                               .args = a,
                                                               .args_size = bytes,
                                                               .operands = operands,
                                                               .num_operands = HC_ARRAY_SIZE(operands)},
                                       workspaceSize, executor);
    hc_block_give(a);
    return status;
}

/* The loss over chosen keys, of either version. */
static aclnnStatus plan_sparse(const struct inputs *in, const struct target *t, uint64_t *workspaceSize,
                               aclOpExecutor **executor) {
    struct args a = {0};
    HC_TRY(check(in, &a));
    HC_TRY(check_gradients(in));
    HC_TRY(check_indices(in, t->indices, &a));
    HC_TRY(check_attention(in, t, &a));
    return plan_with_lengths(in, t, &a, workspaceSize, executor);
}

/* torch_npu.npu_sparse_lightning_indexer_grad_kl_loss without sinks. */
HC_API aclnnStatus aclnnSparseLightningIndexerGradKLLossGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *queryIndex, const aclTensor *keyIndex,
    const aclTensor *weights, const aclTensor *sparseIndices, const aclTensor *softmaxMax,
    const aclTensor *softmaxSum, const aclTensor *queryRope, const aclTensor *keyRope,
    const aclIntArray *actualSeqLengthsQuery, const aclIntArray *actualSeqLengthsKey, double scaleValue,
    char *layout, int64_t sparseMode, int64_t pre_tokens, int64_t next_tokens, bool deterministic,
    const aclTensor *dQueryIndex, const aclTensor *dKeyIndex, const aclTensor *dWeights,
    const aclTensor *loss, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)deterministic;
    return plan_sparse(&(const struct inputs){"aclnnSparseLightningIndexerGradKLLoss", queryIndex, keyIndex,
                                              weights, dQueryIndex, dKeyIndex, dWeights, layout, sparseMode,
                                              pre_tokens, next_tokens},
                       &(const struct target){.query = query,
                                              .key = key,
                                              .q_rope = queryRope,
                                              .k_rope = keyRope,
                                              .max = softmaxMax,
                                              .sum = softmaxSum,
                                              .indices = sparseIndices,
                                              .loss = loss,
                                              .q_lengths = actualSeqLengthsQuery,
                                              .k_lengths = actualSeqLengthsKey,
                                              .scale = scaleValue},
                       workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSparseLightningIndexerGradKLLoss)

/* The same of attention with sinks, whose statistics count them. */
HC_API aclnnStatus aclnnSparseLightningIndexerGradKLLossV2GetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *queryIndex, const aclTensor *keyIndex,
    const aclTensor *weights, const aclTensor *sparseIndices, const aclTensor *softmaxMax,
    const aclTensor *softmaxSum, const aclTensor *queryRope, const aclTensor *keyRope,
    const aclIntArray *actualSeqLengthsQuery, const aclIntArray *actualSeqLengthsKey, const aclTensor *sinks,
    double scaleValue, char *layout, int64_t sparseMode, int64_t preTokens, int64_t nextTokens,
    bool deterministic, const aclTensor *dQueryIndex, const aclTensor *dKeyIndex, const aclTensor *dWeights,
    aclTensor *loss, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)deterministic;
    return plan_sparse(&(const struct inputs){"aclnnSparseLightningIndexerGradKLLossV2", queryIndex, keyIndex,
                                              weights, dQueryIndex, dKeyIndex, dWeights, layout, sparseMode,
                                              preTokens, nextTokens},
                       &(const struct target){.query = query,
                                              .key = key,
                                              .q_rope = queryRope,
                                              .k_rope = keyRope,
                                              .max = softmaxMax,
                                              .sum = softmaxSum,
                                              .indices = sparseIndices,
                                              .loss = loss,
                                              .q_lengths = actualSeqLengthsQuery,
                                              .k_lengths = actualSeqLengthsKey,
                                              .scale = scaleValue,
                                              .sinks = sinks},
                       workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSparseLightningIndexerGradKLLossV2)

/* torch_npu.npu_dense_lightning_indexer_grad_kl_loss, over all keys that a token may see. */
HC_API aclnnStatus aclnnDenseLightningIndexerGradKLLossGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *queryIndex, const aclTensor *keyIndex,
    const aclTensor *weights, const aclTensor *softmaxMax, const aclTensor *softmaxSum,
    const aclTensor *softmaxMaxIndex, const aclTensor *softmaxSumIndex, const aclTensor *queryRope,
    const aclTensor *keyRope, const aclIntArray *actualSeqLengthsQuery,
    const aclIntArray *actualSeqLengthsKey, double scaleValue, char *layout, int64_t sparseMode,
    int64_t preTokens, int64_t nextTokens, const aclTensor *dQueryIndex, const aclTensor *dKeyIndex,
    const aclTensor *dWeights, const aclTensor *loss, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct inputs in = {"aclnnDenseLightningIndexerGradKLLoss",
                              queryIndex,
                              keyIndex,
                              weights,
                              dQueryIndex,
                              dKeyIndex,
                              dWeights,
                              layout,
                              sparseMode,
                              preTokens,
                              nextTokens};
    const struct target t = {.query = query,
                             .key = key,
                             .q_rope = queryRope,
                             .k_rope = keyRope,
                             .max = softmaxMax,
                             .sum = softmaxSum,
                             .i_max = softmaxMaxIndex,
                             .i_sum = softmaxSumIndex,
                             .loss = loss,
                             .q_lengths = actualSeqLengthsQuery,
                             .k_lengths = actualSeqLengthsKey,
                             .scale = scaleValue};
    struct args a = {0};
    HC_TRY(check(&in, &a));
    HC_TRY(check_gradients(&in));
    HC_TRY(check_attention(&in, &t, &a));
    HC_TRY(check_statistics(&in, &a, "softmaxMaxIndex", softmaxMaxIndex, 1, 0));
    HC_TRY(check_statistics(&in, &a, "softmaxSumIndex", softmaxSumIndex, 1, 0));
    return plan_with_lengths(&in, &t, &a, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDenseLightningIndexerGradKLLoss)

/* torch_npu.npu_dense_lightning_indexer_softmax_lse: maximum and sum of the exponentials of a token's scores.
 */
HC_API aclnnStatus aclnnDenseLightningIndexerSoftmaxLseGetWorkspaceSize(
    const aclTensor *queryIndex, const aclTensor *keyIndex, const aclTensor *weight,
    const aclIntArray *actualSeqLengthsQueryOptional, const aclIntArray *actualSeqLengthsKeyOptional,
    char *layoutOptional, int64_t sparseMode, int64_t preTokens, int64_t nextTokens,
    const aclTensor *softmaxMaxOut, const aclTensor *softmaxSumOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    const struct inputs in = {"aclnnDenseLightningIndexerSoftmaxLse",
                              queryIndex,
                              keyIndex,
                              weight,
                              NULL,
                              NULL,
                              NULL,
                              layoutOptional,
                              sparseMode,
                              preTokens,
                              nextTokens};
    const struct target t = {.lse_max = softmaxMaxOut,
                             .lse_sum = softmaxSumOut,
                             .q_lengths = actualSeqLengthsQueryOptional,
                             .k_lengths = actualSeqLengthsKeyOptional};
    struct args a = {0};
    HC_TRY(check(&in, &a));
    HC_TRY(check_statistics(&in, &a, "softmaxMaxOut", softmaxMaxOut, 1, 0));
    HC_TRY(check_statistics(&in, &a, "softmaxSumOut", softmaxSumOut, 1, 0));
    return plan_with_lengths(&in, &t, &a, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDenseLightningIndexerSoftmaxLse)
#endif
