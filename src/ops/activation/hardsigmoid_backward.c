// SPDX-License-Identifier: Apache-2.0
/* Gradient of hardsigmoid: g / 6 between -3 and 3, else 0 (also at the corners, as in PyTorch). */
#include "binary.h"

HC_EW_KERNELS_FLOAT(hardsigmoid_backward)

#ifdef HC_ISA
#include "simd_math.h"

static inline float backward_f32(float g, float x) { return x > -3 && x < 3 ? g / 6 : 0; }
static inline double backward_f64(double g, double x) { return x > -3 && x < 3 ? g / 6 : 0; }
HC_EW_BODY2(hardsigmoid_backward_F32, float, float, backward_f32)
HC_EW_BODY2(hardsigmoid_backward_F64, double, double, backward_f64)
#else
static const struct hc_ew SPEC = {"aclnnHardsigmoidBackward", HC_EW_TABLE_FLOAT(hardsigmoid_backward), 0,
                                  HC_CLASS_FLOAT};
HC_BINARY(aclnnHardsigmoidBackward, SPEC)
#endif
