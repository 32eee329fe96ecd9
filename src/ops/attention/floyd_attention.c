// SPDX-License-Identifier: Apache-2.0
/* Attention over paths of two steps: the query of a pair (i, k) looks at all j between them, with keys and
 * values of both steps (i, j) and (j, k).
 *
 *     s[i,k,j]  = scale (q[i,k] . k1[i,j] + q[i,k] . k2[j,k])           p = softmax of s over j
 *     out[i,k]  = sum over j of p[i,k,j] (v1[i,j] + v2[j,k])
 *
 * Hidden scores are less by 4e9 before the scale, which leaves nothing of them in float32: a row of them
 * alone is their mean, with gradients. Either sum is a batch of products, one for each i and one for each k.
 * Both are made for some i at once, whose scores the next level of cache may hold; how many depends on the
 * shape alone. Everything is float32 and rounded once. */
#include "gemm.h"
#include "plain.h"

/* One row of scores over j: max and sum are those of the scaled ones. */
HC_KERNEL(floyd_soften, (size_t n, float *x, const int64_t *hidden, float scale, float *max, float *sum))
/* p becomes e^(s - max) / sum, dp the gradient of the products: p (dp - delta) scale. */
struct floyd_row {
    float scale, max, sum, delta;
};
HC_KERNEL(floyd_gradient, (size_t n, float *p, float *dp, const int64_t *hidden, const struct floyd_row *row))
/* The gradient of an output with the output, of n elements. */
HC_KERNEL(floyd_delta, (size_t n, const float *dy, const float *out, float *delta))

#define HIDDEN (-4e9f)

#ifdef HC_ISA
#include "simd_softmax.h"

/* Hidden or not is chosen by value, so that the loop stays one of vectors. */
static inline void scale_row(size_t n, float *x, const int64_t *hidden, float scale) {
    if (hidden == NULL)
        for (size_t i = 0; i < n; i++) x[i] *= scale;
    else
        for (size_t i = 0; i < n; i++) x[i] = (hidden[i] != 0 ? HIDDEN : x[i]) * scale;
}

/* The row is written twice: exponentials by the pass that sums them, then what they are of the sum. */
void HC_FN(floyd_soften)(size_t n, float *x, const int64_t *hidden, float scale, float *max, float *sum) {
    double total = 0;
    scale_row(n, x, hidden, scale);
    const float largest = vf_row_max(x, n);
    const vf m = vf_set(largest);
    HC_ROW_SUM(total, n, vf_exp_store(x + at, x + at, m), vf_exp_store_part(x + at, x + at, m, rest));
    const float factor = (float)(1 / total);
    for (size_t i = 0; i < n; i++) x[i] *= factor;
    *max = largest;
    *sum = (float)total;
}

/* The maximum and the sum are those that forward has told, which need not be looked for again. */
void HC_FN(floyd_gradient)(size_t n, float *p, float *dp, const int64_t *hidden,
                           const struct floyd_row *row) {
    const vf m = vf_set(row->max);
    const float factor = 1 / row->sum, delta = row->delta, scale = row->scale;
    scale_row(n, p, hidden, scale);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_exp_store(p + i, p + i, m);
    if (i < n) vf_exp_store_part(p + i, p + i, m, n - i);
    for (size_t j = 0; j < n; j++) {
        p[j] *= factor;
        dp[j] = p[j] * (dp[j] - delta) * scale;
    }
}

/* What all products of a row lose, as their weights add up to 1. */
void HC_FN(floyd_delta)(size_t n, const float *dy, const float *out, float *delta) {
    *delta = (float)vf_row_dot(dy, out, n);
}

#else

enum { CHUNK = 1 << 22, STATS = 8 }; /* scores at once; copies of a row's maximum and sum */

/* Sizes of one head: rows i, columns k, j between them, elements. */
struct size {
    int64_t i, k, j, d;
};

/* One head: [i,k,d], [i,j,d], [j,k,d], [i,k,d]; hidden [i,j] or NULL. The other pointers are of the operator.
 */
struct head {
    struct size n;
    float scale;
    const float *q, *k1, *v1, *k2, *v2, *dy, *out;
    const int64_t *hidden;
    float *max, *sum; /* [i,k,STATS] */
    float *p, *dp;    /* [rows of a chunk, k, j] */
    float *result, *dk1, *dv1, *dk2, *dv2;
    int64_t first, rows; /* of the chunk */
};

