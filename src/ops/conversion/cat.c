// SPDX-License-Identifier: Apache-2.0
/* Concatenation along a dimension (Cat), along a new one (Stack), and its inverse (SplitWithSize): copies
 * between the parts and slices of the whole, converting where dtypes differ. One parallel copy a part,
 * each at the speed of memory; a slice of the whole along its first dimension is one run. */
#include "elementwise.h"
#include "messages.h"
#include "slice.h"

/* Not negative. */
struct args {
    int64_t dim;
};

/* PyTorch's legacy: a tensor of shape [0] takes part in any concatenation. */
static bool is_skipped(const aclTensor *t) { return t->rank == 1 && t->shape[0] == 0; }

/* Parts in the order of the list, each to where those before it end. */
static aclnnStatus run_cat(const struct hc_call *call) {
    const struct args *a = call->args;
    int64_t first = 0;
    for (size_t i = 0; i < hc_arg_count(call, 1); i++) {
        const aclTensor *part = hc_arg_at(call, 1, i);
        if (is_skipped(part)) continue;
        const aclTensor to = hc_slice_view(hc_arg(call, 0), a->dim, first, part->shape[a->dim]);
        HC_TRY(hc_copy(&to, part));
        first += part->shape[a->dim];
    }
    return 0;
}

/* Cat read backwards: out's tensors are the parts. */
static aclnnStatus run_split(const struct hc_call *call) {
    const struct args *a = call->args;
    int64_t first = 0;
    for (size_t i = 0; i < hc_arg_count(call, 0); i++) {
        const aclTensor *part = hc_arg_at(call, 0, i);
        const aclTensor from = hc_slice_view(hc_arg(call, 1), a->dim, first, part->shape[a->dim]);
        HC_TRY(hc_copy(part, &from));
        first += part->shape[a->dim];
    }
    return 0;
}

/* A slice of length 1 whose dimension is dropped has the shape of a part. */
static aclnnStatus run_stack(const struct hc_call *call) {
    const struct args *a = call->args;
    for (size_t i = 0; i < hc_arg_count(call, 1); i++) {
        aclTensor to = hc_slice_view(hc_arg(call, 0), a->dim, (int64_t)i, 1);
        for (int32_t d = (int32_t)a->dim; d + 1 < to.rank; d++) {
            to.shape[d] = to.shape[d + 1];
            to.stride[d] = to.stride[d + 1];
        }
        to.rank--;
        HC_TRY(hc_copy(&to, hc_arg_at(call, 1, i)));
    }
    return 0;
}

