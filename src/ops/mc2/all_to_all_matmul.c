// SPDX-License-Identifier: Apache-2.0
/* Products before or after an exchange of all ranks with all, on W ranks:
 *
 *   AlltoAllMatmul   x1 [m, k] is cut by rows; rank r gets everybody's rows of block r, side by side as
 *                    [m / W, W k], and multiplies them by x2 [W k, n]
 *   MatmulAlltoAll   x1 x2 [m, n] is cut by columns; rank r gets everybody's columns of block r, below each
 * other as [W m, n / W]
 *
 * Ranks exchange pair by pair; rows or columns are put into order by a copy on the side where they are not
 * what the exchange wants. One product, so the same bits as an exchange and a matmul give. */
#include <string.h>

#include "mc2.h"
#include "temporary.h"

/* The own block, which no exchange moves. */
static aclnnStatus keep_own(const struct hc_call *call, char *from, char *to, size_t bytes) {
    const struct hc_mc2_args *args = call->args;
    memcpy(to + args->rank * bytes, from + args->rank * bytes, bytes);
    return 0;
}

static aclnnStatus exchange(const struct hc_call *call, char *from, char *to, size_t count, aclDataType dtype,
                            aclrtStream stream) {
    struct hc_group group;
    HC_TRY(hc_mc2_group(call, &group));
    return hc_group_exchange(&group, from, to, count, dtype, stream);
}

/* In a first product args are those of the product: m / W rows of W k. The workspace holds x1 without gaps,
 * what came, and where the caller wants none of it, that in order. */
static char *sent(const struct hc_call *call) { return call->workspace; }
static size_t moved_bytes(const struct hc_call *call) {
    return hc_align_up(hc_numel(hc_arg(call, HC_MC2_X1)) * (size_t)hc_arg(call, HC_MC2_X1)->item_size, 64);
}
static char *ordered(const struct hc_call *call) {
    const aclTensor *t = hc_arg(call, HC_MC2_GATHERED);
    return t != NULL ? hc_data(t) : call->workspace + 2 * moved_bytes(call);
}

static aclnnStatus copy_x1(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *x1 = hc_arg(call, HC_MC2_X1);
    const aclTensor copy = hc_tensor_view(x1->dtype, x1->shape, x1->rank, sent(call));
    (void)part;
    HC_TRY(hc_copy(&copy, x1));
    return keep_own(call, sent(call), sent(call) + moved_bytes(call),
                    args->m * args->k / args->num_ranks * (size_t)x1->item_size);
}

/* [W, m / W, k] as [m / W, W, k], and its product. */
static aclnnStatus multiply_ordered(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    const aclDataType dtype = hc_arg(call, HC_MC2_X1)->dtype;
    const int64_t width = (int64_t)(args->k / args->num_ranks), ranks = args->num_ranks;
    const int64_t came[] = {ranks, (int64_t)args->m, width}, wanted[] = {(int64_t)args->m, ranks, width};
    const aclTensor rows = hc_tensor_view(dtype, came, 3, sent(call) + moved_bytes(call));
    const aclTensor from = hc_transpose_view(&rows, 0, 1),
                    to = hc_tensor_view(dtype, wanted, 3, ordered(call));
    (void)part;
    HC_TRY(hc_copy(&to, &from));
    return hc_mc2_multiply_rows(call, ordered(call), args->m, hc_data(hc_arg(call, HC_MC2_OUT)));
}

/* Steps in the stream's order: what is sent lies still until the exchange is over. */
static aclnnStatus launch_before(const struct hc_call *call, aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    HC_TRY(hc_op_step(call, copy_x1, 0, 0, stream));
    HC_TRY(exchange(call, sent(call), sent(call) + moved_bytes(call), args->m * args->k / args->num_ranks,
                    hc_arg(call, HC_MC2_X1)->dtype, stream));
    return hc_op_step(call, multiply_ordered, 0, hc_mc2_flops(args, args->m), stream);
}

/* The product [m, n], then its columns as [W, m, n / W]; this rank's own go where they belong. */
static aclnnStatus multiply_first(const struct hc_call *call, size_t part) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *out = hc_arg(call, HC_MC2_OUT);
    const int64_t ranks = args->num_ranks, width = (int64_t)args->n / ranks, m = (int64_t)args->m;
    char *columns = call->workspace + args->copy_at;
    (void)part;
    HC_TRY(hc_mc2_multiply(call, (struct hc_mc2_rows){0, args->m}, call->workspace));
    const aclTensor product =
        hc_tensor_view(out->dtype, (const int64_t[]){m, ranks, width}, 3, call->workspace);
    const aclTensor from = hc_transpose_view(&product, 0, 1);
    const aclTensor to = hc_tensor_view(out->dtype, (const int64_t[]){ranks, m, width}, 3, columns);
    HC_TRY(hc_copy(&to, &from));
    return keep_own(call, columns, hc_data(out), (size_t)(m * width) * (size_t)out->item_size);
}

