// SPDX-License-Identifier: Apache-2.0
/* Indexing by tensors. Index: out = self[indices]. IndexPutImpl: self[indices] = values, or += with
 * accumulate.
 *
 * The list of indices broadcasts to one shape; every position of it becomes an offset in self
 * (advanced_index.h), and the move itself is the gather or scatter that the operators along one dimension
 * use. Costs 8 bytes per position for the offsets besides the elements moved; dimensions that are not
 * indexed cost nothing. */

#include "advanced_index.h"
#include "gather.h"
#include "scatter.h"

/* Phase one works the shapes out; offsets need the values of the indices, so they are made in the run. */
struct args {
    struct hc_advanced shape;
    bool accumulate;
};

/* A list operand as an array of pointers. */
static size_t members(const struct hc_call *call, int slot, const aclTensor **out) {
    for (size_t i = 0; i < hc_arg_count(call, slot); i++) out[i] = hc_arg_at(call, slot, i);
    return hc_arg_count(call, slot);
}

/* self is copied where out overlaps it: elements would be overwritten before they are read. */
static aclnnStatus run_index(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0), *indices[HC_MAX_RANK];
    if (out->numel == 0) return 0;
    aclTensor self = *hc_arg(call, 1);
    void *copy = NULL;
    if (hc_overlaps(out, &self)) HC_TRY(hc_contiguous_apart(hc_arg(call, 1), self.dtype, out, &self, &copy));
    struct hc_advanced_offsets offsets;
    members(call, 2, indices);
    aclnnStatus status = hc_advanced_load(call->name, &a->shape, &self, indices, false, &offsets);
    if (status == 0) {
        const aclTensor view = hc_advanced_view(&a->shape, &self);
        status = hc_gather(out, &view, &offsets.view, offsets.step, offsets.checked);
        hc_block_give(offsets.owned);
    }
    hc_block_give(copy);
    return status;
}

/* self[indices] in Python, with one member per dimension and ":" for the missing ones; masks have been
 * made positions by the client. Negative positions count from the end. */
HC_API aclnnStatus aclnnIndexGetWorkspaceSize(const aclTensor *self, const aclTensorList *indices,
                                              aclTensor *out, uint64_t *workspaceSize,
                                              aclOpExecutor **executor) {
    HC_CHECK(self && indices && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnIndex: %s is null",
             !self     ? "self"
             : indices ? "out"
                       : "indices");
    struct args args = {.accumulate = false};
    HC_TRY(hc_advanced_shape("aclnnIndex", self, (const aclTensor *const *)indices->data, indices->size, out,
                             &args.shape));
    HC_CHECK(out->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnIndex: out is %s, self is %s, wanted the same type", HC_SHOW(out), HC_SHOW(self));
    const aclTensor want = hc_advanced_view(&args.shape, self);
    HC_CHECK(hc_same_shape(&want, out), ACLNN_ERR_PARAM_INVALID, "aclnnIndex: out is %s, wanted %s",
             HC_SHOW(out), HC_SHOW(&want));
    return HC_PLAN("aclnnIndex", run_index, &args, HC_OUT(out), HC_IN(self), HC_IN_LIST_OPT(indices));
}
HC_OP_LAUNCH(aclnnIndex)

/* values broadcast to the indexed part, by strides of 0. */
static aclnnStatus put(const struct hc_call *call, const struct args *a, const aclTensor *target,
                       const aclTensor *values) {
    const aclTensor *indices[HC_MAX_RANK];
    struct hc_advanced_offsets offsets;
    members(call, 1, indices);
    HC_TRY(hc_advanced_load(call->name, &a->shape, target, indices, true, &offsets));
    struct hc_scatter s = {.op = a->accumulate ? HC_SCATTER_ADD : HC_SCATTER_SET,
                           .dst = hc_advanced_view(&a->shape, target),
                           .index = offsets.view,
                           .step = offsets.step,
                           .range = offsets.range,
                           .alpha = hc_scatter_one(),
                           .checked = offsets.checked};
    hc_broadcast_to(values, a->shape.shape, a->shape.rank, &s.src);
    const aclnnStatus status = hc_scatter(&s);
    hc_block_give(offsets.owned);
    return status;
}

/* 16-bit floats are accumulated in a float32 copy of self, and rounded once. */
static aclnnStatus run_put(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *self = hc_arg(call, 0);
    if (hc_advanced_view(&a->shape, self).numel == 0) return 0;
    const aclDataType dtype = hc_scatter_dtype(a->accumulate ? HC_SCATTER_ADD : HC_SCATTER_SET, self->dtype);
    aclTensor values, target = *self;
    void *copy, *wide = NULL;
    HC_TRY(hc_apart(hc_arg(call, 2), dtype, self, &values, &copy));
    aclnnStatus status = dtype != self->dtype ? hc_contiguous(self, dtype, &target, &wide) : 0;
    if (status == 0) status = put(call, a, &target, &values);
    if (status == 0 && wide != NULL) status = hc_copy(self, &target);
    hc_block_give(copy);
    hc_block_give(wide);
    return status;
}

/* self.index_put_(indices, values, accumulate). Where a position comes twice, the last value wins; with
 * accumulate all are added, in row-major order of the index, so the result is the same in every run and
 * for any thread count. */
HC_API aclnnStatus aclnnIndexPutImplGetWorkspaceSize(aclTensor *selfRef, const aclTensorList *indices,
                                                     const aclTensor *values, const bool accumulate,
                                                     const bool unsafe, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    (void)unsafe; /* it would allow to leave out the check of the indices */
    HC_CHECK(selfRef && indices && values, ACLNN_ERR_PARAM_NULLPTR, "aclnnIndexPutImpl: %s is null",
             !selfRef  ? "selfRef"
             : indices ? "values"
                       : "indices");
    struct args args = {.accumulate = accumulate};
    HC_TRY(hc_advanced_shape("aclnnIndexPutImpl", selfRef, (const aclTensor *const *)indices->data,
                             indices->size, NULL, &args.shape));
    HC_CHECK(values->dtype == selfRef->dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnIndexPutImpl: values is %s, selfRef is %s", HC_SHOW(values), HC_SHOW(selfRef));
    aclTensor view;
    const aclTensor want = hc_advanced_view(&args.shape, selfRef);
    HC_CHECK(hc_broadcast_to(values, want.shape, want.rank, &view), ACLNN_ERR_PARAM_INVALID,
             "aclnnIndexPutImpl: values %s does not broadcast to the indexed part %s", HC_SHOW(values),
             HC_SHOW(&want));
    return HC_PLAN("aclnnIndexPutImpl", run_put, &args, HC_INOUT(selfRef), HC_IN_LIST_OPT(indices),
                   HC_IN(values));
}
HC_OP_LAUNCH(aclnnIndexPutImpl)
