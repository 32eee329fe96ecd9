// SPDX-License-Identifier: Apache-2.0
/* Phase one of queries and outputs of inference that are quantised; their run is attention_quant.c.
 *
 * Queries are int8 in two ways. With deqScale1, quantScale1 and deqScale2, one number each, keys, values and
 * weights are int8 as well. With dequantScaleQuery, a factor for each row of a head, they stand for floats,
 * as keys and values with keyAntiquantScale do; parts that are rotated are floats then. */
#include "attention_infer.h"

#include "convert.h"
#include "quant.h"

enum { QUERY_TOKEN_HEAD = 3 }; /* queryQuantMode: the interface numbers it as the modes of keys */

bool attn_infer_takes(const struct attn_inputs *in, aclDataType dtype) {
    if (in->q_scale != NULL) return attn_is_quantised(dtype) && dtype != ACL_INT32;
    return dtype == ACL_INT8 || hc_fits_f32(dtype);
}

/* ---- queries ---- */

static aclnnStatus check_number(const struct attn_inputs *in, const char *what, const aclTensor *t,
                                bool packed) {
    const bool of_64 = packed && (t->dtype == ACL_UINT64 || t->dtype == ACL_INT64);
    HC_CHECK(hc_numel(t) == 1 && (t->dtype == ACL_FLOAT || of_64), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted one number of float32%s", in->name, what, HC_SHOW(t),
             packed ? " or uint64" : "");
    return 0;
}

/* All three or none: they belong to int8 only. */
static aclnnStatus check_int8(const struct attn_inputs *in) {
    const aclTensor *const all[] = {in->score_scale, in->weight_scale, in->sum_scale};
    static const char *const NAMES[] = {"deqScale1", "quantScale1", "deqScale2"};
    const bool needed = in->query->dtype == ACL_INT8 && in->q_scale == NULL;
    for (int i = 0; i < 3; i++) {
        HC_CHECK(!needed || all[i] != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null, query %s needs it",
                 in->name, NAMES[i], HC_SHOW(in->query));
        HC_CHECK(needed || all[i] == NULL, ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is given, it is of queries of int8 without dequantScaleQuery, query is %s", in->name,
                 NAMES[i], HC_SHOW(in->query));
        if (all[i] != NULL) HC_TRY(check_number(in, NAMES[i], all[i], i != 1));
    }
    HC_CHECK(!needed || in->key_scale == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: scales of keys are given with query %s and deqScale1, which stands for them", in->name,
             HC_SHOW(in->query));
    return 0;
}

/* The query's shape without elements of heads, a last dimension of 1 may stand in their place. */
static aclnnStatus check_query_scale(const struct attn_infer *x, const struct attn_args *a) {
    const struct attn_inputs *in = &x->in;
    const aclTensor *t = in->q_scale, *q = in->query;
    if (t == NULL) return 0;
    HC_CHECK(x->query_mode == QUERY_TOKEN_HEAD, ACLNN_ERR_PARAM_INVALID,
             "%s: queryQuantMode is %lld with dequantScaleQuery, wanted 3, a number for each token and head",
             in->name, (long long)x->query_mode);
    HC_CHECK(in->key_scale != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: keyAntiquantScale is null, query %s with dequantScaleQuery needs it", in->name, HC_SHOW(q));
    const struct attn_axes axes = attn_axes(a->layout == LAYOUT_BSH ? LAYOUT_BSND : a->layout);
    const int rank = axes.b < 0 ? 2 : 3;
    bool fits = t->rank == rank || (t->rank == rank + 1 && t->shape[rank] == 1);
    fits = fits && (axes.b < 0 || (size_t)t->shape[axes.b] == a->batches) &&
           (size_t)t->shape[axes.n] == a->heads && t->shape[axes.s] == q->shape[attn_axes(a->layout).s];
    HC_CHECK(fits && hc_fits_f32(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: dequantScaleQuery is %s, wanted floats of the shape of query %s with %zu heads and without "
             "their elements",
             in->name, HC_SHOW(t), HC_SHOW(q), a->heads);
    return 0;
}

/* ---- the output ---- */

static aclnnStatus check_output(const struct attn_inputs *in, struct attn_args *a) {
    const aclTensor *s = in->out_scale, *o = in->out_offset, *out = in->attention_out;
    HC_CHECK(o == NULL || s != NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: quantOffset2 is given, quantScale2 is null", in->name);
    if (s == NULL) return 0;
    const size_t each = a->heads * a->dv;
    HC_CHECK(out->dtype == ACL_INT8 || out->dtype == ACL_FLOAT8_E4M3FN || out->dtype == ACL_FLOAT8_E5M2 ||
                 out->dtype == ACL_HIFLOAT8,
             ACLNN_ERR_PARAM_INVALID,
             "%s: attentionOut is %s with quantScale2, wanted int8, float8_e4m3fn, float8_e5m2 or hifloat8",
             in->name, HC_SHOW(out));
    HC_CHECK(hc_fits_f32(s->dtype) && (hc_numel(s) == 1 || hc_numel(s) == each), ACLNN_ERR_PARAM_INVALID,
             "%s: quantScale2 is %s, wanted 1 or %zu floats, one for each element of %zu heads", in->name,
             HC_SHOW(s), each, a->heads);
    HC_CHECK(o == NULL || (hc_fits_f32(o->dtype) && hc_numel(o) == hc_numel(s)), ACLNN_ERR_PARAM_INVALID,
             "%s: quantOffset2 is %s, wanted floats as many as quantScale2 %s", in->name, HC_SHOW(o),
             HC_SHOW(s));
    a->out_each = hc_numel(s) > 1;
    return 0;
}

aclnnStatus attn_infer_quant(const struct attn_infer *x, struct attn_args *a) {
    HC_TRY(check_int8(&x->in));
    HC_TRY(check_query_scale(x, a));
    return check_output(&x->in, a);
}
