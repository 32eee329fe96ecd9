// SPDX-License-Identifier: Apache-2.0
/* Unique, Unique2 and UniqueConsecutive: distinct values, where each element went, and how often each occurs.
 *
 * Values of the whole tensor are sorted as pairs (key, position) and runs of one key are counted; consecutive
 * ones are runs of the input itself. Along a dimension, neighbouring slices are compared. NaN equals nothing.
 * The number of results is known only when they are: phase two waits and sets the outputs' shapes. */
#include <string.h>

#include "elementwise.h"
#include "messages.h"
#include "sort_rows.h"

/* The caller's "no dimension". */
enum { FLATTEN = 1000 };

/* sort: Unique and Unique2. counts and inverse: whether wanted. */
struct args {
    bool sort, inverse, counts;
    int64_t dim; /* FLATTEN, or of UniqueConsecutive */
};
/* Operands of the plan. */
enum { SELF, VALUE, INVERSE, COUNTS };

/* self contiguous, with dim first where there is one: `slices` slices of `width` elements. */
struct slices {
    aclTensor tensor;
    size_t slices, width, bytes;
    struct hc_pair *order;
    int64_t *inverse, *counts, *first;
};

/* What was never allocated is NULL. */
static void free_slices(struct slices *s) {
    hc_block_give(s->tensor.base);
    hc_block_give(s->order);
    hc_block_give(s->inverse);
    hc_block_give(s->counts);
    hc_block_give(s->first);
}

/* Everything is allocated here at once; free_slices frees what there is, also after a failure. */
static aclnnStatus make_slices(const struct hc_call *call, struct slices *s) {
    const struct args *a = call->args;
    aclTensor self = *hc_arg(call, SELF);
    s->slices = hc_numel(&self);
    s->width = 1;
    if (a->dim != FLATTEN) {
        for (int32_t d = (int32_t)a->dim; d > 0; d--) self = hc_transpose_view(&self, d, d - 1);
        s->slices = (size_t)self.shape[0];
        s->width = s->slices > 0 ? hc_numel(&self) / s->slices : 0;
    }
    s->bytes = s->width * (size_t)self.item_size;
    char *data = hc_block_take_array(hc_numel(&self), (size_t)self.item_size);
    s->tensor = hc_tensor_view(self.dtype, self.shape, self.rank, data);
    const size_t n = hc_max_size(s->slices, 1);
    s->order = hc_block_take_array((a->sort ? 2 : 1) * n, sizeof *s->order);
    s->inverse = hc_block_take_array(n, sizeof *s->inverse);
    s->counts = hc_block_take_array(n, sizeof *s->counts);
    s->first = hc_block_take_array(n, sizeof *s->first);
    HC_CHECK(data && s->order && s->inverse && s->counts && s->first, ACLNN_ERR_INNER,
             "%s: out of host memory for %s", call->name, HC_SHOW(&self));
    return hc_copy(&s->tensor, &self);
}

/* Equal as numbers: zeros of both signs are, NaN is not. Keys say so for one element; NaN has the largest
 * key. */
static bool same(const struct slices *s, size_t a, size_t b) {
    hc_make_pairs_fn *const make = hc_make_pairs_for(s->tensor.dtype);
    for (size_t i = 0; i < s->width; i++) {
        struct hc_pair x, y;
        make(0, 1, &x, s->tensor.base + a * s->bytes + i * (size_t)s->tensor.item_size, 1, false, UINT64_MAX);
        make(0, 1, &y, s->tensor.base + b * s->bytes + i * (size_t)s->tensor.item_size, 1, false, UINT64_MAX);
        const uint64_t nan = s->tensor.dtype == ACL_DOUBLE ? UINT64_MAX : UINT32_MAX;
        if (x.key != y.key || (hc_dtype_is_float(s->tensor.dtype) && x.key == nan)) return false;
    }
    return true;
}

/* Visit slices in order and number the runs; returns how many. */
static size_t number_runs(struct slices *s, const struct hc_pair *order) {
    size_t runs = 0;
    for (size_t i = 0; i < s->slices; i++) {
        const size_t at = order != NULL ? order[i].at : i,
                     last = i > 0 ? order != NULL ? order[i - 1].at : i - 1 : 0;
        if (i == 0 || !same(s, last, at)) {
            s->first[runs] = (int64_t)at;
            s->counts[runs++] = 0;
        }
        s->counts[runs - 1]++;
        s->inverse[at] = (int64_t)runs - 1;
    }
    return runs;
}

/* The first of each run, gathered to the front, then into the caller's output with its dimension in place. */
static aclnnStatus store_values(const struct hc_call *call, struct slices *s, size_t runs) {
    const struct args *a = call->args;
    aclTensor out = *hc_arg(call, VALUE);
    char *packed = hc_block_take_array(runs, s->bytes);
    HC_CHECK(packed != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu values", call->name, runs);
    for (size_t r = 0; r < runs; r++)
        memcpy(packed + r * s->bytes, s->tensor.base + (size_t)s->first[r] * s->bytes, s->bytes);
    int64_t shape[HC_MAX_RANK] = {(int64_t)runs};
    int32_t rank = 1;
    aclTensor from = s->tensor;
    if (a->dim != FLATTEN) {
        from.shape[0] = (int64_t)runs;
        from = hc_tensor_view(from.dtype, from.shape, from.rank, packed);
        for (int32_t d = 0; d < a->dim; d++) from = hc_transpose_view(&from, d, d + 1);
        rank = from.rank;
        memcpy(shape, from.shape, sizeof shape);
    } else {
        from = hc_tensor_view(from.dtype, shape, 1, packed);
    }
    const aclTensor to = hc_tensor_view(out.dtype, shape, rank, hc_data(&out));
    const aclnnStatus status = hc_copy(&to, &from);
    hc_block_give(packed);
    hc_set_view_shape(call, VALUE, shape, rank);
    return status;
}

/* Values, then inverse and counts where wanted; their shapes are set once they are known. One thread:
 * O(n) or, sorted, O(n) for 8 bytes of key. */
static aclnnStatus run_slices(const struct hc_call *call, struct slices *s) {
    const struct args *a = call->args;
    const struct hc_pair *order = NULL;
    HC_TRY(make_slices(call, s));
    if (a->sort) {
        hc_make_pairs_for(s->tensor.dtype)(0, s->slices, s->order, s->tensor.base, 1, false, UINT64_MAX);
        order = hc_sort_pairs(s->slices, s->order, s->order + s->slices, hc_key_bytes(s->tensor.dtype));
    }
    const size_t runs = number_runs(s, order);
    HC_TRY(store_values(call, s, runs));
    if (a->inverse) {
        const aclTensor *to = hc_arg(call, INVERSE);
        const aclTensor from = hc_tensor_view(ACL_INT64, to->shape, to->rank, s->inverse);
        HC_TRY(hc_copy(to, &from));
    }
    if (!a->counts) return 0;
    const int64_t shape[] = {(int64_t)runs};
    const aclTensor *out = hc_arg(call, COUNTS);
    const aclTensor from = hc_tensor_view(ACL_INT64, shape, 1, s->counts),
                    to = hc_tensor_view(out->dtype, shape, 1, hc_data(out));
    HC_TRY(hc_copy(&to, &from));
    hc_set_view_shape(call, COUNTS, shape, 1);
    return 0;
}

/* Frees after a failure half way, too. */
static aclnnStatus run(const struct hc_call *call) {
    struct slices s = {0};
    const aclnnStatus status = run_slices(call, &s);
    free_slices(&s);
    return status;
}

/* Outputs have room for the worst case, all values distinct; their shapes shrink in the run, for which
 * the launch waits. */
static aclnnStatus plan(const char *name, const aclTensor *self, struct args args, const aclTensor *value,
                        const aclTensor *inverse, const aclTensor *counts, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_CHECK(self && value, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "valueOut" : "self");
    HC_CHECK(hc_make_pairs_for(self->dtype) != NULL && value->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: self %s, valueOut %s, want one real type", name, HC_SHOW(self), HC_SHOW(value));
    HC_CHECK(value->numel >= self->numel && hc_is_contiguous(value), ACLNN_ERR_PARAM_INVALID,
             "%s: valueOut is %s, want contiguous room for all of %s", name, HC_SHOW(value), HC_SHOW(self));
    HC_CHECK(hc_numel(self) < UINT32_MAX, ACLNN_ERR_PARAM_INVALID, "%s: self %s is too long", name,
             HC_SHOW(self));
    const int64_t slices = args.dim == FLATTEN ? self->numel : self->shape[args.dim];
    HC_CHECK(!args.inverse || (inverse && inverse->numel == slices && inverse->dtype == ACL_INT64),
             ACLNN_ERR_PARAM_INVALID, "%s: inverseOut is %s, want %lld int64", name, HC_SHOW(inverse),
             (long long)slices);
    HC_CHECK(!args.counts || (counts && counts->numel >= slices && counts->dtype == ACL_INT64 &&
                              hc_is_contiguous(counts)),
             ACLNN_ERR_PARAM_INVALID, "%s: countsOut is %s, want contiguous room for %lld int64", name,
             HC_SHOW(counts), (long long)slices);
    const struct hc_operand operands[] = {HC_IN(self), HC_OUT(value), HC_OUT_OPT(inverse),
                                          HC_OUT_OPT(counts)};
    return hc_plan(&(const struct hc_plan){.name = name,
                                           .run = run,
                                           .args = &args,
                                           .args_size = sizeof args,
                                           .operands = operands,
                                           .num_operands = 4,
                                           .sync = true},
                   workspaceSize, executor);
}

/* `sorted` false leaves the order open: sorted is one. */
HC_API aclnnStatus aclnnUniqueGetWorkspaceSize(const aclTensor *self, bool sorted, bool returnInverse,
                                               aclTensor *valueOut, aclTensor *inverseOut,
                                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)sorted;
    return plan("aclnnUnique", self, (struct args){true, returnInverse, false, FLATTEN}, valueOut, inverseOut,
                NULL, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnUnique)

HC_API aclnnStatus aclnnUnique2GetWorkspaceSize(const aclTensor *self, bool sorted, bool returnInverse,
                                                bool returnCounts, aclTensor *valueOut, aclTensor *inverseOut,
                                                aclTensor *countsOut, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    (void)sorted;
    return plan("aclnnUnique2", self, (struct args){true, returnInverse, returnCounts, FLATTEN}, valueOut,
                inverseOut, countsOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnUnique2)

HC_API aclnnStatus aclnnUniqueConsecutiveGetWorkspaceSize(const aclTensor *self, bool returnInverse,
                                                          bool returnCounts, int64_t dim, aclTensor *valueOut,
                                                          aclTensor *inverseOut, aclTensor *countsOut,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnUniqueConsecutive";
    HC_CHECK(self != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: self is null", NAME);
    int64_t along = FLATTEN;
    if (dim != FLATTEN && self->rank > 0) {
        along = hc_wrap_dim(dim, self->rank);
        if (along < 0) return hc_fail_dim(NAME, "dim", dim, "self", self);
    }
    return plan(NAME, self, (struct args){false, returnInverse, returnCounts, along}, valueOut, inverseOut,
                countsOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnUniqueConsecutive)
