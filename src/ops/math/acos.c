// SPDX-License-Identifier: Apache-2.0
/* y = arc cosine of x in [0, pi], element by element; NaN outside [-1, 1] for real numbers. By the C
 * library in double, rounded once: within half a unit of the exact value. A library call an element is
 * slow (tens of ns), but no model's time is spent here. */
#include "unary.h"

HC_EW_KERNELS_MATH(acos)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float acos_f32(float x) { return (float)acos((double)x); }

HC_EW_BODY1(acos_F32, float, float, acos_f32)
HC_EW_BODY1(acos_F64, double, double, acos)
HC_EW_BODY1(acos_C128, hc_c128, hc_c128, hc_cacos)
#else
static const struct hc_ew SPEC = {"aclnnAcos", HC_EW_TABLE_MATH(acos), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAcos, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAcos, SPEC)
#endif
