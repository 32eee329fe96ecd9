// SPDX-License-Identifier: Apache-2.0
/* y = floor(x), element by element; integers are themselves. Exact; NaN and infinities pass. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_REAL(floor)
HC_EW_KERNEL(floor_BF16)

#ifdef HC_ISA
#include <math.h>

#define SAME(x) (x)

HC_EW_BODY1(floor_F32, float, float, floorf)
HC_EW_BODY1_BF16(floor_BF16, (void)0, vf_floor(x))
HC_EW_BODY1(floor_F64, double, double, floor)
HC_EW_BODY1(floor_I64, int64_t, int64_t, SAME)
#else
static const struct hc_ew SPEC = {"aclnnFloor", HC_EW_TABLE_REAL_BF16(floor), 0, HC_EW_NO_BOOL};
HC_UNARY(aclnnFloor, SPEC)
HC_UNARY_INPLACE(aclnnInplaceFloor, SPEC)
#endif
