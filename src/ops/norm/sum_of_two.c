// SPDX-License-Identifier: Apache-2.0
/* hc_sum_of_two: the addition kernel of the elementwise skeleton. Its own kernel and not that of
 * math/add.c, which multiplies by alpha and plans. */
#include "sum_of_two.h"

HC_EW_KERNEL(sum_of_two_F32)
HC_EW_KERNEL(sum_of_two_F64)

#ifdef HC_ISA
#define ADD(a, b) ((a) + (b))
HC_EW_BODY2(sum_of_two_F32, float, float, ADD)
HC_EW_BODY2(sum_of_two_F64, double, double, ADD)
#else
/* Not aclnnAdd: that plans, and this is called from a run. */
aclnnStatus hc_sum_of_two(const char *name, const aclTensor *out, const aclTensor *a, const aclTensor *b) {
    const struct hc_ew add = {.name = name,
                              .kernel = {[HC_F32] = sum_of_two_F32_table, [HC_F64] = sum_of_two_F64_table}};
    const aclTensor *outs[] = {out}, *ins[] = {a, b};
    return hc_ew_run(&add, -1, outs, 1, ins, 2, NULL);
}
#endif
