// SPDX-License-Identifier: Apache-2.0
/* Multi-label margin loss of rows of classes: the sum of max(0, 1 - (self[t] - self[i])) / classes over the
 * targets t of a row, which end at the first -1, and the classes i that are none; a row's, their mean or
 * their sum. isTarget: 1 where a class is a target. O(targets x classes) a row; sums are in double. */
#include "pointwise.h"

HC_KERNEL(multilabel_margin,
          (size_t classes, const double *x, const double *is_target, double wanted, double *sum))

#ifdef HC_ISA
/* Of one target: `wanted` is 1 - self[t]. Classes that are targets count for nothing. Eight sums side by
 * side, which vectorises, folded in a fixed order. */
void HC_FN(multilabel_margin)(size_t classes, const double *x, const double *is_target, double wanted,
                              double *sum) {
    double lane[8] = {0};
    size_t i = 0;
    for (; i + 8 <= classes; i += 8) {
        for (size_t k = 0; k < 8; k++) {
            const double z = wanted + x[i + k];
            lane[k] += (z < 0) | (is_target[i + k] != 0) ? 0 : z;
        }
    }
    for (size_t k = 0; i + k < classes; k++) {
        const double z = wanted + x[i + k];
        lane[k] += (z < 0) | (is_target[i + k] != 0) ? 0 : z;
    }
    for (size_t half = 4; half > 0; half /= 2)
        for (size_t k = 0; k < half; k++) lane[k] += lane[k + half];
    *sum += lane[0];
}
#else
#include <stdatomic.h>

#include "reduce.h"

enum { GRAIN = 16 * 1024 };

/* One run: rows of `classes` elements. `failed`: a thread had no memory, and has said so. */
struct rows {
    aclTensor self, is_target;
    const int64_t *targets;
    double *losses;
    size_t classes;
    atomic_bool failed;
};

/* [classes] as [1, classes]. */
static aclTensor as_rows(const aclTensor *t) {
    aclTensor view = *t;
    if (t->rank == 2) return view;
    view.rank = 2;
    view.shape[1] = t->rank == 1 ? t->shape[0] : 1;
    view.stride[1] = t->rank == 1 ? t->stride[0] : 1;
    view.shape[0] = 1;
    view.stride[0] = 0;
    return view;
}

/* First element of a row. */
static char *row_of(const aclTensor *t, size_t row) {
    return hc_data(t) + (int64_t)row * t->stride[0] * t->item_size;
}

/* Rows as doubles in this thread's scratch memory, the marks of targets behind them. A target that is named
 * twice counts twice, as in PyTorch. */
static void run_rows(void *ctx, size_t begin, size_t end) {
    struct rows *r = ctx;
    double *x = hc_scratch(HC_SCRATCH_A, 2 * r->classes * sizeof(double)), *is_target = x + r->classes;
    if (x == NULL) {
        atomic_store(&r->failed, true);
        return;
    }
    for (size_t row = begin; row < end; row++) {
        const int64_t *targets = r->targets + row * r->classes;
        double sum = 0;
        hc_load_for(r->self.dtype, HC_F64)(r->classes, x, row_of(&r->self, row), r->self.stride[1]);
        for (size_t i = 0; i < r->classes; i++) is_target[i] = 0;
        for (size_t i = 0; i < r->classes && targets[i] >= 0; i++) is_target[targets[i]] = 1;
        for (size_t i = 0; i < r->classes && targets[i] >= 0; i++)
            HC_DISPATCH(multilabel_margin)(r->classes, x, is_target, 1 - x[targets[i]], &sum);
        r->losses[row] = sum / (double)r->classes;
        hc_store_for(r->is_target.dtype, HC_F64)(r->classes, row_of(&r->is_target, row),
                                                 r->is_target.stride[1], is_target);
    }
}

/* Every value is looked at, also those behind a row's end, as in PyTorch. */
static aclnnStatus check_targets(const struct hc_call *call, const struct rows *r, size_t count) {
    for (size_t i = 0; i < count; i++) {
        HC_CHECK(r->targets[i] >= -1 && r->targets[i] < (int64_t)r->classes, ACLNN_ERR_PARAM_INVALID,
                 "%s: index %lld at position [%zu,%zu] of target is out of range: wanted -1 to %zu",
                 call->name, (long long)r->targets[i], i / r->classes, i % r->classes, r->classes - 1);
    }
    return 0;
}

/* Targets are copied before they are looked at: what was checked is what is used, also if isTarget is their
 * memory. Losses of rows wait in double for the reduction. */
