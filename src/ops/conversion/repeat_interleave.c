// SPDX-License-Identifier: Apache-2.0
/* Each element (or slice along dim) repeated in a row: one count for all, or one each. [a, b] with counts
 * [2, 3] is [a, a, b, b, b].
 *
 * One count is a strided copy (run_int). Counts of their own become an index per output position, 8 bytes
 * each, and the rest is a gather; the gradient is the scatter that adds where the forward repeated. */

#include "gather.h"
#include "messages.h"
#include "scatter.h"

enum { FLAT = -1 }; /* no dim: of all elements in a line */
/* repeats: for the form with one count. */
struct args {
    int64_t dim, repeats;
};

/* self as one dimension, contiguous; *owned where that took a copy. */
static aclnnStatus flatten(const aclTensor *self, aclTensor *line, void **owned) {
    aclTensor whole;
    HC_TRY(hc_contiguous(self, self->dtype, &whole, owned));
    *line = hc_tensor_view(self->dtype, &self->numel, 1, hc_data(&whole));
    return 0;
}

/* t with one dimension more, before dimension `at`. */
static aclTensor insert_dimension(const aclTensor *t, int32_t at, int64_t size, int64_t stride) {
    aclTensor view = *t;
    for (int32_t d = t->rank; d > at; d--) {
        view.shape[d] = t->shape[d - 1];
        view.stride[d] = t->stride[d - 1];
    }
    view.shape[at] = size;
    view.stride[at] = stride;
    view.rank = t->rank + 1;
    view.numel = t->numel * size;
    return view;
}

/* One count: the output's dimension is (size, repeats), the source repeats by a stride of 0. */
static aclnnStatus run_int(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0);
    aclTensor self = *hc_arg(call, 1);
    void *owned = NULL;
    if (out->numel == 0) return 0;
    if (a->dim == FLAT) HC_TRY(flatten(hc_arg(call, 1), &self, &owned));
    const int32_t dim = a->dim == FLAT ? 0 : (int32_t)a->dim;
    aclTensor grouped = *out;
    grouped.shape[dim] /= a->repeats;
    grouped.numel /= a->repeats;
    aclTensor to = insert_dimension(&grouped, dim + 1, a->repeats, out->stride[dim]);
    to.stride[dim] = out->stride[dim] * a->repeats;
    const aclTensor from = insert_dimension(&self, dim + 1, a->repeats, 0);
    const aclnnStatus status = hc_copy(&to, &from);
    hc_block_give(owned);
    return status;
}

/* The source position of each of `total` outputs; `size` positions share one count or have one each. The
 * counts are device memory, so they are checked here, in the run: negative ones, and a sum that is not
 * what out was made for. The caller frees *source. */
static aclnnStatus expand(const char *name, const aclTensor *repeats, int64_t size, int64_t total,
                          int64_t **source) {
    aclTensor counts;
    void *owned;
    *source = NULL;
    HC_TRY(hc_contiguous(repeats, ACL_INT64, &counts, &owned));
    const int64_t *count = (const int64_t *)hc_data(&counts);
    int64_t *position = hc_block_take_array((size_t)total + 1, sizeof *position), at = 0;
    aclnnStatus status = position ? 0
                                  : hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %lld positions",
                                            name, (long long)total);
    for (int64_t i = 0; i < size && status == 0; i++) {
        const int64_t n = hc_index_once(&count[repeats->numel == 1 ? 0 : i]);
        if (n < 0 || n > total - at) {
            status = hc_fail(ACLNN_ERR_PARAM_INVALID,
                             "%s: repeats is %lld at position [%lld], with %lld of %lld outputs left", name,
                             (long long)n, (long long)i, (long long)(total - at), (long long)total);
        }
        for (int64_t k = 0; k < n && status == 0; k++) position[at++] = i;
    }
    if (status == 0 && at != total) {
        status = hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: repeats sum up to %lld, out has %lld", name,
                         (long long)at, (long long)total);
    }
    hc_block_give(owned);
    if (status == 0) *source = position;
    else hc_block_give(position);
    return status;
}

