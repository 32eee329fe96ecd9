// SPDX-License-Identifier: Apache-2.0
/* y = hyperbolic cosine of x, element by element; infinite where it overflows. By the C library in
 * double, rounded once. */
#include "unary.h"

HC_EW_KERNELS_MATH(cosh)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float cosh_f32(float x) { return (float)cosh((double)x); }

HC_EW_BODY1(cosh_F32, float, float, cosh_f32)
HC_EW_BODY1(cosh_F64, double, double, cosh)
HC_EW_BODY1(cosh_C128, hc_c128, hc_c128, hc_ccosh)
#else
static const struct hc_ew SPEC = {"aclnnCosh", HC_EW_TABLE_MATH(cosh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnCosh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceCosh, SPEC)
#endif
