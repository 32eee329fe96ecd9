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
 * sees.
 *
 * Where each sequence has one query, a step of decoding, the rows of a tile are the query heads of a key
 * head: keys and values are read once for all of them, and where they lie if the rows are few. Long keys are
 * then passed over in sections, which are merged at the end. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "attention_cache.h"
#include "attention_job.h"
#include "attention_quant.h"
#include "attention_tiles.h"
#include "long_loop.h"
#include "temporary.h"

/* Buffers of a thread, in one piece of scratch: tiles of q, k, scores and output, per query row the maximum
 * and the sum so far, and the head's keys, transposed, and values; kt and v are those at work. */
struct tiles {
    float *q, *k, *s, *out, *max, *sum, *bias;
    const float *kt, *v;        /* operands of tiles, where those are multiplied */
    float *q_operand, *weights; /* likewise: first ones */
    struct attn_cache cache;
};

/* The rows of a tile: queries from i on of a head, or query i of heads from that on. */
struct rows {
    size_t head, i, count;
    bool heads;
};
static size_t head_of(const struct rows *at, size_t r) { return at->head + (at->heads ? r : 0); }
static size_t query_of(const struct rows *at, size_t r) { return at->i + (at->heads ? 0 : r); }
static size_t queries(const struct rows *at) { return at->heads ? 1 : at->count; }

enum { WEIGHTS_PITCH = (ATTN_KEYS * 2) | 64 }; /* attn_tiles_pitch(ATTN_KEYS) */

/* Floats of a tile of keys and of one of values as products take them. */
static size_t keys_size(const struct attn_job *job) {
    return job->tiles ? attn_tiles_bytes(job->a->d, ATTN_KEYS) / sizeof(float) : job->ld * ATTN_KEY_ROW;
}
static size_t values_size(const struct attn_job *job) {
    return job->tiles ? attn_tiles_bytes(ATTN_KEYS, job->a->dv) / sizeof(float) : ATTN_KEYS * job->ldv;
}

/* Sets the pointers of `t` into `memory`, or only counts the bytes for NULL: one list of sizes for both
 * uses. */
static size_t carve(const struct attn_job *job, char *memory, struct tiles *t) {
    const struct attn_args *a = job->a;
    struct attn_cache *cache = &t->cache;
    cache->size = keys_size(job) + values_size(job);
    cache->slots = attn_cache_slots(hc_ceil_div(a->skv, ATTN_KEYS), cache->size);
    const size_t sizes[] = {ATTN_QUERIES * job->ld,
                            ATTN_KEYS * hc_max_size(job->ld, job->tiles ? job->ldv : 0),
                            ATTN_QUERIES * ATTN_KEY_ROW,
                            ATTN_QUERIES * job->ldv,
                            ATTN_QUERIES,
                            ATTN_QUERIES,
                            ATTN_KEYS,
                            job->tiles ? ATTN_QUERIES * attn_tiles_pitch(a->d) / sizeof(float) : 0,
                            job->tiles ? ATTN_QUERIES * WEIGHTS_PITCH / sizeof(float) : 0,
                            cache->slots * cache->size};
    float **const to[] = {&t->q,   &t->k,    &t->s,         &t->out,     &t->max,
                          &t->sum, &t->bias, &t->q_operand, &t->weights, &cache->memory};
    size_t used = 0;
    for (size_t i = 0; i < HC_ARRAY_SIZE(sizes); i++) {
        if (memory != NULL) *to[i] = (float *)(memory + used);
        used += sizes[i] * sizeof(float);
    }
    return used;
}

