// SPDX-License-Identifier: Apache-2.0
/* Attention of every query token over the compressed keys of its sequence, and the blocks of keys that its
 * weights point to:
 *
 *     p[h, i]   = softmax over the compressed keys i of scale * q[h] . k[i]
 *     out[h]    = sum over i of p[h, i] v[i]
 *     block j   = sum over heads h of a group, a < steps and b < overlap of p[h, steps (j + 1) - a - b]
 *     indices   = the `count` blocks with the largest sums, the first of equal ones first
 *
 * as the paper's equation 9 and PyTorch's stable descending sort have it. A key i is in block j's sum as
 * often as there are pairs (a, b) with that sum, a number that rises by one to `overlap` and falls again:
 * each key's weight is read once. Chosen beforehand are blocks of a mask, and in inference the first and the
 * last two: they count as infinitely large. Where there are fewer blocks than are wanted, -1 ends the list,
 * as attention over chosen blocks reads it.
 *
 * One head of keys of a sequence is gathered at a time. Its queries, G heads of each token, are cut into
 * tiles of some tokens for the threads; scores of a tile are one product, as long as the sequence: 64 rows of
 * 4000 keys are 1 MiB. */
#include "compressed_attention.h"

#include <float.h>
#include <math.h>
#include <stdatomic.h>
#include <string.h>

#include "temporary.h"
#include "top_k_top_p.h"

/* A row of scores to probabilities, in place, without keys that are masked; zeros if all are, *sum then is 0.
 * `pooled` += the probabilities. */
HC_KERNEL(compressed_softmax, (size_t n, float *x, const bool *masked, float *max, float *sum, float *pooled))

#ifdef HC_ISA
#include "simd_softmax.h"

void HC_FN(compressed_softmax)(size_t n, float *x, const bool *masked, float *max, float *sum,
                               float *pooled) {
    double total = 0;
    size_t visible = n;
    for (size_t i = 0; masked != NULL && i < n; i++) {
        if (!masked[i]) continue;
        x[i] = -__builtin_inff();
        visible--;
    }
    *max = *sum = 0;
    if (visible == 0) {
        memset(x, 0, n * sizeof *x);
        return;
    }
    HC_ROW_MAX(*max, n, vf_max_number, vf_load(x + at), vf_load_fill(x + at, rest, -__builtin_inff()));
    const vf m = vf_set(*max);
    HC_ROW_SUM(total, n, vf_exp_store(x + at, x + at, m), vf_exp_store_part(x + at, x + at, m, rest));
    *sum = (float)total;
    const float scale = (float)(1 / total);
    for (size_t i = 0; i < n; i++) x[i] *= scale;
    for (size_t i = 0; i < n; i++) pooled[i] += x[i];
}

#else

enum { TILE_ROWS = 64, REPEAT = 8 };

/* A mask [S1, S2], one for all sequences: of bool, contiguous, wherever it lies. */
struct mask {
    const bool *at;
    int64_t cols;
    void *owned;
};

/* One run, and within it one head of keys of one sequence. */
struct loop {
    const struct compressed_args *a;
    const float *q;
    struct hc_keys key, value;
    const struct hc_span *spans, *s;
    const int64_t *blocks; /* of each sequence */
    struct mask mask, chosen;
    size_t heads, groups, size, value_size; /* heads: of queries, for one of keys */
    float *out, *max, *sum;                 /* max, sum: NULL where they are not wanted */
    int64_t *indices;
    float *k, *v; /* all keys and values of the head */
    size_t sequence, group, keys, tile;
    atomic_int status;
};

/* What one tile works with: queries [R, D], scores [R, keys], results [R, V], and of a token the sums over
 * its heads and those of blocks. */
struct work {
    float *q, *scores, *out, *pooled, *block;
};

static bool take_work(const struct loop *l, struct work *w) {
    const size_t rows = l->tile * l->heads, blocks = (size_t)l->blocks[l->sequence];
    const size_t floats = rows * (l->size + l->keys + l->value_size) + l->keys + blocks;
    w->q = hc_block_take_array(floats, sizeof *w->q);
    if (w->q == NULL) return false;
    w->scores = w->q + rows * l->size, w->out = w->scores + rows * l->keys;
    w->pooled = w->out + rows * l->value_size, w->block = w->pooled + l->keys;
    return true;
}

/* How many pairs (a, b), a < steps and b < overlap, have the sum j. */
static int64_t pairs_of(const struct compressed_args *a, int64_t j) {
    const int64_t most = hc_min_i64(a->steps, a->overlap);
    return hc_min_i64(hc_min_i64(j + 1, a->steps + a->overlap - 1 - j), most);
}

/* The sums of a token's blocks. `at` is the first step of a block; a sum may reach into the block after it
 * and the ones before. */
static void sum_blocks(const struct loop *l, const struct work *w, size_t i) {
    const struct compressed_args *a = l->a;
    const int64_t blocks = l->blocks[l->sequence], last = (int64_t)l->keys - 1;
    const bool *chosen = l->chosen.at != NULL ? l->chosen.at + (int64_t)i * l->chosen.cols : NULL;
    int64_t at = 0;
    for (int64_t j = 0; j < blocks; j++, at = hc_add_i64_saturated(at, a->steps)) {
        const int64_t end = hc_add_i64_saturated(at, a->steps);
        float sum = 0;
        for (int64_t key = hc_max_i64(at - a->overlap + 2, 0); key <= hc_min_i64(end, last); key++)
            sum += (float)pairs_of(a, end - key) * w->pooled[key];
        const bool first_or_last = j == 0 || j >= blocks - 2;
        w->block[j] = (a->forced && first_or_last) || (chosen != NULL && chosen[j]) ? INFINITY : sum;
    }
}

/* The largest of them, in order; without memory false. */
static bool choose_blocks(const struct loop *l, const struct work *w, size_t i) {
    const size_t blocks = (size_t)l->blocks[l->sequence], count = (size_t)l->a->count;
    const size_t k = hc_min_size(blocks, count);
    int64_t *indices = l->indices + (((size_t)l->s->q + i) * l->groups + l->group) * count;
    struct hc_top_row row;
    size_t found = 0;
    sum_blocks(l, w, i);
    if (k > 0) {
        if (!hc_top_row_take(blocks, &row)) return false;
        const struct hc_pair *best = hc_top_row_select(&row, w->block, blocks, k, false, false, &found);
        for (size_t j = 0; j < k; j++) indices[j] = (int64_t)best[j].at;
    }
    for (size_t j = k; j < count; j++) indices[j] = -1;
    return true;
}

/* Rows that see nothing have statistics as flash attention's, whose gradient reads them. */
static void keep_statistics(const struct loop *l, size_t i, size_t head, float max, float sum) {
    const size_t all = l->heads * l->groups, length = (size_t)l->s->q_len;
    const size_t at = ((size_t)l->s->q * all + (l->group * l->heads + head) * length + i) * (size_t)REPEAT;
    for (size_t r = at; r < at + REPEAT; r++) {
        l->max[r] = sum == 0 ? -FLT_MAX : max;
        l->sum[r] = sum == 0 ? FLT_MAX : sum;
    }
}

/* Token i of the sequence, whose scores begin at `row` of the tile. */
static bool weigh_token(const struct loop *l, const struct work *w, size_t i, size_t row) {
    const bool *masked = l->mask.at != NULL ? l->mask.at + (int64_t)i * l->mask.cols : NULL;
    memset(w->pooled, 0, l->keys * sizeof *w->pooled);
    for (size_t h = 0; h < l->heads; h++) {
        float max, sum;
        HC_DISPATCH(compressed_softmax)(l->keys, w->scores + (row + h) * l->keys, masked, &max, &sum,
                                        w->pooled);
        if (l->max != NULL) keep_statistics(l, i, h, max, sum);
    }
    return choose_blocks(l, w, i);
}

/* Where token i's heads of the group are in all that queries have, or results, with rows of `size`. */
static size_t place_of(const struct loop *l, size_t i, size_t size) {
    return (((size_t)l->s->q + i) * l->groups + l->group) * l->heads * size;
}

static aclnnStatus attend_tile(const struct loop *l, const struct work *w, size_t first, size_t tokens) {
    const size_t rows = tokens * l->heads, keys = l->keys;
    for (size_t t = 0; t < tokens; t++)
        memcpy(w->q + t * l->heads * l->size, l->q + place_of(l, first + t, l->size),
               l->heads * l->size * sizeof *w->q);
    if (keys > 0)
        HC_TRY(hc_tokens_product(rows, keys, l->size, (struct hc_matrix){w->q, (int64_t)l->size, 1},
                                 (struct hc_matrix){l->k, 1, (int64_t)l->size}, w->scores, keys,
                                 l->a->scale));
    for (size_t t = 0; t < tokens; t++)
        if (!weigh_token(l, w, first + t, t * l->heads)) return ACLNN_ERR_INNER;
    if (keys == 0) return 0; /* results began as zeros */
    HC_TRY(hc_tokens_product(rows, l->value_size, keys, (struct hc_matrix){w->scores, (int64_t)keys, 1},
                             (struct hc_matrix){l->v, (int64_t)l->value_size, 1}, w->out, l->value_size, 1));
    for (size_t t = 0; t < tokens; t++)
        memcpy(l->out + place_of(l, first + t, l->value_size), w->out + t * l->heads * l->value_size,
               l->heads * l->value_size * sizeof *w->out);
    return 0;
}

/* Items are tiles. */
static void attend_tiles(void *ctx, size_t begin, size_t end) {
    struct loop *l = ctx;
    struct work w;
    const size_t tokens = (size_t)l->s->q_len;
    aclnnStatus status = take_work(l, &w) ? 0 : ACLNN_ERR_INNER;
    for (size_t t = begin; t < end && status == 0; t++)
        status = attend_tile(l, &w, t * l->tile, hc_min_size(l->tile, tokens - t * l->tile));
    if (status != 0) atomic_store(&l->status, status);
    hc_block_give(w.q);
}

/* One head of keys. With few tiles (a step of decoding has one) threads share the products of each. */
static aclnnStatus attend_head(struct loop *l) {
    const size_t tiles = ((size_t)l->s->q_len + l->tile - 1) / l->tile;
    struct hc_keys key = l->key, value = l->value;
    key.head = value.head = (int64_t)l->group;
    l->keys = (size_t)l->s->k_len;
    hc_keys_gather(&key, (int64_t)l->sequence, l->s, NULL, l->keys, l->k, l->size);
    hc_keys_gather(&value, (int64_t)l->sequence, l->s, NULL, l->keys, l->v, l->value_size);
    if (tiles < hc_num_threads()) attend_tiles(l, 0, tiles);
    else hc_parallel_for(tiles, 1, attend_tiles, l);
    return atomic_load(&l->status);
}

/* Memory for the keys and values of the longest sequence. */
static aclnnStatus attend_all(struct hc_plain *p, struct loop *l) {
    int64_t longest = 0;
    for (int64_t b = 0; b < l->a->sequences; b++) longest = hc_max_i64(longest, l->spans[b].k_len);
    l->k = hc_plain_take(p, (size_t)longest, l->size * sizeof *l->k);
    l->v = hc_plain_take(p, (size_t)longest, l->value_size * sizeof *l->v);
    for (l->sequence = 0; l->sequence < (size_t)l->a->sequences && p->status == 0; l->sequence++)
        for (l->group = 0; l->group < l->groups && p->status == 0; l->group++) {
            l->s = &l->spans[l->sequence];
            if (l->s->q_len > 0 && attend_head(l) != 0)
                /* the text was set in the thread that failed, which may be another one */
                p->status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %zu keys", p->op, l->keys);
        }
    return p->status;
}

