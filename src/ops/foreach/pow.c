// SPDX-License-Identifier: Apache-2.0
/* out = x1 ^ x2, x ^ scalar and scalar ^ x, over lists, with the kernels of the operators on one tensor
 * (math/pow.c): the same symbol serves both, so results are the same bits. */
#include "foreach.h"

/* Only declared: they are defined with math/pow.c. */
#define DECLARE(kernel) HC_EW_KERNEL(kernel##_F32) HC_EW_KERNEL(kernel##_F64) HC_EW_KERNEL(kernel##_I64)
DECLARE(pow)
DECLARE(pows)
DECLARE(pow_of)

HC_FOREACH_SPEC3(LIST, "aclnnForeachPowList", pow)
HC_FOREACH_SPEC3(SCALAR, "aclnnForeachPowScalar", pows)
HC_FOREACH_SPEC3(SCALAR_V2, "aclnnForeachPowScalarV2", pows)
HC_FOREACH_SPEC3(SCALAR_LIST, "aclnnForeachPowScalarList", pows)
HC_FOREACH_SPEC3(SCALAR_FIRST, "aclnnForeachPowScalarAndTensor", pow_of)
HC_FOREACH_BINARY(aclnnForeachPowList, LIST)
HC_FOREACH_SCALAR(aclnnForeachPowScalar, SCALAR, aclTensor)
HC_FOREACH_SCALAR(aclnnForeachPowScalarV2, SCALAR_V2, aclScalar)
HC_FOREACH_SCALAR_LIST(aclnnForeachPowScalarList, SCALAR_LIST)

/* scalar ^ x. */
HC_API aclnnStatus aclnnForeachPowScalarAndTensorGetWorkspaceSize(const aclScalar *scalar,
                                                                  const aclTensorList *x,
                                                                  const aclTensorList *out,
                                                                  uint64_t *workspaceSize,
                                                                  aclOpExecutor **executor) {
    const struct hc_foreach_args args = {
        .ins = {x}, .num_ins = 1, .out = out, .mode = HC_FOREACH_ONE, .scalar = scalar};
    return hc_foreach_plan(&SCALAR_FIRST, &args, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnForeachPowScalarAndTensor)
