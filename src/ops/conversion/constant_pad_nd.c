// SPDX-License-Identifier: Apache-2.0
/* self with a border of one value; negative widths crop. The border is filled slab by slab, each element
 * once: the slabs of dimension d span the interior of the dimensions before d and all of those after it. */
#include "temporary.h"

/* Widths by dimension, as opposed to the interface's pairs, which start with the last one. */
struct args {
    struct hc_element value;
    int64_t before[HC_MAX_RANK], after[HC_MAX_RANK];
};

/* A view of [first, first + length) along d; a negative length is none. */
static aclTensor narrow(aclTensor t, int32_t d, int64_t first, int64_t length) {
    t.shape[d] = length > 0 ? length : 0;
    if (length > 0) t.offset += first * t.stride[d];
    t.numel = 1;
    for (int32_t i = 0; i < t.rank; i++) t.numel *= t.shape[i];
    return t;
}

/* `inside` shrinks to the part that self fills, dimension by dimension; `source` to the part of self that
 * is kept. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    aclTensor inside = *hc_arg(call, 0), source = *hc_arg(call, 1);
    for (int32_t d = 0; d < inside.rank; d++) {
        const int64_t before = hc_max_i64(a->before[d], 0), after = hc_max_i64(a->after[d], 0);
        const int64_t size = inside.shape[d], kept = hc_max_i64(size - before - after, 0);
        const aclTensor head = narrow(inside, d, 0, hc_min_i64(before, size));
        const aclTensor tail = narrow(inside, d, before + kept, size - before - kept);
        HC_TRY(hc_fill(&head, &a->value));
        HC_TRY(hc_fill(&tail, &a->value));
        inside = narrow(inside, d, before, kept);
        source = narrow(source, d, hc_max_i64(-a->before[d], 0), kept);
    }
    return hc_copy(&inside, &source);
}

/* F.pad(self, pad, "constant", value). pad is in pairs from the last dimension backwards, as in PyTorch;
 * dimensions it does not reach are kept. Padding of one side and cropping of the other go together. */
HC_API aclnnStatus aclnnConstantPadNdGetWorkspaceSize(const aclTensor *self, const aclIntArray *pad,
                                                      const aclScalar *value, aclTensor *out,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && pad && value && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnConstantPadNd: %s is null",
             !self   ? "self"
             : !pad  ? "pad"
             : value ? "out"
                     : "value");
    HC_CHECK(pad->size % 2 == 0 && pad->size <= 2 * (size_t)self->rank, ACLNN_ERR_PARAM_INVALID,
             "aclnnConstantPadNd: pad has %zu numbers, wanted an even count up to %d", pad->size,
             2 * self->rank);
    HC_CHECK(out->rank == self->rank && out->dtype == self->dtype && out->item_size > 0,
             ACLNN_ERR_PARAM_INVALID,
             "aclnnConstantPadNd: out is %s, self is %s: rank and dtype must be equal", HC_SHOW(out),
             HC_SHOW(self));
    struct args args = {.value = hc_scalar_element(value, out->dtype)};
    for (size_t i = 0; i < pad->size; i++) {
        HC_CHECK(pad->data[i] >= -HC_MAX_NUMEL && pad->data[i] <= HC_MAX_NUMEL, ACLNN_ERR_PARAM_INVALID,
                 "aclnnConstantPadNd: pad[%zu] is %lld, wanted at most 2^48 either way", i,
                 (long long)pad->data[i]);
    }
    for (size_t i = 0; i < pad->size / 2; i++) {
        args.before[self->rank - 1 - (int32_t)i] = pad->data[2 * i];
        args.after[self->rank - 1 - (int32_t)i] = pad->data[2 * i + 1];
    }
    for (int32_t d = 0; d < self->rank; d++) {
        HC_CHECK(out->shape[d] == self->shape[d] + args.before[d] + args.after[d], ACLNN_ERR_PARAM_INVALID,
                 "aclnnConstantPadNd: out is %s, self is %s padded by %lld and %lld in dimension %d",
                 HC_SHOW(out), HC_SHOW(self), (long long)args.before[d], (long long)args.after[d], d);
    }
    return HC_PLAN("aclnnConstantPadNd", run, &args, HC_OUT(out), HC_IN(self));
}
HC_OP_LAUNCH(aclnnConstantPadNd)
