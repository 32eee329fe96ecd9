// SPDX-License-Identifier: Apache-2.0
/* y = self + value * tensor1 * tensor2, element by element, in this order of operations, which is
 * PyTorch's. Integers stay integers. */
#include "direct_bf16.h"
#include "ternary.h"

HC_EW_KERNELS_ALL(addcmul)
HC_EW_KERNEL(addcmul_BF16)

#ifdef HC_ISA
#include "complex_math.h"

HC_EW_BODY3_SCALAR(addcmul, F32, a + s * b * c)
HC_EW_BODY3_SCALAR(addcmul, F64, a + s * b * c)
HC_EW_BODY3_SCALAR(addcmul, I64, a + s * b * c)
HC_EW_BODY3_BF16(addcmul_BF16, HC_EW_SCALAR_S, a + s * b * c)
HC_EW_BODY3_SCALAR(addcmul, C128, hc_cadd(a, hc_cmul(hc_cmul(s, b), c)))
#else
static const struct hc_ew SPEC = {"aclnnAddcmul", HC_EW_TABLE_ALL_BF16(addcmul), 0, HC_EW_NO_BOOL};

/* torch.addcmul(self, tensor1, tensor2, value=value); all three broadcast. */
HC_API aclnnStatus aclnnAddcmulGetWorkspaceSize(const aclTensor *self, const aclTensor *tensor1,
                                                const aclTensor *tensor2, const aclScalar *value,
                                                aclTensor *out, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    HC_TERNARY_SCALAR("aclnnAddcmul", SPEC, self, tensor1, tensor2, value, out);
}
HC_OP_LAUNCH(aclnnAddcmul)

HC_API aclnnStatus aclnnInplaceAddcmulGetWorkspaceSize(const aclTensor *selfRef, const aclTensor *tensor1,
                                                       const aclTensor *tensor2, const aclScalar *value,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TERNARY_SCALAR("aclnnInplaceAddcmul", SPEC, selfRef, tensor1, tensor2, value, selfRef);
}
HC_OP_LAUNCH(aclnnInplaceAddcmul)
#endif
