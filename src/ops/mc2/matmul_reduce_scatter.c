// SPDX-License-Identifier: Apache-2.0
/* output = this rank's rows of the sum of all ranks' x1 @ x2 + bias.
 *
 * The product goes to the workspace, rounded to the type of the output as a matmul rounds it, and is summed
 * from there: bit for bit what a matmul and a reduce-scatter give. */
#include "mc2.h"

static aclnnStatus multiply(const struct hc_call *call) {
    const struct hc_mc2_args *args = call->args;
    return hc_mc2_multiply(call, NULL, args->m, call->workspace);
}

static aclnnStatus launch(const struct hc_call *call, aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *out = hc_arg(call, HC_MC2_OUT);
    struct hc_group group;
    HC_TRY(hc_mc2_group(call, &group));
    HC_TRY(hc_op_step(call, multiply, hc_mc2_flops(args, args->m), stream));
    return hc_mc2_collective(
        group.calls->sum_scatter(&group, call->workspace, hc_data(out), hc_numel(out), out->dtype, stream));
}

static aclnnStatus plan(const struct hc_mc2 *op, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct hc_mc2_args args;
    HC_TRY(hc_mc2_describe(op, &args));
    HC_CHECK(op->x1->rank == 2, ACLNN_ERR_PARAM_INVALID, "%s: x1 is %s, wanted 2 dimensions", op->name,
             HC_SHOW(op->x1));
    HC_CHECK(args.m % args.num_ranks == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x1 is %s, whose rows %u ranks cannot share", op->name, HC_SHOW(op->x1), args.num_ranks);
    HC_CHECK(op->out->rank == 2 && (size_t)op->out->shape[0] == args.m / args.num_ranks &&
                 (size_t)op->out->shape[1] == args.n,
             ACLNN_ERR_PARAM_INVALID, "%s: output is %s, wanted [%zu,%zu]: the rows of x1 %s over %u ranks",
             op->name, HC_SHOW(op->out), args.m / args.num_ranks, args.n, HC_SHOW(op->x1), args.num_ranks);
    size_t bytes = 0;
    HC_CHECK(hc_mul_fits(args.m, args.n, &bytes) && hc_bytes_fit(bytes, (size_t)op->out->item_size, &bytes),
             ACLNN_ERR_PARAM_INVALID, "%s: the product of x1 %s and x2 %s is too large", op->name,
             HC_SHOW(op->x1), HC_SHOW(op->x2));
    return hc_mc2_plan(op, &args, launch, bytes, workspaceSize, executor);
}

HC_API aclnnStatus aclnnMatmulReduceScatterGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                            const aclTensor *bias, const char *group,
                                                            const char *reduceOp, int64_t commTurn,
                                                            int64_t streamMode, const aclTensor *output,
                                                            uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnMatmulReduceScatter",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMatmulReduceScatter)

HC_API aclnnStatus aclnnMatmulReduceScatterV2GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias, const aclTensor *x1Scale,
    const aclTensor *x2Scale, const aclTensor *quantScale, int64_t blockSize, const char *group,
    const char *reduceOp, int64_t commTurn, int64_t streamMode, int64_t groupSize, const char *commMode,
    aclTensor *output, aclTensor *amaxOutOptional, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnMatmulReduceScatterV2",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_mode = commMode,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    HC_TRY(hc_mc2_no_scales(op.name, x1Scale, x2Scale, quantScale, amaxOutOptional, blockSize, groupSize));
    return plan(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMatmulReduceScatterV2)
