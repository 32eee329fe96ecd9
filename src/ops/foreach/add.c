// SPDX-License-Identifier: Apache-2.0
/* out = x1 + alpha * x2, and out = x + scalar, over lists. What an optimiser that is not fused is made
 * of: one call in place of one for each of hundreds of parameters. The scalar is a tensor in device
 * memory or a value, one for all or one each, by the name of the operator. */
#include "foreach.h"

HC_EW_KERNEL(foreach_add_F32)
HC_EW_KERNEL(foreach_add_F64)
HC_EW_KERNEL(foreach_add_I64)
HC_EW_KERNEL(foreach_add_C128)
HC_EW_KERNEL(foreach_add_scalar_F32)
HC_EW_KERNEL(foreach_add_scalar_F64)
HC_EW_KERNEL(foreach_add_scalar_I64)
HC_EW_KERNEL(foreach_add_scalar_C128)

#ifdef HC_ISA
/* Integers wrap, as unsigned arithmetic does. */
#define ADD(a, b, s) ((a) + (s) * (b))
#define ADD_SCALAR(a, s) ((a) + (s))
static inline int64_t add_i64(int64_t a, int64_t b, int64_t s) {
    return (int64_t)((uint64_t)a + (uint64_t)s * (uint64_t)b);
}
static inline int64_t add_scalar_i64(int64_t a, int64_t s) { return (int64_t)((uint64_t)a + (uint64_t)s); }
static inline hc_c128 add_c128(hc_c128 a, hc_c128 b, hc_c128 s) {
    return (hc_c128){a.re + (s.re * b.re - s.im * b.im), a.im + (s.re * b.im + s.im * b.re)};
}
static inline hc_c128 add_scalar_c128(hc_c128 a, hc_c128 s) { return (hc_c128){a.re + s.re, a.im + s.im}; }
HC_FOREACH_BODY2(foreach_add_F32, F32, ADD)
HC_FOREACH_BODY2(foreach_add_F64, F64, ADD)
HC_FOREACH_BODY2(foreach_add_I64, I64, add_i64)
HC_FOREACH_BODY2(foreach_add_C128, C128, add_c128)
HC_FOREACH_BODY1(foreach_add_scalar_F32, F32, ADD_SCALAR)
HC_FOREACH_BODY1(foreach_add_scalar_F64, F64, ADD_SCALAR)
HC_FOREACH_BODY1(foreach_add_scalar_I64, I64, add_scalar_i64)
HC_FOREACH_BODY1(foreach_add_scalar_C128, C128, add_scalar_c128)
#else
HC_FOREACH_SPEC4(LIST, "aclnnForeachAddList", foreach_add)
HC_FOREACH_SPEC4(LIST_V2, "aclnnForeachAddListV2", foreach_add)
HC_FOREACH_SPEC4(SCALAR, "aclnnForeachAddScalar", foreach_add_scalar)
HC_FOREACH_SPEC4(SCALAR_V2, "aclnnForeachAddScalarV2", foreach_add_scalar)
HC_FOREACH_SPEC4(SCALAR_LIST, "aclnnForeachAddScalarList", foreach_add_scalar)
HC_FOREACH_BINARY_SCALAR(aclnnForeachAddList, LIST, aclTensor)
HC_FOREACH_BINARY_SCALAR(aclnnForeachAddListV2, LIST_V2, aclScalar)
HC_FOREACH_SCALAR(aclnnForeachAddScalar, SCALAR, aclTensor)
HC_FOREACH_SCALAR(aclnnForeachAddScalarV2, SCALAR_V2, aclScalar)
HC_FOREACH_SCALAR_LIST(aclnnForeachAddScalarList, SCALAR_LIST)
#endif