/* Keys [k, k + keys) of a key head as a second operand; from where they lie, or else through `tile`. */
static void pack_keys(const struct attn_job *job, const struct attn_batch *batch, size_t kv_head, size_t k,
                      size_t keys, float *tile, char *to) {
    const size_t d = job->a->d;
    const char *row[ATTN_KEYS];
    if (attn_reads_in_place(&job->k) && job->k_rope.data == NULL) {
        attn_find_rows(job, &job->k, batch, kv_head, k, keys, row);
    } else {
        attn_load_keys(job, batch, kv_head, k, keys, tile);
        attn_round_rows(keys, d, tile, job->ld, row);
    }
    HC_DISPATCH(attn_tiles_pack_along)(keys, d, row, to, attn_tiles_block(d));
}

/* The same of values; tile: room for as many. */
static void pack_values(const struct attn_job *job, const struct attn_batch *batch, size_t kv_head, size_t k,
                        size_t keys, float *tile, char *to) {
    const char *row[ATTN_KEYS];
    if (attn_reads_in_place(&job->v)) {
        attn_find_rows(job, &job->v, batch, kv_head, k, keys, row);
    } else {
        attn_load_values(job, batch, kv_head, k, keys, tile);
        attn_round_rows(keys, job->a->dv, tile, job->ldv, row);
    }
    HC_DISPATCH(attn_tiles_pack_down)(keys, job->a->dv, row, to, attn_tiles_block(ATTN_KEYS));
}

/* Keys [k, k + keys) of a key head, transposed, and their values. */
static void load_keys(const struct attn_job *job, const struct attn_batch *batch, size_t kv_head, size_t k,
                      size_t keys, struct tiles *t) {
    const struct attn_args *a = job->a;
    bool fresh;
    float *kt = attn_cache_slot(&t->cache, batch->index * a->kv_heads + kv_head, k / ATTN_KEYS, &fresh);
    float *v = kt + keys_size(job);
    t->kt = kt, t->v = v;
    if (!fresh) return;
    if (job->tiles) {
        pack_keys(job, batch, kv_head, k, keys, t->k, (char *)kt);
        pack_values(job, batch, kv_head, k, keys, t->k, (char *)v);
        return;
    }
    attn_load_keys(job, batch, kv_head, k, keys, t->k);
    HC_DISPATCH(attn_transpose)(keys, a->d, t->k, job->ld, kt, ATTN_KEY_ROW);
    attn_load_values(job, batch, kv_head, k, keys, v);
}

/* S = Q K^T of the keys that are seen. */
static void score_tile(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                       size_t k, size_t keys, const struct tiles *t) {
    const size_t d = job->a->d, pitch = attn_tiles_pitch(d);
    struct attn_stripe p = {0};
    while (attn_next_stripe(job, batch, at->head, at->i, queries(at), k, keys, &p)) {
        const size_t rows = at->heads ? at->count : p.rows;
        float *s = t->s + p.row * ATTN_KEY_ROW;
        if (job->tiles)
            HC_DISPATCH(attn_tiles_multiply)(
                &(struct attn_tiles_product){.m = rows,
                                             .n = p.high,
                                             .k = d,
                                             .a = (const char *)t->q_operand + p.row * pitch,
                                             .pitch = pitch,
                                             .b = (const char *)t->kt,
                                             .block = attn_tiles_block(d),
                                             .c = s,
                                             .ldc = ATTN_KEY_ROW});
        else
            job->gemm(&(struct attn_product){.m = rows,
                                             .n = p.high,
                                             .k = d,
                                             .a = t->q + p.row * job->ld,
                                             .am = job->ld,
                                             .ak = 1,
                                             .b = t->kt,
                                             .ldb = ATTN_KEY_ROW,
                                             .c = s,
                                             .ldc = ATTN_KEY_ROW});
    }
}

