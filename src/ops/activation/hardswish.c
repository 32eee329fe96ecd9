// SPDX-License-Identifier: Apache-2.0
/* y = x min(max(x + 3, 0), 6) / 6, element by element; NaN stays. The product comes before the division,
 * as in PyTorch. */
#include "unary.h"

HC_EW_KERNELS_FLOAT(hardswish)

#ifdef HC_ISA
#include <math.h>

#define CLAMP6(x) ((x) < 0 ? 0 : (x) > 6 ? 6 : (x))
#define HARDSWISH(x) ((x) * CLAMP6((x) + 3) / 6)

HC_EW_BODY1(hardswish_F32, float, float, HARDSWISH)
HC_EW_BODY1(hardswish_F64, double, double, HARDSWISH)
#else
static const struct hc_ew SPEC = {"aclnnHardswish", HC_EW_TABLE_FLOAT(hardswish), 0, HC_CLASS_FLOAT};
HC_UNARY_TYPED(aclnnHardswish, SPEC, const aclTensor)
HC_UNARY_INPLACE_TYPED(aclnnInplaceHardswish, SPEC, const aclTensor)
#endif
