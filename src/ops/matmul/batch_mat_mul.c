// SPDX-License-Identifier: Apache-2.0
/* out[b] = self[b] @ mat2[b]; a batch of one is used for all (clients undo an expand before they call).
 * cubeMathType asks the hardware for less precision; it is checked and otherwise ignored, as float32 is
 * always computed in float32. */
#include "matmul.h"

/* torch.bmm(self, mat2): as many matrices in both. */
HC_API aclnnStatus aclnnBatchMatMulGetWorkspaceSize(const aclTensor *self, const aclTensor *mat2,
                                                    aclTensor *out, int8_t cubeMathType,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_matmul op = {.name = "aclnnBatchMatMul",
                                 .a = self,
                                 .b = mat2,
                                 .out = out,
                                 .a_name = "self",
                                 .b_name = "mat2",
                                 .a_rank = 3,
                                 .b_rank = 3,
                                 .cube_math_type = cubeMathType};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnBatchMatMul)
