// SPDX-License-Identifier: Apache-2.0
/* Gradients of flash attention, padded layouts (V4 also packed). innerPrecise asks the vendor's kernels to
 * handle rows without keys; here they always are. The softmax output is reserved and left alone. */
#include "attention.h"

/* Its gradient, which computes the scores again from the saved maxima and sums: O(sequence) memory for
 * O(sequence^2) work. softmaxInOptional would be the probabilities. */
HC_API aclnnStatus aclnnFlashAttentionScoreGradGetWorkspaceSize(
    const aclTensor *query, const aclTensor *keyIn, const aclTensor *value, const aclTensor *dy,
    const aclTensor *pseShiftOptional, const aclTensor *dropMaskOptional,
    const aclTensor *paddingMaskOptional, const aclTensor *attenMaskOptional,
    const aclTensor *softmaxMaxOptional, const aclTensor *softmaxSumOptional,
    const aclTensor *softmaxInOptional, const aclTensor *attentionInOptional,
    const aclIntArray *prefixOptional, double scaleValue, double keepProb, int64_t preTokens,
    int64_t nextTokens, int64_t headNum, char *inputLayout, int64_t innerPrecise, int64_t sparseMode,
    const aclTensor *dqOut, const aclTensor *dkOut, const aclTensor *dvOut, const aclTensor *dpseOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)softmaxInOptional;
    (void)innerPrecise;
    const struct attn_inputs in = {ATTN_BACKWARD("aclnnFlashAttentionScoreGrad"), .pse_type = 1};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreGrad)

/* V2: the kind of position bias, and the positions from which slopes count. */
HC_API aclnnStatus aclnnFlashAttentionScoreGradV2GetWorkspaceSize(
    const aclTensor *query, const aclTensor *keyIn, const aclTensor *value, const aclTensor *dy,
    const aclTensor *pseShiftOptional, const aclTensor *dropMaskOptional,
    const aclTensor *paddingMaskOptional, const aclTensor *attenMaskOptional,
    const aclTensor *softmaxMaxOptional, const aclTensor *softmaxSumOptional,
    const aclTensor *softmaxInOptional, const aclTensor *attentionInOptional,
    const aclIntArray *prefixOptional, const aclIntArray *qStartIdxOptional,
    const aclIntArray *kvStartIdxOptional, double scaleValue, double keepProb, int64_t preTokens,
    int64_t nextTokens, int64_t headNum, char *inputLayout, int64_t innerPrecise, int64_t sparseMode,
    int64_t pseType, const aclTensor *dqOut, const aclTensor *dkOut, const aclTensor *dvOut,
    const aclTensor *dpseOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)softmaxInOptional;
    (void)innerPrecise;
    const struct attn_inputs in = {ATTN_BACKWARD("aclnnFlashAttentionScoreGradV2"),
                                   .q_start = qStartIdxOptional, .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreGradV2)

/* V3: the sink and its gradient. */
HC_API aclnnStatus aclnnFlashAttentionScoreGradV3GetWorkspaceSize(
    const aclTensor *query, const aclTensor *keyIn, const aclTensor *value, const aclTensor *dy,
    const aclTensor *pseShiftOptional, const aclTensor *dropMaskOptional,
    const aclTensor *paddingMaskOptional, const aclTensor *attenMaskOptional,
    const aclTensor *softmaxMaxOptional, const aclTensor *softmaxSumOptional,
    const aclTensor *softmaxInOptional, const aclTensor *attentionInOptional, const aclTensor *sinkInOptional,
    const aclIntArray *prefixOptional, const aclIntArray *qStartIdxOptional,
    const aclIntArray *kvStartIdxOptional, double scaleValue, double keepProb, int64_t preTokens,
    int64_t nextTokens, int64_t headNum, char *inputLayout, int64_t innerPrecise, int64_t sparseMode,
    int64_t pseType, const aclTensor *dqOut, const aclTensor *dkOut, const aclTensor *dvOut,
    const aclTensor *dpseOut, const aclTensor *dsinkOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)softmaxInOptional;
    (void)innerPrecise;
    const struct attn_inputs in = {ATTN_BACKWARD("aclnnFlashAttentionScoreGradV3"),
                                   .sink = sinkInOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType,
                                   .dsink = dsinkOut};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreGradV3)

/* V4: packed sequences as well; the rotary gradients are left alone, as their inputs are refused. */
HC_API aclnnStatus aclnnFlashAttentionScoreGradV4GetWorkspaceSize(
    const aclTensor *query, const aclTensor *keyIn, const aclTensor *value, const aclTensor *dy,
    const aclTensor *pseShiftOptional, const aclTensor *dropMaskOptional,
    const aclTensor *paddingMaskOptional, const aclTensor *attenMaskOptional,
    const aclTensor *softmaxMaxOptional, const aclTensor *softmaxSumOptional,
    const aclTensor *softmaxInOptional, const aclTensor *attentionInOptional, const aclTensor *sinkInOptional,
    const aclTensor *queryRopeOptional, const aclTensor *keyRopeOptional, const aclTensor *dScaleQOptional,
    const aclTensor *dScaleKOptional, const aclTensor *dScaleVOptional, const aclTensor *dScaleDyOptional,
    const aclTensor *dScaleOOptional, const aclIntArray *prefixOptional,
    const aclIntArray *actualSeqQLenOptional, const aclIntArray *actualSeqKvLenOptional,
    const aclIntArray *qStartIdxOptional, const aclIntArray *kvStartIdxOptional, double scaleValue,
    double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout,
    char *softmaxInLayout, int64_t innerPrecise, int64_t sparseMode, int64_t pseType, int64_t seed,
    int64_t offset, int64_t outDtype, const aclTensor *dqOut, const aclTensor *dkOut, const aclTensor *dvOut,
    const aclTensor *dqRopeOut, const aclTensor *dkRopeOut, const aclTensor *dpseOut,
    const aclTensor *dsinkOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    ATTN_ABSENT("aclnnFlashAttentionScoreGradV4", queryRopeOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreGradV4", keyRopeOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreGradV4", dScaleQOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreGradV4", dScaleKOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreGradV4", dScaleVOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreGradV4", dScaleDyOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreGradV4", dScaleOOptional);
    (void)softmaxInOptional;
    (void)innerPrecise;
    (void)outDtype;
    (void)dqRopeOut;
    (void)dkRopeOut;
    const struct attn_inputs in = {ATTN_BACKWARD("aclnnFlashAttentionScoreGradV4"),
                                   .sink = sinkInOptional,
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .softmax_layout = softmaxInLayout,
                                   .pse_type = pseType,
                                   .seeded = true,
                                   .seed = seed,
                                   .offset = offset,
                                   .dsink = dsinkOut};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreGradV4)
