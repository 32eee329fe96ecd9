// SPDX-License-Identifier: Apache-2.0
/* y = arc tangent of x in [-pi/2, pi/2], element by element; infinities give the ends. By the C library
 * in double, rounded once. */
#include "unary.h"

HC_EW_KERNELS_MATH(atan)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float atan_f32(float x) { return (float)atan((double)x); }

HC_EW_BODY1(atan_F32, float, float, atan_f32)
HC_EW_BODY1(atan_F64, double, double, atan)
HC_EW_BODY1(atan_C128, hc_c128, hc_c128, hc_catan)
#else
static const struct hc_ew SPEC = {"aclnnAtan", HC_EW_TABLE_MATH(atan), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAtan, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAtan, SPEC)
#endif
