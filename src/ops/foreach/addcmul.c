// SPDX-License-Identifier: Apache-2.0
/* out = x1 + scalar * x2 * x3, over lists, in this order of operations; integers wrap. The running square
 * of Adam as PyTorch writes it (x2 and x3 both the gradient). */
#include "foreach.h"

HC_EW_KERNEL(foreach_addcmul_F32)
HC_EW_KERNEL(foreach_addcmul_F64)
HC_EW_KERNEL(foreach_addcmul_I64)

#ifdef HC_ISA
/* Left to right, as in addcmul on one tensor. */
#define ADDCMUL(a, b, c, s) ((a) + (s) * (b) * (c))
static inline int64_t addcmul_i64(int64_t a, int64_t b, int64_t c, int64_t s) {
    return (int64_t)((uint64_t)a + (uint64_t)s * (uint64_t)b * (uint64_t)c);
}
HC_FOREACH_BODY3(foreach_addcmul_F32, F32, ADDCMUL)
HC_FOREACH_BODY3(foreach_addcmul_F64, F64, ADDCMUL)
HC_FOREACH_BODY3(foreach_addcmul_I64, I64, addcmul_i64)
#else
HC_FOREACH_SPEC3(SCALAR, "aclnnForeachAddcmulScalar", foreach_addcmul)
HC_FOREACH_SPEC3(SCALAR_V2, "aclnnForeachAddcmulScalarV2", foreach_addcmul)
HC_FOREACH_SPEC3(SCALAR_LIST, "aclnnForeachAddcmulScalarList", foreach_addcmul)
HC_FOREACH_TERNARY_SCALAR(aclnnForeachAddcmulScalar, SCALAR, aclTensor, HC_FOREACH_ONE)
HC_FOREACH_TERNARY_SCALAR(aclnnForeachAddcmulScalarV2, SCALAR_V2, aclScalar, HC_FOREACH_ONE)
HC_FOREACH_TERNARY_SCALAR(aclnnForeachAddcmulScalarList, SCALAR_LIST, aclTensor, HC_FOREACH_EACH)
#endif
