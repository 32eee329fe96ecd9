// SPDX-License-Identifier: Apache-2.0
/* y = not x of truth values, element by element: anything but 0 is true, NaN included. Bytes of bool
 * memory are taken as they are. */
#include "unary.h"

HC_EW_KERNEL(logical_not_B8)

#ifdef HC_ISA
#define NOT(x) (uint8_t)((x) == 0)
HC_EW_BODY1(logical_not_B8, uint8_t, uint8_t, NOT)
#else
static const struct hc_ew SPEC = {"aclnnLogicalNot", {[HC_I64] = logical_not_B8_table}, 3, HC_EW_ANY_BYTE};
HC_UNARY(aclnnLogicalNot, SPEC)
HC_UNARY_INPLACE(aclnnInplaceLogicalNot, SPEC)
#endif
