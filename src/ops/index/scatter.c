// SPDX-License-Identifier: Apache-2.0
/* Scatter: out = self, then, for dim 1, out[i][index[i][j][k]][k] = src[i][j][k] for every position of the
 * index (or += or *=); src is a tensor or one value.
 *
 * Several positions may name one element: the last one wins, and sums and products go in row-major order of
 * the index, as hc_scatter gives all positions that can meet to one thread. The in-place forms leave out the
 * copy of self. */
#include "scatter.h"
#include "messages.h"

#include "index_load.h"

/* The interface's numbers. */
enum reduction { REDUCE_NONE, REDUCE_ADD, REDUCE_MUL, REDUCE_COUNT };
/* The value form keeps its element here, in the type that is scattered in. */
struct args {
    int64_t dim;
    enum hc_scatter_op op;
    bool has_value;
    aclDataType value_dtype;
    struct hc_element value;
};
/* Operands in the order of the plan; the in-place forms give SELF and OUT the same tensor. */
enum { OUT, SELF, INDEX, SRC };

/* Into `out`, which is self where nothing wider is needed; else sums and products of 16-bit floats are made
 * in float32. */
static aclnnStatus scatter_into(const struct hc_call *call, const aclTensor *out, const aclTensor *self,
                                const aclTensor *src) {
    const struct args *a = call->args;
    const aclTensor shaped = hc_at_least_1d(hc_arg(call, INDEX));
    struct hc_index index;
    HC_TRY(hc_index_load(call->name, "index", &shaped, out->shape[a->dim], false, &index));
    struct hc_scatter s = {.op = a->op,
                           .dst = *out,
                           .src = *src,
                           .index = index.view,
                           .step = out->stride[a->dim] * out->item_size,
                           .range = out->shape[a->dim],
                           .alpha = hc_scatter_one(),
                           .checked = &index};
    for (int32_t d = 0; d < shaped.rank; d++) s.dst.shape[d] = s.src.shape[d] = shaped.shape[d];
    s.dst.numel = s.src.numel = shaped.numel;
    s.dst.stride[a->dim] = 0;
    const bool wide = hc_scatter_dtype(a->op, out->dtype) != out->dtype;
    const aclnnStatus status = wide ? hc_scatter_wide(&s, out, self, a->dim) : hc_scatter(&s);
    hc_block_give(index.owned);
    return status;
}

/* The one value as a view of any shape. */
static aclTensor repeated(const struct args *a, int32_t rank) {
    aclTensor view = hc_tensor_view(a->value_dtype, NULL, 0, (void *)a->value.bytes);
    view.rank = rank;
    for (int32_t d = 0; d < rank; d++) view.stride[d] = 0;
    return view;
}

