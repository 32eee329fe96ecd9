// SPDX-License-Identifier: Apache-2.0
/* Attention of every query token over the blocks of keys that were chosen for it, and its gradients: the work
 * of sparse_flash_attention.c and nsa_selected_attention.c.
 *
 *     out = softmax(scale * [q, qRope] [k, kRope]^T) v,   over the chosen blocks of so many tokens
 *
 * Heads of queries in groups share one head of keys, so an item of work is a token and a head of keys: its
 * chosen keys are gathered once and everything is products of matrices. Forward, items go to threads;
 * backward, they follow each other, as they add to the same keys, and threads share each product. Sinks are
 * logits without a value, one for each head. */
#include "chosen_attention.h"

#include <stdatomic.h>
#include <string.h>

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

/* The row's maximum and sum are those of the forward pass, so probabilities are made again and not kept. */
void HC_FN(sparse_softmax_grad)(size_t n, float *x, float *dx, float max, float sum, float delta,
                                float scale) {
    const float inverse = 1.0f / sum;
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(x + i, vf_exp(vf_load(x + i) - max) * inverse);
    if (i < n) vf_store_part(x + i, vf_exp(vf_load_part(x + i, n - i) - max) * inverse, n - i);
    for (i = 0; i < n; i++) dx[i] = x[i] * (dx[i] - delta) * scale;
}

/* What a softmax's gradient takes off every element: the product of a result and its gradient. */
void HC_FN(sparse_dot)(size_t n, const float *a, const float *b, float *dot) {
    *dot = (float)vf_row_dot(a, b, n);
}

#else

struct token {
    int64_t sequence, place; /* in its sequence; sequence -1: of none */
};

/* H heads of a group, N groups, D elements and R rotary ones of a query, V of a value. Items are tokens times
 * N, so row i * H + h is head h of item i in all that queries have. */
struct loop {
    const struct chosen_args *a;
    const float *q, *q_rope, *sinks;
    struct hc_keys key, rope, value;
    const struct hc_span *spans;
    const struct token *token;
    const int64_t *chosen;                                               /* [T, count] */
    size_t tokens, groups, items, heads, size, rotary, value_size, room; /* room: the most keys of a token */
    int64_t block;          /* tokens of a block; no more than keys: a block larger than all is one of all */
    float *out, *max, *sum; /* max, sum: NULL where they are not wanted */
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
    for (size_t t = 0; t < l->items; t++) {
        const struct token *token = &l->token[t / l->groups];
        if (token->sequence < 0) continue;
        const int64_t keys = l->spans[token->sequence].k_len, blocks = (keys + l->block - 1) / l->block;
        const int64_t *chosen = l->chosen + t * (size_t)l->a->count;
        for (int64_t i = 0; i < l->a->count && chosen[i] != -1; i++)
            HC_CHECK(chosen[i] >= 0 && chosen[i] < blocks, ACLNN_ERR_PARAM_INVALID,
                     "%s: %s has %lld for token %zu, wanted -1 to %lld", op, l->a->indices,
                     (long long)chosen[i], t / l->groups, (long long)blocks - 1);
    }
    return 0;
}

/* The chosen keys of a token that it may see; -1 ends the list. */
static void find_positions(const struct loop *l, size_t t, struct work *w) {
    const struct token *token = &l->token[t / l->groups];
    const struct hc_span *s = &l->spans[token->sequence];
    const int64_t visible = hc_tokens_visible(s, l->a->mode, token->place), block = l->block;
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
    const int64_t b = l->token[t / l->groups].sequence, head = (int64_t)(t % l->groups);
    struct hc_keys key = l->key, rope = l->rope, value = l->value;
    key.head = rope.head = value.head = head;
    find_positions(l, t, w);
    for (size_t h = 0; h < l->heads; h++) {
        const size_t row = t * l->heads + h;
        memcpy(w->q + h * all, l->q + row * l->size, l->size * sizeof *w->q);
        if (l->rotary > 0)
            memcpy(w->q + h * all + l->size, l->q_rope + row * l->rotary, l->rotary * sizeof *w->q);
    }
    hc_keys_gather(&key, b, &l->spans[b], w->position, w->n, w->k, all);
    hc_keys_gather(&rope, b, &l->spans[b], w->position, w->n, w->k + l->size, all);
    hc_keys_gather(&value, b, &l->spans[b], w->position, w->n, w->v, l->value_size);
    if (w->n == 0) return 0;
    return hc_tokens_product(l->heads, w->n, all, (struct hc_matrix){w->q, (int64_t)all, 1},
                             (struct hc_matrix){w->k, 1, (int64_t)all}, w->scores, w->n, l->a->scale);
}

