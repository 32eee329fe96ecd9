// SPDX-License-Identifier: Apache-2.0
/* Gradient of hardswish: 0 up to -3, g (x / 3 + 1/2) below 3, g above. V2 has the same arguments and
 * meaning. */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_FLOAT(hardswish_backward)
HC_EW_KERNEL(hardswish_backward_BF16)

#ifdef HC_ISA
#include "simd_math.h"

static inline vf backward_vf(vf g, vf x) {
    const vf inside = vf_select(x < 3.0f, g * (x / 3.0f + 0.5f), g);
    return vf_select(x <= -3.0f, vf_zero(), inside);
}
static inline double backward_f64(double g, double x) { return x <= -3 ? 0 : x < 3 ? g * (x / 3 + 0.5) : g; }
HC_EW_BODY2_VF(hardswish_backward_F32, backward_vf)
HC_EW_BODY2_BF16(hardswish_backward_BF16, (void)0, backward_vf(a, b))
HC_EW_BODY2(hardswish_backward_F64, double, double, backward_f64)
#else
static const struct hc_ew SPEC = {"aclnnHardswishBackward", HC_EW_TABLE_FLOAT_BF16(hardswish_backward), 0,
                                  HC_CLASS_FLOAT};
HC_BINARY(aclnnHardswishBackward, SPEC)
HC_BINARY(aclnnHardswishBackwardV2, SPEC)
#endif
