// SPDX-License-Identifier: Apache-2.0
/* y = hyperbolic sine of x, element by element; infinite where it overflows, small x keep their digits. float
 * within 2 units (simd_hyperbolic.h), double and complex by the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(sinh)
HC_EW_KERNEL(sinh_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_hyperbolic.h"

HC_EW_BODY1_VF(sinh_F32, vf_sinh)
HC_EW_BODY1_BF16(sinh_BF16, (void)0, vf_sinh(x))
HC_EW_BODY1(sinh_F64, double, double, sinh)
HC_EW_BODY1(sinh_C128, hc_c128, hc_c128, hc_csinh)
#else
static const struct hc_ew SPEC = {"aclnnSinh", HC_EW_TABLE_MATH_BF16(sinh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnSinh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceSinh, SPEC)
#endif
