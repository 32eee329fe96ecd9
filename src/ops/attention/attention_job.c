// SPDX-License-Identifier: Apache-2.0
/* Addresses and visibility. Every sparse mode but the explicit masks is an interval of keys per query, so
 * tiles outside it are never touched, and no mask is read. */
#include "attention_job.h"

#include <stdlib.h>
#include <string.h>

#include "attention_quant.h"
#include "attention_stored.h"
#include "attention_tiles.h"
#include "dropout_mask.h"
#include "int4.h"
#include "long_loop.h"
#include "temporary.h"

/* Token counts beyond any sequence: sums with them cannot overflow. */
static int64_t clamp_tokens(int64_t t) {
    return hc_min_i64(hc_max_i64(t, -((int64_t)1 << 40)), (int64_t)1 << 40);
}

/* int4 lie one after the other (phase one has seen to it), an even number of them. */
static void load_int4(size_t n, void *dst, const void *src, int64_t stride) {
    enum { PART = 256 };
    int8_t part[PART];
    (void)stride;
    for (size_t i = 0, count; i < n; i += count) {
        count = hc_min_size(n - i, PART);
        hc_int4_load(count, part, src, i);
        hc_load_for(ACL_INT8, HC_F32)(count, (float *)dst + i, part, 1);
    }
}

/* Strides of a layout: where heads share a dimension with elements (BSH, SBH), the next head is d
 * elements on. int32 are int4, eight in one; no element of them has an address, so they have no step. */
struct attn_view attn_make_view(enum attn_layout layout, const aclTensor *t, size_t d) {
    if (t == NULL) return (struct attn_view){0};
    const struct attn_axes x = attn_axes(layout);
    const int64_t *s = t->stride;
    const bool int4 = t->dtype == ACL_INT32;
    return (struct attn_view){.data = hc_data(t),
                              .item_size = t->item_size,
                              .load = int4 ? load_int4 : hc_load_for(t->dtype, HC_F32),
                              .store = hc_store_for(t->dtype, HC_F32),
                              .b = x.b < 0 ? 0 : s[x.b],
                              .n = x.n >= 0 ? s[x.n] : (int64_t)(int4 ? d / HC_INT4_IN_INT32 : d) * s[x.d],
                              .s = s[x.s],
                              .d = int4 ? 0 : s[x.d]};
}

/* Position bias: batch, head, query row, key. */
static struct attn_view make_pse_view(const aclTensor *t) {
    if (t == NULL) return (struct attn_view){0};
    struct attn_view v = {.data = hc_data(t),
                          .item_size = t->item_size,
                          .load = hc_load_for(t->dtype, HC_F32),
                          .store = hc_store_for(t->dtype, HC_F32)};
    if (t->rank == 4) {
        v.b = t->shape[0] == 1 ? 0 : t->stride[0], v.n = t->stride[1];
        v.s = t->shape[2] == 1 ? 0 : t->stride[2], v.d = t->stride[3];
    } else {
        v.b = t->rank == 2 ? t->stride[0] : 0, v.n = t->stride[t->rank - 1];
    }
    return v;
}

/* A step of decoding has a mask [B, keys]. */
static bool is_of_batches(const struct attn_args *a, const aclTensor *mask) {
    return mask->rank == 2 && a->sq == 1 && a->batches > 1 && mask->shape[0] == (int64_t)a->batches;
}

/* Only modes that read a mask get one. Its rows are searched with memchr and read as vectors of bytes, so
 * their elements must be adjacent; other masks are copied once. */
static aclnnStatus set_mask(struct attn_job *job, const aclTensor *m) {
    const int mode = job->a->sparse_mode;
    if (m == NULL || !(mode == SPARSE_DEFAULT || mode == SPARSE_ALL || mode == SPARSE_PREFIX)) return 0;
    aclTensor view = *m;
    if (m->stride[m->rank - 1] != 1 && m->shape[m->rank - 1] > 1)
        HC_TRY(hc_contiguous(m, m->dtype, &view, &job->mask_owned));
    const int r = view.rank;
    job->mask = (const uint8_t *)hc_data(&view);
    job->mask_i = view.stride[r - 2];
    job->mask_b = r > 2 && view.shape[0] > 1 ? view.stride[0] : 0;
    job->mask_n = r == 4 && view.shape[1] > 1 ? view.stride[1] : 0;
    if (is_of_batches(job->a, &view)) job->mask_b = view.stride[0], job->mask_i = 0;
    return 0;
}

/* A byte for each block, one after the other. */
static aclnnStatus set_blocks(struct attn_job *job, const aclTensor *m) {
    if (m == NULL) return 0;
    aclTensor view;
    HC_TRY(hc_contiguous(m, m->item_size == 1 ? m->dtype : ACL_BOOL, &view, &job->blocks_owned));
    job->blocks = (const uint8_t *)hc_data(&view);
    job->blocks_i = (size_t)view.shape[2], job->blocks_k = (size_t)view.shape[3];
    return 0;
}

/* A sink of inference may be of the query's type. */
static aclnnStatus set_sink(struct attn_job *job, const aclTensor *t) {
    if (t == NULL) return 0;
    aclTensor view;
    HC_TRY(hc_contiguous(t, ACL_FLOAT, &view, &job->sink_owned));
    job->sink = (const float *)hc_data(&view);
    return 0;
}

/* Where sequences are filled up on the left they end `padding` positions before the end of their `rows`. */
static aclnnStatus set_begin(const struct attn_args *a, const char *what, size_t batch, size_t rows,
                             size_t padding, size_t length, size_t *begin) {
    HC_CHECK(hc_add_saturated(padding, length) <= rows, ACLNN_ERR_PARAM_INVALID,
             "%s: batch %zu has %zu positions of %s and %zu of padding behind them, but only %zu in all",
             a->name, batch, length, what, padding, rows);
    *begin = rows - padding - length;
    return 0;
}

/* Below 0 counts as 0. */
static size_t padding_of(const aclTensor *t) {
    int64_t n;
    hc_load_for(t->dtype, HC_I64)(1, &n, hc_data(t), 1);
    return (size_t)hc_max_i64(n, 0);
}

/* A single query whose keys do not fit sees none, as the interface has it. */
static aclnnStatus set_padding(struct attn_job *job) {
    const struct attn_args *a = job->a;
    const aclTensor *q = hc_arg(job->call, SLOT_Q_PAD), *kv = hc_arg(job->call, SLOT_KV_PAD);
    const size_t of_q = q != NULL ? padding_of(q) : 0, of_kv = kv != NULL ? padding_of(kv) : 0;
    for (size_t i = 0; i < a->batches; i++) {
        struct attn_batch *b = &job->batches[i];
        if (q != NULL) HC_TRY(set_begin(a, "query", i, a->sq, of_q, b->sq, &b->pad_q));
        if (q != NULL) b->q0 = b->pad_q;
        if (kv != NULL && a->sq == 1 && hc_add_saturated(of_kv, b->skv) > a->skv) b->skv = 0;
        else if (kv != NULL) HC_TRY(set_begin(a, "key", i, a->skv, of_kv, b->skv, &b->pad_kv));
        if (kv != NULL) b->kv0 = b->pad_kv;
    }
    return 0;
}

/* Phase one has seen to it that there is a mask, or a seed to make it of: in the backward pass the same. */
static aclnnStatus set_drop(struct attn_job *job, size_t bits) {
    const struct attn_args *a = job->a;
    const aclTensor *t = hc_arg(job->call, SLOT_DROP);
    HC_CHECK(t == NULL || hc_numel(t) * 8 >= bits, ACLNN_ERR_PARAM_INVALID,
             "%s: dropMaskOptional has %zu bits, wanted %zu", a->name, hc_numel(t) * 8, bits);
    if (t != NULL) job->drop = (const uint8_t *)hc_data(t);
    if (t != NULL || a->keep_prob == 1) return 0;
    job->drop_owned = hc_block_take_array(hc_dropout_mask_bytes(bits) + 1, 1);
    HC_CHECK(job->drop_owned != NULL, ACLNN_ERR_INNER,
             "%s: out of host memory for a dropout mask of %zu bits", a->name, bits);
    hc_dropout_fill_mask((struct hc_philox){a->seed, a->offset}, 1 - a->keep_prob, bits, job->drop_owned);
    job->drop = job->drop_owned;
    return 0;
}

/* `first` and `last` are those with queries: the modes 7 and 8 mean them. */
static aclnnStatus set_batches(struct attn_job *job) {
    const struct attn_args *a = job->a;
    const bool packed = attn_is_packed(a->layout);
    job->batches = hc_block_take_zeroed(a->batches + 1, sizeof *job->batches);
    HC_CHECK(job->batches != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu batches", a->name,
             a->batches);
    size_t token = 0, drop = 0;
    struct attn_batch *last = NULL;
    for (size_t i = 0; i < a->batches; i++) {
        struct attn_batch *b = &job->batches[i];
        *b = (struct attn_batch){.sq = a->sq, .skv = a->skv, .token0 = token, .drop0 = drop, .index = i};
        const int64_t *q = a->numbers, *kv = q + a->batches;
        if (packed) {
            b->q0 = i > 0 ? (size_t)q[i - 1] : 0;
            b->kv0 = i > 0 && a->page_size == 0 ? (size_t)kv[i - 1] : 0;
            b->sq = (size_t)q[i] - b->q0;
            b->skv = (size_t)kv[i] - b->kv0;
        } else if (a->ragged) {
            b->sq = (size_t)q[i], b->skv = a->prefix + (size_t)kv[i];
        }
        if (b->sq > 0) {
            b->first = last == NULL;
            last = b;
        }
        token += b->sq;
        drop = hc_add_saturated(drop, hc_mul_saturated(a->heads * b->sq, b->skv));
    }
    if (last != NULL) last->last = true;
    job->tokens = token;
    return set_drop(job, drop);
}

static bool all_are(const struct hc_call *call, aclDataType dtype) {
    static const int SLOTS[] = {SLOT_Q, SLOT_K, SLOT_V, SLOT_DY, SLOT_Q_ROPE, SLOT_K_ROPE};
    bool all = true;
    for (size_t i = 0; i < HC_ARRAY_SIZE(SLOTS); i++) {
        const aclTensor *t = hc_arg(call, SLOTS[i]);
        all = all && (t == NULL || t->dtype == dtype);
    }
    return all;
}

/* Tensors of bfloat16 are multiplied as such where the CPU can. Products of pairs add in orders of their own,
 * those of a few rows in another than tiles: where a row shall have the same bits in all of them there are
 * none. int8 are bfloat16 too, and so are weights of int8: their products and sums are whole numbers that
 * float32 holds up to heads of 1024 elements, in any order. */
static void choose_products(struct attn_job *job) {
    const struct attn_args *a = job->a;
    job->gemm = HC_DISPATCH(attn_gemm);
    job->few_scores = HC_DISPATCH(attn_few_scores);
    job->few_outputs = HC_DISPATCH(attn_few_outputs);
    if (!all_are(job->call, ACL_BF16) && !all_are(job->call, ACL_INT8)) return;
    const bool any_order = !hc_batch_invariant(), pairs = HC_DISPATCH(attn_gemm_BF16) != NULL && any_order;
    job->tiles = HC_DISPATCH(attn_tiles_multiply) != NULL;
    if (!job->tiles && pairs && a->sq > 1) job->gemm = HC_DISPATCH(attn_gemm_BF16);
    if (any_order && a->d % ATTN_FEW_APART == 0) {
        job->few_scores = HC_DISPATCH(attn_few_dots);
        job->few_apart = HC_DISPATCH(attn_few_apart);
    }
    if (!pairs || hc_max_size(a->d, a->dv) > ATTN_FEW_MOST) return;
    job->few_scores = HC_DISPATCH(attn_few_scores_BF16);
    job->few_outputs = HC_DISPATCH(attn_few_outputs_BF16);
    job->few_apart = NULL;
}

static float *floats_of(const struct hc_call *call, int slot) {
    const aclTensor *t = hc_arg(call, slot);
    return t != NULL ? (float *)hc_data(t) : NULL;
}

/* Slots of the other direction are empty: hc_arg gives NULL, and the view has no data. Free the job also
 * after a failure. */
aclnnStatus attn_job_init(struct attn_job *job, const struct hc_call *call) {
    const struct attn_args *a = call->args;
    *job = (struct attn_job){.a = a, .call = call, .scale = (float)a->scale};
    job->ld = attn_row_size(a->d);
    job->ldv = attn_row_size(a->dv);
    choose_products(job);
    job->q = attn_make_view(a->layout, hc_arg(call, SLOT_Q), a->d - a->d_rope);
    job->k = attn_make_view(a->kv_layout, hc_arg(call, SLOT_K), a->d - a->d_rope);
    job->q_rope = attn_make_view(a->layout, hc_arg(call, SLOT_Q_ROPE), a->d_rope);
    job->k_rope = attn_make_view(a->kv_layout, hc_arg(call, SLOT_K_ROPE), a->d_rope);
    job->v = attn_make_view(a->kv_layout, hc_arg(call, SLOT_V), a->dv);
    job->out = attn_make_view(a->out_layout, hc_arg(call, SLOT_OUT), a->dv);
    job->dy = attn_make_view(a->layout, hc_arg(call, SLOT_DY), a->dv);
    job->dq = attn_make_view(a->layout, hc_arg(call, SLOT_DQ), a->d);
    job->dk = attn_make_view(a->layout, hc_arg(call, SLOT_DK), a->d);
    job->dv = attn_make_view(a->layout, hc_arg(call, SLOT_DV), a->dv);
    job->pse = make_pse_view(hc_arg(call, SLOT_PSE));
    job->dpse = make_pse_view(hc_arg(call, SLOT_DPSE));
    job->max = floats_of(call, SLOT_MAX);
    job->sum = floats_of(call, SLOT_SUM);
    job->lse = floats_of(call, SLOT_LSE);
    HC_TRY(set_batches(job));
    HC_TRY(set_padding(job));
    HC_TRY(attn_stored_init(job));
    HC_TRY(attn_quant_init(job));
    HC_TRY(set_sink(job, hc_arg(call, SLOT_SINK)));
    HC_TRY(set_blocks(job, hc_arg(call, SLOT_BLOCKS)));
    return set_mask(job, hc_arg(call, SLOT_MASK));
}

/* Each may be NULL: a job that failed early owns less. */
void attn_job_free(struct attn_job *job) {
    hc_block_give(job->batches);
    attn_stored_free(job);
    attn_quant_free(job);
    hc_block_give(job->sink_owned);
    hc_block_give(job->drop_owned);
    hc_block_give(job->blocks_owned);
    hc_block_give(job->mask_owned);
}

/* After the loop, when no item runs any more. */
aclnnStatus attn_job_status(const struct attn_job *job) {
    HC_CHECK(!atomic_load(&job->failed), ACLNN_ERR_INNER, "%s: out of host memory for tiles", job->a->name);
    return 0;
}

/* First element of a row; `position` counts from the start of the packed sequence, or of the batch. */
char *attn_address(const struct attn_view *v, const struct attn_batch *batch, size_t head, size_t position) {
    return v->data +
           ((int64_t)batch->index * v->b + (int64_t)head * v->n + (int64_t)position * v->s) * v->item_size;
}

/* Converted on the way: tiles are float32 whatever the tensors are. Rows lie all heads apart, often on pages
 * of their own, where the CPU does not see the next one coming: they are asked for while others are read. */
void attn_load_rows(const struct attn_view *v, const char *from, size_t rows, size_t d, float *tile,
                    size_t ld) {
    enum { AHEAD = 16 };
    const int64_t step = v->s * v->item_size;
    const size_t bytes = v->d == 1 ? d * (size_t)v->item_size : 0;
    for (size_t r = 0; r < rows; r++, from += step) {
        for (size_t i = 0; i < bytes; i += HC_CACHE_LINE) __builtin_prefetch(from + AHEAD * step + i);
        v->load(d, tile + r * ld, from, v->d);
    }
}

void attn_load(const struct attn_view *v, const struct attn_batch *batch, size_t base, size_t head, size_t at,
               size_t rows, size_t d, float *tile, size_t ld) {
    attn_load_rows(v, attn_address(v, batch, head, base + at), rows, d, tile, ld);
}

void attn_round_rows(size_t rows, size_t d, float *tile, size_t ld, const char **row) {
    HC_DISPATCH(attn_tiles_round)(rows, d, tile, ld, (char *)tile, ld * sizeof(float));
    for (size_t r = 0; r < rows; r++) row[r] = (const char *)(tile + r * ld);
}

void attn_find_bf16(const struct attn_view *v, const struct attn_batch *batch, size_t base, size_t head,
                    size_t at, size_t rows, size_t d, float *tile, size_t ld, const char **row) {
    if (v->d != 1) {
        attn_load(v, batch, base, head, at, rows, d, tile, ld);
        attn_round_rows(rows, d, tile, ld, row);
        return;
    }
    const char *from = attn_address(v, batch, head, base + at);
    for (size_t r = 0; r < rows; r++) row[r] = from + (int64_t)r * v->s * v->item_size;
}

void attn_load_queries(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t at,
                       size_t rows, float *tile) {
    const size_t plain = job->a->d - job->a->d_rope;
    attn_load(&job->q, batch, batch->q0, head, at, rows, plain, tile, job->ld);
    attn_scale_queries(job, batch, head, at, rows, tile);
    if (job->q_rope.data != NULL)
        attn_load(&job->q_rope, batch, batch->q0, head, at, rows, job->a->d_rope, tile + plain, job->ld);
}

/* Rounded to the tensor's type, once. */
void attn_store_row(const struct attn_view *v, const struct attn_batch *batch, size_t head, size_t position,
                    size_t d, const float *row) {
    v->store(d, attn_address(v, batch, head, position), v->d, row);
}

/* `corner` is the row as seen from the last key: with fewer queries than keys the diagonal then ends in
 * the lower right corner. Without a mask all keys are visible whatever the token counts say, as the
 * interface has it. */
void attn_visible(const struct attn_job *job, const struct attn_batch *batch, size_t i, size_t *low,
                  size_t *high) {
    const struct attn_args *a = job->a;
    const int64_t keys = (int64_t)batch->skv, row = (int64_t)i, corner = row + keys - (int64_t)batch->sq;
    const int64_t pre = clamp_tokens(a->pre), next = clamp_tokens(a->next);
    int64_t from = 0, to = keys;
    int mode = a->masked ? a->sparse_mode : SPARSE_ALL;
    if (mode == SPARSE_RIGHT_DOWN_BAND) mode = batch->last ? SPARSE_BAND : SPARSE_RIGHT_DOWN;
    if (mode == SPARSE_LEFT_UP_BAND) mode = batch->first ? SPARSE_BAND : SPARSE_LEFT_UP;
    switch (mode) {
    case SPARSE_DEFAULT: from = row - pre, to = row + next + 1; break;
    case SPARSE_LEFT_UP: to = row + 1; break;
    case SPARSE_RIGHT_DOWN: to = corner + 1; break;
    case SPARSE_BAND: from = corner - pre, to = corner + next + 1; break;
    case SPARSE_PREFIX_COMPRESSED:
        to = hc_max_i64(corner + 1, a->numbers[2 * a->batches + batch->index]);
        break;
    default: break;
    }
    to = hc_min_i64(hc_max_i64(to, 0), keys);
    *low = (size_t)hc_min_i64(hc_max_i64(from, 0), to);
    *high = (size_t)to;
}