/* A mask that is smaller than the longest sequence has no answer for its last tokens. */
static aclnnStatus open_mask(const struct hc_plain *p, const struct loop *l, const char *arg,
                             const aclTensor *t, const char *what, struct mask *mask) {
    aclTensor view;
    if (t == NULL || p->status != 0) return p->status;
    for (int64_t b = 0; b < l->a->sequences; b++) {
        const int64_t cols = what[0] == 'k' ? l->spans[b].k_len : l->blocks[b];
        HC_CHECK(t->shape[0] >= l->spans[b].q_len && t->shape[1] >= cols, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted [%lld,%lld] or more: sequence %lld has %lld tokens and %lld %s", p->op,
                 arg, HC_SHOW(t), (long long)l->spans[b].q_len, (long long)cols, (long long)b,
                 (long long)l->spans[b].q_len, (long long)cols, what);
    }
    HC_TRY(hc_contiguous(t, ACL_BOOL, &view, &mask->owned));
    mask->at = (const bool *)(const void *)hc_data(&view);
    mask->cols = t->shape[1];
    return 0;
}

/* As many blocks as the sequence has steps for, or one more where its end is no whole block. */
static aclnnStatus check_blocks(const struct hc_plain *p, const struct loop *l) {
    for (int64_t b = 0; b < l->a->sequences && p->status == 0; b++)
        HC_CHECK(l->blocks[b] >= 0 && l->blocks[b] <= l->spans[b].k_len + 1, ACLNN_ERR_PARAM_INVALID,
                 "%s: sequence %lld has %lld blocks and %lld compressed keys, wanted 0 blocks to one more "
                 "than keys",
                 p->op, (long long)b, (long long)l->blocks[b], (long long)l->spans[b].k_len);
    return p->status;
}

/* Tokens that are of no sequence have zeros and choose nothing. */
static void clear_outputs(const struct loop *l, const struct hc_call *call) {
    const size_t n = hc_numel(hc_arg(call, COMPRESSED_INDICES));
    memset(l->out, 0, hc_numel(hc_arg(call, COMPRESSED_OUT)) * sizeof *l->out);
    for (size_t i = 0; i < n; i++) l->indices[i] = -1;
    for (size_t i = 0; l->max != NULL && i < hc_numel(hc_arg(call, COMPRESSED_MAX)); i++)
        l->max[i] = -FLT_MAX, l->sum[i] = FLT_MAX;
}

static void open_operands(const struct hc_call *call, struct hc_plain *p, struct loop *l) {
    const struct compressed_args *a = call->args;
    const aclTensor *query = hc_arg(call, COMPRESSED_QUERY), *key = hc_arg(call, COMPRESSED_KEY),
                    *value = hc_arg(call, COMPRESSED_VALUE), *table = hc_arg(call, COMPRESSED_TABLE);
    const int64_t width = table != NULL ? table->shape[1] : 0;
    const int64_t *pages = hc_plain_index(p, "blockTableOptional", table, INT64_MIN, INT64_MAX);
    l->a = a;
    l->q = hc_plain_in(p, query);
    l->key = (struct hc_keys){key, a->key, pages, width, 0};
    l->value = (struct hc_keys){value, a->key, pages, width, 0};
    l->groups = (size_t)key->shape[key->rank - 2];
    l->heads = (size_t)query->shape[1] / l->groups;
    l->size = hc_keys_size(&l->key), l->value_size = hc_keys_size(&l->value);
    l->tile = hc_max_size(TILE_ROWS / hc_max_size(l->heads, 1), 1);
    l->blocks = a->lengths + 2 * a->sequences;
    l->out = hc_plain_out(p, hc_arg(call, COMPRESSED_OUT));
    l->indices = hc_plain_out_index(p, hc_arg(call, COMPRESSED_INDICES));
    l->max = hc_plain_out(p, hc_arg(call, COMPRESSED_MAX));
    l->sum = hc_plain_out(p, hc_arg(call, COMPRESSED_SUM));
    if (p->status == 0)
        l->spans =
            hc_tokens_spans(p, query, true, &l->key, a->lengths, a->lengths + a->sequences, a->sequences);
}

