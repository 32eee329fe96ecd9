// SPDX-License-Identifier: Apache-2.0
/* out = beta * self + alpha * outer(vec1, vec2): a product with one step. A factor that is null is 1. */
#include "matmul.h"

/* vec1 as a column, vec2 as a row, both as views: strides of the dimensions of size 1 do not matter. */
static aclnnStatus plan(const char *name, const aclTensor *self, const aclTensor *vec1, const aclTensor *vec2,
                        const aclScalar *beta, const aclScalar *alpha, const aclTensor *out, bool in_place,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && vec1 && vec2, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             !self   ? "self"
             : !vec1 ? "vec1"
                     : "vec2");
    HC_CHECK(vec1->rank == 1 && vec2->rank == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: vec1 is %s and vec2 %s, wanted vectors", name, HC_SHOW(vec1), HC_SHOW(vec2));
    aclTensor column = *vec1, row = *vec2;
    column.rank = row.rank = 2;
    column.shape[1] = row.shape[0] = 1;
    row.shape[1] = vec2->shape[0], row.stride[1] = vec2->stride[0];
    column.stride[1] = row.stride[0] = 0;
    const struct hc_matmul op = {.name = name,
                                 .self = self,
                                 .a = &column,
                                 .b = &row,
                                 .out = out,
                                 .in_place = in_place,
                                 .a_name = "vec1",
                                 .b_name = "vec2",
                                 .a_rank = 2,
                                 .b_rank = 2,
                                 .alpha = alpha,
                                 .beta = beta};
    return hc_matmul_plan(&op, workspaceSize, executor);
}

HC_API aclnnStatus aclnnAddrGetWorkspaceSize(const aclTensor *self, const aclTensor *vec1,
                                             const aclTensor *vec2, const aclScalar *betaOptional,
                                             const aclScalar *alphaOptional, aclTensor *out,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnAddr", self, vec1, vec2, betaOptional, alphaOptional, out, false, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnAddr)

HC_API aclnnStatus aclnnInplaceAddrGetWorkspaceSize(aclTensor *selfRef, const aclTensor *vec1,
                                                    const aclTensor *vec2, const aclScalar *betaOptional,
                                                    const aclScalar *alphaOptional, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    return plan("aclnnInplaceAddr", selfRef, vec1, vec2, betaOptional, alphaOptional, selfRef, true,
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceAddr)
