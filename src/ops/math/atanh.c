// SPDX-License-Identifier: Apache-2.0
/* y = inverse hyperbolic tangent of x, element by element; infinite at -1 and 1, NaN beyond for real
 * numbers. By the C library in double, rounded once. */
#include "unary.h"

HC_EW_KERNELS_MATH(atanh)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float atanh_f32(float x) { return (float)atanh((double)x); }

HC_EW_BODY1(atanh_F32, float, float, atanh_f32)
HC_EW_BODY1(atanh_F64, double, double, atanh)
HC_EW_BODY1(atanh_C128, hc_c128, hc_c128, hc_catanh)
#else
static const struct hc_ew SPEC = {"aclnnAtanh", HC_EW_TABLE_MATH(atanh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAtanh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAtanh, SPEC)
#endif
