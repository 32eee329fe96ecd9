// SPDX-License-Identifier: Apache-2.0
/* Writes into a cache of keys or values: for each batch b, data[b, .., indices[b] + j, ..] = updates[b,
 * .., j, ..] along axis. Two-column indices name the batch, too: (batch, first).
 *
 * Every update is a block of data, so each is one strided copy. There are as many as sequences in a
 * batch: few and large, which is why the loop over them is plain and each copy uses all threads. */

#include "index_load.h"

/* Not negative, and not the batch's. */
struct args {
    int64_t axis;
};

/* [first, first + length) along dim, as a view. */
static aclTensor narrow(aclTensor t, int64_t dim, int64_t first, int64_t length) {
    t.numel = t.shape[dim] > 0 ? t.numel / t.shape[dim] * length : 0;
    t.offset += first * t.stride[dim];
    t.shape[dim] = length;
    return t;
}

static aclnnStatus check_range(const char *name, size_t position, const char *what, int64_t first,
                               int64_t length, int64_t bound) {
    HC_CHECK(hc_range_inside(first, length, bound), ACLNN_ERR_PARAM_INVALID,
             "%s: index %lld at position [%zu] of indices is out of range: %s, wanted 0 to %lld", name,
             (long long)first, position, what, (long long)(bound - length));
    return 0;
}

/* Two passes over a copy of the indices, so that nothing is written where one is out of range. */
static aclnnStatus update(const struct hc_call *call, const int64_t *index, bool pairs,
                          const aclTensor *updates, bool write) {
    const struct args *a = call->args;
    const aclTensor *data = hc_arg(call, 0);
    for (int64_t i = 0; i < updates->shape[0]; i++) {
        const int64_t batch = pairs ? index[2 * i] : i, first = index[pairs ? 2 * i + 1 : i];
        const int64_t length = updates->shape[a->axis];
        HC_TRY(check_range(call->name, (size_t)i, "batch", batch, 1, data->shape[0]));
        HC_TRY(check_range(call->name, (size_t)i, "along axis", first, length, data->shape[a->axis]));
        const aclTensor to = narrow(narrow(*data, 0, batch, 1), a->axis, first, length),
                        from = narrow(*updates, 0, i, 1);
        if (write) HC_TRY(hc_copy(&to, &from));
    }
    return 0;
}

/* Indices are few; they are read once, as int64 whatever their type. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *indices = hc_arg(call, 1);
    int64_t *index = hc_block_take_array(hc_numel(indices), sizeof *index);
    HC_CHECK(index != NULL, ACLNN_ERR_INNER, "%s: out of host memory for indices %s", call->name,
             HC_SHOW(indices));
    const aclTensor own = hc_tensor_view(ACL_INT64, indices->shape, indices->rank, index);
    aclnnStatus status = hc_copy(&own, indices);
    if (status == 0) status = update(call, index, indices->rank == 2, hc_arg(call, 2), false);
    if (status == 0) status = update(call, index, indices->rank == 2, hc_arg(call, 2), true);
    hc_block_give(index);
    return status;
}

/* Where two updates overlap, the later one wins. What the updates do not cover keeps its bits. */
HC_API aclnnStatus aclnnInplaceScatterUpdateGetWorkspaceSize(aclTensor *data, const aclTensor *indices,
                                                             const aclTensor *updates, int64_t axis,
                                                             uint64_t *workspaceSize,
                                                             aclOpExecutor **executor) {
    static const char *const NAME = "aclnnInplaceScatterUpdate";
    HC_CHECK(data && indices && updates, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             !data     ? "data"
             : indices ? "updates"
                       : "indices");
    HC_TRY(hc_index_check_dtype(NAME, "indices", indices));
    const struct args args = {hc_wrap_dim(axis, data->rank)};
    HC_CHECK(args.axis > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: axis is %lld, data is %s: wanted a dimension after the first", NAME, (long long)axis,
             HC_SHOW(data));
    bool fits = data->rank == updates->rank && data->dtype == updates->dtype;
    for (int32_t d = 1; fits && d < data->rank; d++)
        fits = d == args.axis || data->shape[d] == updates->shape[d];
    HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID, "%s: updates is %s, data is %s (axis %lld)", NAME,
             HC_SHOW(updates), HC_SHOW(data), (long long)axis);
    HC_CHECK(indices->numel == updates->shape[0] * (indices->rank == 2 ? 2 : 1) && indices->rank >= 1 &&
                 indices->rank <= 2,
             ACLNN_ERR_PARAM_INVALID, "%s: indices is %s, updates is %s", NAME, HC_SHOW(indices),
             HC_SHOW(updates));
    return HC_PLAN(NAME, run, &args, HC_INOUT(data), HC_IN(indices), HC_IN(updates));
}
HC_OP_LAUNCH(aclnnInplaceScatterUpdate)
