// SPDX-License-Identifier: Apache-2.0
/* x from y and w: the gradient of a convolution's input, and the transposed convolution. The transposed
 * weights times y give the matrix of patches, which is added to x where each patch lies.
 *
 * Added up in float32 (float64) whatever x's type is, block of columns after block, so in one order. */
#include <stdatomic.h>

#include "conv.h"
#include "gemm.h"

/* One call. A slice is a group of a sample; its channels of x are added up in memory of their own where x is
 * of a narrower type. */
struct job {
    const struct conv_shape *s;
    const aclTensor *y, *w, *bias, *x;
    size_t rows, cols, block;
    aclDataType wide; /* in which is added up */
    atomic_int code;
};

/* out[rows, cols) = transposed weights of the group * y[channels of the group, first to first + cols). */
static struct hc_gemm product(const struct job *j, size_t slice, size_t first, size_t cols) {
    const struct conv_shape *s = j->s;
    const size_t group = slice % s->groups;
    struct hc_gemm g = {
        .m = j->rows, .n = cols, .k = s->cy, .alpha = HC_GEMM_REAL(1), .beta = HC_GEMM_REAL(1)};
    g.a = (struct hc_gemm_matrix){hc_data(j->w) + group * s->cy * j->rows * (size_t)j->w->item_size,
                                  j->w->dtype,
                                  1,
                                  (int64_t)j->rows,
                                  {0}};
    g.b = (struct hc_gemm_matrix){hc_data(j->y) + (slice * s->cy * j->cols + first) * (size_t)j->y->item_size,
                                  j->y->dtype,
                                  (int64_t)j->cols,
                                  1,
                                  {0}};
    return g;
}

/* Channels of the slice start from the bias, or from 0. */
static aclnnStatus start(const struct job *j, size_t slice, char *sums) {
    const int64_t shape[2] = {(int64_t)j->s->cx, (int64_t)conv_volume(j->s->x)};
    const aclTensor to = hc_tensor_view(j->wide, shape, 2, sums);
    if (j->bias == NULL) {
        memset(sums, 0, hc_numel(&to) * (size_t)to.item_size);
        return 0;
    }
    aclTensor from = *j->bias;
    from.offset += (int64_t)(slice % j->s->groups * j->s->cx) * from.stride[0];
    from.rank = 2;
    from.shape[0] = shape[0], from.shape[1] = 1;
    from.stride[1] = 0;
    from.numel = shape[0];
    return hc_copy(&to, &from);
}

/* Block after block in this order, as patches of neighbouring blocks overlap in x. */
static aclnnStatus run_unit(struct job *j, size_t slice) {
    const struct conv_shape *s = j->s;
    const size_t each = s->cx * conv_volume(s->x), item = hc_dtype_size(j->wide);
    char *out = hc_data(j->x) + slice * each * (size_t)j->x->item_size;
    const bool direct = j->x->dtype == j->wide;
    char *columns = hc_scratch(HC_SCRATCH_A, j->rows * j->block * item);
    char *sums = direct ? out : hc_scratch(HC_SCRATCH_B, each * item);
    if (columns == NULL || sums == NULL) return ACLNN_ERR_INNER;
    HC_TRY(start(j, slice, sums));
    for (size_t first = 0; first < j->cols; first += j->block) {
        const size_t cols = hc_min_size(j->block, j->cols - first);
        struct hc_gemm g = product(j, slice, first, cols);
        g.out = (struct hc_gemm_matrix){columns, j->wide, (int64_t)cols, 1, {0}};
        HC_TRY(hc_gemm(&g));
        const struct conv_columns c = {s, sums, columns, first, cols, item};
        conv_add_patches(&c);
    }
    if (direct) return 0;
    const int64_t numel = (int64_t)each;
    const aclTensor from = hc_tensor_view(j->wide, &numel, 1, sums),
                    to = hc_tensor_view(j->x->dtype, &numel, 1, out);
    return hc_copy(&to, &from);
}

static void run_units(void *job, size_t begin, size_t end) {
    struct job *j = job;
    for (size_t slice = begin; slice < end; slice++) {
        const int code = run_unit(j, slice);
        if (code != 0) atomic_store(&j->code, code);
    }
}

/* Kernel and stride 1: the product is x. */
static aclnnStatus run_pointwise(struct job *j) {
    const struct conv_shape *s = j->s;
    for (size_t group = 0; group < s->groups; group++) {
        struct hc_gemm g = product(j, group, 0, j->cols);
        g.out = (struct hc_gemm_matrix){hc_data(j->x) + group * s->cx * j->cols * (size_t)j->x->item_size,
                                        j->x->dtype,
                                        (int64_t)j->cols,
                                        1,
                                        {(int64_t)(s->groups * s->cx * j->cols)}};
        if (j->bias != NULL)
            g.self = (struct hc_gemm_matrix){hc_data(j->bias) + (int64_t)(group * s->cx) *
                                                                    j->bias->stride[0] * j->bias->item_size,
                                             j->bias->dtype,
                                             j->bias->stride[0],
                                             0,
                                             {0}};
        g.b.batch[0] = (int64_t)(s->groups * s->cy * j->cols);
        g.batch_rank = 1;
        g.batch_shape[0] = (int64_t)s->batch;
        HC_TRY(hc_gemm(&g));
    }
    return 0;
}

aclnnStatus conv_data(const struct conv_shape *s, const aclTensor *y, const aclTensor *w,
                      const aclTensor *bias, const aclTensor *x) {
    if (x->numel == 0) return 0;
    if (conv_is_depthwise(s, x)) return conv_depthwise_data(s, y, w, bias, x);
    struct job j = {.s = s, .y = y, .w = w, .bias = bias, .x = x};
    j.rows = conv_rows(s);
    j.cols = conv_volume(s->y);
    j.wide = hc_compute_block(x->dtype) == HC_F64 ? ACL_DOUBLE : ACL_FLOAT;
    if (conv_is_pointwise(s)) return run_pointwise(&j);
    j.block = conv_block_cols(s, hc_dtype_size(j.wide));
    const size_t units = s->batch * s->groups;
    if (units >= 2 * hc_num_threads()) hc_parallel_for(units, 1, run_units, &j);
    else run_units(&j, 0, units);
    const int code = atomic_load(&j.code);
    HC_CHECK(code == 0, code, "convolution: out of host memory for a block of patches of %s", HC_SHOW(x));
    return 0;
}
