// SPDX-License-Identifier: Apache-2.0
/* See grouped_narrow.h. Groups one after the other, each product on all threads: its operands become floats
 * first, in memory that the next group takes again. */
#include "grouped_narrow.h"

#include "dequant.h"

enum { MX_PAIR = 64 }; /* steps that a pair of MX scales covers */

/* As phase one has the list, or phase two. */
static const aclTensor *list_at(const struct hc_grouped_list *list, size_t i) {
    return list->at != NULL ? list->at[i] : list->flat + i;
}

/* Sizes of a group's product; what is divided has no size of its own. */
struct sizes {
    int64_t m, k, n;
};

/* Of tensors whose ranks are checked. */
static struct sizes sizes_of(const struct hc_grouped *g) {
    const aclTensor *x = list_at(&g->x, 0), *weight = list_at(&g->weight, 0);
    return (struct sizes){x->shape[0], x->shape[1], weight->shape[weight->rank - 1]};
}

/* Views of fp4 are of the dimensions before the last two, or of whole rows; their offsets count bytes,
 * strides elements. */
static aclTensor halved(const aclTensor *t, aclTensor view) {
    if (hc_is_fp4(t->dtype)) view.offset = t->offset + (view.offset - t->offset) / 2;
    return view;
}

/* Of group i as [k, n]. */
static aclTensor weight_of(const struct hc_grouped *g, size_t i) {
    if (g->weight.n > 1) return *list_at(&g->weight, i);
    const aclTensor *t = list_at(&g->weight, 0);
    return t->rank == 3 ? halved(t, hc_grouped_member(t, i)) : *t;
}

/* ---- phase one ---- */

static aclnnStatus check_operand(const struct hc_grouped *g, const char *arg, const aclTensor *t,
                                 int32_t rank) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", g->name, arg);
    HC_CHECK(hc_is_narrow(t->dtype) && t->rank == rank, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted float8_e4m3fn, float8_e5m2, hifloat8 or fp4 of %d dimensions", g->name,
             arg, HC_SHOW(t), (int)rank);
    if (!hc_is_fp4(t->dtype)) return 0;
    HC_CHECK(!g->by_steps, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted groups of rows with fp4, whose pairs lie along k", g->name, arg,
             HC_SHOW(t));
    return hc_fp4_check(g->name, arg, t);
}

/* x is not narrower than a weight, and weights of fp4 are all of one type. */
static aclnnStatus check_kinds(const struct hc_grouped *g, size_t i) {
    const aclTensor *x = list_at(&g->x, 0), *first = list_at(&g->weight, 0), *weight = list_at(&g->weight, i);
    const bool four = hc_is_fp4(weight->dtype);
    HC_CHECK((four || !hc_is_fp4(x->dtype)) &&
                 (weight->dtype == first->dtype || !(four || hc_is_fp4(first->dtype))),
             ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, weight[%zu] %s: wanted fp4 of both, of one type in all weights, or fp8 of x",
             g->name, HC_SHOW(x), i, HC_SHOW(weight));
    return 0;
}