/* What comes goes straight into the output, where each rank's rows are contiguous. */
static aclnnStatus launch_after(const struct hc_call *call, aclrtStream stream) {
    const struct hc_mc2_args *args = call->args;
    const aclTensor *out = hc_arg(call, HC_MC2_OUT);
    HC_TRY(hc_op_step(call, multiply_first, 0, hc_mc2_flops(args, args->m), stream));
    return exchange(call, call->workspace + args->copy_at, hc_data(out), args->m * args->n / args->num_ranks,
                    out->dtype, stream);
}

/* What the interface fixes: which dimensions are exchanged, and that x1 lies as it is. */
static aclnnStatus check_options(const char *name, const aclIntArray *axes, int64_t first,
                                 bool transpose_x1) {
    HC_CHECK(axes == NULL || axes->size == 0 ||
                 (axes->size == 2 && axes->data[0] == first && axes->data[1] == -3 - first),
             ACLNN_ERR_PARAM_INVALID, "%s: alltoAllAxesOptional is given, wanted [%lld,%lld]", name,
             (long long)first, (long long)(-3 - first));
    HC_CHECK(!transpose_x1, ACLNN_ERR_PARAM_INVALID, "%s: transposeX1 is true, wanted false", name);
    return 0;
}

/* x2 as it is multiplied. */
static aclnnStatus view_x2(const char *name, const aclTensor *x2, bool transposed, aclTensor *view) {
    HC_CHECK(x2 != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x2 is null", name);
    HC_CHECK(x2->rank == 2, ACLNN_ERR_PARAM_INVALID, "%s: x2 is %s, wanted 2 dimensions", name, HC_SHOW(x2));
    *view = transposed ? hc_transpose_view(x2, 0, 1) : *x2;
    return 0;
}

/* The ranks of a group, and a tensor cut into as many. */
static aclnnStatus ranks_of(const struct hc_mc2 *op, const char *arg, const aclTensor *t, int32_t dim,
                            int64_t *ranks) {
    struct hc_group group;
    if (hc_group_find(op->name, op->group, &group) != 0) return ACLNN_ERR_PARAM_INVALID; /* its text is set */
    *ranks = group.num_ranks;
    HC_CHECK(t->rank == 2 && t->shape[dim] % *ranks == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted 2 dimensions, of which %lld ranks share the %s", op->name, arg, HC_SHOW(t),
             (long long)*ranks, dim == 0 ? "rows" : "columns");
    return 0;
}

/* A contiguous result of this shape. */
static aclnnStatus check_result(const struct hc_mc2 *op, const char *arg, const aclTensor *t, int64_t rows,
                                int64_t cols) {
    HC_CHECK(t->rank == 2 && t->shape[0] == rows && t->shape[1] == cols && t->dtype == op->x1->dtype &&
                 hc_is_contiguous(t),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted [%lld,%lld] of x1's type, contiguous", op->name,
             arg, HC_SHOW(t), (long long)rows, (long long)cols);
    HC_CHECK(!hc_overlaps(t, op->x1) && !hc_overlaps(t, op->x2), ACLNN_ERR_PARAM_INVALID,
             "%s: %s shares memory with x1 or x2", op->name, arg);
    return 0;
}

/* The workspace is x1's size three times: sent, come, in order. */
static aclnnStatus plan_before(struct hc_mc2 *op, const aclIntArray *axes, bool transpose_x1,
                               bool transpose_x2, uint64_t *workspaceSize, aclOpExecutor **executor) {
    aclTensor x2;
    int64_t ranks;
    struct hc_mc2_args args;
    HC_TRY(check_options(op->name, axes, -2, transpose_x1));
    HC_TRY(view_x2(op->name, op->x2, transpose_x2, &x2));
    HC_CHECK(op->x1 != NULL && op->out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: x1 or output is null",
             op->name);
    HC_TRY(ranks_of(op, "x1", op->x1, 0, &ranks));
    const aclTensor *x1 = op->x1;
    /* The product is of what comes: m / W rows of W k. */
    const aclTensor rows = hc_tensor_view(
        x1->dtype, (const int64_t[]){x1->shape[0] / ranks, x1->shape[1] * ranks}, 2, hc_data(x1));
    op->x2 = &x2, op->x1 = &rows;
    HC_TRY(hc_mc2_describe(op, &args));
    op->x1 = x1;
    HC_TRY(check_result(op, "output", op->out, (int64_t)args.m, (int64_t)args.n));
    if (op->gathered != NULL)
        HC_TRY(check_result(op, "alltoAllOutOptional", op->gathered, (int64_t)args.m, (int64_t)args.k));
    size_t bytes = 0;
    HC_CHECK(hc_bytes_fit(hc_numel(x1), (size_t)x1->item_size, &bytes) && bytes < HC_MAX_BYTES / 4,
             ACLNN_ERR_PARAM_INVALID, "%s: x1 %s is too large", op->name, HC_SHOW(x1));
    return hc_mc2_plan(op, &args, launch_before, 3 * hc_align_up(bytes, 64), workspaceSize, executor);
}

/* The workspace is the product, and the same by columns. */
static aclnnStatus plan_after(struct hc_mc2 *op, const aclIntArray *axes, bool transpose_x1,
                              bool transpose_x2, uint64_t *workspaceSize, aclOpExecutor **executor) {
    aclTensor x2;
    int64_t ranks;
    struct hc_mc2_args args;
    HC_TRY(check_options(op->name, axes, -1, transpose_x1));
    HC_TRY(view_x2(op->name, op->x2, transpose_x2, &x2));
    op->x2 = &x2;
    HC_TRY(hc_mc2_describe(op, &args));
    HC_TRY(ranks_of(op, "x2", op->x2, 1, &ranks));
    HC_TRY(check_result(op, "output", op->out, (int64_t)args.m * ranks, (int64_t)args.n / ranks));
    size_t bytes = 0;
    HC_CHECK(hc_mul_fits(args.m, args.n, &bytes) && hc_bytes_fit(bytes, (size_t)op->out->item_size, &bytes) &&
                 bytes < HC_MAX_BYTES / 4,
             ACLNN_ERR_PARAM_INVALID, "%s: the product of x1 %s and x2 %s is too large", op->name,
             HC_SHOW(op->x1), HC_SHOW(op->x2));
    args.copy_at = hc_align_up(bytes, 64);
    return hc_mc2_plan(op, &args, launch_after, 2 * args.copy_at, workspaceSize, executor);
}

/* torch_npu.npu_all_to_all_matmul. */
HC_API aclnnStatus aclnnAlltoAllMatmulGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                       const aclTensor *biasOptional,
                                                       const aclIntArray *alltoAllAxesOptional,
                                                       const char *group, bool transposeX1, bool transposeX2,
                                                       const aclTensor *output,
                                                       const aclTensor *alltoAllOutOptional,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct hc_mc2 op = {.name = "aclnnAlltoAllMatmul",
                        .x1 = x1,
                        .x2 = x2,
                        .bias = biasOptional,
                        .out = output,
                        .gathered = alltoAllOutOptional,
                        .group = group,
                        .stream_mode = 1};
    return plan_before(&op, alltoAllAxesOptional, transposeX1, transposeX2, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAlltoAllMatmul)

/* The same with commMode, of which there is one here (mc2.c). */
HC_API aclnnStatus aclnnAlltoAllMatmulV2GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *biasOptional,
    const aclIntArray *alltoAllAxesOptional, const char *group, const char *commMode, bool transposeX1,
    bool transposeX2, const aclTensor *output, const aclTensor *alltoAllOutOptional, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    struct hc_mc2 op = {.name = "aclnnAlltoAllMatmulV2",
                        .x1 = x1,
                        .x2 = x2,
                        .bias = biasOptional,
                        .out = output,
                        .gathered = alltoAllOutOptional,
                        .group = group,
                        .comm_mode = commMode,
                        .stream_mode = 1};
    return plan_before(&op, alltoAllAxesOptional, transposeX1, transposeX2, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAlltoAllMatmulV2)

/* torch_npu.npu_matmul_all_to_all. */
HC_API aclnnStatus aclnnMatmulAlltoAllGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                       const aclTensor *biasOptional,
                                                       const aclIntArray *alltoAllAxesOptional,
                                                       const char *group, bool transposeX1, bool transposeX2,
                                                       const aclTensor *output, uint64_t *workspaceSize,
                                                       aclOpExecutor **executor) {
    struct hc_mc2 op = {.name = "aclnnMatmulAlltoAll",
                        .x1 = x1,
                        .x2 = x2,
                        .bias = biasOptional,
                        .out = output,
                        .group = group,
                        .stream_mode = 1};
    return plan_after(&op, alltoAllAxesOptional, transposeX1, transposeX2, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMatmulAlltoAll)

/* The same with commMode. */
HC_API aclnnStatus aclnnMatmulAlltoAllV2GetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *biasOptional,
    const aclIntArray *alltoAllAxesOptional, const char *group, const char *commMode, bool transposeX1,
    bool transposeX2, const aclTensor *output, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct hc_mc2 op = {.name = "aclnnMatmulAlltoAllV2",
                        .x1 = x1,
                        .x2 = x2,
                        .bias = biasOptional,
                        .out = output,
                        .group = group,
                        .comm_mode = commMode,
                        .stream_mode = 1};
    return plan_after(&op, alltoAllAxesOptional, transposeX1, transposeX2, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMatmulAlltoAllV2)
