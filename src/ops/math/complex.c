// SPDX-License-Identifier: Apache-2.0
/* Complex numbers from two real tensors: y = real + i imag, and (Polar) y = input e^(i angle). There is
 * one complex block type, so real inputs are loaded as complex numbers first: the cost is a wider block,
 * not a wider memory access. */
#include "binary.h"

HC_EW_KERNEL(complex_C128)
HC_EW_KERNEL(polar_C128)

#ifdef HC_ISA
#include <math.h>

/* The inputs arrive as complex numbers without imaginary part. */
static inline hc_c128 from_parts(hc_c128 a, hc_c128 b) { return (hc_c128){a.re, b.re}; }
static inline hc_c128 from_polar(hc_c128 a, hc_c128 b) {
    return (hc_c128){a.re * cos(b.re), a.re * sin(b.re)};
}
HC_EW_BODY2(complex_C128, hc_c128, hc_c128, from_parts)
HC_EW_BODY2(polar_C128, hc_c128, hc_c128, from_polar)
#else
static const struct hc_ew PARTS = {"aclnnComplex", {[HC_C128] = complex_C128_table}, 0, HC_CLASS_COMPLEX};
static const struct hc_ew POLAR = {"aclnnPolar", {[HC_C128] = polar_C128_table}, 0, HC_CLASS_COMPLEX};
/* Integers and complex numbers are refused, as PyTorch does. */
static aclnnStatus plan(const struct hc_ew *op, const char *const names[2], const aclTensor *a,
                        const aclTensor *b, const aclTensor *out, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_CHECK(a && b, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op->name, a ? names[1] : names[0]);
    HC_CHECK(hc_dtype_is_float(a->dtype) && hc_dtype_is_float(b->dtype), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s and %s %s, wanted floating point tensors", op->name, names[0], HC_SHOW(a),
             names[1], HC_SHOW(b));
    return hc_ew_plan_binary(op->name, op, a, b, out, workspaceSize, executor);
}

/* torch.complex; inputs broadcast. */
HC_API aclnnStatus aclnnComplexGetWorkspaceSize(const aclTensor *real, const aclTensor *imag, aclTensor *out,
                                                uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&PARTS, (const char *const[]){"real", "imag"}, real, imag, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnComplex)

/* torch.polar: of radius input. */
HC_API aclnnStatus aclnnPolarGetWorkspaceSize(const aclTensor *input, const aclTensor *angle, aclTensor *out,
                                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&POLAR, (const char *const[]){"input", "angle"}, input, angle, out, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnPolar)
#endif
