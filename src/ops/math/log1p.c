// SPDX-License-Identifier: Apache-2.0
/* y = ln(1 + x), element by element, with the digits of small x that 1 + x would lose: within 3 units in
 * float (simd_math.h), the C library in double. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(log1p)
HC_EW_KERNEL(log1p_BF16)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

HC_EW_BODY1_VF(log1p_F32, vf_log1p)
HC_EW_BODY1_BF16(log1p_BF16, (void)0, vf_log1p(x))
HC_EW_BODY1(log1p_F64, double, double, log1p)
#else
static const struct hc_ew SPEC = {"aclnnLog1p", HC_EW_TABLE_FLOAT_BF16(log1p), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnLog1p, SPEC)
HC_UNARY_INPLACE(aclnnInplaceLog1p, SPEC)
#endif
