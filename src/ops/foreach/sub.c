// SPDX-License-Identifier: Apache-2.0
/* out = x1 - alpha * x2, and out = x - scalar, over lists. As add.c, with the sign of alpha turned; a
 * form of its own because -alpha is not exact for unsigned integers and changes the sign of zeros. */
#include "foreach.h"

HC_EW_KERNEL(foreach_sub_F32)
HC_EW_KERNEL(foreach_sub_F64)
HC_EW_KERNEL(foreach_sub_I64)
HC_EW_KERNEL(foreach_sub_C128)
HC_EW_KERNEL(foreach_sub_scalar_F32)
HC_EW_KERNEL(foreach_sub_scalar_F64)
HC_EW_KERNEL(foreach_sub_scalar_I64)
HC_EW_KERNEL(foreach_sub_scalar_C128)

#ifdef HC_ISA
/* Integers wrap, as unsigned arithmetic does. */
#define SUB(a, b, s) ((a) - (s) * (b))
#define SUB_SCALAR(a, s) ((a) - (s))
static inline int64_t sub_i64(int64_t a, int64_t b, int64_t s) {
    return (int64_t)((uint64_t)a - (uint64_t)s * (uint64_t)b);
}
static inline int64_t sub_scalar_i64(int64_t a, int64_t s) { return (int64_t)((uint64_t)a - (uint64_t)s); }
static inline hc_c128 sub_c128(hc_c128 a, hc_c128 b, hc_c128 s) {
    return (hc_c128){a.re - (s.re * b.re - s.im * b.im), a.im - (s.re * b.im + s.im * b.re)};
}
static inline hc_c128 sub_scalar_c128(hc_c128 a, hc_c128 s) { return (hc_c128){a.re - s.re, a.im - s.im}; }
HC_FOREACH_BODY2(foreach_sub_F32, F32, SUB)
HC_FOREACH_BODY2(foreach_sub_F64, F64, SUB)
HC_FOREACH_BODY2(foreach_sub_I64, I64, sub_i64)
HC_FOREACH_BODY2(foreach_sub_C128, C128, sub_c128)
HC_FOREACH_BODY1(foreach_sub_scalar_F32, F32, SUB_SCALAR)
HC_FOREACH_BODY1(foreach_sub_scalar_F64, F64, SUB_SCALAR)
HC_FOREACH_BODY1(foreach_sub_scalar_I64, I64, sub_scalar_i64)
HC_FOREACH_BODY1(foreach_sub_scalar_C128, C128, sub_scalar_c128)
#else
HC_FOREACH_SPEC4(LIST, "aclnnForeachSubList", foreach_sub)
HC_FOREACH_SPEC4(LIST_V2, "aclnnForeachSubListV2", foreach_sub)
HC_FOREACH_SPEC4(SCALAR, "aclnnForeachSubScalar", foreach_sub_scalar)
HC_FOREACH_SPEC4(SCALAR_V2, "aclnnForeachSubScalarV2", foreach_sub_scalar)
HC_FOREACH_SPEC4(SCALAR_LIST, "aclnnForeachSubScalarList", foreach_sub_scalar)
HC_FOREACH_BINARY_SCALAR(aclnnForeachSubList, LIST, aclTensor)
HC_FOREACH_BINARY_SCALAR(aclnnForeachSubListV2, LIST_V2, aclScalar)
HC_FOREACH_SCALAR(aclnnForeachSubScalar, SCALAR, aclTensor)
HC_FOREACH_SCALAR(aclnnForeachSubScalarV2, SCALAR_V2, aclScalar)
HC_FOREACH_SCALAR_LIST(aclnnForeachSubScalarList, SCALAR_LIST)
#endif
