// SPDX-License-Identifier: Apache-2.0
/* y = x min(max(x + 3, 0), 6) / 6, element by element; NaN stays. The product comes before the division,
 * as in PyTorch. */
#include "direct_bf16.h"
#include "unary.h"

HC_EW_KERNELS_FLOAT(hardswish)
HC_EW_KERNEL(hardswish_BF16)

#ifdef HC_ISA
#include "simd_math.h"

#define CLAMP6(x) ((x) < 0 ? 0 : (x) > 6 ? 6 : (x))
#define HARDSWISH(x) ((x) * CLAMP6((x) + 3) / 6)

HC_EW_BODY1(hardswish_F32, float, float, HARDSWISH)
HC_EW_BODY1_BF16(hardswish_BF16, (void)0, x *vf_clamp(x + 3.0f, 0.0f, 6.0f) / 6.0f)
HC_EW_BODY1(hardswish_F64, double, double, HARDSWISH)
#else
static const struct hc_ew SPEC = {"aclnnHardswish", HC_EW_TABLE_FLOAT_BF16(hardswish), 0, HC_CLASS_FLOAT};
HC_UNARY_TYPED(aclnnHardswish, SPEC, const aclTensor)
HC_UNARY_INPLACE_TYPED(aclnnInplaceHardswish, SPEC, const aclTensor)
#endif
