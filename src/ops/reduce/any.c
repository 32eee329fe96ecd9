// SPDX-License-Identifier: Apache-2.0
/* Whether any, or all, elements are non-zero (NaN is non-zero). Elements become truth values on the way
 * into the block, whatever their type; there is no early end, as the loop runs at the speed of memory. */
#include "reduce.h"

HC_REDUCE_DECLARE(any_B8)
HC_REDUCE_DECLARE(all_B8)

#ifdef HC_ISA
/* Values are 0 or 1 here, so bits are as good as logic, and they vectorise: 64 of them are the widest
 * vector. */
#define OR(a, b) ((uint8_t)((a) | (b)))
#define AND(a, b) ((uint8_t)((a) & (b)))
#define OR_FOLD(s, x, args) OR(s, x)
#define AND_FOLD(s, x, args) AND(s, x)
HC_REDUCE_BODY(any_B8, uint8_t, uint8_t, 64, 0, OR_FOLD, OR)
HC_REDUCE_BODY(all_B8, uint8_t, uint8_t, 64, 1, AND_FOLD, AND)
HC_REDUCE_FINISH_CAST(any_B8, uint8_t, uint8_t)
HC_REDUCE_FINISH_CAST(all_B8, uint8_t, uint8_t)

#else
/* No elements: any is false, all is true. */
static const struct hc_reduce_kernels ANY_B8 = HC_REDUCE_KERNELS(any_B8, uint8_t, HC_B8, 0);
static const struct hc_reduce_kernels ALL_B8 = HC_REDUCE_KERNELS(all_B8, uint8_t, HC_B8, 1);
static const struct hc_reduce ANY = {"aclnnAny", false, {[HC_B8] = &ANY_B8}};
static const struct hc_reduce ALL = {"aclnnAll", false, {[HC_B8] = &ALL_B8}};

/* torch.any and torch.all over dimensions, none given: all. out is bool or uint8, whatever self is. */
#define TRUTH(api, op)                                                                                       \
    HC_API aclnnStatus api##GetWorkspaceSize(const aclTensor *self, const aclIntArray *dim, bool keepdim,    \
                                             aclTensor *out, uint64_t *workspaceSize,                        \
                                             aclOpExecutor **executor) {                                     \
        return hc_reduce_plan(&(op), HC_B8, self, hc_dims(dim, keepdim), out, NULL, NULL, 0, workspaceSize,  \
                              executor);                                                                     \
    }                                                                                                        \
    HC_OP_LAUNCH(api)
TRUTH(aclnnAny, ANY)
TRUTH(aclnnAll, ALL)
#endif
