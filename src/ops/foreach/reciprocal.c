// SPDX-License-Identifier: Apache-2.0
/* out = 1 / x, over lists. */
#include "foreach.h"

HC_EW_KERNEL(foreach_reciprocal_F32)
HC_EW_KERNEL(foreach_reciprocal_F64)

#ifdef HC_ISA
#define RECIPROCAL_F32(x) (1.0f / (x))
#define RECIPROCAL_F64(x) (1.0 / (x))
HC_EW_BODY1(foreach_reciprocal_F32, float, float, RECIPROCAL_F32)
HC_EW_BODY1(foreach_reciprocal_F64, double, double, RECIPROCAL_F64)
#else
HC_FOREACH_SPEC2(RECIPROCAL, "aclnnForeachReciprocal", foreach_reciprocal)
HC_FOREACH_UNARY(aclnnForeachReciprocal, RECIPROCAL)
#endif
