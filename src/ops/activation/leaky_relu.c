// SPDX-License-Identifier: Apache-2.0
/* y = x > 0 ? x : slope x, element by element, and its gradient, which needs the sign of x only. NaN
 * takes the second branch and stays. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_FLOAT(leaky_relu)
HC_EW_KERNELS_FLOAT(leaky_relu_backward)
HC_EW_KERNEL(leaky_relu_BF16)
HC_EW_KERNEL(leaky_relu_backward_BF16)

#ifdef HC_ISA
HC_EW_BODY_SCALAR(leaky_relu, F32, float, x > 0 ? x : x * s)
HC_EW_BODY_SCALAR(leaky_relu, F64, double, x > 0 ? x : x * s)
HC_EW_BODY1_BF16(leaky_relu_BF16, HC_EW_SCALAR_S, vf_select(x > 0.0f, x, x *s))
HC_EW_BODY2_SCALAR(leaky_relu_backward, F32, float, b > 0 ? a : a * s)
HC_EW_BODY2_SCALAR(leaky_relu_backward, F64, double, b > 0 ? a : a * s)
HC_EW_BODY2_BF16(leaky_relu_backward_BF16, HC_EW_SCALAR_S, vf_select(b > 0.0f, a, a *s))
#else
static const struct hc_ew FORWARD = {"aclnnLeakyRelu", HC_EW_TABLE_FLOAT_BF16(leaky_relu), 0, HC_CLASS_FLOAT};
static const struct hc_ew BACKWARD = {"aclnnLeakyReluBackward", HC_EW_TABLE_FLOAT_BF16(leaky_relu_backward),
                                      0, HC_CLASS_FLOAT};
/* F.leaky_relu(self, slope). */
HC_SCALAR(aclnnLeakyRelu, FORWARD)
HC_SCALAR_INPLACE(aclnnInplaceLeakyRelu, FORWARD)

/* The sign of the result is the sign of self unless the slope is negative. */
HC_API aclnnStatus aclnnLeakyReluBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                          const aclScalar *negativeSlope, bool selfIsResult,
                                                          aclTensor *out, uint64_t *workspaceSize,
                                                          aclOpExecutor **executor) {
    HC_CHECK(negativeSlope, ACLNN_ERR_PARAM_NULLPTR, "aclnnLeakyReluBackward: negativeSlope is null");
    HC_CHECK(!selfIsResult || hc_scalar_f64(negativeSlope) >= 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnLeakyReluBackward: negativeSlope is %g with selfIsResult, wanted 0 or more",
             hc_scalar_f64(negativeSlope));
    return hc_ew_plan_binary_scalar("aclnnLeakyReluBackward", &BACKWARD, gradOutput, self, negativeSlope, out,
                                    workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnLeakyReluBackward)
#endif
