// SPDX-License-Identifier: Apache-2.0
/* y = x / (1 + e^-x), element by element: x times the sigmoid, one exponential. In double the quotient;
 * it is 0 where e^-x overflows. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(silu)
HC_EW_KERNEL(silu_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_math.h"

static inline vf silu_vf(vf x) { return x * vf_sigmoid(x); }
static inline double silu_f64(double x) { return x / (1 + exp(-x)); }
static inline hc_c128 silu_c128(hc_c128 x) {
    return hc_cdiv(x, hc_cadd((hc_c128){1, 0}, hc_cexp((hc_c128){-x.re, -x.im})));
}

HC_EW_BODY1_VF(silu_F32, silu_vf)
HC_EW_BODY1_BF16(silu_BF16, (void)0, silu_vf(x))
HC_EW_BODY1(silu_F64, double, double, silu_f64)
HC_EW_BODY1(silu_C128, hc_c128, hc_c128, silu_c128)
#else
static const struct hc_ew SPEC = {"aclnnSilu", HC_EW_TABLE_MATH_BF16(silu), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnSilu, SPEC)
#endif