/* out starts as self. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor out = hc_at_least_1d(hc_arg(call, OUT)), self = hc_at_least_1d(hc_arg(call, SELF));
    const bool wide = hc_scatter_dtype(a->op, out.dtype) != out.dtype;
    aclTensor values = repeated(a, out.rank);
    void *copy = NULL;
    if (!a->has_value) {
        const aclTensor src = hc_at_least_1d(hc_arg(call, SRC));
        values = src;
        if (!wide) HC_TRY(hc_apart(&src, out.dtype, &out, &values, &copy));
    }
    const bool any = hc_arg(call, INDEX)->numel > 0;
    aclnnStatus status = wide && any ? 0 : hc_copy(&out, &self);
    if (status == 0 && any) status = scatter_into(call, &out, &self, &values);
    hc_block_give(copy);
    return status;
}

/* index may be smaller than self and src, as in PyTorch: only its positions count. */
static aclnnStatus check(const char *name, const aclTensor *self, int64_t dim, const aclTensor *index,
                         const aclTensor *src, const aclTensor *out) {
    const aclTensor i = hc_at_least_1d(index), s = hc_at_least_1d(self);
    HC_CHECK(hc_same_shape(self, out) && self->dtype == out->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, self is %s, wanted the same type and shape", name, HC_SHOW(out), HC_SHOW(self));
    if (index->numel == 0) return 0;
    HC_CHECK(i.rank == s.rank, ACLNN_ERR_PARAM_INVALID,
             "%s: index is %s, self is %s: wanted as many dimensions in both", name, HC_SHOW(index),
             HC_SHOW(self));
    for (int32_t d = 0; d < s.rank; d++) {
        HC_CHECK(d == dim || i.shape[d] <= s.shape[d], ACLNN_ERR_PARAM_INVALID,
                 "%s: index is %s, self is %s: dimension %d of index is larger (dim is %lld)", name,
                 HC_SHOW(index), HC_SHOW(self), d, (long long)dim);
    }
    if (src == NULL) return 0;
    const aclTensor v = hc_at_least_1d(src);
    HC_CHECK(v.rank == i.rank && src->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: src is %s, self is %s, index is %s: wanted src of self's type and as many dimensions", name,
             HC_SHOW(src), HC_SHOW(self), HC_SHOW(index));
    for (int32_t d = 0; d < i.rank; d++) {
        HC_CHECK(i.shape[d] <= v.shape[d], ACLNN_ERR_PARAM_INVALID,
                 "%s: index is %s, src is %s: dimension %d of index is larger", name, HC_SHOW(index),
                 HC_SHOW(src), d);
    }
    return 0;
}

/* One of src and value is given. The value is converted here: to the type that sums are made in, not to
 * self's, or half a unit of a 16-bit type would be lost before it is added. */
static aclnnStatus plan(const char *name, const aclTensor *self, int64_t dim, const aclTensor *index,
                        const aclTensor *src, const aclScalar *value, int64_t reduce, const aclTensor *out,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const enum hc_scatter_op OPS[] = {HC_SCATTER_SET, HC_SCATTER_ADD, HC_SCATTER_MUL};
    HC_CHECK(self && index && out && (src || value), ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !self    ? "self"
             : !index ? "index"
             : out    ? "src or value"
                      : "out");
    HC_TRY(hc_index_check_dtype(name, "index", index));
    HC_CHECK(reduce >= 0 && reduce < REDUCE_COUNT, ACLNN_ERR_PARAM_INVALID,
             "%s: reduce is %lld, wanted 0 (none), 1 (add) or 2 (multiply)", name, (long long)reduce);
    struct args args = {.dim = hc_wrap_dim(dim, self->rank), .op = OPS[reduce], .has_value = src == NULL};
    if (args.dim < 0) return hc_fail_dim(name, "dim", dim, "self", self);
    HC_TRY(check(name, self, args.dim, index, src, out));
    args.value_dtype = hc_scatter_dtype(args.op, self->dtype);
    if (src == NULL) args.value = hc_scalar_element(value, args.value_dtype);
    return HC_PLAN(name, run, &args, HC_OUT(out), HC_IN(self), HC_IN(index), HC_IN_OPT(src));
}

/* torch.scatter(self, dim, index, src, reduce=...). */
HC_API aclnnStatus aclnnScatterGetWorkspaceSize(const aclTensor *self, int64_t dim, const aclTensor *index,
                                                const aclTensor *src, int64_t reduce, aclTensor *out,
                                                uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(src != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnScatter: src is null");
    return plan("aclnnScatter", self, dim, index, src, NULL, reduce, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnScatter)

HC_API aclnnStatus aclnnInplaceScatterGetWorkspaceSize(aclTensor *selfRef, int64_t dim,
                                                       const aclTensor *index, const aclTensor *src,
                                                       int64_t reduce, uint64_t *workspaceSize,
                                                       aclOpExecutor **executor) {
    HC_CHECK(src != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnInplaceScatter: src is null");
    return plan("aclnnInplaceScatter", selfRef, dim, index, src, NULL, reduce, selfRef, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnInplaceScatter)

/* The same with a number for src. */
HC_API aclnnStatus aclnnScatterValueGetWorkspaceSize(const aclTensor *self, int64_t dim,
                                                     const aclTensor *index, const aclScalar *value,
                                                     int64_t reduce, aclTensor *out, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    return plan("aclnnScatterValue", self, dim, index, NULL, value, reduce, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnScatterValue)

HC_API aclnnStatus aclnnInplaceScatterValueGetWorkspaceSize(aclTensor *selfRef, int64_t dim,
                                                            const aclTensor *index, const aclScalar *value,
                                                            int64_t reduce, uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    return plan("aclnnInplaceScatterValue", selfRef, dim, index, NULL, value, reduce, selfRef, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnInplaceScatterValue)

/* torch.scatter_add(self, dim, index, src), the gradient of gather; the same bits in every run, as the order
 * of the additions is fixed. */
HC_API aclnnStatus aclnnScatterAddGetWorkspaceSize(const aclTensor *self, int64_t dim, const aclTensor *index,
                                                   const aclTensor *src, aclTensor *out,
                                                   uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(src != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnScatterAdd: src is null");
    return plan("aclnnScatterAdd", self, dim, index, src, NULL, REDUCE_ADD, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnScatterAdd)
