// SPDX-License-Identifier: Apache-2.0
/* out = offValue everywhere but onValue at class self[p] along a new dimension `axis`. A fill, then a
 * scatter of one element per position: O(elements of out) to write, O(positions) to read. */

#include "index_load.h"
#include "scatter.h"

/* Not negative. */
struct args {
    int64_t axis;
};

/* The value of a tensor of one element, in out's type. */
static aclnnStatus read_element(const aclTensor *value, aclDataType dtype, struct hc_element *element) {
    const aclTensor to = hc_tensor_view(dtype, NULL, 0, element->bytes);
    aclTensor from = *value;
    from.rank = 0;
    return hc_copy(&to, &from);
}

/* out is filled with offValue only after the classes have been checked. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0), *self = hc_arg(call, 1);
    struct hc_element on, off;
    struct hc_index index;
    HC_TRY(read_element(hc_arg(call, 2), out->dtype, &on));
    HC_TRY(read_element(hc_arg(call, 3), out->dtype, &off));
    HC_TRY(hc_index_load(call->name, "self", self, out->shape[a->axis], false, &index));
    aclnnStatus status = hc_fill(out, &off);
    struct hc_scatter s = {.op = HC_SCATTER_SET,
                           .dst = *out,
                           .src = *out,
                           .index = index.view,
                           .step = out->stride[a->axis] * out->item_size,
                           .range = out->shape[a->axis],
                           .alpha = hc_scatter_one(),
                           .checked = &index};
    s.src.base = on.bytes;
    s.src.offset = 0;
    s.dst.numel = s.src.numel = self->numel;
    s.index.rank = out->rank;
    for (int32_t d = 0; d < out->rank; d++) {
        s.src.stride[d] = 0;
        if (d == a->axis) s.dst.shape[d] = 1;
        s.src.shape[d] = s.index.shape[d] = s.dst.shape[d];
        s.index.stride[d] = d == a->axis ? 0 : index.view.stride[d < a->axis ? d : d - 1];
    }
    if (status == 0) status = hc_scatter(&s);
    hc_block_give(index.owned);
    return status;
}

/* F.one_hot(self, numClasses), with any two values instead of 1 and 0, and the classes along any
 * dimension. A class that is negative or too large is an error, found before out is touched. */
HC_API aclnnStatus aclnnOneHotGetWorkspaceSize(const aclTensor *self, int64_t numClasses,
                                               const aclTensor *onValue, const aclTensor *offValue,
                                               int64_t axis, aclTensor *out, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    HC_CHECK(self && onValue && offValue && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnOneHot: %s is null",
             !self      ? "self"
             : !onValue ? "onValue"
             : offValue ? "out"
                        : "offValue");
    HC_TRY(hc_index_check_dtype("aclnnOneHot", "self", self));
    HC_CHECK(onValue->numel == 1 && offValue->numel == 1, ACLNN_ERR_PARAM_INVALID,
             "aclnnOneHot: onValue is %s, offValue is %s, wanted one element each", HC_SHOW(onValue),
             HC_SHOW(offValue));
    const struct args args = {hc_wrap_dim(axis, self->rank + 1)};
    bool fits = args.axis >= 0 && out->rank == self->rank + 1;
    for (int32_t d = 0; fits && d < out->rank; d++) {
        fits = out->shape[d] == (d == args.axis ? numClasses : self->shape[d < args.axis ? d : d - 1]);
    }
    HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID, "aclnnOneHot: out is %s for self %s, axis %lld and %lld classes",
             HC_SHOW(out), HC_SHOW(self), (long long)axis, (long long)numClasses);
    return HC_PLAN("aclnnOneHot", run, &args, HC_OUT(out), HC_IN(self), HC_IN(onValue), HC_IN(offValue));
}
HC_OP_LAUNCH(aclnnOneHot)