/* Parts fit the whole: same rank and sizes but along dim, where they add up. */
static aclnnStatus check_parts(const char *name, const aclTensorList *parts, const aclTensor *whole,
                               int64_t dim) {
    int64_t total = 0;
    for (size_t i = 0; i < parts->size; i++) {
        const aclTensor *part = parts->data[i];
        HC_CHECK(part != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: tensor %zu of the list is null", name, i);
        if (is_skipped(part)) continue;
        HC_CHECK(part->rank == whole->rank, ACLNN_ERR_PARAM_INVALID,
                 "%s: tensor %zu of the list is %s, the whole is %s: wanted as many dimensions", name, i,
                 HC_SHOW(part), HC_SHOW(whole));
        for (int32_t d = 0; d < whole->rank; d++) {
            HC_CHECK(d == dim || part->shape[d] == whole->shape[d], ACLNN_ERR_PARAM_INVALID,
                     "%s: tensor %zu of the list is %s, the whole is %s: dimension %d differs (dim is %lld)",
                     name, i, HC_SHOW(part), HC_SHOW(whole), d, (long long)dim);
        }
        total = hc_add_i64_saturated(total, part->shape[dim]);
    }
    HC_CHECK(total == whole->shape[dim], ACLNN_ERR_PARAM_INVALID,
             "%s: the parts have %lld elements along dimension %lld, the whole is %s: wanted %lld", name,
             (long long)total, (long long)dim, HC_SHOW(whole), (long long)whole->shape[dim]);
    return 0;
}

/* torch.cat(tensors, dim). Dtypes may differ: parts are converted to out's, which the client has
 * promoted. */
HC_API aclnnStatus aclnnCatGetWorkspaceSize(const aclTensorList *tensors, int64_t dim, aclTensor *out,
                                            uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(tensors && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnCat: %s is null", tensors ? "out" : "tensors");
    HC_CHECK(out->rank > 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnCat: out is %s: zero-dimensional tensors have no dimension", HC_SHOW(out));
    const struct args args = {hc_wrap_dim(dim, out->rank)};
    if (args.dim < 0) return hc_fail_dim("aclnnCat", "dim", dim, "out", out);
    HC_TRY(check_parts("aclnnCat", tensors, out, args.dim));
    return HC_PLAN("aclnnCat", run_cat, &args, HC_OUT(out), HC_IN_LIST(tensors));
}
HC_OP_LAUNCH(aclnnCat)

/* torch.split_with_sizes with copies: sizes are checked against the tensors of out, which say the same. */
HC_API aclnnStatus aclnnSplitWithSizeGetWorkspaceSize(const aclTensor *self, const aclIntArray *splitSize,
                                                      int64_t dim, aclTensorList *out,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && splitSize && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnSplitWithSize: %s is null",
             !self       ? "self"
             : splitSize ? "out"
                         : "splitSize");
    const struct args args = {hc_wrap_dim(dim, self->rank)};
    HC_CHECK(self->rank > 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnSplitWithSize: self is %s: a scalar has no dimension to split", HC_SHOW(self));
    if (args.dim < 0) return hc_fail_dim("aclnnSplitWithSize", "dim", dim, "self", self);
    HC_CHECK(out->size == splitSize->size, ACLNN_ERR_PARAM_INVALID,
             "aclnnSplitWithSize: out has %zu tensors, wanted %zu, one for each splitSize", out->size,
             splitSize->size);
    HC_TRY(check_parts("aclnnSplitWithSize", out, self, args.dim));
    for (size_t i = 0; i < out->size; i++) {
        const int64_t size = is_skipped(out->data[i]) ? 0 : out->data[i]->shape[args.dim];
        HC_CHECK(size == splitSize->data[i], ACLNN_ERR_PARAM_INVALID,
                 "aclnnSplitWithSize: out %zu is %s, splitSize is %lld", i, HC_SHOW(out->data[i]),
                 (long long)splitSize->data[i]);
    }
    return HC_PLAN("aclnnSplitWithSize", run_split, &args, HC_OUT_LIST(out), HC_IN(self));
}
HC_OP_LAUNCH(aclnnSplitWithSize)

/* torch.stack(tensors, dim). dim counts out's dimensions, so -1 is a new last one. */
HC_API aclnnStatus aclnnStackGetWorkspaceSize(const aclTensorList *tensors, int64_t dim, aclTensor *out,
                                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(tensors && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnStack: %s is null", tensors ? "out" : "tensors");
    const struct args args = {hc_wrap_dim(dim, out->rank)};
    if (out->rank == 0 || args.dim < 0) return hc_fail_dim("aclnnStack", "dim", dim, "out", out);
    HC_CHECK((int64_t)tensors->size == out->shape[args.dim], ACLNN_ERR_PARAM_INVALID,
             "aclnnStack: %zu tensors, but out is %s: wanted as many along dim %lld", tensors->size,
             HC_SHOW(out), (long long)args.dim);
    for (size_t i = 0; i < tensors->size; i++) {
        const aclTensor *t = tensors->data[i];
        HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnStack: tensor %zu of the list is null", i);
        bool fits = t->rank == out->rank - 1;
        for (int32_t d = 0; fits && d < t->rank; d++)
            fits = t->shape[d] == out->shape[d < args.dim ? d : d + 1];
        HC_CHECK(fits, ACLNN_ERR_PARAM_INVALID,
                 "aclnnStack: tensor %zu of the list is %s, out is %s (dim %lld)", i, HC_SHOW(t),
                 HC_SHOW(out), (long long)args.dim);
    }
    return HC_PLAN("aclnnStack", run_stack, &args, HC_OUT(out), HC_IN_LIST(tensors));
}
HC_OP_LAUNCH(aclnnStack)
