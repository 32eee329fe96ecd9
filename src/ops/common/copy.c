// SPDX-License-Identifier: Apache-2.0
/* hc_copy: elements of one view into another, converting. The identity kernel of the elementwise skeleton. */
#include "elementwise.h"

HC_EW_KERNEL(copy_F32)
HC_EW_KERNEL(copy_F64)
HC_EW_KERNEL(copy_I64)
HC_EW_KERNEL(copy_C128)

#ifdef HC_ISA
#define SAME(x) (x)
HC_EW_BODY1(copy_F32, float, float, SAME)
HC_EW_BODY1(copy_F64, double, double, SAME)
HC_EW_BODY1(copy_I64, int64_t, int64_t, SAME)
HC_EW_BODY1(copy_C128, hc_c128, hc_c128, SAME)
#else
static const struct hc_ew COPY = {
    "copy", {[HC_F32] = copy_F32_table, [HC_F64] = copy_F64_table, [HC_I64] = copy_I64_table, [HC_C128] = copy_C128_table}, 0, 0};

aclnnStatus hc_copy(const aclTensor *dst, const aclTensor *src) {
    const aclTensor *outs[] = {dst}, *ins[] = {src};
    return hc_ew_run(&COPY, -1, outs, 1, ins, 1, NULL);
}
#endif
