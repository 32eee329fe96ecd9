// SPDX-License-Identifier: Apache-2.0
/* Experts' results back to the ranks of their tokens, then the residual addition and the norm of the next
 * layer:
 *
 *     x = the combined rows + residualX, y = x * rstd * gamma, rstd = 1/sqrt(mean(x^2) + normEps)
 *
 * The residual is one more row of the sum, which is rounded once; what is normalised is that, as in
 * aclnnAddRmsNorm. Results are [T, 1, H], one token of each sequence of a step of decoding. */
#include "distribute_combine.h"

/* Tensors of tokens as rows. */
struct rows {
    aclTensor residual, y, x;
};

/* [T, 1, H] as [T, H]; rows without the dimension between are taken, too. */
static aclnnStatus as_rows(const char *name, const char *arg, const aclTensor *t, aclTensor *rows) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name, arg);
    HC_CHECK(t->rank == 2 || (t->rank == 3 && t->shape[1] == 1), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted [T,1,H]", name, arg, HC_SHOW(t));
    *rows = *t;
    if (t->rank == 2) return 0;
    rows->rank = 2;
    rows->shape[1] = t->shape[2], rows->stride[1] = t->stride[2];
    return 0;
}

static aclnnStatus plan(struct hc_combine *c, struct rows *rows, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    const char *name = c->shared.name;
    HC_TRY(as_rows(name, "residualX", c->residual, &rows->residual));
    HC_TRY(as_rows(name, "yOut", c->y, &rows->y));
    HC_TRY(as_rows(name, "xOut", c->out, &rows->x));
    HC_CHECK(c->gamma && c->rstd, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             c->gamma ? "rstdOut" : "gamma");
    c->residual = &rows->residual, c->y = &rows->y, c->out = &rows->x;
    return hc_combine_plan(c, workspaceSize, executor);
}

/* What both versions name alike. */
#define NORM_ARGUMENTS                                                                                       \
    .residual = residualX, .gamma = gamma, .y = yOut, .rstd = rstdOut, .out = xOut, .out_name = "xOut",      \
    .epsilon = (double)normEps

/* torch_npu.npu_moe_distribute_combine_add_rms_norm where the second version is missing. */
HC_API aclnnStatus aclnnMoeDistributeCombineAddRmsNormGetWorkspaceSize(
    const aclTensor *expandX, const aclTensor *expertIds, const aclTensor *assistInfoForCombine,
    const aclTensor *epSendCounts, const aclTensor *expertScales, const aclTensor *residualX,
    const aclTensor *gamma, const aclTensor *tpSendCountsOptional, const aclTensor *xActiveMaskOptional,
    const aclTensor *activationScaleOptional, const aclTensor *weightScaleOptional,
    const aclTensor *groupListOptional, const aclTensor *expandScalesOptional,
    const aclTensor *sharedExpertXOptional, const char *groupEp, int64_t epWorldSize, int64_t epRankId,
    int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize, int64_t tpRankId, int64_t expertShardType,
    int64_t sharedExpertNum, int64_t sharedExpertRankNum, int64_t globalBs, int64_t outDtype,
    int64_t commQuantMode, int64_t groupListType, const char *commAlg, float normEps, aclTensor *yOut,
    aclTensor *rstdOut, aclTensor *xOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)groupTp;
    (void)tpSendCountsOptional;
    (void)expandScalesOptional;
    struct rows rows;
    struct hc_combine c = {
        .shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeCombineAddRmsNorm", xActiveMaskOptional),
                   .algorithm = commAlg},
        HC_COMBINE_LATER,
        NORM_ARGUMENTS};
    return plan(&c, &rows, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeCombineAddRmsNorm)

/* The same with experts that compute nothing. */
HC_API aclnnStatus aclnnMoeDistributeCombineAddRmsNormV2GetWorkspaceSize(
    const aclTensor *expandX, const aclTensor *expertIds, const aclTensor *assistInfoForCombine,
    const aclTensor *epSendCounts, const aclTensor *expertScales, const aclTensor *residualX,
    const aclTensor *gamma, const aclTensor *tpSendCountsOptional, const aclTensor *xActiveMaskOptional,
    const aclTensor *activationScaleOptional, const aclTensor *weightScaleOptional,
    const aclTensor *groupListOptional, const aclTensor *expandScalesOptional,
    const aclTensor *sharedExpertXOptional, const aclTensor *elasticInfoOptional,
    const aclTensor *oriXOptional, const aclTensor *constExpertAlpha1Optional,
    const aclTensor *constExpertAlpha2Optional, const aclTensor *constExpertVOptional, const char *groupEp,
    int64_t epWorldSize, int64_t epRankId, int64_t moeExpertNum, const char *groupTp, int64_t tpWorldSize,
    int64_t tpRankId, int64_t expertShardType, int64_t sharedExpertNum, int64_t sharedExpertRankNum,
    int64_t globalBs, int64_t outDtype, int64_t commQuantMode, int64_t groupListType, const char *commAlg,
    float normEps, int64_t zeroExpertNum, int64_t copyExpertNum, int64_t constExpertNum, aclTensor *yOut,
    aclTensor *rstdOut, aclTensor *xOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)groupTp;
    (void)tpSendCountsOptional;
    (void)expandScalesOptional;
    struct rows rows;
    struct hc_combine c = {
        .shared = {HC_DISTRIBUTE_SHARED("aclnnMoeDistributeCombineAddRmsNormV2", xActiveMaskOptional),
                   HC_DISTRIBUTE_SPECIAL},
        HC_COMBINE_LATER,
        NORM_ARGUMENTS,
        .original = oriXOptional,
        .alpha1 = constExpertAlpha1Optional,
        .alpha2 = constExpertAlpha2Optional,
        .constant_row = constExpertVOptional};
    return plan(&c, &rows, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeDistributeCombineAddRmsNormV2)
