// SPDX-License-Identifier: Apache-2.0
/* y = silu(a) * b with a, b the halves of x along dim; and the gradients of both halves, side by side in
 * one tensor: g b (s + a s (1 - s)) and g a s. One exponential an element; forward reads x once, backward
 * x and g once. */
#include "gated.h"

HC_EW_KERNELS_FLOAT(swiglu)
HC_EW_KERNELS_FLOAT(swiglu_grad)

#ifdef HC_ISA
#include "simd_math.h"

static inline vf forward_vf(vf a, vf b) { return a * vf_sigmoid(a) * b; }
static inline double forward_f64(double a, double b) { return a / (1 + exp(-a)) * b; }
HC_EW_BODY2_VF(swiglu_F32, forward_vf)
HC_EW_BODY2(swiglu_F64, double, double, forward_f64)

/* y is silu(a), of use to both gradients. */
static inline void backward_vf(vf g, vf a, vf b, vf *grad_a, vf *grad_b) {
    const vf s = vf_sigmoid(a), y = a * s;
    *grad_a = g * b * (s + y * (1.0f - s));
    *grad_b = g * y;
}
static inline void backward_f64(double g, double a, double b, double *grad_a, double *grad_b) {
    const double s = 1 / (1 + exp(-a)), y = a * s;
    *grad_a = g * b * (s + y * (1 - s));
    *grad_b = g * y;
}
HC_EW_BODY_GATED_GRAD_VF(swiglu_grad_F32, backward_vf)
HC_EW_BODY_GATED_GRAD_F64(swiglu_grad_F64, backward_f64)
#else
static const struct hc_ew FORWARD = {"aclnnSwiGlu", HC_EW_TABLE_FLOAT(swiglu), 0, HC_CLASS_FLOAT};
static const struct hc_ew BACKWARD = {"aclnnSwiGluGrad", HC_EW_TABLE_FLOAT(swiglu_grad), 0, HC_CLASS_FLOAT};

/* torch_npu.npu_swiglu(x, dim): the activation of the MLP of Llama and its kin, in place of a chunk, a SiLU
 * and a product. */
HC_API aclnnStatus aclnnSwiGluGetWorkspaceSize(const aclTensor *x, int64_t dim, const aclTensor *out,
                                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    return hc_gated_plan(&FORWARD, x, dim, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSwiGlu)

/* out has x's shape: no concatenation of the halves is left to do. */
HC_API aclnnStatus aclnnSwiGluGradGetWorkspaceSize(const aclTensor *grad, const aclTensor *x, int64_t dim,
                                                   const aclTensor *out, uint64_t *workspaceSize,
                                                   aclOpExecutor **executor) {
    return hc_gated_grad_plan(&BACKWARD, grad, x, dim, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSwiGluGrad)
#endif
