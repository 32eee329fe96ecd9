// SPDX-License-Identifier: Apache-2.0
/* Elements by their row-major position in self: out[p] = self.flat[index[p]] (Take), and
 * self.flat[index[p]] = source[p], or += with accumulate (InplacePut). Negative positions count from the
 * end.
 *
 * A gather and a scatter along one dimension, the flattened tensor's. A strided self costs a copy, for
 * Put one back as well: positions would otherwise need a division per dimension each. */

#include "gather.h"
#include "scatter.h"

/* For InplacePut. */
struct args {
    bool accumulate;
};

/* All elements in a line. */
static aclTensor flat(const aclTensor *contiguous) {
    return hc_tensor_view(contiguous->dtype, &contiguous->numel, 1, hc_data(contiguous));
}

/* Row-major positions mean offsets only in a contiguous tensor: others are copied first. */
static aclnnStatus run_take(const struct hc_call *call) {
    const aclTensor *out = hc_arg(call, 0), *self = hc_arg(call, 1);
    struct hc_index index;
    aclTensor whole;
    void *copy;
    HC_TRY(hc_contiguous_apart(self, self->dtype, out, &whole, &copy));
    aclnnStatus status = hc_index_open(call->name, "index", hc_arg(call, 2), self->numel, true, &index);
    if (status == 0) {
        aclTensor from = *out;
        from.base = hc_data(&whole);
        from.offset = 0;
        for (int32_t d = 0; d < from.rank; d++) from.stride[d] = 0;
        status = hc_gather(out, &from, &index.view, out->item_size, &index);
        hc_block_give(index.owned);
    }
    hc_block_give(copy);
    return status;
}

/* torch.take(self, index): out has index's shape. */
HC_API aclnnStatus aclnnTakeGetWorkspaceSize(const aclTensor *self, const aclTensor *index, aclTensor *out,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && index && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnTake: %s is null",
             !self   ? "self"
             : index ? "out"
                     : "index");
    HC_TRY(hc_index_check_dtype("aclnnTake", "index", index));
    HC_CHECK(hc_same_shape(index, out) && out->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnTake: out is %s, wanted index's shape (%s) and self's dtype (%s)", HC_SHOW(out),
             HC_SHOW(index), HC_SHOW(self));
    return HC_PLAN0("aclnnTake", run_take, HC_OUT(out), HC_IN(self), HC_IN(index));
}
HC_OP_LAUNCH(aclnnTake)

/* A scatter along the one dimension of the flattened tensor. */
static aclnnStatus put(const struct hc_call *call, const aclTensor *target, const aclTensor *source,
                       enum hc_scatter_op op) {
    struct hc_index index;
    HC_TRY(hc_index_load(call->name, "index", hc_arg(call, 1), target->numel, true, &index));
    struct hc_scatter s = {.op = op,
                           .dst = flat(target),
                           .src = flat(source),
                           .index = flat(&index.view),
                           .step = target->item_size,
                           .range = target->numel,
                           .alpha = hc_scatter_one(),
                           .checked = &index};
    s.dst.numel = s.dst.shape[0] = index.view.numel;
    s.dst.stride[0] = 0;
    const aclnnStatus status = hc_scatter(&s);
    hc_block_give(index.owned);
    return status;
}

/* target is self, or its contiguous copy in the type that is added in. */
static aclnnStatus run_put(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *self = hc_arg(call, 0), *source = hc_arg(call, 2);
    const enum hc_scatter_op op = a->accumulate ? HC_SCATTER_ADD : HC_SCATTER_SET;
    const aclDataType dtype = hc_scatter_dtype(op, self->dtype);
    aclTensor target, values;
    void *wide, *copy;
    HC_TRY(hc_contiguous_apart(source, dtype, self, &values, &copy));
    aclnnStatus status = hc_contiguous(self, dtype, &target, &wide);
    if (status == 0) {
        status = put(call, &target, &values, op);
        if (status == 0 && wide != NULL) status = hc_copy(self, &target);
        hc_block_give(wide);
    }
    hc_block_give(copy);
    return status;
}

/* self.put_(index, source, accumulate). index and source match element by element in row-major order,
 * whatever their shapes; the last of equal positions wins, sums are made in order. */
HC_API aclnnStatus aclnnInplacePutGetWorkspaceSize(aclTensor *selfRef, const aclTensor *index,
                                                   const aclTensor *source, bool accumulate,
                                                   uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(selfRef && index && source, ACLNN_ERR_PARAM_NULLPTR, "aclnnInplacePut: %s is null",
             !selfRef ? "selfRef"
             : index  ? "source"
                      : "index");
    HC_TRY(hc_index_check_dtype("aclnnInplacePut", "index", index));
    HC_CHECK(source->numel == index->numel && source->dtype == selfRef->dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnInplacePut: source is %s, wanted as many elements as index (%s) and selfRef's dtype (%s)",
             HC_SHOW(source), HC_SHOW(index), HC_SHOW(selfRef));
    const struct args args = {accumulate};
    return HC_PLAN("aclnnInplacePut", run_put, &args, HC_INOUT(selfRef), HC_IN(index), HC_IN(source));
}
HC_OP_LAUNCH(aclnnInplacePut)
