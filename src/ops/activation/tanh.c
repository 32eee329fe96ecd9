// SPDX-License-Identifier: Apache-2.0
/* y = tanh(x), element by element. float: an odd polynomial below 0.625, 1 - 2 / (e^2|x| + 1) beyond,
 * within 2 units (simd_math.h). double and complex: the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(tanh)
HC_EW_KERNEL(tanh_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_math.h"

HC_EW_BODY1_VF(tanh_F32, vf_tanh)
HC_EW_BODY1_BF16(tanh_BF16, (void)0, vf_tanh(x))
HC_EW_BODY1(tanh_F64, double, double, tanh)
HC_EW_BODY1(tanh_C128, hc_c128, hc_c128, hc_ctanh)
#else
static const struct hc_ew SPEC = {"aclnnTanh", HC_EW_TABLE_MATH_BF16(tanh), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnTanh, SPEC)
HC_UNARY_INPLACE(aclnnInplaceTanh, SPEC)
#endif
