// SPDX-License-Identifier: Apache-2.0
/* Attention forward: for each block of queries, one pass over the keys it sees, softmax on the way
 * (streaming maximum and sum, earlier results rescaled when the maximum grows).
 *
 *   for each tile of keys:  S = Q K^T, P = exp(S - max), O = O * exp(old max - max) + P V, sum likewise;  at
 * the end O / sum
 *
 * Scores exist for one tile at a time, so memory is linear in the sequence where the plain formula is
 * quadratic. Work items are query blocks of one head: independent, each computed in a fixed order, so
 * threads do not change a bit. Cost: 2 products of sq * skv * d for each head, less the tiles that nobody
 * sees. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "attention_cache.h"
#include "attention_job.h"
#include "long_loop.h"
#include "temporary.h"

/* Buffers of a thread, in one piece of scratch: tiles of q, k, scores and output, per query row the maximum
 * and the sum so far, and the head's keys, transposed, and values; kt and v are those at work. */
struct tiles {
    float *q, *k, *s, *out, *max, *sum, *bias;
    const float *kt, *v;
    struct attn_cache cache;
};

/* Sets the pointers of `t` into `memory`, or only counts the bytes for NULL: one list of sizes for both
 * uses. */
static size_t carve(const struct attn_job *job, char *memory, struct tiles *t) {
    struct attn_cache *cache = &t->cache;
    cache->size = job->ld * ATTN_KEY_ROW + ATTN_KEYS * job->ldv;
    cache->slots = attn_cache_slots(hc_ceil_div(job->a->skv, ATTN_KEYS), cache->size);
    const size_t sizes[] = {ATTN_QUERIES * job->ld,
                            ATTN_KEYS * job->ld,
                            ATTN_QUERIES * ATTN_KEY_ROW,
                            ATTN_QUERIES * job->ldv,
                            ATTN_QUERIES,
                            ATTN_QUERIES,
                            ATTN_KEYS,
                            cache->slots * cache->size};
    float **const to[] = {&t->q, &t->k, &t->s, &t->out, &t->max, &t->sum, &t->bias, &cache->memory};
    size_t used = 0;
    for (size_t i = 0; i < HC_ARRAY_SIZE(sizes); i++) {
        if (memory != NULL) *to[i] = (float *)(memory + used);
        used += sizes[i] * sizeof(float);
    }
    return used;
}

/* Keys [k, k + keys) of a key head, transposed, and their values. */
static void load_keys(const struct attn_job *job, const struct attn_batch *batch, size_t kv_head, size_t k,
                      size_t keys, struct tiles *t) {
    const struct attn_args *a = job->a;
    bool fresh;
    float *kt = attn_cache_slot(&t->cache, batch->index * a->kv_heads + kv_head, k / ATTN_KEYS, &fresh);
    float *v = kt + job->ld * ATTN_KEY_ROW;
    t->kt = kt, t->v = v;
    if (!fresh) return;
    attn_load_keys(job, batch, kv_head, k, keys, t->k);
    HC_DISPATCH(attn_transpose)(keys, a->d, t->k, job->ld, kt, ATTN_KEY_ROW);
    attn_load_values(job, batch, kv_head, k, keys, v);
}

/* S = Q K^T of the keys that are seen. */
static void score_tile(const struct attn_job *job, const struct attn_batch *batch, size_t i, size_t rows,
                       size_t k, size_t keys, const struct tiles *t) {
    struct attn_stripe p = {0};
    while (attn_next_stripe(job, batch, i, rows, k, keys, &p))
        job->gemm(&(struct attn_product){.m = p.rows,
                                         .n = p.high,
                                         .k = job->a->d,
                                         .a = t->q + p.row * job->ld,
                                         .am = job->ld,
                                         .ak = 1,
                                         .exact = true,
                                         .b = t->kt,
                                         .ldb = ATTN_KEY_ROW,
                                         .c = t->s + p.row * ATTN_KEY_ROW,
                                         .ldc = ATTN_KEY_ROW});
}

/* O += P V of the keys that are seen: the other weights are zero. */
static void output_tile(const struct attn_job *job, const struct attn_batch *batch, size_t i, size_t rows,
                        size_t k, size_t keys, const struct tiles *t) {
    struct attn_stripe p = {0};
    while (attn_next_stripe(job, batch, i, rows, k, keys, &p))
        job->gemm(&(struct attn_product){.m = p.rows,
                                         .n = job->a->dv,
                                         .k = p.high,
                                         .a = t->s + p.row * ATTN_KEY_ROW,
                                         .am = ATTN_KEY_ROW,
                                         .ak = 1,
                                         .b = t->v,
                                         .ldb = job->ldv,
                                         .c = t->out + p.row * job->ldv,
                                         .ldc = job->ldv,
                                         .accumulate = true});
}

/* Scores of a tile to weights, row by row, while they are in the first-level cache. Dropout comes after
 * the sum has been taken: the sum is that of all weights. */
static void softmax_tile(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                         size_t rows, size_t k, size_t keys, const struct tiles *t) {
    for (size_t r = 0; r < rows; r++) {
        struct attn_row row;
        float rescale, *s = t->s + r * ATTN_KEY_ROW;
        attn_prepare_row(job, batch, head, i + r, k, keys, t->bias, &row);
        HC_DISPATCH(attn_softmax_row)(&row, s, &t->max[r], &t->sum[r], &rescale);
        if (rescale != 1) HC_DISPATCH(attn_scale_row)(job->a->dv, t->out + r * job->ldv, rescale);
        if (job->drop != NULL) {
            HC_DISPATCH(attn_dropout_row)(keys, s, job->drop, attn_drop_bit(job, batch, head, i + r, k),
                                          attn_keep_factor(job->a));
        }
    }
}

