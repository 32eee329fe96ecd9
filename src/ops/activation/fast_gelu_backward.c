// SPDX-License-Identifier: Apache-2.0
/* Gradient of x sigmoid(1.702 x): g s (1 + 1.702 x (1 - s)), with s the sigmoid. The sigmoid is computed
 * again rather than saved: it costs less than the memory. */
#include "binary.h"

HC_EW_KERNELS_FLOAT(fast_gelu_backward)

#ifdef HC_ISA
#include "simd_math.h"

static inline vf backward_vf(vf g, vf x) {
    const vf u = x * 1.702f, s = vf_sigmoid(u);
    return g * s * vf_fma(u, 1.0f - s, vf_set(1.0f));
}
static inline double backward_f64(double g, double x) {
    const double u = 1.702 * x, s = 1 / (1 + exp(-u));
    return g * s * (1 + u * (1 - s));
}
HC_EW_BODY2_VF(fast_gelu_backward_F32, backward_vf)
HC_EW_BODY2(fast_gelu_backward_F64, double, double, backward_f64)
#else
static const struct hc_ew SPEC = {"aclnnFastGeluBackward", HC_EW_TABLE_FLOAT(fast_gelu_backward), 0,
                                  HC_CLASS_FLOAT};
HC_BINARY(aclnnFastGeluBackward, SPEC)
#endif
