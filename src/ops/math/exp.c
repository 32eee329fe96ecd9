// SPDX-License-Identifier: Apache-2.0
/* y = e^x, element by element. float: 2^n times a polynomial of degree 6, within 1 unit, subnormal
 * results included (simd_math.h). double and complex: the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(exp)
HC_EW_KERNEL(exp_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_math.h"

HC_EW_BODY1_VF(exp_F32, vf_exp)
HC_EW_BODY1_BF16(exp_BF16, (void)0, vf_exp(x))
HC_EW_BODY1(exp_F64, double, double, exp)
HC_EW_BODY1(exp_C128, hc_c128, hc_c128, hc_cexp)
#else
static const struct hc_ew SPEC = {"aclnnExp", HC_EW_TABLE_MATH_BF16(exp), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnExp, SPEC)
HC_UNARY_INPLACE(aclnnInplaceExp, SPEC)
#endif
