// SPDX-License-Identifier: Apache-2.0
/* Row lookup: out[..., :] = weight[indices[...], :].
 *
 * Costs one read of each wanted row and one write of out; the table itself, which may be far larger than
 * the cache, is not touched otherwise. Indices are not negative here, unlike in indexing: an embedding
 * has no row -1, and a wrong one is reported with its place rather than read from the end. */

#include "gather.h"

/* A gather whose source has the output's shape: stride 0 along the positions, and one index for each run
 * of a row, so rows are moved by memcpy. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *out = hc_arg(call, 0), *weight = hc_arg(call, 1);
    struct hc_index index;
    HC_TRY(hc_index_open(call->name, "indices", hc_arg(call, 2), weight->shape[0], false, &index));
    aclTensor rows = *out;
    rows.base = weight->base;
    rows.offset = weight->offset;
    const int32_t last = out->rank - 1;
    for (int32_t d = 0; d < last; d++) rows.stride[d] = 0;
    rows.stride[last] = weight->stride[1];
    aclTensor positions = index.view;
    positions.rank = out->rank;
    positions.numel = out->numel;
    positions.shape[last] = out->shape[last];
    positions.stride[last] = 0;
    const aclnnStatus status =
        hc_gather(out, &rows, &positions, weight->stride[0] * weight->item_size, &index);
    hc_block_give(index.owned);
    return status;
}

/* F.embedding(indices, weight). The forward knows no padding index: its row is read as any other, only
 * the gradient leaves it out. indices of any shape and integer type; out has their shape and then
 * weight's columns. */
HC_API aclnnStatus aclnnEmbeddingGetWorkspaceSize(const aclTensor *weight, const aclTensor *indices,
                                                  const aclTensor *out, uint64_t *workspaceSize,
                                                  aclOpExecutor **executor) {
    HC_CHECK(weight && indices && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnEmbedding: %s is null",
             !weight   ? "weight"
             : indices ? "out"
                       : "indices");
    HC_TRY(hc_index_check_dtype("aclnnEmbedding", "indices", indices));
    HC_CHECK(weight->rank == 2, ACLNN_ERR_PARAM_INVALID,
             "aclnnEmbedding: weight is %s, wanted two dimensions", HC_SHOW(weight));
    bool fits = out->rank == indices->rank + 1 && out->dtype == weight->dtype &&
                out->shape[out->rank - 1] == weight->shape[1];
    for (int32_t d = 0; fits && d < indices->rank; d++) fits = out->shape[d] == indices->shape[d];
    HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID, "aclnnEmbedding: out is %s for weight %s and indices %s",
             HC_SHOW(out), HC_SHOW(weight), HC_SHOW(indices));
    return HC_PLAN0("aclnnEmbedding", run, HC_OUT(out), HC_IN(weight), HC_IN(indices));
}
HC_OP_LAUNCH(aclnnEmbedding)
