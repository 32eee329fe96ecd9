// SPDX-License-Identifier: Apache-2.0
/* y = arc sine of x in [-pi/2, pi/2], element by element; NaN outside [-1, 1] for real numbers. float within
 * 2 units (simd_angles.h), double and complex by the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(asin)
HC_EW_KERNEL(asin_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_angles.h"

HC_EW_BODY1_VF(asin_F32, vf_asin)
HC_EW_BODY1_BF16(asin_BF16, (void)0, vf_asin(x))
HC_EW_BODY1(asin_F64, double, double, asin)
HC_EW_BODY1(asin_C128, hc_c128, hc_c128, hc_casin)
#else
static const struct hc_ew SPEC = {"aclnnAsin", HC_EW_TABLE_MATH_BF16(asin), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAsin, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAsin, SPEC)
#endif
