// SPDX-License-Identifier: Apache-2.0
/* Gradients of flash attention over packed sequences. innerPrecise asks the vendor's kernels to handle
 * rows without keys; here they always are. The softmax output is reserved and left alone. */
#include "attention.h"
#include "max_workspace.h"

/* As ScoreGrad, of packed sequences: lengths are running totals. */
HC_API aclnnStatus aclnnFlashAttentionUnpaddingScoreGradGetWorkspaceSize(
    const aclTensor *query, const aclTensor *keyIn, const aclTensor *value, const aclTensor *dy,
    const aclTensor *pseShiftOptional, const aclTensor *dropMaskOptional,
    const aclTensor *paddingMaskOptional, const aclTensor *attenMaskOptional,
    const aclTensor *softmaxMaxOptional, const aclTensor *softmaxSumOptional,
    const aclTensor *softmaxInOptional, const aclTensor *attentionInOptional,
    const aclIntArray *prefixOptional, const aclIntArray *actualSeqQLenOptional,
    const aclIntArray *actualSeqKvLenOptional, double scaleValue, double keepProb, int64_t preTokens,
    int64_t nextTokens, int64_t headNum, char *inputLayout, int64_t innerPrecise, int64_t sparseMode,
    const aclTensor *dqOut, const aclTensor *dkOut, const aclTensor *dvOut, const aclTensor *dpseOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)softmaxInOptional;
    (void)innerPrecise;
    const struct attn_inputs in = {ATTN_BACKWARD("aclnnFlashAttentionUnpaddingScoreGrad"),
                                   .q_lengths = actualSeqQLenOptional, .kv_lengths = actualSeqKvLenOptional,
                                   .pse_type = 1};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGrad)

/* V2: the kind of position bias, and the positions from which slopes count. */
HC_API aclnnStatus aclnnFlashAttentionUnpaddingScoreGradV2GetWorkspaceSize(
    const aclTensor *query, const aclTensor *keyIn, const aclTensor *value, const aclTensor *dy,
    const aclTensor *pseShiftOptional, const aclTensor *dropMaskOptional,
    const aclTensor *paddingMaskOptional, const aclTensor *attenMaskOptional,
    const aclTensor *softmaxMaxOptional, const aclTensor *softmaxSumOptional,
    const aclTensor *softmaxInOptional, const aclTensor *attentionInOptional,
    const aclIntArray *prefixOptional, const aclIntArray *actualSeqQLenOptional,
    const aclIntArray *actualSeqKvLenOptional, const aclIntArray *qStartIdxOptional,
    const aclIntArray *kvStartIdxOptional, double scaleValue, double keepProb, int64_t preTokens,
    int64_t nextTokens, int64_t headNum, char *inputLayout, int64_t innerPrecise, int64_t sparseMode,
    int64_t pseType, const aclTensor *dqOut, const aclTensor *dkOut, const aclTensor *dvOut,
    const aclTensor *dpseOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)softmaxInOptional;
    (void)innerPrecise;
    const struct attn_inputs in = {ATTN_BACKWARD("aclnnFlashAttentionUnpaddingScoreGradV2"),
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGradV2)

/* V3: rotary parts of query and key kept apart, which are refused; their gradients are left alone. */
HC_API aclnnStatus aclnnFlashAttentionUnpaddingScoreGradV3GetWorkspaceSize(
    const aclTensor *query, const aclTensor *queryRope, const aclTensor *keyIn, const aclTensor *keyInRope,
    const aclTensor *value, const aclTensor *dy, const aclTensor *pseShiftOptional,
    const aclTensor *dropMaskOptional, const aclTensor *paddingMaskOptional,
    const aclTensor *attenMaskOptional, const aclTensor *softmaxMaxOptional,
    const aclTensor *softmaxSumOptional, const aclTensor *softmaxInOptional,
    const aclTensor *attentionInOptional, const aclIntArray *prefixOptional,
    const aclIntArray *actualSeqQLenOptional, const aclIntArray *actualSeqKvLenOptional,
    const aclIntArray *qStartIdxOptional, const aclIntArray *kvStartIdxOptional, double scaleValue,
    double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout,
    int64_t innerPrecise, int64_t sparseMode, int64_t pseType, const aclTensor *dqOut,
    const aclTensor *dqRopeOut, const aclTensor *dkOut, const aclTensor *dkRopeOut, const aclTensor *dvOut,
    const aclTensor *dpseOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    ATTN_ABSENT("aclnnFlashAttentionUnpaddingScoreGradV3", queryRope);
    ATTN_ABSENT("aclnnFlashAttentionUnpaddingScoreGradV3", keyInRope);
    (void)softmaxInOptional;
    (void)innerPrecise;
    (void)dqRopeOut;
    (void)dkRopeOut;
    const struct attn_inputs in = {ATTN_BACKWARD("aclnnFlashAttentionUnpaddingScoreGradV3"),
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGradV3)

/* V4: V1 with a choice of the layout of the statistics. */
HC_API aclnnStatus aclnnFlashAttentionUnpaddingScoreGradV4GetWorkspaceSize(
    const aclTensor *query, const aclTensor *keyIn, const aclTensor *value, const aclTensor *dy,
    const aclTensor *pseShiftOptional, const aclTensor *dropMaskOptional,
    const aclTensor *paddingMaskOptional, const aclTensor *attenMaskOptional,
    const aclTensor *softmaxMaxOptional, const aclTensor *softmaxSumOptional,
    const aclTensor *softmaxInOptional, const aclTensor *attentionInOptional,
    const aclIntArray *prefixOptional, const aclIntArray *actualSeqQLenOptional,
    const aclIntArray *actualSeqKvLenOptional, double scaleValue, double keepProb, int64_t preTokens,
    int64_t nextTokens, int64_t headNum, char *inputLayout, int64_t innerPrecise, int64_t sparseMode,
    const aclTensor *dqOut, const aclTensor *dkOut, const aclTensor *dvOut, const aclTensor *dpseOut,
    char *softmaxInLayout, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)softmaxInOptional;
    (void)innerPrecise;
    const struct attn_inputs in = {ATTN_BACKWARD("aclnnFlashAttentionUnpaddingScoreGradV4"),
                                   .q_lengths = actualSeqQLenOptional, .kv_lengths = actualSeqKvLenOptional,
                                   .softmax_layout = softmaxInLayout, .pse_type = 1};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGradV4)

/* V5: V3 with the sink, its gradient and a choice of the layout of the statistics. */
HC_API aclnnStatus aclnnFlashAttentionUnpaddingScoreGradV5GetWorkspaceSize(
    const aclTensor *query, const aclTensor *queryRope, const aclTensor *keyIn, const aclTensor *keyInRope,
    const aclTensor *value, const aclTensor *dy, const aclTensor *pseShiftOptional,
    const aclTensor *dropMaskOptional, const aclTensor *paddingMaskOptional,
    const aclTensor *attenMaskOptional, const aclTensor *softmaxMaxOptional,
    const aclTensor *softmaxSumOptional, const aclTensor *softmaxInOptional,
    const aclTensor *attentionInOptional, const aclTensor *sinkInOptional, const aclIntArray *prefixOptional,
    const aclIntArray *actualSeqQLenOptional, const aclIntArray *actualSeqKvLenOptional,
    const aclIntArray *qStartIdxOptional, const aclIntArray *kvStartIdxOptional, double scaleValue,
    double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout,
    int64_t innerPrecise, int64_t sparseMode, int64_t pseType, char *softmaxInLayout, const aclTensor *dqOut,
    const aclTensor *dqRopeOut, const aclTensor *dkOut, const aclTensor *dkRopeOut, const aclTensor *dvOut,
    const aclTensor *dpseOut, const aclTensor *dsinkOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    ATTN_ABSENT("aclnnFlashAttentionUnpaddingScoreGradV5", queryRope);
    ATTN_ABSENT("aclnnFlashAttentionUnpaddingScoreGradV5", keyInRope);
    (void)softmaxInOptional;
    (void)innerPrecise;
    (void)dqRopeOut;
    (void)dkRopeOut;
    const struct attn_inputs in = {ATTN_BACKWARD("aclnnFlashAttentionUnpaddingScoreGradV5"),
                                   .sink = sinkInOptional,
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType,
                                   .softmax_layout = softmaxInLayout,
                                   .dsink = dsinkOut};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGradV5)
HC_OP_MAX_WORKSPACE(aclnnFlashAttentionUnpaddingScoreGradV5)
