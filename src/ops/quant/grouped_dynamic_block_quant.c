// SPDX-License-Identifier: Apache-2.0
/* The same for groups of rows: a block is of one group, and groups' scales begin at rows of their own
 * (block_quant.h). */
#include "block_quant.h"

enum slot { X, GROUPS, Y, SCALE };

/* The list is read once, into memory of ours: the blocks are counted from it. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *x = hc_arg(call, X), *groups = hc_arg(call, GROUPS);
    int64_t *ends = hc_block_take_array(hc_numel(groups), sizeof *ends);
    HC_CHECK(ends != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", call->name,
             hc_numel(groups));
    aclnnStatus status =
        hc_quant_read_groups(call->name, "groupList", groups, x->shape[x->rank - 2], false, ends);
    if (status == 0)
        status = hc_block_quant_run(call->name, call->args, x, hc_arg(call, Y), hc_arg(call, SCALE), ends,
                                    hc_numel(groups));
    hc_block_give(ends);
    return status;
}

/* Phase one of both versions. */
static aclnnStatus plan(const struct hc_block_quant_call *c, const aclTensor *groupList, int64_t list_type,
                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct hc_block_quant args;
    HC_TRY(hc_block_quant_check(c, &args));
    HC_CHECK(groupList != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: groupList is null", c->name);
    HC_CHECK(hc_dtype_class(groupList->dtype) == HC_CLASS_INT && groupList->rank == 1 && groupList->numel > 0,
             ACLNN_ERR_PARAM_INVALID, "%s: groupList is %s, wanted integers of one dimension", c->name,
             HC_SHOW(groupList));
    HC_CHECK(list_type == 0, ACLNN_ERR_PARAM_INVALID, "%s: groupListType is %lld, wanted 0: ends of groups",
             c->name, (long long)list_type);
    HC_TRY(hc_block_quant_check_scale(c, c->x->shape[c->x->rank - 2] / c->rows + groupList->numel));
    const aclTensor *const x = c->x, *const yOut = c->y, *const scaleOut = c->scale;
    return HC_PLAN(c->name, run, &args, HC_IN(x), HC_IN(groupList), HC_OUT(yOut), HC_OUT(scaleOut));
}

/* For older versions of the client. */
HC_API aclnnStatus aclnnGroupedDynamicBlockQuantGetWorkspaceSize(
    const aclTensor *x, const aclTensor *groupList, double minScale, char *roundModeOptional, int64_t dstType,
    int64_t rowBlockSize, int64_t colBlockSize, int64_t groupListType, const aclTensor *yOut,
    const aclTensor *scaleOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_block_quant_call c = {.name = "aclnnGroupedDynamicBlockQuant",
                                          .round_mode = roundModeOptional,
                                          .x = x,
                                          .y = yOut,
                                          .scale = scaleOut,
                                          .min_scale = minScale,
                                          .dst_type = dstType,
                                          .rows = rowBlockSize,
                                          .columns = colBlockSize};
    return plan(&c, groupList, groupListType, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupedDynamicBlockQuant)

/* torch_npu.npu_grouped_dynamic_block_quant takes this one. */
HC_API aclnnStatus aclnnGroupedDynamicBlockQuantV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *groupList, double minScale, char *roundModeOptional, int64_t dstType,
    int64_t rowBlockSize, int64_t colBlockSize, int64_t groupListType, double dstTypeMax,
    const aclTensor *yOut, const aclTensor *scaleOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct hc_block_quant_call c = {.name = "aclnnGroupedDynamicBlockQuantV2",
                                          .round_mode = roundModeOptional,
                                          .x = x,
                                          .y = yOut,
                                          .scale = scaleOut,
                                          .min_scale = minScale,
                                          .largest = dstTypeMax,
                                          .dst_type = dstType,
                                          .rows = rowBlockSize,
                                          .columns = colBlockSize};
    return plan(&c, groupList, groupListType, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnGroupedDynamicBlockQuantV2)
