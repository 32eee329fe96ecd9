// SPDX-License-Identifier: Apache-2.0
/* Gradient of an embedding: out[v] = the sum of grad[t] over the positions t with indices[t] == v, in the
 * order of t.
 *
 * Positions are first sorted by row (counting sort, stable); then each row of out is summed in one go, in
 * float for the 16-bit types, and written once. Rows are independent, so threads share them. */
#include <string.h>

#include "index_load.h"

HC_KERNEL(embedding_add_F32, (size_t n, void *sum, const void *x))
HC_KERNEL(embedding_add_F64, (size_t n, void *sum, const void *x))
HC_KERNEL(embedding_scale_F32, (size_t n, void *sum, double factor))
HC_KERNEL(embedding_scale_F64, (size_t n, void *sum, double factor))

#ifdef HC_ISA
/* Two loops over a block of columns. Sums are in the block's own type, float for bfloat16 and half: a row
 * that is named a thousand times would lose its later gradients in 16 bits. */
#define DEFINE(block, type)                                                                                  \
    void HC_FN(embedding_add_##block)(size_t n, void *sum, const void *x) {                                  \
        type *y = sum;                                                                                       \
        const type *a = x;                                                                                   \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] += a[i];                                    \
    }                                                                                                        \
    void HC_FN(embedding_scale_##block)(size_t n, void *sum, double factor) {                                \
        type *y = sum;                                                                                       \
        for (size_t i = 0; i < n; i++) y[i] *= (type)factor;                                                 \
    }
DEFINE(F32, float)
DEFINE(F64, double)
#else
/* padding: a row that gets no gradient, -1 if none. */
struct args {
    int64_t rows, padding;
    bool scale_by_frequency;
};

struct job {
    aclTensor out, grad;  /* [rows, H], contiguous, and [positions, H], unit inner stride */
    const int64_t *first; /* first[v] to first[v + 1]: where row v's positions are in `order` */
    const int64_t *order;
    size_t width, chunk, chunks;
    bool scale;
    enum hc_block block;
    hc_load_fn *load;
    hc_store_fn *store;
    embedding_add_F32_fn *add;
    embedding_scale_F32_fn *scale_by;
};

/* Columns [column, column + n) of a row of out: at most a block, so the sum stays in the first-level
 * cache. A row that no position names is zero. */
static void sum_row(const struct job *j, size_t row, size_t column, size_t n) {
    _Alignas(64) double sum[HC_EW_BLOCK], widened[HC_EW_BLOCK];
    const size_t size = (size_t)j->grad.item_size;
    char *y = hc_data(&j->out) + (row * j->width + column) * (size_t)j->out.item_size;
    const int64_t begin = j->first[row], end = j->first[row + 1];
    if (begin == end) {
        memset(y, 0, n * (size_t)j->out.item_size);
        return;
    }
    const bool direct = hc_block_of(j->grad.dtype) == (int)j->block;
    for (int64_t p = begin; p < end; p++) {
        const char *x = hc_data(&j->grad) + j->order[p] * j->grad.stride[0] * (int64_t)size + column * size;
        if (p == begin) j->load(n, sum, x, 1);
        else if (direct) j->add(n, sum, x);
        else {
            j->load(n, widened, x, 1);
            j->add(n, sum, widened);
        }
    }
    if (j->scale) j->scale_by(n, sum, 1.0 / (double)(end - begin));
    j->store(n, y, 1, sum);
}

/* A unit is a row, or a part of a wide one. */
static void sum_units(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    for (size_t unit = begin; unit < end; unit++) {
        const size_t column = unit % j->chunks * j->chunk;
        sum_row(j, unit / j->chunks, column, hc_min_size(j->chunk, j->width - column));
    }
}

/* first[v + 1] counts row v, is summed up, and ends as the start of row v + 1. */
static void sort_positions(const int64_t *index, size_t n, int64_t rows, int64_t padding, int64_t *first,
                           int64_t *order) {
    memset(first, 0, (size_t)(rows + 2) * sizeof *first);
    int64_t *next = first + 1; /* next[v]: where row v's next position goes */
    for (size_t i = 0; i < n; i++) next[index[i] + 1] += index[i] != padding;
    for (int64_t v = 0; v < rows; v++) next[v + 1] += next[v];
    for (size_t i = 0; i < n; i++) {
        if (index[i] != padding) order[next[index[i]]++] = (int64_t)i;
    }
}

