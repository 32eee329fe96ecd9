// SPDX-License-Identifier: Apache-2.0
/* y = a and b of truth values, element by element: anything but 0 is true, NaN included. All three
 * operands are blocks of truth values (bits 0 to 2 of `truth`), so the block type of the rest (I64) is
 * only a name for the kernel. */
#include "binary.h"

HC_EW_KERNEL(logical_and_B8)

#ifdef HC_ISA
#define COMBINE(a, b) (uint8_t)((a) & (b))
HC_EW_BODY2(logical_and_B8, uint8_t, uint8_t, COMBINE)
#else
static const struct hc_ew SPEC = {"aclnnLogicalAnd", {[HC_I64] = logical_and_B8_table}, 7, 0};
HC_BINARY(aclnnLogicalAnd, SPEC)
HC_BINARY_INPLACE_TYPED(aclnnInplaceLogicalAnd, SPEC, aclTensor)
#endif
