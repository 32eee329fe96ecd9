// SPDX-License-Identifier: Apache-2.0
/* y = floor(x), element by element; integers are themselves. Exact; NaN and infinities pass. */
#include "unary.h"

HC_EW_KERNELS_REAL(floor)

#ifdef HC_ISA
#include <math.h>

#define SAME(x) (x)

HC_EW_BODY1(floor_F32, float, float, floorf)
HC_EW_BODY1(floor_F64, double, double, floor)
HC_EW_BODY1(floor_I64, int64_t, int64_t, SAME)
#else
static const struct hc_ew SPEC = {"aclnnFloor", HC_EW_TABLE_REAL(floor), 0, HC_EW_NO_BOOL};
HC_UNARY(aclnnFloor, SPEC)
HC_UNARY_INPLACE(aclnnInplaceFloor, SPEC)
#endif
