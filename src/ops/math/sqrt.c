// SPDX-License-Identifier: Apache-2.0
/* y = square root of x, element by element: correctly rounded, NaN below 0 for real numbers, -0 for -0.
 * The machine's instruction; integers become float. */
#include "unary.h"

HC_EW_KERNELS_MATH(sqrt)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

HC_EW_BODY1(sqrt_F32, float, float, sqrtf)
HC_EW_BODY1(sqrt_F64, double, double, sqrt)
HC_EW_BODY1(sqrt_C128, hc_c128, hc_c128, hc_csqrt)
#else
static const struct hc_ew SPEC = {"aclnnSqrt", HC_EW_TABLE_MATH(sqrt), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnSqrt, SPEC)
HC_UNARY_INPLACE(aclnnInplaceSqrt, SPEC)
#endif
