// SPDX-License-Identifier: Apache-2.0
/* LogSigmoidForward (the buffer that other devices keep for the gradient stays unused) and the gradient of
 * ln sigmoid(x), g sigmoid(-x), which needs no buffer either. */
#include "binary.h"

HC_EW_KERNELS_FLOAT(log_sigmoid_backward)

#ifdef HC_ISA
#include "simd_math.h"

static inline vf backward_vf(vf g, vf x) { return g * vf_sigmoid(-x); }
static inline double backward_f64(double g, double x) { return g / (1 + exp(x)); }
HC_EW_BODY2_VF(log_sigmoid_backward_F32, backward_vf)
HC_EW_BODY2(log_sigmoid_backward_F64, double, double, backward_f64)
#else
static const struct hc_ew SPEC = {"aclnnLogSigmoidBackward", HC_EW_TABLE_FLOAT(log_sigmoid_backward), 0,
                                  HC_CLASS_FLOAT};

/* The form that autograd calls. buffer is left as it is: the client passes it on to the gradient, which
 * does not read it. */
HC_API aclnnStatus aclnnLogSigmoidForwardGetWorkspaceSize(const aclTensor *self, aclTensor *out,
                                                          aclTensor *buffer, uint64_t *workspaceSize,
                                                          aclOpExecutor **executor) {
    (void)buffer;
    return aclnnLogSigmoidGetWorkspaceSize(self, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnLogSigmoidForward)

HC_API aclnnStatus aclnnLogSigmoidBackwardGetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                           const aclTensor *buffer, aclTensor *gradInput,
                                                           uint64_t *workspaceSize,
                                                           aclOpExecutor **executor) {
    (void)buffer;
    return hc_ew_plan_binary("aclnnLogSigmoidBackward", &SPEC, gradOutput, self, gradInput, workspaceSize,
                             executor);
}
HC_OP_LAUNCH(aclnnLogSigmoidBackward)
#endif
