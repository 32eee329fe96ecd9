// SPDX-License-Identifier: Apache-2.0
/* The first branch of native sparse attention (arXiv 2502.11089) while decoding: one query token of each
 * sequence attends to the compressed keys of its sequence, which lie in pages, and chooses the blocks of keys
 * that the second branch attends to: the first, the last two, and those with the largest weights.
 *
 * A sequence of n compressed keys has ((n - 1) * stride + the compressed block) tokens, rounded up to whole
 * selected blocks. */
#include <string.h>

#include "compressed_attention.h"

static const char NAME[] = "aclnnNsaCompressAttentionInfer";

/* What the interface has no meaning for while decoding is refused by its name. */
static aclnnStatus check_absent(const char *arg, bool given) {
    HC_CHECK(!given, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is given, wanted none: every token sees all of its sequence", NAME, arg);
    return 0;
}

/* Queries, results and indices as [B, ...], whichever layout: BSND has one token of each sequence. */
static aclnnStatus view_tokens(const char *arg, const aclTensor *t, bool steps, aclTensor *view) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, arg);
    HC_CHECK(t->rank == (steps ? 4 : 3) && (!steps || t->shape[1] == 1), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %s", NAME, arg, HC_SHOW(t),
             steps ? "4 dimensions in BSND, one token of each sequence" : "3 dimensions in TND");
    *view = steps ? hc_tokens_without_step(t) : *t;
    return 0;
}

/* Pages [blocks, block size, heads beside each other]. */
static aclnnStatus view_pages(const char *arg, const aclTensor *t, int64_t heads, int64_t page,
                              aclTensor *view) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, arg);
    HC_CHECK(t->rank == 3 && heads >= 1 && t->shape[2] % heads == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s and numKeyValueHeads %lld, wanted 3 dimensions of so many heads", NAME, arg,
             HC_SHOW(t), (long long)heads);
    HC_CHECK(page == t->shape[1] && page > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: pageBlockSize is %lld, %s %s: wanted its second dimension", NAME, (long long)page, arg,
             HC_SHOW(t));
    *view = hc_tokens_split_heads(t, heads);
    return 0;
}

/* Lengths of the compressed keys of each sequence, and from them the blocks; queries end after one token
 * each. `lengths` has room for all three. */
static aclnnStatus find_lengths(const aclIntArray *keys, const struct compressed_blocks *size,
                                const aclTensor *table, int64_t page, int64_t *lengths) {
    const int64_t n = table->shape[0];
    int64_t most = 0;
    HC_CHECK(keys != NULL && (int64_t)keys->size == n, ACLNN_ERR_PARAM_INVALID,
             "%s: actualCmpKvSeqLenOptional has %zu lengths, wanted %lld", NAME,
             keys != NULL ? keys->size : 0, (long long)n);
    HC_CHECK(hc_mul_i64_fits(table->shape[1], page, &most), ACLNN_ERR_PARAM_INVALID,
             "%s: blockTableOptional is %s, which is too large for pages of %lld", NAME, HC_SHOW(table),
             (long long)page);
    for (int64_t b = 0; b < n; b++) {
        int64_t tokens = 0;
        HC_CHECK(keys->data[b] >= 0 && keys->data[b] <= most &&
                     hc_mul_i64_fits(keys->data[b], size->stride, &tokens) &&
                     hc_add_i64_fits(tokens, size->compress + size->select, &tokens),
                 ACLNN_ERR_PARAM_INVALID, "%s: actualCmpKvSeqLenOptional has %lld at %lld, wanted 0 to %lld",
                 NAME, (long long)keys->data[b], (long long)b, (long long)most);
        tokens -= size->stride + size->select;
        lengths[b] = b + 1;
        lengths[n + b] = keys->data[b];
        lengths[2 * n + b] = keys->data[b] > 0 ? (tokens + size->select - 1) / size->select : 0;
    }
    return 0;
}

/* Everything as the shared part has it: tokens of sequences, keys and values in pages. */
struct views {
    aclTensor query, key, value, out, indices;
};

/* torch_npu.npu_nsa_compress_attention_infer. */
HC_API aclnnStatus aclnnNsaCompressAttentionInferGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value,
    const aclTensor *attentionMaskOptional, const aclTensor *blockTableOptional,
    const aclIntArray *actualQSeqLenOptional, const aclIntArray *actualCmpKvSeqLenOptional,
    const aclIntArray *actualSelKvSeqLenOptional, const aclTensor *topKMaskOptional, int64_t numHeads,
    int64_t numKeyValueHeads, int64_t selectBlockSize, int64_t selectBlockCount, int64_t compressBlockSize,
    int64_t compressBlockStride, double scaleValue, char *layoutOptional, int64_t pageBlockSize,
    int64_t sparseMode, const aclTensor *output, const aclTensor *topKOutput, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    struct compressed_args a = {.key = HC_TOKENS_PAGED, .forced = true, .scale = scaleValue};
    struct views v;
    const struct compressed_blocks size = {compressBlockSize, compressBlockStride, selectBlockSize,
                                           selectBlockCount};
    enum hc_tokens_layout layout = HC_TOKENS_TND;
    if (layoutOptional != NULL && *layoutOptional != '\0')
        HC_TRY(hc_tokens_layout(NAME, "layoutOptional", layoutOptional, false, &layout));
    const bool steps = layout == HC_TOKENS_BSND;
    HC_TRY(view_tokens("query", query, steps, &v.query));
    HC_TRY(view_tokens("output", output, steps, &v.out));
    HC_TRY(view_tokens("topKOutput", topKOutput, steps, &v.indices));
    HC_TRY(view_pages("key", key, numKeyValueHeads, pageBlockSize, &v.key));
    HC_TRY(view_pages("value", value, numKeyValueHeads, pageBlockSize, &v.value));
    HC_TRY(check_absent("attentionMaskOptional", attentionMaskOptional != NULL));
    HC_TRY(check_absent("topKMaskOptional", topKMaskOptional != NULL));
    HC_TRY(check_absent("actualQSeqLenOptional", actualQSeqLenOptional && actualQSeqLenOptional->size > 0));
    HC_TRY(check_absent("actualSelKvSeqLenOptional",
                        actualSelKvSeqLenOptional && actualSelKvSeqLenOptional->size > 0));
    HC_CHECK(sparseMode == 0, ACLNN_ERR_PARAM_INVALID, "%s: sparseMode is %lld, wanted 0", NAME,
             (long long)sparseMode);
    HC_TRY(compressed_check_operands(NAME, &v.query, &v.key, &v.value, a.key));
    HC_CHECK(numHeads == v.query.shape[1], ACLNN_ERR_PARAM_INVALID,
             "%s: query is %s and numHeads %lld, wanted its heads", NAME, HC_SHOW(query),
             (long long)numHeads);
    HC_TRY(compressed_set_blocks(NAME, &size, &a));
    const int64_t sequences = v.query.shape[0];
    HC_TRY(HC_PLAIN_CHECK(NAME, "output", &v.out, sequences, numHeads, v.value.shape[3]));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "topKOutput", &v.indices, sequences, numKeyValueHeads, a.count));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "blockTableOptional", blockTableOptional, sequences, -1));
    a.sequences = sequences;
    const int optional = HC_ROLE_OPTIONAL;
    const struct hc_operand operands[] = {
        [COMPRESSED_QUERY] = {&v.query, NULL, HC_ROLE_IN, "query"},
        [COMPRESSED_KEY] = {&v.key, NULL, HC_ROLE_IN, "key"},
        [COMPRESSED_VALUE] = {&v.value, NULL, HC_ROLE_IN, "value"},
        [COMPRESSED_TABLE] = {blockTableOptional, NULL, HC_ROLE_IN, "blockTableOptional"},
        [COMPRESSED_MASK] = {NULL, NULL, HC_ROLE_IN | optional, "attentionMaskOptional"},
        [COMPRESSED_CHOSEN] = {NULL, NULL, HC_ROLE_IN | optional, "topKMaskOptional"},
        [COMPRESSED_OUT] = {&v.out, NULL, HC_ROLE_OUT, "output"},
        [COMPRESSED_INDICES] = {&v.indices, NULL, HC_ROLE_OUT, "topKOutput"},
        [COMPRESSED_MAX] = {NULL, NULL, HC_ROLE_OUT | optional, "softmaxMax"},
        [COMPRESSED_SUM] = {NULL, NULL, HC_ROLE_OUT | optional, "softmaxSum"}};
    int64_t *lengths = hc_block_take_array(3 * (size_t)sequences, sizeof *lengths);
    HC_CHECK(lengths != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %lld sequences", NAME,
             (long long)sequences);
    aclnnStatus status =
        find_lengths(actualCmpKvSeqLenOptional, &size, blockTableOptional, pageBlockSize, lengths);
    if (status == 0)
        status = compressed_plan(
            NAME, &a, (const int64_t *const[]){lengths, lengths + sequences, lengths + 2 * sequences},
            operands, workspaceSize, executor);
    hc_block_give(lengths);
    return status;
}
HC_OP_LAUNCH(aclnnNsaCompressAttentionInfer)
