// SPDX-License-Identifier: Apache-2.0
/* y = a xor b of truth values, element by element: anything but 0 is true, NaN included. Operands are
 * blocks of truth values, as in logical_and.c. */
#include "binary.h"

HC_EW_KERNEL(logical_xor_B8)

#ifdef HC_ISA
#define COMBINE(a, b) (uint8_t)((a) ^ (b))
HC_EW_BODY2(logical_xor_B8, uint8_t, uint8_t, COMBINE)
#else
static const struct hc_ew SPEC = {"aclnnLogicalXor", {[HC_I64] = logical_xor_B8_table}, 7, 0};
HC_BINARY(aclnnLogicalXor, SPEC)
#endif
