// SPDX-License-Identifier: Apache-2.0
/* y = hyperbolic cosine of x, element by element; infinite where it overflows. float within 2 units
 * (simd_hyperbolic.h), double and complex by the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(cosh)
HC_EW_KERNEL(cosh_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_hyperbolic.h"

HC_EW_BODY1_VF(cosh_F32, vf_cosh)
HC_EW_BODY1_BF16(cosh_BF16, (void)0, vf_cosh(x))
HC_EW_BODY1(cosh_F64, double, double, cosh)
HC_EW_BODY1(cosh_C128, hc_c128, hc_c128, hc_ccosh)
#else
static const struct hc_ew SPEC = {"aclnnCosh", HC_EW_TABLE_MATH_BF16(cosh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnCosh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceCosh, SPEC)
#endif
