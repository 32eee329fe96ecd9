// SPDX-License-Identifier: Apache-2.0
/* y = ceil(x), element by element; integers are themselves. Exact; -0.5 gives -0, NaN and infinities
 * pass. One instruction where the set has rounding, so bound by memory. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_REAL(ceil)
HC_EW_KERNEL(ceil_BF16)

#ifdef HC_ISA
#include <math.h>

#define SAME(x) (x)

HC_EW_BODY1(ceil_F32, float, float, ceilf)
HC_EW_BODY1_BF16(ceil_BF16, (void)0, vf_ceil(x))
HC_EW_BODY1(ceil_F64, double, double, ceil)
HC_EW_BODY1(ceil_I64, int64_t, int64_t, SAME)
#else
static const struct hc_ew SPEC = {"aclnnCeil", HC_EW_TABLE_REAL_BF16(ceil), 0, HC_EW_NO_BOOL};
HC_UNARY(aclnnCeil, SPEC)
HC_UNARY_INPLACE(aclnnInplaceCeil, SPEC)
#endif