/* One token. One that sees nothing has zeros, and statistics of its sinks alone. */
static aclnnStatus attend(const struct loop *l, size_t t, struct work *w) {
    float *out = l->out + t * l->heads * l->value_size;
    memset(out, 0, l->heads * l->value_size * sizeof *out);
    w->n = 0;
    if (l->token[t / l->groups].sequence >= 0) HC_TRY(load_token(l, t, w));
    for (size_t h = 0; h < l->heads; h++) {
        float max, sum;
        HC_DISPATCH(sparse_softmax)(w->n, w->scores + h * w->n,
                                    l->sinks != NULL ? l->sinks + t % l->groups * l->heads + h : NULL, &max,
                                    &sum);
        const size_t row = (t * l->heads + h) * (size_t)l->a->repeat;
        for (size_t r = row; l->max != NULL && r < row + (size_t)l->a->repeat; r++)
            l->max[r] = max, l->sum[r] = sum;
    }
    if (w->n == 0) return 0;
    return hc_tokens_product(l->heads, l->value_size, w->n, (struct hc_matrix){w->scores, (int64_t)w->n, 1},
                             (struct hc_matrix){w->v, (int64_t)l->value_size, 1}, out, l->value_size, 1);
}

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

/* A block is as long as the caller says, its keys are no more than a sequence has. */
static void find_room(struct hc_plain *p, struct loop *l) {
    int64_t longest = 1;
    for (int64_t b = 0; b < l->a->sequences; b++) longest = hc_max_i64(longest, l->spans[b].k_len);
    l->block = hc_min_i64(l->a->block, longest);
    if (!hc_mul_fits((size_t)l->a->count, (size_t)l->block, &l->room) || l->room > INT32_MAX)
        p->status = hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: %lld blocks of %lld tokens are too many", p->op,
                            (long long)l->a->count, (long long)l->block);
}

/* Operands that both directions have. */
/* Lengths come as tensors or with the arguments; both are checked when sequences are made of them. */
static void open_operands(const struct hc_call *call, struct hc_plain *p, const aclTensor *table,
                          struct loop *l) {
    const struct chosen_args *a = call->args;
    const aclTensor *query = hc_arg(call, CHOSEN_QUERY), *value = hc_arg(call, CHOSEN_VALUE);
    const int64_t width = table != NULL ? table->shape[1] : 0;
    const int64_t *pages = hc_plain_index(p, "blockTableOptional", table, INT64_MIN, INT64_MAX);
    const int64_t *q_lengths =
        hc_plain_index(p, "the lengths of the queries", hc_arg(call, CHOSEN_Q_LENGTHS), 0, INT64_MAX);
    const int64_t *k_lengths =
        hc_plain_index(p, "the lengths of the keys", hc_arg(call, CHOSEN_K_LENGTHS), 0, INT64_MAX);
    if (a->q_given) q_lengths = a->lengths;
    if (a->k_given) k_lengths = a->lengths + (a->q_given ? a->sequences : 0);
    l->a = a;
    l->q = hc_plain_in(p, query), l->q_rope = hc_plain_in(p, hc_arg(call, CHOSEN_Q_ROPE));
    l->key = (struct hc_keys){hc_arg(call, CHOSEN_KEY), a->key, pages, width, 0};
    l->rope = (struct hc_keys){hc_arg(call, CHOSEN_K_ROPE), a->key, pages, width, 0};
    l->value = (struct hc_keys){value, a->key, pages, width, 0};
    l->chosen = hc_plain_index(p, a->indices, hc_arg(call, CHOSEN_INDICES), INT64_MIN, INT64_MAX);
    l->tokens = (size_t)hc_tokens_count(query, a->query == HC_TOKENS_TND);
    l->groups = (size_t)value->shape[value->rank - 2], l->items = l->tokens * l->groups;
    l->heads = (size_t)query->shape[query->rank - 2] / l->groups;
    l->size = (size_t)query->shape[query->rank - 1];
    l->rotary = hc_keys_size(&l->rope), l->value_size = hc_keys_size(&l->value);
    if (p->status != 0) return;
    l->spans =
        hc_tokens_spans(p, query, a->query == HC_TOKENS_TND, &l->key, q_lengths, k_lengths, a->sequences);
    if (p->status == 0) find_room(p, l);
    if (p->status == 0) l->token = find_tokens(p, l);
    if (p->status == 0) p->status = check_chosen(p->op, l);
}

/* Operands of the forward plan; the whole of it is checked before the first token. */
aclnnStatus chosen_run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct loop l = {0};
    open_operands(call, &p, hc_arg(call, CHOSEN_TABLE), &l);
    l.sinks = hc_plain_in(&p, hc_arg(call, CHOSEN_SINKS));
    l.out = hc_plain_out(&p, hc_arg(call, CHOSEN_OUT));
    l.max = hc_plain_out(&p, hc_arg(call, CHOSEN_MAX)), l.sum = hc_plain_out(&p, hc_arg(call, CHOSEN_SUM));
    if (p.status == 0) {
        /* A few tokens: one after the other, so that threads share the products of each. */
        if (l.items < hc_num_threads()) attend_tokens(&l, 0, l.items);
        else hc_parallel_for(l.items, 1, attend_tokens, &l);
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
    const size_t repeat = (size_t)l->a->repeat;
    const size_t h = l->heads, n = w->n, all = l->size + l->rotary, vs = l->value_size;
    const struct token *token = &l->token[t / l->groups];
    const struct hc_span *s = &l->spans[token->sequence];
    const float *grad = g->grad + t * h * vs;
    const aclTensor *key = l->key.t;
    const size_t group = t % l->groups, row = l->groups;
    const size_t first =
        (size_t)(l->a->key == HC_TOKENS_TND ? s->k : token->sequence * key->shape[1]) * row + group;
    float *dq = w->rows + n * hc_max_size(all, vs);
    HC_TRY(hc_tokens_product(h, n, vs, (struct hc_matrix){grad, (int64_t)vs, 1},
                             (struct hc_matrix){w->v, 1, (int64_t)vs}, w->grads, n, 1));
    for (size_t i = 0; i < h; i++) {
        float delta;
        HC_DISPATCH(sparse_dot)(vs, grad + i * vs, g->result + (t * h + i) * vs, &delta);
        HC_DISPATCH(sparse_softmax_grad)(n, w->scores + i * n, w->grads + i * n, g->max[(t * h + i) * repeat],
                                         g->sum[(t * h + i) * repeat], delta, (float)l->a->scale);
    }
    HC_TRY(hc_tokens_product(n, vs, h, (struct hc_matrix){w->scores, 1, (int64_t)n},
                             (struct hc_matrix){grad, (int64_t)vs, 1}, w->rows, vs, 1));
    hc_keys_scatter(g->v + first * vs, row * vs, w->position, n, vs, w->rows, vs);
    HC_TRY(hc_tokens_product(n, all, h, (struct hc_matrix){w->grads, 1, (int64_t)n},
                             (struct hc_matrix){w->q, (int64_t)all, 1}, w->rows, all, 1));
    hc_keys_scatter(g->k + first * l->size, row * l->size, w->position, n, l->size, w->rows, all);
    if (l->rotary > 0)
        hc_keys_scatter(g->k_rope + first * l->rotary, row * l->rotary, w->position, n, l->rotary,
                        w->rows + l->size, all);
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
aclnnStatus chosen_run_grad(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct loop l = {0};
    open_operands(call, &p, NULL, &l);
    struct gradients g = {.grad = hc_plain_in(&p, hc_arg(call, CHOSEN_GRAD)),
                          .result = hc_plain_in(&p, hc_arg(call, CHOSEN_RESULT)),
                          .max = hc_plain_in(&p, hc_arg(call, CHOSEN_G_MAX)),
                          .sum = hc_plain_in(&p, hc_arg(call, CHOSEN_G_SUM))};
    g.q = zeroed_out(&p, hc_arg(call, CHOSEN_D_QUERY)), g.k = zeroed_out(&p, hc_arg(call, CHOSEN_D_KEY));
    g.v = zeroed_out(&p, hc_arg(call, CHOSEN_D_VALUE)),
    g.q_rope = zeroed_out(&p, hc_arg(call, CHOSEN_D_Q_ROPE));
    g.k_rope = zeroed_out(&p, hc_arg(call, CHOSEN_D_K_ROPE));
    struct work w;
    void *memory = NULL;
    if (p.status == 0 && !take_work(&l, true, &memory, &w))
        p.status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory", call->name);
    for (size_t t = 0; t < l.items && p.status == 0; t++) {
        if (l.token[t / l.groups].sequence < 0) continue;
        p.status = load_token(&l, t, &w);
        if (p.status == 0 && w.n > 0) p.status = token_gradients(&l, &g, t, &w);
    }
    hc_block_give(memory);
    return hc_plain_close(&p, 0);
}
#endif
