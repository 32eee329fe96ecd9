// SPDX-License-Identifier: Apache-2.0
/* y = condition ? self : other, element by element. Both sides are loaded before the choice, so that the loop
 * is a select without a branch. */
#include "elementwise.h"

HC_EW_KERNELS_ALL(where)

#ifdef HC_ISA
#define BODY(block)                                                                                          \
    void HC_FN(where_##block)(size_t n, void *const *out, const void *const *in, const void *args) {         \
        hc_block_##block *y = out[0];                                                                        \
        const uint8_t *condition = in[0];                                                                    \
        const hc_block_##block *a = in[1], *b = in[2];                                                       \
        (void)args;                                                                                          \
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) {                                                \
            const hc_block_##block yes = a[i], no = b[i];                                                    \
            y[i] = condition[i] ? yes : no;                                                                  \
        }                                                                                                    \
    }
BODY(F32)
BODY(F64)
BODY(I64)
BODY(C128)
#else
/* Bit 1 of `truth`: input 0 (operand 1, after the output) is a truth value; of uint8 anything but 0 is true.
 */
static const struct hc_ew SPEC = {"aclnnSWhere", HC_EW_TABLE_ALL(where), 1u << 1, 0};

/* torch.where(condition, self, other); all three broadcast. */
HC_API aclnnStatus aclnnSWhereGetWorkspaceSize(const aclTensor *condition, const aclTensor *self,
                                               const aclTensor *other, aclTensor *out,
                                               uint64_t *workspaceSize, aclOpExecutor **executor) {
    const aclTensor *outs[] = {out}, *ins[] = {condition, self, other};
    HC_CHECK(condition == NULL || condition->dtype == ACL_BOOL || condition->dtype == ACL_UINT8,
             ACLNN_ERR_PARAM_INVALID, "aclnnSWhere: condition is %s, wanted a tensor of bool or uint8",
             HC_SHOW(condition));
    return hc_ew_plan(&SPEC, HC_CLASS_BOOL, outs, 1, ins, 3, NULL, 0, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSWhere)
#endif
