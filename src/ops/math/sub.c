// SPDX-License-Identifier: Apache-2.0
/* y = self - alpha * other, element by element, and reversed (Rsub): y = other - alpha * self. A scalar
 * other is multiplied by alpha once, in phase one; the reverse form of it needs both scalars, and has a
 * kernel for that. */
#include "binary.h"

HC_EW_KERNELS_ALL(sub)
HC_EW_KERNELS_ALL(subs)
HC_EW_KERNELS_ALL(rsubs)

#ifdef HC_ISA
#include "complex_math.h"

HC_EW_BODIES2_SCALAR_REAL(sub, a - s * b)
HC_EW_BODY2_SCALAR(sub, C128, hc_c128, hc_csub(a, hc_cmul(s, b)))
HC_EW_BODIES_SCALAR_REAL(subs, x - s)
HC_EW_BODY_SCALAR(subs, C128, hc_c128, hc_csub(x, s))

/* other - alpha * x; args are both scalars: args[0] is other, args[1] alpha. */
#define BODY(block, difference)                                                                              \
    void HC_FN(rsubs_##block)(size_t n, void *const *out, const void *const *in, const void *args) {         \
        hc_block_##block *y = out[0];                                                                        \
        const hc_block_##block *x = in[0];                                                                   \
        const struct hc_ew_scalar *scalars = args;                                                           \
        const hc_block_##block other = scalars[0].block, alpha = scalars[1].block;                           \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = (difference);                             \
    }
BODY(F32, other - alpha * x[i])
BODY(F64, other - alpha * x[i])
BODY(I64, other - alpha * x[i])
BODY(C128, hc_csub(other, hc_cmul(alpha, x[i])))
#else
static const struct hc_ew TENSOR = {"aclnnSub", HC_EW_TABLE_ALL(sub), 0, 0};
static const struct hc_ew SCALAR = {"aclnnSubs", HC_EW_TABLE_ALL(subs), 0, 0};
static const struct hc_ew REVERSED = {"aclnnRsubs", HC_EW_TABLE_ALL(rsubs), 0, 0};

/* A tensor and two scalars is a tensor and their product. */
static aclnnStatus plan_scalar(const char *name, const aclTensor *self, const aclScalar *other,
                               const aclScalar *alpha, const aclTensor *out, uint64_t *workspaceSize,
                               aclOpExecutor **executor) {
    aclScalar product;
    HC_CHECK(hc_scalar_product(other, alpha, &product), ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             other ? "alpha" : "other");
    return hc_ew_plan_scalar(name, &SCALAR, self, &product, out, workspaceSize, executor);
}

/* torch.sub(self, other, alpha=alpha); bool is refused by the client. */
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
    return plan_scalar("aclnnSubs", self, other, alpha, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSubs)

HC_API aclnnStatus aclnnInplaceSubsGetWorkspaceSize(aclTensor *selfRef, const aclScalar *other,
                                                    const aclScalar *alpha, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    return plan_scalar("aclnnInplaceSubs", selfRef, other, alpha, selfRef, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceSubs)

/* torch.rsub: Sub with its operands exchanged, alpha still with what is subtracted. */
HC_API aclnnStatus aclnnRsubGetWorkspaceSize(const aclTensor *self, const aclTensor *other,
                                             const aclScalar *alpha, aclTensor *out, uint64_t *workspaceSize,
                                             aclOpExecutor **executor) {
    return hc_ew_plan_binary_scalar("aclnnRsub", &TENSOR, other, self, alpha, out, workspaceSize, executor);
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
    const int block = (int)hc_ew_compute_scalar(&REVERSED, out, self, other);
    return hc_ew_plan(&REVERSED, block, outs, 1, ins, 1, args, sizeof args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnRsubs)
#endif
