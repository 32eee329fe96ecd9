// SPDX-License-Identifier: Apache-2.0
/* Negative log likelihood: -weight[t] self[i, t] for the target t of each row i, its weighted mean or its
 * sum; and the gradient. Rows are [N], or the pixels [N, H, W] of images self[N, C, H, W] (NLLLoss2d). One
 * value per row is touched, so rows are visited in order by one thread; sums are in double. */
#include <stdlib.h>

#include "pointwise.h"

struct args {
    int64_t reduction, ignore;
};

/* self, or its gradient, as [N, C, H, W]; from [C] and [N, C] too. */
static aclTensor as_images(const aclTensor *t) {
    aclTensor view = *t;
    const bool batch = t->rank > 1;
    view.rank = 4;
    for (int32_t d = 0; d < 4; d++) {
        const int32_t from = batch ? d : d - 1;
        view.shape[d] = from >= 0 && from < t->rank ? t->shape[from] : 1;
        view.stride[d] = from >= 0 && from < t->rank ? t->stride[from] : 0;
    }
    return view;
}

/* What has one value per row, as [N, H, W]; from [N] and [] too. */
static aclTensor as_rows(const aclTensor *t) {
    aclTensor view = *t;
    view.rank = 3;
    for (int32_t d = 0; d < 3; d++) {
        view.shape[d] = d < t->rank ? t->shape[d] : 1;
        view.stride[d] = d < t->rank ? t->stride[d] : 0;
    }
    return view;
}

/* A row's place: image (or row), and pixel. */
struct row {
    int64_t n, h, w;
};

/* Row number i in the order of target, row-major. */
static struct row row_at(const aclTensor *images, int64_t i) {
    const int64_t wide = images->shape[3], area = images->shape[2] * wide;
    return (struct row){i / area, i % area / wide, i % wide};
}

/* In bytes, as is class_offset. */
static int64_t offset_of(const aclTensor *rows, struct row r) {
    return (r.n * rows->stride[0] + r.h * rows->stride[1] + r.w * rows->stride[2]) * rows->item_size;
}

static int64_t class_offset(const aclTensor *images, struct row r, int64_t t) {
    return (r.n * images->stride[0] + t * images->stride[1] + r.h * images->stride[2] +
            r.w * images->stride[3]) *
           images->item_size;
}

/* One element as double. */
static double get(const aclTensor *t, int64_t offset) {
    double value;
    hc_load_for(t->dtype, HC_F64)(1, &value, hc_data(t) + offset, 0);
    return value;
}

/* One element, converted to the tensor's type. */
static void put(const aclTensor *t, int64_t offset, double value) {
    hc_store_for(t->dtype, HC_F64)(1, hc_data(t) + offset, 1, &value);
}

/* The target of a row: negative if the row is ignored, an error if there is no such class. */
static aclnnStatus target_of(const struct hc_call *call, const aclTensor *target, int64_t i, struct row r,
                             int64_t classes, int64_t *t) {
    const struct args *a = call->args;
    hc_load_for(target->dtype, HC_I64)(1, t, hc_data(target) + offset_of(target, r), 0);
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
static double weight_of(const aclTensor *weight, int64_t t) {
    return weight != NULL ? get(weight, t * weight->stride[0] * weight->item_size) : 1;
}

/* Pixels count as rows. */
static int64_t rows_of(const aclTensor *self) {
    const aclTensor images = as_images(self);
    return images.shape[0] * images.shape[2] * images.shape[3];
}

static int64_t classes_of(const aclTensor *self) { return self->shape[self->rank > 1 ? 1 : 0]; }

/* O(rows): one element of each row. The mean of no rows is NaN, as in PyTorch. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor self = as_images(hc_arg(call, 0)), target = as_rows(hc_arg(call, 1)),
                    out = as_rows(hc_arg(call, 3)), *weight = hc_arg(call, 2);
    double sum = 0, total = 0;
    for (int64_t i = 0; i < target.numel; i++) {
        const struct row r = row_at(&self, i);
        int64_t t;
        HC_TRY(target_of(call, &target, i, r, self.shape[1], &t));
        const double w = t >= 0 ? weight_of(weight, t) : 0;
        const double loss = t >= 0 ? -w * get(&self, class_offset(&self, r, t)) : 0;
        if (a->reduction == LOSS_NONE) put(&out, offset_of(&out, r), loss);
        sum += loss;
        total += w;
    }
    if (a->reduction != LOSS_NONE) put(&out, 0, a->reduction == LOSS_MEAN ? sum / total : sum);
    put(hc_arg(call, 4), 0, a->reduction == LOSS_NONE ? 0 : total);
    return 0;
}

/* Zeros everywhere, then one element a row. totalWeight is the forward's, so ignored rows are left out of
 * the mean. */
static aclnnStatus run_backward(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor grad = as_rows(hc_arg(call, 0)), target = as_rows(hc_arg(call, 2)),
                    *weight = hc_arg(call, 3), out = as_images(hc_arg(call, 5));
    double zero = 0;
    const aclTensor nothing = hc_tensor_view(ACL_DOUBLE, NULL, 0, &zero);
    aclTensor view;
    if (!hc_broadcast_to(&nothing, out.shape, out.rank, &view)) return ACLNN_ERR_INNER;
    HC_TRY(hc_copy(&out, &view));
    const double total = a->reduction == LOSS_MEAN ? get(hc_arg(call, 4), 0) : 1;
    for (int64_t i = 0; i < target.numel; i++) {
        const struct row r = row_at(&out, i);
        int64_t t;
        HC_TRY(target_of(call, &target, i, r, out.shape[1], &t));
        if (t < 0) continue;
        const double g = get(&grad, a->reduction == LOSS_NONE ? offset_of(&grad, r) : 0);
        put(&out, class_offset(&out, r, t), -weight_of(weight, t) * g / total);
    }
    return 0;
}

/* `images`: self is [N, C, H, W] and target [N, H, W]. Else one row without a batch
 * dimension is allowed: then target is a scalar. */
static aclnnStatus check(const char *name, bool images, const aclTensor *self, const aclTensor *target,
                         const aclTensor *weight, int64_t reduction) {
    HC_CHECK(self && target, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, self ? "target" : "self");
    HC_CHECK((images ? self->rank == 4 : self->rank == 1 || self->rank == 2) &&
                 hc_dtype_is_float(self->dtype),
             ACLNN_ERR_PARAM_INVALID, "%s: self is %s, want floating point %s", name, HC_SHOW(self),
             images ? "[batch, classes, height, width]" : "[rows, classes] or [classes]");
    const aclTensor view = as_images(self), rows = as_rows(target);
    HC_CHECK(hc_dtype_class(target->dtype) == HC_CLASS_INT &&
                 (images ? target->rank == 3 : target->rank <= 1) && rows.shape[0] == view.shape[0] &&
                 rows.shape[1] == view.shape[2] && rows.shape[2] == view.shape[3],
             ACLNN_ERR_PARAM_INVALID, "%s: target is %s, want %lld integers, one per %s of self %s", name,
             HC_SHOW(target), (long long)rows_of(self), images ? "pixel" : "row", HC_SHOW(self));
    HC_CHECK(weight == NULL ||
                 (weight->rank == 1 && weight->numel == classes_of(self) && hc_dtype_is_float(weight->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: weight is %s, want one floating point value per class of self %s",
             name, HC_SHOW(weight), HC_SHOW(self));
    return loss_check_reduction(name, reduction);
}

/* One loss per row, in the shape of target, or one. */
static aclnnStatus check_losses(const char *name, const char *arg, const aclTensor *t,
                                const aclTensor *target, int64_t reduction) {
    const int64_t want = reduction == LOSS_NONE ? target->numel : 1;
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    const bool fits = reduction == LOSS_NONE && target->rank > 1 ? hc_same_shape(t, target)
                                                                 : t->rank <= 1 && t->numel == want;
    HC_CHECK(fits && hc_dtype_is_float(t->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, want %lld floating point values for target %s", name, arg, HC_SHOW(t),
             (long long)want, HC_SHOW(target));
    return 0;
}

/* `images` tells NLLLoss2d; the run does not need it, as [N] and [N, H, W] are seen as one. */
static aclnnStatus plan(const char *name, bool images, const aclTensor *self, const aclTensor *target,
                        const aclTensor *weight, struct args args, const aclTensor *out,
                        const aclTensor *totalWeightOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check(name, images, self, target, weight, args.reduction));
    HC_TRY(check_losses(name, "out", out, target, args.reduction));
    HC_TRY(check_losses(name, "totalWeightOut", totalWeightOut, target, LOSS_SUM));
    return HC_PLAN(name, run, &args, HC_IN(self), HC_IN(target), HC_IN_OPT(weight), HC_OUT(out),
                   HC_OUT(totalWeightOut));
}

/* self is not read: its shape says how large the gradient is. */
static aclnnStatus plan_backward(const char *name, bool images, const aclTensor *gradOutput,
                                 const aclTensor *self, const aclTensor *target, const aclTensor *weight,
                                 struct args args, const aclTensor *totalWeight, const aclTensor *out,
                                 uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check(name, images, self, target, weight, args.reduction));
    HC_TRY(check_losses(name, "gradOutput", gradOutput, target, args.reduction));
    HC_TRY(check_losses(name, "totalWeight", totalWeight, target, LOSS_SUM));
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: out is null", name);
    HC_CHECK(hc_same_shape(self, out) && hc_dtype_is_float(out->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, want the shape of self %s", name, HC_SHOW(out), HC_SHOW(self));
    return HC_PLAN(name, run_backward, &args, HC_IN(gradOutput), HC_IN(self), HC_IN(target),
                   HC_IN_OPT(weight), HC_IN(totalWeight), HC_OUT(out));
}

/* F.nll_loss(self, target, weight, ignore_index, reduction) of log-probabilities. totalWeightOut is the
 * sum of the weights that counted, which the gradient of the mean divides by. */
HC_API aclnnStatus aclnnNLLLossGetWorkspaceSize(const aclTensor *self, const aclTensor *target,
                                                const aclTensor *weight, int64_t reduction,
                                                int64_t ignoreIndex, aclTensor *out,
                                                aclTensor *totalWeightOut, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    return plan("aclnnNLLLoss", false, self, target, weight, (struct args){reduction, ignoreIndex}, out,
                totalWeightOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNLLLoss)

/* The same of images, a class per pixel. */
HC_API aclnnStatus aclnnNLLLoss2dGetWorkspaceSize(const aclTensor *self, const aclTensor *target,
                                                  const aclTensor *weight, int64_t reduction,
                                                  int64_t ignoreIndex, aclTensor *out,
                                                  aclTensor *totalWeightOut, uint64_t *workspaceSize,
                                                  aclOpExecutor **executor) {
    return plan("aclnnNLLLoss2d", true, self, target, weight, (struct args){reduction, ignoreIndex}, out,
                totalWeightOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNLLLoss2d)

/* -weight[t] at the target of each row, times its gradient; zero elsewhere. */
HC_API aclnnStatus aclnnNLLLossBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                        const aclTensor *target, const aclTensor *weight,
                                                        int64_t reduction, int64_t ignoreIndex,
                                                        const aclTensor *totalWeight, aclTensor *out,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan_backward("aclnnNLLLossBackward", false, gradOutput, self, target, weight,
                         (struct args){reduction, ignoreIndex}, totalWeight, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNLLLossBackward)

HC_API aclnnStatus aclnnNLLLoss2dBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                          const aclTensor *target, const aclTensor *weight,
                                                          int64_t reduction, int64_t ignoreIndex,
                                                          aclTensor *totalWeight, aclTensor *out,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan_backward("aclnnNLLLoss2dBackward", true, gradOutput, self, target, weight,
                         (struct args){reduction, ignoreIndex}, totalWeight, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNLLLoss2dBackward)
