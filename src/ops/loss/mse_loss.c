// SPDX-License-Identifier: Apache-2.0
/* Squared error (self - target)^2, element by element, its mean or its sum; and its gradient 2 (self -
 * target) gradOutput [/ n]. Squares of half are float: they do not overflow at 256. */
#include "pointwise.h"

HC_EW_KERNELS_FLOAT(mse)
HC_EW_KERNELS_FLOAT(mse_backward)

#ifdef HC_ISA
#include "simd.h"

/* Inputs: self, target. */
static inline vf forward_vf(const vf *x, const struct loss_args *a) {
    (void)a;
    return (x[0] - x[1]) * (x[0] - x[1]);
}
static inline double forward_f64(const double *x, const struct loss_args *a) {
    (void)a;
    return (x[0] - x[1]) * (x[0] - x[1]);
}
LOSS_BODY_F32(mse, 2, forward_vf)
LOSS_BODY_F64(mse, 2, forward_f64)

/* Inputs: gradOutput, self, target. */
static inline vf backward_vf(const vf *x, const struct loss_args *a) {
    return (float)(2 * a->scale) * (x[1] - x[2]) * x[0];
}
static inline double backward_f64(const double *x, const struct loss_args *a) {
    return 2 * a->scale * (x[1] - x[2]) * x[0];
}
LOSS_BODY_F32(mse_backward, 3, backward_vf)
LOSS_BODY_F64(mse_backward, 3, backward_f64)

#else
/* HC_CLASS_FLOAT: integers become float, as a mean of them needs. */
static const struct hc_ew FORWARD = {"aclnnMseLoss", HC_EW_TABLE_FLOAT(mse), 0, HC_CLASS_FLOAT};
static const struct hc_ew BACKWARD = {"aclnnMseLossBackward", HC_EW_TABLE_FLOAT(mse_backward), 0,
                                      HC_CLASS_FLOAT};
/* F.mse_loss(self, target, reduction) */
LOSS_OF_PAIRS(aclnnMseLoss, FORWARD)
LOSS_OF_PAIRS_BACKWARD(aclnnMseLossBackward, BACKWARD)
#endif
