// SPDX-License-Identifier: Apache-2.0
/* output = the sum over all ranks of x1 @ x2 + bias + x3, on every rank.
 * Bias and x3 are summed like the product: clients give them to one rank, or divided.
 *
 * The product goes into the output, rounded as a matmul rounds it, and is summed in place: bit for bit what a
 * matmul and an all-reduce give. */
#include "mc2.h"
#include "temporary.h"

/* Where the rows of a part come; the output is contiguous. */
static char *part_out(const struct hc_call *call, struct hc_mc2_rows rows) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *out = hc_arg(call, HC_MC2_OUT);
    return (char *)hc_data(out) + rows.first * args->n * (size_t)out->item_size;
}

/* Scales of rows and x3 are those of the part's own rows: hc_mc2_multiply counts from its first. */
static aclnnStatus multiply_part(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    const struct hc_mc2_rows rows = hc_mc2_part(args->m, args->parts, part);
    return hc_mc2_multiply(call, rows, part_out(call, rows));
}

static aclnnStatus launch(const struct hc_call *call, aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *out = hc_arg(call, HC_MC2_OUT);
    struct hc_group group;
    HC_TRY(hc_mc2_group(call, &group));
    const aclrtStream beside = args->parts > 1 ? group.beside : stream;
    for (size_t part = 0; part < args->parts; part++) {
        const struct hc_mc2_rows rows = hc_mc2_part(args->m, args->parts, part);
        HC_TRY(hc_op_step(call, multiply_part, part, hc_mc2_flops(args, rows.rows), stream));
        if (beside != stream) HC_TRY(hc_mc2_order(call, stream, beside));
        HC_TRY(hc_mc2_collective(
            group.calls->sum(&group, part_out(call, rows), rows.rows * args->n, out->dtype, beside)));
    }
    return beside != stream ? hc_mc2_order(call, beside, stream) : 0;
}

/* All dimensions of x1 but the last, then the columns of x2. */
static bool is_product_shape(const struct hc_mc2 *op) {
    const int32_t last = op->x1->rank - 1;
    if (op->out->rank != op->x1->rank || op->out->shape[last] != op->x2->shape[1]) return false;
    for (int32_t d = 0; d < last; d++)
        if (op->out->shape[d] != op->x1->shape[d]) return false;
    return true;
}

aclnnStatus hc_mc2_describe_sum(const struct hc_mc2 *op, struct hc_mc2_args *args) {
    HC_TRY(hc_mc2_describe(op, args));
    HC_CHECK(is_product_shape(op), ACLNN_ERR_PARAM_INVALID,
             "%s: output is %s, wanted the shape of x1 %s @ x2 %s", op->name, HC_SHOW(op->out),
             HC_SHOW(op->x1), HC_SHOW(op->x2));
    HC_CHECK(!hc_overlaps(op->out, op->x1) && !hc_overlaps(op->out, op->x2), ACLNN_ERR_PARAM_INVALID,
             "%s: output shares memory with x1 or x2", op->name);
    return 0;
}

aclnnStatus hc_mc2_plan_sum(const struct hc_mc2 *op, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct hc_mc2_args args;
    HC_TRY(hc_mc2_describe_sum(op, &args));
    args.parts = hc_mc2_parts(&args, args.m);
    return hc_mc2_plan(op, &args, launch, 0, workspaceSize, executor);
}

HC_API aclnnStatus aclnnMatmulAllReduceGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                        const aclTensor *bias, const char *group,
                                                        const char *reduceOp, int64_t commTurn,
                                                        int64_t streamMode, const aclTensor *output,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnMatmulAllReduce",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return hc_mc2_plan_sum(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMatmulAllReduce)

HC_API aclnnStatus aclnnMatmulAllReduceV2GetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                          const aclTensor *bias, const aclTensor *x3,
                                                          const char *group, const char *reduceOp,
                                                          int64_t commTurn, int64_t streamMode,
                                                          const aclTensor *output, uint64_t *workspaceSize,
                                                          aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnMatmulAllReduceV2",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .x3 = x3,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return hc_mc2_plan_sum(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMatmulAllReduceV2)

HC_API aclnnStatus aclnnMatmulAllReduceV3GetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                          const aclTensor *bias, const aclTensor *x3,
                                                          const char *group, const char *reduceOp,
                                                          const char *commMode, int64_t commTurn,
                                                          int64_t streamMode, const aclTensor *output,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnMatmulAllReduceV3",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .x3 = x3,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_mode = commMode,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return hc_mc2_plan_sum(&op, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMatmulAllReduceV3)
