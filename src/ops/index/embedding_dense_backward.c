// SPDX-License-Identifier: Apache-2.0
/* Gradient of an embedding: out[v] = the sum of grad[t] over the positions t with indices[t] == v, in the
 * order of t.
 *
 * Positions are first sorted by row (counting sort, stable); then each row of out is a sum of rows of grad
 * (row_sum.h). */
#include "index_load.h"
#include "row_sum.h"

/* padding: a row that gets no gradient, -1 if none. */
struct args {
    int64_t rows, padding;
    bool scale_by_frequency;
};

/* O(positions + rows) for the order, then each position's row of grad is read once. */
static aclnnStatus sum_rows(const struct hc_call *call, const aclTensor *index, const aclTensor *grad,
                            const aclTensor *out) {
    const struct args *a = call->args;
    const size_t n = hc_numel(index);
    int64_t *first = hc_block_take_array((size_t)a->rows + 2 + 2 * n, sizeof *first);
    HC_CHECK(first != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu positions", call->name, n);
    int64_t *order = first + a->rows + 2;
    double *scale = (double *)(void *)(order + n);
    hc_positions_by_row((const int64_t *)hc_data(index), n, a->rows, a->padding, first, order);
    for (int64_t v = 0; v < a->rows && a->scale_by_frequency; v++) {
        for (int64_t e = first[v]; e < first[v + 1]; e++) scale[e] = 1.0 / (double)(first[v + 1] - first[v]);
    }
    const aclnnStatus status =
        hc_row_sum(&(const struct hc_row_sum){.name = call->name,
                                              .out = out,
                                              .src = grad,
                                              .first = first,
                                              .source = order,
                                              .scale = a->scale_by_frequency ? scale : NULL});
    hc_block_give(first);
    return status;
}

/* grad as [positions, H] (a copy only where it cannot be seen so), and indices as checked int64. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0), *grad = hc_arg(call, 1);
    aclTensor rows;
    void *copy;
    struct hc_index index = {0};
    if (out->numel == 0) return 0;
    HC_TRY(hc_contiguous(grad, grad->dtype, &rows, &copy));
    aclnnStatus status = hc_index_copy(call->name, "indices", hc_arg(call, 2), a->rows, false, &index);
    if (status == 0) {
        rows.rank = 2;
        rows.shape[0] = index.view.numel;
        rows.shape[1] = rows.stride[0] = out->shape[1];
        rows.stride[1] = 1;
        status = sum_rows(call, &index.view, &rows, out);
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
