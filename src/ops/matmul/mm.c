// SPDX-License-Identifier: Apache-2.0
/* out = self @ mat2, two matrices of any strides: the forward of a Linear and both its gradients differ
 * in strides only (x @ W^T, dy @ W, dy^T @ x), which packing follows. No operand is transposed in memory.
 */
#include "matmul.h"

/* torch.mm(self, mat2): matrices only, nothing broadcasts. */
HC_API aclnnStatus aclnnMmGetWorkspaceSize(const aclTensor *self, const aclTensor *mat2, aclTensor *out,
                                           int8_t cubeMathType, uint64_t *workspaceSize,
                                           aclOpExecutor **executor) {
    const struct hc_matmul op = {.name = "aclnnMm",
                                 .a = self,
                                 .b = mat2,
                                 .out = out,
                                 .a_name = "self",
                                 .b_name = "mat2",
                                 .a_rank = 2,
                                 .b_rank = 2,
                                 .cube_math_type = cubeMathType};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMm)
