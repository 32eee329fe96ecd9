// SPDX-License-Identifier: Apache-2.0
/* Attention that sees whole blocks of keys, and its gradient: a mask says for each block of queries of a head
 * which blocks of keys it sees. What is kept for the gradient is lse, the logarithm of a row's sum:
 *
 *     P = exp(scale q k^T - lse) where the block is seen, else 0,   out = P v
 *
 * Tiles that nobody sees cost nothing, and rows of a tile that see none of it are left out of its products
 * (attention_job.c). A row that sees nothing is zeros; its lse is infinity, which makes its gradient zero.
 * innerPrecise 1 lets the vendor's kernels keep the softmax in half precision; here it is float32. */
#include <strings.h>

#include "attention.h"
#include "attention_job.h"

/* What both directions are given besides. */
struct options {
    const aclTensor *mask;
    const aclIntArray *shape;
    const char *kv_layout;
    int64_t kv_heads, mask_type;
};

/* Keys of a tile are those of one block. */
static aclnnStatus parse_shape(struct attn_inputs *in, const aclIntArray *shape) {
    in->block_queries = in->block_keys = ATTN_KEYS;
    if (shape == NULL || shape->size == 0) return 0;
    HC_CHECK(shape->size >= 2, ACLNN_ERR_PARAM_INVALID, "%s: blockShape has %zu number, wanted two", in->name,
             shape->size);
    const int64_t queries = shape->data[0], keys = shape->data[1];
    HC_CHECK(queries > 0 && keys > 0 && keys % ATTN_KEYS == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: blockShape is [%lld,%lld], wanted positive numbers, the second a multiple of %d", in->name,
             (long long)queries, (long long)keys, (int)ATTN_KEYS);
    in->block_queries = (size_t)queries, in->block_keys = (size_t)keys;
    return 0;
}

/* The number of heads comes from the tensors. */
static aclnnStatus check_heads(struct attn_inputs *in, int64_t kv_heads) {
    const bool packed = strcasecmp(in->layout, "TND") == 0;
    const aclTensor *both[] = {in->query, in->key};
    for (int i = 0; i < 2; i++)
        HC_CHECK(both[i]->rank == (packed ? 3 : 4), ACLNN_ERR_PARAM_INVALID,
                 "%s: %s is %s, layout %s wants %d dimensions", in->name, i == 0 ? "query" : "key",
                 HC_SHOW(both[i]), in->layout, packed ? 3 : 4);
    HC_CHECK(in->key->shape[1] == kv_heads, ACLNN_ERR_PARAM_INVALID,
             "%s: numKeyValueHeads is %lld, key is %s", in->name, (long long)kv_heads, HC_SHOW(in->key));
    in->head_num = in->query->shape[1];
    return 0;
}

/* Without a mask of elements, which the interface reserves, preTokens and nextTokens do not count. */
static aclnnStatus plan(struct attn_inputs in, const struct options *o, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    HC_CHECK(in.layout != NULL && o->kv_layout != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in.name,
             in.layout == NULL ? "qInputLayout" : "kvInputLayout");
    HC_CHECK(strcasecmp(in.layout, "TND") == 0 || strcasecmp(in.layout, "BNSD") == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: qInputLayout is \"%s\", wanted TND or BNSD", in.name, in.layout);
    HC_CHECK(strcasecmp(in.layout, o->kv_layout) == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: kvInputLayout is \"%s\", wanted that of query, %s", in.name, o->kv_layout, in.layout);
    HC_CHECK(in.query != NULL && in.key != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", in.name,
             in.query == NULL ? "query" : "key");
    HC_TRY(attn_check_absent(in.name, o->mask, "attenMaskOptional", "masks of elements"));
    HC_CHECK(o->mask_type == 0, ACLNN_ERR_PARAM_INVALID, "%s: maskType is %lld, wanted 0", in.name,
             (long long)o->mask_type);
    HC_TRY(check_heads(&in, o->kv_heads));
    HC_TRY(parse_shape(&in, o->shape));
    in.blockwise = true, in.keep_prob = 1;
    return attn_plan(&in, workspaceSize, executor);
}