/* A matrix for each index of a batch. */
static struct hc_gemm_matrix matrix(const float *at, int64_t row, int64_t col, int64_t batch) {
    return (struct hc_gemm_matrix){(void *)at, ACL_FLOAT, row, col, {batch}};
}

/* out = a b, or out += a b. */
static aclnnStatus multiply(int64_t batch, int64_t m, int64_t n, int64_t k, struct hc_gemm_matrix a,
                            struct hc_gemm_matrix b, struct hc_gemm_matrix out, bool add) {
    struct hc_gemm g = {.m = (size_t)m,
                        .n = (size_t)n,
                        .k = (size_t)k,
                        .batch_rank = 1,
                        .batch_shape = {batch},
                        .a = a,
                        .b = b,
                        .out = out,
                        .alpha = HC_GEMM_REAL(1),
                        .beta = HC_GEMM_REAL(add ? 1 : 0)};
    if (add) g.self = out;
    return hc_gemm(&g);
}

/* scores [rows,k,j] = x [rows,k,d] with both steps of keys or values. */
static aclnnStatus to_scores(const struct head *h, const float *x, const float *step1, const float *step2,
                             float *scores) {
    const struct size n = h->n;
    x += h->first * n.k * n.d;
    HC_TRY(multiply(h->rows, n.k, n.j, n.d, matrix(x, n.d, 1, n.k * n.d),
                    matrix(step1 + h->first * n.j * n.d, 1, n.d, n.j * n.d),
                    matrix(scores, n.j, 1, n.k * n.j), false));
    return multiply(n.k, h->rows, n.j, n.d, matrix(x, n.k * n.d, 1, n.d), matrix(step2, 1, n.k * n.d, n.d),
                    matrix(scores, n.k * n.j, 1, n.j), true);
}

/* y [rows,k,d] = weights [rows,k,j] over both steps. */
static aclnnStatus from_scores(const struct head *h, const float *weights, const float *step1,
                               const float *step2, float *y) {
    const struct size n = h->n;
    y += h->first * n.k * n.d;
    HC_TRY(multiply(h->rows, n.k, n.d, n.j, matrix(weights, n.j, 1, n.k * n.j),
                    matrix(step1 + h->first * n.j * n.d, n.d, 1, n.j * n.d), matrix(y, n.d, 1, n.k * n.d),
                    false));
    return multiply(n.k, h->rows, n.d, n.j, matrix(weights, n.k * n.j, 1, n.j),
                    matrix(step2, n.k * n.d, 1, n.d), matrix(y, n.k * n.d, 1, n.d), true);
}

/* Gradients of both steps, of what was multiplied by x: the first step's are this chunk's alone, the second's
 * a sum over chunks, in their order. */
static aclnnStatus to_steps(const struct head *h, const float *weights, const float *x, float *step1,
                            float *step2) {
    const struct size n = h->n;
    x += h->first * n.k * n.d;
    HC_TRY(multiply(h->rows, n.j, n.d, n.k, matrix(weights, 1, n.j, n.k * n.j), matrix(x, n.d, 1, n.k * n.d),
                    matrix(step1 + h->first * n.j * n.d, n.d, 1, n.j * n.d), false));
    return multiply(n.k, n.j, n.d, h->rows, matrix(weights, 1, n.k * n.j, n.j), matrix(x, n.k * n.d, 1, n.d),
                    matrix(step2, n.k * n.d, 1, n.d), h->first > 0);
}

/* Row i of the mask. */
static const int64_t *hidden_of(const struct head *h, int64_t i) {
    return h->hidden != NULL ? h->hidden + i * h->n.j : NULL;
}

/* Items are rows (i, k) of the chunk. */
static void soften_rows(void *ctx, size_t begin, size_t end) {
    const struct head *h = ctx;
    for (size_t r = begin; r < end; r++) {
        const int64_t row = h->first * h->n.k + (int64_t)r;
        float max, sum;
        HC_DISPATCH(floyd_soften)
        ((size_t)h->n.j, h->p + (int64_t)r * h->n.j, hidden_of(h, row / h->n.k), h->scale, &max, &sum);
        for (int64_t c = 0; c < STATS; c++) h->max[row * STATS + c] = max, h->sum[row * STATS + c] = sum;
    }
}

/* Items as above: scores become weights, and gradients of weights those of scores, in their place. */
static void gradient_rows(void *ctx, size_t begin, size_t end) {
    const struct head *h = ctx;
    const struct size n = h->n;
    for (size_t r = begin; r < end; r++) {
        const int64_t row = h->first * n.k + (int64_t)r;
        struct floyd_row by = {.scale = h->scale, .max = h->max[row * STATS], .sum = h->sum[row * STATS]};
        HC_DISPATCH(floyd_delta)((size_t)n.d, h->dy + row * n.d, h->out + row * n.d, &by.delta);
        HC_DISPATCH(floyd_gradient)
        ((size_t)n.j, h->p + (int64_t)r * n.j, h->dp + (int64_t)r * n.j, hidden_of(h, row / n.k), &by);
    }
}

/* Scores of the chunk's rows, their softmax, and the values by it. */
static aclnnStatus forward_chunk(struct head *h) {
    HC_TRY(to_scores(h, h->q, h->k1, h->k2, h->p));
    hc_parallel_for((size_t)(h->rows * h->n.k), 1 + 16384 / (1 + (size_t)h->n.j), soften_rows, h);
    return from_scores(h, h->p, h->v1, h->v2, h->result);
}

/* Weights are made again from scores, which would not fit into memory. */
static aclnnStatus backward_chunk(struct head *h) {
    HC_TRY(to_scores(h, h->q, h->k1, h->k2, h->p));
    HC_TRY(to_scores(h, h->dy, h->v1, h->v2, h->dp));
    hc_parallel_for((size_t)(h->rows * h->n.k), 1 + 16384 / (1 + (size_t)h->n.j), gradient_rows, h);
    HC_TRY(from_scores(h, h->dp, h->k1, h->k2, h->result));
    HC_TRY(to_steps(h, h->dp, h->q, h->dk1, h->dk2));
    return to_steps(h, h->p, h->dy, h->dv1, h->dv2);
}

/* Operands of both operators; the gradient's come behind. */
enum slot { Q, K1, V1, K2, V2, MASK, MAX, SUM, OUT, DY, DQ, DK1, DV1, DK2, DV2 };

struct args {
    double scale;
    bool backward;
};

/* Of one call: the first head, and how far the next one is. */
struct call {
    struct head first;
    int64_t heads, batches, chunk;
};

/* Tensors that an operator does not have stay NULL. */
static const float *next(const float *t, int64_t step) { return t != NULL ? t + step : NULL; }
#define NEXT(member, step) h.member = (void *)next((const float *)h.member, (step))

/* Head number `at` of all batches; a mask is that of its batch. */
static struct head head_at(const struct call *c, int64_t at) {
    struct head h = c->first;
    const struct size n = h.n;
    const int64_t ik = at * n.i * n.k * n.d, ij = at * n.i * n.j * n.d, jk = at * n.j * n.k * n.d;
    NEXT(q, ik), NEXT(dy, ik), NEXT(out, ik), NEXT(result, ik);
    NEXT(k1, ij), NEXT(v1, ij), NEXT(dk1, ij), NEXT(dv1, ij);
    NEXT(k2, jk), NEXT(v2, jk), NEXT(dk2, jk), NEXT(dv2, jk);
    NEXT(max, at * n.i * n.k * STATS), NEXT(sum, at * n.i * n.k * STATS);
    if (h.hidden != NULL) h.hidden += at / c->heads * n.i * n.j;
    return h;
}

/* Without any i there is no chunk to write the second step's gradients. */
static aclnnStatus run_heads(const struct call *c, bool backward) {
    for (int64_t at = 0; at < c->batches * c->heads; at++) {
        struct head h = head_at(c, at);
        if (backward && h.n.i == 0)
            for (int64_t x = 0; x < h.n.j * h.n.k * h.n.d; x++) h.dk2[x] = h.dv2[x] = 0;
        for (h.first = 0; h.first < h.n.i; h.first += c->chunk) {
            h.rows = hc_min_i64(c->chunk, h.n.i - h.first);
            HC_TRY(backward ? backward_chunk(&h) : forward_chunk(&h));
        }
    }
    return 0;
}

