// SPDX-License-Identifier: Apache-2.0
/* Every tensor of a list becomes zero. A list without inputs is the skeleton with one output: the chunks
 * of all tensors are shared by the threads, where a memset each would leave small tensors to one. */
#include "foreach.h"

HC_EW_KERNEL(foreach_zero_F32)
HC_EW_KERNEL(foreach_zero_F64)
HC_EW_KERNEL(foreach_zero_I64)
HC_EW_KERNEL(foreach_zero_C128)

#ifdef HC_ISA
#define ZERO(block)                                                                                          \
    void HC_FN(foreach_zero_##block)(size_t n, void *const *out, const void *const *in, const void *args) {  \
        (void)args;                                                                                          \
        (void)in;                                                                                            \
        memset(out[0], 0, n * sizeof(hc_block_##block));                                                     \
    }
ZERO(F32)
ZERO(F64)
ZERO(I64)
ZERO(C128)
#else
HC_FOREACH_SPEC4(ZERO, "aclnnForeachZeroInplace", foreach_zero)

/* optimizer.zero_grad() where gradients are kept. */
HC_API aclnnStatus aclnnForeachZeroInplaceGetWorkspaceSize(const aclTensorList *x, uint64_t *workspaceSize,
                                                           aclOpExecutor **executor) {
    const struct hc_foreach_args args = {.out = x};
    return hc_foreach_plan(&ZERO, &args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnForeachZeroInplace)
#endif
