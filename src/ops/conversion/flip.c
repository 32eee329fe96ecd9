// SPDX-License-Identifier: Apache-2.0
/* self with the order along some dimensions reversed: a copy from a view with negative strides.
 *
 * The inner loop runs backwards over self where the last dimension is flipped, so it reads whole lines
 * all the same; nothing is buffered. */
#include "elementwise.h"
#include "messages.h"

/* By dimension, so that a dimension named twice is found. */
struct args {
    bool flipped[HC_MAX_RANK];
};

/* A reversed dimension starts at its last element and steps back. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    aclTensor view = *hc_arg(call, 1);
    if (view.numel == 0) return 0;
    for (int32_t d = 0; d < view.rank; d++) {
        if (!a->flipped[d]) continue;
        view.offset += (view.shape[d] - 1) * view.stride[d];
        view.stride[d] = -view.stride[d];
    }
    return hc_copy(hc_arg(call, 0), &view);
}

/* torch.flip(self, dims); no dims: a copy. */
HC_API aclnnStatus aclnnFlipGetWorkspaceSize(const aclTensor *self, const aclIntArray *dims, aclTensor *out,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && dims && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnFlip: %s is null",
             !self  ? "self"
             : dims ? "out"
                    : "dims");
    HC_CHECK(hc_same_shape(self, out), ACLNN_ERR_PARAM_INVALID,
             "aclnnFlip: out is %s, self is %s, wanted the same shape", HC_SHOW(out), HC_SHOW(self));
    struct args args = {{false}};
    for (size_t i = 0; i < dims->size; i++) {
        const int64_t d = hc_wrap_dim(dims->data[i], self->rank);
        if (d < 0) return hc_fail_dim("aclnnFlip", "dims", dims->data[i], "self", self);
        HC_CHECK(!args.flipped[d], ACLNN_ERR_PARAM_INVALID,
                 "aclnnFlip: dims[%zu] is %lld again, self is %s: wanted each dimension once", i,
                 (long long)dims->data[i], HC_SHOW(self));
        args.flipped[d] = true;
    }
    return HC_PLAN("aclnnFlip", run, &args, HC_OUT(out), HC_IN(self));
}
HC_OP_LAUNCH(aclnnFlip)
