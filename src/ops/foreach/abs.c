// SPDX-License-Identifier: Apache-2.0
/* out = |x|, over lists. */
#include "foreach.h"

HC_EW_KERNEL(foreach_abs_F32)
HC_EW_KERNEL(foreach_abs_F64)
HC_EW_KERNEL(foreach_abs_I64)

#ifdef HC_ISA
static inline int64_t abs_i64(int64_t x) { return x < 0 ? (int64_t)(0 - (uint64_t)x) : x; }
HC_EW_BODY1(foreach_abs_F32, float, float, __builtin_fabsf)
HC_EW_BODY1(foreach_abs_F64, double, double, __builtin_fabs)
HC_EW_BODY1(foreach_abs_I64, int64_t, int64_t, abs_i64)
#else
HC_FOREACH_SPEC3(ABS, "aclnnForeachAbs", foreach_abs)
HC_FOREACH_UNARY(aclnnForeachAbs, ABS)
#endif
