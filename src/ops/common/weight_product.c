// SPDX-License-Identifier: Apache-2.0
/* See weight_product.h. */
#include "weight_product.h"

#include "antiquant.h"
#include "gemm.h"
#include "narrow.h"

enum { COLUMNS = 512 }; /* turned into float32 at a time */

/* One product at work. */
struct job {
    const struct hc_weight_product *p;
    const aclTensor *weight;
    aclDataType dtype; /* of the weight's elements */
    size_t k, n, group, col0, cols;
    float *block; /* [k, cols], or [cols, k] where the weight is contiguous along its columns */
};

/* n elements that lie together from `element` of line `line` on, a row of the weight or a column of step
 * `step`; scales of their own from `at` on, or one for all. */
static void open_line(const struct job *j, float *to, const char *line, size_t element, size_t n, size_t at,
                      bool each) {
    const struct hc_weight_product *p = j->p;
    if (j->dtype == ACL_INT8) {
        HC_DISPATCH(hc_antiquant)
        (n, to, (const int8_t *)line + element, p->scale + at, p->shift + at, each, each);
        return;
    }
    if (hc_is_fp4(j->dtype)) hc_fp4_load(j->dtype, n, to, (const uint8_t *)line + element / 2);
    else hc_load_for(j->dtype, HC_F32)(n, to, line + element, 1);
    HC_DISPATCH(hc_narrow_scale)(n, to, p->scale + at, each ? 1 : n);
}

/* Rows of the block: of the weight, or its columns. */
static void dequantise_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    const struct hc_weight_product *p = j->p;
    for (size_t r = begin; r < end; r++) {
        const char *line = hc_data(j->weight) + (int64_t)r * j->weight->stride[0];
        const size_t at = p->each ? r / j->group * j->n + j->col0 : 0;
        open_line(j, j->block + r * j->cols, line, j->col0, j->cols, at, p->each);
    }
}
/* Contiguous along k, one number of scale and shift for a stretch of a group. */
static void dequantise_columns(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    const struct hc_weight_product *p = j->p;
    for (size_t c = begin; c < end; c++) {
        const size_t column = j->col0 + c;
        const char *line = hc_data(j->weight) + (int64_t)column * j->weight->stride[1];
        for (size_t r = 0; r < j->k; r += j->group) {
            const size_t at = p->each ? r / j->group * j->n + column : 0;
            open_line(j, j->block + c * j->k + r, line, r, hc_min_size(j->group, j->k - r), at, false);
        }
    }
}

/* Everything of the product but the block of columns. */
static struct hc_gemm describe(const struct job *j, const aclTensor *x, const aclTensor *out) {
    const int32_t r = x->rank - 2;
    struct hc_gemm g = {
        .m = (size_t)x->shape[r],
        .k = j->k,
        .batch_rank = r,
        .a = {.data = hc_data(x), .dtype = x->dtype, .row = x->stride[r], .col = x->stride[r + 1]},
        .b = {.data = j->block, .dtype = ACL_FLOAT},
        .out = {.dtype = out->dtype, .row = out->stride[r], .col = out->stride[r + 1]},
        .alpha = HC_GEMM_REAL(1),
        .beta = HC_GEMM_REAL(1)};
    for (int32_t d = 0; d < r; d++) {
        g.batch_shape[d] = x->shape[d];
        g.a.batch[d] = x->stride[d];
        g.out.batch[d] = out->stride[d];
    }
    return g;
}

static bool is_by_columns(const aclTensor *weight) {
    return weight->stride[0] == 1 && weight->stride[1] != 1;
}

/* Columns of the weight in blocks: a block as float32 is small, and stays in the last-level cache while all
 * rows of x pass. The bias is the product's `self`, a row that repeats. */
static aclnnStatus multiply(struct job *j, const aclTensor *x, const aclTensor *bias, const aclTensor *out) {
    const bool by_columns = is_by_columns(j->weight);
    struct hc_gemm g = describe(j, x, out);
    for (j->col0 = 0; j->col0 < j->n; j->col0 += COLUMNS) {
        j->cols = hc_min_size(COLUMNS, j->n - j->col0);
        if (by_columns) hc_parallel_for(j->cols, 4, dequantise_columns, j);
        else hc_parallel_for(j->k, 64, dequantise_rows, j);
        g.n = j->cols;
        g.b.row = by_columns ? 1 : (int64_t)j->cols;
        g.b.col = by_columns ? (int64_t)j->k : 1;
        g.out.data = hc_data(out) + (int64_t)j->col0 * g.out.col * out->item_size;
        if (bias != NULL)
            g.self = (struct hc_gemm_matrix){
                .data = hc_data(bias) + j->col0 * (size_t)bias->item_size, .dtype = bias->dtype, .col = 1};
        HC_TRY(hc_gemm(&g));
    }
    return 0;
}

aclnnStatus hc_weight_product(const struct hc_weight_product *p, const aclTensor *x, const aclTensor *weight,
                              const aclTensor *bias, const aclTensor *out) {
    struct job j = {.p = p,
                    .weight = weight,
                    .dtype = weight->dtype == ACL_UINT8 ? p->fp4 : weight->dtype,
                    .k = (size_t)weight->shape[0],
                    .n = (size_t)weight->shape[1]};
    if (hc_is_fp4(j.dtype)) *(is_by_columns(weight) ? &j.k : &j.n) *= 2;
    j.group = hc_max_size(p->group > 0 ? p->group : j.k, 1);
    j.block = hc_block_take_array(j.k * hc_min_size(COLUMNS, j.n), sizeof *j.block);
    HC_CHECK(j.block != NULL, ACLNN_ERR_INNER, "%s: out of host memory for weights", p->name);
    const aclnnStatus status = multiply(&j, x, bias, out);
    hc_block_give(j.block);
    return status;
}
