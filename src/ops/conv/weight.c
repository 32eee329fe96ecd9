// SPDX-License-Identifier: Apache-2.0
/* w from x and y, the gradient of a convolution's weights: y times the transposed matrix of patches, summed
 * over the samples. Sums are kept in float32 (float64), sample after sample and block after block, in one
 * order whatever the number of threads; what is divided among threads is each product, or the groups. */
#include <stdatomic.h>

#include "conv.h"
#include "gemm.h"

/* One call. The columns of the matrix of patches are what is summed over, so a product's sum is one block
 * long. */
struct job {
    const struct conv_shape *s;
    const aclTensor *x, *y;
    char *sums; /* [groups * cy, rows] of the type `wide` */
    aclDataType wide;
    size_t rows, cols, block;
    bool pointwise;
    atomic_int code;
};

/* One block of columns of one sample. The first product of a group writes the sums, so that nothing has to be
 * cleared. */
static aclnnStatus add_block(struct job *j, size_t group, size_t sample, size_t first, char *columns) {
    const struct conv_shape *s = j->s;
    const size_t slice = sample * s->groups + group, cols = hc_min_size(j->block, j->cols - first);
    const size_t item = (size_t)j->x->item_size;
    char *x = hc_data(j->x) + slice * s->cx * conv_volume(s->x) * item;
    char *sums = j->sums + group * s->cy * j->rows * hc_dtype_size(j->wide);
    struct hc_gemm g = {
        .m = s->cy, .n = j->rows, .k = cols, .alpha = HC_GEMM_REAL(1), .beta = HC_GEMM_REAL(1)};
    g.a = (struct hc_gemm_matrix){hc_data(j->y) + (slice * s->cy * j->cols + first) * (size_t)j->y->item_size,
                                  j->y->dtype,
                                  (int64_t)j->cols,
                                  1,
                                  {0}};
    g.out = (struct hc_gemm_matrix){sums, j->wide, (int64_t)j->rows, 1, {0}};
    if (sample > 0 || first > 0) g.self = g.out;
    if (j->pointwise) {
        g.b = (struct hc_gemm_matrix){x + first * item, j->x->dtype, 1, (int64_t)j->cols, {0}};
        return hc_gemm(&g);
    }
    const struct conv_columns c = {s, x, columns, first, cols, item};
    conv_take_patches(&c);
    g.b = (struct hc_gemm_matrix){columns, j->x->dtype, 1, (int64_t)cols, {0}};
    return hc_gemm(&g);
}

static aclnnStatus run_group(struct job *j, size_t group) {
    const size_t bytes = j->pointwise ? 0 : j->rows * j->block * (size_t)j->x->item_size;
    char *columns = hc_scratch(HC_SCRATCH_A, bytes);
    if (columns == NULL) return ACLNN_ERR_INNER;
    for (size_t sample = 0; sample < j->s->batch; sample++) {
        for (size_t first = 0; first < j->cols; first += j->block)
            HC_TRY(add_block(j, group, sample, first, columns));
    }
    return 0;
}

static void run_groups(void *job, size_t begin, size_t end) {
    struct job *j = job;
    for (size_t group = begin; group < end; group++) {
        const int code = run_group(j, group);
        if (code != 0) atomic_store(&j->code, code);
    }
}

aclnnStatus conv_weight(const struct conv_shape *s, const aclTensor *x, const aclTensor *y,
                        const aclTensor *w) {
    if (w->numel == 0) return 0;
    if (x->numel == 0 || y->numel == 0) {
        memset(hc_data(w), 0, hc_numel(w) * (size_t)w->item_size);
        return 0;
    }
    if (conv_is_depthwise(s, x)) return conv_depthwise_weight(s, x, y, w);
    struct job j = {.s = s, .x = x, .y = y};
    j.rows = conv_rows(s);
    j.cols = conv_volume(s->y);
    j.wide = hc_compute_block(w->dtype) == HC_F64 ? ACL_DOUBLE : ACL_FLOAT;
    j.pointwise = conv_is_pointwise(s);
    j.block = j.pointwise ? j.cols : conv_block_cols(s, (size_t)x->item_size);
    aclTensor sums;
    void *owned = NULL;
    HC_TRY(hc_contiguous_out(w, j.wide, &sums, &owned));
    j.sums = hc_data(&sums);
    if (s->groups >= 2 * hc_num_threads()) hc_parallel_for(s->groups, 1, run_groups, &j);
    else run_groups(&j, 0, s->groups);
    int code = atomic_load(&j.code);
    if (code == 0 && owned != NULL) code = hc_copy(w, &sums);
    hc_block_give(owned);
    HC_CHECK(code == 0, code, "convolution: out of host memory for a block of patches of %s", HC_SHOW(x));
    return 0;
}