/* torch_npu.npu_block_sparse_attention. blockSize is that of pages, which the interface reserves. */
HC_API aclnnStatus aclnnBlockSparseAttentionGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value,
    const aclTensor *blockSparseMaskOptional, const aclTensor *attenMaskOptional,
    const aclIntArray *blockShapeOptional, const aclIntArray *actualSeqLengthsOptional,
    const aclIntArray *actualSeqLengthsKvOptional, const aclTensor *blockTableOptional, char *qInputLayout,
    char *kvInputLayout, int64_t numKeyValueHeads, int64_t maskType, double scaleValue, int64_t innerPrecise,
    int64_t blockSize, int64_t preTokens, int64_t nextTokens, int64_t softmaxLseFlag, aclTensor *attentionOut,
    aclTensor *softmaxLseOptional, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnBlockSparseAttention";
    (void)blockSize;
    (void)preTokens;
    (void)nextTokens;
    HC_TRY(attn_check_absent(NAME, blockTableOptional, "blockTableOptional", "keys in pages"));
    HC_CHECK(innerPrecise == 0 || innerPrecise == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: innerPrecise is %lld, wanted 0 or 1", NAME, (long long)innerPrecise);
    HC_CHECK(innerPrecise == 0 || query == NULL || query->dtype != ACL_BF16, ACLNN_ERR_PARAM_INVALID,
             "%s: innerPrecise is 1, wanted 0 as query is %s", NAME, HC_SHOW(query));
    HC_CHECK(softmaxLseFlag == 0 || softmaxLseFlag == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: softmaxLseFlag is %lld, wanted 0 or 1", NAME, (long long)softmaxLseFlag);
    HC_CHECK(softmaxLseFlag == 0 || softmaxLseOptional != NULL, ACLNN_ERR_PARAM_NULLPTR,
             "%s: softmaxLseOptional is null, softmaxLseFlag is 1", NAME);
    return plan((struct attn_inputs){.name = NAME,
                                     .query = query,
                                     .key = key,
                                     .value = value,
                                     .block_mask = blockSparseMaskOptional,
                                     .q_lengths = actualSeqLengthsOptional,
                                     .kv_lengths = actualSeqLengthsKvOptional,
                                     .layout = qInputLayout,
                                     .scale = scaleValue,
                                     .attention_out = attentionOut,
                                     .lse = softmaxLseFlag == 1 ? softmaxLseOptional : NULL},
                &(const struct options){attenMaskOptional, blockShapeOptional, kvInputLayout,
                                        numKeyValueHeads, maskType},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnBlockSparseAttention)

/* torch_npu.npu_block_sparse_attention_backward. */
HC_API aclnnStatus aclnnBlockSparseAttentionGradGetWorkspaceSize(
    const aclTensor *dout, const aclTensor *query, const aclTensor *key, const aclTensor *value,
    const aclTensor *attentionOut, const aclTensor *softmaxLse, const aclTensor *blockSparseMaskOptional,
    const aclTensor *attenMaskOptional, const aclIntArray *blockShapeOptional,
    const aclIntArray *actualSeqLengthsOptional, const aclIntArray *actualSeqLengthsKvOptional,
    char *qInputLayout, char *kvInputLayout, int64_t numKeyValueHeads, int64_t maskType, double scaleValue,
    int64_t preTokens, int64_t nextTokens, aclTensor *dq, aclTensor *dk, aclTensor *dv,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char NAME[] = "aclnnBlockSparseAttentionGrad";
    (void)preTokens;
    (void)nextTokens;
    HC_CHECK(softmaxLse != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: softmaxLse is null", NAME);
    return plan((struct attn_inputs){.name = NAME,
                                     .query = query,
                                     .key = key,
                                     .value = value,
                                     .block_mask = blockSparseMaskOptional,
                                     .q_lengths = actualSeqLengthsOptional,
                                     .kv_lengths = actualSeqLengthsKvOptional,
                                     .layout = qInputLayout,
                                     .scale = scaleValue,
                                     .attention_out = attentionOut,
                                     .lse = softmaxLse,
                                     .backward = true,
                                     .dy = dout,
                                     .dq = dq,
                                     .dk = dk,
                                     .dv = dv},
                &(const struct options){attenMaskOptional, blockShapeOptional, kvInputLayout,
                                        numKeyValueHeads, maskType},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnBlockSparseAttentionGrad)
