// SPDX-License-Identifier: Apache-2.0
/* Attention backward: probabilities are computed again from q, k and the saved maximum and sum, which
 * costs one product and saves a matrix of scores.
 *
 *   dV = P'^T dy,  dS = P * (dropout(dy V^T) - delta),  dQ = scale dS K,  dK = scale dS^T Q,  delta = sum(dy
 * * out)
 *
 * A work item is one key head and a range of its key blocks, all query heads that share it: dK and dV are
 * complete in the item, dQ is summed up in float32 in a buffer per range, and the ranges are added in
 * order at the end. How many ranges there are depends on the shapes only, so the result does not depend
 * on the threads. Cost: 5 products of sq * skv * d for each head; memory: splits * tokens * heads * d
 * floats for dQ. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "attention_cache.h"
#include "attention_job.h"
#include "attention_tiles.h"
#include "long_loop.h"
#include "temporary.h"

/* So many items keep the threads of a usual machine busy; more would cost a dQ buffer each, which is cleared,
 * filled and read: with 16 of them a head of 2048 x 128 takes a third longer on two threads. */
enum { ITEMS_WANTED = 8 };

struct backward {
    struct attn_job job;
    size_t splits;
    float *dq; /* [split][head][token][ld_dq] */
    size_t ld_dq;
    float *delta; /* [token][head] */
    float *dpse;  /* [batch][head][sq][skv], where dpse is a sum over batches */
};

/* Buffers of a thread, as in the forward: `p` are probabilities after dropout, `dp` their gradient, then
 * that of the scores; q and dy are the head's tiles at work. Where tiles are multiplied, q, dy, k, kt and vt
 * are operands (q and dy first ones, q_second and dy_second the same as second ones), v is a tile of floats
 * that rows may be rounded in, and work is a first operand made of scores. */
struct tiles {
    float *k, *kt, *v, *vt, *s, *p, *dp, *dk, *dv, *bias, *work;
    const float *q, *dy, *q_second, *dy_second;
    struct attn_cache cache;
};

enum { WORK_PITCH = (ATTN_KEYS * 2) | 64 }; /* attn_tiles_pitch(ATTN_KEYS), and of ATTN_QUERIES */

/* Floats of 128 rows of n as a first operand; as a second one with k down, or along, the rows. */
static size_t first_size(size_t n) { return ATTN_QUERIES * attn_tiles_pitch(n) / sizeof(float); }
static size_t down_size(size_t n) { return attn_tiles_bytes(ATTN_KEYS, n) / sizeof(float); }
static size_t along_size(size_t n) { return attn_tiles_bytes(n, ATTN_KEYS) / sizeof(float); }

/* As in attention_forward.c: sets the pointers, or counts bytes for NULL. */
static size_t carve(const struct attn_job *job, char *memory, struct tiles *t) {
    const size_t scores = ATTN_QUERIES * ATTN_KEY_ROW, ld = job->ld, ldv = job->ldv;
    const size_t d = job->a->d, dv = job->a->dv;
    const bool tiles = job->tiles;
    struct attn_cache *cache = &t->cache;
    cache->size =
        tiles ? first_size(d) + first_size(dv) + down_size(d) + down_size(dv) : ATTN_QUERIES * (ld + ldv);
    cache->slots = attn_cache_slots(hc_ceil_div(job->a->sq, ATTN_QUERIES), cache->size);
    const size_t sizes[] = {tiles ? down_size(d) : ATTN_KEYS * ld,
                            tiles ? along_size(d) : ld * ATTN_KEY_ROW,
                            ATTN_KEYS * hc_max_size(ldv, tiles ? ld : 0),
                            tiles ? along_size(dv) : ldv * ATTN_KEY_ROW,
                            scores,
                            scores,
                            scores,
                            ATTN_KEYS * ld,
                            ATTN_KEYS * ldv,
                            ATTN_KEYS,
                            tiles ? ATTN_KEYS * WORK_PITCH / sizeof(float) : 0,
                            cache->slots * cache->size};
    float **const to[] = {&t->k,  &t->kt, &t->v,  &t->vt,   &t->s,    &t->p,
                          &t->dp, &t->dk, &t->dv, &t->bias, &t->work, &cache->memory};
    size_t used = 0;
    for (size_t i = 0; i < HC_ARRAY_SIZE(sizes); i++) {
        if (memory != NULL) *to[i] = (float *)(memory + used);
        used += sizes[i] * sizeof(float);
    }
    return used;
}

/* Rows of a head as both operands. */
static void pack_both(const struct attn_view *v, const struct attn_batch *batch, size_t head, size_t i,
                      size_t rows, size_t d, size_t ld, float *tile, float *first, float *second) {
    const char *row[ATTN_QUERIES];
    attn_find_bf16(v, batch, batch->q0, head, i, rows, d, tile, ld, row);
    HC_DISPATCH(attn_tiles_copy)(rows, d, row, (char *)first, attn_tiles_pitch(d));
    HC_DISPATCH(attn_tiles_pack_down)(rows, d, row, (char *)second, attn_tiles_block(ATTN_QUERIES));
}

/* Queries [i, i + rows) of a head, and the gradients of their outputs. */
static void load_queries(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                         size_t rows, struct tiles *t) {
    const struct attn_args *a = job->a;
    bool fresh;
    float *q = attn_cache_slot(&t->cache, batch->index * a->heads + head, i / ATTN_QUERIES, &fresh);
    float *dy = q + (job->tiles ? first_size(a->d) : ATTN_QUERIES * job->ld);
    float *q_second = dy + first_size(a->dv), *dy_second = q_second + down_size(a->d);
    t->q = q, t->dy = dy, t->q_second = q_second, t->dy_second = dy_second;
    if (!fresh) return;
    if (job->tiles) {
        pack_both(&job->q, batch, head, i, rows, a->d, job->ld, t->v, q, q_second);
        pack_both(&job->dy, batch, head, i, rows, a->dv, job->ldv, t->v, dy, dy_second);
        return;
    }
    attn_load(&job->q, batch, batch->q0, head, i, rows, a->d, q, job->ld);
    attn_load(&job->dy, batch, batch->q0, head, i, rows, a->dv, dy, job->ldv);
}

/* Keys [k, k + keys) of a key head, and their values, both ways round. */
static void load_keys(const struct attn_job *job, const struct attn_batch *batch, size_t kv_head, size_t k,
                      size_t keys, const struct tiles *t) {
    const struct attn_args *a = job->a;
    const size_t ld = job->ld, ldv = job->ldv;
    if (job->tiles) {
        const char *row[ATTN_KEYS];
        attn_find_bf16(&job->k, batch, batch->kv0, kv_head, k, keys, a->d, t->v, ld, row);
        HC_DISPATCH(attn_tiles_pack_down)(keys, a->d, row, (char *)t->k, attn_tiles_block(ATTN_KEYS));
        HC_DISPATCH(attn_tiles_pack_along)(keys, a->d, row, (char *)t->kt, attn_tiles_block(a->d));
        attn_find_bf16(&job->v, batch, batch->kv0, kv_head, k, keys, a->dv, t->v, ldv, row);
        HC_DISPATCH(attn_tiles_pack_along)(keys, a->dv, row, (char *)t->vt, attn_tiles_block(a->dv));
        return;
    }
    attn_load(&job->k, batch, batch->kv0, kv_head, k, keys, a->d, t->k, ld);
    attn_load(&job->v, batch, batch->kv0, kv_head, k, keys, a->dv, t->v, ldv);
    HC_DISPATCH(attn_transpose)(keys, a->d, t->k, ld, t->kt, ATTN_KEY_ROW);
    HC_DISPATCH(attn_transpose)(keys, a->dv, t->v, ldv, t->vt, ATTN_KEY_ROW);
}

/* dS is the gradient of the logits; a bias that was added before scaling has scale times that. `row` may
 * be overwritten. A bias shared by the batches is summed up afterwards, in order (sum_dpse). */
static void store_bias_gradient(const struct backward *w, const struct attn_batch *batch, size_t head,
                                size_t i, size_t k, size_t keys, const float *ds, float *row) {
    const struct attn_job *job = &w->job;
    const struct attn_args *a = job->a;
    memcpy(row, ds, keys * sizeof(float));
    if (a->pse_type == 1) HC_DISPATCH(attn_scale_row)(keys, row, (float)a->scale);
    if (w->dpse != NULL) {
        memcpy(w->dpse + ((batch->index * a->heads + head) * a->sq + i) * a->skv + k, row,
               keys * sizeof(float));
        return;
    }
    const struct attn_view *v = &job->dpse;
    const int64_t at =
        (int64_t)batch->index * v->b + (int64_t)head * v->n + (int64_t)i * v->s + (int64_t)k * v->d;
    v->store(keys, v->data + at * v->item_size, v->d, row);
}

/* Of query i, for exp(logit - max) * inverse. */
static void find_statistics(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                            float *max, float *inverse) {
    if (job->lse != NULL) {
        *max = job->lse[attn_lse_at(job, batch, head, i)], *inverse = 1;
        return;
    }
    const size_t at = attn_statistic(job, batch, head, i) * 8;
    *max = job->max[at], *inverse = 1 / job->sum[at];
}

/* s: scores in, probabilities out; p: those after dropout; dp: dy V^T in, dS out. */
static void score_rows(const struct backward *w, const struct attn_batch *batch, size_t head, size_t i,
                       size_t rows, size_t k, size_t keys, const struct tiles *t) {
    const struct attn_job *job = &w->job;
    const float keep = attn_keep_factor(job->a);
    for (size_t r = 0; r < rows; r++) {
        struct attn_row row;
        const size_t start = r * ATTN_KEY_ROW;
        float *s = t->s + start, *p = t->p + start, *dp = t->dp + start;
        float max, inverse;
        find_statistics(job, batch, head, i + r, &max, &inverse);
        attn_prepare_row(job, batch, head, i + r, k, keys, t->bias, &row);
        HC_DISPATCH(attn_probability_row)(&row, s, max, inverse);
        if (job->drop != NULL) {
            const size_t bit = attn_drop_bit(job, batch, head, i + r, k);
            memcpy(p, s, keys * sizeof(float));
            HC_DISPATCH(attn_dropout_row)(keys, p, job->drop, bit, keep);
            HC_DISPATCH(attn_dropout_row)(keys, dp, job->drop, bit, keep);
        }
        const float delta = w->delta[(batch->token0 + i + r) * job->a->heads + head];
        HC_DISPATCH(attn_gradient_row)(&row, s, dp, delta);
        if (job->dpse.data != NULL) store_bias_gradient(w, batch, head, i + r, k, keys, dp, t->bias);
    }
}

/* Scores and dy V^T of the rows of a stripe. */
static void score_products(const struct attn_job *job, const struct attn_stripe *p, const struct tiles *t) {
    const struct attn_args *a = job->a;
    struct attn_product x = {.m = p->rows,
                             .n = p->high,
                             .k = a->d,
                             .a = t->q + p->row * job->ld,
                             .am = job->ld,
                             .ak = 1,
                             .b = t->kt,
                             .ldb = ATTN_KEY_ROW,
                             .c = t->s + p->row * ATTN_KEY_ROW,
                             .ldc = ATTN_KEY_ROW};
    job->gemm(&x);
    x.k = a->dv;
    x.a = t->dy + p->row * job->ldv, x.am = job->ldv;
    x.b = t->vt;
    x.c = t->dp + p->row * ATTN_KEY_ROW;
    job->gemm(&x);
}

/* What the rows of a stripe add to the three gradients; dq: of the tile's first row. */
static void gradient_products(const struct backward *w, const struct attn_stripe *p, const struct tiles *t,
                              float *dq) {
    const struct attn_job *job = &w->job;
    const struct attn_args *a = job->a;
    const size_t ld = job->ld, ldv = job->ldv, at = p->row * ATTN_KEY_ROW;
    const float *weights = job->drop != NULL ? t->p : t->s;
    struct attn_product x = {.m = p->high,
                             .k = p->rows,
                             .am = 1,
                             .ak = ATTN_KEY_ROW,
                             .accumulate = true}; /* of transposed weights */
    x.n = a->dv, x.a = weights + at;
    x.b = t->dy + p->row * ldv, x.ldb = ldv;
    x.c = t->dv, x.ldc = ldv;
    job->gemm(&x);
    x.n = a->d, x.a = t->dp + at;
    x.b = t->q + p->row * ld, x.ldb = ld;
    x.c = t->dk, x.ldc = ld;
    job->gemm(&x);
    x.m = p->rows, x.k = p->high;
    x.am = ATTN_KEY_ROW, x.ak = 1;
    x.b = t->k;
    x.c = dq + p->row * w->ld_dq, x.ldc = w->ld_dq;
    job->gemm(&x);
}

/* score_products and gradient_products of tiles. */
static void score_tiles(const struct attn_job *job, const struct attn_stripe *p, const struct tiles *t) {
    const size_t d = job->a->d, dv = job->a->dv;
    struct attn_tiles_product x = {.m = p->rows, .n = p->high, .k = d, .ldc = ATTN_KEY_ROW};
    x.pitch = attn_tiles_pitch(d), x.a = (const char *)t->q + p->row * x.pitch;
    x.block = attn_tiles_block(d), x.b = (const char *)t->kt;
    x.c = t->s + p->row * ATTN_KEY_ROW;
    HC_DISPATCH(attn_tiles_multiply)(&x);
    x.k = dv;
    x.pitch = attn_tiles_pitch(dv), x.a = (const char *)t->dy + p->row * x.pitch;
    x.block = attn_tiles_block(dv), x.b = (const char *)t->vt;
    x.c = t->dp + p->row * ATTN_KEY_ROW;
    HC_DISPATCH(attn_tiles_multiply)(&x);
}

static void gradient_tiles(const struct backward *w, const struct attn_stripe *p, const struct tiles *t,
                           float *dq) {
    const struct attn_job *job = &w->job;
    const size_t at = p->row * ATTN_KEY_ROW, down = p->row * ATTN_TILES_COLUMNS * 2;
    const float *weights = job->drop != NULL ? t->p : t->s;
    char *work = (char *)t->work;
    struct attn_tiles_product x = {.m = p->high,
                                   .k = p->rows,
                                   .a = work,
                                   .pitch = WORK_PITCH,
                                   .block = attn_tiles_block(ATTN_QUERIES),
                                   .accumulate = true}; /* of transposed weights */
    HC_DISPATCH(attn_tiles_turn)(p->rows, p->high, weights + at, ATTN_KEY_ROW, work, WORK_PITCH);
    x.n = job->a->dv, x.b = (const char *)t->dy_second + down;
    x.c = t->dv, x.ldc = job->ldv;
    HC_DISPATCH(attn_tiles_multiply)(&x);
    HC_DISPATCH(attn_tiles_turn)(p->rows, p->high, t->dp + at, ATTN_KEY_ROW, work, WORK_PITCH);
    x.n = job->a->d, x.b = (const char *)t->q_second + down;
    x.c = t->dk, x.ldc = job->ld;
    HC_DISPATCH(attn_tiles_multiply)(&x);
    HC_DISPATCH(attn_tiles_round)(p->rows, p->high, t->dp + at, ATTN_KEY_ROW, work, WORK_PITCH);
    x.m = p->rows, x.k = p->high, x.b = (const char *)t->k;
    x.c = dq + p->row * w->ld_dq, x.ldc = w->ld_dq;
    HC_DISPATCH(attn_tiles_multiply)(&x);
}

/* The five products of one tile. Order: scores and dy V^T, rows to dS, then the three gradients. */
static void query_tile(const struct backward *w, const struct attn_batch *batch, size_t head, size_t i,
                       size_t rows, size_t k, size_t keys, size_t split, struct tiles *t) {
    const struct attn_job *job = &w->job;
    const struct attn_args *a = job->a;
    float *dq = w->dq + ((split * a->heads + head) * job->tokens + batch->token0 + i) * w->ld_dq;
    struct attn_stripe stripe = {0};
    load_queries(job, batch, head, i, rows, t);
    while (attn_next_stripe(job, batch, head, i, rows, k, keys, &stripe))
        (job->tiles ? score_tiles : score_products)(job, &stripe, t);
    score_rows(w, batch, head, i, rows, k, keys, t);
    stripe = (struct attn_stripe){0};
    while (attn_next_stripe(job, batch, head, i, rows, k, keys, &stripe))
        (job->tiles ? gradient_tiles : gradient_products)(w, &stripe, t, dq);
}

/* Keys [k, k + keys) of a key head, all queries that see them: the outer loop of backward, where
 * forward's is the queries. */
static void key_block(const struct backward *w, const struct attn_batch *batch, size_t kv_head, size_t k,
                      size_t keys, size_t split, struct tiles *t) {
    const struct attn_job *job = &w->job;
    const struct attn_args *a = job->a;
    const size_t ld = job->ld, ldv = job->ldv, group = a->heads / a->kv_heads;
    load_keys(job, batch, kv_head, k, keys, t);
    memset(t->dk, 0, keys * ld * sizeof(float));
    memset(t->dv, 0, keys * ldv * sizeof(float));
    for (size_t head = kv_head * group; head < (kv_head + 1) * group; head++) {
        for (size_t i = 0; i < batch->sq; i += ATTN_QUERIES) {
            const size_t rows = hc_min_size(ATTN_QUERIES, batch->sq - i);
            if (attn_tile_visible(job, batch, head, i, rows, k, keys))
                query_tile(w, batch, head, i, rows, k, keys, split, t);
        }
    }
    for (size_t r = 0; r < keys; r++) {
        HC_DISPATCH(attn_scale_row)(a->d, t->dk + r * ld, (float)a->scale);
        attn_store_row(&job->dk, batch, kv_head, batch->kv0 + k + r, a->d, t->dk + r * ld);
        attn_store_row(&job->dv, batch, kv_head, batch->kv0 + k + r, a->dv, t->dv + r * ldv);
    }
}

