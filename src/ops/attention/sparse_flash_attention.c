// SPDX-License-Identifier: Apache-2.0
/* Attention over the tokens that a lightning indexer has chosen (DeepSeek sparse attention, arXiv
 * 2512.02556), of latent attention with absorbed projections (arXiv 2405.04434): all heads of queries share
 * one head of keys. What is checked of both directions, and their plans; the work is chosen_attention.c's. */
#include <string.h>

#include "chosen_attention.h"

static const char FORWARD[] = "aclnnSparseFlashAttention", BACKWARD[] = "aclnnSparseFlashAttentionGrad";

/* What both directions are given. */
struct inputs {
    const char *name;
    const aclTensor *query, *key, *value, *indices, *table, *q_lengths, *k_lengths, *q_rope, *k_rope;
    const char *q_layout, *k_layout;
    int64_t block, mode, before, after;
    double scale;
};

/* Lengths and pages, as the layouts want them. */
/* TND and pages cannot do without lengths; BSND has them in its shape. */
static aclnnStatus check_sequences(const struct inputs *in, struct chosen_args *a) {
    const char *name = in->name;
    a->sequences = in->query->shape[0];
    if (a->query == HC_TOKENS_TND) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "actualSeqLengthsQueryOptional", in->q_lengths, -1));
        a->sequences = in->q_lengths->shape[0];
    } else if (in->q_lengths != NULL) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "actualSeqLengthsQueryOptional", in->q_lengths, a->sequences));
    }
    if (a->key != HC_TOKENS_BSND || in->k_lengths != NULL)
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "actualSeqLengthsKvOptional", in->k_lengths, a->sequences));
    if (a->key == HC_TOKENS_PAGED)
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "blockTableOptional", in->table, a->sequences, -1));
    HC_CHECK(a->key == HC_TOKENS_PAGED || a->key == a->query, ACLNN_ERR_PARAM_INVALID,
             "%s: the layout of the keys is \"%s\", wanted that of the query or PA_BSND", name, in->k_layout);
    HC_CHECK(a->key != HC_TOKENS_BSND || in->key->shape[0] == in->query->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: key is %s, query %s: wanted as many sequences", name, HC_SHOW(in->key), HC_SHOW(in->query));
    return 0;
}

/* t has the key's rows, with `size` elements (-1: any) in each. */
static aclnnStatus check_same_rows(const struct inputs *in, const char *arg, const aclTensor *t,
                                   int64_t size) {
    int64_t shape[4];
    memcpy(shape, in->key->shape, sizeof shape);
    shape[in->key->rank - 1] = size;
    return hc_plain_check(in->name, arg, t, in->key->rank, shape);
}

/* Shapes of all operands that both directions have. */
static aclnnStatus check(const struct inputs *in, bool paged, struct chosen_args *a) {
    const char *name = in->name;
    *a = (struct chosen_args){
        .indices = "sparseIndices", .repeat = 1, .mode = in->mode, .block = in->block, .scale = in->scale};
    HC_TRY(hc_tokens_layout(name, "layoutQueryOptional", in->q_layout, false, &a->query));
    HC_TRY(hc_tokens_layout(name, "layoutKvOptional", in->k_layout, paged, &a->key));
    HC_TRY(hc_tokens_mode(name, in->mode, in->before, in->after));
    HC_CHECK(in->block >= 1 && in->block <= 128, ACLNN_ERR_PARAM_INVALID,
             "%s: sparseBlockSize is %lld, wanted 1 to 128", name, (long long)in->block);
    const bool packed = a->query == HC_TOKENS_TND;
    if (packed) HC_TRY(HC_PLAIN_CHECK(name, "query", in->query, -1, -1, -1));
    else HC_TRY(HC_PLAIN_CHECK(name, "query", in->query, -1, -1, -1, -1));
    const int32_t rank = in->query->rank;
    HC_TRY(hc_tokens_check_keys(name, "key", in->key, a->key, 1, in->query->shape[rank - 1]));
    HC_TRY(check_same_rows(in, "value", in->value, -1));
    HC_CHECK((in->q_rope == NULL) == (in->k_rope == NULL), ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             in->q_rope == NULL ? "queryRopeOptional" : "keyRopeOptional");
    if (in->q_rope != NULL) {
        int64_t shape[4];
        memcpy(shape, in->query->shape, sizeof shape);
        shape[rank - 1] = -1;
        HC_TRY(hc_plain_check(name, "queryRopeOptional", in->q_rope, rank, shape));
        HC_TRY(check_same_rows(in, "keyRopeOptional", in->k_rope, in->q_rope->shape[rank - 1]));
    }
    const int64_t *n = in->query->shape, wanted[4] = {n[0], packed ? 1 : n[1], packed ? -1 : 1, -1};
    HC_TRY(hc_plain_check_index(name, "sparseIndices", in->indices, rank, wanted));
    a->count = in->indices->shape[rank - 1];
    return check_sequences(in, a);
}

/* The statistics of every head: [B, 1, S, heads] or [1, T, heads]. */
static aclnnStatus check_statistics(const struct inputs *in, const char *arg, const aclTensor *t) {
    const int64_t *n = in->query->shape;
    if (in->query->rank == 3) return HC_PLAIN_CHECK(in->name, arg, t, 1, n[0], n[1]);
    return HC_PLAIN_CHECK(in->name, arg, t, n[0], 1, n[1], n[2]);
}

/* What only the forward operators have. */
struct outputs {
    const aclTensor *sinks, *out, *max, *sum;
    int64_t attention_mode;
    bool statistics;
};

/* What both forward operators check besides, and their plan. */
static aclnnStatus plan(const struct inputs *in, struct outputs o, uint64_t *workspaceSize,
                        aclOpExecutor **executor) {
    struct chosen_args args;
    HC_TRY(check(in, true, &args));
    HC_CHECK(o.attention_mode == 0 || o.attention_mode == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: attentionMode is %lld, wanted 0 or 2", in->name, (long long)o.attention_mode);
    int64_t shape[4];
    memcpy(shape, in->query->shape, sizeof shape);
    shape[in->query->rank - 1] = in->value->shape[in->value->rank - 1];
    HC_TRY(hc_plain_check(in->name, "attentionOut", o.out, in->query->rank, shape));
    if (o.sinks != NULL)
        HC_TRY(HC_PLAIN_CHECK(in->name, "sinksOptional", o.sinks, shape[in->query->rank - 2]));
    if (o.statistics) {
        HC_TRY(check_statistics(in, "softmaxMax", o.max));
        HC_TRY(check_statistics(in, "softmaxSum", o.sum));
    } else {
        o.max = o.sum = NULL;
    }
    const aclTensor *table = args.key == HC_TOKENS_PAGED ? in->table : NULL;
    return HC_PLAN(in->name, chosen_run, &args, HC_IN(in->query), HC_IN(in->key), HC_IN(in->value),
                   HC_IN(in->indices), HC_IN_OPT(in->q_lengths), HC_IN_OPT(in->k_lengths),
                   HC_IN_OPT(in->q_rope), HC_IN_OPT(in->k_rope), HC_IN_OPT(table), HC_IN_OPT(o.sinks),
                   HC_OUT(o.out), HC_OUT_OPT(o.max), HC_OUT_OPT(o.sum));
}

/* torch_npu.npu_sparse_flash_attention without sinks. */
HC_API aclnnStatus aclnnSparseFlashAttentionGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *sparseIndices,
    const aclTensor *blockTableOptional, const aclTensor *actualSeqLengthsQueryOptional,
    const aclTensor *actualSeqLengthsKvOptional, const aclTensor *queryRopeOptional,
    const aclTensor *keyRopeOptional, double scaleValue, int64_t sparseBlockSizeOptional,
    char *layoutQueryOptional, char *layoutKvOptional, int64_t sparseMode, int64_t preTokens,
    int64_t nextTokens, int64_t attentionMode, bool returnSoftmaxLse, const aclTensor *attentionOut,
    const aclTensor *softmaxMax, const aclTensor *softmaxSum, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    return plan(&(const struct inputs){FORWARD, query, key, value, sparseIndices, blockTableOptional,
                                       actualSeqLengthsQueryOptional, actualSeqLengthsKvOptional,
                                       queryRopeOptional, keyRopeOptional, layoutQueryOptional,
                                       layoutKvOptional, sparseBlockSizeOptional, sparseMode, preTokens,
                                       nextTokens, scaleValue},
                (struct outputs){NULL, attentionOut, softmaxMax, softmaxSum, attentionMode, returnSoftmaxLse},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSparseFlashAttention)

/* The same with sinks. */
HC_API aclnnStatus aclnnSparseFlashAttentionV2GetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *sparseIndices,
    const aclTensor *blockTableOptional, const aclTensor *actualSeqLengthsQueryOptional,
    const aclTensor *actualSeqLengthsKvOptional, const aclTensor *queryRopeOptional,
    const aclTensor *keyRopeOptional, const aclTensor *sinksOptional, double scaleValue,
    int64_t sparseBlockSizeOptional, char *layoutQueryOptional, char *layoutKvOptional, int64_t sparseMode,
    int64_t preTokens, int64_t nextTokens, int64_t attentionMode, bool returnSoftmaxLse,
    const aclTensor *attentionOut, const aclTensor *softmaxMax, const aclTensor *softmaxSum,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    return plan(&(const struct inputs){"aclnnSparseFlashAttentionV2", query, key, value, sparseIndices,
                                       blockTableOptional, actualSeqLengthsQueryOptional,
                                       actualSeqLengthsKvOptional, queryRopeOptional, keyRopeOptional,
                                       layoutQueryOptional, layoutKvOptional, sparseBlockSizeOptional,
                                       sparseMode, preTokens, nextTokens, scaleValue},
                (struct outputs){sinksOptional, attentionOut, softmaxMax, softmaxSum, attentionMode,
                                 returnSoftmaxLse},
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSparseFlashAttentionV2)

/* Of attention without sinks, in one layout for queries and keys. Results are the same bits with and without
 * `deterministic`. */
HC_API aclnnStatus aclnnSparseFlashAttentionGradGetWorkspaceSize(
    const aclTensor *query, const aclTensor *key, const aclTensor *value, const aclTensor *sparseIndices,
    const aclTensor *dOut, const aclTensor *out, const aclTensor *softmaxMax, const aclTensor *softmaxSum,
    const aclTensor *actualSeqLengthsQueryOptional, const aclTensor *actualSeqLengthsKvOptional,
    const aclTensor *queryRopeOptional, const aclTensor *keyRopeOptional, double scaleValue,
    int64_t sparseBlockSize, char *layoutOptional, int64_t sparseMode, int64_t preTokens, int64_t nextTokens,
    bool deterministic, const aclTensor *dQueryOut, const aclTensor *dKeyOut, const aclTensor *dValueOut,
    const aclTensor *dQueryRopeOutOptional, const aclTensor *dKeyRopeOutOptional, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    (void)deterministic;
    const struct inputs in = {BACKWARD,
                              query,
                              key,
                              value,
                              sparseIndices,
                              NULL,
                              actualSeqLengthsQueryOptional,
                              actualSeqLengthsKvOptional,
                              queryRopeOptional,
                              keyRopeOptional,
                              layoutOptional,
                              layoutOptional,
                              sparseBlockSize,
                              sparseMode,
                              preTokens,
                              nextTokens,
                              scaleValue};
    struct chosen_args args;
    HC_TRY(check(&in, false, &args));
    int64_t shape[4];
    memcpy(shape, query->shape, sizeof shape);
    shape[query->rank - 1] = value->shape[value->rank - 1];
    HC_TRY(hc_plain_check(BACKWARD, "dOut", dOut, query->rank, shape));
    HC_TRY(hc_plain_check(BACKWARD, "out", out, query->rank, shape));
    HC_TRY(check_statistics(&in, "softmaxMax", softmaxMax));
    HC_TRY(check_statistics(&in, "softmaxSum", softmaxSum));
    HC_TRY(hc_plain_check(BACKWARD, "dQueryOut", dQueryOut, query->rank, query->shape));
    HC_TRY(hc_plain_check(BACKWARD, "dKeyOut", dKeyOut, key->rank, key->shape));
    HC_TRY(hc_plain_check(BACKWARD, "dValueOut", dValueOut, value->rank, value->shape));
    if (queryRopeOptional != NULL) {
        HC_TRY(hc_plain_check(BACKWARD, "dQueryRopeOutOptional", dQueryRopeOutOptional,
                              queryRopeOptional->rank, queryRopeOptional->shape));
        HC_TRY(hc_plain_check(BACKWARD, "dKeyRopeOutOptional", dKeyRopeOutOptional, keyRopeOptional->rank,
                              keyRopeOptional->shape));
    } else {
        dQueryRopeOutOptional = dKeyRopeOutOptional = NULL;
    }
    return HC_PLAN(BACKWARD, chosen_run_grad, &args, HC_IN(query), HC_IN(key), HC_IN(value),
                   HC_IN(sparseIndices), HC_IN_OPT(actualSeqLengthsQueryOptional),
                   HC_IN_OPT(actualSeqLengthsKvOptional), HC_IN_OPT(queryRopeOptional),
                   HC_IN_OPT(keyRopeOptional), HC_IN(dOut), HC_IN(out), HC_IN(softmaxMax), HC_IN(softmaxSum),
                   HC_OUT(dQueryOut), HC_OUT(dKeyOut), HC_OUT(dValueOut), HC_OUT_OPT(dQueryRopeOutOptional),
                   HC_OUT_OPT(dKeyRopeOutOptional));
}
HC_OP_LAUNCH(aclnnSparseFlashAttentionGrad)
