// SPDX-License-Identifier: Apache-2.0
/* output = the sum over all ranks of (x1 @ x2 + bias) * dequantScale * pertokenScale + x3, on every rank, of
 * int8 operands. From the third version on what travels may be int8, too, with scales for each column:
 *
 *     sent   = round((product + x3) / commQuantScale1)          rank r gets the r-th part of the rows
 *     sums   = round(sum of sent * (commQuantScale1 / commQuantScale2))       of every rank's own part
 *     output = sums * commQuantScale2                           everyone gets all parts
 *
 * which is half of what floats of 16 bits would be. Both roundings go to the nearest int8. */
#include "group_exchange.h"
#include "mc2.h"
#include "quant.h"
#include "temporary.h"

#include <string.h>

/* ---- int8 on the way ---- */

/* Rows of a rank's part; the last parts may have fewer, or none, and are filled up. */
static size_t part_rows(const struct hc_mc2_args *args) { return hc_ceil_div(args->m, args->num_ranks); }
static size_t part_bytes(const struct hc_mc2_args *args) { return part_rows(args) * args->n; }
static size_t all_bytes(const struct hc_mc2_args *args) { return part_bytes(args) * args->num_ranks; }

/* In the workspace: what is sent, and later all sums; what comes; this rank's sums. */
static int8_t *sent(const struct hc_call *call) { return (int8_t *)call->workspace; }
static int8_t *received(const struct hc_call *call) { return sent(call) + all_bytes(call->args); }
static int8_t *sums(const struct hc_call *call) { return received(call) + all_bytes(call->args); }

/* This rank's own block is not exchanged. */
static aclnnStatus multiply(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    const size_t used = args->m * args->n, block = part_bytes(args);
    (void)part;
    HC_TRY(hc_mc2_multiply_int8(call, sent(call)));
    memset(sent(call) + used, 0, all_bytes(args) - used);
    memcpy(received(call) + args->rank * block, sent(call) + args->rank * block, block);
    return 0;
}

/* Scales as float32, and a row of floats for each of so many. */
struct scales {
    const float *sent, *sum;
    void *owned_sent, *owned_sum;
};

static aclnnStatus open_scales(const struct hc_call *call, struct scales *s) {
    aclTensor view;
    HC_TRY(hc_contiguous(hc_arg(call, HC_MC2_SENT_SCALE), ACL_FLOAT, &view, &s->owned_sent));
    s->sent = (const float *)hc_data(&view);
    HC_TRY(hc_contiguous(hc_arg(call, HC_MC2_SUM_SCALE), ACL_FLOAT, &view, &s->owned_sum));
    s->sum = (const float *)hc_data(&view);
    return 0;
}

static void close_scales(struct scales *s) {
    hc_block_give(s->owned_sent);
    hc_block_give(s->owned_sum);
}

struct job {
    const struct hc_call *call;
    const struct hc_mc2_args *args;
    const struct scales *scales;
};

/* Whole numbers, so their order does not count. */
enum { COLUMNS = 256 };
static void sum_run(const struct job *j, size_t row, size_t col, size_t n) {
    const size_t block = part_bytes(j->args), at = row * j->args->n + col;
    float x[COLUMNS], factor[COLUMNS];
    for (size_t i = 0; i < n; i++) {
        int32_t sum = 0;
        for (size_t rank = 0; rank < j->args->num_ranks; rank++)
            sum += received(j->call)[rank * block + at + i];
        x[i] = (float)sum;
        factor[i] = j->scales->sent[col + i] / j->scales->sum[col + i];
    }
    const struct hc_quant_affine by = {
        .scale = factor, .scale_each = true, .target = hc_quant_target_of(HC_QUANT_I8)};
    HC_DISPATCH(hc_quant_affine)(n, x, x, &by);
    hc_store_for(ACL_INT8, HC_F32)(n, sums(j->call) + at, 1, x);
}

static void sum_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    for (size_t row = begin; row < end; row++)
        for (size_t col = 0; col < j->args->n; col += COLUMNS)
            sum_run(j, row, col, hc_min_size(j->args->n - col, COLUMNS));
}

static void finish_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    const size_t n = j->args->n;
    const aclTensor *out = hc_arg(j->call, HC_MC2_OUT);
    float x[COLUMNS];
    for (size_t at = begin * n, left; at < end * n; at += left) {
        const size_t col = at % n;
        left = hc_min_size(n - col, COLUMNS);
        for (size_t i = 0; i < left; i++) x[i] = (float)sent(j->call)[at + i] * j->scales->sum[col + i];
        hc_store_for(out->dtype, HC_F32)(left, hc_data(out) + at * (size_t)out->item_size, 1, x);
    }
}

static aclnnStatus over_rows(const struct hc_call *call, size_t rows,
                             void (*of_rows)(void *, size_t, size_t)) {
    struct scales scales = {0};
    struct job j = {call, call->args, &scales};
    const aclnnStatus status = open_scales(call, &scales);
    if (status == 0) hc_parallel_for(rows, 1 + 16384 / hc_max_size(j.args->n, 1), of_rows, &j);
    close_scales(&scales);
    return status;
}

static aclnnStatus add_parts(const struct hc_call *call, size_t part) {
    (void)part;
    return over_rows(call, part_rows(call->args), sum_rows);
}

static aclnnStatus finish(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    (void)part;
    return over_rows(call, args->m, finish_rows);
}

/* Steps in the stream's order: what is sent lies still until the exchange is over. */
static aclnnStatus launch(const struct hc_call *call, aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    struct hc_group group;
    HC_TRY(hc_mc2_group(call, &group));
    if (args->m == 0 || args->n == 0) return 0;
    HC_TRY(hc_op_step(call, multiply, 0, hc_mc2_flops(args, args->m), stream));
    HC_TRY(hc_group_exchange(&group, (char *)sent(call), (char *)received(call), part_bytes(args), ACL_INT8,
                             stream));
    HC_TRY(hc_op_step(call, add_parts, 0, 0, stream));
    HC_TRY(hc_mc2_collective(
        group.calls->all_gather(&group, sums(call), sent(call), part_bytes(args), ACL_INT8, stream)));
    return hc_op_step(call, finish, 0, 0, stream);
}

/* ---- phase one ---- */

static aclnnStatus check_travel(const struct hc_mc2 *op, const struct hc_mc2_args *args) {
    const aclTensor *const both[] = {op->sent_scale, op->sum_scale};
    for (int i = 0; i < 2; i++) {
        const aclTensor *t = both[i];
        HC_CHECK(hc_numel(t) == args->n && (t->rank == 1 || (t->rank == 2 && t->shape[0] == 1)) &&
                     hc_fits_f32(t->dtype),
                 ACLNN_ERR_PARAM_INVALID, "%s: commQuantScale%d is %s, wanted %zu floats", op->name, i + 1,
                 HC_SHOW(t), args->n);
    }
    return 0;
}

/* The scales on the way, both or none. `scale`: the interface's name for the one of columns. */
static aclnnStatus plan(const struct hc_mc2 *op, const char *scale, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct hc_mc2_args args;
    HC_CHECK(op->scale != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name, scale);
    HC_CHECK((op->sent_scale == NULL) == (op->sum_scale == NULL), ACLNN_ERR_PARAM_INVALID,
             "%s: commQuantScale%d is null and the other is not, wanted both or none", op->name,
             op->sent_scale == NULL ? 1 : 2);
    if (op->sent_scale == NULL) return hc_mc2_plan_sum(op, workspaceSize, executor);
    HC_TRY(hc_mc2_describe_sum(op, &args));
    HC_TRY(check_travel(op, &args));
    args.parts = 1;
    return hc_mc2_plan(op, &args, launch, 2 * all_bytes(&args) + part_bytes(&args), workspaceSize, executor);
}

/* int8 operands and a scale for each column. */
HC_API aclnnStatus aclnnQuantMatmulAllReduceGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *bias, const aclTensor *x3,
    const aclTensor *dequantScale, const char *group, const char *reduceOp, int64_t commTurn,
    int64_t streamMode, const aclTensor *output, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnQuantMatmulAllReduce",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = bias,
                              .x3 = x3,
                              .scale = dequantScale,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return plan(&op, "dequantScale", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnQuantMatmulAllReduce)

/* And one for each row. */
HC_API aclnnStatus aclnnQuantMatmulAllReduceV2GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *biasOptional, const aclTensor *x3Optional,
    const aclTensor *dequantScale, const aclTensor *pertokenScaleOptional, const char *group,
    const char *reduceOp, int64_t commTurn, int64_t streamMode, const aclTensor *output,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnQuantMatmulAllReduceV2",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = biasOptional,
                              .x3 = x3Optional,
                              .scale = dequantScale,
                              .row_scale = pertokenScaleOptional,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return plan(&op, "dequantScale", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnQuantMatmulAllReduceV2)

/* And int8 on the way between ranks. */
HC_API aclnnStatus aclnnQuantMatmulAllReduceV3GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *biasOptional, const aclTensor *x3Optional,
    const aclTensor *dequantScale, const aclTensor *pertokenScaleOptional,
    const aclTensor *commQuantScale1Optional, const aclTensor *commQuantScale2Optional, const char *group,
    const char *reduceOp, int64_t commTurn, int64_t streamMode, const aclTensor *output,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnQuantMatmulAllReduceV3",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = biasOptional,
                              .x3 = x3Optional,
                              .scale = dequantScale,
                              .row_scale = pertokenScaleOptional,
                              .sent_scale = commQuantScale1Optional,
                              .sum_scale = commQuantScale2Optional,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    return plan(&op, "dequantScale", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnQuantMatmulAllReduceV3)

/* What the later versions have for floats of a byte, whose scales have groups; int8 have none. */
static aclnnStatus check_modes(const char *name, int64_t group_size, int64_t comm_quant_mode) {
    HC_CHECK(group_size == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: groupSize is %lld, wanted 0: scales of int8 are of rows and columns", name,
             (long long)group_size);
    HC_CHECK(comm_quant_mode == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: commQuantMode is %lld, wanted 0: the scales that are given", name,
             (long long)comm_quant_mode);
    return 0;
}

/* Scales have other names. */
HC_API aclnnStatus aclnnQuantMatmulAllReduceV4GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *biasOptional, const aclTensor *x3Optional,
    const aclTensor *x1ScaleOptional, const aclTensor *x2Scale, const aclTensor *commQuantScale1Optional,
    const aclTensor *commQuantScale2Optional, const char *group, const char *reduceOp, int64_t commTurn,
    int64_t streamMode, int64_t groupSize, int64_t commQuantMode, const aclTensor *output,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnQuantMatmulAllReduceV4",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = biasOptional,
                              .x3 = x3Optional,
                              .scale = x2Scale,
                              .row_scale = x1ScaleOptional,
                              .sent_scale = commQuantScale1Optional,
                              .sum_scale = commQuantScale2Optional,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    HC_TRY(check_modes(op.name, groupSize, commQuantMode));
    return plan(&op, "x2Scale", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnQuantMatmulAllReduceV4)

/* And a word for how ranks talk. */
HC_API aclnnStatus aclnnQuantMatmulAllReduceV5GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *biasOptional, const aclTensor *x3Optional,
    const aclTensor *x1ScaleOptional, const aclTensor *x2Scale, const aclTensor *commQuantScale1Optional,
    const aclTensor *commQuantScale2Optional, const char *group, const char *reduceOp, const char *commMode,
    int64_t commTurn, int64_t streamMode, int64_t groupSize, int64_t commQuantMode, const aclTensor *output,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_mc2 op = {.name = "aclnnQuantMatmulAllReduceV5",
                              .x1 = x1,
                              .x2 = x2,
                              .bias = biasOptional,
                              .x3 = x3Optional,
                              .scale = x2Scale,
                              .row_scale = x1ScaleOptional,
                              .sent_scale = commQuantScale1Optional,
                              .sum_scale = commQuantScale2Optional,
                              .out = output,
                              .group = group,
                              .reduce_op = reduceOp,
                              .comm_mode = commMode,
                              .comm_turn = commTurn,
                              .stream_mode = streamMode};
    HC_TRY(check_modes(op.name, groupSize, commQuantMode));
    return plan(&op, "x2Scale", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnQuantMatmulAllReduceV5)
