// SPDX-License-Identifier: Apache-2.0
/* The second branch of native sparse attention (arXiv 2502.11089) while decoding: one query token of each
 * sequence attends to the blocks of keys that were selected for its groups of heads, from pages. The work is
 * chosen_attention.c's; queries and keys become its [B, 1, N, D] and pages of heads by views. */
#include <string.h>

#include "chosen_attention.h"

static const char NAME[] = "aclnnNsaSelectedAttentionInfer";

enum layout { BSND, BSH, TND };

static aclnnStatus find_layout(const char *text, enum layout *layout) {
    static const char *const NAMES[] = {"BSND", "BSH", "TND"};
    for (int i = 0; i < 3; i++) {
        if (text != NULL && *text != '\0' && strcmp(text, NAMES[i]) != 0) continue;
        *layout = i;
        return 0;
    }
    return hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: layoutOptional is \"%.32s\", wanted BSND, BSH or TND", NAME,
                   text);
}

/* Queries or results as [B, 1, N, D]. */
static aclnnStatus view_tokens(const char *arg, const aclTensor *t, enum layout layout, int64_t heads,
                               aclTensor *view) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, arg);
    HC_CHECK(t->rank == (layout == BSND ? 4 : 3), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted %d dimensions in this layout", NAME, arg, HC_SHOW(t),
             layout == BSND ? 4 : 3);
    HC_CHECK(heads >= 1 && (layout != BSH || t->shape[2] % heads == 0), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s and numHeads %lld, wanted so many heads", NAME, arg, HC_SHOW(t), (long long)heads);
    *view = layout == TND ? hc_tokens_with_step(t) : layout == BSH ? hc_tokens_split_heads(t, heads) : *t;
    HC_CHECK(view->shape[1] == 1 && view->shape[2] == heads, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted one token of each sequence, of %lld heads", NAME, arg, HC_SHOW(t),
             (long long)heads);
    return 0;
}

/* Pages [blocks, block size, N2, D], or with the heads in one dimension. */
static aclnnStatus view_pages(const char *arg, const aclTensor *t, int64_t heads, int64_t page,
                              aclTensor *view) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME, arg);
    HC_CHECK(heads >= 1 &&
                 ((t->rank == 3 && t->shape[2] % heads == 0) || (t->rank == 4 && t->shape[2] == heads)),
             ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s and numKeyValueHeads %lld, wanted 3 or 4 dimensions of so many heads", NAME, arg,
             HC_SHOW(t), (long long)heads);
    HC_CHECK(page == t->shape[1] && page > 0, ACLNN_ERR_PARAM_INVALID,
             "%s: pageBlockSize is %lld, %s %s: wanted its second dimension", NAME, (long long)page, arg,
             HC_SHOW(t));
    *view = t->rank == 3 ? hc_tokens_split_heads(t, heads) : *t;
    return 0;
}

/* What the interface has no meaning for while decoding is refused by its name. */
static aclnnStatus check_absent(const char *arg, bool given) {
    HC_CHECK(!given, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is given, wanted none: every token sees all of its sequence", NAME, arg);
    return 0;
}

/* The caller's lengths do not outlive this call: they travel behind the other arguments. */
static aclnnStatus plan(const struct chosen_args *given, const aclIntArray *lengths,
                        const struct hc_operand *operands, size_t num_operands, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    const size_t bytes = sizeof *given + lengths->size * sizeof(int64_t);
    struct chosen_args *a = hc_block_take(bytes);
    HC_CHECK(a != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu sequences", NAME, lengths->size);
    *a = *given;
    if (lengths->size > 0) memcpy(a->lengths, lengths->data, lengths->size * sizeof(int64_t));
    const aclnnStatus status = hc_plan(&(const struct hc_plan){.name = NAME,
                                                               .run = chosen_run,
                                                               .args = a,
                                                               .args_size = bytes,
                                                               .operands = operands,
                                                               .num_operands = num_operands},
                                       workspaceSize, executor);
    hc_block_give(a);
    return status;
}

/* Sizes that the views have to agree on. */
static aclnnStatus check_sizes(const aclTensor *query, const aclTensor *key, const aclTensor *value,
                               const aclTensor *out) {
    HC_TRY(HC_PLAIN_CHECK(NAME, "query", query, -1, 1, -1, -1));
    HC_TRY(HC_PLAIN_CHECK(NAME, "key", key, -1, -1, -1, query->shape[3]));
    HC_TRY(HC_PLAIN_CHECK(NAME, "value", value, key->shape[0], key->shape[1], key->shape[2], -1));
    HC_CHECK(query->shape[2] % key->shape[2] == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: numHeads is %lld and numKeyValueHeads %lld, wanted a multiple of it", NAME,
             (long long)query->shape[2], (long long)key->shape[2]);
    return HC_PLAIN_CHECK(NAME, "output", out, query->shape[0], 1, query->shape[2], value->shape[3]);
}

/* torch_npu.npu_nsa_select_attention_infer. */
HC_API aclnnStatus aclnnNsaSelectedAttentionInferGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *topkIndices,
    const aclTensor *attenMaskOptional, const aclTensor *blockTableOptional,
    const aclIntArray *actualQSeqLenOptional, const aclIntArray *actualKvSeqLenOptional, char *layoutOptional,
    int64_t numHeads, int64_t numKeyValueHeads, int64_t selectBlockSize, int64_t selectBlockCount,
    int64_t pageBlockSize, double scaleValue, int64_t sparseMode, aclTensor *output, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    struct chosen_args a = {.indices = "topkIndices",
                            .query = HC_TOKENS_BSND,
                            .key = HC_TOKENS_PAGED,
                            .block = selectBlockSize,
                            .count = selectBlockCount,
                            .repeat = 1,
                            .scale = scaleValue,
                            .k_given = true};
    enum layout layout = BSND;
    aclTensor q, k, v, out;
    HC_TRY(find_layout(layoutOptional, &layout));
    HC_TRY(view_tokens("query", query, layout, numHeads, &q));
    HC_TRY(view_pages("key", key, numKeyValueHeads, pageBlockSize, &k));
    HC_TRY(view_pages("value", value, numKeyValueHeads, pageBlockSize, &v));
    HC_TRY(view_tokens("output", output, layout, numHeads, &out));
    HC_TRY(check_sizes(&q, &k, &v, &out));
    HC_TRY(check_absent("attenMaskOptional", attenMaskOptional != NULL));
    HC_TRY(check_absent("actualQSeqLenOptional", actualQSeqLenOptional && actualQSeqLenOptional->size > 0));
    HC_CHECK(sparseMode == 0, ACLNN_ERR_PARAM_INVALID, "%s: sparseMode is %lld, wanted 0", NAME,
             (long long)sparseMode);
    HC_CHECK(a.block >= 1 && a.count >= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: selectBlockSize is %lld, selectBlockCount %lld, wanted 1 or more", NAME, (long long)a.block,
             (long long)a.count);
    a.sequences = q.shape[0];
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "topkIndices", topkIndices, a.sequences, numKeyValueHeads, a.count));
    HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "blockTableOptional", blockTableOptional, a.sequences, -1));
    HC_CHECK(actualKvSeqLenOptional != NULL && (int64_t)actualKvSeqLenOptional->size == a.sequences,
             ACLNN_ERR_PARAM_INVALID, "%s: actualKvSeqLenOptional has %zu lengths, wanted %lld", NAME,
             actualKvSeqLenOptional != NULL ? actualKvSeqLenOptional->size : 0, (long long)a.sequences);
    const aclTensor *none = NULL;
    const struct hc_operand operands[] = {[CHOSEN_QUERY] = {&q, NULL, HC_ROLE_IN, "query"},
                                          [CHOSEN_KEY] = {&k, NULL, HC_ROLE_IN, "key"},
                                          [CHOSEN_VALUE] = {&v, NULL, HC_ROLE_IN, "value"},
                                          [CHOSEN_INDICES] = HC_IN(topkIndices),
                                          [CHOSEN_Q_LENGTHS] = HC_IN_OPT(none),
                                          [CHOSEN_K_LENGTHS] = HC_IN_OPT(none),
                                          [CHOSEN_Q_ROPE] = HC_IN_OPT(none),
                                          [CHOSEN_K_ROPE] = HC_IN_OPT(none),
                                          [CHOSEN_TABLE] = HC_IN(blockTableOptional),
                                          [CHOSEN_SINKS] = HC_IN_OPT(none),
                                          [CHOSEN_OUT] = {&out, NULL, HC_ROLE_OUT, "output"},
                                          [CHOSEN_MAX] = HC_OUT_OPT(none),
                                          [CHOSEN_SUM] = HC_OUT_OPT(none)};
    return plan(&a, actualKvSeqLenOptional, operands, HC_ARRAY_SIZE(operands), workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNsaSelectedAttentionInfer)
