// SPDX-License-Identifier: Apache-2.0
/* Gradient of the sigmoid from its output y: g y (1 - y). No exponential; g (1 - y) first, as in PyTorch.
 */
#include "binary.h"
#include "direct_bf16.h"

HC_EW_KERNELS_FLOAT(sigmoid_backward)
HC_EW_KERNEL(sigmoid_backward_BF16)

#ifdef HC_ISA
#include "simd_math.h"

static inline vf backward_vf(vf g, vf y) { return g * (1.0f - y) * y; }
static inline double backward_f64(double g, double y) { return g * (1 - y) * y; }
HC_EW_BODY2_VF(sigmoid_backward_F32, backward_vf)
HC_EW_BODY2_BF16(sigmoid_backward_BF16, (void)0, backward_vf(a, b))
HC_EW_BODY2(sigmoid_backward_F64, double, double, backward_f64)
#else
static const struct hc_ew SPEC = {"aclnnSigmoidBackward", HC_EW_TABLE_FLOAT_BF16(sigmoid_backward), 0,
                                  HC_CLASS_FLOAT};
HC_BINARY(aclnnSigmoidBackward, SPEC)
#endif
