// SPDX-License-Identifier: Apache-2.0
/* y = self + value * tensor1 / tensor2, element by element, in this order of operations (value * tensor1
 * first), which is PyTorch's: another order would round differently. Integers become float. */
#include "ternary.h"

HC_EW_KERNELS_MATH(addcdiv)

#ifdef HC_ISA
#include "complex_math.h"

HC_EW_BODY3_SCALAR(addcdiv, F32, a + s * b / c)
HC_EW_BODY3_SCALAR(addcdiv, F64, a + s * b / c)
HC_EW_BODY3_SCALAR(addcdiv, C128, hc_cadd(a, hc_cdiv(hc_cmul(s, b), c)))
#else
static const struct hc_ew SPEC = {"aclnnAddcdiv", HC_EW_TABLE_MATH(addcdiv), 0, HC_CLASS_FLOAT};

/* torch.addcdiv(self, tensor1, tensor2, value=value); all three broadcast. */
HC_API aclnnStatus aclnnAddcdivGetWorkspaceSize(const aclTensor *self, const aclTensor *tensor1,
                                                const aclTensor *tensor2, const aclScalar *value,
                                                const aclTensor *out, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    HC_TERNARY_SCALAR("aclnnAddcdiv", SPEC, self, tensor1, tensor2, value, out);
}
HC_OP_LAUNCH(aclnnAddcdiv)

HC_API aclnnStatus aclnnInplaceAddcdivGetWorkspaceSize(const aclTensor *selfRef, const aclTensor *tensor1,
                                                       const aclTensor *tensor2, const aclScalar *value,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TERNARY_SCALAR("aclnnInplaceAddcdiv", SPEC, selfRef, tensor1, tensor2, value, selfRef);
}
HC_OP_LAUNCH(aclnnInplaceAddcdiv)
#endif
