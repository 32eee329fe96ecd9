// SPDX-License-Identifier: Apache-2.0
/* Attention of one query per batch over its cache: a step of decoding. */
#include "attention_infer.h"

/* torch_npu.npu_incre_flash_attention. actualSeqLengths are those of keys; without pages a list of one is for
 * all batches. Scales and offsets of quantised caches are [2] or [2, heads, size], for keys and then values,
 * kvPaddingSize is as FusedInferAttentionScore's. */
HC_API aclnnStatus aclnnIncreFlashAttentionV4GetWorkspaceSize(
    const aclTensor *query, const aclTensorList *key, const aclTensorList *value, const aclTensor *pseShift,
    const aclTensor *attenMask, const aclIntArray *actualSeqLengths, const aclTensor *dequantScale1,
    const aclTensor *quantScale1, const aclTensor *dequantScale2, const aclTensor *quantScale2,
    const aclTensor *quantOffset2, const aclTensor *antiquantScale, const aclTensor *antiquantOffset,
    const aclTensor *blocktable, const aclTensor *kvPaddingSize, int64_t numHeads, double scaleValue,
    char *inputLayout, int64_t numKeyValueHeads, int64_t blockSize, int64_t innerPrecise,
    const aclTensor *attentionOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)innerPrecise;
    struct attn_infer x = {.in.name = "aclnnIncreFlashAttentionV4",
                           .in.query = query,
                           .in.pse = pseShift,
                           .in.atten_mask = attenMask,
                           .in.kv_lengths = actualSeqLengths,
                           .in.block_table = blocktable,
                           .in.head_num = numHeads,
                           .in.scale = scaleValue,
                           .in.layout = inputLayout,
                           .in.sparse_mode = SPARSE_ALL,
                           .in.attention_out = attentionOut,
                           .keys = key,
                           .values = value,
                           .kv_heads = numKeyValueHeads,
                           .page_size = blockSize,
                           .in.kv_padding = kvPaddingSize,
                           .scale = antiquantScale,
                           .offset = antiquantOffset,
                           .mode = QUANT_CHANNEL,
                           .in.score_scale = dequantScale1,
                           .in.weight_scale = quantScale1,
                           .in.sum_scale = dequantScale2,
                           .in.out_scale = quantScale2,
                           .in.out_offset = quantOffset2};
    return attn_infer_plan(&x, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnIncreFlashAttentionV4)
