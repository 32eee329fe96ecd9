// SPDX-License-Identifier: Apache-2.0
/* Gradients of flash attention over packed sequences. innerPrecise asks the vendor's kernels to handle
 * rows without keys; here they always are. The softmax output is reserved and left alone. */
#include "attention.h"

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionUnpaddingScoreGrad",
                                   .query = query,
                                   .key = keyIn,
                                   .value = value,
                                   .dy = dy,
                                   .pse = pseShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .softmax_max = softmaxMaxOptional,
                                   .softmax_sum = softmaxSumOptional,
                                   .attention_out = attentionInOptional,
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
                                   .dq = dqOut,
                                   .dk = dkOut,
                                   .dv = dvOut,
                                   .dpse = dpseOut,
                                   .pse_type = 1,
                                   .backward = true};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGrad)

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionUnpaddingScoreGradV2",
                                   .query = query,
                                   .key = keyIn,
                                   .value = value,
                                   .dy = dy,
                                   .pse = pseShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .softmax_max = softmaxMaxOptional,
                                   .softmax_sum = softmaxSumOptional,
                                   .attention_out = attentionInOptional,
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
                                   .dq = dqOut,
                                   .dk = dkOut,
                                   .dv = dvOut,
                                   .dpse = dpseOut,
                                   .backward = true};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGradV2)

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
    HC_CHECK(queryRope == NULL || queryRope->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionUnpaddingScoreGradV3: queryRope is %s; separate rotary and quantised "
             "operands are "
             "not supported, it must be null",
             HC_SHOW(queryRope));
    HC_CHECK(keyInRope == NULL || keyInRope->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionUnpaddingScoreGradV3: keyInRope is %s; separate rotary and quantised "
             "operands are "
             "not supported, it must be null",
             HC_SHOW(keyInRope));
    (void)softmaxInOptional;
    (void)innerPrecise;
    (void)dqRopeOut;
    (void)dkRopeOut;
    const struct attn_inputs in = {.name = "aclnnFlashAttentionUnpaddingScoreGradV3",
                                   .query = query,
                                   .key = keyIn,
                                   .value = value,
                                   .dy = dy,
                                   .pse = pseShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .softmax_max = softmaxMaxOptional,
                                   .softmax_sum = softmaxSumOptional,
                                   .attention_out = attentionInOptional,
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
                                   .dq = dqOut,
                                   .dk = dkOut,
                                   .dv = dvOut,
                                   .dpse = dpseOut,
                                   .backward = true};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGradV3)

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionUnpaddingScoreGradV4",
                                   .query = query,
                                   .key = keyIn,
                                   .value = value,
                                   .dy = dy,
                                   .pse = pseShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .softmax_max = softmaxMaxOptional,
                                   .softmax_sum = softmaxSumOptional,
                                   .attention_out = attentionInOptional,
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
                                   .dq = dqOut,
                                   .dk = dkOut,
                                   .dv = dvOut,
                                   .dpse = dpseOut,
                                   .softmax_layout = softmaxInLayout,
                                   .pse_type = 1,
                                   .backward = true};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGradV4)

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
    HC_CHECK(queryRope == NULL || queryRope->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionUnpaddingScoreGradV5: queryRope is %s; separate rotary and quantised "
             "operands are "
             "not supported, it must be null",
             HC_SHOW(queryRope));
    HC_CHECK(keyInRope == NULL || keyInRope->numel == 0, ACLNN_ERR_PARAM_INVALID,
             "aclnnFlashAttentionUnpaddingScoreGradV5: keyInRope is %s; separate rotary and quantised "
             "operands are "
             "not supported, it must be null",
             HC_SHOW(keyInRope));
    (void)softmaxInOptional;
    (void)innerPrecise;
    (void)dqRopeOut;
    (void)dkRopeOut;
    const struct attn_inputs in = {.name = "aclnnFlashAttentionUnpaddingScoreGradV5",
                                   .query = query,
                                   .key = keyIn,
                                   .value = value,
                                   .dy = dy,
                                   .pse = pseShiftOptional,
                                   .drop_mask = dropMaskOptional,
                                   .padding_mask = paddingMaskOptional,
                                   .atten_mask = attenMaskOptional,
                                   .softmax_max = softmaxMaxOptional,
                                   .softmax_sum = softmaxSumOptional,
                                   .attention_out = attentionInOptional,
                                   .sink = sinkInOptional,
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
                                   .softmax_layout = softmaxInLayout,
                                   .dq = dqOut,
                                   .dk = dkOut,
                                   .dv = dvOut,
                                   .dpse = dpseOut,
                                   .dsink = dsinkOut,
                                   .backward = true};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionUnpaddingScoreGradV5)
