// SPDX-License-Identifier: Apache-2.0
/* ln(1 + e^(-target self)), element by element, its mean or its sum; and its gradient. In the form that does
 * not overflow: PyTorch's is infinite, its gradient NaN, from an exponent of 89 on. */
#include "pointwise.h"

HC_EW_KERNELS_FLOAT(soft_margin)
HC_EW_KERNELS_FLOAT(soft_margin_backward)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

/* Inputs: self, target. max(z, 0) + ln(1 + e^-|z|) is ln(1 + e^z) for any z. */
static inline vf forward_vf(const vf *x, const struct loss_args *a) {
    (void)a;
    const vf z = -x[0] * x[1];
    return vf_max(z, vf_zero()) + vf_log1p(vf_exp(-vf_abs(z)));
}
static inline double forward_f64(const double *x, const struct loss_args *a) {
    (void)a;
    const double z = -x[0] * x[1];
    return (z < 0 ? 0 : z) + log1p(exp(-fabs(z)));
}
LOSS_BODY_F32(soft_margin, 2, forward_vf)
LOSS_BODY_F64(soft_margin, 2, forward_f64)

/* Inputs: gradOutput, self, target. e^z / (1 + e^z) is the sigmoid of z. */
static inline vf backward_vf(const vf *x, const struct loss_args *a) {
    return -x[2] * vf_sigmoid(-x[1] * x[2]) * x[0] * (float)a->scale;
}
static inline double backward_f64(const double *x, const struct loss_args *a) {
    return -x[2] / (1 + exp(x[1] * x[2])) * x[0] * a->scale;
}
LOSS_BODY_F32(soft_margin_backward, 3, backward_vf)
LOSS_BODY_F64(soft_margin_backward, 3, backward_f64)

#else
static const struct hc_ew FORWARD = {"aclnnSoftMarginLoss", HC_EW_TABLE_FLOAT(soft_margin), 0,
                                     HC_CLASS_FLOAT};
static const struct hc_ew BACKWARD = {"aclnnSoftMarginLossBackward", HC_EW_TABLE_FLOAT(soft_margin_backward),
                                      0, HC_CLASS_FLOAT};
/* F.soft_margin_loss(self, target, reduction) */
LOSS_OF_PAIRS(aclnnSoftMarginLoss, FORWARD)
LOSS_OF_PAIRS_BACKWARD(aclnnSoftMarginLossBackward, BACKWARD)
#endif