/* The mask of all heads, [B,1,i,1,j]. */
static const int64_t *take_mask(struct hc_plain *p, const aclTensor *mask, int64_t batches,
                                const struct size *n) {
    const int64_t shape[] = {batches, 1, n->i, 1, n->j};
    aclTensor view;
    if (mask == NULL) return NULL;
    hc_broadcast_to(mask, shape, HC_ARRAY_SIZE(shape), &view);
    return hc_plain_index(p, "attenMaskOptional", &view, INT64_MIN, INT64_MAX);
}

/* Inputs before outputs, as hc_plain asks for; scores are memory of the run. */
static aclnnStatus compute(const struct hc_call *call, struct hc_plain *p) {
    const struct args *a = call->args;
    const int64_t *q = hc_arg(call, Q)->shape, *k1 = hc_arg(call, K1)->shape;
    struct call c = {.batches = q[0], .heads = q[1]};
    struct head *h = &c.first;
    h->n = (struct size){q[2], q[3], k1[3], q[4]};
    h->scale = (float)a->scale;
    const int64_t scores = h->n.k * h->n.j;
    c.chunk = hc_min_i64(hc_max_i64(CHUNK / hc_max_i64(scores, 1), 1), h->n.i);
    h->q = hc_plain_in(p, hc_arg(call, Q));
    h->k1 = hc_plain_in(p, hc_arg(call, K1)), h->v1 = hc_plain_in(p, hc_arg(call, V1));
    h->k2 = hc_plain_in(p, hc_arg(call, K2)), h->v2 = hc_plain_in(p, hc_arg(call, V2));
    h->hidden = take_mask(p, hc_arg(call, MASK), c.batches, &h->n);
    h->p = hc_plain_take(p, (size_t)(c.chunk * scores), sizeof *h->p);
    if (a->backward) {
        h->dy = hc_plain_in(p, hc_arg(call, DY)), h->out = hc_plain_in(p, hc_arg(call, OUT));
        h->max = (float *)hc_plain_in(p, hc_arg(call, MAX));
        h->sum = (float *)hc_plain_in(p, hc_arg(call, SUM));
        h->dp = hc_plain_take(p, (size_t)(c.chunk * scores), sizeof *h->dp);
        h->result = hc_plain_out(p, hc_arg(call, DQ));
        h->dk1 = hc_plain_out(p, hc_arg(call, DK1)), h->dv1 = hc_plain_out(p, hc_arg(call, DV1));
        h->dk2 = hc_plain_out(p, hc_arg(call, DK2)), h->dv2 = hc_plain_out(p, hc_arg(call, DV2));
    } else {
        h->max = hc_plain_out(p, hc_arg(call, MAX)), h->sum = hc_plain_out(p, hc_arg(call, SUM));
        h->result = hc_plain_out(p, hc_arg(call, OUT));
    }
    return p->status != 0 ? p->status : run_heads(&c, a->backward);
}

/* Outputs are written where all went well. */
static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    return hc_plain_close(&p, compute(call, &p));
}

/* ---- phase one ---- */

/* By name and shape; q and k1 say the sizes. */
struct named {
    const char *arg;
    const aclTensor *t;
};

/* Of exactly the shape of another one. */
static aclnnStatus check_like(const char *name, struct named x, const aclTensor *like) {
    return hc_plain_check(name, x.arg, x.t, like->rank, like->shape);
}

/* Queries and both steps of keys and values. */
static aclnnStatus check_inputs(const char *name, const aclTensor *q, const aclTensor *k1,
                                const aclTensor *v1, const aclTensor *k2, const aclTensor *v2,
                                const aclTensor *mask) {
    HC_TRY(HC_PLAIN_CHECK(name, "query", q, -1, -1, -1, -1, -1));
    const int64_t *n = q->shape;
    HC_TRY(HC_PLAIN_CHECK(name, "key1", k1, n[0], n[1], n[2], -1, n[4]));
    HC_TRY(check_like(name, (struct named){"value1", v1}, k1));
    HC_TRY(HC_PLAIN_CHECK(name, "key2", k2, n[0], n[1], k1->shape[3], n[3], n[4]));
    HC_TRY(check_like(name, (struct named){"value2", v2}, k2));
    if (mask == NULL) return 0;
    const int64_t shape[] = {n[0], 1, n[2], 1, k1->shape[3]};
    aclTensor view;
    HC_CHECK((mask->dtype == ACL_BOOL || mask->dtype == ACL_UINT8 || mask->dtype == ACL_INT8) &&
                 mask->rank <= (int32_t)HC_ARRAY_SIZE(shape) &&
                 hc_broadcast_to(mask, shape, HC_ARRAY_SIZE(shape), &view),
             ACLNN_ERR_PARAM_INVALID,
             "%s: attenMaskOptional is %s, wanted bool or uint8 of [%lld,1,%lld,1,%lld]", name, HC_SHOW(mask),
             (long long)n[0], (long long)n[2], (long long)shape[4]);
    return 0;
}

