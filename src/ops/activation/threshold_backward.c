// SPDX-License-Identifier: Apache-2.0
/* Gradient of a threshold (of ReLU with threshold 0): 0 where self <= threshold, else gradOutput. self
 * may be the forward's input or output: for ReLU both have the same sign. NaN passes the gradient, as in
 * PyTorch. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_REAL(threshold_backward)
HC_EW_KERNEL(threshold_backward_BF16)

#ifdef HC_ISA
HC_EW_BODIES2_SCALAR_REAL(threshold_backward, b <= s ? 0 : a)
HC_EW_BODY2_BF16(threshold_backward_BF16, HC_EW_SCALAR_S, vf_zero_where(b <= s, a))
#else
static const struct hc_ew SPEC = {"aclnnThresholdBackward", HC_EW_TABLE_REAL_BF16(threshold_backward), 0, 0};

/* The gradient that autograd asks of F.relu too. */
HC_API aclnnStatus aclnnThresholdBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                          const aclScalar *threshold, aclTensor *out,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    return hc_ew_plan_binary_scalar("aclnnThresholdBackward", &SPEC, gradOutput, self, threshold, out,
                                    workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnThresholdBackward)
#endif
