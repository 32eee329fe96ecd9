// SPDX-License-Identifier: Apache-2.0
/* Root mean square normalisation: y = x * rstd * gamma, rstd = 1/sqrt(mean(x^2) + epsilon); with
 * AddRmsNorm of x1 + x2, which is an output too. The sum is rounded to the type of x first: what is
 * normalised is what the caller gets. GemmaRmsNorm scales by 1 + gamma; AddRmsNormCast gives y twice, as
 * float32 and in x's type. */
#include "norm.h"
#include "rms_norm_rows.h"
#include "sum_of_two.h"

static aclnnStatus run(const struct hc_call *call) {
    return hc_rms_norm_run(call->name, call->args, hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2),
                           hc_arg(call, 3));
}

/* Operands x1, x2, gamma, y, rstd, sum; in place y is x1 and the sum x2. */
static aclnnStatus run_add(const struct hc_call *call) {
    HC_TRY(hc_sum_of_two(call->name, hc_arg(call, 5), hc_arg(call, 0), hc_arg(call, 1)));
    return hc_rms_norm_run(call->name, call->args, hc_arg(call, 5), hc_arg(call, 2), hc_arg(call, 3),
                           hc_arg(call, 4));
}

/* Operands as of run_add, then y2. y is wider than y2, or as wide: rounding it once more is rounding once. */
static aclnnStatus run_add_cast(const struct hc_call *call) {
    HC_TRY(run_add(call));
    return hc_copy(hc_arg(call, 6), hc_arg(call, 3));
}

/* gamma's shape says which dimensions are normalised. */
static aclnnStatus check(const char *name, const aclTensor *x, const aclTensor *gamma, double epsilon,
                         const aclTensor *y, const aclTensor *rstd, struct hc_rms_norm *args) {
    HC_CHECK(x && gamma, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, x ? "gamma" : "x");
    HC_TRY(hc_norm_mask(name, x, gamma->shape, (size_t)gamma->rank, &args->mask));
    HC_TRY(hc_norm_check_shared(name, "gamma", gamma, gamma->shape, (size_t)gamma->rank));
    HC_TRY(hc_norm_check_same(name, x, "y", y));
    HC_TRY(hc_norm_check_rows(name, "rstd", rstd, x, args->mask));
    args->epsilon = epsilon;
    args->added = -0.0;
    args->block = hc_compute_block(x->dtype);
    return 0;
}

/* torch_npu.npu_rms_norm(x, gamma, epsilon): y and rstd, one value per row. */
HC_API aclnnStatus aclnnRmsNormGetWorkspaceSize(const aclTensor *x, const aclTensor *gamma, double epsilon,
                                                const aclTensor *yOut, const aclTensor *rstdOut,
                                                uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct hc_rms_norm args;
    HC_TRY(check("aclnnRmsNorm", x, gamma, epsilon, yOut, rstdOut, &args));
    return HC_PLAN("aclnnRmsNorm", run, &args, HC_IN(x), HC_IN(gamma), HC_OUT(yOut), HC_OUT_OPT(rstdOut));
}
HC_OP_LAUNCH(aclnnRmsNorm)

/* torch_npu.npu_gemma_rms_norm(x, gamma, epsilon). */
HC_API aclnnStatus aclnnGemmaRmsNormGetWorkspaceSize(const aclTensor *x, const aclTensor *gamma,
                                                     double epsilon, const aclTensor *yOut,
                                                     const aclTensor *rstdOut, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    struct hc_rms_norm args;
    HC_TRY(check("aclnnGemmaRmsNorm", x, gamma, epsilon, yOut, rstdOut, &args));
    args.added = 1;
    return HC_PLAN("aclnnGemmaRmsNorm", run, &args, HC_IN(x), HC_IN(gamma), HC_OUT(yOut),
                   HC_OUT_OPT(rstdOut));
}
HC_OP_LAUNCH(aclnnGemmaRmsNorm)

/* torch_npu.npu_add_rms_norm: the residual addition in front of a norm, whose sum xOut is the next
 * residual. */
HC_API aclnnStatus aclnnAddRmsNormGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                   const aclTensor *gamma, double epsilon, aclTensor *yOut,
                                                   aclTensor *rstdOut, aclTensor *xOut,
                                                   uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct hc_rms_norm args;
    HC_TRY(check("aclnnAddRmsNorm", x1, gamma, epsilon, yOut, rstdOut, &args));
    HC_TRY(hc_norm_check_same("aclnnAddRmsNorm", x1, "x2", x2));
    HC_TRY(hc_norm_check_same("aclnnAddRmsNorm", x1, "xOut", xOut));
    return HC_PLAN("aclnnAddRmsNorm", run_add, &args, HC_IN(x1), HC_IN(x2), HC_IN(gamma), HC_OUT(yOut),
                   HC_OUT_OPT(rstdOut), HC_OUT(xOut));
}
HC_OP_LAUNCH(aclnnAddRmsNorm)

/* torch_npu.npu_add_rms_norm_cast. */
HC_API aclnnStatus aclnnAddRmsNormCastGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                       const aclTensor *gamma, double epsilon,
                                                       const aclTensor *y1Out, const aclTensor *y2Out,
                                                       const aclTensor *rstdOut, const aclTensor *xOut,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnAddRmsNormCast";
    struct hc_rms_norm args;
    HC_TRY(check(NAME, x1, gamma, epsilon, y1Out, rstdOut, &args));
    HC_CHECK(hc_block_of(y1Out->dtype) == (int)args.block, ACLNN_ERR_PARAM_INVALID,
             "%s: y1Out is %s, wanted the type in which x1 %s is computed", NAME, HC_SHOW(y1Out),
             HC_SHOW(x1));
    HC_TRY(hc_norm_check_same(NAME, x1, "x2", x2));
    HC_TRY(hc_norm_check_same(NAME, x1, "y2Out", y2Out));
    HC_TRY(hc_norm_check_same(NAME, x1, "xOut", xOut));
    return HC_PLAN(NAME, run_add_cast, &args, HC_IN(x1), HC_IN(x2), HC_IN(gamma), HC_OUT(y1Out),
                   HC_OUT_OPT(rstdOut), HC_OUT(xOut), HC_OUT(y2Out));
}
HC_OP_LAUNCH(aclnnAddRmsNormCast)

HC_API aclnnStatus aclnnInplaceAddRmsNormGetWorkspaceSize(aclTensor *x1Ref, aclTensor *x2Ref,
                                                          const aclTensor *gamma, double epsilon,
                                                          const aclTensor *rstdOut, uint64_t *workspaceSize,
                                                          aclOpExecutor **executor) {
    struct hc_rms_norm args;
    HC_TRY(check("aclnnInplaceAddRmsNorm", x1Ref, gamma, epsilon, x1Ref, rstdOut, &args));
    HC_TRY(hc_norm_check_same("aclnnInplaceAddRmsNorm", x1Ref, "x2", x2Ref));
    return HC_PLAN("aclnnInplaceAddRmsNorm", run_add, &args, HC_INOUT(x1Ref), HC_INOUT(x2Ref), HC_IN(gamma),
                   HC_OUT(x1Ref), HC_OUT_OPT(rstdOut), HC_OUT(x2Ref));
}
HC_OP_LAUNCH(aclnnInplaceAddRmsNorm)
