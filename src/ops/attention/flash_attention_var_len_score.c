// SPDX-License-Identifier: Apache-2.0
/* Flash attention forward over packed sequences. innerPrecise asks the vendor's kernels to handle
 * rows without keys; here they always are. The softmax output is reserved and left alone. */
#include "attention.h"

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionVarLenScore",
                                   .query = query,
                                   .key = key,
                                   .value = value,
                                   .pse = realShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .prefix = prefixOptional,
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
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
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScore)

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionVarLenScoreV2",
                                   .query = query,
                                   .key = key,
                                   .value = value,
                                   .pse = realShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
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
                                   .softmax_max = softmaxMaxOut,
                                   .softmax_sum = softmaxSumOut,
                                   .attention_out = attentionOutOut};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScoreV2)

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
    HC_CHECK(queryRope == NULL || queryRope->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionVarLenScoreV3: queryRope is %s; separate rotary and quantised operands are "
             "not supported, it must be null",
             HC_SHOW(queryRope));
    HC_CHECK(keyRope == NULL || keyRope->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionVarLenScoreV3: keyRope is %s; separate rotary and quantised operands are "
             "not supported, it must be null",
             HC_SHOW(keyRope));
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {.name = "aclnnFlashAttentionVarLenScoreV3",
                                   .query = query,
                                   .key = key,
                                   .value = value,
                                   .pse = realShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
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
                                   .softmax_max = softmaxMaxOut,
                                   .softmax_sum = softmaxSumOut,
                                   .attention_out = attentionOutOut};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScoreV3)

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionVarLenScoreV4",
                                   .query = query,
                                   .key = key,
                                   .value = value,
                                   .pse = realShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .prefix = prefixOptional,
                                   .q_lengths = actualSeqQLenOptional,
                                   .kv_lengths = actualSeqKvLenOptional,
                                   .scale = scaleValue,
                                   .keep_prob = keepProb,
                                   .pre_tokens = preTokens,
                                   .next_tokens = nextTokens,
                                   .head_num = headNum,
                                   .layout = inputLayout,
                                   .sparse_mode = sparseMode,
                                   .softmax_layout = softmaxOutLayout,
                                   .softmax_max = softmaxMaxOut,
                                   .softmax_sum = softmaxSumOut,
                                   .attention_out = attentionOutOut,
                                   .pse_type = 1};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScoreV4)

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
    HC_CHECK(queryRope == NULL || queryRope->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionVarLenScoreV5: queryRope is %s; separate rotary and quantised operands are "
             "not supported, it must be null",
             HC_SHOW(queryRope));
    HC_CHECK(keyRope == NULL || keyRope->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionVarLenScoreV5: keyRope is %s; separate rotary and quantised operands are "
             "not supported, it must be null",
             HC_SHOW(keyRope));
    (void)innerPrecise;
    (void)softmaxOutOut;
    const struct attn_inputs in = {.name = "aclnnFlashAttentionVarLenScoreV5",
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
HC_OP_LAUNCH(aclnnFlashAttentionVarLenScoreV5)
