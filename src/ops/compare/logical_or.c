// SPDX-License-Identifier: Apache-2.0
/* y = a or b of truth values, element by element: anything but 0 is true, NaN included. Operands are
 * blocks of truth values, as in logical_and.c. */
#include "binary.h"

HC_EW_KERNEL(logical_or_B8)

#ifdef HC_ISA
#define COMBINE(a, b) (uint8_t)((a) | (b))
HC_EW_BODY2(logical_or_B8, uint8_t, uint8_t, COMBINE)
#else
static const struct hc_ew SPEC = {"aclnnLogicalOr", {[HC_I64] = logical_or_B8_table}, 7, 0};
HC_BINARY(aclnnLogicalOr, SPEC)
HC_BINARY_INPLACE_TYPED(aclnnInplaceLogicalOr, SPEC, aclTensor)
#endif
