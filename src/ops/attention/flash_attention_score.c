// SPDX-License-Identifier: Apache-2.0
/* Flash attention forward, padded layouts (V4 also packed). innerPrecise asks the vendor's kernels to handle
 * rows without keys; here they always are. The softmax output is reserved and left alone. */
#include "attention.h"

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionScore",
                                   .query = query,
                                   .key = key,
                                   .value = value,
                                   .pse = realShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .prefix = prefixOptional,
                                   .scale = scaleValue,
                                   .keep_prob = keepProb,
                                   .pre_tokens = preTokens,
                                   .next_tokens = nextTokens,
                                   .head_num = headNum,
                                   .layout = inputLayout,
                                   .sparse_mode = sparseMode,
                                   .softmax_max = softmaxMaxOut,
                                   .softmax_sum = softmaxSumOut,
                                   .attention_out = attentionOutOut,
                                   .pse_type = 1};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScore)

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionScoreV2",
                                   .query = query,
                                   .key = key,
                                   .value = value,
                                   .pse = realShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .prefix = prefixOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .scale = scaleValue,
                                   .keep_prob = keepProb,
                                   .pre_tokens = preTokens,
                                   .next_tokens = nextTokens,
                                   .head_num = headNum,
                                   .layout = inputLayout,
                                   .sparse_mode = sparseMode,
                                   .pse_type = pseType,
                                   .softmax_max = softmaxMaxOut,
                                   .softmax_sum = softmaxSumOut,
                                   .attention_out = attentionOutOut};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreV2)

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionScoreV3",
                                   .query = query,
                                   .key = key,
                                   .value = value,
                                   .pse = realShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .sink = sinkOptional,
                                   .prefix = prefixOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .scale = scaleValue,
                                   .keep_prob = keepProb,
                                   .pre_tokens = preTokens,
                                   .next_tokens = nextTokens,
                                   .head_num = headNum,
                                   .layout = inputLayout,
                                   .sparse_mode = sparseMode,
                                   .pse_type = pseType,
                                   .softmax_max = softmaxMaxOut,
                                   .softmax_sum = softmaxSumOut,
                                   .attention_out = attentionOutOut};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreV3)

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
    HC_CHECK(
        queryRopeOptional == NULL || queryRopeOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
        "aclnnFlashAttentionScoreV4: queryRopeOptional is %s; separate rotary and quantised operands are "
        "not supported, it must be null",
        HC_SHOW(queryRopeOptional));
    HC_CHECK(keyRopeOptional == NULL || keyRopeOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionScoreV4: keyRopeOptional is %s; separate rotary and quantised operands are "
             "not supported, it must be null",
             HC_SHOW(keyRopeOptional));
    HC_CHECK(dScaleQOptional == NULL || dScaleQOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionScoreV4: dScaleQOptional is %s; separate rotary and quantised operands are "
             "not supported, it must be null",
             HC_SHOW(dScaleQOptional));
    HC_CHECK(dScaleKOptional == NULL || dScaleKOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionScoreV4: dScaleKOptional is %s; separate rotary and quantised operands are "
             "not supported, it must be null",
             HC_SHOW(dScaleKOptional));
    HC_CHECK(dScaleVOptional == NULL || dScaleVOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionScoreV4: dScaleVOptional is %s; separate rotary and quantised operands are "
             "not supported, it must be null",
             HC_SHOW(dScaleVOptional));
    (void)innerPrecise;
    (void)outDtype;
    (void)seed;
    (void)offset;
    (void)softmaxOutOut;
    const struct attn_inputs in = {.name = "aclnnFlashAttentionScoreV4",
                                   .query = query,
                                   .key = key,
                                   .value = value,
                                   .pse = realShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .sink = sinkOptional,
                                   .prefix = prefixOptional,
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .q_start = qStartIdxOptional,
                                   .kv_start = kvStartIdxOptional,
                                   .scale = scaleValue,
                                   .keep_prob = keepProb,
                                   .pre_tokens = preTokens,
                                   .next_tokens = nextTokens,
                                   .head_num = headNum,
                                   .layout = inputLayout,
                                   .sparse_mode = sparseMode,
                                   .pse_type = pseType,
                                   .softmax_layout = softmaxOutLayout,
                                   .softmax_max = softmaxMaxOut,
                                   .softmax_sum = softmaxSumOut,
                                   .attention_out = attentionOutOut};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreV4)
