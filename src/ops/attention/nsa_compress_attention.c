// SPDX-License-Identifier: Apache-2.0
/* The first branch of native sparse attention (arXiv 2502.11089) in training: attention over compressed keys,
 * and for each token and group of heads the blocks of keys that the second branch attends to. Tokens of
 * sequences lie behind each other (TND). The statistics are laid out as flash attention's, whose backward
 * pass is this operator's, too: for each sequence in turn [N, S, 8].
 *
 * attenMask hides compressed keys from tokens, topkMask names blocks that are chosen whatever their weight:
 * one of each kind for all sequences, from their first token and key on. */
#include "compressed_attention.h"

static const char NAME[] = "aclnnNsaCompressAttention";

enum { REPEAT = 8, ALL_MASK = 1 };

/* Its size is compared with the sequences when they are known. */
static aclnnStatus check_mask(const char *arg, const aclTensor *t) {
    HC_CHECK(t == NULL || (t->rank == 2 && (t->dtype == ACL_BOOL || t->dtype == ACL_UINT8)),
             ACLNN_ERR_PARAM_INVALID, "%s: %s is %s, wanted bool or uint8 of 2 dimensions", NAME, arg,
             HC_SHOW(t));
    return 0;
}

/* TND has no sequences of its own: each list has the end of every one. */
static aclnnStatus check_ends(const aclIntArray *queries, const aclIntArray *keys,
                              const aclIntArray *blocks) {
    HC_CHECK(queries != NULL && keys != NULL && blocks != NULL && queries->size > 0, ACLNN_ERR_PARAM_NULLPTR,
             "%s: %s is null or empty, and TND has no sequences of its own", NAME,
             keys == NULL     ? "actualCmpSeqKvLenOptional"
             : blocks == NULL ? "actualSelSeqKvLenOptional"
                              : "actualSeqQLenOptional");
    HC_CHECK(queries->size == keys->size && queries->size == blocks->size, ACLNN_ERR_PARAM_INVALID,
             "%s: actualSeqQLenOptional has %zu sequences, actualCmpSeqKvLenOptional %zu, "
             "actualSelSeqKvLenOptional %zu",
             NAME, queries->size, keys->size, blocks->size);
    return 0;
}

/* How many blocks each sequence has, from where its blocks end. */
static aclnnStatus count_blocks(const aclIntArray *ends, int64_t *blocks) {
    for (size_t b = 0; b < ends->size; b++) {
        const int64_t begin = b > 0 ? ends->data[b - 1] : 0;
        HC_CHECK(ends->data[b] >= begin, ACLNN_ERR_PARAM_INVALID,
                 "%s: actualSelSeqKvLenOptional has %lld at %zu, wanted ends that do not fall", NAME,
                 (long long)ends->data[b], b);
        blocks[b] = ends->data[b] - begin;
    }
    return 0;
}

/* torch_npu.npu_nsa_compress_attention. */
HC_API aclnnStatus aclnnNsaCompressAttentionGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *attenMaskOptional,
    const aclTensor *topkMaskOptional, const aclIntArray *actualSeqQLenOptional,
    const aclIntArray *actualCmpSeqKvLenOptional, const aclIntArray *actualSelSeqKvLenOptional,
    double scaleValue, int64_t headNum, char *inputLayout, int64_t sparseMode, int64_t compressBlockSize,
    int64_t compressStride, int64_t selectBlockSize, int64_t selectBlockCount, const aclTensor *softmaxMaxOut,
    const aclTensor *softmaxSumOut, const aclTensor *attentionOutOut, const aclTensor *topkIndicesOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct compressed_args a = {.scale = scaleValue};
    HC_TRY(hc_tokens_layout(NAME, "inputLayout", inputLayout, false, &a.key));
    HC_CHECK(a.key == HC_TOKENS_TND, ACLNN_ERR_PARAM_INVALID, "%s: inputLayout is \"%s\"; TND is supported",
             NAME, inputLayout);
    HC_CHECK(sparseMode == 0 || sparseMode == ALL_MASK, ACLNN_ERR_PARAM_INVALID,
             "%s: sparseMode is %lld, wanted 0 or 1: a mask is given as it is", NAME, (long long)sparseMode);
    HC_TRY(compressed_check_operands(NAME, query, key, value, a.key));
    HC_CHECK(headNum == query->shape[1], ACLNN_ERR_PARAM_INVALID,
             "%s: query is %s and headNum %lld, wanted its heads", NAME, HC_SHOW(query), (long long)headNum);
    HC_TRY(compressed_set_blocks(NAME,
                                 &(const struct compressed_blocks){compressBlockSize, compressStride,
                                                                   selectBlockSize, selectBlockCount},
                                 &a));
    HC_TRY(check_mask("attenMaskOptional", attenMaskOptional));
    HC_TRY(check_mask("topkMaskOptional", topkMaskOptional));
    HC_TRY(check_ends(actualSeqQLenOptional, actualCmpSeqKvLenOptional, actualSelSeqKvLenOptional));
    const int64_t tokens = query->shape[0], heads = query->shape[1];
    HC_TRY(HC_PLAIN_CHECK(NAME, "attentionOutOut", attentionOutOut, tokens, heads, value->shape[2]));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "topkIndicesOut", topkIndicesOut, tokens, key->shape[1], a.count));
    HC_TRY(HC_PLAIN_CHECK(NAME, "softmaxMaxOut", softmaxMaxOut, tokens, heads, REPEAT));
    HC_TRY(HC_PLAIN_CHECK(NAME, "softmaxSumOut", softmaxSumOut, tokens, heads, REPEAT));
    a.sequences = (int64_t)actualSeqQLenOptional->size;
    int64_t *blocks = hc_block_take_array(actualSeqQLenOptional->size, sizeof *blocks);
    HC_CHECK(blocks != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld sequences", NAME,
             (long long)a.sequences);
    const struct hc_operand operands[] = {
        [COMPRESSED_QUERY] = HC_IN(query),
        [COMPRESSED_KEY] = HC_IN(key),
        [COMPRESSED_VALUE] = HC_IN(value),
        [COMPRESSED_TABLE] = {NULL, NULL, HC_ROLE_IN | HC_ROLE_OPTIONAL, "blockTableOptional"},
        [COMPRESSED_MASK] = HC_IN_OPT(attenMaskOptional),
        [COMPRESSED_CHOSEN] = HC_IN_OPT(topkMaskOptional),
        [COMPRESSED_OUT] = HC_OUT(attentionOutOut),
        [COMPRESSED_INDICES] = HC_OUT(topkIndicesOut),
        [COMPRESSED_MAX] = HC_OUT(softmaxMaxOut),
        [COMPRESSED_SUM] = HC_OUT(softmaxSumOut)};
    aclnnStatus status = count_blocks(actualSelSeqKvLenOptional, blocks);
    if (status == 0)
        status = compressed_plan(
            NAME, &a,
            (const int64_t *const[]){actualSeqQLenOptional->data, actualCmpSeqKvLenOptional->data, blocks},
            operands, workspaceSize, executor);
    hc_block_give(blocks);
    return status;
}
HC_OP_LAUNCH(aclnnNsaCompressAttention)
