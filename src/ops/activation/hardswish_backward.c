// SPDX-License-Identifier: Apache-2.0
/* Gradient of hardswish: 0 up to -3, g (x / 3 + 1/2) below 3, g above. V2 has the same arguments and
 * meaning. */
#include "binary.h"

HC_EW_KERNELS_FLOAT(hardswish_backward)

#ifdef HC_ISA
#include "simd_math.h"

static inline float backward_f32(float g, float x) { return x <= -3 ? 0 : x < 3 ? g * (x / 3 + 0.5f) : g; }
static inline double backward_f64(double g, double x) { return x <= -3 ? 0 : x < 3 ? g * (x / 3 + 0.5) : g; }
HC_EW_BODY2(hardswish_backward_F32, float, float, backward_f32)
HC_EW_BODY2(hardswish_backward_F64, double, double, backward_f64)
#else
static const struct hc_ew SPEC = {"aclnnHardswishBackward", HC_EW_TABLE_FLOAT(hardswish_backward), 0,
                                  HC_CLASS_FLOAT};
HC_BINARY(aclnnHardswishBackward, SPEC)
HC_BINARY(aclnnHardswishBackwardV2, SPEC)
#endif
