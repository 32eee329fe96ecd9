// SPDX-License-Identifier: Apache-2.0
/* Gradient of x t, t = tanh(ln(1 + e^x)): g (t + x s (1 - t^2)) with s = sigmoid(x). ln(1 + e^x) is x
 * beyond 20, where e^x would soon overflow. */
#include "binary.h"

HC_EW_KERNELS_FLOAT(mish_backward)

#ifdef HC_ISA
#include "simd_math.h"

/* s is needed apart from t: the derivative of ln(1 + e^x) is the sigmoid. */
static inline vf backward_vf(vf g, vf x) {
    const vf t = vf_tanh(vf_select(x > 20.0f, x, vf_log1p(vf_exp(x)))), s = vf_sigmoid(x);
    return g * (t + x * s * (1.0f - t * t));
}
static inline double backward_f64(double g, double x) {
    const double t = tanh(log1p(exp(x))), s = 1 / (1 + exp(-x));
    return g * (t + x * s * (1 - t * t));
}
HC_EW_BODY2_VF(mish_backward_F32, backward_vf)
HC_EW_BODY2(mish_backward_F64, double, double, backward_f64)
#else
static const struct hc_ew SPEC = {"aclnnMishBackward", HC_EW_TABLE_FLOAT(mish_backward), 0, HC_CLASS_FLOAT};
HC_BINARY(aclnnMishBackward, SPEC)
#endif