/* Shapes of x, the weights and y. */
/* One tensor of x and one of y: what a list of them would save is the copy that MoE layers never make. */
static aclnnStatus check_shapes(const struct hc_grouped *g) {
    const aclTensor *x = list_at(&g->x, 0), *y = list_at(&g->y, 0);
    HC_CHECK(g->listed && g->x.n == 1 && g->y.n == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: x has %zu tensors, %s %zu, %s: wanted one of each and a group list for fp8", g->name,
             g->x.n, g->y_name, g->y.n, g->listed ? "there is a group list" : "there is no group list");
    HC_TRY(check_operand(g, "x", x, 2));
    HC_CHECK(g->weight.n == 1 || (!g->by_steps && g->weight.n == g->groups), ACLNN_ERR_PARAM_INVALID,
             "%s: weight has %zu tensors for %zu groups", g->name, g->weight.n, g->groups);
    for (size_t i = 0; i < g->weight.n; i++)
        HC_TRY(check_operand(g, "weight", list_at(&g->weight, i), g->by_steps || g->weight.n > 1 ? 2 : 3));
    for (size_t i = 0; i < g->weight.n; i++) HC_TRY(check_kinds(g, i));
    const struct sizes s = sizes_of(g);
    for (size_t i = 0; i < g->groups; i++) {
        const aclTensor w = weight_of(g, i);
        const bool stacked =
            g->by_steps || g->weight.n > 1 || list_at(&g->weight, 0)->shape[0] == (int64_t)g->groups;
        HC_CHECK(stacked && w.shape[0] == s.k && w.shape[1] == s.n, ACLNN_ERR_PARAM_INVALID,
                 "%s: weight of group %zu is %s for x %s and %zu groups", g->name, i,
                 HC_SHOW(list_at(&g->weight, 0)), HC_SHOW(x), g->groups);
    }
    const int64_t stacks[] = {(int64_t)g->groups, s.m, s.n};
    const aclTensor wanted =
        hc_tensor_view(y->dtype, g->by_steps ? stacks : stacks + 1, g->by_steps ? 3 : 2, NULL);
    HC_CHECK(hc_fits_f32(y->dtype) && hc_same_shape(y, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted floating point of the shape of %s", g->name, g->y_name, HC_SHOW(y),
             HC_SHOW(&wanted));
    return 0;
}

/* Scales of columns with offsets in one number (quant_param.h), of which a floating point result takes the
 * scale. */
static bool is_packed(const aclTensor *t) { return t->dtype == ACL_INT64 || t->dtype == ACL_UINT64; }

/* Numbers that are none of blocks: one, one of each group, or `each` (of each group). */
static bool is_vector(const struct hc_grouped *g, const aclTensor *t, int64_t each) {
    return (hc_fits_f32(t->dtype) || is_packed(t)) &&
           (t->numel == 1 || t->numel == (int64_t)g->groups || t->numel == each);
}

/* e8m0 of exactly this shape. */
static aclnnStatus check_mx(const struct hc_grouped *g, const char *arg, const aclTensor *t,
                            const int64_t *shape, int32_t rank) {
    const aclTensor wanted = hc_tensor_view(ACL_FLOAT8_E8M0, shape, rank, NULL);
    HC_CHECK(hc_same_shape(t, &wanted), ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted %s", g->name, arg,
             HC_SHOW(t), HC_SHOW(&wanted));
    return 0;
}

/* The weight's scales, which of a weight narrower than x may be those of such weights; there bytes are e8m0,
 * as clients without that type give them. */
static const struct hc_grouped_list *weight_scales(const struct hc_grouped *g) {
    return g->scale.n > 0 ? &g->scale : &g->antiquant;
}
static aclTensor weight_scale(const struct hc_grouped *g) {
    aclTensor scale = *list_at(weight_scales(g), 0);
    if (g->scale.n == 0 && scale.dtype == ACL_UINT8) scale.dtype = ACL_FLOAT8_E8M0;
    return scale;
}

/* What belongs to a tensor's scales of MX is its shape with pairs for steps. */
static aclnnStatus check_scales(const struct hc_grouped *g) {
    const struct hc_grouped_list *scales = weight_scales(g);
    const char *arg = scales == &g->antiquant && scales->n > 0 ? "antiquantScaleOptional" : "scaleOptional";
    const struct sizes s = sizes_of(g);
    const int64_t groups = (int64_t)g->groups, pairs = (int64_t)hc_ceil_div((size_t)s.k, MX_PAIR),
                  all = s.k / MX_PAIR + groups;
    HC_CHECK(scales->n == 1, ACLNN_ERR_PARAM_INVALID, "%s: %s has %zu tensors, wanted one for all groups",
             g->name, arg, scales->n);
    HC_CHECK(g->rows.n <= 1, ACLNN_ERR_PARAM_INVALID, "%s: perTokenScaleOptional has %zu tensors, wanted one",
             g->name, g->rows.n);
    HC_CHECK(list_at(scales, 0) != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s[0] is null", g->name, arg);
    const aclTensor seen = weight_scale(g), *scale = &seen,
                    *rows = g->rows.n > 0 ? list_at(&g->rows, 0) : NULL;
    const bool mx = scale->dtype == ACL_FLOAT8_E8M0;
    HC_CHECK(mx == (rows != NULL && rows->dtype == ACL_FLOAT8_E8M0), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, perTokenScaleOptional %s: wanted MX scales of both or of neither", g->name, arg,
             HC_SHOW(scale), rows != NULL ? HC_SHOW(rows) : "null");
    HC_CHECK(mx || !hc_is_fp4(list_at(&g->weight, 0)->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted MX scales with x %s and weight %s", g->name, arg, HC_SHOW(scale),
             HC_SHOW(list_at(&g->x, 0)), HC_SHOW(list_at(&g->weight, 0)));
    if (mx && g->by_steps) {
        HC_TRY(check_mx(g, arg, scale, (const int64_t[]){all, s.n, 2}, 3));
        return check_mx(g, "perTokenScaleOptional", rows, (const int64_t[]){s.m, all, 2}, 3);
    }
    if (mx) {
        HC_TRY(check_mx(g, arg, scale, (const int64_t[]){groups, pairs, s.n, 2}, 4));
        return check_mx(g, "perTokenScaleOptional", rows, (const int64_t[]){s.m, pairs, 2}, 3);
    }
    /* By steps, groups begin anywhere within a block of 128: only MX has scales of each group's own. */
    const bool blocks = !g->by_steps && scale->dtype == ACL_FLOAT && scale->rank == 3 &&
                        scale->shape[0] == groups && rows != NULL && rows->rank == 2;
    HC_CHECK(blocks || is_vector(g, scale, groups * s.n), ACLNN_ERR_PARAM_INVALID,
             "%s: scaleOptional is %s, wanted 1, %lld or %lld numbers, those of blocks, or MX scales",
             g->name, HC_SHOW(scale), (long long)groups, (long long)(groups * s.n));
    const int64_t each = g->by_steps ? groups * s.m : s.m;
    HC_CHECK(rows == NULL || (blocks ? rows->shape[0] == s.m : !is_packed(rows) && is_vector(g, rows, each)),
             ACLNN_ERR_PARAM_INVALID,
             "%s: perTokenScaleOptional is %s, wanted 1, %lld or %lld numbers, those of blocks, or MX scales",
             g->name, HC_SHOW(rows), (long long)groups, (long long)each);
    return 0;
}

/* All that does not depend on the values of the group list. */
aclnnStatus hc_grouped_narrow_check(const struct hc_grouped *g) {
    HC_CHECK(g->offset.n == 0 && g->shift.n == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is given, wanted none with fp8", g->name,
             g->offset.n > 0 ? "offsetOptional" : "antiquantOffsetOptional");
    HC_TRY(check_shapes(g));
    const aclTensor *x = list_at(&g->x, 0), *weight = list_at(&g->weight, 0);
    HC_CHECK(
        g->antiquant.n == 0 || (g->scale.n == 0 && hc_is_fp4(weight->dtype) && !hc_is_fp4(x->dtype)),
        ACLNN_ERR_PARAM_INVALID,
        "%s: antiquantScaleOptional is given, wanted none with %s: it is of weights of fp4 with x of fp8",
        g->name, g->scale.n > 0 ? "scaleOptional" : HC_SHOW(weight));
    HC_TRY(check_scales(g));
    if (g->bias.n == 0) return 0;
    const aclTensor *bias = list_at(&g->bias, 0);
    HC_CHECK(!g->by_steps && g->bias.n == 1 && bias != NULL && hc_fits_f32(bias->dtype) && bias->rank == 2 &&
                 bias->shape[0] == (int64_t)g->groups && bias->shape[1] == sizes_of(g).n,
             ACLNN_ERR_PARAM_INVALID,
             "%s: biasOptional is %s, wanted one tensor [%zu,%lld] of floating point", g->name,
             bias != NULL ? HC_SHOW(bias) : "null", g->groups, (long long)sizes_of(g).n);
    return 0;
}

aclnnStatus hc_grouped_fp4_bytes(const char *name, const aclTensorList *list, struct hc_fp4_list *bytes) {
    bytes->owned = NULL;
    if (!hc_is_fp4(list->data[0]->dtype)) return 0;
    const size_t n = list->size;
    aclTensor *views = hc_block_take_array(n, sizeof *views + sizeof(aclTensor *));
    HC_CHECK(views != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu tensors", name, n);
    bytes->owned = views;
    bytes->list = (aclTensorList){.size = n, .data = (aclTensor **)(void *)(views + n)};
    for (size_t i = 0; i < n; i++) {
        views[i] = hc_fp4_bytes(list->data[i]);
        bytes->list.data[i] = &views[i];
    }
    return 0;
}

/* ---- phase two ---- */

aclnnStatus hc_grouped_fp4_open(const char *name, aclDataType dtype, struct hc_grouped_list *list,
                                void **owned) {
    if (!hc_is_fp4(dtype)) return 0;
    aclTensor *four = hc_block_take_array(list->n, sizeof *four);
    HC_CHECK(four != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu tensors", name, list->n);
    for (size_t i = 0; i < list->n; i++) four[i] = hc_fp4_of_bytes(list->flat + i, dtype);
    *owned = four;
    list->flat = four;
    return 0;
}

/* Vectors as contiguous float32. */
struct vectors {
    aclTensor scale, rows, bias;
    bool blocks;
};

/* Numbers of group i: `each` of them, or one. */
static const float *numbers(const struct hc_grouped *g, const aclTensor *t, size_t i, size_t each,
                            bool *one) {
    const float *all = (const float *)hc_data(t);
    *one = t->numel == 1 || (t->numel == (int64_t)g->groups && hc_numel(t) != each * g->groups);
    if (t->numel == 1) return all;
    return all + i * (*one ? 1 : each);
}

/* Scales of blocks of group i, whose rows or steps are [first, first + length). */
static aclnnStatus block_scales(const struct hc_grouped *g, size_t i, int64_t first, int64_t length,
                                struct hc_narrow_product *p, aclTensor views[2]) {
    const aclTensor seen = weight_scale(g), *scale = &seen, *rows = list_at(&g->rows, 0);
    if (g->by_steps) {
        const int64_t at = first / MX_PAIR + (int64_t)i,
                      pairs = (int64_t)hc_ceil_div((size_t)length, MX_PAIR);
        views[0] = hc_grouped_part(rows, 1, at, pairs);
        views[1] = hc_grouped_part(scale, 0, at, pairs);
    } else {
        views[0] = hc_grouped_part(rows, 0, first, length);
        views[1] = hc_grouped_member(scale, i);
    }
    views[1] = hc_transpose_view(&views[1], 0, 1);
    HC_TRY(hc_narrow_check_scales(g->name, "perTokenScaleOptional", &views[0], p->a.shape[0], p->a.shape[1],
                                  &p->a_scales));
    return hc_narrow_check_scales(g->name, "scaleOptional", &views[1], p->b.shape[0], p->b.shape[1],
                                  &p->b_scales);
}

/* Of as many rows as there are groups, numbers are those of rows. */
static void vector_scales(const struct hc_grouped *g, const struct vectors *v, size_t i, int64_t first,
                          struct hc_narrow_product *p) {
    const size_t m = (size_t)p->a.shape[0], n = (size_t)p->b.shape[0];
    bool one;
    p->column_scale = numbers(g, &v->scale, i, n, &one);
    p->column_each = !one;
    if (v->rows.base == NULL) return;
    if (!g->by_steps && v->rows.numel == list_at(&g->x, 0)->shape[0] && v->rows.numel > 1) {
        p->row_scale = (const float *)hc_data(&v->rows) + first;
        p->row_scales = m;
        return;
    }
    p->row_scale = numbers(g, &v->rows, i, m, &one);
    p->row_scales = one ? 1 : m;
}

/* A group without steps has a gradient of zeros. */
static aclnnStatus run_group(const struct hc_grouped *g, const struct vectors *v, size_t i, int64_t first,
                             int64_t length) {
    const aclTensor *x = list_at(&g->x, 0), *y = list_at(&g->y, 0);
    struct hc_narrow_product p = {.name = g->name, .accumulate = g->accumulates};
    aclTensor weight = weight_of(g, i), views[2];
    if (g->by_steps) weight = hc_grouped_part(&weight, 0, first, length);
    p.a = halved(x, hc_grouped_part(x, g->by_steps, first, length));
    p.b = hc_transpose_view(&weight, 0, 1);
    p.out = g->by_steps ? hc_grouped_member(y, i) : hc_grouped_part(y, 0, first, length);
    if (length == 0)
        return g->by_steps && !g->accumulates ? hc_fill(&p.out, &(const struct hc_element){{0}}) : 0;
    if (v->blocks) HC_TRY(block_scales(g, i, first, length, &p, views));
    else vector_scales(g, v, i, first, &p);
    if (v->bias.base != NULL) p.bias = (const float *)hc_data(&v->bias) + i * (size_t)p.b.shape[0];
    return hc_narrow_product(&p);
}

/* One tensor of numbers for all groups; there may be none. */
static aclnnStatus take(const struct hc_grouped_list *list, const aclTensor *y, aclTensor *view,
                        void **owned) {
    return list->n > 0 ? hc_contiguous_apart(list_at(list, 0), ACL_FLOAT, y, view, owned) : 0;
}

/* Scales of columns, which may be packed. */
static aclnnStatus take_scale(const struct hc_grouped *g, aclTensor *view, void **owned) {
    const aclTensor *scale = list_at(&g->scale, 0), *y = list_at(&g->y, 0);
    struct hc_dequant by;
    if (!is_packed(scale)) return take(&g->scale, y, view, owned);
    HC_TRY(hc_dequant_scale(scale, NULL, y->dtype, &by, owned));
    *view = hc_tensor_view(ACL_FLOAT, scale->shape, scale->rank, (void *)by.scale);
    return 0;
}

/* Rows behind the last group become 0, as in other grouped products. */
aclnnStatus hc_grouped_narrow_run(const struct hc_grouped *g, const int64_t *first) {
    const aclTensor *y = list_at(&g->y, 0), scale = weight_scale(g);
    struct vectors v = {.blocks = scale.dtype == ACL_FLOAT8_E8M0 || (!g->by_steps && scale.rank == 3)};
    void *owned[3] = {NULL};
    aclnnStatus status = v.blocks ? 0 : take_scale(g, &v.scale, &owned[0]);
    if (status == 0 && !v.blocks) status = take(&g->rows, y, &v.rows, &owned[1]);
    if (status == 0) status = take(&g->bias, y, &v.bias, &owned[2]);
    for (size_t i = 0; i < g->groups && status == 0; i++)
        status = run_group(g, &v, i, first[i], first[i + 1] - first[i]);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    if (status != 0 || g->by_steps || first[g->groups] == y->shape[0]) return status;
    const aclTensor rest = hc_grouped_part(y, 0, first[g->groups], y->shape[0] - first[g->groups]);
    return hc_fill(&rest, &(const struct hc_element){{0}});
}
