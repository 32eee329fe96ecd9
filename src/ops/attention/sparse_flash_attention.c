// SPDX-License-Identifier: Apache-2.0
/* Attention of every query token over the tokens that an indexer has chosen for it, and its gradients.
 *
 *     out = softmax(scale * [q, qRope] [k, kRope]^T) v,   over the chosen blocks of sparseBlockSize tokens
 *
 * All heads of queries share one head of keys (latent attention with absorbed projections, arXiv 2405.04434),
 * so the chosen keys of a token are gathered once and everything is products of matrices. Forward, tokens go
 * to threads; backward, they follow each other, as they add to the same keys, and threads share each product.
 * Sinks are logits without a value, one for each head. */
#include <stdatomic.h>
#include <string.h>

#include "sparse_tokens.h"

/* A row of scores to probabilities, in place; *max and *sum of it and of its sink (NULL: none). */
HC_KERNEL(sparse_softmax, (size_t n, float *x, const float *sink, float *max, float *sum))
/* Scores to probabilities, and gradients of probabilities to those of scores: dx = x * (dx - delta) * scale.
 */
HC_KERNEL(sparse_softmax_grad,
          (size_t n, float *x, float *dx, float max, float sum, float delta, float scale))
HC_KERNEL(sparse_dot, (size_t n, const float *a, const float *b, float *dot))

#ifdef HC_ISA
#include "simd_softmax.h"

/* A row without keys and without a sink has maximum -inf and sum 0, and no element that would be NaN. */
void HC_FN(sparse_softmax)(size_t n, float *x, const float *sink, float *max, float *sum) {
    double total = 0;
    HC_ROW_MAX(*max, n, vf_max_number, vf_load(x + at), vf_load_fill(x + at, rest, -__builtin_inff()));
    if (sink != NULL && *sink > *max) *max = *sink;
    const vf m = vf_set(*max);
    HC_ROW_SUM(total, n, vf_exp_store(x + at, x + at, m), vf_exp_store_part(x + at, x + at, m, rest));
    if (sink != NULL) total += (double)expf(*sink - *max);
    *sum = (float)total;
    const float scale = (float)(1 / total);
    for (size_t i = 0; i < n; i++) x[i] *= scale;
}

void HC_FN(sparse_softmax_grad)(size_t n, float *x, float *dx, float max, float sum, float delta,
                                float scale) {
    const float inverse = 1.0f / sum;
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(x + i, vf_exp(vf_load(x + i) - max) * inverse);
    if (i < n) vf_store_part(x + i, vf_exp(vf_load_part(x + i, n - i) - max) * inverse, n - i);
    for (i = 0; i < n; i++) dx[i] = x[i] * (dx[i] - delta) * scale;
}

void HC_FN(sparse_dot)(size_t n, const float *a, const float *b, float *dot) {
    *dot = (float)vf_row_dot(a, b, n);
}

#else

struct args {
    enum hc_tokens_layout query, key;
    int64_t mode, block, sequences, count; /* count: blocks that are chosen for a token */
    double scale;
};

/* Operands of the forward plan; the backward plan has the first ones, too. */
enum { QUERY, KEY, VALUE, INDICES, Q_LENGTHS, K_LENGTHS, Q_ROPE, K_ROPE, TABLE, SINKS, OUT, MAX, SUM };
enum { GRAD = TABLE, RESULT, G_MAX, G_SUM, D_QUERY, D_KEY, D_VALUE, D_Q_ROPE, D_K_ROPE };

struct token {
    int64_t sequence, place; /* in its sequence; sequence -1: of none */
};

/* H heads, D elements and R rotary ones of a query, V of a value. */
struct loop {
    const struct args *a;
    const float *q, *q_rope, *sinks;
    struct hc_keys key, rope, value;
    const struct hc_span *spans;
    const struct token *token;
    const int64_t *chosen;                                /* [T, count] */
    size_t tokens, heads, size, rotary, value_size, room; /* room: the most keys of a token */
    float *out, *max, *sum;                               /* max, sum: NULL where they are not wanted */
    atomic_int status;
};

