// SPDX-License-Identifier: Apache-2.0
/* y = inverse hyperbolic tangent of x, element by element; infinite at -1 and 1, NaN beyond for real numbers.
 * float within 2 units (simd_hyperbolic.h), double and complex by the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(atanh)
HC_EW_KERNEL(atanh_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_hyperbolic.h"

HC_EW_BODY1_VF(atanh_F32, vf_atanh)
HC_EW_BODY1_BF16(atanh_BF16, (void)0, vf_atanh(x))
HC_EW_BODY1(atanh_F64, double, double, atanh)
HC_EW_BODY1(atanh_C128, hc_c128, hc_c128, hc_catanh)
#else
static const struct hc_ew SPEC = {"aclnnAtanh", HC_EW_TABLE_MATH_BF16(atanh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAtanh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAtanh, SPEC)
#endif
