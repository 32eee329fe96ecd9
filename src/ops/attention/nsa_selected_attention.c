// SPDX-License-Identifier: Apache-2.0
/* The second branch of native sparse attention (arXiv 2502.11089): every query token attends to the blocks of
 * keys that were selected for its group of heads. Tokens of sequences lie behind each other (TND); selected
 * blocks are [T, N2, count]. The statistics stand eight times beside each other, as in flash attention's
 * interface.
 *
 * A mask, if given, has to be the causal one from the first token on, which is what sparseMode 2 says: it is
 * read once to see that it is, and not for every score. */
#include <string.h>

#include "chosen_attention.h"
#include "temporary.h"

static const char FORWARD[] = "aclnnNsaSelectedAttention", BACKWARD[] = "aclnnNsaSelectedAttentionGrad";

enum { REPEAT = 8, CAUSAL = 2 };

/* What both directions are given. */
struct inputs {
    const char *name;
    const aclTensor *query, *key, *value, *indices, *mask;
    const aclIntArray *q_ends, *k_ends;
    double scale;
    int64_t heads, mode, block, count;
    const char *layout;
};

/* What is above the diagonal is masked, and nothing else. */
static aclnnStatus check_causal(const struct hc_call *call, const aclTensor *mask) {
    aclTensor view;
    void *owned;
    if (mask == NULL) return 0;
    HC_TRY(hc_contiguous(mask, ACL_BOOL, &view, &owned));
    const bool *masked = (const bool *)(const void *)hc_data(&view);
    aclnnStatus status = 0;
    for (int64_t i = 0; i < mask->shape[0] && status == 0; i++)
        for (int64_t j = 0; j < mask->shape[1] && status == 0; j++)
            if (masked[i * mask->shape[1] + j] != (j > i))
                status = hc_fail(
                    ACLNN_ERR_PARAM_INVALID,
                    "%s: attenMaskOptional is no causal mask at [%lld,%lld]: another is not supported",
                    call->name, (long long)i, (long long)j);
    hc_block_give(owned);
    return status;
}

/* The mask is the operand behind those of the work. */
static aclnnStatus run(const struct hc_call *call) {
    HC_TRY(check_causal(call, hc_arg(call, CHOSEN_SUM + 1)));
    return chosen_run(call);
}
static aclnnStatus run_grad(const struct hc_call *call) {
    HC_TRY(check_causal(call, hc_arg(call, CHOSEN_D_K_ROPE + 1)));
    return chosen_run_grad(call);
}

/* The type and the shape of a mask; it may be smaller or larger than the sequences, as it is one of a kind.
 */
static aclnnStatus check_mask(const struct inputs *in, int64_t *mode) {
    HC_CHECK(in->mode == 0 || in->mode == CAUSAL, ACLNN_ERR_PARAM_INVALID,
             "%s: sparseMode is %lld, wanted 0 or 2", in->name, (long long)in->mode);
    *mode = in->mask != NULL ? CAUSAL : 0;
    if (in->mask == NULL) return 0;
    HC_CHECK(
        in->mode == CAUSAL, ACLNN_ERR_PARAM_INVALID,
        "%s: attenMaskOptional is %s with sparseMode %lld: only the causal mask of sparseMode 2 is supported",
        in->name, HC_SHOW(in->mask), (long long)in->mode);
    HC_CHECK((in->mask->dtype == ACL_BOOL || in->mask->dtype == ACL_UINT8) && in->mask->rank == 2,
             ACLNN_ERR_PARAM_INVALID, "%s: attenMaskOptional is %s, wanted bool or uint8 [S1,S2]", in->name,
             HC_SHOW(in->mask));
    return 0;
}

/* Ends of sequences that do not fall, as many of keys as of queries; how they lie within the tokens is
 * checked with the spans. */
static aclnnStatus check_ends(const struct inputs *in) {
    HC_CHECK(in->q_ends != NULL && in->k_ends != NULL && in->q_ends->size > 0, ACLNN_ERR_PARAM_NULLPTR,
             "%s: %s is null or empty, and TND has no sequences of its own", in->name,
             in->q_ends == NULL || in->q_ends->size == 0 ? "actualSeqQLenOptional"
                                                         : "actualSeqKvLenOptional");
    HC_CHECK(in->q_ends->size == in->k_ends->size, ACLNN_ERR_PARAM_INVALID,
             "%s: actualSeqQLenOptional has %zu sequences, actualSeqKvLenOptional %zu", in->name,
             in->q_ends->size, in->k_ends->size);
    return 0;
}

