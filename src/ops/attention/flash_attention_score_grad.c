// SPDX-License-Identifier: Apache-2.0
/* Gradients of flash attention, padded layouts (V4 also packed). innerPrecise asks the vendor's kernels to
 * handle rows without keys; here they always are. The softmax output is reserved and left alone. */
#include "attention.h"

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionScoreGrad",
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
HC_OP_LAUNCH(aclnnFlashAttentionScoreGrad)

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionScoreGradV2",
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
HC_OP_LAUNCH(aclnnFlashAttentionScoreGradV2)

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
    const struct attn_inputs in = {.name = "aclnnFlashAttentionScoreGradV3",
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
                                   .dsink = dsinkOut,
                                   .backward = true};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreGradV3)

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
    HC_CHECK(
        queryRopeOptional == NULL || queryRopeOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
        "aclnnFlashAttentionScoreGradV4: queryRopeOptional is %s; separate rotary and quantised operands are "
        "not supported, it must be null",
        HC_SHOW(queryRopeOptional));
    HC_CHECK(
        keyRopeOptional == NULL || keyRopeOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
        "aclnnFlashAttentionScoreGradV4: keyRopeOptional is %s; separate rotary and quantised operands are "
        "not supported, it must be null",
        HC_SHOW(keyRopeOptional));
    HC_CHECK(
        dScaleQOptional == NULL || dScaleQOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
        "aclnnFlashAttentionScoreGradV4: dScaleQOptional is %s; separate rotary and quantised operands are "
        "not supported, it must be null",
        HC_SHOW(dScaleQOptional));
    HC_CHECK(
        dScaleKOptional == NULL || dScaleKOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
        "aclnnFlashAttentionScoreGradV4: dScaleKOptional is %s; separate rotary and quantised operands are "
        "not supported, it must be null",
        HC_SHOW(dScaleKOptional));
    HC_CHECK(
        dScaleVOptional == NULL || dScaleVOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
        "aclnnFlashAttentionScoreGradV4: dScaleVOptional is %s; separate rotary and quantised operands are "
        "not supported, it must be null",
        HC_SHOW(dScaleVOptional));
    HC_CHECK(
        dScaleDyOptional == NULL || dScaleDyOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
        "aclnnFlashAttentionScoreGradV4: dScaleDyOptional is %s; separate rotary and quantised operands are "
        "not supported, it must be null",
        HC_SHOW(dScaleDyOptional));
    HC_CHECK(
        dScaleOOptional == NULL || dScaleOOptional->numel == 0, ACLNN_ERR_PARAM_INVALID,
        "aclnnFlashAttentionScoreGradV4: dScaleOOptional is %s; separate rotary and quantised operands are "
        "not supported, it must be null",
        HC_SHOW(dScaleOOptional));
    (void)softmaxInOptional;
    (void)innerPrecise;
    (void)seed;
    (void)offset;
    (void)outDtype;
    (void)dqRopeOut;
    (void)dkRopeOut;
    const struct attn_inputs in = {.name = "aclnnFlashAttentionScoreGradV4",
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
                                   .softmax_layout = softmaxInLayout,
                                   .sparse_mode = sparseMode,
                                   .pse_type = pseType,
                                   .dq = dqOut,
                                   .dk = dkOut,
                                   .dv = dvOut,
                                   .dpse = dpseOut,
                                   .dsink = dsinkOut,
                                   .backward = true};
    return attn_plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFlashAttentionScoreGradV4)
