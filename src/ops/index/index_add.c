// SPDX-License-Identifier: Apache-2.0
/* Slices along dim at the positions of a line of indices: out = self, then out[.., index[i], ..] += alpha *
 * source[.., i, ..] (IndexAdd), or = source (IndexCopy), or = one value (IndexFill). */
#include <string.h>

#include "add_slices.h"
#include "index_load.h"
#include "messages.h"
#include "scatter.h"

/* With `has_value` there is no source but `value`; `wraps`: negative indices are legal (IndexFill). */
struct args {
    int64_t dim;
    enum hc_scatter_op op;
    bool has_value, wraps;
    struct hc_ew_scalar alpha;
    struct hc_element value;
    int64_t num_list; /* indices that follow as numbers, instead of the tensor */
    int64_t list[];
};
/* Operands in the order of the plan; the in-place forms give SELF and OUT the same tensor. */
enum { OUT, SELF, INDEX, SOURCE };

/* Slices by a scatter whose index moves along dim only; a value is a source whose strides are all 0. */
static aclnnStatus scatter_slices(const struct args *a, struct hc_index *index, const aclTensor *out,
                                  const aclTensor *self, const aclTensor *source) {
    const int64_t count = index->view.numel;
    struct hc_scatter s = {.op = a->op,
                           .dst = *out,
                           .src = *source,
                           .index = index->view,
                           .step = out->stride[a->dim] * out->item_size,
                           .range = out->shape[a->dim],
                           .alpha = a->alpha,
                           .checked = index};
    s.index.rank = s.src.rank = out->rank;
    s.dst.numel = out->shape[a->dim] > 0 ? out->numel / out->shape[a->dim] * count : 0;
    for (int32_t d = 0; d < out->rank; d++) {
        if (d == a->dim) s.dst.shape[d] = count;
        s.index.shape[d] = s.src.shape[d] = s.dst.shape[d];
        s.index.stride[d] = d == a->dim;
        if (a->has_value) s.src.stride[d] = 0;
    }
    s.dst.stride[a->dim] = 0;
    s.src.numel = s.index.numel = s.dst.numel;
    return hc_scatter_dtype(a->op, out->dtype) != out->dtype ? hc_scatter_wide(&s, out, self, a->dim)
                                                             : hc_scatter(&s);
}

/* out = self, and then its slices. */
static aclnnStatus set_slices(const struct args *a, struct hc_index *index, const aclTensor *out,
                              const aclTensor *self, const aclTensor *source) {
    const bool wide = hc_scatter_dtype(a->op, out->dtype) != out->dtype;
    if (a->op == HC_SCATTER_ADD && !hc_overlaps(source, out) && hc_add_slices_fits(out, source, a->dim)) {
        HC_TRY(hc_copy(out, self));
        return hc_add_slices(out, source, a->dim, a->alpha.F32, index);
    }
    if (!wide) HC_TRY(hc_copy(out, self));
    return scatter_slices(a, index, out, self, source);
}

