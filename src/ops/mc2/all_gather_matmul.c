// SPDX-License-Identifier: Apache-2.0
/* gatherOut = the ranks' x1, rank 0's rows first; output = gatherOut @ x2 + bias.
 *
 * The rows are gathered where the caller wants them, or in the workspace where it wants none, and multiplied
 * from there: the same product, bit for bit, as a gather and a matmul give. With a
 * stream beside, ranks exchange their rows pair by pair, and those of a rank are multiplied while the next
 * ones come: this rank's own first. */
#include <stdlib.h>

#include "mc2.h"
#include "temporary.h"

static void *gathered_rows(const struct hc_call *call) {
    const aclTensor *t = hc_arg(call, HC_MC2_GATHERED);
    return t != NULL && hc_numel(t) > 0 ? hc_data(t) : call->workspace;
}

/* A collective sends memory without gaps. */
static aclnnStatus copy_x1(const struct hc_call *call, size_t part) {
    (void)part;
    const struct hc_mc2_args *args = call->args;
    const aclTensor *x1 = hc_arg(call, HC_MC2_X1);
    const aclTensor copy = hc_tensor_view(x1->dtype, x1->shape, x1->rank, call->workspace + args->copy_at);
    return hc_copy(&copy, x1);
}

static aclnnStatus multiply_all(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    (void)part;
    return hc_mc2_multiply_rows(call, gathered_rows(call), args->m * args->num_ranks,
                                hc_data(hc_arg(call, HC_MC2_OUT)));
}

/* The rank whose rows come in this step; in step 0 its own. */
static size_t source(const struct hc_mc2_args *args, size_t step) {
    return (args->rank + args->num_ranks - step) % args->num_ranks;
}

/* A rank's rows among the gathered ones. */
static char *rows_of(const struct hc_call *call, size_t rank) {
    const struct hc_mc2_args *args = call->args;
    const size_t row_bytes = args->k * (size_t)hc_arg(call, HC_MC2_X1)->item_size;
    return (char *)gathered_rows(call) + rank * args->m * row_bytes;
}

/* Contiguous both where it reads and where it writes, so one product for each rank. */
static aclnnStatus multiply_rank(const struct hc_call *call, size_t step) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *out = hc_arg(call, HC_MC2_OUT);
    const size_t rank = source(args, step), row_bytes = args->n * (size_t)out->item_size;
    return hc_mc2_multiply_rows(call, rows_of(call, rank), args->m,
                                (char *)hc_data(out) + rank * args->m * row_bytes);
}

/* This rank's own rows come among the gathered ones too. */
static aclnnStatus place_own(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *x1 = hc_arg(call, HC_MC2_X1);
    const aclTensor own = hc_tensor_view(x1->dtype, x1->shape, x1->rank, rows_of(call, args->rank));
    (void)part;
    return hc_copy(&own, x1);
}

/* All of them are on their way before the first product, which may run in the calling thread. */
static aclnnStatus exchange_rows(const struct hc_call *call, const struct hc_group *group,
                                 aclrtEvent marks[]) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *x1 = hc_arg(call, HC_MC2_X1);
    for (uint32_t step = 1; step < args->num_ranks; step++) {
        const uint32_t to = (args->rank + step) % args->num_ranks, from = (uint32_t)source(args, step);
        HC_TRY(hc_mc2_collective(group->calls->exchange(group, rows_of(call, args->rank), to,
                                                        rows_of(call, from), from, args->m * args->k,
                                                        x1->dtype, group->beside)));
        HC_TRY(hc_mc2_mark(call, group->beside, &marks[step]));
    }
    return 0;
}

/* A mark is waited for just before the rows that it announces are multiplied; those of step 0 need none. */
static aclnnStatus multiply_ranks(const struct hc_call *call, aclrtEvent marks[], aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    for (size_t step = 0; step < args->num_ranks; step++) {
        const aclrtEvent mark = marks[step];
        marks[step] = NULL;
        if (mark != NULL) HC_TRY(hc_mc2_await(call, stream, mark));
        HC_TRY(hc_op_step(call, multiply_rank, step, hc_mc2_flops(args, args->m), stream));
    }
    return 0;
}

/* Marks that an error leaves behind are events to be destroyed; what was launched before it runs to its end.
 */
static aclnnStatus launch_by_ranks(const struct hc_call *call, const struct hc_group *group,
                                   aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    HC_TRY(hc_op_step(call, place_own, 0, 0, stream));
    HC_TRY(hc_mc2_order(call, stream, group->beside));
    aclrtEvent *marks = calloc(args->num_ranks, sizeof *marks);
    HC_CHECK(marks != NULL, ACLNN_ERR_INNER, "%s: out of host memory", call->name);
    aclnnStatus status = exchange_rows(call, group, marks);
    if (status == 0) status = multiply_ranks(call, marks, stream);
    for (size_t step = 0; step < args->num_ranks; step++)
        if (marks[step] != NULL) aclrtDestroyEvent(marks[step]);
    free(marks);
    return status;
}

static aclnnStatus launch(const struct hc_call *call, aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *x1 = hc_arg(call, HC_MC2_X1);
    struct hc_group group;
    HC_TRY(hc_mc2_group(call, &group));
    if (args->parts > 1) return launch_by_ranks(call, &group, stream);
    void *send = hc_data(x1);
    if (!hc_is_contiguous(x1)) {
        HC_TRY(hc_op_step(call, copy_x1, 0, 0, stream));
        send = call->workspace + args->copy_at;
    }
    HC_TRY(hc_mc2_collective(
        group.calls->all_gather(&group, send, gathered_rows(call), args->m * args->k, x1->dtype, stream)));
    return hc_op_step(call, multiply_all, 0, hc_mc2_flops(args, args->m * args->num_ranks), stream);
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

/* The workspace holds the gathered rows where the caller does not want them, then x1 without gaps where it
 * has some. */
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
    args.parts = hc_mc2_parts(&args, args.m * args.num_ranks) > 1 ? args.num_ranks : 1;
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
