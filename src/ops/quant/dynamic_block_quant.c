// SPDX-License-Identifier: Apache-2.0
/* Quantisation of a matrix, or a batch of them, with a scale for each block (block_quant.h). */
#include "block_quant.h"

/* Operands x, y, scale. */
static aclnnStatus run(const struct hc_call *call) {
    return hc_block_quant_run(call->name, call->args, hc_arg(call, 0), hc_arg(call, 1), hc_arg(call, 2), NULL,
                              0);
}

/* Phase one of both versions. */
static aclnnStatus plan(const struct hc_block_quant_call *c, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct hc_block_quant args;
    HC_TRY(hc_block_quant_check(c, &args));
    HC_TRY(
        hc_block_quant_check_scale(c, (int64_t)hc_ceil_div((size_t)c->x->shape[c->x->rank - 2], args.rows)));
    const aclTensor *const x = c->x, *const yOut = c->y, *const scaleOut = c->scale;
    return HC_PLAN(c->name, run, &args, HC_IN(x), HC_OUT(yOut), HC_OUT(scaleOut));
}

/* For older versions of the client. */
HC_API aclnnStatus aclnnDynamicBlockQuantGetWorkspaceSize(const aclTensor *x, double minScale,
                                                          char *roundModeOptional, int64_t dstType,
                                                          int64_t rowBlockSize, int64_t colBlockSize,
                                                          const aclTensor *yOut, const aclTensor *scaleOut,
                                                          uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_block_quant_call c = {.name = "aclnnDynamicBlockQuant",
                                          .round_mode = roundModeOptional,
                                          .x = x,
                                          .y = yOut,
                                          .scale = scaleOut,
                                          .min_scale = minScale,
                                          .dst_type = dstType,
                                          .rows = rowBlockSize,
                                          .columns = colBlockSize};
    return plan(&c, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicBlockQuant)

/* torch_npu.npu_dynamic_block_quant takes this one. */
HC_API aclnnStatus aclnnDynamicBlockQuantV2GetWorkspaceSize(
    const aclTensor *x, double minScale, char *roundModeOptional, int64_t dstType, int64_t rowBlockSize,
    int64_t colBlockSize, double dstTypeMax, const aclTensor *yOut, const aclTensor *scaleOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_block_quant_call c = {.name = "aclnnDynamicBlockQuantV2",
                                          .round_mode = roundModeOptional,
                                          .x = x,
                                          .y = yOut,
                                          .scale = scaleOut,
                                          .min_scale = minScale,
                                          .largest = dstTypeMax,
                                          .dst_type = dstType,
                                          .rows = rowBlockSize,
                                          .columns = colBlockSize};
    return plan(&c, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnDynamicBlockQuantV2)
