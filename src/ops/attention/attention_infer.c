// SPDX-License-Identifier: Apache-2.0
/* Phase one of the attention operators of inference; their run is attention_forward.c.
 *
 * Layouts: a query of BSH, BSND, BNSD, NSD, TND or NTD, an output of another or the same. Keys and values
 * have the query's layout, or lie in pages [pages, rows, H] or [pages, heads, rows, D], which a table gives
 * to batches. What else they may be is attention_infer_stored.c's. */
#include "attention_infer.h"

#include <string.h>
#include <strings.h>

#include "convert.h"
#include "int4.h"

/* ---- layouts ---- */

/* -1: none. In either case, as clients write them in both. */
static int layout_named(const char *name, size_t length) {
    for (int i = 0; i < ATTN_LAYOUTS; i++) {
        if (strlen(ATTN_LAYOUT_NAMES[i]) == length && strncasecmp(name, ATTN_LAYOUT_NAMES[i], length) == 0)
            return i;
    }
    return -1;
}

static aclnnStatus check_rank(const struct attn_inputs *in, const aclTensor *t, const char *what,
                              enum attn_layout layout) {
    const struct attn_axes x = attn_axes(layout);
    const int rank = 2 + (x.b >= 0) + (x.n >= 0);
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in->name, what);
    HC_CHECK(t->rank == rank, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, layout %s wants %d dimensions",
             in->name, what, HC_SHOW(t), ATTN_LAYOUT_NAMES[layout], rank);
    return 0;
}

static aclnnStatus check_operand(const struct attn_inputs *in, const aclTensor *t, const char *what,
                                 enum attn_layout layout) {
    HC_TRY(check_rank(in, t, what, layout));
    HC_CHECK(attn_infer_takes(in, t->dtype) && t->dtype == in->query->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %s as query %s", in->name, what, HC_SHOW(t),
             in->q_scale != NULL ? "int8 or a float of a byte with dequantScaleQuery"
                                 : "float32, float16, bfloat16 or int8",
             HC_SHOW(in->query));
    return 0;
}

