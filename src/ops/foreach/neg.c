// SPDX-License-Identifier: Apache-2.0
/* out = -x, over lists, with the kernels of aclnnNeg. */
#include "foreach.h"

HC_EW_KERNEL(neg_F32)
HC_EW_KERNEL(neg_F64)
HC_EW_KERNEL(neg_I64)
HC_EW_KERNEL(neg_C128)

HC_FOREACH_SPEC4(NEG, "aclnnForeachNeg", neg)
HC_FOREACH_UNARY(aclnnForeachNeg, NEG)
