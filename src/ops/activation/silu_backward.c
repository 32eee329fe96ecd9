// SPDX-License-Identifier: Apache-2.0
/* Gradient of SiLU: g s (1 + x (1 - s)) with s = sigmoid(x), computed again from x: x is there anyway,
 * and an exponential costs less than reading s from memory. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_FLOAT(silu_backward)
HC_EW_KERNEL(silu_backward_BF16)

#ifdef HC_ISA
#include "simd_math.h"

static inline vf backward_vf(vf g, vf x) {
    const vf s = vf_sigmoid(x);
    return g * s * vf_fma(x, 1.0f - s, vf_set(1.0f));
}
static inline double backward_f64(double g, double x) {
    const double s = 1 / (1 + exp(-x));
    return g * s * (1 + x * (1 - s));
}
HC_EW_BODY2_VF(silu_backward_F32, backward_vf)
HC_EW_BODY2_BF16(silu_backward_BF16, (void)0, backward_vf(a, b))
HC_EW_BODY2(silu_backward_F64, double, double, backward_f64)
#else
static const struct hc_ew SPEC = {"aclnnSiluBackward", HC_EW_TABLE_FLOAT_BF16(silu_backward), 0,
                                  HC_CLASS_FLOAT};
HC_BINARY(aclnnSiluBackward, SPEC)
#endif