/* Inference lays the logarithm of a row's sum out as [T,N] or [B,N,S]. */
static size_t lse_at(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i) {
    const size_t heads = job->a->heads;
    if (attn_is_packed(job->a->layout)) return (batch->q0 + i) * heads + head;
    return (batch->index * heads + head) * job->a->sq + i;
}

/* Rows without any key: zeros, and statistics that make every later exponential or weight zero. */
static void finish_rows(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                        size_t rows, const struct tiles *t) {
    for (size_t r = 0; r < rows; r++) {
        float max = t->max[r], sum = t->sum[r], *out = t->out + r * job->ldv, factor = 1;
        if (job->sink != NULL) {
            const float all = fmaxf(max, job->sink[head]);
            factor = expf(max - all);
            sum = sum * factor + expf(job->sink[head] - all);
            max = all;
        }
        const bool none = sum == 0;
        HC_DISPATCH(attn_scale_row)(job->a->dv, out, none ? 0 : factor / sum);
        attn_store_row(&job->out, batch, head, batch->q0 + i + r, job->a->dv, out);
        if (job->lse != NULL) job->lse[lse_at(job, batch, head, i + r)] = none ? INFINITY : max + logf(sum);
        if (job->max == NULL) continue;
        const size_t at = attn_statistic(job, batch, head, i + r) * 8;
        for (size_t j = 0; j < 8; j++) {
            job->max[at + j] = none ? -FLT_MAX : max;
            job->sum[at + j] = none ? FLT_MAX : sum;
        }
    }
}

/* One work item: queries [i, i + rows) of a head, all keys. Visibility grows with the row, so the first
 * row gives the lowest key and the last row the highest. */
static void query_block(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                        size_t rows, struct tiles *t) {
    const struct attn_args *a = job->a;
    const size_t kv_head = head / (a->heads / a->kv_heads);
    size_t low, high, ignored;
    attn_visible(job, batch, i, &low, &ignored);
    attn_visible(job, batch, i + rows - 1, &ignored, &high);
    attn_load_queries(job, batch, head, i, rows, t->q);
    memset(t->out, 0, rows * job->ldv * sizeof(float));
    for (size_t r = 0; r < rows; r++) {
        t->max[r] = -INFINITY;
        t->sum[r] = 0;
    }
    for (size_t k = low / ATTN_KEYS * ATTN_KEYS; k < high; k += ATTN_KEYS) {
        const size_t keys = hc_min_size(ATTN_KEYS, batch->skv - k);
        if (!attn_tile_visible(job, batch, head, i, rows, k, keys)) continue;
        load_keys(job, batch, kv_head, k, keys, t);
        score_tile(job, batch, i, rows, k, keys, t);
        softmax_tile(job, batch, head, i, rows, k, keys, t);
        output_tile(job, batch, i, rows, k, keys, t);
    }
    finish_rows(job, batch, head, i, rows, t);
}

static void run_blocks(void *ctx, size_t begin, size_t end) {
    struct attn_job *job = ctx;
    const size_t blocks = hc_ceil_div(job->a->sq, ATTN_QUERIES);
    struct tiles t = {0};
    char *memory = hc_scratch(HC_SCRATCH_A, carve(job, NULL, &t));
    if (memory == NULL) {
        atomic_store(&job->failed, true);
        return;
    }
    carve(job, memory, &t);
    for (size_t item = begin; item < end && !hc_results_unwanted(); item++) {
        /* The last block of a causal head is the longest: it goes first. */
        const size_t block = blocks - 1 - item % blocks, head = item / blocks % job->a->heads;
        const struct attn_batch *batch = &job->batches[item / blocks / job->a->heads];
        const size_t i = block * ATTN_QUERIES;
        if (i < batch->sq) query_block(job, batch, head, i, hc_min_size(ATTN_QUERIES, batch->sq - i), &t);
    }
}

/* Rows behind the last sequence of a packed output, or behind a batch's own length, belong to no item: they
 * are zeroed first. */
static aclnnStatus run_job(struct attn_job *job) {
    const aclTensor *out = hc_arg(job->call, SLOT_OUT), *lse = hc_arg(job->call, SLOT_LSE);
    const struct attn_args *a = job->a;
    const struct hc_element zero = {{0}};
    const size_t rows =
        attn_is_packed(a->layout) ? (size_t)out->shape[attn_axes(a->out_layout).s] : a->batches * a->sq;
    if (job->tokens < rows) HC_TRY(hc_fill(out, &zero));
    if (job->tokens < rows && lse != NULL) HC_TRY(hc_fill(lse, &zero));
    const size_t blocks = hc_ceil_div(job->a->sq, ATTN_QUERIES);
    const size_t heads = job->a->batches * job->a->heads;
    /* Whole heads, as their blocks share what is loaded, where every thread gets several. */
    hc_parallel_for(heads * blocks, heads >= 4 * hc_num_threads() ? blocks : 1, run_blocks, job);
    return attn_job_status(job);
}

/* The run of all forward operators: what the versions differ in is in the plan. */
aclnnStatus attn_forward(const struct hc_call *call) {
    struct attn_job job;
    aclnnStatus status = attn_job_init(&job, call);
    if (status == 0) status = run_job(&job);
    attn_job_free(&job);
    return status;
}
