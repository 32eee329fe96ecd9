// SPDX-License-Identifier: Apache-2.0
/* y = self + value * tensor1 / tensor2, element by element, in this order of operations (value * tensor1
 * first), which is PyTorch's: another order would round differently. Integers become float. */
#include "direct_bf16.h"
#include "ternary.h"

HC_EW_KERNELS_MATH(addcdiv)
HC_EW_KERNEL(addcdiv_BF16)

#ifdef HC_ISA
#include "complex_math.h"

HC_EW_BODY3_SCALAR(addcdiv, F32, a + s * b / c)
HC_EW_BODY3_SCALAR(addcdiv, F64, a + s * b / c)
HC_EW_BODY3_BF16(addcdiv_BF16, HC_EW_SCALAR_S, a + s * b / c)
HC_EW_BODY3_SCALAR(addcdiv, C128, hc_cadd(a, hc_cdiv(hc_cmul(s, b), c)))
#else
static const struct hc_ew SPEC = {"aclnnAddcdiv", HC_EW_TABLE_MATH_BF16(addcdiv), 0, HC_CLASS_FLOAT};

/* Refused by PyTorch since true division replaced the one of integers here: neither is guessed at. */
static aclnnStatus check_integers(const char *name, const aclTensor *tensor1, const aclTensor *tensor2) {
    HC_CHECK(tensor1 && tensor2, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             tensor1 ? "tensor2" : "tensor1");
    HC_CHECK(!hc_dtype_is_integral(tensor1->dtype) || !hc_dtype_is_integral(tensor2->dtype),
             ACLNN_ERR_PARAM_INVALID,
             "%s: integer division is not supported: tensor1 is %s, tensor2 %s, wanted a float type of one",
             name, HC_SHOW(tensor1), HC_SHOW(tensor2));
    return 0;
}

/* torch.addcdiv(self, tensor1, tensor2, value=value); all three broadcast. */
HC_API aclnnStatus aclnnAddcdivGetWorkspaceSize(const aclTensor *self, const aclTensor *tensor1,
                                                const aclTensor *tensor2, const aclScalar *value,
                                                const aclTensor *out, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    HC_TRY(check_integers("aclnnAddcdiv", tensor1, tensor2));
    HC_TERNARY_SCALAR("aclnnAddcdiv", SPEC, self, tensor1, tensor2, value, out);
}
HC_OP_LAUNCH(aclnnAddcdiv)

HC_API aclnnStatus aclnnInplaceAddcdivGetWorkspaceSize(const aclTensor *selfRef, const aclTensor *tensor1,
                                                       const aclTensor *tensor2, const aclScalar *value,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check_integers("aclnnInplaceAddcdiv", tensor1, tensor2));
    HC_TERNARY_SCALAR("aclnnInplaceAddcdiv", SPEC, selfRef, tensor1, tensor2, value, selfRef);
}
HC_OP_LAUNCH(aclnnInplaceAddcdiv)
#endif
