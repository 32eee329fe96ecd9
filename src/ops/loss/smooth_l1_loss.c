// SPDX-License-Identifier: Apache-2.0
/* |self - target|, element by element, its mean or its sum (L1), and the same with the corner rounded off
 * below beta: (self - target)^2 / 2 beta there, beta / 2 less elsewhere (smooth L1). Gradients as PyTorch's:
 * where the difference is 0, L1's is 0, and that of smooth L1 with beta 0 is -1. */
#include "pointwise.h"

HC_EW_KERNELS_FLOAT(l1)
HC_EW_KERNELS_FLOAT(l1_backward)
HC_EW_KERNELS_FLOAT(smooth_l1)
HC_EW_KERNELS_FLOAT(smooth_l1_backward)

#ifdef HC_ISA
#include <math.h>

#include "simd.h"

/* Inputs: self, target. */
static inline vf l1_vf(const vf *x, const struct loss_args *a) {
    (void)a;
    return vf_abs(x[0] - x[1]);
}
static inline double l1_f64(const double *x, const struct loss_args *a) {
    (void)a;
    return fabs(x[0] - x[1]);
}
/* Both branches are computed; with beta 0 the first divides by it and is never taken. */
static inline vf smooth_vf(const vf *x, const struct loss_args *a) {
    const float beta = (float)a->beta;
    const vf z = vf_abs(x[0] - x[1]);
    return vf_select(z < beta, 0.5f * z * z / beta, z - 0.5f * beta);
}
static inline double smooth_f64(const double *x, const struct loss_args *a) {
    const double z = fabs(x[0] - x[1]);
    return z < a->beta ? 0.5 * z * z / a->beta : z - 0.5 * a->beta;
}
LOSS_BODY_F32(l1, 2, l1_vf)
LOSS_BODY_F64(l1, 2, l1_f64)
LOSS_BODY_F32(smooth_l1, 2, smooth_vf)
LOSS_BODY_F64(smooth_l1, 2, smooth_f64)

/* Inputs: gradOutput, self, target. */
static inline vf l1_backward_vf(const vf *x, const struct loss_args *a) {
    const vf d = x[1] - x[2],
             sign = vf_select(d > 0.0f, vf_set(1), vf_select(d < 0.0f, vf_set(-1), vf_zero()));
    return sign * x[0] * (float)a->scale;
}
static inline double l1_backward_f64(const double *x, const struct loss_args *a) {
    const double d = x[1] - x[2], sign = d > 0 ? 1 : d < 0 ? -1 : 0;
    return sign * x[0] * a->scale;
}
/* In PyTorch's order of comparisons, which decides what a difference of exactly beta gives. NaN takes the
 * last branch and stays. */
static inline vf smooth_backward_vf(const vf *x, const struct loss_args *a) {
    const float beta = (float)a->beta;
    const vf d = x[1] - x[2];
    const vf slope = vf_select(d <= -beta, vf_set(-1), vf_select(d >= beta, vf_set(1), d / beta));
    return slope * x[0] * (float)a->scale;
}
static inline double smooth_backward_f64(const double *x, const struct loss_args *a) {
    const double d = x[1] - x[2], slope = d <= -a->beta ? -1 : d >= a->beta ? 1 : d / a->beta;
    return slope * x[0] * a->scale;
}
LOSS_BODY_F32(l1_backward, 3, l1_backward_vf)
LOSS_BODY_F64(l1_backward, 3, l1_backward_f64)
LOSS_BODY_F32(smooth_l1_backward, 3, smooth_backward_vf)
LOSS_BODY_F64(smooth_l1_backward, 3, smooth_backward_f64)

#else
#define SPEC(name, op) {name, HC_EW_TABLE_FLOAT(op), 0, HC_CLASS_FLOAT}
static const struct hc_ew L1 = SPEC("aclnnL1Loss", l1);
static const struct hc_ew L1_BACKWARD = SPEC("aclnnL1LossBackward", l1_backward);
static const struct hc_ew SMOOTH = SPEC("aclnnSmoothL1Loss", smooth_l1);
static const struct hc_ew SMOOTH_BACKWARD = SPEC("aclnnSmoothL1LossBackward", smooth_l1_backward);

/* F.l1_loss(self, target, reduction) */
LOSS_OF_PAIRS(aclnnL1Loss, L1)
LOSS_OF_PAIRS_BACKWARD(aclnnL1LossBackward, L1_BACKWARD)

/* The interface hands beta over as float, also where tensors are float64. */
static aclnnStatus check_beta(const char *name, float beta) {
    HC_CHECK(beta >= 0, ACLNN_ERR_PARAM_INVALID, "%s: beta is %g, wanted 0 or more", name, (double)beta);
    return 0;
}

/* F.smooth_l1_loss(self, target, reduction, beta) */
HC_API aclnnStatus aclnnSmoothL1LossGetWorkspaceSize(const aclTensor *self, const aclTensor *target,
                                                     int64_t reduction, float beta, aclTensor *result,
                                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check_beta("aclnnSmoothL1Loss", beta));
    struct loss loss = *LOSS("aclnnSmoothL1Loss", SMOOTH, reduction, 0, self, target);
    loss.beta = beta;
    return loss_plan(&loss, result, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSmoothL1Loss)

HC_API aclnnStatus aclnnSmoothL1LossBackwardGetWorkspaceSize(const aclTensor *gradOut, const aclTensor *self,
                                                             const aclTensor *target, int64_t reduction,
                                                             float beta, aclTensor *gradInput,
                                                             uint64_t *workspaceSize,
                                                             aclOpExecutor **executor) {
    HC_TRY(check_beta("aclnnSmoothL1LossBackward", beta));
    struct loss loss =
        *LOSS("aclnnSmoothL1LossBackward", SMOOTH_BACKWARD, reduction, 0, gradOut, self, target);
    loss.beta = beta;
    return loss_plan_gradient(&loss, gradInput, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSmoothL1LossBackward)
#endif
