// SPDX-License-Identifier: Apache-2.0
/* y = min(max(x + 3, 0), 6) / 6, element by element; NaN fails both comparisons and stays. No
 * exponential: that is what the function is for. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(hardsigmoid)
HC_EW_KERNEL(hardsigmoid_BF16)

#ifdef HC_ISA
#include "simd_math.h"

#define CLAMP6(x) ((x) < 0 ? 0 : (x) > 6 ? 6 : (x))
#define HARDSIGMOID(x) (CLAMP6((x) + 3) / 6)

HC_EW_BODY1(hardsigmoid_F32, float, float, HARDSIGMOID)
HC_EW_BODY1_BF16(hardsigmoid_BF16, (void)0, vf_clamp(x + 3.0f, 0.0f, 6.0f) / 6.0f)
HC_EW_BODY1(hardsigmoid_F64, double, double, HARDSIGMOID)
#else
static const struct hc_ew SPEC = {"aclnnHardsigmoid", HC_EW_TABLE_FLOAT_BF16(hardsigmoid), 0, HC_CLASS_FLOAT};
HC_UNARY(aclnnHardsigmoid, SPEC)
HC_UNARY_INPLACE_TYPED(aclnnInplaceHardsigmoid, SPEC, const aclTensor)
#endif
