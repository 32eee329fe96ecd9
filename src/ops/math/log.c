// SPDX-License-Identifier: Apache-2.0
/* y = ln x, element by element: -inf at 0, NaN below for real numbers. float: exponent and a polynomial
 * of the mantissa, within 1 unit, subnormal arguments included (simd_math.h). double and complex: the C
 * library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(log)
HC_EW_KERNEL(log_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_math.h"

HC_EW_BODY1_VF(log_F32, vf_log)
HC_EW_BODY1_BF16(log_BF16, (void)0, vf_log(x))
HC_EW_BODY1(log_F64, double, double, log)
HC_EW_BODY1(log_C128, hc_c128, hc_c128, hc_clog)
#else
static const struct hc_ew SPEC = {"aclnnLog", HC_EW_TABLE_MATH_BF16(log), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnLog, SPEC)
HC_UNARY_INPLACE(aclnnInplaceLog, SPEC)
#endif
