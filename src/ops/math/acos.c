// SPDX-License-Identifier: Apache-2.0
/* y = arc cosine of x in [0, pi], element by element; NaN outside [-1, 1] for real numbers. float within 2
 * units (simd_angles.h), double and complex by the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(acos)
HC_EW_KERNEL(acos_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_angles.h"

HC_EW_BODY1_VF(acos_F32, vf_acos)
HC_EW_BODY1_BF16(acos_BF16, (void)0, vf_acos(x))
HC_EW_BODY1(acos_F64, double, double, acos)
HC_EW_BODY1(acos_C128, hc_c128, hc_c128, hc_cacos)
#else
static const struct hc_ew SPEC = {"aclnnAcos", HC_EW_TABLE_MATH_BF16(acos), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnAcos, SPEC)
HC_UNARY_INPLACE(aclnnInplaceAcos, SPEC)
#endif
