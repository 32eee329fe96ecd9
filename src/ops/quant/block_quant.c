// SPDX-License-Identifier: Apache-2.0
/* See block_quant.h. A block is loaded, measured, divided and stored while it is in the cache. */
#include "block_quant.h"

#include <stdatomic.h>
#include <string.h>

enum { GRAIN = 16384, LARGEST = 1024 };

/* ---- phase one ---- */

/* Checked before y, so that a wrong word is told of as such. */
static aclnnStatus check_words(const struct hc_block_quant_call *c) {
    HC_CHECK(c->round_mode != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: roundMode is null", c->name);
    const bool rounds_away =
        c->y != NULL && c->y->dtype == ACL_HIFLOAT8 && strcmp(c->round_mode, "round") == 0;
    HC_CHECK(strcmp(c->round_mode, "rint") == 0 || rounds_away, ACLNN_ERR_PARAM_INVALID,
             "%s: roundMode is '%.32s', wanted rint (or round, which hifloat8 does)", c->name, c->round_mode);
    HC_CHECK(c->min_scale >= 0, ACLNN_ERR_PARAM_INVALID, "%s: minScale is %g, wanted 0 or more", c->name,
             c->min_scale);
    HC_CHECK(c->rows > 0 && c->rows <= LARGEST && c->columns > 0 && c->columns <= LARGEST,
             ACLNN_ERR_PARAM_INVALID, "%s: rowBlockSize and colBlockSize are %lld and %lld, wanted 1 to %d",
             c->name, (long long)c->rows, (long long)c->columns, LARGEST);
    return 0;
}

/* Words and numbers, then y: what the scale must be depends on the caller's stretches. */
aclnnStatus hc_block_quant_check(const struct hc_block_quant_call *c, struct hc_block_quant *b) {
    HC_TRY(hc_quant_check_float(c->name, "x", c->x));
    HC_CHECK(c->x->rank == 2 || c->x->rank == 3, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted two or three dimensions", c->name, HC_SHOW(c->x));
    HC_TRY(check_words(c));
    *b = (struct hc_block_quant){
        .rows = (size_t)c->rows, .columns = (size_t)c->columns, .min_scale = (float)c->min_scale};
    HC_TRY(hc_quant_check_target(c->name, c->x, "yOut", c->y, c->dst_type, &b->target));
    HC_CHECK(b->target.kind != HC_QUANT_I4, ACLNN_ERR_PARAM_INVALID,
             "%s: yOut is %s, wanted int8, fp8 or hifloat8", c->name, HC_SHOW(c->y));
    const bool chosen = b->target.kind == HC_QUANT_HIF8 && c->largest > 0 && c->largest <= 32768;
    HC_CHECK(c->largest == 0 || chosen, ACLNN_ERR_PARAM_INVALID,
             "%s: dstTypeMax is %g, wanted 0, or up to 32768 with hifloat8", c->name, c->largest);
    if (chosen) b->target.low = -(float)c->largest, b->target.high = (float)c->largest;
    return 0;
}

/* In x's number of dimensions. */
aclnnStatus hc_block_quant_check_scale(const struct hc_block_quant_call *c, int64_t scale_rows) {
    int64_t shape[3];
    const int32_t rank = c->x->rank;
    memcpy(shape, c->x->shape, (size_t)rank * sizeof *shape);
    shape[rank - 2] = scale_rows;
    shape[rank - 1] = (int64_t)hc_ceil_div((size_t)shape[rank - 1], (size_t)c->columns);
    const aclTensor wanted = hc_tensor_view(ACL_FLOAT, shape, rank, NULL);
    HC_CHECK(c->scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: scaleOut is null", c->name);
    HC_CHECK(c->scale->dtype == ACL_FLOAT && hc_same_shape(c->scale, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: scaleOut is %s, wanted %s", c->name, HC_SHOW(c->scale), HC_SHOW(&wanted));
    return 0;
}

/* ---- phase two ---- */

/* One stretch of one matrix, everything contiguous. */
struct job {
    const struct hc_block_quant *b;
    const char *x;
    char *y;
    float *scale;
    size_t n, rows, across, item; /* columns, rows of the stretch, blocks along a row */
    hc_load_fn *load;
    atomic_bool *failed;
};

/* Piece u: a block. Its elements follow each other in scratch memory, so that one pass measures them. A block
 * with a NaN has NaN for its scale, which no lowest scale hides. */
static void run_blocks(void *ctx, size_t begin, size_t end) {
    struct job *j = ctx;
    const struct hc_block_quant *b = j->b;
    float *x = hc_scratch(HC_SCRATCH_C, b->rows * b->columns * sizeof *x);
    if (x == NULL) {
        atomic_store(j->failed, true);
        return;
    }
    for (size_t u = begin; u < end; u++) {
        const size_t row0 = u / j->across * b->rows, col0 = u % j->across * b->columns;
        const size_t rows = hc_min_size(b->rows, j->rows - row0),
                     columns = hc_min_size(b->columns, j->n - col0);
        struct hc_quant_range range;
        for (size_t r = 0; r < rows; r++)
            j->load(columns, x + r * columns, j->x + ((row0 + r) * j->n + col0) * j->item, 1);
        HC_DISPATCH(hc_quant_range)(rows * columns, x, NULL, &range);
        struct hc_quant_scale s = hc_quant_scale_of(&b->target, range, true);
        /* False for NaN, which stays. */
        if (s.scale < b->min_scale) s.scale = b->min_scale;
        j->scale[u] = s.scale;
        hc_quant_row(&b->target, &s, rows * columns, x);
        for (size_t r = 0; r < rows; r++)
            hc_quant_store(&b->target, j->y + (row0 + r) * j->n + col0, 0, columns, x + r * columns);
    }
}

/* Elements of y are bytes. */
static void run_matrix(struct job *j, const int64_t *ends, size_t stretches) {
    const struct hc_block_quant *b = j->b;
    const size_t grain = hc_max_size(GRAIN / (b->rows * b->columns), 1);
    for (size_t g = 0; g < stretches; g++) {
        const size_t first = g > 0 ? (size_t)ends[g - 1] : 0;
        struct job stretch = *j;
        stretch.x += first * j->n * j->item;
        stretch.y += first * j->n;
        stretch.scale += (first / b->rows + g) * j->across;
        stretch.rows = (ends != NULL ? (size_t)ends[g] : j->rows) - first;
        hc_parallel_for(hc_ceil_div(stretch.rows, b->rows) * j->across, grain, run_blocks, &stretch);
    }
}

/* Matrices of a batch one after the other: each has enough blocks for all threads, or is small. */
static aclnnStatus run_all(const char *name, const struct hc_block_quant *b, const aclTensor *x,
                           const aclTensor *y, const aclTensor *scale, const int64_t *ends,
                           size_t stretches) {
    atomic_bool failed = false;
    const int32_t r = x->rank;
    struct job j = {.b = b,
                    .n = (size_t)x->shape[r - 1],
                    .rows = (size_t)x->shape[r - 2],
                    .across = hc_ceil_div((size_t)x->shape[r - 1], b->columns),
                    .item = (size_t)x->item_size,
                    .load = hc_load_for(x->dtype, HC_F32),
                    .failed = &failed};
    const size_t matrices = r == 3 ? (size_t)x->shape[0] : 1,
                 scales = hc_numel(scale) / hc_max_size(matrices, 1);
    memset(hc_data(scale), 0, hc_numel(scale) * sizeof(float)); /* rows between stretches */
    for (size_t i = 0; i < matrices; i++) {
        j.x = hc_data(x) + i * j.rows * j.n * j.item;
        j.y = hc_data(y) + i * j.rows * j.n;
        j.scale = (float *)hc_data(scale) + i * scales;
        run_matrix(&j, ends, stretches);
    }
    HC_CHECK(!atomic_load(&failed), ACLNN_ERR_INNER, "%s: out of host memory for blocks of %zu by %zu", name,
             b->rows, b->columns);
    return 0;
}

/* x too is copied where y lies in its memory. */
aclnnStatus hc_block_quant_run(const char *name, const struct hc_block_quant *b, const aclTensor *x,
                               const aclTensor *y, const aclTensor *scale, const int64_t *ends,
                               size_t stretches) {
    aclTensor from, to, to_scale;
    void *owned[3] = {NULL};
    aclnnStatus status = hc_contiguous_apart(x, x->dtype, y, &from, &owned[0]);
    if (status == 0) status = hc_contiguous_out(y, y->dtype, &to, &owned[1]);
    if (status == 0) status = hc_contiguous_out(scale, ACL_FLOAT, &to_scale, &owned[2]);
    if (status == 0) status = run_all(name, b, &from, &to, &to_scale, ends, ends != NULL ? stretches : 1);
    if (status == 0 && owned[1] != NULL) status = hc_copy(y, &to);
    if (status == 0 && owned[2] != NULL) status = hc_copy(scale, &to_scale);
    for (size_t i = 0; i < HC_ARRAY_SIZE(owned); i++) hc_block_give(owned[i]);
    return status;
}
