// SPDX-License-Identifier: Apache-2.0
/* Whether two tensors have the same shape and the same values (NaN equals nothing). Two passes over marks
 * of one byte: the elementwise loop brings every type and stride, the reduction ends it. */

#include "reduce.h"
#include "elementwise.h"

HC_EW_KERNEL(differ_F32)
HC_EW_KERNEL(differ_F64)
HC_EW_KERNEL(differ_I64)
HC_EW_KERNEL(differ_C128)
HC_REDUCE_DECLARE(equal_B8)

#ifdef HC_ISA
/* As kernels, a difference and not an equality, so that the fold is an OR whose identity is 0. */
#define DIFFER(a, b) ((uint8_t)((a) != (b)))
static inline uint8_t differ_c128(hc_c128 a, hc_c128 b) { return a.re != b.re || a.im != b.im; }
HC_EW_BODY2(differ_F32, uint8_t, float, DIFFER)
HC_EW_BODY2(differ_F64, uint8_t, double, DIFFER)
HC_EW_BODY2(differ_I64, uint8_t, int64_t, DIFFER)
HC_EW_BODY2(differ_C128, uint8_t, hc_c128, differ_c128)
#define OR(a, b) ((uint8_t)((a) | (b)))
#define OR_FOLD(s, x, args) OR(s, x)
#define NONE(s, count, args) ((uint8_t)!(s))
HC_REDUCE_BODY(equal_B8, uint8_t, uint8_t, 64, 0, OR_FOLD, OR)
HC_REDUCE_FINISH(equal_B8, uint8_t, uint8_t, NONE)

#else
/* The 1: the output is a truth value, whose dtype does not widen the comparison. */
static const struct hc_ew DIFFER = {"aclnnEqual",
                                    {[HC_F32] = differ_F32_table,
                                     [HC_F64] = differ_F64_table,
                                     [HC_I64] = differ_I64_table,
                                     [HC_C128] = differ_C128_table},
                                    1,
                                    0};
static const struct hc_reduce_kernels EQUAL_B8 = HC_REDUCE_KERNELS(equal_B8, uint8_t, HC_B8, 0);
static const struct hc_reduce EQUAL = {"aclnnEqual", false, {[HC_B8] = &EQUAL_B8}};

/* Other shapes are unequal and no error: one difference stands for all. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *ins[] = {hc_arg(call, 0), hc_arg(call, 1)}, *out = hc_arg(call, 2);
    const bool comparable = hc_same_shape(ins[0], ins[1]);
    uint8_t different = 1;
    /* One difference stands for tensors that cannot be compared. */
    const int64_t shape[] = {comparable ? ins[0]->numel : 1};
    uint8_t *memory = comparable ? hc_block_take(hc_numel(ins[0])) : &different;
    HC_CHECK(memory != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %s", call->name, HC_SHOW(ins[0]));
    const aclTensor flat = hc_tensor_view(ACL_BOOL, shape, 1, memory);
    const aclTensor marks = hc_tensor_view(ACL_BOOL, ins[0]->shape, ins[0]->rank, memory), *outs[] = {&marks};
    aclnnStatus status = comparable ? hc_ew_run(&DIFFER, -1, outs, 1, ins, 2, NULL) : 0;
    aclTensor scalar = *out;
    scalar.rank = 0;
    if (status == 0) status = hc_reduce_run(&EQUAL, HC_B8, &flat, 1, &scalar, NULL, NULL);
    if (comparable) hc_block_give(memory);
    return status;
}

/* torch.equal(self, other), for tensors of one dtype (the client sees to that). There is no early end:
 * the loop runs at the speed of memory, and equal tensors, the usual case, need it whole. */
HC_API aclnnStatus aclnnEqualGetWorkspaceSize(const aclTensor *self, const aclTensor *other, aclTensor *out,
                                              uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self && other && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnEqual: self, other or out is null");
    HC_CHECK(out->numel == 1 && out->dtype == ACL_BOOL, ACLNN_ERR_PARAM_INVALID,
             "aclnnEqual: out is %s, want one bool", HC_SHOW(out));
    return HC_PLAN0("aclnnEqual", run, HC_IN(self), HC_IN(other), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnEqual)
#endif