/* The index is looked at before anything is written. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor out = hc_at_least_1d(hc_arg(call, OUT)), self = hc_at_least_1d(hc_arg(call, SELF));
    aclTensor values = hc_tensor_view(out.dtype, NULL, 0, (void *)a->value.bytes);
    void *copy = NULL;
    if (out.numel == 0) return 0;
    const aclTensor listed = hc_tensor_view(ACL_INT64, &a->num_list, 1, (void *)a->list);
    const aclTensor *line = hc_arg(call, INDEX) ? hc_arg(call, INDEX) : &listed;
    struct hc_index index;
    HC_TRY(hc_index_load(call->name, "index", line, out.shape[a->dim], a->wraps, &index));
    aclnnStatus status = 0;
    if (!a->has_value) {
        const aclTensor source = hc_at_least_1d(hc_arg(call, SOURCE));
        status = hc_apart(&source, out.dtype, &out, &values, &copy);
    }
    if (status == 0) status = set_slices(a, &index, &out, &self, &values);
    hc_block_give(copy);
    hc_block_give(index.owned);
    return status;
}

/* `count` is how many slices the index names. */
static aclnnStatus check(const char *name, const aclTensor *self, int64_t dim, int64_t count,
                         const aclTensor *source, const aclTensor *out) {
    HC_CHECK(hc_same_shape(self, out) && self->dtype == out->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, self is %s, wanted the same type and shape", name, HC_SHOW(out), HC_SHOW(self));
    if (source == NULL) return 0;
    aclTensor want = hc_at_least_1d(self);
    const aclTensor have = hc_at_least_1d(source);
    want.shape[dim] = count;
    HC_CHECK(hc_same_shape(&want, &have) && source->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: source is %s, wanted %s", name, HC_SHOW(source), HC_SHOW(&want));
    return 0;
}

/* The arguments are of variable length: numbers of a list follow the struct. */
static aclnnStatus plan(const char *name, struct args *args, const aclTensor *self, int64_t dim,
                        const aclTensor *index, const aclTensor *source, const aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "out" : "self");
    if (args->num_list < 0) HC_TRY(hc_index_check_dtype(name, "index", index));
    HC_CHECK(index == NULL || index->rank <= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: index is %s, wanted one dimension", name, HC_SHOW(index));
    HC_CHECK(args->has_value || source != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: source is null", name);
    args->dim = hc_wrap_dim(dim, self->rank);
    if (args->dim < 0) return hc_fail_dim(name, "dim", dim, "self", self);
    HC_TRY(check(name, self, args->dim, index ? index->numel : args->num_list, source, out));
    const struct hc_operand operands[] = {HC_OUT(out), HC_IN(self), HC_IN_OPT(index), HC_IN_OPT(source)};
    const size_t size =
        sizeof *args + (args->num_list > 0 ? (size_t)args->num_list * sizeof args->list[0] : 0);
    return hc_plan(&(const struct hc_plan){.name = name,
                                           .run = run,
                                           .args = args,
                                           .args_size = size,
                                           .operands = operands,
                                           .num_operands = HC_ARRAY_SIZE(operands)},
                   workspaceSize, executor);
}

/* No alpha is one. num_list of -1: the index is a tensor. */
static aclnnStatus plan_add(const char *name, const aclTensor *self, int64_t dim, const aclTensor *index,
                            const aclTensor *source, const aclScalar *alpha, const aclTensor *out,
                            uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {
        .op = HC_SCATTER_ADD, .alpha = alpha ? hc_ew_scalar(alpha) : hc_scatter_one(), .num_list = -1};
    return plan(name, &args, self, dim, index, source, out, workspaceSize, executor);
}

/* torch.index_add(self, dim, index, source, alpha=alpha): slices that come twice are added in the order
 * of index. Sums of 16-bit floats are made in float and rounded once per element. */
HC_API aclnnStatus aclnnIndexAddGetWorkspaceSize(const aclTensor *self, const int64_t dim,
                                                 const aclTensor *index, const aclTensor *source,
                                                 const aclScalar *alpha, aclTensor *out,
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan_add("aclnnIndexAdd", self, dim, index, source, alpha, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnIndexAdd)

/* mode only chooses the speed on other hardware. */
HC_API aclnnStatus aclnnIndexAddV2GetWorkspaceSize(const aclTensor *self, const int64_t dim,
                                                   const aclTensor *index, const aclTensor *source,
                                                   const aclScalar *alpha, int64_t mode, aclTensor *out,
                                                   uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)mode;
    return plan_add("aclnnIndexAddV2", self, dim, index, source, alpha, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnIndexAddV2)

/* torch.index_copy(self, dim, index, source): the last of equal positions wins. The interface calls both
 * ends "Ref", but writes outRef only. */
HC_API aclnnStatus aclnnIndexCopyGetWorkspaceSize(aclTensor *selfRef, int64_t dim, const aclTensor *index,
                                                  const aclTensor *source, aclTensor *outRef,
                                                  uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.op = HC_SCATTER_SET, .num_list = -1};
    return plan("aclnnIndexCopy", &args, selfRef, dim, index, source, outRef, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnIndexCopy)

/* The copy of self is left out, as self is out. */
HC_API aclnnStatus aclnnInplaceIndexCopyGetWorkspaceSize(aclTensor *selfRef, int64_t dim,
                                                         const aclTensor *index, const aclTensor *source,
                                                         uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.op = HC_SCATTER_SET, .num_list = -1};
    return plan("aclnnInplaceIndexCopy", &args, selfRef, dim, index, source, selfRef, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnInplaceIndexCopy)

/* `list` instead of `index` where given. */
static aclnnStatus plan_fill(const char *name, const aclTensor *self, int64_t dim, const aclTensor *index,
                             const aclIntArray *list, const aclScalar *value, const aclTensor *out,
                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(value && (index || list) && self, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !value ? "value"
             : self ? "index"
                    : "self");
    struct args *args = hc_block_take_zeroed(1, sizeof *args + (list ? list->size * sizeof(int64_t) : 0));
    HC_CHECK(args != NULL, ACLNN_ERR_INNER, "%s: out of host memory", name);
    *args = (struct args){
        .op = HC_SCATTER_SET, .has_value = true, .wraps = true, .num_list = list ? (int64_t)list->size : -1};
    if (list != NULL && list->size > 0) memcpy(args->list, list->data, list->size * sizeof(int64_t));
    if (self->item_size > 0) args->value = hc_scalar_element(value, self->dtype);
    const aclnnStatus status = plan(name, args, self, dim, index, NULL, out, workspaceSize, executor);
    hc_block_give(args);
    return status;
}

/* torch.index_fill(self, dim, index, value); the value is converted to self's type, as assignment does.
 * Negative positions count from the end here, and only here. */
HC_API aclnnStatus aclnnIndexFillGetWorkspaceSize(const aclTensor *self, int64_t dim, const aclTensor *index,
                                                  const aclScalar *value, aclTensor *out,
                                                  uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan_fill("aclnnIndexFill", self, dim, index, NULL, value, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnIndexFill)

HC_API aclnnStatus aclnnInplaceIndexFillGetWorkspaceSize(aclTensor *selfRef, int64_t dim,
                                                         const aclTensor *index, const aclScalar *value,
                                                         uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan_fill("aclnnInplaceIndexFill", selfRef, dim, index, NULL, value, selfRef, workspaceSize,
                     executor);
}
HC_OP_LAUNCH(aclnnInplaceIndexFill)

/* Despite its name the form with the positions as numbers. They are copied into the plan, for the caller
 * may free its array before the stream gets there. */
HC_API aclnnStatus aclnnIndexFillTensorGetWorkspaceSize(const aclTensor *self, int64_t dim,
                                                        const aclIntArray *index, const aclScalar *value,
                                                        aclTensor *out, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    return plan_fill("aclnnIndexFillTensor", self, dim, NULL, index, value, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnIndexFillTensor)

HC_API aclnnStatus aclnnInplaceIndexFillTensorGetWorkspaceSize(aclTensor *selfRef, int64_t dim,
                                                               const aclIntArray *index,
                                                               const aclScalar *value,
                                                               uint64_t *workspaceSize,
                                                               aclOpExecutor **executor) {
    return plan_fill("aclnnInplaceIndexFillTensor", selfRef, dim, NULL, index, value, selfRef, workspaceSize,
                     executor);
}
HC_OP_LAUNCH(aclnnInplaceIndexFillTensor)
