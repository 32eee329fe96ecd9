// SPDX-License-Identifier: Apache-2.0
/* out = x converted to out's dtype, over lists. The same bytes in both are one memcpy per chunk; other
 * types go through blocks, which the skeleton converts on both sides, so the kernel copies either way.
 * Used to bring float32 parameters back into 16-bit ones after a step.
 *
 * Not a cast that rounds twice: a block is wide enough for the source, and the store narrows it once. */
#include "foreach.h"

HC_EW_KERNEL(foreach_copy_F32)
HC_EW_KERNEL(foreach_copy_F64)
HC_EW_KERNEL(foreach_copy_I64)
HC_EW_KERNEL(foreach_copy_C128)

#ifdef HC_ISA
#define COPY(block)                                                                                          \
    void HC_FN(foreach_copy_##block)(size_t n, void *const *out, const void *const *in, const void *args) {  \
        (void)args;                                                                                          \
        if (out[0] != in[0]) memcpy(out[0], in[0], n * sizeof(hc_block_##block));                            \
    }
COPY(F32)
COPY(F64)
COPY(I64)
COPY(C128)
#else
static const struct hc_foreach COPY_ALL = {.name = "aclnnForeachCopy",
                                           .kernel = {[HC_F32] = foreach_copy_F32_table,
                                                      [HC_F64] = foreach_copy_F64_table,
                                                      [HC_I64] = foreach_copy_I64_table,
                                                      [HC_C128] = foreach_copy_C128_table},
                                           .casts = true};
HC_FOREACH_UNARY(aclnnForeachCopy, COPY_ALL)
#endif
