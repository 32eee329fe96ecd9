// SPDX-License-Identifier: Apache-2.0
/* y = a sigmoid(b) with a, b the halves of x along dim; and the gradient, g s and g a s (1 - s) side by
 * side. One exponential an element; halves are views (gated.h), so dim costs nothing. */
#include "gated.h"

HC_EW_KERNELS_FLOAT(glu)
HC_EW_KERNELS_FLOAT(glu_grad)

#ifdef HC_ISA
#include "simd_math.h"

static inline vf forward_vf(vf a, vf b) { return a * vf_sigmoid(b); }
static inline double forward_f64(double a, double b) { return a / (1 + exp(-b)); }
HC_EW_BODY2_VF(glu_F32, forward_vf)
HC_EW_BODY2(glu_F64, double, double, forward_f64)

/* Both gradients from one sigmoid: the reason why they are one operator. */
static inline void backward_vf(vf g, vf a, vf b, vf *grad_a, vf *grad_b) {
    const vf s = vf_sigmoid(b);
    *grad_a = g * s;
    *grad_b = g * a * s * (1.0f - s);
}
static inline void backward_f64(double g, double a, double b, double *grad_a, double *grad_b) {
    const double s = 1 / (1 + exp(-b));
    *grad_a = g * s;
    *grad_b = g * a * s * (1 - s);
}
HC_EW_BODY_GATED_GRAD_VF(glu_grad_F32, backward_vf)
HC_EW_BODY_GATED_GRAD_F64(glu_grad_F64, backward_f64)
#else
static const struct hc_ew FORWARD = {"aclnnGlu", HC_EW_TABLE_FLOAT(glu), 0, HC_CLASS_FLOAT};
static const struct hc_ew BACKWARD = {"aclnnGluBackward", HC_EW_TABLE_FLOAT(glu_grad), 0, HC_CLASS_FLOAT};

/* F.glu(self, dim): out is half as long along dim. */
HC_API aclnnStatus aclnnGluGetWorkspaceSize(const aclTensor *self, int64_t dim, const aclTensor *out,
                                            uint64_t *workspaceSize, aclOpExecutor **executor) {
    return hc_gated_plan(&FORWARD, self, dim, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGlu)

/* out has self's shape: both halves' gradients, side by side. */
HC_API aclnnStatus aclnnGluBackwardGetWorkspaceSize(const aclTensor *grad, const aclTensor *self, int64_t dim,
                                                    const aclTensor *out, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    return hc_gated_grad_plan(&BACKWARD, grad, self, dim, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGluBackward)
#endif
