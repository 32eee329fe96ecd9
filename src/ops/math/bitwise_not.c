// SPDX-License-Identifier: Apache-2.0
/* y = complement of x bit by bit, for integers; of bools the negation, so the two need blocks of their
 * own: the complement of 1 as a number is not 0. */
#include "elementwise.h"

HC_EW_KERNEL(bitwise_not_I64)
HC_EW_KERNEL(bitwise_not_B8)

#ifdef HC_ISA
#define COMPLEMENT(x) (~(x))
#define NEGATION(x) (uint8_t)((x) ^ 1)
HC_EW_BODY1(bitwise_not_I64, int64_t, int64_t, COMPLEMENT)
HC_EW_BODY1(bitwise_not_B8, uint8_t, uint8_t, NEGATION)
#else
static const struct hc_ew INTEGERS = {"aclnnBitwiseNot", {[HC_I64] = bitwise_not_I64_table}, 0, 0};
static const struct hc_ew BOOLS = {"aclnnBitwiseNot", {[HC_I64] = bitwise_not_B8_table}, 3, 0};

/* torch.bitwise_not(self); floats have no kernel and are refused. */
HC_API aclnnStatus aclnnBitwiseNotGetWorkspaceSize(const aclTensor *self, aclTensor *out,
                                                   uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {self};
    return hc_ew_plan(self != NULL && self->dtype == ACL_BOOL ? &BOOLS : &INTEGERS, HC_CLASS_BOOL, outs, 1,
                      ins, 1, NULL, 0, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnBitwiseNot)
#endif