/* What one token works with, in one block of memory: queries [H, D + R], keys [n, D + R], values [n, V],
 * scores [H, n] and their gradients, and rows of gradients of keys or values on their way to where they are
 * added. */
struct work {
    int64_t *position;
    float *q, *k, *v, *scores, *grads, *rows;
    size_t n;
};

/* Room for the most keys that a token may have. False without memory. */
static bool take_work(const struct loop *l, bool grads, void **memory, struct work *w) {
    const size_t all = l->size + l->rotary, h = l->heads, n = l->room;
    const size_t rows = grads ? n * hc_max_size(all, l->value_size) + h * all : 0;
    const size_t floats = h * all + n * (all + l->value_size) + h * n * (grads ? 2 : 1) + rows;
    *memory = hc_block_take_array(n + floats, sizeof *w->position);
    if (*memory == NULL) return false;
    w->position = *memory;
    w->q = (float *)(void *)(w->position + n), w->k = w->q + h * all, w->v = w->k + n * all;
    w->scores = w->v + n * l->value_size, w->grads = w->scores + h * n, w->rows = w->grads + h * n;
    return true;
}

/* Before any token is worked on: the chosen blocks are blocks of the token's sequence. */
static aclnnStatus check_chosen(const char *op, const struct loop *l) {
    for (size_t t = 0; t < l->tokens; t++) {
        if (l->token[t].sequence < 0) continue;
        const int64_t keys = l->spans[l->token[t].sequence].k_len,
                      blocks = (keys + l->a->block - 1) / l->a->block;
        const int64_t *chosen = l->chosen + t * (size_t)l->a->count;
        for (int64_t i = 0; i < l->a->count && chosen[i] != -1; i++)
            HC_CHECK(chosen[i] >= 0 && chosen[i] < blocks, ACLNN_ERR_PARAM_INVALID,
                     "%s: sparseIndices has %lld for token %zu, wanted -1 to %lld", op, (long long)chosen[i],
                     t, (long long)blocks - 1);
    }
    return 0;
}

/* The chosen keys of a token that it may see; -1 ends the list. */
static void find_positions(const struct loop *l, size_t t, struct work *w) {
    const struct token *token = &l->token[t];
    const struct hc_span *s = &l->spans[token->sequence];
    const int64_t visible = hc_tokens_visible(s, l->a->mode, token->place), block = l->a->block;
    const int64_t *chosen = l->chosen + t * (size_t)l->a->count;
    w->n = 0;
    for (int64_t i = 0; i < l->a->count && chosen[i] != -1; i++) {
        const int64_t end = hc_min_i64((chosen[i] + 1) * block, visible);
        for (int64_t at = chosen[i] * block; at < end; at++) w->position[w->n++] = at;
    }
}

/* Queries, keys and values of a token, and its scores. */
/* Queries with their rotary parts behind them are copied together, so that scores are one product, and the
 * keys' parts are gathered beside each other for the same reason. */
static aclnnStatus load_token(const struct loop *l, size_t t, struct work *w) {
    const size_t all = l->size + l->rotary;
    const int64_t b = l->token[t].sequence;
    find_positions(l, t, w);
    for (size_t h = 0; h < l->heads; h++) {
        const size_t row = t * l->heads + h;
        memcpy(w->q + h * all, l->q + row * l->size, l->size * sizeof *w->q);
        if (l->rotary > 0)
            memcpy(w->q + h * all + l->size, l->q_rope + row * l->rotary, l->rotary * sizeof *w->q);
    }
    hc_keys_gather(&l->key, b, &l->spans[b], w->position, w->n, w->k, all);
    hc_keys_gather(&l->rope, b, &l->spans[b], w->position, w->n, w->k + l->size, all);
    hc_keys_gather(&l->value, b, &l->spans[b], w->position, w->n, w->v, l->value_size);
    if (w->n == 0) return 0;
    return hc_tokens_product(l->heads, w->n, all, (struct hc_matrix){w->q, (int64_t)all, 1},
                             (struct hc_matrix){w->k, 1, (int64_t)all}, w->scores, w->n, l->a->scale);
}

/* One token. One that sees nothing has zeros, and statistics of its sinks alone. */
static aclnnStatus attend(const struct loop *l, size_t t, struct work *w) {
    float *out = l->out + t * l->heads * l->value_size;
    memset(out, 0, l->heads * l->value_size * sizeof *out);
    w->n = 0;
    if (l->token[t].sequence >= 0) HC_TRY(load_token(l, t, w));
    for (size_t h = 0; h < l->heads; h++) {
        float max, sum;
        HC_DISPATCH(sparse_softmax)(w->n, w->scores + h * w->n, l->sinks != NULL ? l->sinks + h : NULL, &max,
                                    &sum);
        if (l->max != NULL) l->max[t * l->heads + h] = max, l->sum[t * l->heads + h] = sum;
    }
    if (w->n == 0) return 0;
    return hc_tokens_product(l->heads, l->value_size, w->n, (struct hc_matrix){w->scores, (int64_t)w->n, 1},
                             (struct hc_matrix){w->v, (int64_t)l->value_size, 1}, out, l->value_size, 1);
}

static const char FORWARD[] = "aclnnSparseFlashAttention", BACKWARD[] = "aclnnSparseFlashAttentionGrad";

/* Items are tokens; each piece has memory of its own. */
static void attend_tokens(void *ctx, size_t begin, size_t end) {
    struct loop *l = ctx;
    struct work w;
    void *memory;
    aclnnStatus status = take_work(l, false, &memory, &w) ? 0 : ACLNN_ERR_INNER;
    for (size_t t = begin; t < end && status == 0; t++) status = attend(l, t, &w);
    if (status != 0) atomic_store(&l->status, status);
    hc_block_give(memory);
}

/* Which sequence each token belongs to, and the most keys that one may have. */
/* Tokens that no sequence has are marked: a row of BSND may be longer than its sequence. */
static const struct token *find_tokens(struct hc_plain *p, struct loop *l) {
    struct token *token = hc_plain_take(p, l->tokens, sizeof *token);
    if (token == NULL) return NULL;
    for (size_t t = 0; t < l->tokens; t++) token[t].sequence = -1;
    for (int64_t b = 0; b < l->a->sequences; b++)
        for (int64_t i = 0; i < l->spans[b].q_len; i++) token[l->spans[b].q + i] = (struct token){b, i};
    return token;
}

/* Operands that both directions have. */
static void open_operands(const struct hc_call *call, struct hc_plain *p, const aclTensor *table,
                          struct loop *l) {
    const struct args *a = call->args;
    const aclTensor *query = hc_arg(call, QUERY), *value = hc_arg(call, VALUE);
    const int64_t width = table != NULL ? table->shape[1] : 0;
    const int64_t *pages = hc_plain_index(p, "blockTableOptional", table, INT64_MIN, INT64_MAX);
    const int64_t *q_lengths =
        hc_plain_index(p, "actualSeqLengthsQueryOptional", hc_arg(call, Q_LENGTHS), 0, INT64_MAX);
    const int64_t *k_lengths =
        hc_plain_index(p, "actualSeqLengthsKvOptional", hc_arg(call, K_LENGTHS), 0, INT64_MAX);
    l->a = a;
    l->q = hc_plain_in(p, query), l->q_rope = hc_plain_in(p, hc_arg(call, Q_ROPE));
    l->key = (struct hc_keys){hc_arg(call, KEY), a->key, pages, width, 0};
    l->rope = (struct hc_keys){hc_arg(call, K_ROPE), a->key, pages, width, 0};
    l->value = (struct hc_keys){value, a->key, pages, width, 0};
    l->chosen = hc_plain_index(p, "sparseIndices", hc_arg(call, INDICES), INT64_MIN, INT64_MAX);
    l->tokens = (size_t)hc_tokens_count(query, a->query == HC_TOKENS_TND);
    l->heads = (size_t)query->shape[query->rank - 2], l->size = (size_t)query->shape[query->rank - 1];
    l->rotary = hc_keys_size(&l->rope), l->value_size = hc_keys_size(&l->value);
    l->room = (size_t)(a->count * a->block);
    if (p->status != 0) return;
    l->spans =
        hc_tokens_spans(p, query, a->query == HC_TOKENS_TND, &l->key, q_lengths, k_lengths, a->sequences);
    if (p->status == 0) l->token = find_tokens(p, l);
    if (p->status == 0) p->status = check_chosen(p->op, l);
}

