// SPDX-License-Identifier: Apache-2.0
/* Tokens in the order of their experts: choice i = t * K + k of expert indices[i] becomes row
 * sortedIndices[i] of the result, a stable order. Rows behind the last that is wanted are dropped; the
 * gradient of a token is the sum of those of its rows that were not. In padded mode `indices` names the token
 * of each row itself. */
#include "moe.h"

/* Experts are counted in one go up to this; above, by the low and then by the high half of their bits. */
enum { FEW_EXPERTS = 1 << 16, HALF_BITS = 12, MAX_EXPERTS = 1 << (2 * HALF_BITS) };

struct args {
    int64_t choices; /* K */
    bool padded;
};

/* order[p]: the choice at place p. `spare` has room for n, `first` for FEW_EXPERTS + 2. */
static void sort_choices(const int64_t *expert, size_t n, int64_t *order, int64_t *spare, int64_t *first) {
    int64_t most = 0;
    for (size_t i = 0; i < n; i++) most = hc_max_i64(most, expert[i]);
    if (most < FEW_EXPERTS) {
        hc_positions_by_row(expert, n, most + 1, -1, first, order);
        return;
    }
    int64_t *half = spare, *low = spare + n;
    for (size_t i = 0; i < n; i++) half[i] = expert[i] & ((1 << HALF_BITS) - 1);
    hc_positions_by_row(half, n, 1 << HALF_BITS, -1, first, low);
    for (size_t i = 0; i < n; i++) half[i] = expert[low[i]] >> HALF_BITS;
    hc_positions_by_row(half, n, 1 << HALF_BITS, -1, first, order);
    for (size_t i = 0; i < n; i++) order[i] = low[order[i]];
}

/* Operands tokens, indices, permuteTokensOut, sortedIndicesOut. */
static aclnnStatus permute(const struct hc_call *call, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *tokens = hc_arg(call, 0), *indices = hc_arg(call, 1), *out = hc_arg(call, 2),
                    *sorted = hc_arg(call, 3);
    const size_t n = hc_numel(indices);
    int64_t *expert = memory, *order = expert + n;
    if (a->padded) {
        HC_TRY(hc_moe_read(call->name, "indices", indices, 0, tokens->shape[0], expert));
        HC_TRY(hc_row_take(out, tokens, expert));
        return hc_moe_write_numbers(sorted, expert);
    }
    HC_TRY(hc_moe_read(call->name, "indices", indices, 0, MAX_EXPERTS, expert));
    sort_choices(expert, n, order, order + n, order + 3 * n);
    for (size_t p = 0; p < n; p++) expert[order[p]] = (int64_t)p; /* sorted positions, in its place */
    for (size_t p = 0; p < n; p++) order[p] /= a->choices;
    HC_TRY(hc_row_take(out, tokens, order));
    return hc_moe_write_numbers(sorted, expert);
}

static aclnnStatus run(const struct hc_call *call) {
    int64_t *memory = hc_moe_take(call->name, 4 * hc_numel(hc_arg(call, 1)) + FEW_EXPERTS + 2);
    if (memory == NULL) return ACLNN_ERR_INNER;
    const aclnnStatus status = permute(call, memory);
    hc_block_give(memory);
    return status;
}

/* numOutTokens of 0 or less are already in the number of rows of the output, which says how many there are.
 */
HC_API aclnnStatus aclnnMoeTokenPermuteGetWorkspaceSize(const aclTensor *tokens, const aclTensor *indices,
                                                        int64_t numOutTokens, bool paddedMode,
                                                        const aclTensor *permuteTokensOut,
                                                        const aclTensor *sortedIndicesOut,
                                                        uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeTokenPermute";
    HC_TRY(hc_moe_check_matrix(NAME, "tokens", tokens, -1, -1));
    HC_TRY(hc_moe_check_numbers(NAME, "indices", indices, indices != NULL ? indices->numel : -1));
    HC_CHECK(indices->rank == 1 || indices->rank == 2, ACLNN_ERR_PARAM_INVALID,
             "%s: indices is %s, wanted one or two dimensions", NAME, HC_SHOW(indices));
    HC_CHECK(paddedMode || indices->shape[0] == tokens->shape[0], ACLNN_ERR_PARAM_INVALID,
             "%s: indices is %s for tokens %s, wanted choices for each token", NAME, HC_SHOW(indices),
             HC_SHOW(tokens));
    const int64_t n = indices->numel, wanted = numOutTokens > 0 ? hc_min_i64(numOutTokens, n) : -1;
    HC_TRY(hc_moe_check_matrix(NAME, "permuteTokensOut", permuteTokensOut, paddedMode ? n : wanted,
                               tokens->shape[1]));
    HC_CHECK(permuteTokensOut->shape[0] <= n && permuteTokensOut->dtype == tokens->dtype,
             ACLNN_ERR_PARAM_INVALID, "%s: permuteTokensOut is %s for tokens %s and %lld choices", NAME,
             HC_SHOW(permuteTokensOut), HC_SHOW(tokens), (long long)n);
    HC_TRY(hc_moe_check_numbers(NAME, "sortedIndicesOut", sortedIndicesOut, n));
    const struct args args = {indices->rank == 2 ? indices->shape[1] : 1, paddedMode};
    return HC_PLAN(NAME, run, &args, HC_IN(tokens), HC_IN(indices), HC_OUT(permuteTokensOut),
                   HC_OUT(sortedIndicesOut));
}
HC_OP_LAUNCH(aclnnMoeTokenPermute)

/* Operands permutedOutputGrad, sortedIndices, out. */
static aclnnStatus permute_grad(const struct hc_call *call, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *grad = hc_arg(call, 0), *sorted = hc_arg(call, 1), *out = hc_arg(call, 2);
    const size_t n = hc_numel(sorted);
    int64_t *source = memory;
    struct hc_row_sum sum = {.name = call->name, .out = out, .src = grad, .each = (size_t)a->choices};
    if (a->padded) {
        int64_t *order = source + n, *first = order + n;
        HC_TRY(hc_moe_read(call->name, "sortedIndices", sorted, 0, out->shape[0], source));
        hc_positions_by_row(source, n, out->shape[0], -1, first, order);
        sum.first = first;
        sum.source = order;
        return hc_row_sum(&sum);
    }
    HC_TRY(hc_moe_read(call->name, "sortedIndices", sorted, 0, sorted->numel, source));
    for (size_t i = 0; i < n; i++) source[i] = source[i] < grad->shape[0] ? source[i] : -1;
    sum.source = source;
    return hc_row_sum(&sum);
}

static aclnnStatus run_grad(const struct hc_call *call) {
    const size_t n = hc_numel(hc_arg(call, 1)), tokens = (size_t)hc_arg(call, 2)->shape[0];
    int64_t *memory = hc_moe_take(call->name, 2 * n + tokens + 2);
    if (memory == NULL) return ACLNN_ERR_INNER;
    const aclnnStatus status = permute_grad(call, memory);
    hc_block_give(memory);
    return status;
}

HC_API aclnnStatus aclnnMoeTokenPermuteGradGetWorkspaceSize(const aclTensor *permutedOutputGrad,
                                                            const aclTensor *sortedIndices, int64_t numTopk,
                                                            bool paddedMode, aclTensor *out,
                                                            uint64_t *workspaceSize,
                                                            aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeTokenPermuteGrad";
    HC_TRY(hc_moe_check_floats(NAME, "permutedOutputGrad", permutedOutputGrad, -1, -1));
    HC_TRY(hc_moe_check_floats(NAME, "out", out, -1, permutedOutputGrad->shape[1]));
    HC_CHECK(numTopk > 0, ACLNN_ERR_PARAM_INVALID, "%s: numTopk is %lld, wanted 1 or more", NAME,
             (long long)numTopk);
    int64_t choices = permutedOutputGrad->shape[0];
    HC_CHECK(paddedMode || hc_mul_i64_fits(out->shape[0], numTopk, &choices), ACLNN_ERR_PARAM_INVALID,
             "%s: numTopk is %lld for out %s", NAME, (long long)numTopk, HC_SHOW(out));
    HC_TRY(hc_moe_check_numbers(NAME, "sortedIndices", sortedIndices, choices));
    const struct args args = {numTopk, paddedMode};
    return HC_PLAN(NAME, run_grad, &args, HC_IN(permutedOutputGrad), HC_IN(sortedIndices), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnMoeTokenPermuteGrad)
