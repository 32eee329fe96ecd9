// SPDX-License-Identifier: Apache-2.0
/* y = inverse hyperbolic sine of x, element by element; defined everywhere. float within 2 units, small x too
 * (simd_hyperbolic.h), double and complex by the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(asinh)
HC_EW_KERNEL(asinh_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_hyperbolic.h"

HC_EW_BODY1_VF(asinh_F32, vf_asinh)
HC_EW_BODY1_BF16(asinh_BF16, (void)0, vf_asinh(x))
HC_EW_BODY1(asinh_F64, double, double, asinh)
HC_EW_BODY1(asinh_C128, hc_c128, hc_c128, hc_casinh)
#else
static const struct hc_ew SPEC = {"aclnnAsinh", HC_EW_TABLE_MATH_BF16(asinh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAsinh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAsinh, SPEC)
#endif
