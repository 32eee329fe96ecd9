// SPDX-License-Identifier: Apache-2.0
/* y = GELU(x), element by element: Gelu is the exact one, x Phi(x) by erf; GeluV2 takes approximate 0
 * (exact) or 1 (tanh). Formulas and their numerical care are in gelu_math.h. Note that V2's name of the
 * mode is a number here and a text in its gradient: that is the interface. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(gelu)
HC_EW_KERNELS_FLOAT(gelu_tanh)
HC_EW_KERNEL(gelu_BF16)
HC_EW_KERNEL(gelu_tanh_BF16)

#ifdef HC_ISA
#include "gelu_math.h"

HC_EW_BODY1_VF(gelu_F32, hc_gelu_vf)
HC_EW_BODY1(gelu_F64, double, double, hc_gelu_f64)
HC_EW_BODY1_VF(gelu_tanh_F32, hc_gelu_tanh_vf)
HC_EW_BODY1(gelu_tanh_F64, double, double, hc_gelu_tanh_f64)
HC_EW_BODY1_BF16(gelu_BF16, (void)0, hc_gelu_short_vf(x))
HC_EW_BODY1_BF16(gelu_tanh_BF16, (void)0, hc_gelu_tanh_vf(x))
#else
/* By the number of V2's mode. */
static const struct hc_ew MODES[] = {{"aclnnGelu", HC_EW_TABLE_FLOAT_BF16(gelu), 0, HC_CLASS_FLOAT},
                                     {"aclnnGeluV2", HC_EW_TABLE_FLOAT_BF16(gelu_tanh), 0, HC_CLASS_FLOAT}};
HC_UNARY(aclnnGelu, MODES[0])

HC_API aclnnStatus aclnnGeluV2GetWorkspaceSize(const aclTensor *x, int64_t approximate, aclTensor *y,
                                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(approximate == 0 || approximate == 1, ACLNN_ERR_PARAM_INVALID,
             "aclnnGeluV2: approximate is %lld, wanted 0 (none) or 1 (tanh)", (long long)approximate);
    const aclTensor *outs[] = {y}, *ins[] = {x};
    return hc_ew_plan_as("aclnnGeluV2", &MODES[approximate], HC_CLASS_BOOL, outs, 1, ins, 1, NULL, 0,
                         workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGeluV2)
#endif
