// SPDX-License-Identifier: Apache-2.0
/* y = arc sine of x in [-pi/2, pi/2], element by element; NaN outside [-1, 1] for real numbers. By the C
 * library in double, rounded once: within half a unit of the exact value. */
#include "unary.h"

HC_EW_KERNELS_MATH(asin)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float asin_f32(float x) { return (float)asin((double)x); }

HC_EW_BODY1(asin_F32, float, float, asin_f32)
HC_EW_BODY1(asin_F64, double, double, asin)
HC_EW_BODY1(asin_C128, hc_c128, hc_c128, hc_casin)
#else
static const struct hc_ew SPEC = {"aclnnAsin", HC_EW_TABLE_MATH(asin), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAsin, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAsin, SPEC)
#endif
