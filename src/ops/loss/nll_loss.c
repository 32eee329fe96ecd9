// SPDX-License-Identifier: Apache-2.0
/* Negative log likelihood: -weight[t] self[i, t] for the target t of each row, its weighted mean or its sum;
 * and the gradient. One value per row is touched, so rows are visited in order by one thread; sums are in
 * double. */
#include <stdlib.h>

#include "elementwise.h"

/* The interface's numbers. */
enum { NONE, MEAN, SUM };

struct args {
    int64_t reduction, ignore;
};

/* One element of a tensor of rank 0 to 2 as double. */
static double get(const aclTensor *t, int64_t i, int64_t j) {
    const int64_t at = t->rank == 2   ? i * t->stride[0] + j * t->stride[1]
                       : t->rank == 1 ? j * t->stride[0]
                                      : 0;
    double value;
    hc_load_for(t->dtype, HC_F64)(1, &value, hc_data(t) + at * t->item_size, 0);
    return value;
}

/* One element, converted to the tensor's type. */
static void put(const aclTensor *t, int64_t i, int64_t j, double value) {
    const int64_t at = t->rank == 2   ? i * t->stride[0] + j * t->stride[1]
                       : t->rank == 1 ? j * t->stride[0]
                                      : 0;
    hc_store_for(t->dtype, HC_F64)(1, hc_data(t) + at * t->item_size, 1, &value);
}

/* The target of row i: negative if the row is ignored, an error if there is no such class. */
static aclnnStatus target_of(const struct hc_call *call, const aclTensor *target, int64_t i, int64_t classes,
                             int64_t *t) {
    const struct args *a = call->args;
    const int64_t at = target->rank > 0 ? i * target->stride[0] : 0;
    hc_load_for(target->dtype, HC_I64)(1, t, hc_data(target) + at * target->item_size, 0);
    if (*t == a->ignore) {
        *t = -1;
        return 0;
    }
    HC_CHECK(*t >= 0 && *t < classes, ACLNN_ERR_PARAM_INVALID,
             "%s: target[%lld] is %lld, self has %lld classes", call->name, (long long)i, (long long)*t,
             (long long)classes);
    return 0;
}

/* No weights are ones. */
static double weight_of(const aclTensor *weight, int64_t t) { return weight != NULL ? get(weight, 0, t) : 1; }
static int64_t rows_of(const aclTensor *self) { return self->rank == 2 ? self->shape[0] : 1; }
static int64_t classes_of(const aclTensor *self) { return self->shape[self->rank - 1]; }

/* O(rows): one element of each row. The mean of no rows is NaN, as in PyTorch. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *self = hc_arg(call, 0), *target = hc_arg(call, 1), *weight = hc_arg(call, 2),
                    *out = hc_arg(call, 3);
    double sum = 0, total = 0;
    for (int64_t i = 0; i < rows_of(self); i++) {
        int64_t t;
        HC_TRY(target_of(call, target, i, classes_of(self), &t));
        const double w = t >= 0 ? weight_of(weight, t) : 0, loss = t >= 0 ? -w * get(self, i, t) : 0;
        if (a->reduction == NONE) put(out, 0, i, loss);
        sum += loss;
        total += w;
    }
    if (a->reduction != NONE) put(out, 0, 0, a->reduction == MEAN ? sum / total : sum);
    put(hc_arg(call, 4), 0, 0, a->reduction == NONE ? 0 : total);
    return 0;
}

/* Zeros everywhere, then one element a row. totalWeight is the forward's, so ignored rows are left out of
 * the mean. */
static aclnnStatus run_backward(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *grad = hc_arg(call, 0), *self = hc_arg(call, 1), *target = hc_arg(call, 2),
                    *weight = hc_arg(call, 3);
    const aclTensor *out = hc_arg(call, 5);
    double zero = 0;
    const aclTensor nothing = hc_tensor_view(ACL_DOUBLE, NULL, 0, &zero);
    aclTensor view;
    if (!hc_broadcast_to(&nothing, out->shape, out->rank, &view)) return ACLNN_ERR_INNER;
    HC_TRY(hc_copy(out, &view));
    const double total = a->reduction == MEAN ? get(hc_arg(call, 4), 0, 0) : 1;
    for (int64_t i = 0; i < rows_of(self); i++) {
        int64_t t;
        HC_TRY(target_of(call, target, i, classes_of(self), &t));
        if (t < 0) continue;
        put(out, i, t, -weight_of(weight, t) * get(grad, 0, a->reduction == NONE ? i : 0) / total);
    }
    return 0;
}

