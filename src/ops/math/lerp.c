// SPDX-License-Identifier: Apache-2.0
/* y = self + weight * (end - self), element by element, computed from the nearer end: exact at weights 0
 * and 1, where the plain formula misses `end` by a rounding. PyTorch switches at the same weight, 1/2. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_FLOAT(lerp)
HC_EW_KERNELS_FLOAT(lerps)
HC_EW_KERNEL(lerps_BF16)

#ifdef HC_ISA
#include <math.h>

#define LERP(a, b, w) (fabs(w) < 0.5f ? (a) + (w) * ((b) - (a)) : (b) - ((b) - (a)) * (1 - (w)))
/* Three tensors: the skeleton's macros have bodies for one and two. */
#define BODY(block, type)                                                                                    \
    void HC_FN(lerp_##block)(size_t n, void *const *out, const void *const *in, const void *args) {          \
        type *y = out[0];                                                                                    \
        const type *a_ = in[0], *b_ = in[1], *w_ = in[2];                                                    \
        (void)args;                                                                                          \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const type a = a_[i], b = b_[i], w = w_[i];                                                      \
            y[i] = LERP(a, b, w);                                                                            \
        }                                                                                                    \
    }
BODY(F32, float)
BODY(F64, double)
HC_EW_BODY2_SCALAR(lerps, F32, float, LERP(a, b, s))
HC_EW_BODY2_BF16(lerps_BF16, HC_EW_SCALAR_S, LERP(a, b, s))
HC_EW_BODY2_SCALAR(lerps, F64, double, LERP(a, b, s))
#else
static const struct hc_ew TENSOR = {"aclnnLerp", HC_EW_TABLE_FLOAT(lerp), 0, HC_CLASS_FLOAT};
static const struct hc_ew SCALAR = {"aclnnLerps", HC_EW_TABLE_FLOAT_BF16(lerps), 0, HC_CLASS_FLOAT};

/* torch.lerp(self, end, weight), a weight per element; all three broadcast. */
HC_API aclnnStatus aclnnLerpGetWorkspaceSize(const aclTensor *self, const aclTensor *end,
                                             const aclTensor *weight, aclTensor *out, uint64_t *workspaceSize,
                                             aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {self, end, weight};
    return hc_ew_plan(&TENSOR, HC_CLASS_BOOL, outs, 1, ins, 3, NULL, 0, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnLerp)

HC_API aclnnStatus aclnnInplaceLerpGetWorkspaceSize(aclTensor *selfRef, const aclTensor *end,
                                                    const aclTensor *weight, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    const aclTensor *outs[] = {selfRef}, *ins[] = {selfRef, end, weight};
    return hc_ew_plan_as("aclnnInplaceLerp", &TENSOR, HC_CLASS_BOOL, outs, 1, ins, 3, NULL, 0, workspaceSize,
                         executor);
}
HC_OP_LAUNCH(aclnnInplaceLerp)

/* The same with one weight. It may lie outside [0, 1]: then it extrapolates. */
HC_API aclnnStatus aclnnLerpsGetWorkspaceSize(const aclTensor *self, const aclTensor *end,
                                              const aclScalar *weight, aclTensor *out,
                                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    return hc_ew_plan_binary_scalar("aclnnLerps", &SCALAR, self, end, weight, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnLerps)

HC_API aclnnStatus aclnnInplaceLerpsGetWorkspaceSize(aclTensor *selfRef, const aclTensor *end,
                                                     const aclScalar *weight, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    return hc_ew_plan_binary_scalar("aclnnInplaceLerps", &SCALAR, selfRef, end, weight, selfRef,
                                    workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnInplaceLerps)
#endif
