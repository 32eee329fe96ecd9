// SPDX-License-Identifier: Apache-2.0
/* yRef += x1 @ x2 of fp8 and fp4 matrices with scales (quant_narrow.h): a gradient of weights into its
 * accumulator. */
#include "quant_narrow.h"

HC_API aclnnStatus aclnnQuantBatchMatmulInplaceAddGetWorkspaceSize(const aclTensor *x1, const aclTensor *x2,
                                                                   const aclTensor *x1ScaleOptional,
                                                                   const aclTensor *x2Scale, aclTensor *yRef,
                                                                   bool transposeX1, bool transposeX2,
                                                                   int64_t groupSize, uint64_t *workspaceSize,
                                                                   aclOpExecutor **executor) {
    static const char *const NAME = "aclnnQuantBatchMatmulInplaceAdd";
    HC_CHECK(groupSize >= 0, ACLNN_ERR_PARAM_INVALID, "%s: groupSize is %lld, wanted sizes of groups", NAME,
             (long long)groupSize);
    const struct hc_quant_narrow q = {.name = NAME,
                                      .x1 = x1,
                                      .x2 = x2,
                                      .x1_scale = x1ScaleOptional,
                                      .x2_scale = x2Scale,
                                      .out = yRef,
                                      .turned = {transposeX1, transposeX2},
                                      .accumulate = true};
    return hc_quant_narrow_plan(&q, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnQuantBatchMatmulInplaceAdd)
