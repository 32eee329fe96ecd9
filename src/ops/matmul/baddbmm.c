// SPDX-License-Identifier: Apache-2.0
/* out[b] = beta * self[b] + alpha * (batch1[b] @ batch2[b]); self broadcasts. Products of a batch run
 * side by side where they are small, one after the other with all threads where they are large (gemm.c). */
#include "matmul.h"

/* torch.baddbmm(self, batch1, batch2, beta=beta, alpha=alpha). */
HC_API aclnnStatus aclnnBaddbmmGetWorkspaceSize(const aclTensor *self, const aclTensor *batch1,
                                                const aclTensor *batch2, const aclScalar *beta,
                                                const aclScalar *alpha, aclTensor *out, int8_t cubeMathType,
                                                uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && beta && alpha, ACLNN_ERR_PARAM_NULLPTR, "aclnnBaddbmm: %s is null",
             !self   ? "self"
             : !beta ? "beta"
                     : "alpha");
    const struct hc_matmul op = {.name = "aclnnBaddbmm",
                                 .self = self,
                                 .a = batch1,
                                 .b = batch2,
                                 .out = out,
                                 .a_name = "batch1",
                                 .b_name = "batch2",
                                 .a_rank = 3,
                                 .b_rank = 3,
                                 .alpha = alpha,
                                 .beta = beta,
                                 .cube_math_type = cubeMathType};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnBaddbmm)
