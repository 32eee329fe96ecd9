// SPDX-License-Identifier: Apache-2.0
/* Attention of inference, prefill and decode, over keys in one piece, in pages or in a tensor for each batch.
 * innerPrecise is the vendor's; scores and sums are float32 here. */
#include "attention_infer.h"
#include "max_workspace.h"

/* The members that all versions have. */
#define COMMON(op)                                                                                           \
    .in.name = (op), .in.query = query, .in.pse = pseShiftOptional, .in.atten_mask = attenMaskOptional,      \
    .in.q_lengths = actualSeqLengthsOptional, .in.kv_lengths = actualSeqLengthsKvOptional,                   \
    .in.block_table = blockTableOptional, .in.head_num = numHeads, .in.scale = scaleValue,                   \
    .in.pre_tokens = preTokens, .in.next_tokens = nextTokens, .in.layout = inputLayout,                      \
    .in.sparse_mode = sparseMode, .in.attention_out = attentionOut, .in.lse = softmaxLse, .keys = key,       \
    .values = value, .kv_heads = numKeyValueHeads, .page_size = blockSize, .wants_lse = softmaxLseFlag,      \
    .in.q_padding = queryPaddingSizeOptional, .in.kv_padding = kvPaddingSizeOptional,                        \
    .in.key_scale = keyAntiquantScaleOptional, .in.key_offset = keyAntiquantOffsetOptional,                  \
    .in.value_scale = valueAntiquantScaleOptional, .in.value_offset = valueAntiquantOffsetOptional,          \
    .in.key_prefix = keySharedPrefixOptional, .in.value_prefix = valueSharedPrefixOptional,                  \
    .prefix_length = actualSharedPrefixLenOptional, .scale = antiquantScaleOptional,                         \
    .offset = antiquantOffsetOptional, .mode = antiquantMode, .key_mode = keyAntiquantMode,                  \
    .value_mode = valueAntiquantMode, .in.score_scale = deqScale1Optional,                                   \
    .in.weight_scale = quantScale1Optional, .in.sum_scale = deqScale2Optional,                               \
    .in.out_scale = quantScale2Optional, .in.out_offset = quantOffset2Optional
/* What only other hardware would look at. */
#define IGNORE (void)innerPrecise

/* torch_npu.npu_fused_infer_attention_score.
 *
 *   query         in the layout, [B,S,H] and so on; packed ones hold the sequences one after the other
 *   key, value    one tensor of all batches; pages [pages,rows,heads * size] or [pages,heads,rows,size]; or
 *                 a list of tensors of one batch, each as long as it is
 *   keyAntiquantScale, ...Offset, value...   of int8, int4 (eight in an int32) or floats of a byte, which
 * mean (x + offset) * scale: for each element of a head, token or head, by the modes (attention_infer.h);
 * antiquantScale and antiquantOffset are both in one tensor keySharedPrefix, value...   what all batches see
 * before their own keys, [1, positions, ...]; the first actualSharedPrefixLen of them queryPaddingSize,
 * kvPaddingSize   one number: positions behind the last one of each batch, whose length then counts from
 * there to the left. Masks and biases are of all positions. Looked at only where the lengths are given
 *   actualSeqLengths, ...Kv   how long each batch is, one number for all or one each; packed: running totals,
 * but for keys in pages, whose numbers are lengths. None: as long as the tensors are. blockTable    int32 [B,
 * n]: the pages of each batch in order; behind its last page there may be anything attenMask     bool or
 * uint8, non-zero hides; at least [S,S], [B,S,S] or [B,1,S,S]; sparse modes 2 to 4 say it without pseShift
 * added to the scaled scores, [1 or B, N, S, S] softmaxLse    float32 [B,N,S,1] or [T,N,1]: the logarithm of
 * the sum of exponentials; infinity for a row that sees nothing, whose output is zero
 *
 *   deqScale1, quantScale1, deqScale2   one number each, with queries, keys and values of int8
 * (attention_quant.h has the formula). dequantScaleQuery (V4, V5)   of queries of int8 or floats of a byte
 * whose keys and values have scales: a float for each token and head quantScale2, quantOffset2   attentionOut
 * is int8, or a float of a byte: of the result times the one plus the other, one number for all or [heads *
 * size]; rows of zeros are quantised, too
 *
 * Rows behind a batch's length become zero. An error names the argument, what it is and what is wanted; one
 * in the table, which is known only when the operator runs, fails the stream. */
HC_API aclnnStatus aclnnFusedInferAttentionScoreV2GetWorkspaceSize(
    const aclTensor *query, const aclTensorList *key, const aclTensorList *value,
    const aclTensor *pseShiftOptional, const aclTensor *attenMaskOptional,
    const aclIntArray *actualSeqLengthsOptional, const aclIntArray *actualSeqLengthsKvOptional,
    const aclTensor *deqScale1Optional, const aclTensor *quantScale1Optional,
    const aclTensor *deqScale2Optional, const aclTensor *quantScale2Optional,
    const aclTensor *quantOffset2Optional, const aclTensor *antiquantScaleOptional,
    const aclTensor *antiquantOffsetOptional, const aclTensor *blockTableOptional,
    const aclTensor *queryPaddingSizeOptional, const aclTensor *kvPaddingSizeOptional,
    const aclTensor *keyAntiquantScaleOptional, const aclTensor *keyAntiquantOffsetOptional,
    const aclTensor *valueAntiquantScaleOptional, const aclTensor *valueAntiquantOffsetOptional,
    const aclTensor *keySharedPrefixOptional, const aclTensor *valueSharedPrefixOptional,
    const aclIntArray *actualSharedPrefixLenOptional, int64_t numHeads, double scaleValue, int64_t preTokens,
    int64_t nextTokens, char *inputLayout, int64_t numKeyValueHeads, int64_t sparseMode, int64_t innerPrecise,
    int64_t blockSize, int64_t antiquantMode, bool softmaxLseFlag, int64_t keyAntiquantMode,
    int64_t valueAntiquantMode, const aclTensor *attentionOut, const aclTensor *softmaxLse,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    IGNORE;
    struct attn_infer x = {COMMON("aclnnFusedInferAttentionScoreV2")};
    return attn_infer_plan(&x, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFusedInferAttentionScoreV2)

/* V3: the rotated parts of queries and keys apart from the rest, as latent attention has them. */
HC_API aclnnStatus aclnnFusedInferAttentionScoreV3GetWorkspaceSize(
    const aclTensor *query, const aclTensorList *key, const aclTensorList *value,
    const aclTensor *pseShiftOptional, const aclTensor *attenMaskOptional,
    const aclIntArray *actualSeqLengthsOptional, const aclIntArray *actualSeqLengthsKvOptional,
    const aclTensor *deqScale1Optional, const aclTensor *quantScale1Optional,
    const aclTensor *deqScale2Optional, const aclTensor *quantScale2Optional,
    const aclTensor *quantOffset2Optional, const aclTensor *antiquantScaleOptional,
    const aclTensor *antiquantOffsetOptional, const aclTensor *blockTableOptional,
    const aclTensor *queryPaddingSizeOptional, const aclTensor *kvPaddingSizeOptional,
    const aclTensor *keyAntiquantScaleOptional, const aclTensor *keyAntiquantOffsetOptional,
    const aclTensor *valueAntiquantScaleOptional, const aclTensor *valueAntiquantOffsetOptional,
    const aclTensor *keySharedPrefixOptional, const aclTensor *valueSharedPrefixOptional,
    const aclIntArray *actualSharedPrefixLenOptional, const aclTensor *queryRopeOptional,
    const aclTensor *keyRopeOptional, const aclTensor *keyRopeAntiquantScaleOptional, int64_t numHeads,
    double scaleValue, int64_t preTokens, int64_t nextTokens, char *inputLayout, int64_t numKeyValueHeads,
    int64_t sparseMode, int64_t innerPrecise, int64_t blockSize, int64_t antiquantMode, bool softmaxLseFlag,
    int64_t keyAntiquantMode, int64_t valueAntiquantMode, const aclTensor *attentionOut,
    const aclTensor *softmaxLse, uint64_t *workspaceSize, aclOpExecutor **executor) {
    INFER_ABSENT("aclnnFusedInferAttentionScoreV3", keyRopeAntiquantScaleOptional);
    IGNORE;
    struct attn_infer x = {COMMON("aclnnFusedInferAttentionScoreV3"), .in.query_rope = queryRopeOptional,
                           .in.key_rope = keyRopeOptional};
    return attn_infer_plan(&x, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFusedInferAttentionScoreV3)
HC_OP_MAX_WORKSPACE(aclnnFusedInferAttentionScoreV3)

/* V4: a sink, one logit per head that takes part in the sum and has no value. */
HC_API aclnnStatus aclnnFusedInferAttentionScoreV4GetWorkspaceSize(
    const aclTensor *query, const aclTensorList *key, const aclTensorList *value,
    const aclTensor *pseShiftOptional, const aclTensor *attenMaskOptional,
    const aclIntArray *actualSeqLengthsOptional, const aclIntArray *actualSeqLengthsKvOptional,
    const aclTensor *deqScale1Optional, const aclTensor *quantScale1Optional,
    const aclTensor *deqScale2Optional, const aclTensor *quantScale2Optional,
    const aclTensor *quantOffset2Optional, const aclTensor *antiquantScaleOptional,
    const aclTensor *antiquantOffsetOptional, const aclTensor *blockTableOptional,
    const aclTensor *queryPaddingSizeOptional, const aclTensor *kvPaddingSizeOptional,
    const aclTensor *keyAntiquantScaleOptional, const aclTensor *keyAntiquantOffsetOptional,
    const aclTensor *valueAntiquantScaleOptional, const aclTensor *valueAntiquantOffsetOptional,
    const aclTensor *keySharedPrefixOptional, const aclTensor *valueSharedPrefixOptional,
    const aclIntArray *actualSharedPrefixLenOptional, const aclTensor *queryRopeOptional,
    const aclTensor *keyRopeOptional, const aclTensor *keyRopeAntiquantScaleOptional,
    const aclTensor *dequantScaleQueryOptional, const aclTensor *learnableSinkOptional, int64_t numHeads,
    double scaleValue, int64_t preTokens, int64_t nextTokens, char *inputLayout, int64_t numKeyValueHeads,
    int64_t sparseMode, int64_t innerPrecise, int64_t blockSize, int64_t antiquantMode, bool softmaxLseFlag,
    int64_t keyAntiquantMode, int64_t valueAntiquantMode, int64_t queryQuantMode,
    const aclTensor *attentionOut, const aclTensor *softmaxLse, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    INFER_ABSENT("aclnnFusedInferAttentionScoreV4", keyRopeAntiquantScaleOptional);
    IGNORE;
    struct attn_infer x = {COMMON("aclnnFusedInferAttentionScoreV4"),
                           .in.query_rope = queryRopeOptional,
                           .in.key_rope = keyRopeOptional,
                           .in.sink = learnableSinkOptional,
                           .in.q_scale = dequantScaleQueryOptional,
                           .query_mode = queryQuantMode};
    return attn_infer_plan(&x, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFusedInferAttentionScoreV4)
HC_OP_MAX_WORKSPACE(aclnnFusedInferAttentionScoreV4)

/* V5: a bias made of slopes, and the positions from which it counts. */
HC_API aclnnStatus aclnnFusedInferAttentionScoreV5GetWorkspaceSize(
    const aclTensor *query, const aclTensorList *key, const aclTensorList *value,
    const aclTensor *pseShiftOptional, const aclTensor *attenMaskOptional,
    const aclIntArray *actualSeqLengthsOptional, const aclIntArray *actualSeqLengthsKvOptional,
    const aclTensor *deqScale1Optional, const aclTensor *quantScale1Optional,
    const aclTensor *deqScale2Optional, const aclTensor *quantScale2Optional,
    const aclTensor *quantOffset2Optional, const aclTensor *antiquantScaleOptional,
    const aclTensor *antiquantOffsetOptional, const aclTensor *blockTableOptional,
    const aclTensor *queryPaddingSizeOptional, const aclTensor *kvPaddingSizeOptional,
    const aclTensor *keyAntiquantScaleOptional, const aclTensor *keyAntiquantOffsetOptional,
    const aclTensor *valueAntiquantScaleOptional, const aclTensor *valueAntiquantOffsetOptional,
    const aclTensor *keySharedPrefixOptional, const aclTensor *valueSharedPrefixOptional,
    const aclIntArray *actualSharedPrefixLenOptional, const aclTensor *queryRopeOptional,
    const aclTensor *keyRopeOptional, const aclTensor *keyRopeAntiquantScaleOptional,
    const aclTensor *dequantScaleQueryOptional, const aclTensor *learnableSinkOptional,
    const aclIntArray *qStartIdxOptional, const aclIntArray *kvStartIdxOptional, int64_t numHeads,
    double scaleValue, int64_t preTokens, int64_t nextTokens, char *inputLayout, int64_t numKeyValueHeads,
    int64_t sparseMode, int64_t innerPrecise, int64_t blockSize, int64_t antiquantMode, bool softmaxLseFlag,
    int64_t keyAntiquantMode, int64_t valueAntiquantMode, int64_t queryQuantMode, int64_t pseType,
    const aclTensor *attentionOut, const aclTensor *softmaxLse, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    INFER_ABSENT("aclnnFusedInferAttentionScoreV5", keyRopeAntiquantScaleOptional);
    IGNORE;
    struct attn_infer x = {COMMON("aclnnFusedInferAttentionScoreV5"),
                           .in.query_rope = queryRopeOptional,
                           .in.key_rope = keyRopeOptional,
                           .in.sink = learnableSinkOptional,
                           .in.q_scale = dequantScaleQueryOptional,
                           .query_mode = queryQuantMode,
                           .in.q_start = qStartIdxOptional,
                           .in.kv_start = kvStartIdxOptional,
                           .in.pse_type = pseType};
    return attn_infer_plan(&x, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnFusedInferAttentionScoreV5)
HC_OP_MAX_WORKSPACE(aclnnFusedInferAttentionScoreV5)