/* Shapes of what both directions have. */
static aclnnStatus check(const struct inputs *in, struct chosen_args *a) {
    const char *name = in->name;
    HC_TRY(hc_tokens_layout(name, "inputLayout", in->layout, false, &a->query));
    HC_CHECK(a->query == HC_TOKENS_TND, ACLNN_ERR_PARAM_INVALID,
             "%s: inputLayout is \"%s\"; TND is supported", name, in->layout);
    HC_TRY(HC_PLAIN_CHECK(name, "query", in->query, -1, -1, -1));
    HC_TRY(HC_PLAIN_CHECK(name, "key", in->key, -1, -1, in->query->shape[2]));
    HC_TRY(HC_PLAIN_CHECK(name, "value", in->value, in->key->shape[0], in->key->shape[1], -1));
    const int64_t tokens = in->query->shape[0], heads = in->query->shape[1], groups = in->key->shape[1];
    HC_CHECK(groups > 0 && heads % groups == 0 && in->heads == heads, ACLNN_ERR_PARAM_INVALID,
             "%s: query is %s, key %s and headNum %lld: wanted the query's heads, a multiple of the key's",
             name, HC_SHOW(in->query), HC_SHOW(in->key), (long long)in->heads);
    HC_CHECK(in->block >= 1 && in->count >= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: selectedBlockSize is %lld, selectedBlockCount %lld, wanted 1 or more", name,
             (long long)in->block, (long long)in->count);
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "topkIndices", in->indices, tokens, groups, in->count));
    HC_TRY(check_mask(in, &a->mode));
    HC_TRY(check_ends(in));
    a->key = HC_TOKENS_TND, a->indices = "topkIndices";
    a->block = in->block, a->count = in->count, a->repeat = REPEAT, a->scale = in->scale;
    a->sequences = (int64_t)in->q_ends->size, a->q_given = a->k_given = true;
    return 0;
}

/* The ends travel behind the other arguments, as the caller's arrays do not outlive this call. */
static aclnnStatus plan(const struct inputs *in, const struct chosen_args *given, hc_run_fn run_fn,
                        const struct hc_operand *operands, size_t num_operands, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    const size_t n = in->q_ends->size, bytes = sizeof *given + 2 * n * sizeof(int64_t);
    struct chosen_args *a = hc_block_take(bytes);
    HC_CHECK(a != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %zu sequences", in->name, n);
    *a = *given;
    memcpy(a->lengths, in->q_ends->data, n * sizeof(int64_t));
    memcpy(a->lengths + n, in->k_ends->data, n * sizeof(int64_t));
    const aclnnStatus status = hc_plan(&(const struct hc_plan){.name = in->name,
                                                               .run = run_fn,
                                                               .args = a,
                                                               .args_size = bytes,
                                                               .operands = operands,
                                                               .num_operands = num_operands},
                                       workspaceSize, executor);
    hc_block_give(a);
    return status;
}

/* A result or its gradient: a row of the value's size for each head. */
static aclnnStatus check_result(const struct inputs *in, const char *arg, const aclTensor *t) {
    return HC_PLAIN_CHECK(in->name, arg, t, in->query->shape[0], in->query->shape[1], in->value->shape[2]);
}
/* Maximum and sum of every head, eight times each. */
static aclnnStatus check_statistics(const struct inputs *in, const char *arg, const aclTensor *t) {
    return HC_PLAIN_CHECK(in->name, arg, t, in->query->shape[0], in->query->shape[1], REPEAT);
}

/* torch_npu.npu_nsa_select_attention. */
HC_API aclnnStatus aclnnNsaSelectedAttentionGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *topkIndices,
    const aclTensor *attenMaskOptional, const aclIntArray *actualSeqQLenOptional,
    const aclIntArray *actualSeqKvLenOptional, double scaleValue, int64_t headNum, char *inputLayout,
    int64_t sparseMode, int64_t selectedBlockSize, int64_t selectedBlockCount, const aclTensor *softmaxMaxOut,
    const aclTensor *softmaxSumOut, const aclTensor *attentionOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    const struct inputs in = {FORWARD,
                              query,
                              key,
                              value,
                              topkIndices,
                              attenMaskOptional,
                              actualSeqQLenOptional,
                              actualSeqKvLenOptional,
                              scaleValue,
                              headNum,
                              sparseMode,
                              selectedBlockSize,
                              selectedBlockCount,
                              inputLayout};
    struct chosen_args a = {0};
    HC_TRY(check(&in, &a));
    HC_TRY(check_result(&in, "attentionOut", attentionOut));
    HC_TRY(check_statistics(&in, "softmaxMaxOut", softmaxMaxOut));
    HC_TRY(check_statistics(&in, "softmaxSumOut", softmaxSumOut));
    const aclTensor *none = NULL;
    const struct hc_operand operands[] = {HC_IN(query),          HC_IN(key),
                                          HC_IN(value),          HC_IN(topkIndices),
                                          HC_IN_OPT(none),       HC_IN_OPT(none),
                                          HC_IN_OPT(none),       HC_IN_OPT(none),
                                          HC_IN_OPT(none),       HC_IN_OPT(none),
                                          HC_OUT(attentionOut),  HC_OUT(softmaxMaxOut),
                                          HC_OUT(softmaxSumOut), HC_IN_OPT(attenMaskOptional)};
    return plan(&in, &a, run, operands, HC_ARRAY_SIZE(operands), workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNsaSelectedAttention)

/* Gradients of queries, keys and values. */
HC_API aclnnStatus aclnnNsaSelectedAttentionGradGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *attentionOut,
    const aclTensor *attentionOutGrad, const aclTensor *softmaxMax, const aclTensor *softmaxSum,
    const aclTensor *topkIndices, const aclIntArray *actualSeqQLenOptional,
    const aclIntArray *actualSeqKvLenOptional, const aclTensor *attenMaskOptional, double scaleValue,
    int64_t selectedBlockSize, int64_t selectedBlockCount, int64_t headNum, char *inputLayout,
    int64_t sparseMode, const aclTensor *dqOut, const aclTensor *dkOut, const aclTensor *dvOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    const struct inputs in = {BACKWARD,
                              query,
                              key,
                              value,
                              topkIndices,
                              attenMaskOptional,
                              actualSeqQLenOptional,
                              actualSeqKvLenOptional,
                              scaleValue,
                              headNum,
                              sparseMode,
                              selectedBlockSize,
                              selectedBlockCount,
                              inputLayout};
    struct chosen_args a = {0};
    HC_TRY(check(&in, &a));
    HC_TRY(check_result(&in, "attentionOut", attentionOut));
    HC_TRY(check_result(&in, "attentionOutGrad", attentionOutGrad));
    HC_TRY(check_statistics(&in, "softmaxMax", softmaxMax));
    HC_TRY(check_statistics(&in, "softmaxSum", softmaxSum));
    HC_TRY(hc_plain_check(BACKWARD, "dqOut", dqOut, query->rank, query->shape));
    HC_TRY(hc_plain_check(BACKWARD, "dkOut", dkOut, key->rank, key->shape));
    HC_TRY(hc_plain_check(BACKWARD, "dvOut", dvOut, value->rank, value->shape));
    const aclTensor *none = NULL;
    const struct hc_operand operands[] = {
        HC_IN(query),        HC_IN(key),        HC_IN(value),
        HC_IN(topkIndices),  HC_IN_OPT(none),   HC_IN_OPT(none),
        HC_IN_OPT(none),     HC_IN_OPT(none),   HC_IN(attentionOutGrad),
        HC_IN(attentionOut), HC_IN(softmaxMax), HC_IN(softmaxSum),
        HC_OUT(dqOut),       HC_OUT(dkOut),     HC_OUT(dvOut),
        HC_OUT_OPT(none),    HC_OUT_OPT(none),  HC_IN_OPT(attenMaskOptional)};
    return plan(&in, &a, run_grad, operands, HC_ARRAY_SIZE(operands), workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnNsaSelectedAttentionGrad)
