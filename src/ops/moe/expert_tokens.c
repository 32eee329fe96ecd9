// SPDX-License-Identifier: Apache-2.0
/* Counts of tokens: where each expert ends in a sorted list, and tokens of several ranks, which lie by rank
 * and then by expert, in the order of experts and then ranks. */
#include "fp4.h"
#include "moe.h"

struct args {
    int64_t experts, ranks;
};

/* Operands sortedExperts, out: how many are expert e or one before it. */
static aclnnStatus run_ends(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *sorted = hc_arg(call, 0);
    const int64_t n = sorted->numel;
    int64_t *own = hc_moe_take(call->name, (size_t)(n + a->experts));
    if (own == NULL) return ACLNN_ERR_INNER;
    int64_t *ends = own + n;
    const aclTensor copy = hc_tensor_view(ACL_INT64, sorted->shape, 1, own);
    aclnnStatus status = hc_copy(&copy, sorted);
    if (status == 0) {
        for (int64_t e = 0; e < a->experts; e++) ends[e] = 0;
        for (int64_t i = 0; i < n; i++) {
            if (own[i] < a->experts) ends[hc_max_i64(own[i], 0)]++;
        }
        for (int64_t e = 1; e < a->experts; e++) ends[e] += ends[e - 1];
        status = hc_moe_write_numbers(hc_arg(call, 1), ends);
    }
    hc_block_give(own);
    return status;
}

HC_API aclnnStatus aclnnMoeComputeExpertTokensGetWorkspaceSize(const aclTensor *sortedExperts,
                                                               int64_t numExperts, const aclTensor *out,
                                                               uint64_t *workspaceSize,
                                                               aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeComputeExpertTokens";
    HC_TRY(hc_moe_check_numbers(NAME, "sortedExperts", sortedExperts,
                                sortedExperts ? sortedExperts->numel : -1));
    HC_CHECK(sortedExperts->rank == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: sortedExperts is %s, wanted one dimension", NAME, HC_SHOW(sortedExperts));
    HC_CHECK(numExperts > 0, ACLNN_ERR_PARAM_INVALID, "%s: numExperts is %lld, wanted 1 or more", NAME,
             (long long)numExperts);
    HC_TRY(hc_moe_check_numbers(NAME, "out", out, numExperts));
    const struct args args = {.experts = numExperts};
    return HC_PLAN(NAME, run_ends, &args, HC_IN(sortedExperts), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnMoeComputeExpertTokens)

/* The token of every row of the result, and the tokens of each expert. Numbers are counts that sum up to the
 * rows there are, at most. */
static aclnnStatus order_tokens(const struct hc_call *call, const int64_t *count, int64_t tokens,
                                int64_t *first, int64_t *source, int64_t *total) {
    const struct args *a = call->args;
    int64_t used = 0, row = 0;
    for (int64_t i = 0; i < a->ranks * a->experts; i++) {
        HC_CHECK(count[i] >= 0 && count[i] <= tokens - used, ACLNN_ERR_PARAM_INVALID,
                 "%s: index %lld at position [%lld] of expert_token_num_per_rank is out of range: wanted 0 "
                 "to %lld",
                 call->name, (long long)count[i], (long long)i, (long long)(tokens - used));
        first[i] = used;
        used += count[i];
    }
    for (int64_t e = 0; e < a->experts; e++) {
        total[e] = 0;
        for (int64_t r = 0; r < a->ranks; r++) {
            const int64_t i = r * a->experts + e;
            for (int64_t t = 0; t < count[i]; t++) source[row++] = first[i] + t;
            total[e] += count[i];
        }
    }
    for (; row < tokens; row++) source[row] = row; /* what no expert counts keeps its place */
    return 0;
}

/* Operands tokens, expert_token_num_per_rank, scales, permute_tokens, permute_scales, permute_token_idx,
 * expert_token_num. */
static aclnnStatus reroute(const struct hc_call *call, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *tokens = hc_arg(call, 0), *scales = hc_arg(call, 2);
    const int64_t n = tokens->shape[0], cells = a->ranks * a->experts;
    int64_t *count = memory, *first = count + cells, *source = first + cells, *total = source + n;
    const aclTensor *given = hc_arg(call, 1);
    const aclTensor copy = hc_tensor_view(ACL_INT64, given->shape, 2, count);
    HC_TRY(hc_copy(&copy, given));
    HC_TRY(order_tokens(call, count, n, first, source, total));
    HC_TRY(hc_row_take(hc_arg(call, 3), tokens, source));
    if (scales != NULL) {
        aclTensor from = *scales, to = *hc_arg(call, 4);
        if (from.rank == 1)
            from.rank = to.rank = 2, from.shape[1] = to.shape[1] = from.stride[1] = to.stride[1] = 1;
        HC_TRY(hc_row_take(&to, &from, source));
    }
    HC_TRY(hc_moe_write_numbers(hc_arg(call, 5), source));
    return hc_moe_write_numbers(hc_arg(call, 6), total);
}

static aclnnStatus run_reroute(const struct hc_call *call) {
    const struct args *a = call->args;
    const size_t n = (size_t)hc_arg(call, 0)->shape[0];
    int64_t *memory = hc_moe_take(call->name, (size_t)(2 * a->ranks * a->experts + a->experts) + n);
    if (memory == NULL) return ACLNN_ERR_INNER;
    const aclnnStatus status = reroute(call, memory);
    hc_block_give(memory);
    return status;
}

/* Whole bytes of fp4 lie within a row. */
static aclnnStatus check_fp4(const char *name, const char *arg, const aclTensor *t) {
    if (!hc_is_fp4(t->dtype)) return 0;
    HC_TRY(hc_fp4_check(name, arg, t));
    HC_CHECK(hc_fp4_bytes(t).shape[0] == t->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted pairs of fp4 along its rows", name, arg, HC_SHOW(t));
    return 0;
}

/* permute_token_idx: where each row was before. Other kinds of counts and indices are refused. */
HC_API aclnnStatus aclnnMoeReRoutingGetWorkspaceSize(
    const aclTensor *tokens_wrapper, const aclTensor *expert_token_num_per_rank,
    const aclTensor *per_token_scales_wrapper, int64_t expert_token_num_type, int64_t idx_type,
    const aclTensor *permute_tokens_wrapper, const aclTensor *permute_per_token_scales_wrapper,
    const aclTensor *permute_token_idx, const aclTensor *expert_token_num, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeReRouting";
    const aclTensor *tokens = tokens_wrapper, *num = expert_token_num_per_rank, *to = permute_tokens_wrapper,
                    *scales = per_token_scales_wrapper;
    HC_TRY(hc_moe_check_matrix(NAME, "tokens", tokens, -1, -1));
    HC_TRY(hc_moe_check_matrix(NAME, "permute_tokens", to, tokens->shape[0], tokens->shape[1]));
    HC_CHECK(to->dtype == tokens->dtype, ACLNN_ERR_PARAM_INVALID, "%s: permute_tokens is %s, tokens are %s",
             NAME, HC_SHOW(to), HC_SHOW(tokens));
    HC_TRY(check_fp4(NAME, "tokens", tokens));
    HC_TRY(check_fp4(NAME, "permute_tokens", to));
    HC_TRY(hc_moe_check_matrix(NAME, "expert_token_num_per_rank", num, -1, -1));
    HC_TRY(hc_moe_check_numbers(NAME, "expert_token_num_per_rank", num, num->numel));
    HC_CHECK(expert_token_num_type == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: expert_token_num_type is %lld, wanted 1 (counts)", NAME, (long long)expert_token_num_type);
    HC_CHECK(idx_type == 0, ACLNN_ERR_PARAM_INVALID, "%s: idx_type is %lld, wanted 0", NAME,
             (long long)idx_type);
    const aclTensor *scales_to = scales != NULL ? permute_per_token_scales_wrapper : NULL;
    HC_CHECK(
        scales == NULL ||
            (scales_to != NULL && hc_same_shape(scales, scales_to) && scales->dtype == scales_to->dtype &&
             (scales->rank == 1 || scales->rank == 2) && scales->shape[0] == tokens->shape[0]),
        ACLNN_ERR_PARAM_INVALID, "%s: per_token_scales is %s for tokens %s and an output of its own shape",
        NAME, HC_SHOW(scales), HC_SHOW(tokens));
    HC_TRY(hc_moe_check_numbers(NAME, "permute_token_idx", permute_token_idx, tokens->shape[0]));
    HC_TRY(hc_moe_check_numbers(NAME, "expert_token_num", expert_token_num, num->shape[1]));
    const struct args args = {num->shape[1], num->shape[0]};
    const aclTensor from_bytes = hc_fp4_bytes(tokens), to_bytes = hc_fp4_bytes(to);
    tokens = &from_bytes, to = &to_bytes;
    return HC_PLAN(NAME, run_reroute, &args, HC_IN(tokens), HC_IN(num), HC_IN_OPT(scales), HC_OUT(to),
                   HC_OUT_OPT(scales_to), HC_OUT(permute_token_idx), HC_OUT(expert_token_num));
}
HC_OP_LAUNCH(aclnnMoeReRouting)
