// SPDX-License-Identifier: Apache-2.0
/* y = square root of x, element by element: correctly rounded, NaN below 0 for real numbers, -0 for -0.
 * The machine's instruction, or products where those are faster; integers become float. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(sqrt)
HC_EW_KERNEL(sqrt_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_math.h"

HC_EW_BODY1_VF(sqrt_F32, vf_sqrt_fast)
HC_EW_BODY1_BF16(sqrt_BF16, (void)0, vf_sqrt_fast(x))
HC_EW_BODY1(sqrt_F64, double, double, sqrt)
HC_EW_BODY1(sqrt_C128, hc_c128, hc_c128, hc_csqrt)
#else
static const struct hc_ew SPEC = {"aclnnSqrt", HC_EW_TABLE_MATH_BF16(sqrt), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnSqrt, SPEC)
HC_UNARY_INPLACE(aclnnInplaceSqrt, SPEC)
#endif
