// SPDX-License-Identifier: Apache-2.0
/* out = self @ mat2 by the rules of torch.matmul: vectors, matrices, stacks of matrices that broadcast.
 * Transposed views are packed as they lie: no operand is copied first. */
#include "matmul.h"

/* torch.matmul(self, mat2). Ranks of 0 in the description below mean any. */
HC_API aclnnStatus aclnnMatmulGetWorkspaceSize(const aclTensor *self, const aclTensor *mat2, aclTensor *out,
                                               int8_t cubeMathType, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    const struct hc_matmul op = {.name = "aclnnMatmul",
                                 .a = self,
                                 .b = mat2,
                                 .out = out,
                                 .a_name = "self",
                                 .b_name = "mat2",
                                 .cube_math_type = cubeMathType};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMatmul)