/* O += P V of the keys that are seen: the other weights are zero. */
static void output_tile(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                        size_t k, size_t keys, const struct tiles *t) {
    struct attn_stripe p = {0};
    while (attn_next_stripe(job, batch, at->head, at->i, queries(at), k, keys, &p)) {
        const size_t rows = at->heads ? at->count : p.rows;
        float *out = t->out + p.row * job->ldv;
        if (job->tiles)
            HC_DISPATCH(attn_tiles_multiply)(
                &(struct attn_tiles_product){.m = rows,
                                             .n = job->a->dv,
                                             .k = p.high,
                                             .a = (const char *)t->weights + p.row * WEIGHTS_PITCH,
                                             .pitch = WEIGHTS_PITCH,
                                             .b = (const char *)t->v,
                                             .block = attn_tiles_block(ATTN_KEYS),
                                             .c = out,
                                             .ldc = job->ldv,
                                             .accumulate = true});
        else
            job->gemm(&(struct attn_product){.m = rows,
                                             .n = job->a->dv,
                                             .k = p.high,
                                             .a = t->s + p.row * ATTN_KEY_ROW,
                                             .am = ATTN_KEY_ROW,
                                             .ak = 1,
                                             .b = t->v,
                                             .ldb = job->ldv,
                                             .c = out,
                                             .ldc = job->ldv,
                                             .accumulate = true});
    }
}

/* Scores of a tile to weights, row by row, while they are in the first-level cache. Dropout comes after
 * the sum has been taken: the sum is that of all weights. */
static void softmax_tile(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                         size_t k, size_t keys, const struct tiles *t) {
    for (size_t r = 0; r < at->count; r++) {
        struct attn_row row;
        const size_t head = head_of(at, r), i = query_of(at, r);
        float rescale, *s = t->s + r * ATTN_KEY_ROW;
        attn_prepare_row(job, batch, head, i, k, keys, t->bias, &row);
        HC_DISPATCH(attn_softmax_row)(&row, s, &t->max[r], &t->sum[r], &rescale);
        if (rescale != 1) HC_DISPATCH(attn_scale_row)(job->a->dv, t->out + r * job->ldv, rescale);
        if (job->drop != NULL) {
            HC_DISPATCH(attn_dropout_row)(keys, s, job->drop, attn_drop_bit(job, batch, head, i, k),
                                          attn_keep_factor(job->a));
        }
        attn_quantise_weights(job, keys, s);
    }
}

/* Which keys of a tile its rows see, and their scores but for the factor that is returned. */
static float prepare_rows(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                          size_t k, size_t keys, const struct tiles *t, uint8_t *low, uint8_t *high) {
    const bool plain = job->mask == NULL && job->pse.data == NULL && job->scale > 0;
    float unit = job->scale;
    for (size_t r = 0; r < at->count; r++) {
        struct attn_row row;
        attn_prepare_row(job, batch, head_of(at, r), query_of(at, r), k, keys, t->bias, &row);
        low[r] = (uint8_t)row.low, high[r] = (uint8_t)row.high;
        if (!plain) HC_DISPATCH(attn_logits_row)(&row, t->s + r * ATTN_KEY_ROW, &unit);
    }
    return unit;
}

/* As softmax_tile, all rows at once. */
static void soften_tile(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                        size_t k, size_t keys, const struct tiles *t) {
    uint8_t low[ATTN_QUERIES], high[ATTN_QUERIES];
    const float unit = prepare_rows(job, batch, at, k, keys, t, low, high);
    const bool changed = job->drop != NULL || job->quant != NULL;
    HC_DISPATCH(attn_tiles_soften)(&(struct attn_tiles_weights){.rows = at->count,
                                                                .keys = keys,
                                                                .s = t->s,
                                                                .ld = ATTN_KEY_ROW,
                                                                .low = low,
                                                                .high = high,
                                                                .unit = unit,
                                                                .max = t->max,
                                                                .sum = t->sum,
                                                                .to = changed ? NULL : (char *)t->weights,
                                                                .pitch = WEIGHTS_PITCH,
                                                                .out = t->out,
                                                                .ld_out = job->ldv,
                                                                .n_out = job->a->dv});
    if (!changed) return;
    for (size_t r = 0; r < at->count; r++) {
        float *s = t->s + r * ATTN_KEY_ROW;
        if (job->drop != NULL)
            HC_DISPATCH(attn_dropout_row)(keys, s, job->drop,
                                          attn_drop_bit(job, batch, head_of(at, r), query_of(at, r), k),
                                          attn_keep_factor(job->a));
        attn_quantise_weights(job, keys, s);
    }
    HC_DISPATCH(attn_tiles_round)(at->count, keys, t->s, ATTN_KEY_ROW, (char *)t->weights, WEIGHTS_PITCH);
}