/* One row without a batch dimension is allowed: then target is a scalar. */
static aclnnStatus check(const char *name, const aclTensor *self, const aclTensor *target,
                         const aclTensor *weight, int64_t reduction) {
    HC_CHECK(self && target, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "target" : "self");
    HC_CHECK((self->rank == 1 || self->rank == 2) && hc_dtype_is_float(self->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: self is %s, want floating point [rows, classes] or [classes]", name, HC_SHOW(self));
    HC_CHECK(hc_dtype_class(target->dtype) == HC_CLASS_INT && target->rank <= 1 &&
                 target->numel == rows_of(self),
             ACLNN_ERR_PARAM_INVALID, "%s: target is %s, want %lld integers, one per row of self %s", name,
             HC_SHOW(target), (long long)rows_of(self), HC_SHOW(self));
    HC_CHECK(weight == NULL ||
                 (weight->rank == 1 && weight->numel == classes_of(self) && hc_dtype_is_float(weight->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: weight is %s, want one floating point value per class of self %s",
             name, HC_SHOW(weight), HC_SHOW(self));
    HC_CHECK(reduction >= NONE && reduction <= SUM, ACLNN_ERR_PARAM_INVALID,
             "%s: reduction is %lld, want 0 (none), 1 (mean) or 2 (sum)", name, (long long)reduction);
    return 0;
}

/* One loss per row, or one. */
static aclnnStatus check_losses(const char *name, const char *arg, const aclTensor *t, const aclTensor *self,
                                int64_t reduction) {
    const int64_t want = reduction == NONE ? rows_of(self) : 1;
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(t->rank <= 1 && t->numel == want && hc_dtype_is_float(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, want %lld floating point values", name, arg, HC_SHOW(t), (long long)want);
    return 0;
}

HC_API aclnnStatus aclnnNLLLossGetWorkspaceSize(const aclTensor *self, const aclTensor *target,
                                                const aclTensor *weight, int64_t reduction,
                                                int64_t ignoreIndex, aclTensor *out,
                                                aclTensor *totalWeightOut, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    const struct args args = {reduction, ignoreIndex};
    HC_TRY(check("aclnnNLLLoss", self, target, weight, reduction));
    HC_TRY(check_losses("aclnnNLLLoss", "out", out, self, reduction));
    HC_TRY(check_losses("aclnnNLLLoss", "totalWeightOut", totalWeightOut, self, SUM));
    return HC_PLAN("aclnnNLLLoss", run, &args, HC_IN(self), HC_IN(target), HC_IN_OPT(weight), HC_OUT(out),
                   HC_OUT(totalWeightOut));
}
HC_OP_LAUNCH(aclnnNLLLoss)

HC_API aclnnStatus aclnnNLLLossBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                        const aclTensor *target, const aclTensor *weight,
                                                        int64_t reduction, int64_t ignoreIndex,
                                                        const aclTensor *totalWeight, aclTensor *out,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct args args = {reduction, ignoreIndex};
    HC_TRY(check("aclnnNLLLossBackward", self, target, weight, reduction));
    HC_TRY(check_losses("aclnnNLLLossBackward", "gradOutput", gradOutput, self, reduction));
    HC_TRY(check_losses("aclnnNLLLossBackward", "totalWeight", totalWeight, self, SUM));
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnNLLLossBackward: out is null");
    HC_CHECK(hc_same_shape(self, out) && hc_dtype_is_float(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "aclnnNLLLossBackward: out is %s, want the shape of self %s", HC_SHOW(out), HC_SHOW(self));
    return HC_PLAN("aclnnNLLLossBackward", run_backward, &args, HC_IN(gradOutput), HC_IN(self), HC_IN(target),
                   HC_IN_OPT(weight), HC_IN(totalWeight), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnNLLLossBackward)
