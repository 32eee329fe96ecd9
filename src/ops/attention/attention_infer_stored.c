// SPDX-License-Identifier: Apache-2.0
/* Phase one of what keys and values of inference may be besides one tensor of floats or its pages: a tensor
 * for each batch, a prefix that all batches share, quantised, or filled up on the left. Their run is
 * attention_stored.c. */
#include "attention_infer.h"

#include "convert.h"
#include "int4.h"

/* ---- a tensor for each batch ---- */

static aclnnStatus first_of(const char *name, const aclTensorList *list, const char *what,
                            const aclTensor **first) {
    HC_CHECK(list != NULL && list->size > 0, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, what);
    for (size_t i = 0; i < list->size; i++)
        HC_CHECK(list->data[i] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s %zu is null", name, what, i);
    *first = list->data[0];
    return 0;
}

aclnnStatus attn_infer_lists(struct attn_infer *x) {
    struct attn_inputs *in = &x->in;
    if (x->keys == NULL && x->values == NULL) return 0;
    HC_TRY(first_of(in->name, x->keys, "key", &in->key));
    HC_TRY(first_of(in->name, x->values, "value", &in->value));
    HC_CHECK(x->keys->size == x->values->size, ACLNN_ERR_PARAM_INVALID,
             "%s: key is a list of %zu tensors and value one of %zu", in->name, x->keys->size,
             x->values->size);
    if (x->keys->size > 1) in->keys = x->keys, in->values = x->values;
    return 0;
}

/* As the first but for its positions. */
static aclnnStatus check_alike(const struct attn_inputs *in, const char *what, size_t i, const aclTensor *t,
                               const aclTensor *first, enum attn_layout layout, int64_t rows) {
    const struct attn_axes x = attn_axes(layout);
    bool alike = t->rank == first->rank && t->dtype == first->dtype && t->shape[x.b] == 1;
    for (int k = 0; alike && k < t->rank; k++) alike = k == x.s || t->shape[k] == first->shape[k];
    alike = alike && t->shape[x.s] == rows && (t->dtype != ACL_INT32 || t->stride[t->rank - 1] == 1);
    HC_CHECK(alike, ACLNN_ERR_PARAM_INVALID,
             "%s: %s %zu is %s, wanted one batch of %lld positions, else like the first, %s", in->name, what,
             i, HC_SHOW(t), (long long)rows, HC_SHOW(first));
    return 0;
}

aclnnStatus attn_infer_each(const struct attn_infer *x, struct attn_args *a) {
    const struct attn_inputs *in = &x->in;
    if (in->keys == NULL) return 0;
    HC_CHECK(in->keys->size == a->batches && attn_axes(a->layout).b >= 0 && in->block_table == NULL &&
                 in->key_rope == NULL,
             ACLNN_ERR_PARAM_INVALID,
             "%s: key is a list of %zu tensors; it is one for each of %zu batches where queries have "
             "batches, keys not in pages and without rotated parts, else one tensor",
             in->name, in->keys->size, a->batches);
    for (size_t i = 0; i < a->batches; i++) {
        const int64_t rows = in->keys->data[i]->shape[attn_axes(a->kv_layout).s];
        HC_TRY(check_alike(in, "key", i, in->keys->data[i], in->key, a->kv_layout, rows));
        HC_TRY(check_alike(in, "value", i, in->values->data[i], in->value, a->kv_layout, rows));
        a->skv = hc_max_size(a->skv, (size_t)rows);
    }
    return 0;
}

/* ---- a prefix ---- */

static aclnnStatus check_prefix(const struct attn_infer *x, const struct attn_args *a, const aclTensor *t,
                                const aclTensor *own, const char *what, size_t d) {
    const struct attn_axes axes = attn_axes(a->kv_layout);
    size_t of_head = 0;
    HC_CHECK(t->rank == own->rank && t->dtype == own->dtype && t->shape[axes.b] == 1 &&
                 (t->dtype != ACL_INT32 || t->stride[t->rank - 1] == 1),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted one batch like %s", x->in.name, what, HC_SHOW(t),
             HC_SHOW(own));
    HC_TRY(attn_infer_head_size(&x->in, t, what, a->kv_layout, a->kv_heads, &of_head));
    HC_CHECK(of_head == d, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted heads of %zu as %s", x->in.name,
             what, HC_SHOW(t), d, HC_SHOW(own));
    return 0;
}

/* Numbers of tokens are those of a batch's own keys: there are none for a prefix's. */
static aclnnStatus check_prefix_goes(const struct attn_infer *x, const struct attn_args *a) {
    const struct attn_inputs *in = &x->in;
    const bool tokens = a->key_scales.s != 0 || a->value_scales.s != 0;
    HC_CHECK(in->key_prefix != NULL && in->value_prefix != NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: of keySharedPrefix and valueSharedPrefix one is null", in->name);
    HC_CHECK(attn_axes(a->layout).b >= 0 && a->page_size == 0 && in->key_rope == NULL && !tokens &&
                 in->q_padding == NULL && in->kv_padding == NULL,
             ACLNN_ERR_PARAM_INVALID,
             "%s: keySharedPrefix is not supported with queries without batches, pages, rotated parts, "
             "padding on the "
             "left or scales of tokens",
             in->name);
    return 0;
}

aclnnStatus attn_infer_prefix(const struct attn_infer *x, struct attn_args *a) {
    const struct attn_inputs *in = &x->in;
    const aclTensor *k = in->key_prefix, *v = in->value_prefix;
    if (k == NULL && v == NULL) return 0;
    HC_TRY(check_prefix_goes(x, a));
    HC_TRY(check_prefix(x, a, k, in->key, "keySharedPrefix", a->d));
    HC_TRY(check_prefix(x, a, v, in->value, "valueSharedPrefix", a->dv));
    const int s = attn_axes(a->kv_layout).s;
    HC_CHECK(k->shape[s] == v->shape[s], ACLNN_ERR_PARAM_INVALID,
             "%s: keySharedPrefix %s and valueSharedPrefix %s differ in their positions", in->name,
             HC_SHOW(k), HC_SHOW(v));
    const bool given = x->prefix_length != NULL && x->prefix_length->size > 0;
    const int64_t length = given ? x->prefix_length->data[0] : k->shape[s];
    HC_CHECK(!given || (x->prefix_length->size == 1 && length >= 0 && length <= k->shape[s]),
             ACLNN_ERR_PARAM_INVALID,
             "%s: actualSharedPrefixLen has %zu numbers, the first %lld, wanted one of 0 to %lld", in->name,
             x->prefix_length->size, (long long)length, (long long)k->shape[s]);
    a->prefix = (size_t)length;
    a->skv += a->prefix;
    return 0;
}

/* ---- filled up on the left ---- */

static aclnnStatus check_padding(const struct attn_inputs *in, const aclTensor *t, const char *what) {
    HC_CHECK(t == NULL || (t->numel == 1 && hc_dtype_is_integral(t->dtype)), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted one integer", in->name, what, HC_SHOW(t));
    return 0;
}

/* Without the lengths the interface takes them for filled up on the right, and a single query is not. */
aclnnStatus attn_infer_padding(struct attn_infer *x, const struct attn_args *a) {
    struct attn_inputs *in = &x->in;
    HC_TRY(check_padding(in, in->q_padding, "queryPaddingSize"));
    HC_TRY(check_padding(in, in->kv_padding, "kvPaddingSize"));
    if (in->q_lengths == NULL || in->q_lengths->size == 0 || a->sq == 1) in->q_padding = NULL;
    if (in->kv_lengths == NULL || in->kv_lengths->size == 0) in->kv_padding = NULL;
    if (in->q_padding == NULL && in->kv_padding == NULL) return 0;
    HC_CHECK(!attn_is_packed(a->layout) && a->page_size == 0 && in->keys == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is not supported with packed queries, pages or a tensor for each batch", in->name,
             in->q_padding != NULL ? "queryPaddingSize" : "kvPaddingSize");
    return 0;
}

/* ---- quantised ---- */

bool attn_is_quantised(aclDataType dtype) {
    return dtype == ACL_INT8 || dtype == ACL_INT32 || (hc_dtype_is_narrow(dtype) && dtype != ACL_FLOAT8_E8M0);
}

size_t attn_infer_elements(const aclTensor *t, int axis) {
    return attn_extent(t, axis) * (t->dtype == ACL_INT32 ? HC_INT4_IN_INT32 : 1);
}

/* The last `count` dimensions of t; ones before them do not count, nor does `parts` before those. */
static bool has_shape(const aclTensor *t, size_t parts, const size_t *shape, int count) {
    int32_t first = 0, i = t->rank - count;
    if (i < 0) return false;
    if (parts > 1 && (i == 0 || t->shape[first++] != (int64_t)parts)) return false;
    for (; first < i; first++)
        if (t->shape[first] != 1) return false;
    for (int k = 0; k < count; k++)
        if ((size_t)t->shape[i + k] != shape[k]) return false;
    return true;
}

/* Which numbers there are of a part of t, which holds `parts` of them. Rows: those of scales may be more than
 * those of keys. */
static bool set_steps(const struct attn_infer *x, const struct attn_args *a, const aclTensor *t, size_t parts,
                      int64_t mode, size_t d, struct attn_scales *s) {
    const size_t n = a->kv_heads, rows = t->rank > 0 ? (size_t)t->shape[t->rank - 1] : 1, b = a->batches,
                 pages = (size_t)x->in.key->shape[0], page = a->page_size;
    const bool packed = attn_is_packed(a->layout) && page == 0;
    switch (mode) {
    case QUANT_CHANNEL:
        if (hc_numel(t) == parts) return true;
        s->n = d, s->d = 1;
        return has_shape(t, parts, (size_t[]){n, d}, 2) || has_shape(t, parts, (size_t[]){n, 1, d}, 3) ||
               has_shape(t, parts, (size_t[]){n * d}, 1);
    case QUANT_TOKEN:
        s->b = rows, s->s = 1;
        return !packed && rows >= a->skv && has_shape(t, parts, (size_t[]){b, rows}, 2);
    case QUANT_HEAD: s->n = 1; return has_shape(t, parts, (size_t[]){n}, 1);
    case QUANT_TOKEN_HEAD:
        s->b = n * rows, s->n = rows, s->s = 1;
        return !packed && rows >= a->skv && has_shape(t, parts, (size_t[]){b, n, rows}, 3);
    case QUANT_PAGED_TOKEN:
        s->b = page, s->s = 1, s->by_page = true;
        return page > 0 && has_shape(t, parts, (size_t[]){pages, page}, 2);
    default:
        s->b = n * page, s->n = page, s->s = 1, s->by_page = true;
        return page > 0 && has_shape(t, parts, (size_t[]){pages, n, page}, 3);
    }
}

static bool same_steps(const struct attn_scales *x, const struct attn_scales *y) {
    return x->b == y->b && x->n == y->n && x->s == y->s && x->d == y->d;
}

static aclnnStatus check_scales(const struct attn_infer *x, const struct attn_args *a, const aclTensor *scale,
                                const aclTensor *offset, const char *what, size_t part, int64_t mode,
                                size_t d, struct attn_scales *s) {
    static const char *const WANTED[] = {"[1] or [heads,size] of keys' heads",
                                         "[batches,positions], not packed",
                                         "[heads] of keys",
                                         "[batches,heads,positions], not packed",
                                         "[pages,positions of a page], with blockTable",
                                         "[pages,heads,positions of a page], with blockTable"};
    const size_t parts = x->scale != NULL ? 2 : 1;
    HC_CHECK(mode >= 0 && mode < QUANT_MODES, ACLNN_ERR_PARAM_INVALID,
             "%s: the mode of %s is %lld, wanted 0 to %d", x->in.name, what, (long long)mode,
             QUANT_MODES - 1);
    const aclTensor *const both[] = {scale, offset};
    for (int i = 0; i < 2; i++) {
        const aclTensor *t = both[i];
        struct attn_scales steps = {.given = true};
        if (t == NULL) continue;
        HC_CHECK(hc_fits_f32(t->dtype) && set_steps(x, a, t, parts, mode, d, &steps), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s%s is %s, mode %lld wants floats %s%s", x->in.name, what, i == 0 ? "Scale" : "Offset",
                 HC_SHOW(t), (long long)mode, WANTED[mode],
                 parts > 1 ? ", those of keys and then those of values" : "");
        steps.first = part * (hc_numel(t) / parts);
        HC_CHECK(i == 0 || same_steps(&steps, s), ACLNN_ERR_PARAM_INVALID,
                 "%s: %sOffset is %s, wanted the shape of its scale, %s", x->in.name, what, HC_SHOW(t),
                 HC_SHOW(scale));
        *s = steps;
    }
    return 0;
}

/* Both at once, or each for itself; a type that is quantised has scales. */
static aclnnStatus check_given(const struct attn_infer *x) {
    const struct attn_inputs *in = &x->in;
    HC_CHECK((in->key_scale == NULL) == (in->value_scale == NULL), ACLNN_ERR_PARAM_INVALID,
             "%s: of keyAntiquantScale and valueAntiquantScale one is null", in->name);
    HC_CHECK((in->key_offset == NULL) == (in->value_offset == NULL), ACLNN_ERR_PARAM_INVALID,
             "%s: of keyAntiquantOffset and valueAntiquantOffset one is null", in->name);
    HC_CHECK(in->key_offset == NULL || in->key_scale != NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: keyAntiquantOffset is given, keyAntiquantScale is null", in->name);
    HC_CHECK(x->offset == NULL || x->scale != NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantOffset is given, antiquantScale is null", in->name);
    return 0;
}

aclnnStatus attn_infer_scales(struct attn_infer *x, struct attn_args *a) {
    struct attn_inputs *in = &x->in;
    const bool both = x->scale != NULL;
    HC_TRY(check_given(x));
    if (both) {
        HC_CHECK(a->d == a->dv, ACLNN_ERR_PARAM_INVALID,
                 "%s: antiquantScale is of keys and values of one size, they have %zu and %zu elements of a "
                 "head; pass keyAntiquantScale and valueAntiquantScale",
                 in->name, a->d, a->dv);
        in->key_scale = in->value_scale = x->scale;
        in->key_offset = in->value_offset = x->offset;
    }
    if (in->key_scale == NULL) return 0;
    HC_TRY(check_scales(x, a, in->key_scale, in->key_offset, both ? "antiquant" : "keyAntiquant", 0,
                        both ? x->mode : x->key_mode, a->d - a->d_rope, &a->key_scales));
    return check_scales(x, a, in->value_scale, in->value_offset, both ? "antiquant" : "valueAntiquant",
                        both ? 1 : 0, both ? x->mode : x->value_mode, a->dv, &a->value_scales);
}