/* Rows without any key: zeros, and statistics that make every later exponential or weight zero. */
static void finish_rows(const struct attn_job *job, const struct attn_batch *batch, const struct rows *rows,
                        const struct tiles *t) {
    for (size_t r = 0; r < rows->count; r++) {
        const size_t head = head_of(rows, r), i = query_of(rows, r);
        float max = t->max[r], sum = t->sum[r], *out = t->out + r * job->ldv, factor = 1;
        if (job->sink != NULL) {
            const float all = fmaxf(max, job->sink[head]);
            factor = expf(max - all);
            sum = sum * factor + expf(job->sink[head] - all);
            max = all;
        }
        const bool none = sum == 0;
        HC_DISPATCH(attn_scale_row)(job->a->dv, out, none ? 0 : factor / sum);
        attn_quantise_output(job, head, out);
        attn_store_row(&job->out, batch, head, batch->q0 + i, job->a->dv, out);
        if (job->lse != NULL) job->lse[attn_lse_at(job, batch, head, i)] = none ? INFINITY : max + logf(sum);
        if (job->max == NULL) continue;
        const size_t at = attn_statistic(job, batch, head, i) * 8;
        for (size_t j = 0; j < 8; j++) {
            job->max[at + j] = none ? -FLT_MAX : max;
            job->sum[at + j] = none ? FLT_MAX : sum;
        }
    }
}

static void load_queries(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                         struct tiles *t) {
    if (!at->heads) attn_load_queries(job, batch, at->head, at->i, at->count, t->q);
    for (size_t r = 0; at->heads && r < at->count; r++)
        attn_load_queries(job, batch, at->head + r, at->i, 1, t->q + r * job->ld);
    if (job->tiles)
        HC_DISPATCH(attn_tiles_round)(at->count, job->a->d, t->q, job->ld, (char *)t->q_operand,
                                      attn_tiles_pitch(job->a->d));
}

static size_t group_of(const struct attn_job *job) { return job->a->heads / job->a->kv_heads; }

/* Whether a tile's products read keys and values where they lie: few rows, elements one after the other, in
 * one piece, and no products of tiles, which round otherwise. */
static bool reads_in_place(const struct attn_job *job, const struct rows *at) {
    return at->heads && group_of(job) < ATTN_FEW_ROWS && attn_reads_in_place(&job->k) &&
           attn_reads_in_place(&job->v) && job->k_rope.data == NULL && !job->tiles &&
           job->gemm == HC_DISPATCH(attn_gemm);
}

/* What one product of few rows reads: keys, or values, [k, k + keys) of key heads that lie side by side. */
struct few_read {
    const struct attn_view *view;
    aclDataType dtype;
    bool values;
    size_t d, head, heads, k, keys; /* head: the first, among those of the rows */
};

/* Key heads among rows. */
static size_t kv_heads_of(const struct attn_job *job, const struct rows *at) {
    return at->heads ? hc_ceil_div(at->count, group_of(job)) : 1;
}

/* Heads that are read at once: all where those of a key follow each other. Where a batch's keys lie in
 * several tensors that is not looked at. */
static size_t heads_at_once(const struct attn_view *v, size_t d, size_t heads) {
    return v->extra == NULL && v->n == (int64_t)d ? heads : 1;
}

/* Number `step` of the reads of a tile: keys of all heads, values of all heads, the next tile's first keys.
 */
