// SPDX-License-Identifier: Apache-2.0
/* SwiGLU of the halves of x's last dimension, or its gradient, quantised to an MX format along the last axis
 * and, a second time, along the last but one (mx.h): what the products of a layer need of one tensor forward
 * and backward. With groups, of rows of a matrix by their ends, the second quantisation begins anew at each.
 *
 *     z = silu(a) * b        or, of the gradient g of z, [g b silu'(a), g silu(a)]
 *
 * z is float32 in memory of ours and is rounded only by the format. */
#include "mx.h"
#include "quant.h"
#include "swiglu.h"

enum slot { X, GRAD, GROUPS, Y1, SCALE1, Y2, SCALE2, SLOTS };

/* Of one call: whether it is the gradient shows in its operands. */
struct args {
    struct hc_mx mx;
    struct hc_swiglu swiglu;
};

/* One run, everything contiguous. */
struct job {
    struct hc_swiglu swiglu;
    size_t n; /* of a half */
    float *z;
    const char *grad; /* NULL: forward */
    size_t grad_item;
    hc_load_fn *load;
};

/* A row of z, or of both halves' gradients, from a row of x in float32. */
static void activate_row(const void *ctx, size_t row, float *x, float *spare) {
    const struct job *j = ctx;
    if (j->grad == NULL) {
        const float *z = hc_swiglu_of_row(&j->swiglu, j->n, x, spare);
        __builtin_memcpy(j->z + row * j->n, z, j->n * sizeof *z);
        return;
    }
    j->load(j->n, spare, j->grad + row * j->n * j->grad_item, 1);
    hc_swiglu_grad_of_row(&j->swiglu, j->n, j->z + 2 * row * j->n, x, spare);
}

/* z of y's shape, from x and the gradient. */
static aclnnStatus activate(const struct hc_call *call, float *z) {
    const struct args *a = call->args;
    const aclTensor *given = hc_arg(call, GRAD);
    aclTensor x, grad;
    void *owned[2] = {NULL};
    HC_TRY(hc_contiguous(hc_arg(call, X), hc_arg(call, X)->dtype, &x, &owned[0]));
    struct job j = {.swiglu = a->swiglu, .n = hc_quant_row_length(&x) / 2, .z = z};
    aclnnStatus status = given != NULL ? hc_contiguous(given, given->dtype, &grad, &owned[1]) : 0;
    if (status == 0 && given != NULL) {
        j.grad = hc_data(&grad);
        j.grad_item = (size_t)grad.item_size;
        j.load = hc_load_for(grad.dtype, HC_F32);
    }
    if (status == 0)
        status = hc_quant_rows_run(
            &(const struct hc_quant_rows){call->name, &x, 2 * j.n, hc_quant_row_count(&x), activate_row, &j});
    hc_block_give(owned[0]);
    hc_block_give(owned[1]);
    return status;
}

/* The second quantisation by groups, into contiguous memory. */
static aclnnStatus quantise_groups(const struct hc_call *call, const struct hc_mx *mx, const aclTensor *z) {
    const aclTensor *groups = hc_arg(call, GROUPS), *y = hc_arg(call, Y2), *scale = hc_arg(call, SCALE2);
    aclTensor to, to_scale;
    void *owned[2] = {NULL};
    int64_t *ends = hc_block_take_array(hc_numel(groups), sizeof *ends);
    HC_CHECK(ends != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", call->name,
             hc_numel(groups));
    aclnnStatus status =
        hc_quant_read_groups(call->name, "groupIndexOptional", groups, z->shape[0], true, ends);
    if (status == 0) status = hc_contiguous_out(y, y->dtype, &to, &owned[0]);
    if (status == 0) status = hc_contiguous_out(scale, scale->dtype, &to_scale, &owned[1]);
    if (status == 0)
        status = hc_mx_quantise_groups(call->name, mx, z, ends, hc_numel(groups), &to, &to_scale);
    if (status == 0 && owned[0] != NULL) status = hc_copy(y, &to);
    if (status == 0 && owned[1] != NULL) status = hc_copy(scale, &to_scale);
    hc_block_give(owned[0]);
    hc_block_give(owned[1]);
    hc_block_give(ends);
    return status;
}

