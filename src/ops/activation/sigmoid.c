// SPDX-License-Identifier: Apache-2.0
/* y = 1 / (1 + e^-x), element by element. float: from e^-|x|, which never overflows, within 3 units down
 * to the subnormal results of x = -100 (simd_math.h). double and complex: the C library. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_MATH(sigmoid)
HC_EW_KERNEL(sigmoid_BF16)

#ifdef HC_ISA
#include <math.h>

#include "complex_math.h"
#include "simd_math.h"

static inline double sigmoid_f64(double x) { return 1 / (1 + exp(-x)); }
static inline hc_c128 sigmoid_c128(hc_c128 x) {
    return hc_crecip(hc_cadd((hc_c128){1, 0}, hc_cexp((hc_c128){-x.re, -x.im})));
}

HC_EW_BODY1_VF(sigmoid_F32, vf_sigmoid)
HC_EW_BODY1_BF16(sigmoid_BF16, (void)0, vf_sigmoid(x))
HC_EW_BODY1(sigmoid_F64, double, double, sigmoid_f64)
HC_EW_BODY1(sigmoid_C128, hc_c128, hc_c128, sigmoid_c128)
#else
static const struct hc_ew SPEC = {"aclnnSigmoid", HC_EW_TABLE_MATH_BF16(sigmoid), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnSigmoid, SPEC)
HC_UNARY_INPLACE(aclnnInplaceSigmoid, SPEC)
#endif
