// SPDX-License-Identifier: Apache-2.0
/* y from x and w: the weights of a group times the matrix of patches of a sample, block of columns by block.
 *
 * A block is taken and multiplied by one thread where there are blocks for all, else by all together; either
 * way each element of y is the same chain of additions. */
#include <stdatomic.h>

#include "conv.h"
#include "gemm.h"

/* One call. A unit is a block of columns of a slice, which is a group of a sample. */
struct job {
    const struct conv_shape *s;
    const aclTensor *x, *w, *bias, *y;
    size_t rows, cols, block, blocks; /* of the matrix of patches; columns per block */
    atomic_int code;
};

/* y[channels of the group, first to first + cols) = w * columns (+ bias). */
static struct hc_gemm product(const struct job *j, size_t group, size_t cols) {
    const struct conv_shape *s = j->s;
    const aclTensor *w = j->w, *y = j->y, *bias = j->bias;
    struct hc_gemm g = {
        .m = s->cy, .n = cols, .k = j->rows, .alpha = HC_GEMM_REAL(1), .beta = HC_GEMM_REAL(1)};
    g.a = (struct hc_gemm_matrix){
        hc_data(w) + group * s->cy * j->rows * (size_t)w->item_size, w->dtype, (int64_t)j->rows, 1, {0}};
    g.out = (struct hc_gemm_matrix){NULL, y->dtype, (int64_t)j->cols, 1, {0}};
    if (bias == NULL) return g;
    g.self =
        (struct hc_gemm_matrix){hc_data(bias) + (int64_t)(group * s->cy) * bias->stride[0] * bias->item_size,
                                bias->dtype,
                                bias->stride[0],
                                0,
                                {0}};
    return g;
}

/* Take the patches of one block of columns, and multiply. Both steps share the work among the threads where
 * the caller is not in a loop over units itself. */
static aclnnStatus run_unit(struct job *j, size_t unit) {
    const struct conv_shape *s = j->s;
    const size_t item = (size_t)j->x->item_size, slice = unit / j->blocks,
                 first = unit % j->blocks * j->block;
    const size_t cols = hc_min_size(j->block, j->cols - first);
    struct hc_gemm g = product(j, slice % s->groups, cols);
    struct conv_columns c = {.shape = s, .first = first, .cols = cols, .item = item};
    c.x = hc_data(j->x) + slice * s->cx * conv_volume(s->x) * item;
    c.columns = hc_scratch(HC_SCRATCH_A, j->rows * cols * item);
    if (c.columns == NULL) return ACLNN_ERR_INNER;
    conv_take_patches(&c);
    g.b = (struct hc_gemm_matrix){c.columns, j->x->dtype, (int64_t)cols, 1, {0}};
    g.out.data = hc_data(j->y) + (slice * s->cy * j->cols + first) * (size_t)j->y->item_size;
    return hc_gemm(&g);
}

/* `code` keeps the last failure: a loop cannot return one. */
static void run_units(void *job, size_t begin, size_t end) {
    struct job *j = job;
    for (size_t unit = begin; unit < end; unit++) {
        const int code = run_unit(j, unit);
        if (code != 0) atomic_store(&j->code, code);
    }
}

/* Kernel and stride 1: x is the matrix of patches, and samples a batch of products. One group at a time, so
 * that bias and weights need no stride of their own. */
static aclnnStatus run_pointwise(struct job *j) {
    const struct conv_shape *s = j->s;
    for (size_t group = 0; group < s->groups; group++) {
        struct hc_gemm g = product(j, group, j->cols);
        const size_t x = group * s->cx * j->cols, y = group * s->cy * j->cols;
        g.b = (struct hc_gemm_matrix){hc_data(j->x) + x * (size_t)j->x->item_size,
                                      j->x->dtype,
                                      (int64_t)j->cols,
                                      1,
                                      {(int64_t)(s->groups * s->cx * j->cols)}};
        g.out.data = hc_data(j->y) + y * (size_t)j->y->item_size;
        g.out.batch[0] = (int64_t)(s->groups * s->cy * j->cols);
        g.batch_rank = 1;
        g.batch_shape[0] = (int64_t)s->batch;
        HC_TRY(hc_gemm(&g));
    }
    return 0;
}

aclnnStatus conv_forward(const struct conv_shape *s, const aclTensor *x, const aclTensor *w,
                         const aclTensor *bias, const aclTensor *y) {
    if (y->numel == 0) return 0;
    if (conv_is_depthwise(s, x)) return conv_depthwise_forward(s, x, w, bias, y);
    struct job j = {.s = s, .x = x, .w = w, .bias = bias, .y = y};
    j.rows = conv_rows(s);
    j.cols = conv_volume(s->y);
    if (conv_is_pointwise(s)) return run_pointwise(&j);
    j.block = conv_block_cols(s, (size_t)x->item_size);
    j.blocks = hc_ceil_div(j.cols, j.block);
    const size_t units = s->batch * s->groups * j.blocks;
    if (units >= 2 * hc_num_threads()) hc_parallel_for(units, 1, run_units, &j);
    else run_units(&j, 0, units);
    const int code = atomic_load(&j.code);
    HC_CHECK(code == 0, code, "convolution: out of host memory for a block of patches of %s", HC_SHOW(x));
    return 0;
}
