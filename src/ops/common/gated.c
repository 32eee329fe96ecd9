// SPDX-License-Identifier: Apache-2.0
/* Planning of gated activations: the executor holds x itself, the halves are made when it runs. */
#include "gated.h"
#include "messages.h"

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

/* dim made non-negative in *wrapped; checks that x can be halved along it and that `half` has that shape.
 * Of the operator's tensors half is number half_at and x the other one of the first two. */
static aclnnStatus check_half(const char *name, const aclTensor *x, int64_t dim, const aclTensor *half,
                              int half_at, int64_t *wrapped) {
    const int x_at = 1 - half_at;
    HC_CHECK(x && half, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             hc_tensor_name(name, x ? half_at : x_at));
    *wrapped = hc_wrap_dim(dim, x->rank);
    HC_CHECK(x->rank > 0, ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted at least one dimension", name,
             hc_tensor_name(name, x_at), HC_SHOW(x));
    if (*wrapped < 0) return hc_fail_dim(name, "dim", dim, hc_tensor_name(name, x_at), x);
    HC_CHECK(x->shape[*wrapped] % 2 == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, which has an odd size along dim %lld, wanted an even one", name,
             hc_tensor_name(name, x_at), HC_SHOW(x), (long long)dim);
    const aclTensor view = hc_half(x, *wrapped, 0);
    HC_CHECK(hc_same_shape(&view, half), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted the shape of %s halved along dim %lld", name,
             hc_tensor_name(name, half_at), HC_SHOW(half), HC_SHOW(x), (long long)dim);
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
    HC_TRY(check_half(op->name, x, dim, out, 1, &args.dim));
    HC_TRY(check_kernel(op, out, x));
    return HC_PLAN(op->name, run, &args, HC_IN(x), HC_OUT(out));
}

aclnnStatus hc_gated_grad_plan(const struct hc_ew *op, const aclTensor *grad, const aclTensor *x, int64_t dim,
                               const aclTensor *gradInput, uint64_t *workspaceSize,
                               aclOpExecutor **executor) {
    struct gated args = {.op = op};
    HC_TRY(check_half(op->name, x, dim, grad, 0, &args.dim));
    HC_CHECK(gradInput && hc_same_shape(gradInput, x), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted the shape of %s %s", op->name, hc_tensor_name(op->name, -1),
             gradInput ? HC_SHOW(gradInput) : "null", hc_tensor_name(op->name, 1), HC_SHOW(x));
    HC_TRY(check_kernel(op, gradInput, x));
    return HC_PLAN(op->name, run_grad, &args, HC_IN(grad), HC_IN(x), HC_OUT(gradInput));
}