/* The positions as a view of t's shape that depends on dim only. */
static aclTensor along(const aclTensor *t, int32_t dim, int64_t *position) {
    aclTensor view = *t;
    view.base = (char *)position;
    view.offset = 0;
    view.dtype = ACL_INT64;
    view.item_size = sizeof *position;
    for (int32_t d = 0; d < t->rank; d++) view.stride[d] = d == dim;
    return view;
}

/* self as seen along dim is only the start of the index: its own stride there becomes the step of the
 * gather. */
static aclnnStatus run_tensor(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0);
    aclTensor self = *hc_arg(call, 1);
    void *owned = NULL;
    const int32_t dim = a->dim == FLAT ? 0 : (int32_t)a->dim;
    if (a->dim == FLAT) HC_TRY(flatten(hc_arg(call, 1), &self, &owned));
    int64_t *position;
    aclnnStatus status = expand(call->name, hc_arg(call, 2), self.shape[dim], out->shape[dim], &position);
    if (status == 0) {
        const aclTensor index = along(out, dim, position);
        const int64_t step = self.stride[dim] * self.item_size;
        self.shape[dim] = out->shape[dim];
        self.stride[dim] = 0;
        self.numel = out->numel;
        status = hc_gather(out, &self, &index, step, NULL);
        hc_block_give(position);
    }
    hc_block_give(owned);
    return status;
}

/* The positions themselves are the result. */
static aclnnStatus run_positions(const struct hc_call *call) {
    const aclTensor *out = hc_arg(call, 0), *repeats = hc_arg(call, 1);
    int64_t *position;
    HC_TRY(expand(call->name, repeats, repeats->numel, out->numel, &position));
    const aclTensor from = hc_tensor_view(ACL_INT64, out->shape, 1, position);
    const aclnnStatus status = hc_copy(out, &from);
    hc_block_give(position);
    return status;
}

/* Sums of halves are made in float and rounded once: `wide` is then the gradient until it is copied back.
 */
static aclnnStatus run_grad(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *out = hc_arg(call, 0), *grad = hc_arg(call, 1);
    const int32_t dim = (int32_t)a->dim;
    const aclDataType dtype = hc_scatter_dtype(HC_SCATTER_ADD, out->dtype);
    const struct hc_element zero = {{0}};
    aclTensor from, target = *out;
    void *copy, *wide = NULL;
    int64_t *position = NULL;
    HC_TRY(hc_apart(grad, dtype, out, &from, &copy));
    aclnnStatus status = dtype != out->dtype ? hc_contiguous(out, dtype, &target, &wide) : 0;
    if (status == 0)
        status = expand(call->name, hc_arg(call, 2), out->shape[dim], grad->shape[dim], &position);
    if (status == 0) status = hc_fill(&target, &zero);
    if (status == 0) {
        struct hc_scatter s = {.op = HC_SCATTER_ADD,
                               .dst = target,
                               .src = from,
                               .index = along(grad, dim, position),
                               .step = target.stride[dim] * target.item_size,
                               .range = out->shape[dim],
                               .alpha = hc_scatter_one()};
        s.dst.shape[dim] = grad->shape[dim];
        s.dst.stride[dim] = 0;
        s.dst.numel = grad->numel;
        status = hc_scatter(&s);
        if (status == 0 && wide != NULL) status = hc_copy(out, &target);
    }
    hc_block_give(position);
    hc_block_give(wide);
    hc_block_give(copy);
    return status;
}

/* Everything but dim is equal; without dim, out is one line. */
static aclnnStatus check(const char *name, const aclTensor *self, int64_t dim, const aclTensor *out) {
    HC_CHECK(self->dtype == out->dtype && out->rank == (dim == FLAT ? 1 : self->rank) &&
                 self->rank < HC_MAX_RANK,
             ACLNN_ERR_PARAM_INVALID, "%s: out is %s, self is %s: wanted the same type and %s", name,
             HC_SHOW(out), HC_SHOW(self), dim == FLAT ? "one dimension" : "as many dimensions");
    for (int32_t d = 0; d < out->rank; d++) {
        HC_CHECK(dim == FLAT || d == dim || out->shape[d] == self->shape[d], ACLNN_ERR_PARAM_INVALID,
                 "%s: out is %s, self is %s: wanted the same sizes but along dim %lld", name, HC_SHOW(out),
                 HC_SHOW(self), (long long)dim);
    }
    return 0;
}

/* `dim` is FLAT or not negative. */
static aclnnStatus plan_int(const char *name, const aclTensor *self, int64_t repeats, int64_t dim,
                            const aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check(name, self, dim, out));
    const int64_t size = dim == FLAT ? self->numel : self->shape[dim];
    int64_t want;
    HC_CHECK(
        repeats >= 0 && hc_mul_i64_fits(size, repeats, &want) && out->shape[dim == FLAT ? 0 : dim] == want,
        ACLNN_ERR_PARAM_INVALID,
        "%s: out is %s for self %s and repeats %lld, wanted their product along dim, repeats not negative",
        name, HC_SHOW(out), HC_SHOW(self), (long long)repeats);
    const struct args args = {dim, repeats};
    return HC_PLAN(name, run_int, &args, HC_OUT(out), HC_IN(self));
}

/* Whether the counts add up to out's size is known only in the run: see expand(). */
static aclnnStatus plan_tensor(const char *name, const aclTensor *self, const aclTensor *repeats, int64_t dim,
                               const aclTensor *out, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check(name, self, dim, out));
    HC_TRY(hc_index_check_dtype(name, "repeats", repeats));
    const int64_t size = dim == FLAT ? self->numel : self->shape[dim];
    HC_CHECK(repeats->rank <= 1 && (repeats->numel == 1 || repeats->numel == size), ACLNN_ERR_PARAM_INVALID,
             "%s: repeats is %s, wanted 1 or %lld elements", name, HC_SHOW(repeats), (long long)size);
    const struct args args = {dim, 0};
    return HC_PLAN(name, run_tensor, &args, HC_OUT(out), HC_IN(self), HC_IN(repeats));
}

/* Checks of arguments, with the interface's names in the message. */
#define CHECK_PRESENT(name, a, b)                                                                            \
    HC_CHECK((a) && (b), ACLNN_ERR_PARAM_NULLPTR, name ": %s is null", (a) ? #b : #a)
#define CHECK_DIM(name, dim, self)                                                                           \
    do {                                                                                                     \
        if ((self)->rank == 0 || hc_wrap_dim(dim, (self)->rank) < 0)                                         \
            return hc_fail_dim(name, #dim, dim, #self, self);                                                \
    } while (0)

/* self.repeat_interleave(repeats): of all elements, flattened. */
HC_API aclnnStatus aclnnRepeatInterleaveIntGetWorkspaceSize(const aclTensor *self, int64_t repeats,
                                                            int64_t outputSize, aclTensor *out,
                                                            uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    (void)outputSize; /* out's shape says it */
    CHECK_PRESENT("aclnnRepeatInterleaveInt", self, out);
    return plan_int("aclnnRepeatInterleaveInt", self, repeats, FLAT, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRepeatInterleaveInt)

/* self.repeat_interleave(repeats, dim). */
HC_API aclnnStatus aclnnRepeatInterleaveIntWithDimGetWorkspaceSize(const aclTensor *self, int64_t repeats,
                                                                   int64_t dim, int64_t outputSize,
                                                                   aclTensor *out, uint64_t *workspaceSize,
                                                                   aclOpExecutor **executor) {
    (void)outputSize;
    CHECK_PRESENT("aclnnRepeatInterleaveIntWithDim", self, out);
    CHECK_DIM("aclnnRepeatInterleaveIntWithDim", dim, self);
    return plan_int("aclnnRepeatInterleaveIntWithDim", self, repeats, hc_wrap_dim(dim, self->rank), out,
                    workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRepeatInterleaveIntWithDim)

/* The two forms above with a tensor of counts, one per element or slice, or one for all. */
HC_API aclnnStatus aclnnRepeatInterleaveGetWorkspaceSize(const aclTensor *self, const aclTensor *repeats,
                                                         int64_t outputSize, aclTensor *out,
                                                         uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)outputSize;
    CHECK_PRESENT("aclnnRepeatInterleave", self, out);
    return plan_tensor("aclnnRepeatInterleave", self, repeats, FLAT, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRepeatInterleave)

HC_API aclnnStatus aclnnRepeatInterleaveWithDimGetWorkspaceSize(const aclTensor *self,
                                                                const aclTensor *repeats, int64_t dim,
                                                                int64_t outputSize, aclTensor *out,
                                                                uint64_t *workspaceSize,
                                                                aclOpExecutor **executor) {
    (void)outputSize;
    CHECK_PRESENT("aclnnRepeatInterleaveWithDim", self, out);
    CHECK_DIM("aclnnRepeatInterleaveWithDim", dim, self);
    return plan_tensor("aclnnRepeatInterleaveWithDim", self, repeats, hc_wrap_dim(dim, self->rank), out,
                       workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRepeatInterleaveWithDim)

/* torch.repeat_interleave(repeats): the positions themselves, 0 repeats[0] times, 1 repeats[1] times, ...
 */
HC_API aclnnStatus aclnnRepeatInterleaveTensorGetWorkspaceSize(const aclTensor *repeats, int64_t outputSize,
                                                               aclTensor *out, uint64_t *workspaceSize,
                                                               aclOpExecutor **executor) {
    (void)outputSize;
    CHECK_PRESENT("aclnnRepeatInterleaveTensor", repeats, out);
    HC_TRY(hc_index_check_dtype("aclnnRepeatInterleaveTensor", "repeats", repeats));
    HC_CHECK(repeats->rank == 1 && out->rank == 1, ACLNN_ERR_PARAM_INVALID,
             "aclnnRepeatInterleaveTensor: repeats is %s, out is %s, wanted one dimension each",
             HC_SHOW(repeats), HC_SHOW(out));
    return HC_PLAN0("aclnnRepeatInterleaveTensor", run_positions, HC_OUT(out), HC_IN(repeats));
}
HC_OP_LAUNCH(aclnnRepeatInterleaveTensor)

/* out[i] = the sum of yGrad over the positions that i was repeated to, in their order; an element that
 * was repeated 0 times gets 0. */
HC_API aclnnStatus aclnnRepeatInterleaveGradGetWorkspaceSize(const aclTensor *yGrad, const aclTensor *repeats,
                                                             int64_t axis, const aclTensor *out,
                                                             uint64_t *workspaceSize,
                                                             aclOpExecutor **executor) {
    CHECK_PRESENT("aclnnRepeatInterleaveGrad", yGrad, out);
    CHECK_DIM("aclnnRepeatInterleaveGrad", axis, yGrad);
    const struct args args = {hc_wrap_dim(axis, yGrad->rank), 0};
    HC_TRY(check("aclnnRepeatInterleaveGrad", yGrad, args.dim, out));
    HC_TRY(hc_index_check_dtype("aclnnRepeatInterleaveGrad", "repeats", repeats));
    HC_CHECK(repeats->numel == 1 || repeats->numel == out->shape[args.dim], ACLNN_ERR_PARAM_INVALID,
             "aclnnRepeatInterleaveGrad: repeats is %s, wanted 1 or %lld elements", HC_SHOW(repeats),
             (long long)out->shape[args.dim]);
    return HC_PLAN("aclnnRepeatInterleaveGrad", run_grad, &args, HC_OUT(out), HC_IN(yGrad), HC_IN(repeats));
}
HC_OP_LAUNCH(aclnnRepeatInterleaveGrad)
