// SPDX-License-Identifier: Apache-2.0
/* output = this rank's rows of the sum of all ranks' x1 @ x2 + bias.
 *
 * The product goes to the workspace, rounded to the type of the output as a matmul rounds it, and is summed
 * from there: bit for bit what a matmul and a reduce-scatter give. A part has some rows of each rank, one
 * rank's after the other's, as the collective wants them: rows of x1 are copied into that order, so that they
 * are one product. */
#include "mc2.h"
#include "temporary.h"

/* Every rank's share of the product is cut alike, so that a part is scattered in equal slices. */
static struct hc_mc2_rows part_of_rank(const struct hc_mc2_args *args, size_t part) {
    return hc_mc2_part(args->m / args->num_ranks, args->parts, part);
}

/* Where a part begins: behind those before it. */
static char *part_product(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    const size_t row_bytes = args->n * (size_t)hc_arg(call, HC_MC2_OUT)->item_size;
    return call->workspace + part_of_rank(args, part).first * args->num_ranks * row_bytes;
}

/* As [ranks, rows, k]: a view of x1 with its rows cut, and the same without gaps. */
static aclnnStatus copy_part(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    const struct hc_mc2_rows rows = part_of_rank(args, part);
    const aclTensor *x1 = hc_arg(call, HC_MC2_X1);
    const int64_t shape[] = {args->num_ranks, (int64_t)rows.rows, (int64_t)args->k};
    const int64_t of_rank = (int64_t)(args->m / args->num_ranks) * x1->stride[0];
    aclTensor from = hc_tensor_view(
        x1->dtype, shape, 3, (char *)hc_data(x1) + (int64_t)rows.first * x1->stride[0] * x1->item_size);
    from.stride[0] = of_rank;
    from.stride[1] = x1->stride[0];
    from.stride[2] = x1->stride[1];
    const aclTensor to = hc_tensor_view(x1->dtype, shape, 3, call->workspace + args->copy_at);
    return hc_copy(&to, &from);
}

static aclnnStatus multiply_part(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    if (args->parts == 1) return hc_mc2_multiply(call, (struct hc_mc2_rows){0, args->m}, call->workspace);
    HC_TRY(copy_part(call, part));
    return hc_mc2_multiply_rows(call, call->workspace + args->copy_at,
                                part_of_rank(args, part).rows * args->num_ranks, part_product(call, part));
}

/* A part of this rank's share is complete when its collective is: it is written where it belongs in the
 * output. */
static aclnnStatus scatter_part(const struct hc_call *call, const struct hc_group *group, size_t part,
                                aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    const struct hc_mc2_rows rows = part_of_rank(args, part);
    const aclTensor *out = hc_arg(call, HC_MC2_OUT);
    char *to = (char *)hc_data(out) + rows.first * args->n * (size_t)out->item_size;
    return hc_mc2_collective(group->calls->sum_scatter(group, part_product(call, part), to,
                                                       rows.rows * args->n, out->dtype, stream));
}

static aclnnStatus launch(const struct hc_call *call, aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    struct hc_group group;
    HC_TRY(hc_mc2_group(call, &group));
    const aclrtStream beside = args->parts > 1 ? group.beside : stream;
    for (size_t part = 0; part < args->parts; part++) {
        const size_t rows = part_of_rank(args, part).rows * args->num_ranks;
        HC_TRY(hc_op_step(call, multiply_part, part, hc_mc2_flops(args, rows), stream));
        if (beside != stream) HC_TRY(hc_mc2_order(call, stream, beside));
        HC_TRY(scatter_part(call, &group, part, beside));
    }
    return beside != stream ? hc_mc2_order(call, beside, stream) : 0;
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
    args.parts = hc_mc2_parts(&args, args.m);
    size_t bytes = 0;
    HC_CHECK(hc_mul_fits(args.m, args.n, &bytes) && hc_bytes_fit(bytes, (size_t)op->out->item_size, &bytes),
             ACLNN_ERR_PARAM_INVALID, "%s: the product of x1 %s and x2 %s is too large", op->name,
             HC_SHOW(op->x1), HC_SHOW(op->x2));
    args.copy_at = hc_align_up(bytes, 64);
    const size_t copied = hc_ceil_div(args.m / args.num_ranks, args.parts) * args.num_ranks * args.k;
    if (args.parts > 1) bytes = args.copy_at + copied * (size_t)op->x1->item_size;
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