static struct few_read read_of(const struct attn_job *job, const struct rows *at, size_t k, size_t high,
                               size_t step) {
    const struct attn_args *a = job->a;
    const size_t heads = kv_heads_of(job, at), of_keys = heads_at_once(&job->k, a->d, heads),
                 of_values = heads_at_once(&job->v, a->dv, heads);
    if (step == heads / of_keys + heads / of_values) step = 0, k += ATTN_KEYS;
    struct few_read r = {.view = &job->k, .d = a->d, .heads = of_keys, .k = k};
    r.values = step >= heads / of_keys;
    if (r.values) step -= heads / of_keys, r.view = &job->v, r.d = a->dv, r.heads = of_values;
    r.dtype = hc_arg(job->call, r.values ? SLOT_V : SLOT_K)->dtype;
    r.head = step * r.heads;
    r.keys = k < high ? hc_min_size(ATTN_KEYS, high - k) : 0;
    return r;
}

/* What fills the last block of keys is its last key again. */
static void find_rows(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                      const struct few_read *r, const char **row) {
    attn_find_rows(job, r->view, batch, at->head / group_of(job) + r->head, r->k, r->keys, row);
    for (size_t j = r->keys; j % ATTN_FEW_KEYS > 0; j++) row[j] = row[r->keys - 1];
}

/* The same as whole_tile for all rows, to the bit where no pairs are multiplied. */
static void few_tile(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                     size_t k, size_t high, const struct tiles *t) {
    const char *row[2][ATTN_KEYS];
    struct few_read now = read_of(job, at, k, high, 0), next;
    bool softened = false;
    find_rows(job, batch, at, &now, row[0]);
    for (size_t step = 0; now.k == k; step++, now = next) {
        next = read_of(job, at, k, high, step + 1);
        find_rows(job, batch, at, &next, row[(step + 1) % 2]);
        if (now.values && !softened)
            softmax_tile(job, batch, at, k, hc_min_size(ATTN_KEYS, batch->skv - k), t), softened = true;
        const size_t m = hc_min_size(at->count, group_of(job)), first = now.head * m;
        struct attn_few few = {.m = m, .keys = now.keys, .d = now.d, .heads = now.heads, .dtype = now.dtype};
        few.row = row[step % 2], few.ahead = row[(step + 1) % 2], few.ahead_rows = next.keys;
        few.ahead_bytes = next.heads * next.d * (size_t)next.view->item_size;
        few.a = now.values ? t->s + first * ATTN_KEY_ROW : t->q + first * job->ld;
        few.lda = now.values ? ATTN_KEY_ROW : job->ld;
        few.c = now.values ? t->out + first * job->ldv : t->s + first * ATTN_KEY_ROW;
        few.ldc = now.values ? job->ldv : ATTN_KEY_ROW;
        (now.values ? job->few_outputs : job->few_scores)(&few);
    }
}

/* Keys [k, k + keys) of a key head; the rows of a tile that are multiplied with them. */
struct part {
    struct rows rows;
    struct tiles tiles;
    size_t kv_head, k, keys;
};

static void whole_tile(const struct attn_job *job, const struct attn_batch *batch, struct part *p) {
    load_keys(job, batch, p->kv_head, p->k, p->keys, &p->tiles);
    score_tile(job, batch, &p->rows, p->k, p->keys, &p->tiles);
    (job->tiles ? soften_tile : softmax_tile)(job, batch, &p->rows, p->k, p->keys, &p->tiles);
    output_tile(job, batch, &p->rows, p->k, p->keys, &p->tiles);
}

