// SPDX-License-Identifier: Apache-2.0
/* y = self + alpha * other, element by element; other is a tensor or a scalar, or self is a scalar
 * (AddV3). Bound by memory, so bfloat16 has kernels of its own that read and write it directly. Of two
 * scalars, alpha and other, the product is taken once in phase one. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_ALL(add)
HC_EW_KERNELS_ALL(adds)
HC_EW_KERNELS_ALL(addv)
HC_EW_KERNEL(add_BF16)
HC_EW_KERNEL(adds_BF16)

#ifdef HC_ISA
#include "complex_math.h"

/* s is alpha. Two roundings in every instruction set, as nothing is contracted (isa.cmake); integers
 * wrap. */
HC_EW_BODIES2_SCALAR_REAL(add, a + s * b)
HC_EW_BODY2_SCALAR(add, C128, hc_c128, hc_cadd(a, hc_cmul(s, b)))
HC_EW_BODIES_SCALAR_REAL(adds, x + s)
HC_EW_BODY_SCALAR(adds, C128, hc_c128, hc_cadd(x, s))

HC_EW_BODY2_BF16(add_BF16, HC_EW_SCALAR_S, a + s * b)
HC_EW_BODY1_BF16(adds_BF16, HC_EW_SCALAR_S, x + s)

HC_EW_BODIES_TWO_SCALARS_REAL(addv, first + alpha * x)
HC_EW_BODY_TWO_SCALARS(addv, C128, hc_cadd(first, hc_cmul(alpha, x)))
#else
static const struct hc_ew TENSOR = {"aclnnAdd", HC_EW_TABLE_ALL_BF16(add), 0, HC_EW_ALPHA};
static const struct hc_ew SCALAR = {"aclnnAdds", HC_EW_TABLE_ALL_BF16(adds), 0, 0};
static const struct hc_ew SCALAR_FIRST = {"aclnnAddV3", HC_EW_TABLE_ALL(addv), 0, 0};

/* torch.add(self, other, alpha=alpha) of tensors: both broadcast to out, dtypes promote as in PyTorch. */
HC_API aclnnStatus aclnnAddGetWorkspaceSize(const aclTensor *self, const aclTensor *other,
                                            const aclScalar *alpha, aclTensor *out, uint64_t *workspaceSize,
                                            aclOpExecutor **executor) {
    return hc_ew_plan_binary_scalar("aclnnAdd", &TENSOR, self, other, alpha, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdd)

HC_API aclnnStatus aclnnInplaceAddGetWorkspaceSize(const aclTensor *selfRef, const aclTensor *other,
                                                   const aclScalar *alpha, uint64_t *workspaceSize,
                                                   aclOpExecutor **executor) {
    return hc_ew_plan_binary_scalar("aclnnInplaceAdd", &TENSOR, selfRef, other, alpha, selfRef, workspaceSize,
                                    executor);
}
HC_OP_LAUNCH(aclnnInplaceAdd)

/* The same with a number for other. */
HC_API aclnnStatus aclnnAddsGetWorkspaceSize(const aclTensor *self, const aclScalar *other,
                                             const aclScalar *alpha, aclTensor *out, uint64_t *workspaceSize,
                                             aclOpExecutor **executor) {
    return hc_ew_plan_scalar_times("aclnnAdds", &SCALAR, self, other, alpha, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnAdds)

HC_API aclnnStatus aclnnInplaceAddsGetWorkspaceSize(const aclTensor *selfRef, const aclScalar *other,
                                                    const aclScalar *alpha, uint64_t *workspaceSize,
                                                    aclOpExecutor **executor) {
    return hc_ew_plan_scalar_times("aclnnInplaceAdds", &SCALAR, selfRef, other, alpha, selfRef, workspaceSize,
                                   executor);
}
HC_OP_LAUNCH(aclnnInplaceAdds)

/* A number plus alpha times a tensor. alpha cannot be folded into the number here, hence a kernel of its
 * own. */
HC_API aclnnStatus aclnnAddV3GetWorkspaceSize(const aclScalar *self, const aclTensor *other,
                                              const aclScalar *alpha, aclTensor *out, uint64_t *workspaceSize,
                                              aclOpExecutor **executor) {
    HC_CHECK(self && other && alpha && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnAddV3: %s is null",
             !self    ? "self"
             : !other ? "other"
             : !alpha ? "alpha"
                      : "out");
    const struct hc_ew_scalar args[] = {hc_ew_scalar(self), hc_ew_scalar(alpha)};
    const aclTensor *outs[] = {out}, *ins[] = {other};
    const struct hc_result_rule rule = {.scalar = hc_dtype_class(self->dtype)};
    HC_TRY(hc_check_alpha("aclnnAddV3", hc_result_type(ins, 1, &rule), alpha));
    return hc_ew_plan(&SCALAR_FIRST, rule.scalar, outs, 1, ins, 1, args, sizeof args, workspaceSize,
                      executor);
}
HC_OP_LAUNCH(aclnnAddV3)
#endif
