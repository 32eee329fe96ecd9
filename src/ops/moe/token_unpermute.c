// SPDX-License-Identifier: Apache-2.0
/* Experts' results back to their tokens: out[t] is the sum over k of probs[t, k] * permutedTokens[row of
 * choice t * K + k]. Choices whose row was dropped count nothing. In padded mode `sortedIndices` names the
 * token of each row, and probs the weight of each row. The sum is rounded once. */
#include "moe.h"

struct args {
    int64_t choices; /* K */
    bool padded;
};

/* Positions of choices, -1 for those that were dropped. */
static aclnnStatus read_rows(const struct hc_call *call, const aclTensor *sorted, int64_t rows,
                             int64_t *own) {
    HC_TRY(hc_moe_read(call->name, "sortedIndices", sorted, 0, sorted->numel, own));
    for (int64_t i = 0; i < sorted->numel; i++) own[i] = own[i] < rows ? own[i] : -1;
    return 0;
}

/* Operands permutedTokens, sortedIndices, probsOptional, out. */
static aclnnStatus unpermute(const struct hc_call *call, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *permuted = hc_arg(call, 0), *sorted = hc_arg(call, 1), *probs = hc_arg(call, 2),
                    *out = hc_arg(call, 3);
    const size_t n = hc_numel(sorted);
    double *scale = (double *)(void *)(memory + n), *own = scale + n;
    int64_t *order = (int64_t *)(void *)(own + n), *first = order + n;
    struct hc_row_sum sum = {.name = call->name,
                             .out = out,
                             .src = permuted,
                             .each = (size_t)a->choices,
                             .source = memory,
                             .scale = probs != NULL ? scale : NULL};
    if (probs != NULL) HC_TRY(hc_moe_read_reals(probs, a->padded ? own : scale));
    if (!a->padded) {
        HC_TRY(read_rows(call, sorted, permuted->shape[0], memory));
        return hc_row_sum(&sum);
    }
    HC_TRY(hc_moe_read(call->name, "sortedIndices", sorted, 0, out->shape[0], memory));
    hc_positions_by_row(memory, n, out->shape[0], -1, first, order);
    for (size_t e = 0; e < n && probs != NULL; e++) scale[e] = own[order[e]];
    sum.first = first;
    sum.source = order;
    return hc_row_sum(&sum);
}

static aclnnStatus run(const struct hc_call *call) {
    const size_t n = hc_numel(hc_arg(call, 1)), tokens = (size_t)hc_arg(call, 3)->shape[0];
    int64_t *memory = hc_moe_take(call->name, 4 * n + tokens + 2);
    if (memory == NULL) return ACLNN_ERR_INNER;
    const aclnnStatus status = unpermute(call, memory);
    hc_block_give(memory);
    return status;
}

/* What forward and gradient have in common. `tokens` is [T, H], permuted [N, H]. */
static aclnnStatus check(const char *name, const aclTensor *permuted, const char *permuted_name,
                         const aclTensor *sorted, const aclTensor *probs, const aclTensor *tokens,
                         const char *tokens_name, bool padded, const aclIntArray *restore,
                         struct args *args) {
    HC_TRY(hc_moe_check_floats(name, permuted_name, permuted, -1, -1));
    HC_TRY(hc_moe_check_floats(name, tokens_name, tokens, -1, permuted->shape[1]));
    *args = (struct args){1, padded};
    if (probs != NULL) {
        HC_TRY(hc_moe_check_floats(name, "probsOptional", probs, padded ? -1 : tokens->shape[0], -1));
        args->choices = probs->shape[1];
    }
    if (padded) {
        HC_CHECK(restore != NULL && restore->size == 2 && restore->data[0] == tokens->shape[0] &&
                     restore->data[1] == tokens->shape[1],
                 ACLNN_ERR_PARAM_INVALID, "%s: restoreShapeOptional is not the shape of %s, %s", name,
                 tokens_name, HC_SHOW(tokens));
        HC_CHECK(probs == NULL || probs->numel == permuted->shape[0], ACLNN_ERR_PARAM_INVALID,
                 "%s: probsOptional is %s, wanted a value for each row of %s %s", name, HC_SHOW(probs),
                 permuted_name, HC_SHOW(permuted));
    }
    int64_t n = permuted->shape[0];
    HC_CHECK(padded || hc_mul_i64_fits(tokens->shape[0], args->choices, &n), ACLNN_ERR_PARAM_INVALID,
             "%s: probsOptional is %s", name, HC_SHOW(probs));
    return hc_moe_check_numbers(name, "sortedIndices", sorted, n);
}

HC_API aclnnStatus aclnnMoeTokenUnpermuteGetWorkspaceSize(const aclTensor *permutedTokens,
                                                          const aclTensor *sortedIndices,
                                                          const aclTensor *probsOptional, bool paddedMode,
                                                          const aclIntArray *restoreShapeOptional,
                                                          aclTensor *out, uint64_t *workspaceSize,
                                                          aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeTokenUnpermute";
    struct args args;
    HC_TRY(check(NAME, permutedTokens, "permutedTokens", sortedIndices, probsOptional, out, "out", paddedMode,
                 restoreShapeOptional, &args));
    return HC_PLAN(NAME, run, &args, HC_IN(permutedTokens), HC_IN(sortedIndices), HC_IN_OPT(probsOptional),
                   HC_OUT(out));
}
HC_OP_LAUNCH(aclnnMoeTokenUnpermute)

/* Choice i, or row i in padded mode: which row of the permuted, which token. -1: dropped. */
struct pairs {
    int64_t *row, *token;
};

/* Gradient of the weights: 0 for what was dropped. */
static aclnnStatus grad_of_probs(const struct hc_call *call, const struct pairs *p, size_t n, double *dot) {
    const struct hc_row_dot d = {.name = call->name,
                                 .a = hc_arg(call, 0),
                                 .b = hc_arg(call, 1),
                                 .a_row = p->row,
                                 .b_row = p->token,
                                 .n = n,
                                 .dot = dot};
    HC_TRY(hc_row_dot(&d));
    return hc_moe_write_reals(hc_arg(call, 5), dot);
}

/* Operands permutedTokensOptional, unpermutedTokensGrad, sortedIndices, probsOptional, permutedTokensGradOut,
 * probsGradOut. A row that several choices named gets the sum, one that none did is 0. */
static aclnnStatus unpermute_grad(const struct hc_call *call, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *grad = hc_arg(call, 1), *sorted = hc_arg(call, 2), *probs = hc_arg(call, 3),
                    *out = hc_arg(call, 4);
    const size_t n = hc_numel(sorted);
    const struct pairs p = {memory, memory + n};
    int64_t *order = p.token + n, *first = order + n;
    double *scale = (double *)(void *)(first + out->shape[0] + 2), *own = scale + n;
    if (a->padded) {
        HC_TRY(hc_moe_read(call->name, "sortedIndices", sorted, 0, grad->shape[0], p.token));
        for (size_t i = 0; i < n; i++) p.row[i] = (int64_t)i;
    } else {
        HC_TRY(read_rows(call, sorted, out->shape[0], p.row));
        for (size_t i = 0; i < n; i++) p.token[i] = (int64_t)i / a->choices;
    }
    if (probs != NULL) {
        HC_TRY(hc_moe_read_reals(probs, own));
        HC_TRY(grad_of_probs(call, &p, n, scale));
    }
    hc_positions_by_row(p.row, n, out->shape[0], -1, first, order);
    const size_t kept = (size_t)first[out->shape[0]];
    for (size_t e = 0; e < kept && probs != NULL; e++) scale[e] = own[order[e]];
    for (size_t e = 0; e < kept; e++) order[e] = p.token[order[e]];
    return hc_row_sum(&(const struct hc_row_sum){.name = call->name,
                                                 .out = out,
                                                 .src = grad,
                                                 .first = first,
                                                 .source = order,
                                                 .scale = probs != NULL ? scale : NULL});
}

static aclnnStatus run_grad(const struct hc_call *call) {
    const size_t n = hc_numel(hc_arg(call, 2)), rows = (size_t)hc_arg(call, 4)->shape[0];
    int64_t *memory = hc_moe_take(call->name, 5 * n + rows + 2);
    if (memory == NULL) return ACLNN_ERR_INNER;
    const aclnnStatus status = unpermute_grad(call, memory);
    hc_block_give(memory);
    return status;
}

/* The permuted tokens are needed for the gradient of probs only. Without probs probsGradOut is not touched.
 */
HC_API aclnnStatus aclnnMoeTokenUnpermuteGradGetWorkspaceSize(
    const aclTensor *permuteTokensOptional, const aclTensor *unpermutedTokensGrad,
    const aclTensor *sortedIndices, const aclTensor *probsOptional, bool paddedMode,
    const aclIntArray *restoreShapeOptional, aclTensor *permutedTokensGradOut, aclTensor *probsGradOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeTokenUnpermuteGrad";
    struct args args;
    HC_TRY(check(NAME, permutedTokensGradOut, "permutedTokensGradOut", sortedIndices, probsOptional,
                 unpermutedTokensGrad, "unpermutedTokensGrad", paddedMode, restoreShapeOptional, &args));
    if (probsOptional != NULL) {
        HC_TRY(hc_moe_check_floats(NAME, "permuteTokensOptional", permuteTokensOptional,
                                   permutedTokensGradOut->shape[0], permutedTokensGradOut->shape[1]));
        HC_TRY(hc_moe_check_floats(NAME, "probsGradOut", probsGradOut, probsOptional->shape[0],
                                   probsOptional->shape[1]));
    } else {
        permuteTokensOptional = NULL;
        probsGradOut = NULL;
    }
    return HC_PLAN(NAME, run_grad, &args, HC_IN_OPT(permuteTokensOptional), HC_IN(unpermutedTokensGrad),
                   HC_IN(sortedIndices), HC_IN_OPT(probsOptional), HC_OUT(permutedTokensGradOut),
                   HC_OUT_OPT(probsGradOut));
}
HC_OP_LAUNCH(aclnnMoeTokenUnpermuteGrad)
