// SPDX-License-Identifier: Apache-2.0
/* Flash attention forward, padded layouts (V4 also packed). innerPrecise asks the vendor's kernels to handle
 * rows without keys; here they always are. The softmax output is reserved and left alone. */
#include "attention.h"

/* torch_npu.npu_fusion_attention. innerPrecise trades precision for speed on other hardware; scores and
 * sums are float here, always. softmaxOutOut is empty in the interface: probabilities are never stored. */
HC_API aclnnStatus aclnnFlashAttentionScoreGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *realShiftOptional,
    const aclTensor *dropMaskOptional, const aclTensor *paddingMaskOptional,
    const aclTensor *attenMaskOptional, const aclIntArray *prefixOptional, double scaleValue, double keepProb,
    int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout, int64_t innerPrecise,
    int64_t sparseMode, const aclTensor *softmaxMaxOut, const aclTensor *softmaxSumOut,
    const aclTensor *softmaxOutOut, const aclTensor *attentionOutOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {ATTN_FORWARD("aclnnFlashAttentionScore"), .pse_type = 1};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScore)

/* V2: the kind of position bias, and the positions from which slopes count. */
HC_API aclnnStatus aclnnFlashAttentionScoreV2GetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *realShiftOptional,
    const aclTensor *dropMaskOptional, const aclTensor *paddingMaskOptional,
    const aclTensor *attenMaskOptional, const aclIntArray *prefixOptional,
    const aclIntArray *qStartIdxOptional, const aclIntArray *kvStartIdxOptional, double scaleValue,
    double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout,
    int64_t innerPrecise, int64_t sparseMode, int64_t pseType, const aclTensor *softmaxMaxOut,
    const aclTensor *softmaxSumOut, const aclTensor *softmaxOutOut, const aclTensor *attentionOutOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {ATTN_FORWARD("aclnnFlashAttentionScoreV2"), .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional, .pse_type = pseType};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreV2)

/* V3: a sink, one logit per head that takes part in the sum and has no value. */
HC_API aclnnStatus aclnnFlashAttentionScoreV3GetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *realShiftOptional,
    const aclTensor *dropMaskOptional, const aclTensor *paddingMaskOptional,
    const aclTensor *attenMaskOptional, const aclTensor *sinkOptional, const aclIntArray *prefixOptional,
    const aclIntArray *qStartIdxOptional, const aclIntArray *kvStartIdxOptional, double scaleValue,
    double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout,
    int64_t innerPrecise, int64_t sparseMode, int64_t pseType, const aclTensor *softmaxMaxOut,
    const aclTensor *softmaxSumOut, const aclTensor *softmaxOutOut, const aclTensor *attentionOutOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {ATTN_FORWARD("aclnnFlashAttentionScoreV3"), .sink = sinkOptional,
                                   .q_start = qStartIdxOptional, .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreV3)

/* V4: packed sequences as well, and dropout by seed and offset where there is no mask. Scales and separate
 * rotary parts belong to quantised inputs, as does outDtype; float inputs leave them unused. */
HC_API aclnnStatus aclnnFlashAttentionScoreV4GetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *realShiftOptional,
    const aclTensor *dropMaskOptional, const aclTensor *paddingMaskOptional,
    const aclTensor *attenMaskOptional, const aclTensor *queryRopeOptional, const aclTensor *keyRopeOptional,
    const aclTensor *dScaleQOptional, const aclTensor *dScaleKOptional, const aclTensor *dScaleVOptional,
    const aclTensor *sinkOptional, const aclIntArray *prefixOptional,
    const aclIntArray *actualSeqQLenOptional, const aclIntArray *actualSeqKvLenOptional,
    const aclIntArray *qStartIdxOptional, const aclIntArray *kvStartIdxOptional, double scaleValue,
    double keepProb, int64_t preTokens, int64_t nextTokens, int64_t headNum, char *inputLayout,
    int64_t innerPrecise, int64_t sparseMode, int64_t outDtype, int64_t pseType, char *softmaxOutLayout,
    int64_t seed, int64_t offset, const aclTensor *softmaxMaxOut, const aclTensor *softmaxSumOut,
    const aclTensor *softmaxOutOut, const aclTensor *attentionOutOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    ATTN_ABSENT("aclnnFlashAttentionScoreV4", queryRopeOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreV4", keyRopeOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreV4", dScaleQOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreV4", dScaleKOptional);
    ATTN_ABSENT("aclnnFlashAttentionScoreV4", dScaleVOptional);
    (void)innerPrecise;
    (void)outDtype;
    (void)softmaxOutOut;
    const struct attn_inputs in = {ATTN_FORWARD("aclnnFlashAttentionScoreV4"),
                                   .sink = sinkOptional,
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .pse_type = pseType,
                                   .seeded = true,
                                   .seed = seed,
                                   .offset = offset,
                                   .softmax_layout = softmaxOutLayout};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreV4)
