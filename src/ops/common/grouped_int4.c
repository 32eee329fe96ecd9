// SPDX-License-Identifier: Apache-2.0
/* Products of a group with a weight of int4 whose rows have scales in groups:
 *
 *     int4 x    y = sum_g (x_g @ weight_g) * scale_g * row scale
 *     int8 x    y = (sum_g ((x - 8)_g @ weight_g) * scale_g + bias + sum_g x_g @ offset_g) * row scale
 *
 * The interface splits int8 into two int4, 16 * high + low, of which low counts from -8: that is x - 8, and
 * the caller's bias of floats makes up for it (8 times the sum of scaled weights, beside what it is else).
 * An offset belongs to each weight of a group of rows: it is multiplied by the sum of their x as they are.
 * Sums within a group of rows are exact; with one group they are all. The weight becomes int8, as products
 * read it. */
#include <string.h>

#include "gemm_i8.h"
#include "grouped_quant.h"
#include "int4.h"
#include "long_loop.h"
#include "quant_param.h"

enum { LOW_FROM = 8 };

/* ---- phase one ---- */

/* Groups of rows of the weight; scale is [n] or [groups, n]. */
static int64_t groups_of(const aclTensor *scale) { return scale->rank == 2 ? scale->shape[0] : 1; }

static bool is_packed(const aclTensor *t) { return t->dtype == ACL_INT64 || t->dtype == ACL_UINT64; }

static aclnnStatus check_scale(const struct hc_group_quant *q, int64_t k, int64_t n) {
    const aclTensor *scale = q->scale;
    HC_CHECK(scale != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: x of a group is %s, weight %s: scaleOptional is null", q->name, HC_SHOW(&q->x),
             HC_SHOW(&q->weight));
    const int64_t groups = groups_of(scale);
    HC_CHECK((is_packed(scale) || hc_fits_f32(scale->dtype)) && scale->rank <= 2 && groups > 0 &&
                 scale->numel == groups * n && k % groups == 0,
             ACLNN_ERR_PARAM_INVALID,
             "%s: scaleOptional of a group is %s, wanted uint64 or floating point [%lld] or [groups of %lld "
             "rows,%lld] with int4",
             q->name, HC_SHOW(scale), (long long)n, (long long)k, (long long)n);
    HC_CHECK(q->weight_offset == NULL ||
                 (hc_fits_f32(q->weight_offset->dtype) && q->weight_offset->rank == scale->rank &&
                  groups_of(q->weight_offset) == groups && q->weight_offset->numel == scale->numel),
             ACLNN_ERR_PARAM_INVALID,
             "%s: offsetOptional of a group is %s, wanted floats of the shape of the scale %s", q->name,
             q->weight_offset != NULL ? HC_SHOW(q->weight_offset) : "null", HC_SHOW(scale));
    HC_CHECK(q->offset == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: offsetOptional is %s, wanted none with a weight of int4 and x of integers", q->name,
             q->offset != NULL ? HC_SHOW(q->offset) : "null");
    return 0;
}

aclnnStatus hc_group_int4_check(const struct hc_group_quant *q) {
    const aclTensor weight = hc_group_quant_weight(&q->weight);
    const int64_t n = weight.shape[1];
    HC_CHECK(q->antiquant == NULL && q->shift == NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: antiquantScaleOptional is given with x of integers, wanted none", q->name);
    HC_CHECK(hc_fits_f32(q->y.dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: y of a group is %s, wanted floating point with a weight of int4", q->name, HC_SHOW(&q->y));
    HC_TRY(check_scale(q, weight.shape[0], n));
    if (q->x.dtype == ACL_INT32) {
        HC_CHECK(q->bias == NULL, ACLNN_ERR_PARAM_INVALID,
                 "%s: biasOptional of a group is %s, wanted none with x of int4", q->name, HC_SHOW(q->bias));
        return 0;
    }
    HC_CHECK(
        q->bias != NULL, ACLNN_ERR_PARAM_NULLPTR,
        "%s: biasOptional is null, x of int8 with a weight of int4 wants the floats that make up for x - 8",
        q->name);
    HC_CHECK(hc_fits_f32(q->bias->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: biasOptional of a group is %s, wanted floating point with a weight of int4", q->name,
             HC_SHOW(q->bias));
    return 0;
}

/* ---- phase two ---- */

/* One group of rows is added to `sums`, float32 [m, n]; the first one sets it. */
struct part {
    const float *scale;           /* [n] */
    const int32_t *taken;         /* [n]: what x - 8 takes from each sum; NULL: nothing */
    const float *offset, *totals; /* [n] of the weights, [m] of x; NULL: none */
    float *sums;
    size_t n;
    bool first;
};

static void add_part(const void *ctx, size_t row, size_t col, size_t n, const int32_t *sums) {
    const struct part *p = ctx;
    float *to = p->sums + row * p->n + col;
    for (size_t i = 0; i < n; i++) {
        const int32_t sum = sums[i] - (p->taken != NULL ? p->taken[col + i] : 0);
        to[i] = (p->first ? 0 : to[i]) + (float)sum * p->scale[col + i];
    }
    if (p->offset == NULL) return;
    for (size_t i = 0; i < n; i++) to[i] += p->totals[row] * p->offset[col + i];
}

/* Sums of x in the group of rows from `first` on, for each row of x. */
struct totals {
    const aclTensor *x;
    int64_t first, rows;
    float *to;
};
static void sum_rows(void *ctx, size_t begin, size_t end) {
    const struct totals *t = ctx;
    const int64_t step = t->x->stride[1];
    for (size_t r = begin; r < end; r++) {
        const int8_t *x = (const int8_t *)hc_data(t->x) + (int64_t)r * t->x->stride[0] + t->first * step;
        int64_t sum = 0;
        for (int64_t i = 0; i < t->rows; i++) sum += x[i * step];
        t->to[r] = (float)sum;
    }
}

/* 8 times the sums of columns. */
static void take_columns(const aclTensor *weight, int64_t first, int64_t rows, int32_t *taken) {
    const int8_t *data = (const int8_t *)hc_data(weight);
    memset(taken, 0, (size_t)weight->shape[1] * sizeof *taken);
    for (int64_t r = first; r < first + rows; r++)
        for (int64_t c = 0; c < weight->shape[1]; c++)
            taken[c] += LOW_FROM * data[r * weight->stride[0] + c * weight->stride[1]];
}

/* Memory of a run, and the operands as int8. */
struct memory {
    aclTensor x, weight, bias, rows, offset;
    void *owned[5];
    float *sums, *scale, *totals;
    int32_t *taken;
};

static aclnnStatus multiply(const struct hc_group_quant *q, struct memory *m) {
    const aclTensor *x = &m->x, *weight = &m->weight;
    const int64_t groups = groups_of(q->scale), rows = weight->shape[0] / groups, n = weight->shape[1];
    const float *offset = q->weight_offset != NULL ? (const float *)hc_data(&m->offset) : NULL;
    int32_t *taken = q->x.dtype == ACL_INT8 ? m->taken : NULL;
    for (int64_t i = 0; i < groups; i++) {
        if (taken != NULL) take_columns(weight, i * rows, rows, taken);
        if (offset != NULL) {
            struct totals totals = {x, i * rows, rows, m->totals};
            hc_parallel_for((size_t)x->shape[0], 1 + 16384 / hc_max_size((size_t)rows, 1), sum_rows, &totals);
        }
        const struct part p = {.scale = m->scale + i * n,
                               .taken = taken,
                               .offset = offset != NULL ? offset + i * n : NULL,
                               .totals = m->totals,
                               .sums = m->sums,
                               .n = (size_t)n,
                               .first = i == 0};
        const struct hc_gemm_i8 g = {
            .m = (size_t)x->shape[0],
            .n = (size_t)n,
            .k = (size_t)rows,
            .a = (const int8_t *)hc_data(x) + i * rows * x->stride[1],
            .b = (const int8_t *)hc_data(weight) + i * rows * weight->stride[0],
            .a_row = x->stride[0],
            .a_col = x->stride[1],
            .b_row = weight->stride[0],
            .b_col = weight->stride[1],
            .finish = add_part,
            .ctx = &p,
        };
        HC_TRY(hc_gemm_i8(&g));
    }
    return 0;
}

/* The lower half of a number of 64 bits is a float32. */
static aclnnStatus take_scale(const aclTensor *t, const aclTensor *y, float *to) {
    aclTensor view, out = hc_tensor_view(ACL_FLOAT, &t->numel, 1, to);
    void *owned = NULL;
    HC_TRY(hc_contiguous_apart(t, is_packed(t) ? t->dtype : ACL_FLOAT, y, &view, &owned));
    if (is_packed(t)) {
        for (size_t i = 0; i < hc_numel(t); i++) {
            uint64_t bits;
            memcpy(&bits, hc_data(&view) + i * sizeof bits, sizeof bits);
            to[i] = hc_quant_param_scale(bits);
        }
    } else memcpy(hc_data(&out), hc_data(&view), hc_numel(t) * sizeof *to);
    hc_block_give(owned);
    return 0;
}

/* What remains for each row when all groups of rows are summed. */
struct ending {
    const float *sums, *bias, *rows;
    size_t n, row_scales;
    char *out;
    aclDataType dtype;
};

static void finish_rows(void *ctx, size_t begin, size_t end) {
    enum { COLUMNS = 256 };
    const struct ending *e = ctx;
    float x[COLUMNS];
    for (size_t at = begin * e->n, n; at < end * e->n; at += n) {
        const size_t col = at % e->n, row = at / e->n;
        const float factor = e->rows != NULL ? e->rows[row % e->row_scales] : 1;
        n = hc_min_size(e->n - col, COLUMNS);
        for (size_t i = 0; i < n; i++)
            x[i] = (e->sums[at + i] + (e->bias != NULL ? e->bias[col + i] : 0)) * factor;
        hc_store_for(e->dtype, HC_F32)(n, e->out + at * hc_dtype_size(e->dtype), 1, x);
    }
}

static aclnnStatus open_operands(const struct hc_group_quant *q, struct memory *m) {
    if (q->x.dtype == ACL_INT32) HC_TRY(hc_int4_unpack(&q->x, &m->x, &m->owned[0]));
    else HC_TRY(hc_apart(&q->x, ACL_INT8, &q->y, &m->x, &m->owned[0]));
    HC_TRY(hc_int4_unpack(&q->weight, &m->weight, &m->owned[1]));
    if (q->bias != NULL) HC_TRY(hc_contiguous_apart(q->bias, ACL_FLOAT, &q->y, &m->bias, &m->owned[2]));
    if (q->rows != NULL) HC_TRY(hc_contiguous_apart(q->rows, ACL_FLOAT, &q->y, &m->rows, &m->owned[3]));
    if (q->weight_offset != NULL)
        HC_TRY(hc_contiguous_apart(q->weight_offset, ACL_FLOAT, &q->y, &m->offset, &m->owned[4]));
    const size_t n = (size_t)m->weight.shape[1], rows = (size_t)m->x.shape[0];
    m->sums = hc_block_take_array(hc_numel(&q->y) + hc_numel(q->scale) + n + rows, sizeof(float));
    HC_CHECK(m->sums != NULL, ACLNN_ERR_INNER, "%s: out of host memory for sums of %s", q->name,
             HC_SHOW(&q->y));
    m->scale = m->sums + hc_numel(&q->y);
    m->taken = (int32_t *)(void *)(m->scale + hc_numel(q->scale));
    m->totals = m->scale + hc_numel(q->scale) + n;
    return take_scale(q->scale, &q->y, m->scale);
}

aclnnStatus hc_group_int4_run(const struct hc_group_quant *q, const aclTensor *y) {
    struct memory m = {.sums = NULL};
    aclnnStatus status = open_operands(q, &m);
    if (status == 0) status = multiply(q, &m);
    if (status == 0) {
        struct ending e = {.sums = m.sums,
                           .bias = q->bias != NULL ? (const float *)hc_data(&m.bias) : NULL,
                           .rows = q->rows != NULL ? (const float *)hc_data(&m.rows) : NULL,
                           .n = (size_t)y->shape[1],
                           .row_scales = q->rows != NULL ? hc_max_size(hc_numel(q->rows), 1) : 1,
                           .out = hc_data(y),
                           .dtype = y->dtype};
        hc_parallel_for((size_t)y->shape[0], 1 + 8192 / hc_max_size(e.n, 1), finish_rows, &e);
    }
    hc_block_give(m.sums);
    for (size_t i = 0; i < HC_ARRAY_SIZE(m.owned); i++) hc_block_give(m.owned[i]);
    return status;
}
