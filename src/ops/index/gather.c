// SPDX-License-Identifier: Apache-2.0
/* Elements along one dimension, chosen by an index.
 *
 * Gather: out[i][j][k] = self[i][index[i][j][k]][k] for dim 1, an index per element of out. IndexSelect:
 * out[i][j][k] = self[i][index[j]][k], one line of indices that all others share, so whole runs of the
 * inner dimensions move at once (hc_gather finds them by the index's strides of 0). GatherV3: an index of any
 * shape in the place of dim, behind batch dimensions that both have: out[b][i][j][k] =
 * self[b][index[b][i][j]][k].
 */
#include "gather.h"
#include "messages.h"

/* Not negative. */
struct args {
    int64_t dim;
};

/* out = self at the positions, which have out's shape and are values of the index. */
static aclnnStatus gather_from(const aclTensor *out, const aclTensor *self, int64_t dim,
                               const aclTensor *positions, struct hc_index *index) {
    aclTensor source;
    void *copy = NULL;
    if (hc_overlaps(out, self)) HC_TRY(hc_contiguous_apart(self, self->dtype, out, &source, &copy));
    else source = *self;
    const int64_t step = source.stride[dim] * source.item_size;
    for (int32_t d = 0; d < out->rank; d++) source.shape[d] = out->shape[d];
    source.stride[dim] = 0;
    source.numel = out->numel;
    const aclnnStatus status = hc_gather(out, &source, positions, step, index);
    hc_block_give(copy);
    return status;
}

/* The index has out's shape; scalars count as lines of one. */
static aclnnStatus run_gather(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor out = hc_at_least_1d(hc_arg(call, 0)), self = hc_at_least_1d(hc_arg(call, 1));
    const aclTensor shaped = hc_at_least_1d(hc_arg(call, 2));
    struct hc_index index;
    HC_TRY(hc_index_open(call->name, "index", &shaped, self.shape[a->dim], false, &index));
    const aclnnStatus status = gather_from(&out, &self, a->dim, &index.view, &index);
    hc_block_give(index.owned);
    return status;
}

/* torch.gather(self, dim, index). index may be smaller than self in every dimension, and larger in dim;
 * there is no broadcasting. Negative positions are errors. */
HC_API aclnnStatus aclnnGatherGetWorkspaceSize(const aclTensor *self, const int64_t dim,
                                               const aclTensor *index, aclTensor *out,
                                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && index && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnGather: %s is null",
             !self   ? "self"
             : index ? "out"
                     : "index");
    HC_TRY(hc_index_check_dtype("aclnnGather", "index", index));
    const struct args args = {hc_wrap_dim(dim, self->rank)};
    if (args.dim < 0) return hc_fail_dim("aclnnGather", "dim", dim, "self", self);
    HC_CHECK(hc_same_shape(index, out) && out->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnGather: out is %s, wanted index's shape (%s) and self's dtype (%s)", HC_SHOW(out),
             HC_SHOW(index), HC_SHOW(self));
    const aclTensor i = hc_at_least_1d(index), s = hc_at_least_1d(self);
    HC_CHECK(i.rank == s.rank || index->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnGather: index is %s, self is %s: wanted as many dimensions in both", HC_SHOW(index),
             HC_SHOW(self));
    for (int32_t d = 0; d < s.rank && index->numel > 0; d++) {
        HC_CHECK(d == args.dim || i.shape[d] <= s.shape[d], ACLNN_ERR_PARAM_INVALID,
                 "aclnnGather: index is %s, self is %s: dimension %d of index is larger (dim is %lld)",
                 HC_SHOW(index), HC_SHOW(self), d, (long long)args.dim);
    }
    return HC_PLAN("aclnnGather", run_gather, &args, HC_OUT(out), HC_IN(self), HC_IN(index));
}
HC_OP_LAUNCH(aclnnGather)

/* The line of indices becomes a view of out's shape that moves along dim only. */
static aclnnStatus run_select(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor out = hc_at_least_1d(hc_arg(call, 0)), self = hc_at_least_1d(hc_arg(call, 1));
    struct hc_index index;
    HC_TRY(hc_index_open(call->name, "index", hc_arg(call, 2), self.shape[a->dim], false, &index));
    aclTensor line = index.view;
    line.rank = out.rank;
    line.numel = out.numel;
    for (int32_t d = 0; d < out.rank; d++) {
        line.shape[d] = out.shape[d];
        line.stride[d] = d == a->dim;
    }
    const aclnnStatus status = gather_from(&out, &self, a->dim, &line, &index);
    hc_block_give(index.owned);
    return status;
}

/* torch.index_select(self, dim, index): out has self's shape with the length of index in dim. A scalar
 * index counts as a line of one. Negative positions are errors. */
HC_API aclnnStatus aclnnIndexSelectGetWorkspaceSize(const aclTensor *self, int64_t dim,
                                                    const aclTensor *index, aclTensor *out,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && index && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnIndexSelect: %s is null",
             !self   ? "self"
             : index ? "out"
                     : "index");
    HC_TRY(hc_index_check_dtype("aclnnIndexSelect", "index", index));
    HC_CHECK(index->rank <= 1, ACLNN_ERR_PARAM_INVALID, "aclnnIndexSelect: index is %s, wanted one dimension",
             HC_SHOW(index));
    const struct args args = {hc_wrap_dim(dim, self->rank)};
    if (args.dim < 0) return hc_fail_dim("aclnnIndexSelect", "dim", dim, "self", self);
    aclTensor want = hc_at_least_1d(self);
    want.shape[args.dim] = index->numel;
    const aclTensor have = hc_at_least_1d(out);
    HC_CHECK(hc_same_shape(&want, &have) && out->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "aclnnIndexSelect: out is %s, wanted %s", HC_SHOW(out), HC_SHOW(&want));
    return HC_PLAN("aclnnIndexSelect", run_select, &args, HC_OUT(out), HC_IN(self), HC_IN(index));
}
HC_OP_LAUNCH(aclnnIndexSelect)

/* Of the dimensions before `dim` the first `batch` are those of the index, too. */
struct gather_args {
    int32_t dim, batch;
};

/* out[b, p, i, r] = self[b, p, index[b, i], r]: self does not move along i, the index along neither p nor r.
 */
static aclnnStatus run_gather_v3(const struct hc_call *call) {
    const struct gather_args *a = call->args;
    const aclTensor *out = hc_arg(call, 0), *self = hc_arg(call, 1);
    aclTensor source, apart = *self;
    void *copy = NULL;
    struct hc_index index;
    HC_TRY(hc_index_open(call->name, "index", hc_arg(call, 2), self->shape[a->dim], false, &index));
    aclnnStatus status =
        hc_overlaps(out, self) ? hc_contiguous_apart(self, self->dtype, out, &apart, &copy) : 0;
    const int32_t chosen = index.view.rank - a->batch; /* dimensions that take the place of dim */
    aclTensor positions = source = *out;
    positions.dtype = index.view.dtype;
    positions.item_size = index.view.item_size;
    positions.base = index.view.base;
    positions.offset = index.view.offset;
    source.base = apart.base;
    source.offset = apart.offset;
    for (int32_t d = 0; d < out->rank; d++) {
        const bool of_index = d >= a->dim && d < a->dim + chosen;
        source.stride[d] = of_index ? 0 : apart.stride[d < a->dim ? d : d - chosen + 1];
        positions.stride[d] = of_index       ? index.view.stride[d - a->dim + a->batch]
                              : d < a->batch ? index.view.stride[d]
                                             : 0;
    }
    const int64_t step = apart.stride[a->dim] * apart.item_size;
    if (status == 0) status = hc_gather(out, &source, &positions, step, &index);
    hc_block_give(copy);
    hc_block_give(index.owned);
    return status;
}

/* What is wanted of out: self's dimensions with those of the index behind the batch in the place of dim. */
static aclnnStatus gathered_shape(const char *name, const aclTensor *self, const aclTensor *index,
                                  const struct gather_args *a, aclTensor *want) {
    for (int32_t d = 0; d < a->batch; d++)
        HC_CHECK(index->shape[d] == self->shape[d], ACLNN_ERR_PARAM_INVALID,
                 "%s: index is %s, self %s: wanted the same %d first dimensions (batchDims)", name,
                 HC_SHOW(index), HC_SHOW(self), a->batch);
    const int32_t rank = self->rank - 1 + index->rank - a->batch;
    HC_CHECK(rank <= HC_MAX_RANK, ACLNN_ERR_PARAM_INVALID,
             "%s: index is %s, self %s: out would have %d dimensions, more than %d", name, HC_SHOW(index),
             HC_SHOW(self), rank, HC_MAX_RANK);
    int64_t shape[HC_MAX_RANK];
    int32_t n = 0;
    for (int32_t d = 0; d < a->dim; d++) shape[n++] = self->shape[d];
    for (int32_t d = a->batch; d < index->rank; d++) shape[n++] = index->shape[d];
    for (int32_t d = a->dim + 1; d < self->rank; d++) shape[n++] = self->shape[d];
    *want = hc_tensor_view(self->dtype, shape, rank, NULL);
    return 0;
}

/* torch_npu.npu_gather_sparse_index: rows of a table, for which aclnnEmbedding is the operator elsewhere. An
 * index is not negative here either. The mode is a hint of how to go about it, and nothing here: runs of
 * dimensions behind `dim` are moved by memcpy whatever it says. */
HC_API aclnnStatus aclnnGatherV3GetWorkspaceSize(const aclTensor *self, int64_t dim, const aclTensor *index,
                                                 int64_t batchDims, int64_t mode, aclTensor *out,
                                                 uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnGatherV3";
    HC_CHECK(self && index && out, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             !self   ? "self"
             : index ? "out"
                     : "index");
    HC_TRY(hc_index_check_dtype(NAME, "index", index));
    const int64_t at = self->rank > 0 ? hc_wrap_dim(dim, self->rank) : -1;
    if (at < 0) return hc_fail_dim(NAME, "dim", dim, "self", self);
    HC_CHECK(batchDims >= 0 && batchDims <= at && batchDims <= index->rank, ACLNN_ERR_PARAM_INVALID,
             "%s: batchDims is %lld, wanted 0 to dim %lld and the dimensions of index %s", NAME,
             (long long)batchDims, (long long)at, HC_SHOW(index));
    HC_CHECK(mode == 0 || mode == 1, ACLNN_ERR_PARAM_INVALID, "%s: mode is %lld, wanted 0 or 1", NAME,
             (long long)mode);
    const struct gather_args args = {(int32_t)at, (int32_t)batchDims};
    aclTensor want;
    HC_TRY(gathered_shape(NAME, self, index, &args, &want));
    HC_CHECK(hc_same_shape(&want, out) && out->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, wanted %s", NAME, HC_SHOW(out), HC_SHOW(&want));
    return HC_PLAN(NAME, run_gather_v3, &args, HC_OUT(out), HC_IN(self), HC_IN(index));
}
HC_OP_LAUNCH(aclnnGatherV3)
