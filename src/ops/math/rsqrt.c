// SPDX-License-Identifier: Apache-2.0
/* y = 1 / sqrt(x), element by element: both steps correctly rounded, 1.5 units together, where the
 * machine's estimate has 12 to 14 bits. Infinite at 0, NaN below for real numbers. */
#include "unary.h"

HC_EW_KERNELS_MATH(rsqrt)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"

static inline float rsqrt_f32(float x) { return 1.0f / sqrtf(x); }
static inline double rsqrt_f64(double x) { return 1.0 / sqrt(x); }
static inline hc_c128 rsqrt_c128(hc_c128 x) { return hc_crecip(hc_csqrt(x)); }

HC_EW_BODY1(rsqrt_F32, float, float, rsqrt_f32)
HC_EW_BODY1(rsqrt_F64, double, double, rsqrt_f64)
HC_EW_BODY1(rsqrt_C128, hc_c128, hc_c128, rsqrt_c128)
#else
static const struct hc_ew SPEC = {"aclnnRsqrt", HC_EW_TABLE_MATH(rsqrt), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnRsqrt, SPEC)
HC_UNARY_INPLACE(aclnnInplaceRsqrt, SPEC)
#endif
