// SPDX-License-Identifier: Apache-2.0
/* y = ln(1 / (1 + e^-x)) = min(x, 0) - ln(1 + e^-|x|), element by element: the second form neither
 * overflows nor cancels, and log1p keeps the digits of a large x. */
#include "unary.h"

HC_EW_KERNELS_FLOAT(log_sigmoid)

#ifdef HC_ISA
#include <math.h>

#include "simd_math.h"

/* vf_select, and not a minimum, which would lose NaN. */
static inline vf log_sigmoid_vf(vf x) {
    return vf_select(x > 0.0f, vf_zero(), x) - vf_log1p(vf_exp(-vf_abs(x)));
}
static inline double log_sigmoid_f64(double x) { return (x > 0 ? 0 : x) - log1p(exp(-fabs(x))); }

HC_EW_BODY1_VF(log_sigmoid_F32, log_sigmoid_vf)
HC_EW_BODY1(log_sigmoid_F64, double, double, log_sigmoid_f64)
#else
static const struct hc_ew SPEC = {"aclnnLogSigmoid", HC_EW_TABLE_FLOAT(log_sigmoid), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnLogSigmoid, SPEC)
#endif