/* Inputs are read to their end before anything is written: they may share memory with the results. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, X);
    int64_t shape[HC_MAX_RANK];
    for (int32_t d = 0; d < x->rank; d++) shape[d] = x->shape[d];
    if (hc_arg(call, GRAD) == NULL) shape[x->rank - 1] /= 2;
    aclTensor z = hc_tensor_view(ACL_FLOAT, shape, x->rank, NULL);
    void *memory = hc_block_take_array(hc_numel(&z), sizeof(float));
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %s", call->name, HC_SHOW(&z));
    z = hc_tensor_view(ACL_FLOAT, shape, x->rank, memory);
    aclnnStatus status = activate(call, memory);
    if (status == 0)
        status = hc_mx_quantise(call->name, &a->mx, &z, z.rank - 1, hc_arg(call, Y1), hc_arg(call, SCALE1));
    if (status == 0)
        status = hc_arg(call, GROUPS) != NULL ? quantise_groups(call, &a->mx, &z)
                                              : hc_mx_quantise(call->name, &a->mx, &z, z.rank - 2,
                                                               hc_arg(call, Y2), hc_arg(call, SCALE2));
    hc_block_give(memory);
    return status;
}

/* ---- phase one ---- */

/* Ends of groups of a matrix; scales of the second quantisation have a pair for each group's last part. */
static aclnnStatus check_groups(const char *name, const struct hc_mx *mx, const aclTensor *z,
                                const aclTensor *groups, const aclTensor *y2, const aclTensor *scale2) {
    if (groups == NULL)
        return hc_mx_check_outputs(name, mx, z, z->rank - 2, "y2Out", y2, "mxscale2Out", scale2);
    HC_CHECK(groups->rank == 1 && groups->numel > 0 && hc_dtype_class(groups->dtype) == HC_CLASS_INT,
             ACLNN_ERR_PARAM_INVALID, "%s: groupIndexOptional is %s, wanted integers of one dimension", name,
             HC_SHOW(groups));
    HC_CHECK(z->rank == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: groupIndexOptional is %s, wanted none: x has %d dimensions", name, HC_SHOW(groups),
             z->rank);
    HC_CHECK(y2 != NULL && scale2 != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             y2 == NULL ? "y2Out" : "mxscale2Out");
    const int64_t shape[] = {z->shape[0] / (int64_t)(2 * mx->block) + groups->numel, z->shape[1], 2};
    const aclTensor wanted = hc_tensor_view(ACL_FLOAT8_E8M0, shape, 3, NULL);
    HC_CHECK(y2->dtype == mx->format.dtype && hc_same_shape(z, y2), ACLNN_ERR_PARAM_INVALID,
             "%s: y2Out is %s, wanted the shape of y1Out %s and dstType %d", name, HC_SHOW(y2), HC_SHOW(z),
             (int)mx->format.dtype);
    HC_CHECK(scale2->dtype == ACL_FLOAT8_E8M0 && hc_same_shape(scale2, &wanted), ACLNN_ERR_PARAM_INVALID,
             "%s: mxscale2Out is %s, wanted %s", name, HC_SHOW(scale2), HC_SHOW(&wanted));
    return hc_is_fp4(y2->dtype) ? hc_fp4_check(name, "y2Out", y2) : 0;
}

