// SPDX-License-Identifier: Apache-2.0
/* y = self - alpha * other, element by element, and reversed (Rsub): y = other - alpha * self. A scalar
 * other is multiplied by alpha once, in phase one; the reverse form of it needs both scalars, and has a
 * kernel for that. */
#include "binary.h"

HC_EW_KERNELS_ALL(sub)
HC_EW_KERNELS_ALL(rsub)
HC_EW_KERNELS_ALL(subs)
HC_EW_KERNELS_ALL(rsubs)

#ifdef HC_ISA
#include "complex_math.h"

HC_EW_BODIES2_SCALAR_REAL(sub, a - s * b)
HC_EW_BODY2_SCALAR(sub, C128, hc_c128, hc_csub(a, hc_cmul(s, b)))
HC_EW_BODIES2_SCALAR_REAL(rsub, b - s * a)
HC_EW_BODY2_SCALAR(rsub, C128, hc_c128, hc_csub(b, hc_cmul(s, a)))
HC_EW_BODIES_SCALAR_REAL(subs, x - s)
HC_EW_BODY_SCALAR(subs, C128, hc_c128, hc_csub(x, s))

HC_EW_BODIES_TWO_SCALARS_REAL(rsubs, first - alpha * x)
HC_EW_BODY_TWO_SCALARS(rsubs, C128, hc_csub(first, hc_cmul(alpha, x)))
#else
static const struct hc_ew TENSOR = {"aclnnSub", HC_EW_TABLE_ALL(sub), 0, HC_EW_IS_MINUS | HC_EW_ALPHA};
/* A kernel of its own, as operands are in the order of the interface: messages and aclSetTensorAddr count
 * them. */
static const struct hc_ew REVERSED_TENSOR = {"aclnnRsub", HC_EW_TABLE_ALL(rsub), 0,
                                             HC_EW_IS_MINUS | HC_EW_ALPHA};
static const struct hc_ew SCALAR = {"aclnnSubs", HC_EW_TABLE_ALL(subs), 0, HC_EW_IS_MINUS};
static const struct hc_ew REVERSED = {"aclnnRsubs", HC_EW_TABLE_ALL(rsubs), 0, HC_EW_IS_MINUS};

/* torch.sub(self, other, alpha=alpha); of bools there is none. */
HC_API aclnnStatus aclnnSubGetWorkspaceSize(const aclTensor *self, const aclTensor *other,
                                            const aclScalar *alpha, aclTensor *out, uint64_t *workspaceSize,
                                            aclOpExecutor **executor) {
    return hc_ew_plan_binary_scalar("aclnnSub", &TENSOR, self, other, alpha, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSub)

HC_API aclnnStatus aclnnInplaceSubGetWorkspaceSize(aclTensor *selfRef, const aclTensor *other,
                                                   const aclScalar *alpha, uint64_t *workspaceSize,
                                                   aclOpExecutor **executor) {
    return hc_ew_plan_binary_scalar("aclnnInplaceSub", &TENSOR, selfRef, other, alpha, selfRef, workspaceSize,
                                    executor);
}
HC_OP_LAUNCH(aclnnInplaceSub)

HC_API aclnnStatus aclnnSubsGetWorkspaceSize(const aclTensor *self, const aclScalar *other,
                                             const aclScalar *alpha, aclTensor *out, uint64_t *workspaceSize,
                                             aclOpExecutor **executor) {
    return hc_ew_plan_scalar_times("aclnnSubs", &SCALAR, self, other, alpha, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSubs)

HC_API aclnnStatus aclnnInplaceSubsGetWorkspaceSize(aclTensor *selfRef, const aclScalar *other,
                                                    const aclScalar *alpha, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    return hc_ew_plan_scalar_times("aclnnInplaceSubs", &SCALAR, selfRef, other, alpha, selfRef, workspaceSize,
                                   executor);
}
HC_OP_LAUNCH(aclnnInplaceSubs)

/* torch.rsub: Sub with its operands exchanged, alpha still with what is subtracted. */
HC_API aclnnStatus aclnnRsubGetWorkspaceSize(const aclTensor *self, const aclTensor *other,
                                             const aclScalar *alpha, aclTensor *out, uint64_t *workspaceSize,
                                             aclOpExecutor **executor) {
    return hc_ew_plan_binary_scalar("aclnnRsub", &REVERSED_TENSOR, self, other, alpha, out, workspaceSize,
                                    executor);
}
HC_OP_LAUNCH(aclnnRsub)

/* A number minus alpha times a tensor. */
HC_API aclnnStatus aclnnRsubsGetWorkspaceSize(const aclTensor *self, const aclScalar *other,
                                              const aclScalar *alpha, aclTensor *out, uint64_t *workspaceSize,
                                              aclOpExecutor **executor) {
    HC_CHECK(self && other && alpha && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnRsubs: %s is null",
             !self    ? "self"
             : !other ? "other"
             : !alpha ? "alpha"
                      : "out");
    const struct hc_ew_scalar args[] = {hc_ew_scalar(other), hc_ew_scalar(alpha)};
    const aclTensor *outs[] = {out}, *ins[] = {self};
    const struct hc_result_rule rule = {.scalar = hc_dtype_class(other->dtype)};
    HC_TRY(hc_check_minus("aclnnRsubs", &REVERSED, other));
    HC_TRY(hc_check_alpha("aclnnRsubs", hc_result_type(ins, 1, &rule), alpha));
    return hc_ew_plan(&REVERSED, rule.scalar, outs, 1, ins, 1, args, sizeof args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRsubs)
#endif
