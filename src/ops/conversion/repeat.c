// SPDX-License-Identifier: Apache-2.0
/* out = self tiled repeats[d] times along dimension d. Each output dimension is seen as (repeats, size);
 * the source is repeated by a stride of 0, so the tiling is one copy, at the speed of writing out. */
#include "elementwise.h"

/* By out's dimensions; leading ones that self lacks have size 1 there. */
struct args {
    int64_t repeats[HC_MAX_RANK];
};

/* Inwards, after those there are. */
static void add_dimension(aclTensor *t, int64_t size, int64_t stride) {
    t->shape[t->rank] = size;
    t->stride[t->rank++] = stride;
    t->numel *= size;
}

/* Dimensions of one element, or repeated once, need no dimension of their own: the rest must not exceed
 * the 16 of a descriptor, which phase one has checked. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0), *self = hc_arg(call, 1);
    aclTensor to = *out, from = *self;
    to.rank = from.rank = 0;
    to.numel = from.numel = 1;
    if (out->numel == 0) return 0;
    for (int32_t d = 0; d < out->rank; d++) {
        const int32_t own = d - (out->rank - self->rank);
        const int64_t size = own >= 0 ? self->shape[own] : 1;
        if (a->repeats[d] > 1) {
            add_dimension(&to, a->repeats[d], size * out->stride[d]);
            add_dimension(&from, a->repeats[d], 0);
        }
        if (size > 1) {
            add_dimension(&to, size, out->stride[d]);
            add_dimension(&from, size, self->stride[own]);
        }
    }
    return hc_copy(&to, &from);
}

/* self.repeat(repeats): at least as many repeats as dimensions; one of 0 gives an empty tensor. */
HC_API aclnnStatus aclnnRepeatGetWorkspaceSize(const aclTensor *self, const aclIntArray *repeats,
                                               aclTensor *out, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    HC_CHECK(self && repeats && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnRepeat: %s is null",
             !self     ? "self"
             : repeats ? "out"
                       : "repeats");
    HC_CHECK(repeats->size >= (size_t)self->rank && (size_t)out->rank == repeats->size,
             ACLNN_ERR_PARAM_INVALID,
             "aclnnRepeat: %zu repeats for self %s and out %s, wanted one for each dimension of out and not "
             "less than self has",
             repeats->size, HC_SHOW(self), HC_SHOW(out));
    struct args args = {{0}};
    int dimensions = 0;
    for (int32_t d = 0; d < out->rank; d++) {
        const int32_t own = d - (out->rank - self->rank);
        const int64_t size = own >= 0 ? self->shape[own] : 1;
        int64_t want;
        args.repeats[d] = repeats->data[d];
        HC_CHECK(repeats->data[d] >= 0 && hc_mul_i64_fits(size, repeats->data[d], &want) &&
                     out->shape[d] == want,
                 ACLNN_ERR_PARAM_INVALID,
                 "aclnnRepeat: repeats[%d] is %lld, self is %s, out is %s: wanted their quotient", d,
                 (long long)repeats->data[d], HC_SHOW(self), HC_SHOW(out));
        dimensions += (repeats->data[d] > 1) + (size > 1);
    }
    HC_CHECK(dimensions <= HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "aclnnRepeat: self %s to out %s has too many dimensions", HC_SHOW(self), HC_SHOW(out));
    return HC_PLAN("aclnnRepeat", run, &args, HC_OUT(out), HC_IN(self));
}
HC_OP_LAUNCH(aclnnRepeat)