/* An item is a share of the key blocks of one key head: it alone writes their dK and dV, and adds to a dQ
 * of its own, so items need no locks. */
static void run_items(void *ctx, size_t begin, size_t end) {
    struct backward *w = ctx;
    const struct attn_job *job = &w->job;
    struct tiles t = {0};
    char *memory = hc_scratch(HC_SCRATCH_A, carve(job, NULL, &t));
    if (memory == NULL) {
        atomic_store(&w->job.failed, true);
        return;
    }
    carve(job, memory, &t);
    for (size_t item = begin; item < end && !hc_results_unwanted(); item++) {
        const size_t split = item % w->splits, kv_head = item / w->splits % job->a->kv_heads;
        const struct attn_batch *batch = &job->batches[item / w->splits / job->a->kv_heads];
        /* Blocks are dealt out in turn: under a causal mask early ones have more work. */
        for (size_t k = split * ATTN_KEYS; k < batch->skv; k += w->splits * ATTN_KEYS) {
            key_block(w, batch, kv_head, k, hc_min_size(ATTN_KEYS, batch->skv - k), split, &t);
        }
    }
}

/* The batch that holds a token, by bisection over where batches begin: of several that begin there all but
 * the last are empty. */
static const struct attn_batch *find_batch(const struct attn_job *job, size_t token) {
    size_t low = 0, high = job->a->batches;
    while (high - low > 1) {
        const size_t middle = low + (high - low) / 2;
        if (job->batches[middle].token0 <= token) low = middle;
        else high = middle;
    }
    return &job->batches[low];
}

/* Once per row, not once per tile: delta replaces a pass over all keys. */
static void compute_delta(void *ctx, size_t begin, size_t end) {
    struct backward *w = ctx;
    const struct attn_job *job = &w->job;
    float *out = hc_scratch(HC_SCRATCH_A, 2 * job->ldv * sizeof(float));
    if (out == NULL) {
        atomic_store(&w->job.failed, true);
        return;
    }
    float *dy = out + job->ldv;
    for (size_t row = begin; row < end; row++) {
        const size_t token = row / job->a->heads, head = row % job->a->heads;
        const struct attn_batch *batch = find_batch(job, token);
        attn_load(&job->out, batch, batch->q0, head, token - batch->token0, 1, job->a->dv, out, job->ldv);
        attn_load(&job->dy, batch, batch->q0, head, token - batch->token0, 1, job->a->dv, dy, job->ldv);
        HC_DISPATCH(attn_dot)(job->a->dv, out, dy, &w->delta[row]);
    }
}

/* Adds the ranges of a row in their order and stores it in the layout of dQ. */
static void store_dq(void *ctx, size_t begin, size_t end) {
    const struct backward *w = ctx;
    const struct attn_job *job = &w->job;
    const size_t ld = w->ld_dq, heads = job->a->heads;
    for (size_t row = begin; row < end; row++) {
        const size_t token = row / heads, head = row % heads;
        const struct attn_batch *batch = find_batch(job, token);
        float *sum = w->dq + (head * job->tokens + token) * ld;
        HC_DISPATCH(attn_sum_row)(job->a->d, sum, w->splits, heads * job->tokens * ld, (float)job->a->scale);
        attn_store_row(&job->dq, batch, head, batch->q0 + token - batch->token0, job->a->d, sum);
    }
}

/* The sink is a key whose value is zero: its gradient is -P delta, summed over all rows of a head in order.
 */
static void store_dsink(const struct backward *w, const aclTensor *dsink) {
    const struct attn_job *job = &w->job;
    for (size_t head = 0; head < job->a->heads; head++) {
        double sum = 0;
        for (size_t token = 0; token < job->tokens; token++) {
            const struct attn_batch *batch = find_batch(job, token);
            const size_t at = attn_statistic(job, batch, head, token - batch->token0) * 8;
            sum -= exp((double)(job->sink[head] - job->max[at])) / (double)job->sum[at] *
                   (double)w->delta[token * job->a->heads + head];
        }
        hc_store_for(dsink->dtype, HC_F64)(
            1, hc_data(dsink) + (int64_t)head * dsink->stride[0] * dsink->item_size, 1, &sum);
    }
}

