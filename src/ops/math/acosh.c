// SPDX-License-Identifier: Apache-2.0
/* y = inverse hyperbolic cosine of x, element by element; NaN below 1 for real numbers. By the C library
 * in double, rounded once: accuracy comes before speed for a function that models do not use in bulk. */
#include "unary.h"

HC_EW_KERNELS_MATH(acosh)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float acosh_f32(float x) { return (float)acosh((double)x); }

HC_EW_BODY1(acosh_F32, float, float, acosh_f32)
HC_EW_BODY1(acosh_F64, double, double, acosh)
HC_EW_BODY1(acosh_C128, hc_c128, hc_c128, hc_cacosh)
#else
static const struct hc_ew SPEC = {"aclnnAcosh", HC_EW_TABLE_MATH(acosh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAcosh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAcosh, SPEC)
#endif
