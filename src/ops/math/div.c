// SPDX-License-Identifier: Apache-2.0
/* y = self / other, element by element; other is a tensor or a scalar. Mode 0 is the true quotient
 * (integers become float), 1 rounds it toward zero, 2 down; FloorDivide is mode 2. Rounded quotients of
 * floats are computed in float for halves too (divide.h says how), and integers divided by zero give 0:
 * the machine would trap. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_MATH(div)
HC_EW_KERNELS_MATH(divs)
HC_EW_KERNEL(div_BF16)
HC_EW_KERNEL(divs_BF16)
HC_EW_KERNELS_REAL(div_trunc)
HC_EW_KERNELS_REAL(divs_trunc)
HC_EW_KERNELS_REAL(div_floor)
HC_EW_KERNELS_REAL(divs_floor)

#ifdef HC_ISA
#include "complex_math.h"
#include "divide.h"

/* No product with a reciprocal, not even for a scalar divisor: it would round twice. */
#define DIV(a, b) ((a) / (b))
HC_EW_BODY2(div_F32, float, float, DIV)
HC_EW_BODY2(div_F64, double, double, DIV)
HC_EW_BODY2(div_C128, hc_c128, hc_c128, hc_cdiv)
HC_EW_BODY_SCALAR(divs, F32, float, x / s)
HC_EW_BODY_SCALAR(divs, F64, double, x / s)
HC_EW_BODY_SCALAR(divs, C128, hc_c128, hc_cdiv(x, s))
HC_EW_BODY2_BF16(div_BF16, (void)0, a / b)
HC_EW_BODY1_BF16(divs_BF16, HC_EW_SCALAR_S, x / s)

#define BODIES(mode)                                                                                         \
    HC_EW_BODY2(div_##mode##_F32, float, float, hc_div_##mode##_f)                                           \
    HC_EW_BODY2(div_##mode##_F64, double, double, hc_div_##mode##_d)                                         \
    HC_EW_BODY2(div_##mode##_I64, int64_t, int64_t, hc_div_##mode##_i64)                                     \
    HC_EW_BODY_SCALAR(divs_##mode, F32, float, hc_div_##mode##_f(x, s))                                      \
    HC_EW_BODY_SCALAR(divs_##mode, F64, double, hc_div_##mode##_d(x, s))                                     \
    HC_EW_BODY_SCALAR(divs_##mode, I64, int64_t, hc_div_##mode##_i64(x, s))
BODIES(trunc)
BODIES(floor)
#else
/* The interface's numbers. */
enum { TRUE_QUOTIENT, TRUNC, FLOOR, MODES };
static const struct hc_ew TENSOR[MODES] = {{"aclnnDiv", HC_EW_TABLE_MATH_BF16(div), 0, HC_CLASS_FLOAT},
                                           {"aclnnDivMod", HC_EW_TABLE_REAL(div_trunc), 0, HC_EW_NO_BOOL},
                                           {"aclnnDivMod", HC_EW_TABLE_REAL(div_floor), 0, HC_EW_NO_BOOL}};
static const struct hc_ew SCALAR[MODES] = {{"aclnnDivs", HC_EW_TABLE_MATH_BF16(divs), 0, HC_CLASS_FLOAT},
                                           {"aclnnDivMods", HC_EW_TABLE_REAL(divs_trunc), 0, HC_EW_NO_BOOL},
                                           {"aclnnDivMods", HC_EW_TABLE_REAL(divs_floor), 0, HC_EW_NO_BOOL}};
HC_BINARY(aclnnDiv, TENSOR[TRUE_QUOTIENT])
HC_BINARY_INPLACE(aclnnInplaceDiv, TENSOR[TRUE_QUOTIENT])
HC_SCALAR(aclnnDivs, SCALAR[TRUE_QUOTIENT])
HC_SCALAR_INPLACE(aclnnInplaceDivs, SCALAR[TRUE_QUOTIENT])
HC_BINARY(aclnnFloorDivide, TENSOR[FLOOR])
HC_BINARY_INPLACE(aclnnInplaceFloorDivide, TENSOR[FLOOR])
HC_SCALAR(aclnnFloorDivides, SCALAR[FLOOR])
HC_SCALAR_INPLACE(aclnnInplaceFloorDivides, SCALAR[FLOOR])

/* Another mode is an error by name, and no index. */
static aclnnStatus check_mode(const char *name, int mode) {
    HC_CHECK(mode >= 0 && mode < MODES, ACLNN_ERR_PARAM_INVALID,
             "%s: mode is %d, wanted 0 (true), 1 (trunc) or 2 (floor)", name, mode);
    return 0;
}

/* torch.div(self, other, rounding_mode=...). */
HC_API aclnnStatus aclnnDivModGetWorkspaceSize(const aclTensor *self, const aclTensor *other, int mode,
                                               aclTensor *out, uint64_t *workspaceSize,
                                               aclOpExecutor **executor) {
    HC_TRY(check_mode("aclnnDivMod", mode));
    return hc_ew_plan_binary("aclnnDivMod", &TENSOR[mode], self, other, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDivMod)

HC_API aclnnStatus aclnnInplaceDivModGetWorkspaceSize(aclTensor *selfRef, const aclTensor *other, int mode,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check_mode("aclnnInplaceDivMod", mode));
    return hc_ew_plan_binary("aclnnInplaceDivMod", &TENSOR[mode], selfRef, other, selfRef, workspaceSize,
                             executor);
}
HC_OP_LAUNCH(aclnnInplaceDivMod)

/* The same with a number for other. */
HC_API aclnnStatus aclnnDivModsGetWorkspaceSize(const aclTensor *self, const aclScalar *other, int mode,
                                                aclTensor *out, uint64_t *workspaceSize,
                                                aclOpExecutor **executor) {
    HC_TRY(check_mode("aclnnDivMods", mode));
    return hc_ew_plan_scalar("aclnnDivMods", &SCALAR[mode], self, other, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDivMods)

HC_API aclnnStatus aclnnInplaceDivModsGetWorkspaceSize(aclTensor *selfRef, const aclScalar *other, int mode,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(check_mode("aclnnInplaceDivMods", mode));
    return hc_ew_plan_scalar("aclnnInplaceDivMods", &SCALAR[mode], selfRef, other, selfRef, workspaceSize,
                             executor);
}
HC_OP_LAUNCH(aclnnInplaceDivMods)
#endif
