// SPDX-License-Identifier: Apache-2.0
/* y = x tanh(ln(1 + e^x)), element by element. With w = e^x the factor is (w^2 + 2w) / (w^2 + 2w + 2):
 * one exponential in place of three functions, and no cancellation, as all terms are positive. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(mish)
HC_EW_KERNEL(mish_BF16)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

/* Beyond 20 the factor is 1 in float, and w^2 would overflow. */
static inline vf mish_vf(vf x) {
    const vf w = vf_exp(vf_select(x > 20.0f, vf_set(20.0f), x)), n = w * (w + 2.0f);
    return vf_select(x > 20.0f, x, x * (n / (n + 2.0f)));
}
static inline double mish_f64(double x) { return x * tanh(log1p(exp(x))); }

HC_EW_BODY1_VF(mish_F32, mish_vf)
HC_EW_BODY1_BF16(mish_BF16, (void)0, mish_vf(x))
HC_EW_BODY1(mish_F64, double, double, mish_f64)
#else
static const struct hc_ew SPEC = {"aclnnMish", HC_EW_TABLE_FLOAT_BF16(mish), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnMish, SPEC)
HC_UNARY_INPLACE(aclnnInplaceMish, SPEC)
#endif
