// SPDX-License-Identifier: Apache-2.0
/* out = sum over i of self[i] * tensor[i], two vectors; complex numbers are not conjugated. A product of
 * one row and one column, summed in fixed pieces, so the result does not depend on the threads. */
#include "matmul.h"

/* torch.dot(self, tensor), into a scalar. */
HC_API aclnnStatus aclnnDotGetWorkspaceSize(const aclTensor *self, const aclTensor *tensor, aclTensor *out,
                                            uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_matmul op = {.name = "aclnnDot",
                                 .a = self,
                                 .b = tensor,
                                 .out = out,
                                 .a_name = "self",
                                 .b_name = "tensor",
                                 .a_rank = 1,
                                 .b_rank = 1};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDot)
