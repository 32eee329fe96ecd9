// SPDX-License-Identifier: Apache-2.0
/* out = sqrt(x), over lists. */
#include "foreach.h"

HC_EW_KERNEL(foreach_sqrt_F32)
HC_EW_KERNEL(foreach_sqrt_F64)

#ifdef HC_ISA
HC_EW_BODY1(foreach_sqrt_F32, float, float, __builtin_sqrtf)
HC_EW_BODY1(foreach_sqrt_F64, double, double, __builtin_sqrt)
#else
HC_FOREACH_SPEC2(SQRT, "aclnnForeachSqrt", foreach_sqrt)
HC_FOREACH_UNARY(aclnnForeachSqrt, SQRT)
#endif
