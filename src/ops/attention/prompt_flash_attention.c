// SPDX-License-Identifier: Apache-2.0
/* Attention of whole prompts, each as long as it says. */
#include "attention_infer.h"

/* torch_npu.npu_prompt_flash_attention. */
HC_API aclnnStatus aclnnPromptFlashAttentionV3GetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *pseShift,
    const aclTensor *attenMask, const aclIntArray *actualSeqLengths, const aclIntArray *actualSeqLengthsKv,
    const aclTensor *deqScale1, const aclTensor *quantScale1, const aclTensor *deqScale2,
    const aclTensor *quantScale2, const aclTensor *quantOffset2, int64_t numHeads, double scaleValue,
    int64_t preTokens, int64_t nextTokens, char *inputLayout, int64_t numKeyValueHeads, int64_t sparseMode,
    int64_t innerPrecise, const aclTensor *attentionOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)innerPrecise;
    struct attn_infer x = {.in.name = "aclnnPromptFlashAttentionV3",
                           .in.query = query,
                           .in.key = key,
                           .in.value = value,
                           .in.pse = pseShift,
                           .in.atten_mask = attenMask,
                           .in.q_lengths = actualSeqLengths,
                           .in.kv_lengths = actualSeqLengthsKv,
                           .in.head_num = numHeads,
                           .in.scale = scaleValue,
                           .in.pre_tokens = preTokens,
                           .in.next_tokens = nextTokens,
                           .in.layout = inputLayout,
                           .in.sparse_mode = sparseMode,
                           .in.attention_out = attentionOut,
                           .kv_heads = numKeyValueHeads,
                           .in.score_scale = deqScale1,
                           .in.weight_scale = quantScale1,
                           .in.sum_scale = deqScale2,
                           .in.out_scale = quantScale2,
                           .in.out_offset = quantOffset2};
    return attn_infer_plan(&x, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnPromptFlashAttentionV3)
