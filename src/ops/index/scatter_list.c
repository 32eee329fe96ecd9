// SPDX-License-Identifier: Apache-2.0
/* Writes into a list of caches: for each tensor i of the list, varRef[i][.., indice[i] + j, ..] = updates[i,
 * .., j, ..] along axis, where the mask lets it. Each update is one strided copy on all threads. */
#include <string.h>

#include "index_load.h"
#include "slice.h"

enum slot { VAR, INDICE, UPDATES, MASK };

/* From the end, so that it is the same for an update and for updates. */
struct args {
    int32_t axis_from_end;
};

/* Update i, without the dimension of the list. */
static aclTensor update_at(const aclTensor *updates, int64_t i) {
    aclTensor t = hc_slice_view(updates, 0, i, 1);
    t.rank--;
    memmove(t.shape, t.shape + 1, (size_t)t.rank * sizeof *t.shape);
    memmove(t.stride, t.stride + 1, (size_t)t.rank * sizeof *t.stride);
    return t;
}

/* Two passes over copies of indices and mask, so that nothing is written where one is out of range. */
static aclnnStatus update(const struct hc_call *call, const int64_t *index, const int64_t *mask, bool write) {
    const struct args *a = call->args;
    const aclTensor *updates = hc_arg(call, UPDATES);
    for (int64_t i = 0; i < updates->shape[0]; i++) {
        if (mask != NULL && mask[i] == 0) continue;
        const aclTensor *var = hc_arg_at(call, VAR, (size_t)i), from = update_at(updates, i);
        const int32_t axis = var->rank - a->axis_from_end;
        HC_CHECK(hc_range_inside(index[i], from.shape[axis], var->shape[axis]), ACLNN_ERR_PARAM_INVALID,
                 "%s: index %lld at position [%lld] of indice is out of range, wanted 0 to %lld", call->name,
                 (long long)index[i], (long long)i, (long long)(var->shape[axis] - from.shape[axis]));
        const aclTensor to = hc_slice_view(var, axis, index[i], from.shape[axis]);
        if (write) HC_TRY(hc_copy(&to, &from));
    }
    return 0;
}

/* Indices and mask are few; they are read once, as int64 whatever their type. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *indice = hc_arg(call, INDICE), *given = hc_arg(call, MASK);
    const size_t n = hc_numel(indice);
    int64_t *index = hc_block_take_array(n, 2 * sizeof *index);
    HC_CHECK(index != NULL, ACLNN_ERR_INNER, "%s: out of host memory for indice %s", call->name,
             HC_SHOW(indice));
    const aclTensor own = hc_tensor_view(ACL_INT64, indice->shape, 1, index),
                    own_mask = hc_tensor_view(ACL_INT64, indice->shape, 1, index + n);
    const int64_t *mask = given != NULL ? index + n : NULL;
    aclnnStatus status = hc_copy(&own, indice);
    if (status == 0 && given != NULL) status = hc_copy(&own_mask, given);
    if (status == 0) status = update(call, index, mask, false);
    if (status == 0) status = update(call, index, mask, true);
    hc_block_give(index);
    return status;
}

/* ---- phase one ---- */

static const char *const NAME = "aclnnScatterList";

/* Updates are the list's tensors, one after the other, but for axis, where they may be shorter. */
static aclnnStatus check_list(const aclTensorList *varRef, const aclTensor *updates, int64_t axis) {
    for (size_t i = 0; i < varRef->size; i++) {
        const aclTensor *var = varRef->data[i];
        HC_CHECK(var != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: tensor %zu of varRef is null", NAME, i);
        HC_CHECK(axis < 0 && axis >= -var->rank, ACLNN_ERR_PARAM_INVALID,
                 "%s: axis is %lld, tensor %zu of varRef is %s: wanted -1 to %d, counted from its end", NAME,
                 (long long)axis, i, HC_SHOW(var), -var->rank);
        bool fits = updates->rank == var->rank + 1 && updates->dtype == var->dtype;
        for (int32_t d = 0; fits && d < var->rank; d++)
            fits = d == var->rank + axis || updates->shape[d + 1] == var->shape[d];
        HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID,
                 "%s: updates is %s, tensor %zu of varRef is %s: wanted its type and shape behind the first "
                 "dimension, but for axis %lld",
                 NAME, HC_SHOW(updates), i, HC_SHOW(var), (long long)axis);
    }
    return 0;
}

/* torch_npu.npu_scatter_list. Where two updates overlap, the later one wins. */
HC_API aclnnStatus aclnnScatterListGetWorkspaceSize(aclTensorList *varRef, const aclTensor *indice,
                                                    const aclTensor *updates, const aclTensor *maskOptional,
                                                    char *reduceOptional, int64_t axis,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(varRef != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: varRef is null", NAME);
    HC_CHECK(indice != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: indice is null", NAME);
    HC_CHECK(updates != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: updates is null", NAME);
    HC_CHECK(reduceOptional == NULL || strcmp(reduceOptional, "update") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: reduceOptional is '%.32s', wanted update", NAME, reduceOptional);
    HC_TRY(hc_index_check_dtype(NAME, "indice", indice));
    const int64_t n = (int64_t)varRef->size;
    HC_CHECK(indice->rank == 1 && indice->numel == n, ACLNN_ERR_PARAM_INVALID,
             "%s: indice is %s, wanted one dimension of %lld: varRef has so many tensors", NAME,
             HC_SHOW(indice), (long long)n);
    HC_CHECK(updates->rank >= 2 && updates->shape[0] == n, ACLNN_ERR_PARAM_INVALID,
             "%s: updates is %s, wanted %lld along the first of two dimensions at least", NAME,
             HC_SHOW(updates), (long long)n);
    if (maskOptional != NULL)
        HC_CHECK((maskOptional->dtype == ACL_BOOL || hc_dtype_class(maskOptional->dtype) == HC_CLASS_INT) &&
                     maskOptional->rank == 1 && maskOptional->numel == n,
                 ACLNN_ERR_PARAM_INVALID, "%s: maskOptional is %s, wanted uint8 or bool of [%lld]", NAME,
                 HC_SHOW(maskOptional), (long long)n);
    HC_TRY(check_list(varRef, updates, axis));
    const struct args args = {(int32_t)-axis};
    return HC_PLAN(NAME, run, &args, HC_INOUT_LIST(varRef), HC_IN(indice), HC_IN(updates),
                   HC_IN_OPT(maskOptional));
}
HC_OP_LAUNCH(aclnnScatterList)
