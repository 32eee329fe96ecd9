// SPDX-License-Identifier: Apache-2.0
/* y = hyperbolic sine of x, element by element; infinite where it overflows. By the C library in double,
 * rounded once, which keeps the digits of small x. */
#include "unary.h"

HC_EW_KERNELS_MATH(sinh)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float sinh_f32(float x) { return (float)sinh((double)x); }

HC_EW_BODY1(sinh_F32, float, float, sinh_f32)
HC_EW_BODY1(sinh_F64, double, double, sinh)
HC_EW_BODY1(sinh_C128, hc_c128, hc_c128, hc_csinh)
#else
static const struct hc_ew SPEC = {"aclnnSinh", HC_EW_TABLE_MATH(sinh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnSinh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceSinh, SPEC)
#endif
