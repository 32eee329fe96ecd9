// SPDX-License-Identifier: Apache-2.0
/* out = beta * self + alpha * (mat @ vec). Mind the order: alpha comes before beta, unlike in addmm. vec
 * is a column, self broadcasts to the result. */
#include "matmul.h"

/* torch.addmv(self, mat, vec, beta=beta, alpha=alpha). */
HC_API aclnnStatus aclnnAddmvGetWorkspaceSize(const aclTensor *self, const aclTensor *mat,
                                              const aclTensor *vec, const aclScalar *alpha,
                                              const aclScalar *beta, aclTensor *out, int8_t cubeMathType,
                                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && beta && alpha, ACLNN_ERR_PARAM_NULLPTR, "aclnnAddmv: %s is null",
             !self   ? "self"
             : !beta ? "beta"
                     : "alpha");
    const struct hc_matmul op = {.name = "aclnnAddmv",
                                 .self = self,
                                 .a = mat,
                                 .b = vec,
                                 .out = out,
                                 .a_name = "mat",
                                 .b_name = "vec",
                                 .a_rank = 2,
                                 .b_rank = 1,
                                 .alpha = alpha,
                                 .beta = beta,
                                 .cube_math_type = cubeMathType};
    return hc_matmul_plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAddmv)