/* Of query i; a byte for each key, not 0 where it is hidden. A mask has rows and columns for what fills
 * sequences up on the left, too. */
static const uint8_t *mask_row(const struct attn_job *job, const struct attn_batch *batch, size_t head,
                               size_t i) {
    return job->mask + (int64_t)batch->index * job->mask_b + (int64_t)head * job->mask_n +
           (int64_t)(batch->pad_q + i) * job->mask_i + (int64_t)batch->pad_kv;
}

/* Whether blocks show any of queries [i, i + rows) of a head keys from k on, a multiple of ATTN_KEYS: a tile
 * has keys of one block only (phase one has seen to it). */
static bool blocks_show(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                        size_t rows, size_t k) {
    const struct attn_args *a = job->a;
    if (job->blocks == NULL) return true;
    const size_t line = (batch->index * a->heads + head) * job->blocks_i, column = k / a->block_keys;
    for (size_t b = i / a->block_queries; b <= (i + rows - 1) / a->block_queries; b++) {
        if (job->blocks[(line + b) * job->blocks_k + column] != 0) return true;
    }
    return false;
}

/* Cheap for intervals, O(rows * keys) bytes for mask tensors: a hidden tile saves 4 * d operations
 * per byte read. */
bool attn_tile_visible(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                       size_t rows, size_t k, size_t keys) {
    size_t low, high, ignored;
    attn_visible(job, batch, i, &low, &ignored);
    attn_visible(job, batch, i + rows - 1, &ignored, &high);
    if (high <= k || low >= k + keys || !blocks_show(job, batch, head, i, rows, k)) return false;
    if (job->mask == NULL) return true;
    for (size_t r = 0; r < rows; r++) {
        if (memchr(mask_row(job, batch, head, i + r) + k, 0, keys) != NULL) return true;
    }
    return false;
}

/* Rows of a stripe where a tile is seen in part; whole blocks of the kernels' rows. */
enum { STRIPE_ROWS = 30, STRIPE_ROWS_OF_TILES = 32 };

/* The first of rows [from, rows) of a tile, by whole stripes, that blocks show keys from k on, or do not. */
static size_t find_rows(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                        size_t from, size_t rows, size_t k, size_t step, bool shown) {
    for (; from < rows; from += step) {
        const size_t count = hc_min_size(step, rows - from);
        if (blocks_show(job, batch, head, i + from, count, k) == shown) return from;
    }
    return rows;
}

/* A tile on a diagonal is half hidden: products of its stripes leave most of that out. Rows that blocks hide
 * are left out, too. */
bool attn_next_stripe(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                      size_t rows, size_t k, size_t keys, struct attn_stripe *stripe) {
    const size_t step = job->tiles ? STRIPE_ROWS_OF_TILES : STRIPE_ROWS;
    size_t ignored, first, last, end = rows;
    stripe->row += stripe->rows;
    if (job->blocks != NULL) {
        stripe->row = find_rows(job, batch, head, i, stripe->row, rows, k, step, true);
        end = find_rows(job, batch, head, i, stripe->row, rows, k, step, false);
    }
    if (stripe->row >= rows) return false;
    attn_visible(job, batch, i + stripe->row, &ignored, &first);
    stripe->rows = end - stripe->row;
    if (first < k + keys) stripe->rows = hc_min_size(stripe->rows, step);
    attn_visible(job, batch, i + stripe->row + stripe->rows - 1, &ignored, &last);
    stripe->high = hc_min_size(last > k ? last - k : 0, keys);
    return true;
}

