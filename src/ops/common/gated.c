// SPDX-License-Identifier: Apache-2.0
/* Planning of gated activations: the executor holds x itself, the halves are made when it runs. */
#include "gated.h"

/* dim is not negative any more. */
struct gated {
    const struct hc_ew *op;
    int64_t dim;
};

aclTensor hc_half(const aclTensor *x, int64_t dim, int which) {
    aclTensor half = *x;
    half.shape[dim] /= 2;
    half.numel /= 2;
    half.offset += which * half.shape[dim] * half.stride[dim];
    return half;
}

aclnnStatus hc_check_half(const char *name, const aclTensor *x, int64_t dim, const aclTensor *half,
                          const char *half_name, int64_t *wrapped) {
    HC_CHECK(x && half, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, x ? half_name : "the input");
    *wrapped = hc_wrap_dim(dim, x->rank);
    HC_CHECK(x->rank > 0 && *wrapped >= 0, ACLNN_ERR_PARAM_INVALID,
             "%s: dim is %lld, the input %s has %d dimensions", name, (long long)dim, HC_SHOW(x),
             (int)x->rank);
    HC_CHECK(x->shape[*wrapped] % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: the input %s has an odd size along dim %lld, wanted an even one", name, HC_SHOW(x),
             (long long)dim);
    const aclTensor view = hc_half(x, *wrapped, 0);
    HC_CHECK(hc_same_shape(&view, half), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted the shape of %s halved along dim %lld", name, half_name, HC_SHOW(half),
             HC_SHOW(x), (long long)dim);
    return 0;
}

/* The halves are views of x, so one elementwise loop does it, whatever dim is. */
static aclnnStatus run(const struct hc_call *call) {
    const struct gated *g = call->args;
    const aclTensor *x = hc_arg(call, 0), *out = hc_arg(call, 1);
    const aclTensor a = hc_half(x, g->dim, 0), b = hc_half(x, g->dim, 1);
    const aclTensor *ins[] = {&a, &b};
    return hc_ew_run(g->op, -1, &out, 1, ins, 2, NULL);
}

/* Both gradients are views of out, written in the same loop. */
static aclnnStatus run_grad(const struct hc_call *call) {
    const struct gated *g = call->args;
    const aclTensor *grad = hc_arg(call, 0), *x = hc_arg(call, 1), *out = hc_arg(call, 2);
    const aclTensor a = hc_half(x, g->dim, 0), b = hc_half(x, g->dim, 1);
    const aclTensor grad_a = hc_half(out, g->dim, 0), grad_b = hc_half(out, g->dim, 1);
    const aclTensor *outs[] = {&grad_a, &grad_b}, *ins[] = {grad, &a, &b};
    return hc_ew_run(g->op, -1, outs, 2, ins, 3, NULL);
}

/* In phase one, as hc_ew_run would complain only when the operator runs. */
static aclnnStatus check_kernel(const struct hc_ew *op, const aclTensor *out, const aclTensor *x) {
    const aclTensor *outs[] = {out}, *ins[] = {x};
    return hc_ew_check_types(op->name, op, HC_CLASS_BOOL, outs, 1, ins, 1);
}

aclnnStatus hc_gated_plan(const struct hc_ew *op, const aclTensor *x, int64_t dim, const aclTensor *out,
                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct gated args = {.op = op};
    HC_TRY(hc_check_half(op->name, x, dim, out, "out", &args.dim));
    HC_TRY(check_kernel(op, out, x));
    return HC_PLAN(op->name, run, &args, HC_IN(x), HC_OUT(out));
}

aclnnStatus hc_gated_grad_plan(const struct hc_ew *op, const aclTensor *grad, const aclTensor *x, int64_t dim,
                               const aclTensor *gradInput, uint64_t *workspaceSize,
                               aclOpExecutor **executor) {
    struct gated args = {.op = op};
    HC_TRY(hc_check_half(op->name, x, dim, grad, "the gradient", &args.dim));
    HC_CHECK(gradInput && hc_same_shape(gradInput, x), ACLNN_ERR_PARAM_INVALID,
             "%s: the output is %s, the input %s", op->name, HC_SHOW(gradInput), HC_SHOW(x));
    HC_TRY(check_kernel(op, gradInput, x));
    return HC_PLAN(op->name, run_grad, &args, HC_IN(grad), HC_IN(x), HC_OUT(gradInput));
}