/* Operands of the forward plan; the whole of it is checked before the first token. */
static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct loop l = {0};
    open_operands(call, &p, hc_arg(call, TABLE), &l);
    l.sinks = hc_plain_in(&p, hc_arg(call, SINKS));
    l.out = hc_plain_out(&p, hc_arg(call, OUT));
    l.max = hc_plain_out(&p, hc_arg(call, MAX)), l.sum = hc_plain_out(&p, hc_arg(call, SUM));
    if (p.status == 0) {
        /* A few tokens: one after the other, so that threads share the products of each. */
        if (l.tokens < hc_num_threads()) attend_tokens(&l, 0, l.tokens);
        else hc_parallel_for(l.tokens, 1, attend_tokens, &l);
    }
    const int status = atomic_load(&l.status);
    if (status == 0) return hc_plain_close(&p, 0);
    /* The text was set in the thread that failed, which may be another one. */
    hc_plain_close(&p, status);
    return hc_fail(status, "%s: out of host memory for the keys of a token", call->name);
}

/* What comes in and what goes out, float32. */
struct gradients {
    const float *grad, *result, *max, *sum;
    float *q, *k, *v, *q_rope, *k_rope;
};

/* Gradients of one token's heads go to its own rows; those of keys and values are added where they belong. */
static aclnnStatus token_gradients(const struct loop *l, const struct gradients *g, size_t t,
                                   struct work *w) {
    const size_t h = l->heads, n = w->n, all = l->size + l->rotary, vs = l->value_size;
    const struct hc_span *s = &l->spans[l->token[t].sequence];
    const float *grad = g->grad + t * h * vs;
    const aclTensor *key = l->key.t;
    const size_t first = (size_t)(l->a->key == HC_TOKENS_TND ? s->k : l->token[t].sequence * key->shape[1]);
    float *dq = w->rows + n * hc_max_size(all, vs);
    HC_TRY(hc_tokens_product(h, n, vs, (struct hc_matrix){grad, (int64_t)vs, 1},
                             (struct hc_matrix){w->v, 1, (int64_t)vs}, w->grads, n, 1));
    for (size_t i = 0; i < h; i++) {
        float delta;
        HC_DISPATCH(sparse_dot)(vs, grad + i * vs, g->result + (t * h + i) * vs, &delta);
        HC_DISPATCH(sparse_softmax_grad)(n, w->scores + i * n, w->grads + i * n, g->max[t * h + i],
                                         g->sum[t * h + i], delta, (float)l->a->scale);
    }
    HC_TRY(hc_tokens_product(n, vs, h, (struct hc_matrix){w->scores, 1, (int64_t)n},
                             (struct hc_matrix){grad, (int64_t)vs, 1}, w->rows, vs, 1));
    hc_keys_scatter(g->v + first * vs, w->position, n, vs, w->rows, vs);
    HC_TRY(hc_tokens_product(n, all, h, (struct hc_matrix){w->grads, 1, (int64_t)n},
                             (struct hc_matrix){w->q, (int64_t)all, 1}, w->rows, all, 1));
    hc_keys_scatter(g->k + first * l->size, w->position, n, l->size, w->rows, all);
    if (l->rotary > 0)
        hc_keys_scatter(g->k_rope + first * l->rotary, w->position, n, l->rotary, w->rows + l->size, all);
    HC_TRY(hc_tokens_product(h, all, n, (struct hc_matrix){w->grads, (int64_t)n, 1},
                             (struct hc_matrix){w->k, (int64_t)all, 1}, dq, all, 1));
    for (size_t i = 0; i < h; i++) {
        memcpy(g->q + (t * h + i) * l->size, dq + i * all, l->size * sizeof *dq);
        if (l->rotary > 0)
            memcpy(g->q_rope + (t * h + i) * l->rotary, dq + i * all + l->size, l->rotary * sizeof *dq);
    }
    return 0;
}

/* All zeros: what no token adds to. */
static float *zeroed_out(struct hc_plain *p, const aclTensor *t) {
    float *x = hc_plain_out(p, t);
    if (x != NULL) memset(x, 0, hc_numel(t) * sizeof *x);
    return x;
}

/* Operands of the backward plan. The first failure ends it; outputs are then not written. */
static aclnnStatus run_grad(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct loop l = {0};
    open_operands(call, &p, NULL, &l);
    struct gradients g = {.grad = hc_plain_in(&p, hc_arg(call, GRAD)),
                          .result = hc_plain_in(&p, hc_arg(call, RESULT)),
                          .max = hc_plain_in(&p, hc_arg(call, G_MAX)),
                          .sum = hc_plain_in(&p, hc_arg(call, G_SUM))};
    g.q = zeroed_out(&p, hc_arg(call, D_QUERY)), g.k = zeroed_out(&p, hc_arg(call, D_KEY));
    g.v = zeroed_out(&p, hc_arg(call, D_VALUE)), g.q_rope = zeroed_out(&p, hc_arg(call, D_Q_ROPE));
    g.k_rope = zeroed_out(&p, hc_arg(call, D_K_ROPE));
    struct work w;
    void *memory = NULL;
    if (p.status == 0 && !take_work(&l, true, &memory, &w))
        p.status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory", BACKWARD);
    for (size_t t = 0; t < l.tokens && p.status == 0; t++) {
        if (l.token[t].sequence < 0) continue;
        p.status = load_token(&l, t, &w);
        if (p.status == 0 && w.n > 0) p.status = token_gradients(&l, &g, t, &w);
    }
    hc_block_give(memory);
    return hc_plain_close(&p, 0);
}

/* What both directions are given. */
struct inputs {
    const char *name;
    const aclTensor *query, *key, *value, *indices, *table, *q_lengths, *k_lengths, *q_rope, *k_rope;
    const char *q_layout, *k_layout;
    int64_t block, mode, before, after;
    double scale;
};

/* Lengths and pages, as the layouts want them. */
/* TND and pages cannot do without lengths; BSND has them in its shape. */
static aclnnStatus check_sequences(const struct inputs *in, struct args *a) {
    const char *name = in->name;
    a->sequences = in->query->shape[0];
    if (a->query == HC_TOKENS_TND) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "actualSeqLengthsQueryOptional", in->q_lengths, -1));
        a->sequences = in->q_lengths->shape[0];
    } else if (in->q_lengths != NULL) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "actualSeqLengthsQueryOptional", in->q_lengths, a->sequences));
    }
    if (a->key != HC_TOKENS_BSND || in->k_lengths != NULL)
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "actualSeqLengthsKvOptional", in->k_lengths, a->sequences));
    if (a->key == HC_TOKENS_PAGED)
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "blockTableOptional", in->table, a->sequences, -1));
    HC_CHECK(a->key == HC_TOKENS_PAGED || a->key == a->query, ACLNN_ERR_PARAM_INVALID,
             "%s: the layout of the keys is \"%s\", wanted that of the query or PA_BSND", name, in->k_layout);
    HC_CHECK(a->key != HC_TOKENS_BSND || in->key->shape[0] == in->query->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: key is %s, query %s: wanted as many sequences", name, HC_SHOW(in->key), HC_SHOW(in->query));
    return 0;
}