/* The last 1024 rows of a linear bias stand for all: it depends on key minus query only, so an earlier row is
 * the last one moved along the keys. */
static void load_bias(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                      size_t k, size_t keys, float *bias) {
    const aclTensor *t = hc_arg(job->call, SLOT_PSE);
    const size_t rows = (size_t)t->shape[2];
    if (rows == 1 || rows == batch->sq || batch->sq <= rows) {
        job->pse.load(keys, bias,
                      attn_address(&job->pse, batch, head, batch->pad_q + i) +
                          (int64_t)(batch->pad_kv + k) * job->pse.d * job->pse.item_size,
                      job->pse.d);
        return;
    }
    const size_t shift = i + rows >= batch->sq ? 0 : batch->sq - rows - i, row = i + rows + shift - batch->sq;
    const size_t width = (size_t)t->shape[3], from = hc_min_size(k + shift, width),
                 n = hc_min_size(keys, width - from);
    job->pse.load(n, bias,
                  attn_address(&job->pse, batch, head, row) + (int64_t)from * job->pse.d * job->pse.item_size,
                  job->pse.d);
    memset(bias + n, 0, (keys - n) * sizeof(float));
}

/* -slope * distance, or -slope * sqrt(distance). */
static void make_bias(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                      size_t k, size_t keys, float *bias) {
    float slope;
    job->pse.load(1, &slope, attn_address(&job->pse, batch, head, 0), 1);
    const int64_t row = (int64_t)i + clamp_tokens(job->a->q_start) - clamp_tokens(job->a->kv_start);
    for (size_t j = 0; j < keys; j++) {
        const float distance = (float)llabs((int64_t)(k + j) - row);
        bias[j] = -slope * (job->a->pse_type == 3 ? __builtin_sqrtf(distance) : distance);
    }
}

/* `low` and `high` become relative to the tile. `bias` is filled only where there is a position bias. */
void attn_prepare_row(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                      size_t k, size_t keys, float *bias, struct attn_row *row) {
    size_t low, high;
    attn_visible(job, batch, i, &low, &high);
    *row = (struct attn_row){.n = keys, .scale = job->scale};
    row->high = hc_min_size(high > k ? high - k : 0, keys);
    row->low = hc_min_size(low > k ? low - k : 0, row->high);
    if (!blocks_show(job, batch, head, i, 1, k)) row->low = row->high = 0;
    if (job->mask != NULL) row->mask = mask_row(job, batch, head, i) + k;
    if (job->pse.data == NULL) return;
    if (job->a->pse_type >= 2) make_bias(job, batch, head, i, k, keys, bias);
    else load_bias(job, batch, head, i, k, keys, bias);
    if (job->a->pse_type == 1) row->before = bias;
    else row->after = bias;
}

/* Either token by token or, for each batch, head by head: the client says which (softmax layout). */
size_t attn_statistic(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i) {
    const size_t heads = job->a->heads;
    if (job->a->softmax_per_token) return (batch->q0 + i) * heads + head;
    const size_t rows = attn_is_packed(job->a->layout) ? batch->q0 : batch->index * batch->sq;
    return rows * heads + head * batch->sq + i;
}

size_t attn_lse_at(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i) {
    const size_t heads = job->a->heads;
    if (attn_is_packed(job->a->layout)) return (batch->q0 + i) * heads + head;
    return (batch->index * heads + head) * job->a->sq + batch->pad_q + i;
}

/* Bits are numbered as the scores are laid out: batch, head, query, key, without gaps. */
size_t attn_drop_bit(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t i,
                     size_t k) {
    (void)job;
    return batch->drop0 + (head * batch->sq + i) * batch->skv + k;
}