/* What the two operators have in common; the operands in the order of the slots. */
static aclnnStatus plan(const char *name, const struct args *args, const aclTensor *const *t,
                        const char *grad_name, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *x = t[X], *grad = t[GRAD];
    HC_TRY(hc_quant_check_float(name, "x", x));
    HC_CHECK(x->rank >= 2 && x->rank < HC_MAX_RANK && x->shape[x->rank - 1] % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted 2 to %d dimensions, the last an even number", name, HC_SHOW(x),
             HC_MAX_RANK - 1);
    aclTensor half = *x;
    half.shape[x->rank - 1] /= 2;
    half = hc_tensor_view(x->dtype, half.shape, x->rank, NULL);
    if (grad_name != NULL) {
        HC_TRY(hc_quant_check_float(name, grad_name, grad));
        HC_CHECK(hc_same_shape(&half, grad), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, wanted that of half of x %s", name, grad_name, HC_SHOW(grad), HC_SHOW(x));
        half = *x;
    }
    HC_TRY(
        hc_mx_check_outputs(name, &args->mx, &half, half.rank - 1, "y1Out", t[Y1], "mxscale1Out", t[SCALE1]));
    HC_TRY(check_groups(name, &args->mx, &half, t[GROUPS], t[Y2], t[SCALE2]));
    const aclTensor y1 = hc_fp4_bytes(t[Y1]), y2 = hc_fp4_bytes(t[Y2]);
    const struct hc_operand operands[SLOTS] = {
        [X] = {x, NULL, HC_ROLE_IN, "x"},
        [GRAD] = {grad, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "yGrad"},
        [GROUPS] = {t[GROUPS], NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "groupIndexOptional"},
        [Y1] = {&y1, NULL, HC_ROLE_OUT, "y1Out"},
        [SCALE1] = {t[SCALE1], NULL, HC_ROLE_OUT, "mxscale1Out"},
        [Y2] = {&y2, NULL, HC_ROLE_OUT, "y2Out"},
        [SCALE2] = {t[SCALE2], NULL, HC_ROLE_OUT, "mxscale2Out"}};
    return hc_plan(&(const struct hc_plan){.name = name,
                                           .run = run,
                                           .args = args,
                                           .args_size = sizeof *args,
                                           .operands = operands,
                                           .num_operands = SLOTS},
                   workspaceSize, executor);
}

/* torch_npu.npu_swiglu_mx_quant_with_dual_axis. */
HC_API aclnnStatus aclnnSwigluMxQuantWithDualAxisGetWorkspaceSize(
    const aclTensor *x, const aclTensor *groupIndexOptional, bool activateLeft, char *roundModeOptional,
    int64_t scaleAlg, int64_t dstType, double maxDtypeValue, const aclTensor *y1Out,
    const aclTensor *mxscale1Out, const aclTensor *y2Out, const aclTensor *mxscale2Out,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnSwigluMxQuantWithDualAxis";
    struct args args = {.swiglu = {HC_SWIGLU_PLAIN, activateLeft, false}};
    const aclTensor *const t[SLOTS] = {x, NULL, groupIndexOptional, y1Out, mxscale1Out, y2Out, mxscale2Out};
    HC_TRY(hc_mx_check(NAME, roundModeOptional, dstType, 32, scaleAlg, maxDtypeValue, &args.mx));
    return plan(NAME, &args, t, NULL, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSwigluMxQuantWithDualAxis)

/* Its gradient, of both halves side by side, in the place of z. */
HC_API aclnnStatus aclnnSwigluBackwardMxQuantWithDualAxisGetWorkspaceSize(
    const aclTensor *x, const aclTensor *yGrad, const aclTensor *groupIndexOptional, bool activateLeft,
    char *roundModeOptional, int64_t scaleAlg, int64_t dstDtype, double maxDtypeValue, const aclTensor *y1Out,
    const aclTensor *mxscale1Out, const aclTensor *y2Out, const aclTensor *mxscale2Out,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnSwigluBackwardMxQuantWithDualAxis";
    struct args args = {.swiglu = {HC_SWIGLU_PLAIN, activateLeft, false}};
    const aclTensor *const t[SLOTS] = {x, yGrad, groupIndexOptional, y1Out, mxscale1Out, y2Out, mxscale2Out};
    HC_TRY(hc_mx_check(NAME, roundModeOptional, dstDtype, 32, scaleAlg, maxDtypeValue, &args.mx));
    return plan(NAME, &args, t, "yGrad", workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSwigluBackwardMxQuantWithDualAxis)
