// SPDX-License-Identifier: Apache-2.0
/* y = e^x, element by element. float: 2^n times a polynomial of degree 6, within 1 unit, subnormal
 * results included (simd_math.h). double and complex: the C library. */
#include "unary.h"

HC_EW_KERNELS_MATH(exp)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_math.h"

HC_EW_BODY1_VF(exp_F32, vf_exp)
HC_EW_BODY1(exp_F64, double, double, exp)
HC_EW_BODY1(exp_C128, hc_c128, hc_c128, hc_cexp)
#else
static const struct hc_ew SPEC = {"aclnnExp", HC_EW_TABLE_MATH(exp), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnExp, SPEC)
HC_UNARY_INPLACE(aclnnInplaceExp, SPEC)
#endif
