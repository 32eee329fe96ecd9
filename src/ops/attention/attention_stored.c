// SPDX-License-Identifier: Apache-2.0
/* Keys and values of inference: where their rows lie, and how they become float32.
 *
 * Rows are found in stretches, each within the shared prefix, a page or a batch's own tensor. Quantised rows
 * are converted to float32 and then become (x + offset) * scale, row by row, while they are in the
 * first-level cache: a pass over the whole cache beforehand would read it twice. */
#include "attention_stored.h"

#include "int4.h"
#include "temporary.h"

/* ---- pages ---- */

/* The pages that each batch's keys lie in, read once and checked. What the table has beyond them may be
 * anything. */
static aclnnStatus set_pages(struct attn_job *job) {
    const struct attn_args *a = job->a;
    const aclTensor *table = hc_arg(job->call, SLOT_TABLE), *key = hc_arg(job->call, SLOT_K);
    if (a->page_size == 0) return 0;
    size_t count = 0;
    for (size_t i = 0; i < a->batches; i++) {
        job->batches[i].page0 = count;
        count += hc_ceil_div(job->batches[i].skv - a->prefix, a->page_size);
    }
    job->pages = hc_block_take_array(count + 1, sizeof *job->pages);
    HC_CHECK(job->pages != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu pages", a->name, count);
    for (size_t i = 0; i < a->batches; i++) {
        const size_t n = hc_ceil_div(job->batches[i].skv - a->prefix, a->page_size);
        for (size_t j = 0; j < n; j++) {
            int64_t page;
            const int64_t at = (int64_t)i * table->stride[0] + (int64_t)j * table->stride[1];
            hc_load_for(table->dtype, HC_I64)(1, &page, hc_data(table) + at * table->item_size, 1);
            HC_CHECK(page >= 0 && page < key->shape[0], ACLNN_ERR_PARAM_INVALID,
                     "%s: blockTable[%zu][%zu] is %lld, key %s has pages 0 to %lld", a->name, i, j,
                     (long long)page, HC_SHOW(key), (long long)key->shape[0] - 1);
            job->pages[job->batches[i].page0 + j] = (size_t)page;
        }
    }
    return 0;
}

/* ---- what there is of one of the two ---- */

/* Numbers as contiguous float32. */
static aclnnStatus floats(const aclTensor *t, const float **data, void **owned) {
    aclTensor view;
    if (t == NULL) return 0;
    HC_TRY(hc_contiguous(t, ACL_FLOAT, &view, owned));
    *data = (const float *)hc_data(&view);
    return 0;
}

static aclnnStatus set_scales(struct attn_job *job, struct attn_extra *x, int scale, int offset) {
    HC_TRY(floats(hc_arg(job->call, scale), &x->scale, &x->owned_scale));
    HC_TRY(floats(hc_arg(job->call, offset), &x->offset, &x->owned_offset));
    if (x->scale != NULL) x->scale += x->scales.first;
    if (x->offset != NULL) x->offset += x->scales.first;
    return 0;
}

static aclnnStatus set_each(struct attn_job *job, struct attn_extra *x, int slot, size_t d) {
    const size_t count = hc_arg_count(job->call, slot);
    if (count == 0) return 0;
    x->each = hc_block_take_array(count, sizeof *x->each);
    HC_CHECK(x->each != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu tensors", job->a->name, count);
    for (size_t i = 0; i < count; i++) {
        x->each[i] = attn_make_view(job->a->kv_layout, hc_arg_at(job->call, slot, i), d);
        x->in_place = x->in_place && x->each[i].d == 1;
    }
    return 0;
}

/* NULL where one tensor, or its pages, is all. */
static aclnnStatus set_extra(struct attn_job *job, struct attn_view *v, const struct attn_scales *scales,
                             const int slots[4], size_t d) {
    enum { EACH, PREFIX, SCALE, OFFSET };
    const aclTensor *prefix = hc_arg(job->call, slots[PREFIX]);
    if (!scales->given && prefix == NULL && hc_arg_count(job->call, slots[EACH]) == 0) return 0;
    struct attn_extra *x = hc_block_take_zeroed(1, sizeof *x);
    HC_CHECK(x != NULL, ACLNN_ERR_INNER, "%s: out of host memory", job->a->name);
    v->extra = x;
    x->scales = *scales;
    x->prefix = attn_make_view(job->a->kv_layout, prefix, d);
    x->in_place = !scales->given && v->d == 1 && (prefix == NULL || x->prefix.d == 1);
    HC_TRY(set_each(job, x, slots[EACH], d));
    return set_scales(job, x, slots[SCALE], slots[OFFSET]);
}

aclnnStatus attn_stored_init(struct attn_job *job) {
    static const int KEY[] = {SLOT_K_EACH, SLOT_K_PREFIX, SLOT_K_SCALE, SLOT_K_OFFSET},
                     VALUE[] = {SLOT_V_EACH, SLOT_V_PREFIX, SLOT_V_SCALE, SLOT_V_OFFSET};
    const struct attn_args *a = job->a;
    HC_TRY(set_pages(job));
    HC_TRY(set_extra(job, &job->k, &a->key_scales, KEY, a->d - a->d_rope));
    return set_extra(job, &job->v, &a->value_scales, VALUE, a->dv);
}

static void free_extra(struct attn_extra *x) {
    if (x == NULL) return;
    hc_block_give(x->each);
    hc_block_give(x->owned_scale);
    hc_block_give(x->owned_offset);
    hc_block_give(x);
}

void attn_stored_free(struct attn_job *job) {
    hc_block_give(job->pages);
    free_extra(job->k.extra);
    free_extra(job->v.extra);
}

bool attn_reads_in_place(const struct attn_view *v) {
    if (v->item_size == 1) return false; /* int8, which the kernels for few rows do not read */
    return v->extra != NULL ? v->extra->in_place : v->d == 1;
}

/* ---- rows ---- */

/* Rows that lie one step apart. `batch` and `at`: where their scales lie. */
struct stretch {
    const struct attn_view *view;
    const char *first;
    size_t rows, batch, at;
};

/* Rows [at, at + rows) of a head, or the first of them. Numbers of a token count the tensor's rows, those
 * that fill it up on the left too. */
static struct stretch find_stretch(const struct attn_job *job, const struct attn_view *v,
                                   const struct attn_batch *batch, size_t head, size_t at, size_t rows) {
    const struct attn_extra *x = v->extra;
    const size_t page = job->a->page_size, prefix = job->a->prefix;
    const struct attn_batch first = {0};
    if (at < prefix && x != NULL)
        return (struct stretch){&x->prefix, attn_address(&x->prefix, &first, head, at),
                                hc_min_size(rows, prefix - at), 0, 0};
    at -= prefix;
    if (page > 0) {
        const struct attn_batch in_page = {.index = job->pages[batch->page0 + at / page]};
        const bool by_page = x != NULL && x->scales.by_page;
        return (struct stretch){v, attn_address(v, &in_page, head, at % page),
                                hc_min_size(rows, page - at % page), by_page ? in_page.index : batch->index,
                                by_page ? at % page : at};
    }
    if (x != NULL && x->each != NULL) {
        const struct attn_view *own = &x->each[batch->index];
        return (struct stretch){own, attn_address(own, &first, head, batch->kv0 + at), rows, batch->index,
                                batch->pad_kv + at};
    }
    return (struct stretch){v, attn_address(v, batch, head, batch->kv0 + at), rows, batch->index,
                            batch->pad_kv + at};
}

static void antiquantise(const struct attn_extra *x, const struct stretch *s, size_t head, size_t d,
                         float *tile, size_t ld) {
    const struct attn_scales *step = &x->scales;
    for (size_t r = 0; r < s->rows; r++) {
        const size_t i = s->batch * step->b + head * step->n + (s->at + r) * step->s;
        HC_DISPATCH(attn_antiquant_row)(d, tile + r * ld, x->scale + i, x->offset ? x->offset + i : NULL,
                                        step->d != 0);
    }
}

static void load_stored(const struct attn_job *job, const struct attn_view *v, const struct attn_batch *batch,
                        size_t head, size_t at, size_t rows, size_t d, float *tile, size_t ld) {
    for (struct stretch s; rows > 0; rows -= s.rows, at += s.rows, tile += s.rows * ld) {
        s = find_stretch(job, v, batch, head, at, rows);
        attn_load_rows(s.view, s.first, s.rows, d, tile, ld);
        if (v->extra != NULL && v->extra->scale != NULL) antiquantise(v->extra, &s, head, d, tile, ld);
    }
}

void attn_find_rows(const struct attn_job *job, const struct attn_view *v, const struct attn_batch *batch,
                    size_t head, size_t at, size_t count, const char **row) {
    for (struct stretch s; count > 0; count -= s.rows, at += s.rows) {
        s = find_stretch(job, v, batch, head, at, count);
        const int64_t step = s.view->s * s.view->item_size;
        for (size_t r = 0; r < s.rows; r++) *row++ = s.first + (int64_t)r * step;
    }
}

void attn_load_keys(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t at,
                    size_t rows, float *tile) {
    const size_t plain = job->a->d - job->a->d_rope;
    load_stored(job, &job->k, batch, head, at, rows, plain, tile, job->ld);
    if (job->k_rope.data != NULL)
        load_stored(job, &job->k_rope, batch, head, at, rows, job->a->d_rope, tile + plain, job->ld);
}

void attn_load_values(const struct attn_job *job, const struct attn_batch *batch, size_t head, size_t at,
                      size_t rows, float *tile) {
    load_stored(job, &job->v, batch, head, at, rows, job->a->dv, tile, job->ldv);
}