/* O(positions + rows) for the order, then each position's row of grad is read once. */
static aclnnStatus sum_rows(const struct hc_call *call, const aclTensor *index, const aclTensor *grad,
                            aclTensor *out) {
    const struct args *a = call->args;
    const size_t n = hc_numel(index), width = (size_t)out->shape[1];
    int64_t *first = hc_block_take_array((size_t)a->rows + 2 + n, sizeof *first);
    HC_CHECK(first != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu positions", call->name, n);
    sort_positions((const int64_t *)hc_data(index), n, a->rows, a->padding, first, first + a->rows + 2);
    const enum hc_block block = hc_compute_block(grad->dtype);
    struct job job = {*out,
                      *grad,
                      first,
                      first + a->rows + 2,
                      width,
                      hc_min_size(width, HC_EW_BLOCK),
                      0,
                      a->scale_by_frequency,
                      block,
                      hc_load_for(grad->dtype, block),
                      hc_store_for(out->dtype, block),
                      block == HC_F32 ? HC_DISPATCH(embedding_add_F32) : HC_DISPATCH(embedding_add_F64),
                      block == HC_F32 ? HC_DISPATCH(embedding_scale_F32) : HC_DISPATCH(embedding_scale_F64)};
    job.chunks = hc_ceil_div(width, job.chunk);
    const size_t grain = hc_max_size(1, 16 * 1024 / job.chunk);
    hc_parallel_for((size_t)a->rows * job.chunks, grain, sum_units, &job);
    hc_block_give(first);
    return 0;
}

/* grad as [positions, H], contiguous (a copy only where it was not), and indices as checked int64. Rows
 * of out that are strided are summed in a contiguous copy, then moved. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *out = hc_arg(call, 0), *grad = hc_arg(call, 1);
    aclTensor rows, to;
    void *copy, *result = NULL;
    struct hc_index index = {0};
    if (out->numel == 0) return 0;
    HC_TRY(hc_contiguous_apart(grad, grad->dtype, out, &rows, &copy));
    const struct args *a = call->args;
    aclnnStatus status = hc_index_copy(call->name, "indices", hc_arg(call, 2), a->rows, false, &index);
    if (status == 0) {
        status = hc_contiguous_out(out, out->dtype, &to, &result);
        rows.rank = 2;
        rows.shape[0] = index.view.numel;
        rows.shape[1] = rows.stride[0] = out->shape[1];
        if (status == 0) status = sum_rows(call, &index.view, &rows, &to);
        if (status == 0 && result != NULL) status = hc_copy(out, &to);
        hc_block_give(result);
        hc_block_give(index.owned);
    }
    hc_block_give(copy);
    return status;
}

/* The gradient of F.embedding for weight. paddingIdx: the row whose gradient stays zero; PyTorch's "none"
 * is -1, which arrives here as the largest uint64 and becomes -1 again. scaleGradByFreq divides a row's
 * sum by how often it was named, which the sorted positions say for nothing. */
HC_API aclnnStatus aclnnEmbeddingDenseBackwardGetWorkspaceSize(const aclTensor *grad,
                                                               const aclTensor *indices, uint64_t numWeights,
                                                               uint64_t paddingIdx, bool scaleGradByFreq,
                                                               const aclTensor *out, uint64_t *workspaceSize,
                                                               aclOpExecutor **executor) {
    static const char *const NAME = "aclnnEmbeddingDenseBackward";
    HC_CHECK(grad && indices && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             !grad     ? "grad"
             : indices ? "out"
                       : "indices");
    HC_TRY(hc_index_check_dtype(NAME, "indices", indices));
    HC_CHECK(hc_dtype_is_float(grad->dtype) && hc_dtype_is_float(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: grad is %s, out is %s, wanted floats", NAME, HC_SHOW(grad), HC_SHOW(out));
    HC_CHECK(grad->rank >= 1 && out->rank == 2 && out->shape[0] == (int64_t)numWeights &&
                 out->shape[1] == grad->shape[grad->rank - 1] &&
                 grad->numel == indices->numel * out->shape[1],
             ACLNN_ERR_PARAM_INVALID, "%s: out is %s for grad %s, indices %s and numWeights %llu", NAME,
             HC_SHOW(out), HC_SHOW(grad), HC_SHOW(indices), (unsigned long long)numWeights);
    const struct args args = {(int64_t)numWeights, (int64_t)paddingIdx, scaleGradByFreq};
    return HC_PLAN(NAME, run, &args, HC_OUT(out), HC_IN(grad), HC_IN(indices));
}
HC_OP_LAUNCH(aclnnEmbeddingDenseBackward)
#endif
