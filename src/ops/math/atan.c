// SPDX-License-Identifier: Apache-2.0
/* y = arc tangent of x in [-pi/2, pi/2], element by element; infinities give the ends. float within 2 units
 * (simd_angles.h), double and complex by the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(atan)
HC_EW_KERNEL(atan_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_angles.h"

HC_EW_BODY1_VF(atan_F32, vf_atan)
HC_EW_BODY1_BF16(atan_BF16, (void)0, vf_atan(x))
HC_EW_BODY1(atan_F64, double, double, atan)
HC_EW_BODY1(atan_C128, hc_c128, hc_c128, hc_catan)
#else
static const struct hc_ew SPEC = {"aclnnAtan", HC_EW_TABLE_MATH_BF16(atan), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAtan, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAtan, SPEC)
#endif