/* t has the key's rows, with `size` elements (-1: any) in each. */
static aclnnStatus check_same_rows(const struct inputs *in, const char *arg, const aclTensor *t,
                                   int64_t size) {
    int64_t shape[4];
    memcpy(shape, in->key->shape, sizeof shape);
    shape[in->key->rank - 1] = size;
    return hc_plain_check(in->name, arg, t, in->key->rank, shape);
}

/* Shapes of all operands that both directions have. */
static aclnnStatus check(const struct inputs *in, bool paged, struct args *a) {
    const char *name = in->name;
    *a = (struct args){.mode = in->mode, .block = in->block, .scale = in->scale};
    HC_TRY(hc_tokens_layout(name, "layoutQueryOptional", in->q_layout, false, &a->query));
    HC_TRY(hc_tokens_layout(name, "layoutKvOptional", in->k_layout, paged, &a->key));
    HC_TRY(hc_tokens_mode(name, in->mode, in->before, in->after));
    HC_CHECK(in->block >= 1 && in->block <= 128, ACLNN_ERR_PARAM_INVALID,
             "%s: sparseBlockSize is %lld, wanted 1 to 128", name, (long long)in->block);
    const bool packed = a->query == HC_TOKENS_TND;
    if (packed) HC_TRY(HC_PLAIN_CHECK(name, "query", in->query, -1, -1, -1));
    else HC_TRY(HC_PLAIN_CHECK(name, "query", in->query, -1, -1, -1, -1));
    const int32_t rank = in->query->rank;
    HC_TRY(hc_tokens_check_keys(name, "key", in->key, a->key, 1, in->query->shape[rank - 1]));
    HC_TRY(check_same_rows(in, "value", in->value, -1));
    HC_CHECK((in->q_rope == NULL) == (in->k_rope == NULL), ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             in->q_rope == NULL ? "queryRopeOptional" : "keyRopeOptional");
    if (in->q_rope != NULL) {
        int64_t shape[4];
        memcpy(shape, in->query->shape, sizeof shape);
        shape[rank - 1] = -1;
        HC_TRY(hc_plain_check(name, "queryRopeOptional", in->q_rope, rank, shape));
        HC_TRY(check_same_rows(in, "keyRopeOptional", in->k_rope, in->q_rope->shape[rank - 1]));
    }
    const int64_t *n = in->query->shape, wanted[4] = {n[0], packed ? 1 : n[1], packed ? -1 : 1, -1};
    HC_TRY(hc_plain_check_index(name, "sparseIndices", in->indices, rank, wanted));
    a->count = in->indices->shape[rank - 1];
    return check_sequences(in, a);
}

/* The statistics of every head: [B, 1, S, heads] or [1, T, heads]. */
static aclnnStatus check_statistics(const struct inputs *in, const char *arg, const aclTensor *t) {
    const int64_t *n = in->query->shape;
    if (in->query->rank == 3) return HC_PLAIN_CHECK(in->name, arg, t, 1, n[0], n[1]);
    return HC_PLAIN_CHECK(in->name, arg, t, n[0], 1, n[1], n[2]);
}

/* What only the forward operators have. */
struct outputs {
    const aclTensor *sinks, *out, *max, *sum;
    int64_t attention_mode;
    bool statistics;
};