/* The heads of one key head among the rows, of which it is number `index`. */
static struct part part_of(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                           const struct tiles *t, size_t index, size_t k) {
    const size_t group = group_of(job), first = at->heads ? index * group : 0;
    struct part p = {.rows = *at, .tiles = *t, .kv_head = at->head / group + index, .k = k};
    p.keys = hc_min_size(ATTN_KEYS, batch->skv - k);
    p.rows.head += first;
    if (at->heads) p.rows.count = hc_min_size(at->count - first, group);
    p.tiles.q += first * job->ld, p.tiles.s += first * ATTN_KEY_ROW, p.tiles.out += first * job->ldv;
    p.tiles.max += first, p.tiles.sum += first;
    if (job->tiles) {
        p.tiles.q_operand += first * attn_tiles_pitch(job->a->d) / sizeof(float);
        p.tiles.weights += first * WEIGHTS_PITCH / sizeof(float);
    }
    return p;
}

static void start_rows(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                       struct tiles *t) {
    load_queries(job, batch, at, t);
    if (reads_in_place(job, at) && job->few_apart != NULL)
        job->few_apart(at->count, job->a->d, t->q, job->ld);
    memset(t->out, 0, at->count * job->ldv * sizeof(float));
    for (size_t r = 0; r < at->count; r++) {
        t->max[r] = -INFINITY;
        t->sum[r] = 0;
    }
}

/* The keys that some rows see, of [from, to). Visibility grows with the query, so the first gives the lowest
 * key and the last the highest. Of several key heads one tile each is read before the next: they lie side by
 * side. */
static void pass_keys(const struct attn_job *job, const struct attn_batch *batch, const struct rows *at,
                      size_t from, size_t to, struct tiles *t) {
    const size_t i = at->i, count = queries(at);
    const bool in_place = reads_in_place(job, at);
    size_t low, high, ignored;
    attn_visible(job, batch, i, &low, &ignored);
    attn_visible(job, batch, i + count - 1, &ignored, &high);
    for (size_t k = hc_max_size(low / ATTN_KEYS * ATTN_KEYS, from); k < hc_min_size(high, to);
         k += ATTN_KEYS) {
        const size_t keys = hc_min_size(ATTN_KEYS, batch->skv - k);
        if (!at->heads && !attn_tile_visible(job, batch, at->head, i, count, k, keys)) continue;
        if (in_place) {
            few_tile(job, batch, at, k, high, t);
            continue;
        }
        for (size_t index = 0; index < kv_heads_of(job, at); index++) {
            struct part p = part_of(job, batch, at, t, index, k);
            whole_tile(job, batch, &p);
        }
    }
}

/* Work items of a job: those of a batch one after the other. Rows that are heads go over their keys in
 * sections, each as if there were no others. How long a section is depends on nothing, so neither threads nor
 * other batches change a bit. */
struct items {
    struct attn_job *job;
    size_t of_batch;
    size_t of_head; /* blocks of queries of a head; 0: rows are heads, and there are of_batch items of them */
    size_t sections;
    float *partial; /* of each batch, head and section; NULL: there is one section */
};
enum { SECTION_KEYS = 32 * ATTN_KEYS };

/* What is kept of a row of a section: the output, the maximum, the sum. */
static size_t partial_size(const struct attn_job *job) { return job->ldv + ATTN_PAD; }
static float *partial_of(const struct items *items, const struct attn_batch *batch, size_t head,
                         size_t section) {
    const struct attn_job *job = items->job;
    return items->partial +
           ((batch->index * job->a->heads + head) * items->sections + section) * partial_size(job);
}

static void keep_rows(const struct items *items, const struct attn_batch *batch, const struct rows *at,
                      size_t section, const struct tiles *t) {
    const size_t ldv = items->job->ldv;
    for (size_t r = 0; r < at->count; r++) {
        float *to = partial_of(items, batch, head_of(at, r), section);
        memcpy(to, t->out + r * ldv, ldv * sizeof(float));
        to[ldv] = t->max[r], to[ldv + 1] = t->sum[r];
    }
}

