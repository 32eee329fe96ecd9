// SPDX-License-Identifier: Apache-2.0
/* y = self << bits and self >> bits, element by element, for integers. A count that is negative or 64 and
 * more shifts everything out, as in PyTorch: 0, or copies of the sign to the right. C leaves such counts
 * undefined, so they are sorted out first; what leaves a narrower type on the left is cut when the result
 * is stored. */
#include "binary.h"

HC_EW_KERNEL(left_shift_I64)
HC_EW_KERNEL(left_shifts_I64)
HC_EW_KERNEL(right_shift_I64)

#ifdef HC_ISA
/* Shifted as unsigned: a sign that goes through is undefined in C otherwise. */
static inline int64_t left(int64_t a, int64_t bits) {
    return bits < 0 || bits > 63 ? 0 : (int64_t)((uint64_t)a << bits);
}
static inline int64_t right(int64_t a, int64_t bits) { return a >> (bits < 0 || bits > 63 ? 63 : bits); }
HC_EW_BODY2(left_shift_I64, int64_t, int64_t, left)
HC_EW_BODY_SCALAR(left_shifts, I64, int64_t, left(x, s))
HC_EW_BODY2(right_shift_I64, int64_t, int64_t, right)
#else
static const struct hc_ew LEFT = {"aclnnLeftShift", {[HC_I64] = left_shift_I64_table}, 0, HC_EW_NO_BOOL};
static const struct hc_ew LEFT_SCALAR = {
    "aclnnLeftShifts", {[HC_I64] = left_shifts_I64_table}, 0, HC_EW_NO_BOOL};
static const struct hc_ew RIGHT = {"aclnnRightShift", {[HC_I64] = right_shift_I64_table}, 0, HC_EW_NO_BOOL};
HC_BINARY(aclnnLeftShift, LEFT)
HC_SCALAR(aclnnLeftShifts, LEFT_SCALAR)
HC_BINARY(aclnnRightShift, RIGHT)
#endif
