// SPDX-License-Identifier: Apache-2.0
/* varRef[indices[i, 0], ..., indices[i, k - 1]] = updates[i]: the last dimension of indices is a place in the
 * first k dimensions of varRef, and an update is what lies behind them.
 *
 * Indices are copied and checked before anything is written; where two name one place, the later one stands.
 */
#include "index_load.h"

static int64_t places_of(const aclTensor *indices) {
    return indices->numel == 0 ? 0 : indices->numel / indices->shape[indices->rank - 1];
}

/* The part of t behind its first `dims` dimensions, which stand for one element of them. */
static aclTensor behind(const aclTensor *t, int32_t dims) {
    aclTensor view = *t;
    view.numel = 1;
    view.rank = t->rank - dims;
    for (int32_t d = 0; d < view.rank; d++) {
        view.shape[d] = t->shape[d + dims];
        view.stride[d] = t->stride[d + dims];
        view.numel *= view.shape[d];
    }
    return view;
}

/* Column c of the indices, a view of numbers within dimension c of varRef. */
static aclTensor column(const aclTensor *indices, int32_t c) {
    aclTensor view = *indices;
    view.rank--;
    view.offset += c * indices->stride[view.rank];
    view.numel = places_of(indices);
    return view;
}

/* Updates have the leading dimensions of the indices, seen as one: they are contiguous. */
static aclnnStatus write_all(const struct hc_call *call, const int64_t *offsets, const aclTensor *updates,
                             int32_t leading, int64_t places) {
    const aclTensor *var = hc_arg(call, 0);
    aclTensor to = behind(var, var->rank - (updates->rank - leading)), from = behind(updates, leading);
    for (int64_t i = 0; i < places; i++) {
        to.offset = var->offset + offsets[i];
        from.offset = updates->offset + i * from.numel;
        HC_TRY(hc_copy(&to, &from));
    }
    return 0;
}

/* Where each update goes, in elements from the first one of varRef. */
static aclnnStatus add_offsets(const struct hc_call *call, int64_t *offsets) {
    const aclTensor *var = hc_arg(call, 0), *indices = hc_arg(call, 1);
    const int32_t columns = (int32_t)indices->shape[indices->rank - 1];
    const int64_t places = places_of(indices);
    for (int32_t c = 0; c < columns; c++) {
        const aclTensor view = column(indices, c);
        struct hc_index index;
        HC_TRY(hc_index_copy(call->name, "indices", &view, var->shape[c], true, &index));
        const int64_t *values = (const int64_t *)hc_data(&index.view);
        for (int64_t i = 0; i < places; i++) offsets[i] += values[i] * var->stride[c];
        hc_block_give(index.owned);
    }
    return 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *indices = hc_arg(call, 1), *given = hc_arg(call, 2);
    const int64_t places = places_of(indices);
    aclTensor updates;
    void *owned;
    HC_TRY(hc_contiguous_apart(given, given->dtype, hc_arg(call, 0), &updates, &owned));
    int64_t *offsets = hc_block_take_zeroed((size_t)places, sizeof *offsets);
    aclnnStatus status = offsets != NULL ? add_offsets(call, offsets)
                                         : hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %lld places",
                                                   call->name, (long long)places);
    if (status == 0) status = write_all(call, offsets, &updates, indices->rank - 1, places);
    hc_block_give(offsets);
    hc_block_give(owned);
    return status;
}

/* Shape of updates: that of indices without the last dimension, then varRef's behind the first k. */
static bool fits(const aclTensor *var, const aclTensor *indices, const aclTensor *updates) {
    const int64_t k = indices->shape[indices->rank - 1];
    if (k < 1 || k > var->rank || updates->rank != indices->rank - 1 + var->rank - (int32_t)k) return false;
    for (int32_t d = 0; d < updates->rank; d++) {
        const int32_t behind_indices = d - (indices->rank - 1);
        if (updates->shape[d] != (behind_indices < 0 ? indices->shape[d] : var->shape[behind_indices + k]))
            return false;
    }
    return true;
}

HC_API aclnnStatus aclnnScatterNdUpdateGetWorkspaceSize(aclTensor *varRef, const aclTensor *indices,
                                                        const aclTensor *updates, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    static const char *const NAME = "aclnnScatterNdUpdate";
    HC_CHECK(varRef && indices && updates, ACLNN_ERR_PARAM_NULLPTR, "%s: varRef, indices or updates is null",
             NAME);
    HC_TRY(hc_index_check_dtype(NAME, "indices", indices));
    HC_CHECK(indices->rank >= 1 && fits(varRef, indices, updates) && updates->dtype == varRef->dtype,
             ACLNN_ERR_PARAM_INVALID,
             "%s: varRef is %s, indices %s, updates %s: want the places of indices with what lies behind its "
             "columns",
             NAME, HC_SHOW(varRef), HC_SHOW(indices), HC_SHOW(updates));
    return HC_PLAN0(NAME, run, HC_INOUT(varRef), HC_IN(indices), HC_IN(updates));
}
HC_OP_LAUNCH(aclnnScatterNdUpdate)