/* The sections of a row become what one pass over all keys leaves, a NaN included. */
static void merge_sections(const struct items *items, const struct attn_batch *batch, size_t head,
                           struct tiles *t) {
    const size_t ldv = items->job->ldv;
    float max = -INFINITY, sum = 0;
    for (size_t i = 0; i < items->sections; i++) max = fmaxf(max, partial_of(items, batch, head, i)[ldv]);
    memset(t->out, 0, ldv * sizeof(float));
    for (size_t i = 0; i < items->sections; i++) {
        const float *part = partial_of(items, batch, head, i);
        if (part[ldv] == -INFINITY) continue; /* it saw nothing */
        const float factor = expf(part[ldv] - max);
        sum += part[ldv + 1] * factor;
        for (size_t j = 0; j < ldv; j++) t->out[j] += part[j] * factor;
    }
    t->max[0] = sum == sum ? max : NAN, t->sum[0] = sum;
}

/* Part of `parts` of a batch's heads: whole groups that share keys where there are no more parts than groups.
 */
static struct rows heads_of(const struct attn_job *job, size_t part, size_t parts) {
    const struct attn_args *a = job->a;
    const size_t group = group_of(job), kv_heads = a->kv_heads;
    if (parts <= kv_heads) {
        const size_t first = kv_heads * part / parts, end = kv_heads * (part + 1) / parts;
        return (struct rows){first * group, 0, (end - first) * group, true};
    }
    const size_t of_group = parts / kv_heads, in_group = part % of_group;
    const size_t first = group * in_group / of_group, end = group * (in_group + 1) / of_group;
    return (struct rows){part / of_group * group + first, 0, end - first, true};
}

/* The last block of a causal head is the longest: it goes first. */
static struct rows item_rows(const struct items *items, size_t item) {
    const size_t in_batch = item % items->of_batch, blocks = items->of_head;
    const size_t parts = items->of_batch / items->sections;
    if (blocks == 0) return heads_of(items->job, in_batch % parts, parts);
    return (struct rows){in_batch / blocks, (blocks - 1 - in_batch % blocks) * ATTN_QUERIES, ATTN_QUERIES,
                         false};
}

/* The buffers of a thread; false: there is no memory. */
static bool take_tiles(struct attn_job *job, struct tiles *t) {
    *t = (struct tiles){0};
    char *memory = hc_scratch(HC_SCRATCH_A, carve(job, NULL, t));
    if (memory != NULL) carve(job, memory, t);
    else atomic_store(&job->failed, true);
    return memory != NULL;
}

/* One work item: some rows, all keys or a section of them. */
static void run_item(const struct items *items, size_t item, struct tiles *t) {
    const struct attn_job *job = items->job;
    const struct attn_batch *batch = &job->batches[item / items->of_batch];
    struct rows at = item_rows(items, item);
    if (at.i >= batch->sq) return;
    if (!at.heads) at.count = hc_min_size(at.count, batch->sq - at.i);
    start_rows(job, batch, &at, t);
    if (items->partial == NULL) {
        pass_keys(job, batch, &at, 0, SIZE_MAX, t);
        finish_rows(job, batch, &at, t);
        return;
    }
    const size_t section = item % items->of_batch * items->sections / items->of_batch;
    pass_keys(job, batch, &at, section * SECTION_KEYS, (section + 1) * SECTION_KEYS, t);
    keep_rows(items, batch, &at, section, t);
}

static void run_items(void *ctx, size_t begin, size_t end) {
    const struct items *items = ctx;
    struct tiles t;
    if (!take_tiles(items->job, &t)) return;
    for (size_t item = begin; item < end && !hc_results_unwanted(); item++) run_item(items, item, &t);
}

/* Rows, counted over batches and heads, of sections. */
static void merge_rows(void *ctx, size_t begin, size_t end) {
    const struct items *items = ctx;
    const struct attn_job *job = items->job;
    struct tiles t;
    if (!take_tiles(items->job, &t)) return;
    for (size_t i = begin; i < end && !hc_results_unwanted(); i++) {
        const struct attn_batch *batch = &job->batches[i / job->a->heads];
        const struct rows at = {i % job->a->heads, 0, 1, true};
        if (batch->sq == 0) continue;
        merge_sections(items, batch, at.head, &t);
        finish_rows(job, batch, &at, &t);
    }
}

/* Parts of a batch's heads: as many as give every thread two, each of rows that fit a tile. Of heads that lie
 * side by side one: memory that is read in larger pieces counts for more than an even end. */
static size_t parts_of_heads(const struct attn_job *job, size_t sections) {
    const struct attn_args *a = job->a;
    const size_t group = group_of(job), each = heads_at_once(&job->k, a->d, a->kv_heads) > 1 ? 1 : 2;
    const size_t items = hc_max_size(a->batches * sections, 1);
    size_t parts = hc_min_size(hc_ceil_div(each * hc_num_threads(), items), a->heads);
    while (parts < a->kv_heads && hc_ceil_div(a->kv_heads, parts) * group > ATTN_QUERIES) parts++;
    if (parts <= a->kv_heads && group <= ATTN_QUERIES) return hc_max_size(parts, 1);
    const size_t of_group = hc_max_size(hc_ceil_div(parts, a->kv_heads), hc_ceil_div(group, ATTN_QUERIES));
    return hc_min_size(of_group, group) * a->kv_heads;
}

/* Where the bits of a row shall be those of prefill there is one section. */
static size_t sections_of(const struct attn_job *job) {
    return hc_batch_invariant() ? 1 : hc_max_size(hc_ceil_div(job->a->skv, SECTION_KEYS), 1);
}

/* Dropout counts its bits by query, and blocks are a head's own. */
static struct items make_items(struct attn_job *job) {
    const struct attn_args *a = job->a;
    const size_t blocks = hc_ceil_div(a->sq, ATTN_QUERIES);
    if (a->sq == 1 && job->drop == NULL && job->blocks == NULL && a->heads > 0) {
        const size_t sections = sections_of(job);
        return (struct items){job, sections * parts_of_heads(job, sections), 0, sections, NULL};
    }
    return (struct items){job, a->heads * blocks, blocks, 1, NULL};
}

/* Rows behind the last sequence of a packed output, or behind a batch's own length, belong to no item: they
 * are zeroed first. */
static aclnnStatus clear_rows(const struct attn_job *job) {
    const aclTensor *out = hc_arg(job->call, SLOT_OUT), *lse = hc_arg(job->call, SLOT_LSE);
    const struct attn_args *a = job->a;
    const struct hc_element zero = {{0}};
    const size_t rows =
        attn_is_packed(a->layout) ? (size_t)out->shape[attn_axes(a->out_layout).s] : a->batches * a->sq;
    if (job->tokens >= rows) return 0;
    HC_TRY(job->quant != NULL ? attn_quantise_zeros(job, out) : hc_fill(out, &zero));
    return lse != NULL ? hc_fill(lse, &zero) : 0;
}

/* Room for what sections leave. */
static aclnnStatus take_partial(struct items *items) {
    const struct attn_args *a = items->job->a;
    if (items->sections == 1) return 0;
    const size_t rows = hc_mul_saturated(a->batches * a->heads, items->sections);
    items->partial = hc_block_take_array(rows, partial_size(items->job) * sizeof(float));
    HC_CHECK(items->partial != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu sections of keys",
             a->name, rows);
    return 0;
}

static aclnnStatus run_job(struct attn_job *job) {
    const struct attn_args *a = job->a;
    HC_TRY(clear_rows(job));
    struct items items = make_items(job);
    const size_t count = a->batches * items.of_batch, heads = a->batches * a->heads;
    HC_TRY(take_partial(&items));
    /* Whole heads, as their blocks share what is loaded, where every thread gets several. */
    hc_parallel_for(count, items.of_head > 0 && heads >= 4 * hc_num_threads() ? items.of_head : 1, run_items,
                    &items);
    if (items.partial != NULL) hc_parallel_for(heads, 1, merge_rows, &items);
    hc_block_give(items.partial);
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