/* What both forward operators check besides, and their plan. */
static aclnnStatus plan(const struct inputs *in, struct outputs o, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct args args;
    HC_TRY(check(in, true, &args));
    HC_CHECK(o.attention_mode == 0 || o.attention_mode == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: attentionMode is %lld, wanted 0 or 2", in->name, (long long)o.attention_mode);
    int64_t shape[4];
    memcpy(shape, in->query->shape, sizeof shape);
    shape[in->query->rank - 1] = in->value->shape[in->value->rank - 1];
    HC_TRY(hc_plain_check(in->name, "attentionOut", o.out, in->query->rank, shape));
    if (o.sinks != NULL)
        HC_TRY(HC_PLAIN_CHECK(in->name, "sinksOptional", o.sinks, shape[in->query->rank - 2]));
    if (o.statistics) {
        HC_TRY(check_statistics(in, "softmaxMax", o.max));
        HC_TRY(check_statistics(in, "softmaxSum", o.sum));
    } else {
        o.max = o.sum = NULL;
    }
    const aclTensor *table = args.key == HC_TOKENS_PAGED ? in->table : NULL;
    return HC_PLAN(in->name, run, &args, HC_IN(in->query), HC_IN(in->key), HC_IN(in->value),
                   HC_IN(in->indices), HC_IN_OPT(in->q_lengths), HC_IN_OPT(in->k_lengths),
                   HC_IN_OPT(in->q_rope), HC_IN_OPT(in->k_rope), HC_IN_OPT(table), HC_IN_OPT(o.sinks),
                   HC_OUT(o.out), HC_OUT_OPT(o.max), HC_OUT_OPT(o.sum));
}

/* torch_npu.npu_sparse_flash_attention without sinks. */
HC_API aclnnStatus aclnnSparseFlashAttentionGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *sparseIndices,
    const aclTensor *blockTableOptional, const aclTensor *actualSeqLengthsQueryOptional,
    const aclTensor *actualSeqLengthsKvOptional, const aclTensor *queryRopeOptional,
    const aclTensor *keyRopeOptional, double scaleValue, int64_t sparseBlockSizeOptional,
    char *layoutQueryOptional, char *layoutKvOptional, int64_t sparseMode, int64_t preTokens,
    int64_t nextTokens, int64_t attentionMode, bool returnSoftmaxLse, const aclTensor *attentionOut,
    const aclTensor *softmaxMax, const aclTensor *softmaxSum, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    return plan(&(const struct inputs){FORWARD, query, key, value, sparseIndices, blockTableOptional,
                                       actualSeqLengthsQueryOptional, actualSeqLengthsKvOptional,
                                       queryRopeOptional, keyRopeOptional, layoutQueryOptional,
                                       layoutKvOptional, sparseBlockSizeOptional, sparseMode, preTokens,
                                       nextTokens, scaleValue},
                (struct outputs){NULL, attentionOut, softmaxMax, softmaxSum, attentionMode, returnSoftmaxLse},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSparseFlashAttention)

/* The same with sinks. */
HC_API aclnnStatus aclnnSparseFlashAttentionV2GetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *sparseIndices,
    const aclTensor *blockTableOptional, const aclTensor *actualSeqLengthsQueryOptional,
    const aclTensor *actualSeqLengthsKvOptional, const aclTensor *queryRopeOptional,
    const aclTensor *keyRopeOptional, const aclTensor *sinksOptional, double scaleValue,
    int64_t sparseBlockSizeOptional, char *layoutQueryOptional, char *layoutKvOptional, int64_t sparseMode,
    int64_t preTokens, int64_t nextTokens, int64_t attentionMode, bool returnSoftmaxLse,
    const aclTensor *attentionOut, const aclTensor *softmaxMax, const aclTensor *softmaxSum,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&(const struct inputs){"aclnnSparseFlashAttentionV2", query, key, value, sparseIndices,
                                       blockTableOptional, actualSeqLengthsQueryOptional,
                                       actualSeqLengthsKvOptional, queryRopeOptional, keyRopeOptional,
                                       layoutQueryOptional, layoutKvOptional, sparseBlockSizeOptional,
                                       sparseMode, preTokens, nextTokens, scaleValue},
                (struct outputs){sinksOptional, attentionOut, softmaxMax, softmaxSum, attentionMode,
                                 returnSoftmaxLse},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSparseFlashAttentionV2)

