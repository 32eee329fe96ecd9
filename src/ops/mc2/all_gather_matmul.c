// SPDX-License-Identifier: Apache-2.0
/* gatherOut = the ranks' x1, rank 0's rows first; output = gatherOut @ x2 + bias.
 *
 * The rows are gathered where the caller wants them, or in the workspace where it wants none, and multiplied
 * from there at once: the same product, bit for bit, as a gather and a matmul give. */
#include "mc2.h"
#include "temporary.h"

static void *gathered_rows(const struct hc_call *call) {
    const aclTensor *t = hc_arg(call, HC_MC2_GATHERED);
    return t != NULL && hc_numel(t) > 0 ? hc_data(t) : call->workspace;
}

/* A collective sends memory without gaps. */
static aclnnStatus copy_x1(const struct hc_call *call) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *x1 = hc_arg(call, HC_MC2_X1);
    const aclTensor copy = hc_tensor_view(x1->dtype, x1->shape, x1->rank, call->workspace + args->copy_at);
    return hc_copy(&copy, x1);
}

static aclnnStatus multiply(const struct hc_call *call) {
    const struct hc_mc2_args *args = call->args;
    return hc_mc2_multiply(call, gathered_rows(call), args->m * args->num_ranks,
                           hc_data(hc_arg(call, HC_MC2_OUT)));
}

static aclnnStatus launch(const struct hc_call *call, aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *x1 = hc_arg(call, HC_MC2_X1);
    struct hc_group group;
    HC_TRY(hc_mc2_group(call, &group));
    void *send = hc_data(x1);
    if (!hc_is_contiguous(x1)) {
        HC_TRY(hc_op_step(call, copy_x1, 0, stream));
        send = call->workspace + args->copy_at;
    }
    HC_TRY(hc_mc2_collective(
        group.calls->all_gather(&group, send, gathered_rows(call), args->m * args->k, x1->dtype, stream)));
    return hc_op_step(call, multiply, hc_mc2_flops(args, args->m * args->num_ranks), stream);
}

static aclnnStatus check_rows(const struct hc_mc2 *op, const struct hc_mc2_args *args, const aclTensor *t,
                              const char *name, size_t cols, aclDataType dtype) {
    size_t rows = 0;
    HC_CHECK(hc_mul_fits(args->m, args->num_ranks, &rows) && t->rank == 2 && (size_t)t->shape[0] == rows &&
                 (size_t)t->shape[1] == cols && t->dtype == dtype,
             ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted [%zu,%zu] of the type of x1 %s, which %u ranks gather", op->name, name,
             HC_SHOW(t), rows, cols, HC_SHOW(op->x1), args->num_ranks);
    HC_CHECK(hc_is_contiguous(t), ACLNN_ERR_PARAM_INVALID, "%s: %s %s is not contiguous", op->name, name,
             HC_SHOW(t));
    return 0;
}

static aclnnStatus check(const struct hc_mc2 *op, const struct hc_mc2_args *args, bool gives) {
    HC_CHECK(op->x1->rank == 2, ACLNN_ERR_PARAM_INVALID, "%s: x1 is %s, wanted 2 dimensions", op->name,
             HC_SHOW(op->x1));
    HC_TRY(check_rows(op, args, op->out, "output", args->n, op->out->dtype));
    if (gives) HC_TRY(check_rows(op, args, op->gathered, "gatherOut", args->k, op->x1->dtype));
    HC_CHECK(!hc_overlaps(op->out, op->x2) && !hc_overlaps(op->out, op->x1) &&
                 (!gives || !(hc_overlaps(op->gathered, op->out) || hc_overlaps(op->gathered, op->x2))),
             ACLNN_ERR_PARAM_INVALID, "%s: output, gatherOut, x1 and x2 share memory", op->name);
    return 0;
}

static aclnnStatus plan(const struct hc_mc2 *op, int64_t gather_index, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct hc_mc2_args args;
    HC_CHECK(gather_index == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: gatherIndex is %lld, wanted 0: x1 is what is gathered", op->name, (long long)gather_index);
    HC_TRY(hc_mc2_describe(op, &args));
    const bool gives = op->gathered != NULL && hc_numel(op->gathered) > 0;
    HC_TRY(check(op, &args, gives));
    size_t bytes = 0, all = 0;
    HC_CHECK(hc_bytes_fit(hc_numel(op->x1), (size_t)op->x1->item_size, &bytes) &&
                 hc_bytes_fit(bytes, args.num_ranks, &all) && all < HC_MAX_BYTES / 2,
             ACLNN_ERR_PARAM_INVALID, "%s: x1 %s of %u ranks is too large", op->name, HC_SHOW(op->x1),
             args.num_ranks);
    args.copy_at = gives ? 0 : hc_align_up(all, 64);
    const size_t workspace = args.copy_at + (hc_is_contiguous(op->x1) ? 0 : bytes);
    return hc_mc2_plan(op, &args, launch, workspace, workspaceSize, executor);
}

HC_API aclnnStatus aclnnAllGatherMatmulGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                        const aclTensor *bias, const char *group,
                                                        int64_t gatherIndex, int64_t commTurn,
                                                        int64_t streamMode, const aclTensor *output,
                                                        const aclTensor *gatherOut, uint64_t *workspaceSize,
                                                        aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnAllGatherMatmul",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .out = output,
                              .gathered = gatherOut,
                              .group = group,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return plan(&op, gatherIndex, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAllGatherMatmul)

HC_API aclnnStatus aclnnAllGatherMatmulV2GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias, const aclTensor *x1Scale,
    const aclTensor *x2Scale, const aclTensor *quantScale, int64_t blockSize, const char *group,
    int64_t gatherIndex, int64_t commTurn, int64_t streamMode, int64_t groupSize, const char *commMode,
    aclTensor *output, aclTensor *gatherOut, aclTensor *amaxOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnAllGatherMatmulV2",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .out = output,
                              .gathered = gatherOut,
                              .group = group,
                              .comm_mode = commMode,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    HC_TRY(hc_mc2_no_scales(op.name, x1Scale, x2Scale, quantScale, amaxOut, blockSize, groupSize));
    return plan(&op, gatherIndex, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAllGatherMatmulV2)
