// SPDX-License-Identifier: Apache-2.0
/* y = inverse hyperbolic sine of x, element by element; defined everywhere. By the C library in double,
 * rounded once, which also keeps the digits of small x that ln(x + sqrt(x^2 + 1)) would lose. */
#include "unary.h"

HC_EW_KERNELS_MATH(asinh)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float asinh_f32(float x) { return (float)asinh((double)x); }

HC_EW_BODY1(asinh_F32, float, float, asinh_f32)
HC_EW_BODY1(asinh_F64, double, double, asinh)
HC_EW_BODY1(asinh_C128, hc_c128, hc_c128, hc_casinh)
#else
static const struct hc_ew SPEC = {"aclnnAsinh", HC_EW_TABLE_MATH(asinh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAsinh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAsinh, SPEC)
#endif
