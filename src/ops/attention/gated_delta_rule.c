// SPDX-License-Identifier: Apache-2.0
/* Linear attention by the gated delta rule (arXiv 2412.06464). Each head of values keeps a matrix S [Dv, Dk],
 * which every token decays, corrects towards its value and reads:
 *
 *     S = S * e^g,  S = S + beta * (v - S k) k^T,  o = scale * S q
 *
 * with e^g a number (g) or one for each column (gk). Rows of S do not know each other, so a piece of work is
 * a few rows of one head over all tokens of a sequence: they stay in the first cache, and a token costs three
 * multiplications and additions for each element. Cutting the sequence into chunks, as accelerators do, makes
 * products of matrices out of it that cost about twice the operations, and would not be quicker here.
 *
 * RecurrentGatedDeltaRule reads the state of a sequence from a pool and leaves that after each token there;
 * ChunkGatedDeltaRule goes from a state at the start to one at the end. */
#include "long_loop.h"
#include "plain.h"

/* Rows of a state that are worked on together. */
enum { ROWS = 16 };

/* T tokens, Nk heads of queries and keys, Nv of values, L sequences. */
struct delta {
    const float *q, *k, *v, *beta, *g, *gk; /* beta, g, gk may be NULL */
    float *out;
    size_t key_heads, heads, key_size, size, width; /* width: key_size rounded up to whole vectors */
    float scale;
};
/* One token's step on `rows` rows of a head: s [rows, width] with zeros behind key_size. `decay` has width
 * numbers. */
HC_KERNEL(delta_step, (const struct delta *d, size_t token, size_t head, size_t first, size_t rows,
                       const float *decay, float *s))
HC_KERNEL(delta_decay, (const struct delta *d, size_t token, size_t head, float *decay))

#ifdef HC_ISA
#include "simd_math.h"

/* n < HC_VL elements at the end of a row of keys, zeros behind them. */
static inline vf load_at(const float *p, size_t i, size_t n) {
    return i + HC_VL <= n ? vf_load(p + i) : vf_load_part(p + i, n - i);
}

/* Two passes over a row: what it predicts for this key, then the correction and what the query reads of it.
 * The row is in the first cache for the second one. */
void HC_FN(delta_step)(const struct delta *d, size_t token, size_t head, size_t first, size_t rows,
                       const float *decay, float *s) {
    const size_t n = d->key_size, key = (token * d->key_heads + head / (d->heads / d->key_heads)) * n;
    const float *k = d->k + key, *q = d->q + key, *v = d->v + (token * d->heads + head) * d->size + first;
    float *out = d->out + (token * d->heads + head) * d->size + first;
    const float beta = d->beta != NULL ? d->beta[token * d->heads + head] : 1.0f;
    for (size_t r = 0; r < rows; r++, s += d->width) {
        vf have = vf_zero(), read = vf_zero();
        for (size_t i = 0; i < n; i += HC_VL) {
            const vf x = vf_load(s + i) * vf_load(decay + i);
            vf_store(s + i, x);
            have = vf_fma(x, load_at(k, i, n), have);
        }
        const vf error = vf_set((v[r] - vf_reduce_add(have)) * beta);
        for (size_t i = 0; i < n; i += HC_VL) {
            const vf x = vf_fma(error, load_at(k, i, n), vf_load(s + i));
            vf_store(s + i, x);
            read = vf_fma(x, load_at(q, i, n), read);
        }
        out[r] = vf_reduce_add(read) * d->scale;
    }
}

/* Numbers behind key_size are e^g, too, and multiply zeros. */
void HC_FN(delta_decay)(const struct delta *d, size_t token, size_t head, float *decay) {
    const size_t at = token * d->heads + head;
    const float g = d->g != NULL ? d->g[at] : 0.0f;
    const float *gk = d->gk != NULL ? d->gk + at * d->key_size : NULL;
    for (size_t i = 0; i < d->width; i += HC_VL) {
        vf x = vf_set(g);
        if (gk != NULL && i < d->key_size) x += load_at(gk, i, d->key_size);
        vf_store(decay + i, vf_exp(x));
    }
}

#else
enum { VECTOR = 16 }; /* floats of the widest vector */

struct args {
    float scale;
    int64_t tokens, sequences;
};

/* Tokens [begin, end) of a sequence. */
struct sequence {
    int64_t begin, end;
};

struct loop {
    struct delta d;
    const aclTensor *from, *to; /* states by slot: [slots, Nv, Dv, Dk] */
    const struct sequence *sequence;
    const int64_t *slot, *accepted; /* slot of each token; NULL: of each sequence, at its end only */
    size_t sequences, pieces;       /* pieces of ROWS rows in a head */
};

/* Row `row` of a head's state in a slot. */
static char *row_of(const aclTensor *t, int64_t slot, size_t head, size_t row) {
    const int64_t *s = t->stride;
    return hc_data(t) + (slot * s[0] + (int64_t)head * s[1] + (int64_t)row * s[2]) * t->item_size;
}

/* What lies behind the keys of a row is zero and stays so: it adds nothing to a product. */
static void load_rows(const struct loop *l, int64_t slot, size_t head, size_t first, size_t rows, float *s) {
    hc_load_fn *load = hc_load_for(l->from->dtype, HC_F32);
    for (size_t r = 0; r < rows; r++, s += l->d.width) {
        load(l->d.key_size, s, row_of(l->from, slot, head, first + r), l->from->stride[3]);
        for (size_t i = l->d.key_size; i < l->d.width; i++) s[i] = 0;
    }
}

/* Rounded to the pool's type; the rows that go on keep their floats. */
static void store_rows(const struct loop *l, int64_t slot, size_t head, size_t first, size_t rows,
                       const float *s) {
    hc_store_fn *store = hc_store_for(l->to->dtype, HC_F32);
    for (size_t r = 0; r < rows; r++, s += l->d.width)
        store(l->d.key_size, row_of(l->to, slot, head, first + r), l->to->stride[3], s);
}

/* One sequence of the rows in s. With a pool it begins with what its last accepted token left. */
static void run_sequence(const struct loop *l, size_t i, size_t head, size_t first, size_t rows, float *s,
                         float *decay) {
    const struct sequence *q = &l->sequence[i];
    const bool pool = l->slot != NULL;
    const int64_t accepted = l->accepted != NULL ? l->accepted[i] - 1 : 0;
    if (pool && q->begin == q->end) return;
    load_rows(l, pool ? l->slot[q->begin + accepted] : (int64_t)i, head, first, rows, s);
    for (int64_t t = q->begin; t < q->end && !hc_results_unwanted(); t++) {
        HC_DISPATCH(delta_decay)(&l->d, (size_t)t, head, decay);
        HC_DISPATCH(delta_step)(&l->d, (size_t)t, head, first, rows, decay, s);
        if (pool) store_rows(l, l->slot[t], head, first, rows, s);
    }
    if (!pool) store_rows(l, (int64_t)i, head, first, rows, s);
}

/* Pieces of heads. Sequences of one piece follow each other: a slot that two of them name is written by the
 * first and read by the second, as in the formula. */
static void run_pieces(void *ctx, size_t begin, size_t end) {
    const struct loop *l = ctx;
    float s[ROWS * l->d.width] __attribute__((aligned(64))), decay[l->d.width] __attribute__((aligned(64)));
    for (size_t i = begin; i < end; i++) {
        const size_t head = i / l->pieces, first = i % l->pieces * ROWS;
        const size_t rows = hc_min_size(ROWS, l->d.size - first);
        for (size_t j = 0; j < l->sequences; j++) run_sequence(l, j, head, first, rows, s, decay);
    }
}

/* Sequences behind each other; those of a pool must not name more tokens than there are. */
static const struct sequence *read_sequences(struct hc_plain *p, const struct args *a,
                                             const aclTensor *lengths) {
    const int64_t *length = hc_plain_index(p, "actualSeqLengths", lengths, 0, a->tokens + 1);
    struct sequence *s = hc_plain_take(p, (size_t)a->sequences, sizeof *s);
    if (p->status != 0) return NULL;
    int64_t at = 0;
    for (int64_t i = 0; i < a->sequences; i++) {
        s[i] = (struct sequence){at, at + length[i]};
        at += length[i];
        if (at <= a->tokens) continue;
        p->status = hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: actualSeqLengths name more than the %lld tokens",
                            p->op, (long long)a->tokens);
        return NULL;
    }
    return s;
}

/* Operands of both plans. */
enum { QUERY, KEY, VALUE, BETA, G, GK, LENGTHS, SLOTS, ACCEPTED, FROM, TO, OUT };

/* Queries, keys and values are a small part of the work: copies of them as float cost little. */
static struct delta operands(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const aclTensor *key = hc_arg(call, KEY), *value = hc_arg(call, VALUE);
    const size_t key_size = (size_t)key->shape[2];
    return (struct delta){.q = hc_plain_in(p, hc_arg(call, QUERY)),
                          .k = hc_plain_in(p, key),
                          .v = hc_plain_in(p, value),
                          .beta = hc_plain_in(p, hc_arg(call, BETA)),
                          .g = hc_plain_in(p, hc_arg(call, G)),
                          .gk = hc_plain_in(p, hc_arg(call, GK)),
                          .out = hc_plain_out(p, hc_arg(call, OUT)),
                          .key_heads = (size_t)key->shape[1],
                          .heads = (size_t)value->shape[1],
                          .key_size = key_size,
                          .size = (size_t)value->shape[2],
                          .width = (key_size + VECTOR - 1) / VECTOR * VECTOR,
                          .scale = a->scale};
}

/* An accepted token is one of its sequence's. */
static aclnnStatus check_accepted(const struct loop *l, const char *op) {
    for (size_t i = 0; i < l->sequences && l->accepted != NULL; i++) {
        const int64_t n = l->sequence[i].end - l->sequence[i].begin;
        HC_CHECK(l->accepted[i] <= n || n == 0, ACLNN_ERR_PARAM_INVALID,
                 "%s: numAcceptedTokens has %lld at %zu, wanted 1 to the sequence's %lld tokens", op,
                 (long long)l->accepted[i], i, (long long)n);
    }
    return 0;
}

/* Everything that numbers say is checked before a state is touched. */
static aclnnStatus compute(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const aclTensor *to = hc_arg(call, TO), *out = hc_arg(call, OUT);
    struct loop l = {.d = operands(call, p),
                     .from = hc_arg(call, FROM),
                     .to = to,
                     .sequences = (size_t)a->sequences,
                     .sequence = read_sequences(p, a, hc_arg(call, LENGTHS)),
                     .slot = hc_plain_index(p, "ssmStateIndices", hc_arg(call, SLOTS), 0, to->shape[0]),
                     .accepted =
                         hc_plain_index(p, "numAcceptedTokens", hc_arg(call, ACCEPTED), 1, INT64_MAX)};
    if (p->status != 0) return p->status;
    HC_TRY(check_accepted(&l, call->name));
    const int64_t last = a->sequences > 0 ? l.sequence[a->sequences - 1].end : 0;
    /* Tokens of no sequence read nothing. */
    for (int64_t i = last * out->shape[1] * out->shape[2]; i < out->numel; i++) l.d.out[i] = 0;
    l.pieces = (l.d.size + ROWS - 1) / ROWS;
    hc_parallel_for(l.d.heads * l.pieces, 1, run_pieces, &l);
    return 0;
}

static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    return hc_plain_close(&p, compute(call, &p));
}

/* What both operators share: heads of values in groups that share a key, states of those shapes. */
struct inputs {
    const char *name;
    const aclTensor *query, *key, *value, *beta, *g, *gk, *lengths, *from, *to, *out;
    float scale;
};

enum { KEY_SIZE_MAX = 1024 }; /* rows of a state on the stack */

/* Shapes that both operators share; `slots` is how many states there are, or -1. */
static aclnnStatus check(const struct inputs *in, int64_t slots, struct args *args) {
    HC_TRY(HC_PLAIN_CHECK(in->name, "query", in->query, -1, -1, -1));
    const int64_t tokens = in->query->shape[0], key_heads = in->query->shape[1], keys = in->query->shape[2];
    HC_TRY(HC_PLAIN_CHECK(in->name, "key", in->key, tokens, key_heads, keys));
    HC_TRY(HC_PLAIN_CHECK(in->name, "value", in->value, tokens, -1, -1));
    const int64_t heads = in->value->shape[1], size = in->value->shape[2];
    HC_CHECK(key_heads > 0 && heads % key_heads == 0 && keys > 0 && keys <= KEY_SIZE_MAX,
             ACLNN_ERR_PARAM_INVALID,
             "%s: query is %s, value %s: wanted a multiple of its heads, and heads of 1 to %d", in->name,
             HC_SHOW(in->query), HC_SHOW(in->value), KEY_SIZE_MAX);
    if (in->beta != NULL) HC_TRY(HC_PLAIN_CHECK(in->name, "beta", in->beta, tokens, heads));
    if (in->g != NULL) HC_TRY(HC_PLAIN_CHECK(in->name, "g", in->g, tokens, heads));
    if (in->gk != NULL) HC_TRY(HC_PLAIN_CHECK(in->name, "gk", in->gk, tokens, heads, keys));
    HC_TRY(HC_PLAIN_CHECK_INDEX(in->name, "actualSeqLengths", in->lengths, -1));
    HC_TRY(HC_PLAIN_CHECK(in->name, in->from == in->to ? "stateRef" : "initialState", in->from, slots, heads,
                          size, keys));
    HC_TRY(HC_PLAIN_CHECK(in->name, in->from == in->to ? "stateRef" : "finalState", in->to, slots, heads,
                          size, keys));
    HC_TRY(HC_PLAIN_CHECK(in->name, "out", in->out, tokens, heads, size));
    *args = (struct args){in->scale, tokens, in->lengths->shape[0]};
    return 0;
}

/* torch_npu.npu_recurrent_gated_delta_rule: a few tokens of every sequence, by slots of a pool of states. */
HC_API aclnnStatus aclnnRecurrentGatedDeltaRuleGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *beta,
    aclTensor *stateRef, const aclTensor *actualSeqLengths, const aclTensor *ssmStateIndices,
    const aclTensor *g, const aclTensor *gk, const aclTensor *numAcceptedTokens, float scaleValue,
    aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnRecurrentGatedDeltaRule";
    struct args args;
    HC_TRY(check(&(const struct inputs){NAME, query, key, value, beta, g, gk, actualSeqLengths, stateRef,
                                        stateRef, out, scaleValue},
                 -1, &args));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "ssmStateIndices", ssmStateIndices, args.tokens));
    if (numAcceptedTokens != NULL)
        HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "numAcceptedTokens", numAcceptedTokens, args.sequences));
    return HC_PLAN(NAME, run, &args, HC_IN(query), HC_IN(key), HC_IN(value), HC_IN_OPT(beta), HC_IN_OPT(g),
                   HC_IN_OPT(gk), HC_IN(actualSeqLengths), HC_IN(ssmStateIndices),
                   HC_IN_OPT(numAcceptedTokens), HC_IN(stateRef), HC_INOUT(stateRef), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnRecurrentGatedDeltaRule)

/* torch_npu.npu_chunk_gated_delta_rule: whole sequences, one state for each. */
HC_API aclnnStatus aclnnChunkGatedDeltaRuleGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *beta,
    const aclTensor *initialState, const aclTensor *actualSeqLengths, float scaleValue,
    const aclTensor *gOptional, const aclTensor *out, const aclTensor *finalState, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char NAME[] = "aclnnChunkGatedDeltaRule";
    HC_CHECK(initialState != NULL && finalState != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             initialState == NULL ? "initialState" : "finalState");
    struct args args;
    HC_TRY(check(&(const struct inputs){NAME, query, key, value, beta, gOptional, NULL, actualSeqLengths,
                                        initialState, finalState, out, scaleValue},
                 actualSeqLengths != NULL && actualSeqLengths->rank == 1 ? actualSeqLengths->shape[0] : -1,
                 &args));
    const aclTensor *none = NULL;
    return HC_PLAN(NAME, run, &args, HC_IN(query), HC_IN(key), HC_IN(value), HC_IN_OPT(beta),
                   HC_IN_OPT(gOptional), HC_IN_OPT(none), HC_IN(actualSeqLengths), HC_IN_OPT(none),
                   HC_IN_OPT(none), HC_IN(initialState), HC_OUT(finalState), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnChunkGatedDeltaRule)
#endif
