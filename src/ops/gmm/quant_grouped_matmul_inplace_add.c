// SPDX-License-Identifier: Apache-2.0
/* yRef[g] += x1[:, first_g : end_g] @ x2[first_g : end_g] of fp8 or hifloat8 with scales: the gradient of
 * each expert's weights into its accumulator (grouped_narrow.h). */
#include "grouped_narrow.h"
#include "temporary.h"

enum slot { X1, X2, SCALE1, SCALE2, GROUPS, Y };

/* In both phases, from the operands in their order. */
static struct hc_grouped groups_of(const char *name, const aclTensor *const *operands) {
    return (struct hc_grouped){.name = name,
                               .x = {NULL, operands[X1], 1},
                               .weight = {NULL, operands[X2], 1},
                               .y = {NULL, operands[Y], 1},
                               .scale = {NULL, operands[SCALE2], 1},
                               .rows = {NULL, operands[SCALE1], operands[SCALE1] != NULL},
                               .weight_name = "x2",
                               .y_name = "yRef",
                               .groups = hc_numel(operands[GROUPS]),
                               .by_steps = true,
                               .accumulates = true,
                               .listed = true};
}

/* The list is read once, into memory of ours. args: whether it has lengths. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *operands[] = {hc_arg(call, X1),     hc_arg(call, X2),     hc_arg(call, SCALE1),
                                   hc_arg(call, SCALE2), hc_arg(call, GROUPS), hc_arg(call, Y)};
    const struct hc_grouped g = groups_of(call->name, operands);
    int64_t *first = hc_block_take_array(2 * g.groups + 1, sizeof *first);
    HC_CHECK(first != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu groups", call->name, g.groups);
    int64_t *own = first + g.groups + 1;
    const aclTensor copy = hc_tensor_view(ACL_INT64, operands[GROUPS]->shape, 1, own);
    aclnnStatus status = hc_copy(&copy, operands[GROUPS]);
    if (status == 0) status = hc_grouped_read(&g, own, *(const bool *)call->args, first);
    if (status == 0) status = hc_grouped_narrow_run(&g, first);
    hc_block_give(first);
    return status;
}

/* torch_npu.npu_add_quant_gmm_. */
HC_API aclnnStatus aclnnQuantGroupedMatmulInplaceAddGetWorkspaceSize(
    const aclTensor *x1, const aclTensor *x2, const aclTensor *scale1Optional, const aclTensor *scale2,
    const aclTensor *groupList, aclTensor *yRef, int64_t groupListType, int64_t groupSize,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnQuantGroupedMatmulInplaceAdd";
    const bool counts = groupListType == 1;
    HC_CHECK(x1 && x2 && scale2 && groupList && yRef, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             !x1          ? "x1"
             : !x2        ? "x2"
             : !scale2    ? "scale2"
             : !groupList ? "groupList"
                          : "yRef");
    HC_CHECK(groupList->rank == 1 && groupList->numel > 0 && hc_dtype_class(groupList->dtype) == HC_CLASS_INT,
             ACLNN_ERR_PARAM_INVALID, "%s: groupList is %s, wanted int64 of one dimension", NAME,
             HC_SHOW(groupList));
    HC_CHECK((groupListType == 0 || counts) && groupSize == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: groupListType is %lld, groupSize %lld, wanted 0 (ends of groups) or 1 (lengths), and 0",
             NAME, (long long)groupListType, (long long)groupSize);
    const aclTensor *operands[] = {x1, x2, scale1Optional, scale2, groupList, yRef};
    const struct hc_grouped g = groups_of(NAME, operands);
    HC_TRY(hc_grouped_narrow_check(&g));
    return HC_PLAN(NAME, run, &counts, HC_IN(x1), HC_IN(x2), HC_IN_OPT(scale1Optional), HC_IN(scale2),
                   HC_IN(groupList), HC_INOUT(yRef));
}
HC_OP_LAUNCH(aclnnQuantGroupedMatmulInplaceAdd)
