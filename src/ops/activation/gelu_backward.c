// SPDX-License-Identifier: Apache-2.0
/* Gradient of GELU: gradOutput times the derivative at self; GeluBackwardV2 takes approximate "none" or
 * "tanh". self is the input of the forward, whose values are computed again. */
#include "binary.h"
#include "direct_bf16.h"

#include <string.h>

HC_EW_KERNELS_FLOAT(gelu_backward)
HC_EW_KERNELS_FLOAT(gelu_tanh_backward)
HC_EW_KERNEL(gelu_backward_BF16)
HC_EW_KERNEL(gelu_tanh_backward_BF16)

#ifdef HC_ISA
#include "gelu_math.h"

static inline vf exact_vf(vf g, vf x) { return g * hc_gelu_grad_vf(x); }
static inline vf tanh_vf(vf g, vf x) { return g * hc_gelu_tanh_grad_vf(x); }
static inline double exact_f64(double g, double x) { return g * hc_gelu_grad_f64(x); }
static inline double tanh_f64(double g, double x) { return g * hc_gelu_tanh_grad_f64(x); }
HC_EW_BODY2_VF(gelu_backward_F32, exact_vf)
HC_EW_BODY2(gelu_backward_F64, double, double, exact_f64)
HC_EW_BODY2_VF(gelu_tanh_backward_F32, tanh_vf)
HC_EW_BODY2(gelu_tanh_backward_F64, double, double, tanh_f64)
HC_EW_BODY2_BF16(gelu_backward_BF16, (void)0, a *hc_gelu_short_grad_vf(b))
HC_EW_BODY2_BF16(gelu_tanh_backward_BF16, (void)0, a *hc_gelu_tanh_grad_vf(b))
#else
static const struct hc_ew EXACT = {"aclnnGeluBackward", HC_EW_TABLE_FLOAT_BF16(gelu_backward), 0,
                                   HC_CLASS_FLOAT};
static const struct hc_ew BY_TANH = {"aclnnGeluBackwardV2", HC_EW_TABLE_FLOAT_BF16(gelu_tanh_backward), 0,
                                     HC_CLASS_FLOAT};
HC_BINARY_TYPED(aclnnGeluBackward, EXACT, const aclTensor)

/* The text is read when planned and not kept. */
HC_API aclnnStatus aclnnGeluBackwardV2GetWorkspaceSize(const aclTensor *gradOutput, const aclTensor *self,
                                                       char *approximate, aclTensor *gradInput,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(approximate, ACLNN_ERR_PARAM_NULLPTR, "aclnnGeluBackwardV2: approximate is null");
    const bool by_tanh = strcmp(approximate, "tanh") == 0;
    HC_CHECK(by_tanh || strcmp(approximate, "none") == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnGeluBackwardV2: approximate is \"%s\", wanted \"none\" or \"tanh\"", approximate);
    return hc_ew_plan_binary("aclnnGeluBackwardV2", by_tanh ? &BY_TANH : &EXACT, gradOutput, self, gradInput,
                             workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGeluBackwardV2)
#endif
