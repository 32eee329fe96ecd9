// SPDX-License-Identifier: Apache-2.0
/* int4 of a matrix between two others, whose Kronecker product transforms the flat matrix:
 *
 *     z[b] = P1 @ x[b] @ P2        scale[b] = max |z[b]| / (7 clipRatio)        y[b] = round(z[b] / scale[b])
 *
 * for each matrix b of x. Everything is computed in float32 and rounded once. By the two small factors a
 * matrix of M N elements takes M + N products for each of them, where their product would take M N. */
#include "gemm.h"
#include "quant.h"

enum slot { X, P1, P2, Y, SCALE };

struct args {
    struct hc_quant_target target;
};

/* z = P1 @ (x @ P2), both in memory of ours, one after the other. */
static aclnnStatus transform(const aclTensor *x, const aclTensor *p1, const aclTensor *p2, float *half,
                             float *z) {
    const int64_t m = x->shape[1], n = x->shape[2];
    const struct hc_gemm right = {.m = (size_t)m,
                                  .n = (size_t)n,
                                  .k = (size_t)n,
                                  .batch_rank = 1,
                                  .batch_shape = {x->shape[0]},
                                  .a = {hc_data(x), x->dtype, x->stride[1], x->stride[2], {x->stride[0]}},
                                  .b = {hc_data(p2), p2->dtype, p2->stride[0], p2->stride[1], {0}},
                                  .out = {half, ACL_FLOAT, n, 1, {m * n}},
                                  .alpha = HC_GEMM_REAL(1)};
    HC_TRY(hc_gemm(&right));
    const struct hc_gemm left = {.m = (size_t)m,
                                 .n = (size_t)n,
                                 .k = (size_t)m,
                                 .batch_rank = 1,
                                 .batch_shape = {x->shape[0]},
                                 .a = {hc_data(p1), p1->dtype, p1->stride[0], p1->stride[1], {0}},
                                 .b = {half, ACL_FLOAT, n, 1, {m * n}},
                                 .out = {z, ACL_FLOAT, n, 1, {m * n}},
                                 .alpha = HC_GEMM_REAL(1)};
    return hc_gemm(&left);
}

/* y's matrices are runs of int4, whatever y's strides; nothing is written before all is read. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *x = hc_arg(call, X);
    const size_t numel = hc_numel(x);
    if (numel == 0) return 0;
    float *memory = hc_block_take_array(numel, 2 * sizeof *memory);
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %s", call->name, HC_SHOW(x));
    const aclTensor z = hc_tensor_view(ACL_FLOAT, x->shape, x->rank, memory + numel);
    aclnnStatus status = transform(x, hc_arg(call, P1), hc_arg(call, P2), memory, memory + numel);
    if (status == 0)
        status = hc_quant_by_row(call->name, &a->target, &z, (size_t)(x->shape[1] * x->shape[2]),
                                 hc_arg(call, Y), hc_arg(call, SCALE));
    hc_block_give(memory);
    return status;
}

/* ---- phase one ---- */

/* A factor is a square matrix of x's dimension. */
static aclnnStatus check_factor(const char *name, const char *arg, const aclTensor *p, const aclTensor *x,
                                int32_t dim) {
    HC_TRY(hc_quant_check_float(name, arg, p));
    const int64_t n = x->shape[dim];
    HC_CHECK(p->rank == 2 && p->shape[0] == n && p->shape[1] == n, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted [%lld,%lld] for x %s", name, arg, HC_SHOW(p), (long long)n, (long long)n,
             HC_SHOW(x));
    return 0;
}

/* What the versions have in common. */
static aclnnStatus plan(const char *name, const aclTensor *x, const aclTensor *kroneckerP1,
                        const aclTensor *kroneckerP2, double clip_ratio, const aclTensor *out,
                        const aclTensor *quantScale, uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args;
    HC_TRY(hc_quant_check_float(name, "x", x));
    HC_CHECK(x->rank == 3, ACLNN_ERR_PARAM_INVALID, "%s: x is %s, wanted three dimensions", name, HC_SHOW(x));
    HC_TRY(check_factor(name, "kroneckerP1", kroneckerP1, x, 1));
    HC_TRY(check_factor(name, "kroneckerP2", kroneckerP2, x, 2));
    HC_CHECK(clip_ratio > 0 && clip_ratio <= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: clipRatio is %g, wanted more than 0 and at most 1", name, clip_ratio);
    HC_CHECK(out != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: out is null", name);
    HC_CHECK(out->dtype == ACL_INT32, ACLNN_ERR_PARAM_INVALID,
             "%s: out is %s, wanted int32 that holds eight int4", name, HC_SHOW(out));
    HC_TRY(hc_quant_check_target(name, x, "out", out, -1, &args.target));
    HC_TRY(hc_quant_check_float(name, "quantScale", quantScale));
    HC_CHECK(quantScale->numel == x->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: quantScale is %s, wanted %lld elements for x %s", name, HC_SHOW(quantScale),
             (long long)x->shape[0], HC_SHOW(x));
    HC_CHECK(x->numel > 0 || x->shape[0] == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted elements: there is no largest of none", name, HC_SHOW(x));
    args.target.high *= (float)clip_ratio;
    args.target.low = -args.target.high;
    return HC_PLAN(name, run, &args, HC_IN(x), HC_IN(kroneckerP1), HC_IN(kroneckerP2), HC_OUT(out),
                   HC_OUT(quantScale));
}

/* torch_npu.npu_kronecker_quant, which takes the newest version. */
HC_API aclnnStatus aclnnFlatQuantGetWorkspaceSize(const aclTensor *x, const aclTensor *kroneckerP1,
                                                  const aclTensor *kroneckerP2, double clipRatio,
                                                  aclTensor *out, aclTensor *quantScale,
                                                  uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan("aclnnFlatQuant", x, kroneckerP1, kroneckerP2, clipRatio, out, quantScale, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnFlatQuant)

/* dstTypeMax belongs to fp4, which is not made here. */
HC_API aclnnStatus aclnnFlatQuantV2GetWorkspaceSize(const aclTensor *x, const aclTensor *kroneckerP1,
                                                    const aclTensor *kroneckerP2, double clipRatio,
                                                    double dstTypeMax, aclTensor *out, aclTensor *quantScale,
                                                    uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(dstTypeMax == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlatQuantV2: dstTypeMax is %g, wanted 0 for int4", dstTypeMax);
    return plan("aclnnFlatQuantV2", x, kroneckerP1, kroneckerP2, clipRatio, out, quantScale, workspaceSize,
                executor);
}
HC_OP_LAUNCH(aclnnFlatQuantV2)
