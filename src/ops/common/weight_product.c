// SPDX-License-Identifier: Apache-2.0
/* See weight_product.h. */
#include "weight_product.h"

#include "antiquant.h"
#include "gemm.h"

enum { COLUMNS = 512 }; /* turned into float32 at a time */

/* One product at work. */
struct job {
    const struct hc_weight_product *p;
    const aclTensor *weight;
    size_t k, n, group, col0, cols;
    float *block; /* [k, cols], or [cols, k] where the weight is contiguous along its columns */
};

/* Rows of the block: of the weight, or its columns. */
static void dequantise_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    const struct hc_weight_product *p = j->p;
    const int8_t *from = (const int8_t *)hc_data(j->weight) + j->col0;
    for (size_t r = begin; r < end; r++) {
        const size_t at = p->each ? r / j->group * j->n + j->col0 : 0;
        HC_DISPATCH(hc_antiquant)
        (j->cols, j->block + r * j->cols, from + (int64_t)r * j->weight->stride[0], p->scale + at,
         p->shift + at, p->each, p->each);
    }
}
/* Contiguous along k, one number of scale and shift for a stretch of a group. */
static void dequantise_columns(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    const struct hc_weight_product *p = j->p;
    for (size_t c = begin; c < end; c++) {
        const size_t column = j->col0 + c;
        const int8_t *from = (const int8_t *)hc_data(j->weight) + (int64_t)column * j->weight->stride[1];
        for (size_t r = 0; r < j->k; r += j->group) {
            const size_t at = p->each ? r / j->group * j->n + column : 0;
            HC_DISPATCH(hc_antiquant)
            (hc_min_size(j->group, j->k - r), j->block + c * j->k + r, from + r, p->scale + at, p->shift + at,
             false, false);
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

/* Columns of the weight in blocks: a block as float32 is small, and stays in the last-level cache while all
 * rows of x pass. The bias is the product's `self`, a row that repeats. */
static aclnnStatus multiply(struct job *j, const aclTensor *x, const aclTensor *bias, const aclTensor *out) {
    const bool by_columns = j->weight->stride[0] == 1 && j->weight->stride[1] != 1;
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
    struct job j = {.p = p, .weight = weight, .k = (size_t)weight->shape[0], .n = (size_t)weight->shape[1]};
    j.group = hc_max_size(p->group > 0 ? p->group : j.k, 1);
    j.block = hc_block_take_array(j.k * hc_min_size(COLUMNS, j.n), sizeof *j.block);
    HC_CHECK(j.block != NULL, ACLNN_ERR_INNER, "%s: out of host memory for weights", p->name);
    const aclnnStatus status = multiply(&j, x, bias, out);
    hc_block_give(j.block);
    return status;
}
