// SPDX-License-Identifier: Apache-2.0
/* y = 1 / sqrt(x), element by element: within 1 unit where the machine's estimate can be improved
 * (simd_math.h), elsewhere two correctly rounded steps, 1.5 units together. Infinite at 0, NaN below for real
 * numbers. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(rsqrt)
HC_EW_KERNEL(rsqrt_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_math.h"

static inline double rsqrt_f64(double x) { return 1.0 / sqrt(x); }
static inline hc_c128 rsqrt_c128(hc_c128 x) { return hc_crecip(hc_csqrt(x)); }

HC_EW_BODY1_VF(rsqrt_F32, vf_rsqrt)
HC_EW_BODY1_BF16(rsqrt_BF16, (void)0, vf_rsqrt(x))
HC_EW_BODY1(rsqrt_F64, double, double, rsqrt_f64)
HC_EW_BODY1(rsqrt_C128, hc_c128, hc_c128, rsqrt_c128)
#else
static const struct hc_ew SPEC = {"aclnnRsqrt", HC_EW_TABLE_MATH_BF16(rsqrt), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnRsqrt, SPEC)
HC_UNARY_INPLACE(aclnnInplaceRsqrt, SPEC)
#endif
