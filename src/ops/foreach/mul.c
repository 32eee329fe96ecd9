// SPDX-License-Identifier: Apache-2.0
/* out = x1 * x2, and out = x * scalar, over lists; integers wrap. With a scalar in device memory this is
 * the clipping of gradients by their norm, which so needs no wait for the norm. */
#include "foreach.h"

HC_EW_KERNEL(foreach_mul_F32)
HC_EW_KERNEL(foreach_mul_F64)
HC_EW_KERNEL(foreach_mul_I64)
HC_EW_KERNEL(foreach_mul_C128)
HC_EW_KERNEL(foreach_mul_scalar_F32)
HC_EW_KERNEL(foreach_mul_scalar_F64)
HC_EW_KERNEL(foreach_mul_scalar_I64)
HC_EW_KERNEL(foreach_mul_scalar_C128)

#ifdef HC_ISA
/* Complex products are the plain ones: what infinities make of them is not repaired, as in hc_cmul. */
#define MUL(a, b) ((a) * (b))
static inline int64_t mul_i64(int64_t a, int64_t b) { return (int64_t)((uint64_t)a * (uint64_t)b); }
static inline hc_c128 mul_c128(hc_c128 a, hc_c128 b) {
    return (hc_c128){a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
HC_EW_BODY2(foreach_mul_F32, float, float, MUL)
HC_EW_BODY2(foreach_mul_F64, double, double, MUL)
HC_EW_BODY2(foreach_mul_I64, int64_t, int64_t, mul_i64)
HC_EW_BODY2(foreach_mul_C128, hc_c128, hc_c128, mul_c128)
HC_FOREACH_BODY1(foreach_mul_scalar_F32, F32, MUL)
HC_FOREACH_BODY1(foreach_mul_scalar_F64, F64, MUL)
HC_FOREACH_BODY1(foreach_mul_scalar_I64, I64, mul_i64)
HC_FOREACH_BODY1(foreach_mul_scalar_C128, C128, mul_c128)
#else
HC_FOREACH_SPEC4(LIST, "aclnnForeachMulList", foreach_mul)
HC_FOREACH_SPEC4(SCALAR, "aclnnForeachMulScalar", foreach_mul_scalar)
HC_FOREACH_SPEC4(SCALAR_V2, "aclnnForeachMulScalarV2", foreach_mul_scalar)
HC_FOREACH_SPEC4(SCALAR_LIST, "aclnnForeachMulScalarList", foreach_mul_scalar)
HC_FOREACH_BINARY(aclnnForeachMulList, LIST)
HC_FOREACH_SCALAR(aclnnForeachMulScalar, SCALAR, aclTensor)
HC_FOREACH_SCALAR(aclnnForeachMulScalarV2, SCALAR_V2, aclScalar)
HC_FOREACH_SCALAR_LIST(aclnnForeachMulScalarList, SCALAR_LIST)
#endif