/* A row's maximum or sum, as often as the vendor's vectors hold it. */
static aclnnStatus check_stats(const char *name, struct named x, const aclTensor *q) {
    const int64_t *n = q->shape;
    return HC_PLAIN_CHECK(name, x.arg, x.t, n[0], n[1], n[2], n[3], STATS);
}

/* torch_npu.npu_fused_floyd_attention. */
HC_API aclnnStatus aclnnFusedFloydAttentionGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key1, const aclTensor *value1, const aclTensor *key2,
    const aclTensor *value2, const aclTensor *attenMaskOptional, double scaleValueOptional,
    const aclTensor *softmaxMaxOut, const aclTensor *softmaxSumOut, const aclTensor *attentionOutOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnFusedFloydAttention";
    const struct args args = {scaleValueOptional, false};
    HC_TRY(check_inputs(NAME, query, key1, value1, key2, value2, attenMaskOptional));
    HC_TRY(check_stats(NAME, (struct named){"softmaxMaxOut", softmaxMaxOut}, query));
    HC_TRY(check_stats(NAME, (struct named){"softmaxSumOut", softmaxSumOut}, query));
    HC_TRY(check_like(NAME, (struct named){"attentionOutOut", attentionOutOut}, query));
    return HC_PLAN(NAME, run, &args, HC_IN(query), HC_IN(key1), HC_IN(value1), HC_IN(key2), HC_IN(value2),
                   HC_IN_OPT(attenMaskOptional), HC_OUT(softmaxMaxOut), HC_OUT(softmaxSumOut),
                   HC_OUT(attentionOutOut));
}
HC_OP_LAUNCH(aclnnFusedFloydAttention)

/* With what forward has returned. */
HC_API aclnnStatus aclnnFusedFloydAttentionGradGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key1, const aclTensor *value1, const aclTensor *key2,
    const aclTensor *value2, const aclTensor *dy, const aclTensor *attenMaskOptional,
    const aclTensor *softmaxMax, const aclTensor *softmaxSum, const aclTensor *attentionIn, double scaleValue,
    const aclTensor *dqOut, const aclTensor *dk1Out, const aclTensor *dv1Out, const aclTensor *dk2Out,
    const aclTensor *dv2Out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnFusedFloydAttentionGrad";
    const struct args args = {scaleValue, true};
    HC_TRY(check_inputs(NAME, query, key1, value1, key2, value2, attenMaskOptional));
    HC_TRY(check_stats(NAME, (struct named){"softmaxMax", softmaxMax}, query));
    HC_TRY(check_stats(NAME, (struct named){"softmaxSum", softmaxSum}, query));
    const struct {
        struct named x;
        const aclTensor *like;
    } others[] = {{{"dy", dy}, query},        {{"attentionIn", attentionIn}, query},
                  {{"dqOut", dqOut}, query},  {{"dk1Out", dk1Out}, key1},
                  {{"dv1Out", dv1Out}, key1}, {{"dk2Out", dk2Out}, key2},
                  {{"dv2Out", dv2Out}, key2}};
    for (size_t i = 0; i < HC_ARRAY_SIZE(others); i++) HC_TRY(check_like(NAME, others[i].x, others[i].like));
    return HC_PLAN(NAME, run, &args, HC_IN(query), HC_IN(key1), HC_IN(value1), HC_IN(key2), HC_IN(value2),
                   HC_IN_OPT(attenMaskOptional), HC_IN(softmaxMax), HC_IN(softmaxSum), HC_IN(attentionIn),
                   HC_IN(dy), HC_OUT(dqOut), HC_OUT(dk1Out), HC_OUT(dv1Out), HC_OUT(dk2Out), HC_OUT(dv2Out));
}
HC_OP_LAUNCH(aclnnFusedFloydAttentionGrad)
#endif
