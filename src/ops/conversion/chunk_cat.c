// SPDX-License-Identifier: Apache-2.0
/* Each tensor is cut into numChunks equal chunks along dim (the last ones short or empty, filled up with
 * zeros), chunks are flattened from dim on, and chunk c of all tensors are laid side by side: out[..., c,
 * :].
 *
 * This is how gradients of different shapes become the input of one reduce-scatter: chunk c of all of
 * them is what rank c gets, contiguously. One pass over the data, dtype changed on the way. */
#include "temporary.h"

struct args {
    int64_t dim, chunks;
};

/* Elements of t behind dimension dim: columns that one row of it becomes. */
static int64_t trailing(const aclTensor *t, int64_t dim) {
    int64_t n = 1;
    for (int32_t d = (int32_t)dim + 1; d < t->rank; d++) n *= t->shape[d];
    return n;
}

/* The rows [first, first + length) of t along dim, and where they go in out: the same dimensions, contiguous.
 */
static aclnnStatus copy_chunk(const aclTensor *out, const aclTensor *t, const struct args *a, int64_t chunk,
                              int64_t column, int64_t rows_per_chunk) {
    const int64_t dim = a->dim, first = chunk * rows_per_chunk, inner = trailing(t, dim);
    const int64_t have = hc_max_i64(0, hc_min_i64(rows_per_chunk, t->shape[dim] - first));
    aclTensor from = *t, to = *t;
    from.offset += first * t->stride[dim];
    from.shape[dim] = to.shape[dim] = have;
    from.numel = to.numel = t->shape[dim] > 0 ? t->numel / t->shape[dim] * have : 0;
    to.base = out->base;
    to.dtype = out->dtype;
    to.item_size = out->item_size;
    to.offset = out->offset + chunk * out->stride[dim] + column * out->stride[dim + 1];
    int64_t stride = out->stride[dim + 1];
    for (int32_t d = t->rank - 1; d >= (int32_t)dim; d--) {
        to.stride[d] = stride;
        stride *= d == (int32_t)dim ? 1 : t->shape[d];
    }
    for (int32_t d = 0; d < (int32_t)dim; d++) to.stride[d] = out->stride[d];
    if (have > 0) HC_TRY(hc_copy(&to, &from));
    aclTensor rest = *out; /* [leading..., missing columns] */
    rest.rank = (int32_t)dim + 1;
    rest.offset = to.offset + have * inner * out->stride[dim + 1];
    rest.shape[dim] = (rows_per_chunk - have) * inner;
    rest.stride[dim] = out->stride[dim + 1];
    rest.numel = rest.shape[dim];
    for (int64_t d = 0; d < dim; d++) rest.numel *= rest.shape[d];
    const struct hc_element zero = {{0}};
    return hc_fill(&rest, &zero);
}

/* Two copies (data and zeros) for each chunk of each tensor: chunks are ranks of a data-parallel group,
 * so they are few and large. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    int64_t column = 0;
    for (size_t i = 0; i < hc_arg_count(call, 1); i++) {
        const aclTensor *t = hc_arg_at(call, 1, i);
        const int64_t rows = (t->shape[a->dim] + a->chunks - 1) / a->chunks;
        for (int64_t c = 0; c < a->chunks; c++) HC_TRY(copy_chunk(hc_arg(call, 0), t, a, c, column, rows));
        column += rows * trailing(t, a->dim);
    }
    return 0;
}

/* torch._chunk_cat(tensors, dim, numChunks). Tensors may differ from dim on, and in rank. */
HC_API aclnnStatus aclnnChunkCatGetWorkspaceSize(const aclTensorList *tensors, int64_t dim, int64_t numChunks,
                                                 aclTensor *out, uint64_t *workspaceSize,
                                                 aclOpExecutor **executor) {
    HC_CHECK(tensors && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnChunkCat: %s is null",
             tensors ? "out" : "tensors");
    HC_CHECK(numChunks >= 1 && dim >= 0 && dim == out->rank - 2 && out->shape[dim] == numChunks,
             ACLNN_ERR_PARAM_INVALID,
             "aclnnChunkCat: out is %s, wanted rank dim + 2 (dim is %lld) and %lld chunks in dimension dim",
             HC_SHOW(out), (long long)dim, (long long)numChunks);
    int64_t columns = 0;
    for (size_t i = 0; i < tensors->size; i++) {
        const aclTensor *t = tensors->data[i];
        HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnChunkCat: tensor %zu of the list is null", i);
        bool fits = t->rank > dim;
        for (int64_t d = 0; fits && d < dim; d++) fits = t->shape[d] == out->shape[d];
        HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID, "aclnnChunkCat: tensor %zu is %s, out is %s (dim %lld)", i,
                 HC_SHOW(t), HC_SHOW(out), (long long)dim);
        const int64_t rows = (t->shape[dim] + numChunks - 1) / numChunks;
        columns = hc_add_i64_saturated(columns, rows * trailing(t, dim));
    }
    HC_CHECK(columns == out->shape[dim + 1], ACLNN_ERR_PARAM_INVALID,
             "aclnnChunkCat: out is %s, the chunks have %lld columns", HC_SHOW(out), (long long)columns);
    const struct args args = {dim, numChunks};
    return HC_PLAN("aclnnChunkCat", run, &args, HC_OUT(out), HC_IN_LIST(tensors));
}
HC_OP_LAUNCH(aclnnChunkCat)
