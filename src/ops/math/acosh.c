// SPDX-License-Identifier: Apache-2.0
/* y = inverse hyperbolic cosine of x, element by element; NaN below 1 for real numbers. float within 2 units
 * (simd_hyperbolic.h), double and complex by the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(acosh)
HC_EW_KERNEL(acosh_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_hyperbolic.h"

HC_EW_BODY1_VF(acosh_F32, vf_acosh)
HC_EW_BODY1_BF16(acosh_BF16, (void)0, vf_acosh(x))
HC_EW_BODY1(acosh_F64, double, double, acosh)
HC_EW_BODY1(acosh_C128, hc_c128, hc_c128, hc_cacosh)
#else
static const struct hc_ew SPEC = {"aclnnAcosh", HC_EW_TABLE_MATH_BF16(acosh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAcosh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAcosh, SPEC)
#endif
