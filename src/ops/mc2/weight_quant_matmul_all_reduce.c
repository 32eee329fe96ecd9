// SPDX-License-Identifier: Apache-2.0
/* output = the sum over all ranks of x1 @ ((x2 + antiquantOffset) * antiquantScale) + bias + x3, on every
 * rank: x2 is int8, the rest floats. x2 becomes float32 in memory of the operator's own. */
#include "mc2.h"

static aclnnStatus plan(const struct hc_mc2 *op, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(op->weight_scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: antiquantScale is null", op->name);
    return hc_mc2_plan_sum(op, workspaceSize, executor);
}

HC_API aclnnStatus aclnnWeightQuantMatmulAllReduceGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias, const aclTensor *antiquantScale,
    const aclTensor *antiquantOffset, const aclTensor *x3, const char *group, const char *reduceOp,
    int64_t commTurn, int64_t streamMode, int64_t antiquantGroupSize, const aclTensor *output,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnWeightQuantMatmulAllReduce",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .x3 = x3,
                              .weight_scale = antiquantScale,
                              .weight_offset = antiquantOffset,
                              .group_rows = antiquantGroupSize,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnWeightQuantMatmulAllReduce)

/* With a word for how ranks talk. */
HC_API aclnnStatus aclnnWeightQuantMatmulAllReduceV2GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias, const aclTensor *antiquantScale,
    const aclTensor *antiquantOffset, const aclTensor *x3, const char *group, const char *reduceOp,
    const char *commMode, int64_t commTurn, int64_t streamMode, int64_t antiquantGroupSize,
    const aclTensor *output, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnWeightQuantMatmulAllReduceV2",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .x3 = x3,
                              .weight_scale = antiquantScale,
                              .weight_offset = antiquantOffset,
                              .group_rows = antiquantGroupSize,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_mode = commMode,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnWeightQuantMatmulAllReduceV2)
