// SPDX-License-Identifier: Apache-2.0
/* See quant_groups.h. A product of int8 for each group, whose exact sums are scaled and added up in float32;
 * groups are added in order. */
#include "quant_groups.h"

#include <string.h>

#include "dequant.h"
#include "gemm_i8.h"

/* One group: its sums go into `total`. */
struct group {
    struct hc_dequant by;
    float *total;
    size_t n;
};

/* For hc_gemm_i8: called once for each run of each row and group, groups in order, so sums have one order. */
static void add_sums(const void *ctx, size_t row, size_t col, size_t n, const int32_t *sums) {
    const struct group *g = ctx;
    const struct hc_dequant by = hc_dequant_from(&g->by, col, 1);
    float y[HC_GEMM_I8_RUN], *total = g->total + row * g->n + col;
    HC_DISPATCH(hc_dequant)(n, y, sums, &by);
    for (size_t i = 0; i < n; i++) total[i] += y[i];
}

/* For hc_gemm_i8: the sums of the one row, as they are. */
static void keep_sums(const void *ctx, size_t row, size_t col, size_t n, const int32_t *sums) {
    int32_t *const *to = ctx;
    (void)row;
    memcpy(*to + col, sums, n * sizeof *sums);
}

/* The product of group g of x1, or of a row of one number with strides of 0. */
static struct hc_gemm_i8 product_of(const struct hc_quant_groups *q, size_t g) {
    const int64_t first = (int64_t)(g * q->group);
    return (struct hc_gemm_i8){.m = (size_t)q->x1->shape[0],
                               .n = (size_t)q->x2->shape[1],
                               .k = q->group,
                               .a = (const int8_t *)hc_data(q->x1) + first * q->x1->stride[1],
                               .b = (const int8_t *)hc_data(q->x2) + first * q->x2->stride[0],
                               .a_row = q->x1->stride[0],
                               .a_col = q->x1->stride[1],
                               .b_row = q->x2->stride[0],
                               .b_col = q->x2->stride[1]};
}

/* What -shift adds to the sums of each column. */
static aclnnStatus shift_sums(const struct hc_quant_groups *q, size_t g, int32_t *to) {
    const int8_t number = (int8_t)-q->shift;
    struct hc_gemm_i8 gemm = product_of(q, g);
    gemm.m = 1;
    gemm.a = &number;
    gemm.a_row = gemm.a_col = 0;
    gemm.finish = keep_sums;
    gemm.ctx = &to;
    return hc_gemm_i8(&gemm);
}

struct ending {
    const struct hc_quant_groups *q;
    float *total;
    hc_store_fn *store;
    size_t n;
};

/* Offset and scale of whole rows. */
static void end_rows(void *ctx, size_t begin, size_t end) {
    const struct ending *e = ctx;
    const struct hc_quant_groups *q = e->q;
    for (size_t row = begin; row < end; row++) {
        float *x = e->total + row * e->n;
        const float by = q->rows != NULL ? q->rows[row % q->row_scales] : 1;
        for (size_t i = 0; i < e->n; i++) x[i] = (x[i] + (q->offset != NULL ? q->offset[i] : 0)) * by;
        e->store(e->n, hc_data(q->out) + row * e->n * (size_t)q->out->item_size, 1, x);
    }
}

/* All groups, one product each. A shift of x2 is taken off the sums as whole numbers, before anything is
 * rounded. */
static aclnnStatus add_groups(const struct hc_quant_groups *q, float *total, int32_t *columns) {
    const size_t n = (size_t)q->x2->shape[1], groups = (size_t)q->x1->shape[1] / q->group;
    for (size_t g = 0; g < groups; g++) {
        const struct group one = {.by = {.scale = q->scale + g * n,
                                         .scale_each = true,
                                         .whole_bias = q->shift != 0 ? columns : NULL},
                                  .total = total,
                                  .n = n};
        struct hc_gemm_i8 gemm = product_of(q, g);
        if (q->shift != 0) HC_TRY(shift_sums(q, g, columns));
        gemm.finish = add_sums;
        gemm.ctx = &one;
        HC_TRY(hc_gemm_i8(&gemm));
    }
    return 0;
}

aclnnStatus hc_quant_groups_run(const struct hc_quant_groups *q) {
    const size_t m = (size_t)q->x1->shape[0], n = (size_t)q->x2->shape[1];
    float *total = hc_block_take_zeroed(m * n, sizeof *total);
    int32_t *columns = hc_block_take_array(n, sizeof *columns);
    aclnnStatus status = total != NULL && columns != NULL
                             ? 0
                             : hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for the product", q->name);
    if (status == 0) status = add_groups(q, total, columns);
    if (status == 0) {
        struct ending e = {q, total, hc_store_for(q->out->dtype, HC_F32), n};
        hc_parallel_for(m, hc_max_size(16384 / hc_max_size(n, 1), 1), end_rows, &e);
    }
    hc_block_give(total);
    hc_block_give(columns);
    return status;
}