/* Gradients of a bias shared by all batches. */
static aclnnStatus sum_dpse(const struct backward *w) {
    const struct attn_args *a = w->job.a;
    const aclTensor *dpse = hc_arg(w->job.call, SLOT_DPSE);
    const size_t each = a->heads * a->sq * a->skv;
    for (size_t b = 1; b < a->batches; b++) {
        for (size_t i = 0; i < each; i++) w->dpse[i] += w->dpse[b * each + i];
    }
    const aclTensor total = hc_tensor_view(ACL_FLOAT, dpse->shape, dpse->rank, w->dpse);
    return hc_copy(dpse, &total);
}

/* What no item writes: rows beyond the last sequence of packed tensors, or beyond a batch's own length, and
 * biases of tiles that nobody sees. */
static aclnnStatus clear_outputs(const struct backward *w) {
    const struct hc_call *call = w->job.call;
    const struct hc_element zero = {{0}};
    if (attn_is_packed(w->job.a->layout) || w->job.a->ragged) {
        HC_TRY(hc_fill(hc_arg(call, SLOT_DQ), &zero));
        HC_TRY(hc_fill(hc_arg(call, SLOT_DK), &zero));
        HC_TRY(hc_fill(hc_arg(call, SLOT_DV), &zero));
    }
    return hc_arg(call, SLOT_DPSE) ? hc_fill(hc_arg(call, SLOT_DPSE), &zero) : 0;
}

/* dQ starts as zeros, as items add to it and rows that nobody sees keep them. */
static aclnnStatus allocate(struct backward *w) {
    const struct attn_args *a = w->job.a;
    const size_t rows = w->job.tokens * a->heads, items = a->batches * a->kv_heads;
    w->splits = items >= ITEMS_WANTED ? 1 : hc_ceil_div(ITEMS_WANTED, hc_max_size(items, 1));
    w->splits = hc_max_size(1, hc_min_size(w->splits, hc_ceil_div(a->skv, ATTN_KEYS)));
    w->ld_dq = hc_align_up(a->d, ATTN_PAD);
    w->dq = hc_block_take_zeroed(w->splits * rows * w->ld_dq + 1, sizeof(float));
    w->delta = hc_block_take_array(rows + 1, sizeof(float));
    HC_CHECK(w->dq && w->delta, ACLNN_ERR_INNER, "%s: out of host memory for the gradient of %zu query rows",
             a->name, rows);
    const aclTensor *dpse = hc_arg(w->job.call, SLOT_DPSE);
    if (dpse == NULL || a->batches == 1 || dpse->shape[0] != 1) return 0;
    w->dpse = hc_block_take_zeroed(rows * a->skv + 1, sizeof(float));
    HC_CHECK(w->dpse != NULL, ACLNN_ERR_INNER, "%s: out of host memory for the gradient of pse", a->name);
    return 0;
}

/* Three loops, each complete before the next: delta of every row, then the products over key blocks, then
 * the sum of dQ over the shares of a head. */
static aclnnStatus run_job(struct backward *w) {
    HC_TRY(allocate(w));
    HC_TRY(clear_outputs(w));
    const size_t rows = w->job.tokens * w->job.a->heads;
    hc_parallel_for(rows, 64, compute_delta, w);
    hc_parallel_for(w->job.a->batches * w->job.a->kv_heads * w->splits, 1, run_items, w);
    HC_TRY(attn_job_status(&w->job));
    hc_parallel_for(rows, 64, store_dq, w);
    if (w->dpse != NULL) HC_TRY(sum_dpse(w));
    const aclTensor *dsink = hc_arg(w->job.call, SLOT_DSINK);
    if (dsink != NULL && dsink->numel > 0 && w->job.sink != NULL) store_dsink(w, dsink);
    return 0;
}

aclnnStatus attn_backward(const struct hc_call *call) {
    struct backward w = {0};
    aclnnStatus status = attn_job_init(&w.job, call);
    if (status == 0) status = run_job(&w);
    hc_block_give(w.dq);
    hc_block_give(w.delta);
    hc_block_give(w.dpse);
    attn_job_free(&w.job);
    return status;
}
