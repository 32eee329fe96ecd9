// SPDX-License-Identifier: Apache-2.0
/* Binary cross entropy of p = sigmoid(self), from the logits: weight ((1 - target) self - w log p) with
 * w = 1 + (posWeight - 1) target, element by element, its mean or its sum; and its gradient. log p is taken
 * as min(x, 0) - ln(1 + e^-|x|), which neither overflows nor cancels. */
#include "pointwise.h"

HC_EW_KERNELS_FLOAT(bce_logits)
HC_EW_KERNELS_FLOAT(bce_logits_backward)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

/* Inputs: self, target, weight, posWeight. vf_select, and not a minimum, which would lose NaN. */
static inline vf forward_vf(const vf *x, const struct loss_args *a) {
    (void)a;
    const vf log_p = vf_select(x[0] > 0.0f, vf_zero(), x[0]) - vf_log1p(vf_exp(-vf_abs(x[0])));
    return ((1.0f - x[1]) * x[0] - ((x[3] - 1.0f) * x[1] + 1.0f) * log_p) * x[2];
}
static inline double forward_f64(const double *x, const struct loss_args *a) {
    (void)a;
    const double log_p = (x[0] > 0 ? 0 : x[0]) - log1p(exp(-fabs(x[0])));
    return ((1 - x[1]) * x[0] - ((x[3] - 1) * x[1] + 1) * log_p) * x[2];
}
LOSS_BODY_F32(bce_logits, 4, forward_vf)
LOSS_BODY_F64(bce_logits, 4, forward_f64)

/* Inputs: gradOutput, self, target, weight, posWeight. With t = posWeight target the derivative is
 * (t + 1 - target) p - t, and p - target without posWeight. */
static inline vf backward_vf(const vf *x, const struct loss_args *a) {
    const vf t = x[4] * x[2];
    return ((t + 1.0f - x[2]) * vf_sigmoid(x[1]) - t) * x[0] * x[3] * (float)a->scale;
}
static inline double backward_f64(const double *x, const struct loss_args *a) {
    const double t = x[4] * x[2];
    return ((t + 1 - x[2]) / (1 + exp(-x[1])) - t) * x[0] * x[3] * a->scale;
}
LOSS_BODY_F32(bce_logits_backward, 5, backward_vf)
LOSS_BODY_F64(bce_logits_backward, 5, backward_f64)

#else
static const struct hc_ew FORWARD = {"aclnnBinaryCrossEntropyWithLogits", HC_EW_TABLE_FLOAT(bce_logits), 0,
                                     HC_CLASS_FLOAT};
static const struct hc_ew BACKWARD = {"aclnnBinaryCrossEntropyWithLogitsBackward",
                                      HC_EW_TABLE_FLOAT(bce_logits_backward), 0, HC_CLASS_FLOAT};

/* F.binary_cross_entropy_with_logits(self, target, weight, reduction, pos_weight) */
HC_API aclnnStatus aclnnBinaryCrossEntropyWithLogitsGetWorkspaceSize(
    const aclTensor *self, const aclTensor *target, const aclTensor *weightOptional,
    const aclTensor *posWeightOptional, int64_t reduction, aclTensor *out, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    return loss_plan(LOSS("aclnnBinaryCrossEntropyWithLogits", FORWARD, reduction, 2, self, target,
                          weightOptional, posWeightOptional),
                     out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnBinaryCrossEntropyWithLogits)

HC_API aclnnStatus aclnnBinaryCrossEntropyWithLogitsBackwardGetWorkspaceSize(
    const aclTensor *gradOutput, const aclTensor *self, const aclTensor *target,
    const aclTensor *weightOptional, const aclTensor *posWeightOptional, int64_t reduction, aclTensor *out,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    return loss_plan_gradient(LOSS("aclnnBinaryCrossEntropyWithLogitsBackward", BACKWARD, reduction, 2,
                                   gradOutput, self, target, weightOptional, posWeightOptional),
                              out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnBinaryCrossEntropyWithLogitsBackward)
#endif