static aclnnStatus run_with(const struct hc_call *call, struct rows *r, int64_t *targets, double *losses) {
    const int64_t reduction = *(const int64_t *)call->args;
    const size_t num_rows = (size_t)r->self.shape[0];
    const aclTensor own = hc_tensor_view(ACL_INT64, hc_arg(call, 1)->shape, hc_arg(call, 1)->rank, targets);
    HC_TRY(hc_copy(&own, hc_arg(call, 1)));
    r->targets = targets;
    r->losses = losses;
    HC_TRY(check_targets(call, r, hc_numel(&own)));
    const size_t cost = hc_max_size(r->classes * r->classes, 1);
    hc_parallel_for(num_rows, hc_max_size(GRAIN / cost, 1), run_rows, r);
    if (atomic_load(&r->failed)) return ACLNN_ERR_INNER;
    const aclTensor *out = hc_arg(call, 2);
    const int64_t shape[] = {(int64_t)num_rows};
    const aclTensor all = hc_tensor_view(ACL_DOUBLE, shape, 1, losses);
    if (reduction == LOSS_NONE && out->rank == 1) return hc_copy(out, &all);
    return hc_reduce_sum(&all, 1, reduction == LOSS_MEAN, out);
}

static aclnnStatus run(const struct hc_call *call) {
    struct rows r = {.self = as_rows(hc_arg(call, 0)), .is_target = as_rows(hc_arg(call, 3))};
    r.classes = (size_t)r.self.shape[1];
    int64_t *targets = hc_block_take_array(hc_numel(hc_arg(call, 1)), sizeof *targets);
    double *losses = hc_block_take_array((size_t)r.self.shape[0], sizeof *losses);
    const aclnnStatus status = targets != NULL && losses != NULL
                                   ? run_with(call, &r, targets, losses)
                                   : hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for targets %s",
                                             call->name, HC_SHOW(hc_arg(call, 1)));
    hc_block_give(targets);
    hc_block_give(losses);
    return status;
}

/* A row without classes has no loss to divide; rows may be none. */
static aclnnStatus check(const char *name, const aclTensor *self, const aclTensor *target,
                         const aclTensor *out, const aclTensor *isTarget, int64_t reduction) {
    HC_CHECK(self && target && out && isTarget, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !self     ? "self"
             : !target ? "target"
             : out     ? "isTarget"
                       : "out");
    HC_TRY(loss_check_reduction(name, reduction));
    HC_CHECK(hc_dtype_is_float(self->dtype) && self->rank <= 2 && (self->rank < 2 || self->shape[1] > 0) &&
                 (self->rank != 1 || self->shape[0] > 0),
             ACLNN_ERR_PARAM_INVALID, "%s: self is %s, wanted floating point [rows, classes] or [classes]",
             name, HC_SHOW(self));
    HC_CHECK(hc_dtype_class(target->dtype) == HC_CLASS_INT && hc_same_shape(target, self),
             ACLNN_ERR_PARAM_INVALID, "%s: target is %s, wanted integers in the shape of self %s", name,
             HC_SHOW(target), HC_SHOW(self));
    HC_CHECK(hc_dtype_class(isTarget->dtype) <= HC_CLASS_FLOAT && hc_same_shape(isTarget, self),
             ACLNN_ERR_PARAM_INVALID, "%s: isTarget is %s, wanted the shape of self %s", name,
             HC_SHOW(isTarget), HC_SHOW(self));
    const bool per_row = reduction == LOSS_NONE && self->rank == 2;
    HC_CHECK(hc_dtype_is_float(out->dtype) &&
                 (per_row ? out->rank == 1 && out->shape[0] == self->shape[0] : out->rank == 0),
             ACLNN_ERR_PARAM_INVALID, "%s: out is %s, wanted %s of self %s", name, HC_SHOW(out),
             per_row ? "a floating point value per row" : "one floating point value", HC_SHOW(self));
    return 0;
}

/* F.multilabel_margin_loss(self, target, reduction) */
HC_API aclnnStatus aclnnMultilabelMarginLossGetWorkspaceSize(const aclTensor *self, const aclTensor *target,
                                                             int64_t reduction, aclTensor *out,
                                                             aclTensor *isTarget, uint64_t *workspaceSize,
                                                             aclOpExecutor **executor) {
    HC_TRY(check("aclnnMultilabelMarginLoss", self, target, out, isTarget, reduction));
    return HC_PLAN("aclnnMultilabelMarginLoss", run, &reduction, HC_IN(self), HC_IN(target), HC_OUT(out),
                   HC_OUT(isTarget));
}
HC_OP_LAUNCH(aclnnMultilabelMarginLoss)
#endif