/* Keys or values: of the query's type, or with scales for what is quantised. */
static aclnnStatus check_stored(const struct attn_infer *x, const aclTensor *t, const char *what,
                                enum attn_layout layout, const aclTensor *scale) {
    if (scale == NULL && x->scale == NULL) return check_operand(&x->in, t, what, layout);
    HC_TRY(check_rank(&x->in, t, what, layout));
    HC_CHECK(attn_is_quantised(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s and has scales, wanted int8, int4 (as int32) or a float of a byte", x->in.name,
             what, HC_SHOW(t));
    HC_CHECK(t->dtype != ACL_INT32 || t->stride[t->rank - 1] == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s of stride %lld along its last dimension, int4 want 1", x->in.name, what,
             HC_SHOW(t), (long long)t->stride[t->rank - 1]);
    return 0;
}

/* Keys in pages have a layout of their own, told by the number of their dimensions. */
static aclnnStatus parse_layouts(const struct attn_infer *x, struct attn_args *a) {
    const struct attn_inputs *in = &x->in;
    HC_CHECK(in->layout != NULL && in->query != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in->name,
             in->layout == NULL ? "inputLayout" : "query");
    const char *split = strchr(in->layout, '_');
    const size_t length = split != NULL ? (size_t)(split - in->layout) : strlen(in->layout);
    const int layout = layout_named(in->layout, length);
    const int out = split != NULL ? layout_named(split + 1, strlen(split + 1)) : layout;
    const bool known = layout >= 0 && out >= 0 && layout != LAYOUT_SBH && layout != LAYOUT_NBSD &&
                       out != LAYOUT_SBH && (layout == LAYOUT_NSD) == (out == LAYOUT_NSD);
    HC_CHECK(known && attn_is_packed((enum attn_layout)layout) == attn_is_packed((enum attn_layout)out),
             ACLNN_ERR_PARAM_INVALID,
             "%s: inputLayout is \"%s\", wanted BSH, BSND, BNSD, NSD, TND or NTD, and where the output has "
             "another, that after "
             "_: BSH, BSND, BNSD or NBSD, and TND or NTD for packed ones",
             in->name, in->layout);
    a->layout = (enum attn_layout)layout, a->out_layout = (enum attn_layout)out;
    a->kv_layout = a->layout;
    HC_TRY(check_operand(in, in->query, "query", a->layout));
    if (in->block_table != NULL) {
        HC_CHECK(in->key != NULL && (in->key->rank == 3 || in->key->rank == 4), ACLNN_ERR_PARAM_INVALID,
                 "%s: with blockTable key is %s, wanted [pages,rows,heads*size] or [pages,heads,rows,size]",
                 in->name, HC_SHOW(in->key));
        a->kv_layout = in->key->rank == 3 ? LAYOUT_BSH : LAYOUT_BNSD;
    }
    HC_TRY(check_stored(x, in->key, "key", a->kv_layout, in->key_scale));
    return check_stored(x, in->value, "value", a->kv_layout, in->value_scale);
}

/* ---- sizes ---- */

aclnnStatus attn_infer_head_size(const struct attn_inputs *in, const aclTensor *t, const char *what,
                                 enum attn_layout layout, size_t heads, size_t *size) {
    const struct attn_axes x = attn_axes(layout);
    const size_t n = attn_extent(t, x.n), d = attn_infer_elements(t, x.d);
    HC_CHECK(x.n < 0 ? d % heads == 0 : n == heads, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %zu heads",
             in->name, what, HC_SHOW(t), heads);
    *size = x.n < 0 ? d / heads : d;
    HC_CHECK(t->dtype != ACL_INT32 || *size % HC_INT4_IN_INT32 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s: heads of %zu int4, wanted whole int32", in->name, what, HC_SHOW(t), *size);
    HC_CHECK(*size > 0, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s: heads without elements", in->name, what,
             HC_SHOW(t));
    return 0;
}

/* Of the query's type; where that is quantised, floats, which are not. */
static aclnnStatus check_rotated(const struct attn_inputs *in, const aclTensor *t, const char *what,
                                 enum attn_layout layout) {
    if (in->q_scale == NULL) return check_operand(in, t, what, layout);
    HC_TRY(check_rank(in, t, what, layout));
    HC_CHECK(hc_fits_f32(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted float32, float16 or bfloat16 beside a query that is quantised", in->name,
             what, HC_SHOW(t));
    return 0;
}

/* Scores are of both parts together, so the rotated one is more elements of a head, loaded behind the others.
 */
static aclnnStatus check_rope(const struct attn_inputs *in, struct attn_args *a) {
    const aclTensor *q = in->query_rope, *k = in->key_rope;
    if (q == NULL && k == NULL) return 0;
    HC_CHECK(q != NULL && k != NULL, ACLNN_ERR_PARAM_INVALID, "%s: of queryRope and keyRope one is null",
             in->name);
    size_t of_key;
    HC_TRY(check_rotated(in, q, "queryRope", a->layout));
    HC_TRY(check_rotated(in, k, "keyRope", a->kv_layout));
    HC_TRY(attn_infer_head_size(in, q, "queryRope", a->layout, a->heads, &a->d_rope));
    HC_TRY(attn_infer_head_size(in, k, "keyRope", a->kv_layout, a->kv_heads, &of_key));
    const struct attn_axes x = attn_axes(a->layout), y = attn_axes(a->kv_layout);
    HC_CHECK(of_key == a->d_rope && attn_extent(q, x.b) == attn_extent(in->query, x.b) &&
                 attn_extent(q, x.s) == attn_extent(in->query, x.s) &&
                 attn_extent(k, y.b) == attn_extent(in->key, y.b) &&
                 attn_extent(k, y.s) == attn_extent(in->key, y.s),
             ACLNN_ERR_PARAM_INVALID, "%s: queryRope %s and keyRope %s do not go with query %s and key %s",
             in->name, HC_SHOW(q), HC_SHOW(k), HC_SHOW(in->query), HC_SHOW(in->key));
    a->d += a->d_rope;
    return 0;
}

/* Heads come from the arguments, as a flat layout and pages do not tell them. Values may be of another size
 * than keys: those of latent attention are the part that is not rotated. */
static aclnnStatus parse_sizes(const struct attn_infer *x, struct attn_args *a) {
    const struct attn_inputs *in = &x->in;
    const struct attn_axes qx = attn_axes(a->layout), kx = attn_axes(a->kv_layout);
    size_t of_key;
    HC_CHECK(in->head_num > 0 && x->kv_heads >= 0, ACLNN_ERR_PARAM_INVALID,
             "%s: numHeads is %lld and numKeyValueHeads %lld, wanted a positive number and 0 or one",
             in->name, (long long)in->head_num, (long long)x->kv_heads);
    a->heads = (size_t)in->head_num;
    a->kv_heads = x->kv_heads > 0 ? (size_t)x->kv_heads : a->heads;
    HC_CHECK(a->heads % a->kv_heads == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %zu query heads are not a multiple of %zu key heads", in->name, a->heads, a->kv_heads);
    HC_TRY(attn_infer_head_size(in, in->query, "query", a->layout, a->heads, &a->d));
    HC_TRY(attn_infer_head_size(in, in->key, "key", a->kv_layout, a->kv_heads, &of_key));
    HC_TRY(attn_infer_head_size(in, in->value, "value", a->kv_layout, a->kv_heads, &a->dv));
    HC_CHECK(of_key == a->d && attn_extent(in->value, kx.b) == attn_extent(in->key, kx.b) &&
                 attn_extent(in->value, kx.s) == attn_extent(in->key, kx.s),
             ACLNN_ERR_PARAM_INVALID, "%s: query %s, key %s and value %s do not go together", in->name,
             HC_SHOW(in->query), HC_SHOW(in->key), HC_SHOW(in->value));
    a->sq = attn_extent(in->query, qx.s);
    a->skv = attn_extent(in->key, kx.s);
    const bool whole = in->block_table == NULL && in->keys == NULL && qx.b >= 0;
    HC_CHECK(!whole || attn_extent(in->key, kx.b) == a->batches, ACLNN_ERR_PARAM_INVALID,
             "%s: query %s and key %s differ in their batches", in->name, HC_SHOW(in->query),
             HC_SHOW(in->key));
    HC_TRY(attn_infer_each(x, a));
    return check_rope(in, a);
}

/* ---- lengths ---- */

/* What the pages hold at most bounds the lengths: a table too narrow for them is found here, a page that does
 * not exist when the table is read (attention_job.c). */
static aclnnStatus parse_pages(const struct attn_infer *x, struct attn_args *a) {
    const aclTensor *table = x->in.block_table;
    if (table == NULL) return 0;
    HC_CHECK(table->rank == 2 && (size_t)table->shape[0] == a->batches && hc_dtype_is_integral(table->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: blockTable is %s, wanted integers [%zu, pages]", x->in.name,
             HC_SHOW(table), a->batches);
    HC_CHECK(x->page_size > 0 && (size_t)x->page_size == a->skv, ACLNN_ERR_PARAM_INVALID,
             "%s: blockSize is %lld, the pages of key %s have %zu rows", x->in.name, (long long)x->page_size,
             HC_SHOW(x->in.key), a->skv);
    HC_CHECK(x->in.kv_lengths != NULL && x->in.kv_lengths->size > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: with blockTable actualSeqLengthsKv is needed", x->in.name);
    a->page_size = a->skv;
    a->skv = hc_mul_saturated(a->page_size, (size_t)table->shape[1]);
    return 0;
}

/* One for each batch, numbers behind those not counting, or one for all; `most` without a list. A batch may
 * be empty: its rows see nothing. */
static aclnnStatus each_length(const struct attn_infer *x, const aclIntArray *list, const char *what,
                               size_t batches, size_t most, int64_t *to) {
    HC_CHECK(list == NULL || list->size <= 1 || list->size >= batches, ACLNN_ERR_PARAM_INVALID,
             "%s: %s has %zu numbers, wanted 1 or at least %zu", x->in.name, what,
             list != NULL ? list->size : 0, batches);
    for (size_t i = 0; i < batches; i++) {
        to[i] = list == NULL || list->size == 0 ? (int64_t)most : list->data[list->size == 1 ? 0 : i];
        HC_CHECK(to[i] >= 0 && (size_t)to[i] <= most, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s[%zu] is %lld, wanted 0 to %zu", x->in.name, what, i, (long long)to[i], most);
    }
    return 0;
}

/* Running totals, or one sequence of all tokens. */
static aclnnStatus total_lengths(const struct attn_infer *x, const aclIntArray *list, const char *what,
                                 size_t batches, size_t most, int64_t *to) {
    const size_t have = list != NULL && list->size > 0 ? list->size : 1;
    HC_CHECK(have == batches, ACLNN_ERR_PARAM_INVALID, "%s: %s has %zu numbers, wanted %zu", x->in.name, what,
             have, batches);
    for (size_t i = 0; i < batches; i++) {
        to[i] = list != NULL && list->size > 0 ? list->data[i] : (int64_t)most;
        HC_CHECK(to[i] >= (i > 0 ? to[i - 1] : 0) && (size_t)to[i] <= most, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s[%zu] is %lld, wanted running totals up to %zu", x->in.name, what, i,
                 (long long)to[i], most);
    }
    return 0;
}

/* What tiles and work items are counted by. */
static size_t longest(const int64_t *lengths, size_t n, bool totals) {
    int64_t most = 0;
    for (size_t i = 0; i < n; i++)
        most = hc_max_i64(most, lengths[i] - (totals && i > 0 ? lengths[i - 1] : 0));
    return (size_t)most;
}

/* With a tensor for each batch a length of none is that tensor's, and none is longer. */
static aclnnStatus fit_each(const struct attn_infer *x, const struct attn_args *a, int64_t *kv) {
    const bool given = x->in.kv_lengths != NULL && x->in.kv_lengths->size > 0;
    const int s = attn_axes(a->kv_layout).s;
    for (size_t i = 0; i < a->batches; i++) {
        const int64_t rows = x->in.keys->data[i]->shape[s];
        if (!given) kv[i] = rows;
        HC_CHECK(kv[i] <= rows, ACLNN_ERR_PARAM_INVALID, "%s: actualSeqLengthsKv[%zu] is %lld, key %zu is %s",
                 x->in.name, i, (long long)kv[i], i, HC_SHOW(x->in.keys->data[i]));
    }
    return 0;
}

static aclnnStatus parse_lengths(const struct attn_infer *x, struct attn_args *a) {
    const char *const of_q = "actualSeqLengths", *const of_kv = "actualSeqLengthsKv";
    const bool packed = attn_is_packed(a->layout);
    int64_t *q = a->numbers, *kv = q + a->batches;
    HC_TRY(parse_pages(x, a));
    HC_TRY((packed ? total_lengths : each_length)(x, x->in.q_lengths, of_q, a->batches, a->sq, q));
    HC_TRY((packed && a->page_size == 0 ? total_lengths : each_length)(x, x->in.kv_lengths, of_kv, a->batches,
                                                                       a->skv, kv));
    a->ragged = !packed;
    if (packed) a->sq = longest(q, a->batches, true);
    if (packed || a->page_size > 0) a->skv = longest(kv, a->batches, packed && a->page_size == 0);
    return x->in.keys != NULL ? fit_each(x, a, kv) : 0;
}

/* ---- options ---- */

/* Masks of the scores' size or larger: [S,S], [B,S,S] or [B,1,S,S]. The compressed modes say it all. */
static aclnnStatus check_mask(const struct attn_inputs *in, const struct attn_args *a) {
    const aclTensor *m = in->atten_mask;
    if (m == NULL) return 0;
    HC_CHECK(m->dtype == ACL_BOOL || m->dtype == ACL_UINT8 || m->dtype == ACL_INT8, ACLNN_ERR_PARAM_INVALID,
             "%s: attenMask is %s, wanted bool or uint8", in->name, HC_SHOW(m));
    if (a->sparse_mode > SPARSE_ALL) return 0;
    const int r = m->rank;
    const bool batches = r < 3 || m->shape[0] == 1 || m->shape[0] == (int64_t)a->batches;
    const bool heads = r < 4 || m->shape[1] == 1 || m->shape[1] == (int64_t)a->heads;
    HC_CHECK(r >= 2 && r <= 4 && batches && heads && m->shape[r - 2] >= (int64_t)a->sq &&
                 m->shape[r - 1] >= (int64_t)a->skv,
             ACLNN_ERR_PARAM_INVALID,
             "%s: attenMask is %s, wanted at least [%zu,%zu] of 1 or %zu batches and 1 or %zu heads",
             in->name, HC_SHOW(m), a->sq, a->skv, a->batches, a->heads);
    return 0;
}

/* Whole, or a slope for each head that distances are multiplied with. */
static aclnnStatus check_bias(const struct attn_inputs *in, const struct attn_args *a) {
    const aclTensor *p = in->pse;
    if (p == NULL) return 0;
    if (a->pse_type >= 2) {
        HC_CHECK(p->rank == 1 && p->shape[0] == (int64_t)a->heads && hc_dtype_is_float(p->dtype),
                 ACLNN_ERR_PARAM_INVALID, "%s: pseType %d wants slopes [%zu], pseShift is %s", in->name,
                 a->pse_type, a->heads, HC_SHOW(p));
        return 0;
    }
    HC_CHECK(
        p->rank == 4 && hc_fits_f32(p->dtype) && !attn_is_packed(a->layout) &&
            (p->shape[0] == 1 || p->shape[0] == (int64_t)a->batches) && p->shape[1] == (int64_t)a->heads &&
            p->shape[2] >= (int64_t)a->sq && p->shape[3] >= (int64_t)a->skv,
        ACLNN_ERR_PARAM_INVALID, "%s: pseShift is %s, wanted floats [1 or %zu, %zu, %zu, %zu], not packed",
        in->name, HC_SHOW(p), a->batches, a->heads, a->sq, a->skv);
    return 0;
}

/* The output has the query's positions in its own layout; lse [T,N,1] or [B,N,S,1]. */
static aclnnStatus check_outputs(const struct attn_infer *x, const struct attn_args *a) {
    const struct attn_inputs *in = &x->in;
    const struct attn_axes q = attn_axes(a->layout), o = attn_axes(a->out_layout);
    const aclTensor *out = in->attention_out, *lse = in->lse;
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: attentionOut is null", in->name);
    const int rank = 2 + (o.b >= 0) + (o.n >= 0);
    const size_t last = o.n < 0 ? a->heads * a->dv : a->dv, rows = attn_extent(in->query, q.s);
    HC_CHECK(out->rank == rank && (in->out_scale != NULL || hc_fits_f32(out->dtype)) &&
                 attn_extent(out, o.s) == rows && attn_extent(out, o.d) == last &&
                 (o.b < 0 || attn_extent(out, o.b) == a->batches) &&
                 (o.n < 0 || attn_extent(out, o.n) == a->heads),
             ACLNN_ERR_PARAM_INVALID,
             "%s: attentionOut is %s, wanted floats (int8 with quantScale2) in layout %s of %zu rows and %zu "
             "heads of %zu",
             in->name, HC_SHOW(out), ATTN_LAYOUT_NAMES[a->out_layout], rows, a->heads, a->dv);
    if (!x->wants_lse) return 0;
    const size_t all = rows * a->heads * (q.b < 0 ? 1 : a->batches);
    HC_CHECK(lse != NULL && lse->dtype == ACL_FLOAT && hc_numel(lse) == all && hc_is_contiguous(lse),
             ACLNN_ERR_PARAM_INVALID, "%s: softmaxLse is %s, wanted %zu contiguous float32", in->name,
             lse != NULL ? HC_SHOW(lse) : "null", all);
    return 0;
}

/* Modes 5 to 8 are training's: prefixes and bands of packed sequences. */
static aclnnStatus parse_options(const struct attn_infer *x, struct attn_args *a) {
    const struct attn_inputs *in = &x->in;
    a->name = in->name;
    a->scale = in->scale;
    a->keep_prob = 1;
    a->pre = in->pre_tokens, a->next = in->next_tokens;
    HC_CHECK(in->sparse_mode >= 0 && in->sparse_mode <= SPARSE_BAND, ACLNN_ERR_PARAM_INVALID,
             "%s: sparseMode is %lld, wanted 0 to 4", in->name, (long long)in->sparse_mode);
    HC_CHECK(in->pse_type == 0 || in->pse_type == 2 || in->pse_type == 3, ACLNN_ERR_PARAM_INVALID,
             "%s: pseType is %lld, wanted 0, 2 or 3", in->name, (long long)in->pse_type);
    a->sparse_mode = (int)in->sparse_mode, a->pse_type = (int)in->pse_type;
    if (a->sparse_mode == SPARSE_DEFAULT && (in->q_padding || in->kv_padding)) a->sparse_mode = SPARSE_ALL;
    a->masked = in->atten_mask != NULL;
    a->q_start = in->q_start && in->q_start->size > 0 ? in->q_start->data[0] : 0;
    a->kv_start = in->kv_start && in->kv_start->size > 0 ? in->kv_start->data[0] : 0;
    HC_CHECK(in->sink == NULL || (hc_numel(in->sink) == a->heads && hc_fits_f32(in->sink->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: learnableSink is %s, wanted floats [%zu]", in->name,
             HC_SHOW(in->sink), a->heads);
    HC_TRY(check_mask(in, a));
    HC_TRY(check_bias(in, a));
    return check_outputs(x, a);
}

static aclnnStatus parse(struct attn_infer *x, struct attn_args *a) {
    HC_TRY(parse_sizes(x, a));
    HC_TRY(parse_lengths(x, a));
    HC_TRY(attn_infer_padding(x, a));
    HC_TRY(attn_infer_scales(x, a));
    HC_TRY(attn_infer_prefix(x, a));
    HC_TRY(parse_options(x, a));
    return attn_infer_quant(x, a);
}

/* Batches are counted first, as the numbers behind the arguments depend on them. */
static size_t count_batches(const struct attn_inputs *in, enum attn_layout layout) {
    if (!attn_is_packed(layout)) return attn_extent(in->query, attn_axes(layout).b);
    return in->q_lengths != NULL && in->q_lengths->size > 0 ? in->q_lengths->size : 1;
}

aclnnStatus attn_infer_plan(struct attn_infer *x, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct attn_inputs *in = &x->in;
    struct attn_args head = {0};
    if (in->key_scale != NULL && in->value_scale != NULL) x->scale = x->offset = NULL; /* these count */
    HC_TRY(attn_infer_lists(x));
    HC_TRY(parse_layouts(x, &head));
    head.batches = count_batches(in, head.layout);
    const size_t bytes = sizeof head + 2 * head.batches * sizeof(int64_t);
    struct attn_args *a = hc_block_take_zeroed(1, bytes);
    HC_CHECK(a != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu lengths", in->name, head.batches);
    *a = head;
    if (!x->wants_lse) in->lse = NULL;
    aclnnStatus status = parse(x, a);
    if (status == 0) status = attn_make_plan(in, a, bytes, workspaceSize, executor);
    hc_block_give(a);
    return status;
}
