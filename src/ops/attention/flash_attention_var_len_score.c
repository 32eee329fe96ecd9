// SPDX-License-Identifier: Apache-2.0
/* Flash attention forward over packed sequences. innerPrecise asks the vendor's kernels to handle
 * rows without keys; here they always are. The softmax output is reserved and left alone. */
#include "attention.h"
#include "max_workspace.h"

/* As Score, of packed sequences: lengths are running totals, and no token sees another sequence. */
HC_API aclnnStatus aclnnFlashAttentionVarLenScoreGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *realShiftOptional,
    const aclTensor *dropMaskOptional, const aclTensor *paddingMaskOptional,
    const aclTensor *attenMaskOptional, const aclIntArray *prefixOptional,
    const aclIntArray *actualSeqQLenOptional, const aclIntArray *actualSeqKvLenOptional, double scaleValue,
    double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout,
    int64_t innerPrecise, int64_t sparseMode, const aclTensor *softmaxMaxOut, const aclTensor *softmaxSumOut,
    const aclTensor *softmaxOutOut, const aclTensor *attentionOutOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {ATTN_FORWARD("aclnnFlashAttentionVarLenScore"),
                                   .q_lengths = actualSeqQLenOptional, .kv_lengths = actualSeqKvLenOptional,
                                   .pse_type = 1};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScore)

/* V2: the kind of position bias, and the positions from which slopes count. */
HC_API aclnnStatus aclnnFlashAttentionVarLenScoreV2GetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *realShiftOptional,
    const aclTensor *dropMaskOptional, const aclTensor *paddingMaskOptional,
    const aclTensor *attenMaskOptional, const aclIntArray *prefixOptional,
    const aclIntArray *actualSeqQLenOptional, const aclIntArray *actualSeqKvLenOptional,
    const aclIntArray *qStartIdxOptional, const aclIntArray *kvStartIdxOptional, double scaleValue,
    double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout,
    int64_t innerPrecise, int64_t sparseMode, int64_t pseType, const aclTensor *softmaxMaxOut,
    const aclTensor *softmaxSumOut, const aclTensor *softmaxOutOut, const aclTensor *attentionOutOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {ATTN_FORWARD("aclnnFlashAttentionVarLenScoreV2"),
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScoreV2)

/* V3: rotary parts of query and key kept apart, which are refused. */
HC_API aclnnStatus aclnnFlashAttentionVarLenScoreV3GetWorkspaceSize(
    const aclTensor *query, const aclTensor *queryRope, const aclTensor *key, const aclTensor *keyRope,
    const aclTensor *value, const aclTensor *realShiftOptional, const aclTensor *dropMaskOptional,
    const aclTensor *paddingMaskOptional, const aclTensor *attenMaskOptional,
    const aclIntArray *prefixOptional, const aclIntArray *actualSeqQLenOptional,
    const aclIntArray *actualSeqKvLenOptional, const aclIntArray *qStartIdxOptional,
    const aclIntArray *kvStartIdxOptional, double scaleValue, double keepProb, int64_t preTokens,
    int64_t nextTokens, int64_t headNum, char *inputLayout, int64_t innerPrecise, int64_t sparseMode,
    int64_t pseType, const aclTensor *softmaxMaxOut, const aclTensor *softmaxSumOut,
    const aclTensor *softmaxOutOut, const aclTensor *attentionOutOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    ATTN_ABSENT("aclnnFlashAttentionVarLenScoreV3", queryRope);
    ATTN_ABSENT("aclnnFlashAttentionVarLenScoreV3", keyRope);
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {ATTN_FORWARD("aclnnFlashAttentionVarLenScoreV3"),
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScoreV3)

/* V4: V1 with a choice of the layout of the statistics. */
HC_API aclnnStatus aclnnFlashAttentionVarLenScoreV4GetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *realShiftOptional,
    const aclTensor *dropMaskOptional, const aclTensor *paddingMaskOptional,
    const aclTensor *attenMaskOptional, const aclIntArray *prefixOptional,
    const aclIntArray *actualSeqQLenOptional, const aclIntArray *actualSeqKvLenOptional, double scaleValue,
    double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout,
    int64_t innerPrecise, int64_t sparseMode, char *softmaxOutLayout, const aclTensor *softmaxMaxOut,
    const aclTensor *softmaxSumOut, const aclTensor *softmaxOutOut, const aclTensor *attentionOutOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {ATTN_FORWARD("aclnnFlashAttentionVarLenScoreV4"),
                                   .q_lengths = actualSeqQLenOptional, .kv_lengths = actualSeqKvLenOptional,
                                   .softmax_layout = softmaxOutLayout, .pse_type = 1};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScoreV4)

/* V5: V3 with a sink and a choice of the layout of the statistics. */
HC_API aclnnStatus aclnnFlashAttentionVarLenScoreV5GetWorkspaceSize(
    const aclTensor *query, const aclTensor *queryRope, const aclTensor *key, const aclTensor *keyRope,
    const aclTensor *value, const aclTensor *realShiftOptional, const aclTensor *dropMaskOptional,
    const aclTensor *paddingMaskOptional, const aclTensor *attenMaskOptional, const aclTensor *sinkOptional,
    const aclIntArray *prefixOptional, const aclIntArray *actualSeqQLenOptional,
    const aclIntArray *actualSeqKvLenOptional, const aclIntArray *qStartIdxOptional,
    const aclIntArray *kvStartIdxOptional, double scaleValue, double keepProb, int64_t preTokens,
    int64_t nextTokens, int64_t headNum, char *inputLayout, int64_t innerPrecise, int64_t sparseMode,
    int64_t pseType, char *softmaxOutLayout, const aclTensor *softmaxMaxOut, const aclTensor *softmaxSumOut,
    const aclTensor *softmaxOutOut, const aclTensor *attentionOutOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    ATTN_ABSENT("aclnnFlashAttentionVarLenScoreV5", queryRope);
    ATTN_ABSENT("aclnnFlashAttentionVarLenScoreV5", keyRope);
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {ATTN_FORWARD("aclnnFlashAttentionVarLenScoreV5"),
                                   .sink = sinkOptional,
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType,
                                   .softmax_layout = softmaxOutLayout};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScoreV5)
HC_OP_MAX_WORKSPACE(aclnnFlashAttentionVarLenScoreV5)