static aclnnStatus run(const struct hc_call *call) {
    struct hc_plain p = hc_plain_open(call->name);
    struct loop l = {0};
    open_operands(call, &p, &l);
    p.status = check_blocks(&p, &l);
    p.status = open_mask(&p, &l, "attenMaskOptional", hc_arg(call, COMPRESSED_MASK), "keys", &l.mask);
    p.status = open_mask(&p, &l, "topkMaskOptional", hc_arg(call, COMPRESSED_CHOSEN), "blocks", &l.chosen);
    if (p.status == 0) {
        clear_outputs(&l, call);
        attend_all(&p, &l);
    }
    hc_block_give(l.mask.owned);
    hc_block_give(l.chosen.owned);
    return hc_plain_close(&p, 0);
}

aclnnStatus compressed_set_blocks(const char *op, const struct compressed_blocks *blocks,
                                  struct compressed_args *a) {
    const bool ordered = blocks->stride >= 1 && blocks->compress >= blocks->stride &&
                         blocks->select >= blocks->compress && blocks->select <= INT32_MAX;
    HC_CHECK(
        ordered && blocks->select % blocks->stride == 0, ACLNN_ERR_PARAM_INVALID,
        "%s: selectBlockSize is %lld, compressBlockSize %lld and the stride %lld, wanted each at least the "
        "next, and the first a multiple of the last",
        op, (long long)blocks->select, (long long)blocks->compress, (long long)blocks->stride);
    HC_CHECK(blocks->count >= 1, ACLNN_ERR_PARAM_INVALID, "%s: selectBlockCount is %lld, wanted 1 or more",
             op, (long long)blocks->count);
    a->steps = blocks->select / blocks->stride;
    a->overlap = blocks->compress / blocks->stride;
    a->count = blocks->count;
    return 0;
}

/* hc_tokens_check_keys knows the dimensions of each layout. */
aclnnStatus compressed_check_operands(const char *op, const aclTensor *query, const aclTensor *key,
                                      const aclTensor *value, enum hc_tokens_layout layout) {
    HC_TRY(HC_PLAIN_CHECK(op, "query", query, -1, -1, -1));
    HC_TRY(hc_tokens_check_keys(op, "key", key, layout, -1, query->shape[2]));
    HC_TRY(hc_tokens_check_keys(op, "value", value, layout, key->shape[key->rank - 2], -1));
    for (int32_t d = 0; d < key->rank - 1; d++)
        HC_CHECK(key->shape[d] == value->shape[d], ACLNN_ERR_PARAM_INVALID,
                 "%s: key is %s and value %s, wanted as many rows", op, HC_SHOW(key), HC_SHOW(value));
    const int64_t groups = key->shape[key->rank - 2];
    HC_CHECK(groups > 0 && query->shape[1] % groups == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: query is %s, key %s: wanted a multiple of the key's heads", op, HC_SHOW(query),
             HC_SHOW(key));
    return 0;
}

/* The caller's arrays do not outlive this call. */
aclnnStatus compressed_plan(const char *op, const struct compressed_args *given,
                            const int64_t *const lengths[3], const struct hc_operand *operands,
                            uint64_t *workspaceSize, aclOpExecutor **executor) {
    const size_t n = (size_t)given->sequences, bytes = sizeof *given + 3 * n * sizeof(int64_t);
    struct compressed_args *a = hc_block_take(bytes);
    HC_CHECK(a != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu sequences", op, n);
    *a = *given;
    for (size_t i = 0; i < 3; i++)
        if (n > 0) memcpy(a->lengths + i * n, lengths[i], n * sizeof(int64_t));
    const aclnnStatus status = hc_plan(&(const struct hc_plan){.name = op,
                                                               .run = run,
                                                               .args = a,
                                                               .args_size = bytes,
                                                               .operands = operands,
                                                               .num_operands = COMPRESSED_OPERANDS},
                                       workspaceSize, executor);
    hc_block_give(a);
    return status;
}
#endif
