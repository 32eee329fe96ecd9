// SPDX-License-Identifier: Apache-2.0
/* out = beta * self + alpha * (mat1 @ mat2); self broadcasts (the bias of a Linear) and is not read when beta
 * is 0. In place with a float32 self and 16-bit matrices it accumulates a weight gradient without rounding in
 * between. */
#include "matmul.h"

/* torch.addmm(self, mat1, mat2, beta=beta, alpha=alpha). cubeMathType allows lower precision, which is
 * not made use of (matmul.h). */
HC_API aclnnStatus aclnnAddmmGetWorkspaceSize(const aclTensor *self, const aclTensor *mat1,
                                              const aclTensor *mat2, const aclScalar *beta,
                                              const aclScalar *alpha, aclTensor *out, int8_t cubeMathType,
                                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && beta && alpha, ACLNN_ERR_PARAM_NULLPTR, "aclnnAddmm: %s is null",
             !self   ? "self"
             : !beta ? "beta"
                     : "alpha");
    const struct hc_matmul op = {.name = "aclnnAddmm",
                                 .self = self,
                                 .a = mat1,
                                 .b = mat2,
                                 .out = out,
                                 .a_name = "mat1",
                                 .b_name = "mat2",
                                 .a_rank = 2,
                                 .b_rank = 2,
                                 .alpha = alpha,
                                 .beta = beta,
                                 .cube_math_type = cubeMathType};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddmm)

/* self and out are one operand: listed once, read before it is written, element by element. */
HC_API aclnnStatus aclnnInplaceAddmmGetWorkspaceSize(const aclTensor *selfRef, const aclTensor *mat1,
                                                     const aclTensor *mat2, const aclScalar *beta,
                                                     const aclScalar *alpha, int8_t cubeMathType,
                                                     uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(selfRef && beta && alpha, ACLNN_ERR_PARAM_NULLPTR, "aclnnInplaceAddmm: %s is null",
             !selfRef ? "selfRef"
             : !beta  ? "beta"
                      : "alpha");
    const struct hc_matmul op = {.name = "aclnnInplaceAddmm",
                                 .self = selfRef,
                                 .a = mat1,
                                 .b = mat2,
                                 .out = selfRef,
                                 .in_place = true,
                                 .a_name = "mat1",
                                 .b_name = "mat2",
                                 .a_rank = 2,
                                 .b_rank = 2,
                                 .alpha = alpha,
                                 .beta = beta,
                                 .cube_math_type = cubeMathType};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceAddmm)
