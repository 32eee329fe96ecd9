// SPDX-License-Identifier: Apache-2.0
/* out = self @ vec, a matrix and a vector: bound by reading the matrix once (gemm_skinny.c). */
#include "matmul.h"

/* torch.mv(self, vec). */
HC_API aclnnStatus aclnnMvGetWorkspaceSize(const aclTensor *self, const aclTensor *vec, aclTensor *out,
                                           int8_t cubeMathType, uint64_t *workspaceSize,
                                           aclOpExecutor **executor) {
    const struct hc_matmul op = {.name = "aclnnMv",
                                 .a = self,
                                 .b = vec,
                                 .out = out,
                                 .a_name = "self",
                                 .b_name = "vec",
                                 .a_rank = 2,
                                 .b_rank = 1,
                                 .cube_math_type = cubeMathType};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMv)