/* Of attention without sinks, in one layout for queries and keys. Results are the same bits with and without
 * `deterministic`. */
HC_API aclnnStatus aclnnSparseFlashAttentionGradGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *sparseIndices,
    const aclTensor *dOut, const aclTensor *out, const aclTensor *softmaxMax, const aclTensor *softmaxSum,
    const aclTensor *actualSeqLengthsQueryOptional, const aclTensor *actualSeqLengthsKvOptional,
    const aclTensor *queryRopeOptional, const aclTensor *keyRopeOptional, double scaleValue,
    int64_t sparseBlockSize, char *layoutOptional, int64_t sparseMode, int64_t preTokens, int64_t nextTokens,
    bool deterministic, const aclTensor *dQueryOut, const aclTensor *dKeyOut, const aclTensor *dValueOut,
    const aclTensor *dQueryRopeOutOptional, const aclTensor *dKeyRopeOutOptional, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    (void)deterministic;
    const struct inputs in = {BACKWARD,
                              query,
                              key,
                              value,
                              sparseIndices,
                              NULL,
                              actualSeqLengthsQueryOptional,
                              actualSeqLengthsKvOptional,
                              queryRopeOptional,
                              keyRopeOptional,
                              layoutOptional,
                              layoutOptional,
                              sparseBlockSize,
                              sparseMode,
                              preTokens,
                              nextTokens,
                              scaleValue};
    struct args args;
    HC_TRY(check(&in, false, &args));
    int64_t shape[4];
    memcpy(shape, query->shape, sizeof shape);
    shape[query->rank - 1] = value->shape[value->rank - 1];
    HC_TRY(hc_plain_check(BACKWARD, "dOut", dOut, query->rank, shape));
    HC_TRY(hc_plain_check(BACKWARD, "out", out, query->rank, shape));
    HC_TRY(check_statistics(&in, "softmaxMax", softmaxMax));
    HC_TRY(check_statistics(&in, "softmaxSum", softmaxSum));
    HC_TRY(hc_plain_check(BACKWARD, "dQueryOut", dQueryOut, query->rank, query->shape));
    HC_TRY(hc_plain_check(BACKWARD, "dKeyOut", dKeyOut, key->rank, key->shape));
    HC_TRY(hc_plain_check(BACKWARD, "dValueOut", dValueOut, value->rank, value->shape));
    if (queryRopeOptional != NULL) {
        HC_TRY(hc_plain_check(BACKWARD, "dQueryRopeOutOptional", dQueryRopeOutOptional,
                              queryRopeOptional->rank, queryRopeOptional->shape));
        HC_TRY(hc_plain_check(BACKWARD, "dKeyRopeOutOptional", dKeyRopeOutOptional, keyRopeOptional->rank,
                              keyRopeOptional->shape));
    } else {
        dQueryRopeOutOptional = dKeyRopeOutOptional = NULL;
    }
    return HC_PLAN(BACKWARD, run_grad, &args, HC_IN(query), HC_IN(key), HC_IN(value), HC_IN(sparseIndices),
                   HC_IN_OPT(actualSeqLengthsQueryOptional), HC_IN_OPT(actualSeqLengthsKvOptional),
                   HC_IN_OPT(queryRopeOptional), HC_IN_OPT(keyRopeOptional), HC_IN(dOut), HC_IN(out),
                   HC_IN(softmaxMax), HC_IN(softmaxSum), HC_OUT(dQueryOut), HC_OUT(dKeyOut),
                   HC_OUT(dValueOut), HC_OUT_OPT(dQueryRopeOutOptional), HC_OUT_OPT(dKeyRopeOutOptional));
}
HC_OP_LAUNCH(aclnnSparseFlashAttentionGrad)
#endif
