// SPDX-License-Identifier: Apache-2.0
/* Quantised products of groups:
 *
 *     int8 x    y = (x @ weight + bias) * scale * row scale [+ offset]     exact sums, as aclnnQuantMatmul
 *     float x   y = x @ ((weight + shift) * antiquant scale) + bias        as aclnnWeightQuantBatchMatmul
 *
 * Weights of int4 with x of integers are grouped_int4.c's.
 */
#include "grouped_quant.h"

#include "dequant.h"
#include "gemm_i8.h"
#include "int4.h"
#include "weight_product.h"

aclTensor hc_group_quant_weight(const aclTensor *weight) {
    if (weight->dtype != ACL_INT32) return *weight;
    const aclTensor shape = hc_int4_shape(weight);
    aclTensor view = *weight;
    for (int32_t d = 0; d < view.rank; d++) view.shape[d] = shape.shape[d];
    view.numel = shape.numel;
    return view;
}

/* ---- phase one ---- */

/* One number, or one for each of `count` (in as many groups as there are rows of t, for weights). */
static aclnnStatus check_numbers(const struct hc_group_quant *q, const char *arg, const aclTensor *t,
                                 int64_t count, bool packed) {
    const bool type = hc_fits_f32(t->dtype) || (packed && (t->dtype == ACL_INT64 || t->dtype == ACL_UINT64));
    HC_CHECK(type, ACLNN_ERR_PARAM_INVALID, "%s: %s of a group is %s, wanted floating point%s", q->name, arg,
             HC_SHOW(t), packed ? " or uint64" : "");
    HC_CHECK(t->numel == 1 || t->numel == count, ACLNN_ERR_PARAM_INVALID,
             "%s: %s of a group is %s, wanted 1 or %lld elements", q->name, arg, HC_SHOW(t),
             (long long)count);
    return 0;
}

/* Sums of int8 are integers: a scale brings them back, unless they are asked for as they are. */
static aclnnStatus check_int8(const struct hc_group_quant *q, int64_t n) {
    HC_CHECK(hc_fits_f32(q->y.dtype) || q->y.dtype == ACL_INT8 || q->y.dtype == ACL_INT32,
             ACLNN_ERR_PARAM_INVALID, "%s: y of a group is %s, wanted floating point, int8 or int32", q->name,
             HC_SHOW(&q->y));
    HC_CHECK(q->antiquant == NULL && q->shift == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantScaleOptional is given with x of int8, wanted none", q->name);
    HC_CHECK(q->scale != NULL || q->y.dtype == ACL_INT32, ACLNN_ERR_PARAM_INVALID,
             "%s: x is int8 and there is no scaleOptional for y %s", q->name, HC_SHOW(&q->y));
    if (q->scale != NULL) HC_TRY(check_numbers(q, "scaleOptional", q->scale, n, true));
    if (q->offset != NULL) HC_TRY(check_numbers(q, "offsetOptional", q->offset, n, false));
    HC_CHECK(q->bias == NULL || q->bias->dtype == ACL_INT32 || hc_fits_f32(q->bias->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: biasOptional of a group is %s, wanted int32 or floating point",
             q->name, HC_SHOW(q->bias));
    return 0;
}

/* Two families by the type of x; what belongs to the other one is refused by its name. */
aclnnStatus hc_group_quant_check(const struct hc_group_quant *q) {
    const aclTensor weight = hc_group_quant_weight(&q->weight);
    const int64_t k = weight.shape[0], n = weight.shape[1];
    if (hc_is_int4_product(q)) return hc_group_int4_check(q);
    if (q->x.dtype == ACL_INT8) return check_int8(q, n);
    HC_CHECK(hc_fits_f32(q->x.dtype) && hc_fits_f32(q->y.dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: x of a group is %s, weight %s, y %s: wanted x and y of floating point, x of int8, or of "
             "int4 with "
             "a weight of int4",
             q->name, HC_SHOW(&q->x), HC_SHOW(&q->weight), HC_SHOW(&q->y));
    HC_CHECK(q->antiquant != NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: weight is %s and there is no antiquantScaleOptional", q->name, HC_SHOW(&q->weight));
    HC_CHECK(q->scale == NULL && q->offset == NULL && q->rows == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: scaleOptional is given with x of floating point, wanted none", q->name);
    const aclTensor *scale = q->antiquant;
    const int64_t groups = scale->rank == 2 ? scale->shape[0] : 1;
    HC_CHECK(groups > 0 && k % groups == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantScaleOptional of a group is %s for %lld rows, wanted groups of equal length",
             q->name, HC_SHOW(scale), (long long)k);
    HC_TRY(check_numbers(q, "antiquantScaleOptional", scale, groups * n, false));
    if (q->shift != NULL) {
        HC_TRY(check_numbers(q, "antiquantOffsetOptional", q->shift, groups * n, false));
        HC_CHECK(q->shift->numel == scale->numel, ACLNN_ERR_PARAM_INVALID,
                 "%s: antiquantOffsetOptional of a group is %s, wanted the shape of the scale %s", q->name,
                 HC_SHOW(q->shift), HC_SHOW(scale));
    }
    HC_CHECK(q->bias == NULL || hc_fits_f32(q->bias->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: biasOptional of a group is %s, wanted floating point", q->name, HC_SHOW(q->bias));
    return 0;
}

/* ---- phase two ---- */

/* Memory of a run, given back together. */
struct temporaries {
    void *memory[8];
    int count;
};
static void **next(struct temporaries *t) { return &t->memory[t->count++]; }

/* t as float32, or int32 where it is that; contiguous and apart from y. */
static aclnnStatus take(const aclTensor *t, const aclTensor *y, struct temporaries *temporaries,
                        aclTensor *view) {
    const aclDataType as = t->dtype == ACL_INT32 ? ACL_INT32 : ACL_FLOAT;
    return hc_contiguous_apart(t, as, y, view, next(temporaries));
}

/* As aclnnQuantMatmul: exact sums, scaled while they are in the cache. Copies are made only of what is not in
 * the product's form or shares memory with y. */
static aclnnStatus multiply_int8(const struct hc_group_quant *q, const aclTensor *y,
                                 struct temporaries *temporaries) {
    static const float ONE = 1;
    struct hc_dequant_rows rows = {
        .by = {.scale = &ONE}, .out = hc_data(y), .dtype = y->dtype, .n = (size_t)y->shape[1]};
    aclTensor x, weight, view;
    if (q->scale != NULL)
        HC_TRY(hc_dequant_scale(q->scale, q->offset, y->dtype, &rows.by, next(temporaries)));
    if (q->rows != NULL) {
        HC_TRY(take(q->rows, &q->y, temporaries, &view));
        rows.row_scale = (const float *)hc_data(&view);
        rows.row_scales = hc_max_size(hc_numel(&view), 1);
    }
    if (q->bias != NULL) {
        HC_TRY(take(q->bias, &q->y, temporaries, &view));
        if (view.dtype == ACL_INT32) rows.by.whole_bias = (const int32_t *)hc_data(&view);
        else rows.by.bias = (const float *)hc_data(&view);
    }
    HC_TRY(hc_apart(&q->x, ACL_INT8, &q->y, &x, next(temporaries)));
    HC_TRY(hc_apart(&q->weight, ACL_INT8, &q->y, &weight, next(temporaries)));
    const struct hc_gemm_i8 g = {.m = (size_t)x.shape[0],
                                 .n = (size_t)weight.shape[1],
                                 .k = (size_t)x.shape[1],
                                 .a = (const int8_t *)hc_data(&x),
                                 .b = (const int8_t *)hc_data(&weight),
                                 .a_row = x.stride[0],
                                 .a_col = x.stride[1],
                                 .b_row = weight.stride[0],
                                 .b_col = weight.stride[1],
                                 .finish = hc_dequant_finish,
                                 .ctx = &rows};
    return hc_gemm_i8(&g);
}

/* As aclnnWeightQuantBatchMatmul. A group without a shift has one of zeros, so that the kernel has one form.
 */
static aclnnStatus multiply_float(const struct hc_group_quant *q, const aclTensor *y,
                                  struct temporaries *temporaries) {
    const aclTensor *scale = q->antiquant;
    struct hc_weight_product p = {.name = q->name, .each = scale->numel > 1};
    const int64_t groups = scale->rank == 2 ? scale->shape[0] : 1;
    aclTensor x, weight = q->weight, view, bias;
    HC_TRY(take(scale, &q->y, temporaries, &view));
    p.scale = (const float *)hc_data(&view);
    if (q->shift != NULL) {
        HC_TRY(take(q->shift, &q->y, temporaries, &view));
        p.shift = (const float *)hc_data(&view);
    } else {
        void **zeros = next(temporaries);
        *zeros = hc_block_take_zeroed(hc_numel(scale), sizeof(float));
        HC_CHECK(*zeros != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld scales", q->name,
                 (long long)scale->numel);
        p.shift = *zeros;
    }
    if (weight.dtype == ACL_INT32) HC_TRY(hc_int4_unpack(&q->weight, &weight, next(temporaries)));
    else if (weight.stride[0] != 1 && weight.stride[1] != 1)
        HC_TRY(hc_contiguous(&q->weight, ACL_INT8, &weight, next(temporaries)));
    p.group = (size_t)(weight.shape[0] / groups);
    if (q->bias != NULL) HC_TRY(take(q->bias, &q->y, temporaries, &bias));
    HC_TRY(hc_apart(&q->x, q->x.dtype, &q->y, &x, next(temporaries)));
    return hc_weight_product(&p, &x, &weight, q->bias != NULL ? &bias : NULL, y);
}

aclnnStatus hc_group_quant_run(const struct hc_group_quant *q) {
    struct temporaries temporaries = {{NULL}, 0};
    void *own_y = NULL;
    aclTensor y;
    if (q->y.numel == 0) return 0;
    HC_TRY(hc_contiguous_out(&q->y, q->y.dtype, &y, &own_y));
    aclnnStatus status = hc_is_int4_product(q)    ? hc_group_int4_run(q, &y)
                         : q->x.dtype == ACL_INT8 ? multiply_int8(q, &y, &temporaries)
                                                  : multiply_float(q, &y, &temporaries);
    if (status == 0 && own_y != NULL) status = hc_copy(&q->y, &y);
    hc_block_give(own_y);
    for (int i = 0; i < temporaries.count; i++) hc_block_give(temporaries.memory[i]);
    return status;
}
