// SPDX-License-Identifier: Apache-2.0
/* y = trunc(x), toward zero, element by element; integers are themselves. Exact; NaN and infinities pass.
 */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_REAL(trunc)
HC_EW_KERNEL(trunc_BF16)

#ifdef HC_ISA
#include <math.h>

#define SAME(x) (x)

HC_EW_BODY1(trunc_F32, float, float, truncf)
HC_EW_BODY1_BF16(trunc_BF16, (void)0, vf_trunc(x))
HC_EW_BODY1(trunc_F64, double, double, trunc)
HC_EW_BODY1(trunc_I64, int64_t, int64_t, SAME)
#else
static const struct hc_ew SPEC = {"aclnnTrunc", HC_EW_TABLE_REAL_BF16(trunc), 0, HC_EW_NO_BOOL};
HC_UNARY(aclnnTrunc, SPEC)
HC_UNARY_INPLACE(aclnnInplaceTrunc, SPEC)
#endif
