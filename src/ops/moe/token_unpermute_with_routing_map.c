// SPDX-License-Identifier: Apache-2.0
/* Experts' results back to their tokens, where a map says which expert has which token: the counterpart of
 * token_permute_with_routing_map.c.
 *
 * Every token has K places, taken by its experts in order; sortedIndices names the row of each, -1 where a
 * token has fewer experts. With paddedMode sortedIndices is the token of each row, rows by expert. The sum is
 * rounded once. */
#include "moe.h"

struct args {
    int64_t tokens, experts, choices; /* experts: 0 where there are no weights */
    bool pad;
};

/* Of every place (or row, with padding): the row, the token, and the cell of the weight in [T, E]; -1: none.
 */
struct places {
    size_t n;
    int64_t *row, *token, *cell;
};

/* Cells of the weights, and by row or -1. */
static aclnnStatus find_cells(const char *name, const uint8_t *map, const struct args *a,
                              const struct places *p) {
    for (int64_t t = 0; t < a->tokens; t++) {
        int64_t *cell = p->cell + t * a->choices, used = 0;
        for (int64_t e = 0; e < a->experts; e++) {
            if (!map[t * a->experts + e]) continue;
            HC_CHECK(used < a->choices, ACLNN_ERR_PARAM_INVALID,
                     "%s: row %lld of routingMapOptional has more ones than each token has rows, %lld", name,
                     (long long)t, (long long)a->choices);
            cell[used++] = t * a->experts + e;
        }
        while (used < a->choices) cell[used++] = -1;
    }
    return 0;
}

static aclnnStatus find_places(const char *name, const char *arg, const aclTensor *index, const uint8_t *map,
                               const struct args *a, const struct places *p) {
    const int64_t n = (int64_t)p->n, capacity = a->experts > 0 ? n / a->experts : 0;
    HC_TRY(
        hc_moe_read(name, arg, index, a->pad ? 0 : -1, a->pad ? a->tokens : n, a->pad ? p->token : p->row));
    for (int64_t i = 0; i < n; i++) {
        if (a->pad) p->row[i] = i;
        else p->token[i] = i / a->choices;
        p->cell[i] = a->pad && capacity > 0 ? p->token[i] * a->experts + i / capacity : -1;
    }
    return map != NULL && !a->pad ? find_cells(name, map, a, p) : 0;
}

/* Weights of the places: 0 for those that have none. */
static aclnnStatus read_weights(const aclTensor *probs, const struct places *p, double *all, double *weight) {
    HC_TRY(hc_moe_read_reals(probs, all));
    for (size_t i = 0; i < p->n; i++) weight[i] = p->cell[i] >= 0 ? all[p->cell[i]] : 0;
    return 0;
}

/* Operands permutedTokens, sortedIndices, routingMapOptional, probsOptional, unpermutedTokens, outIndex,
 * permuteTokenId, permuteProbs. With padding outIndex are the rows by token and permuteTokenId the tokens in
 * that order; without, both are sortedIndices: what the gradient takes. */
static aclnnStatus unpermute(const struct hc_call *call, const uint8_t *map, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *sorted = hc_arg(call, 1), *probs = hc_arg(call, 3), *out = hc_arg(call, 4);
    const size_t n = hc_numel(sorted);
    const struct places p = {n, memory, memory + n, memory + 2 * n};
    int64_t *order = p.cell + n, *first = order + n;
    double *weight = (double *)(void *)(first + a->tokens + 2), *own = weight + n, *all = own + n;
    HC_TRY(find_places(call->name, "sortedIndices", sorted, map, a, &p));
    struct hc_row_sum sum = {.name = call->name, .out = out, .src = hc_arg(call, 0)};
    if (probs != NULL) HC_TRY(read_weights(probs, &p, all, own));
    if (a->pad) {
        hc_positions_by_row(p.token, n, a->tokens, -1, first, order);
        for (size_t e = 0; e < n && probs != NULL; e++) weight[e] = own[order[e]];
        sum.first = first;
        sum.source = order;
        sum.scale = probs != NULL ? weight : NULL;
    } else {
        sum.each = (size_t)a->choices;
        sum.source = p.row;
        sum.scale = probs != NULL ? own : NULL;
    }
    HC_TRY(hc_row_sum(&sum));
    for (size_t e = 0; e < n && a->pad; e++) p.row[e] = p.token[order[e]];
    HC_TRY(hc_moe_write_numbers(hc_arg(call, 5), a->pad ? order : p.row));
    HC_TRY(hc_moe_write_numbers(hc_arg(call, 6), p.row));
    return hc_arg(call, 7) != NULL ? hc_moe_write_reals(hc_arg(call, 7), own) : 0;
}

/* With the map read, if there is one, and memory for `words` numbers. */
static aclnnStatus with_memory(const struct hc_call *call, int map_slot, size_t words,
                               aclnnStatus (*work)(const struct hc_call *, const uint8_t *, int64_t *)) {
    const aclTensor *routing = hc_arg(call, map_slot);
    uint8_t *map = routing != NULL ? hc_moe_read_map(call->name, routing) : NULL;
    if (routing != NULL && map == NULL) return ACLNN_ERR_INNER;
    int64_t *memory = hc_moe_take(call->name, words);
    const aclnnStatus status = memory != NULL ? work(call, map, memory) : ACLNN_ERR_INNER;
    hc_block_give(memory);
    hc_block_give(map);
    return status;
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    return with_memory(
        call, 2, 6 * hc_numel(hc_arg(call, 1)) + (size_t)(a->tokens + 2 + a->tokens * a->experts), unpermute);
}

/* What forward and gradient have in common. */
static aclnnStatus check(const char *name, const aclTensor *permuted, const char *permuted_name,
                         const aclTensor *index, const char *index_name, const aclTensor *tokens,
                         const char *tokens_name, const aclTensor *map, const aclTensor *probs, bool pad,
                         const aclIntArray *restore, struct args *args) {
    HC_TRY(hc_moe_check_floats(name, permuted_name, permuted, -1, -1));
    HC_TRY(hc_moe_check_floats(name, tokens_name, tokens, -1, permuted->shape[1]));
    HC_CHECK(restore == NULL || (restore->size == 2 && restore->data[0] == tokens->shape[0] &&
                                 restore->data[1] == tokens->shape[1]),
             ACLNN_ERR_PARAM_INVALID, "%s: restoreShapeOptional is not the shape of %s, %s", name,
             tokens_name, HC_SHOW(tokens));
    const int64_t rows = permuted->shape[0];
    *args = (struct args){.tokens = tokens->shape[0], .pad = pad};
    HC_TRY(hc_moe_check_numbers(name, index_name, index, rows));
    HC_CHECK(pad || (args->tokens > 0 ? rows % args->tokens == 0 : rows == 0), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted as many rows for each of %lld tokens", name, permuted_name,
             HC_SHOW(permuted), (long long)args->tokens);
    args->choices = args->tokens > 0 ? hc_max_i64(rows / args->tokens, 1) : 1;
    if (probs == NULL) return 0;
    HC_TRY(hc_moe_check_floats(name, "probsOptional", probs, args->tokens, -1));
    args->experts = probs->shape[1];
    HC_CHECK(!pad || (args->experts > 0 ? rows % args->experts == 0 : rows == 0), ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted as many rows for each of %lld experts", name, permuted_name,
             HC_SHOW(permuted), (long long)args->experts);
    return pad ? 0 : hc_moe_check_map(name, "routingMapOptional", map, args->tokens, args->experts);
}

HC_API aclnnStatus aclnnMoeTokenUnpermuteWithRoutingMapGetWorkspaceSize(
    const aclTensor *permutedTokens, const aclTensor *sortedIndices, const aclTensor *routingMapOptional,
    const aclTensor *probsOptional, bool paddedMode, const aclIntArray *restoreShapeOptional,
    aclTensor *unpermutedTokens, aclTensor *outIndex, aclTensor *permuteTokenId, aclTensor *permuteProbs,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeTokenUnpermuteWithRoutingMap";
    struct args args;
    HC_TRY(check(NAME, permutedTokens, "permutedTokens", sortedIndices, "sortedIndices", unpermutedTokens,
                 "unpermutedTokens", routingMapOptional, probsOptional, paddedMode, restoreShapeOptional,
                 &args));
    const int64_t rows = permutedTokens->shape[0];
    HC_TRY(hc_moe_check_numbers(NAME, "outIndex", outIndex, rows));
    HC_TRY(hc_moe_check_numbers(NAME, "permuteTokenId", permuteTokenId, rows));
    if (probsOptional == NULL) permuteProbs = NULL;
    HC_CHECK(probsOptional == NULL || (permuteProbs != NULL && permuteProbs->numel == rows &&
                                       hc_dtype_is_float(permuteProbs->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: permuteProbs is not %lld floating point values", NAME,
             (long long)rows);
    const aclTensor *map = probsOptional != NULL && !paddedMode ? routingMapOptional : NULL;
    return HC_PLAN(NAME, run, &args, HC_IN(permutedTokens), HC_IN(sortedIndices), HC_IN_OPT(map),
                   HC_IN_OPT(probsOptional), HC_OUT(unpermutedTokens), HC_OUT(outIndex),
                   HC_OUT(permuteTokenId), HC_OUT_OPT(permuteProbs));
}
HC_OP_LAUNCH(aclnnMoeTokenUnpermuteWithRoutingMap)

/* The rows by token that the forward gave, and their tokens, as rows and tokens by row. */
static aclnnStatus undo_order(const struct hc_call *call, const struct args *a, const struct places *p,
                              int64_t *order) {
    const int64_t n = (int64_t)p->n;
    HC_TRY(hc_moe_read(call->name, "outIndex", hc_arg(call, 1), 0, n, order));
    HC_TRY(hc_moe_read(call->name, "permuteTokenId", hc_arg(call, 2), 0, a->tokens, p->token));
    const int64_t capacity = a->experts > 0 ? n / a->experts : 0;
    for (int64_t i = 0; i < n; i++) {
        p->row[i] = order[i];
        p->cell[i] = capacity > 0 ? p->token[i] * a->experts + order[i] / capacity : -1;
    }
    return 0;
}

/* Gradient of the weights: the scalar product of a row with its token's gradient, in the cell of its weight.
 */
static aclnnStatus grad_of_probs(const struct hc_call *call, const struct args *a, const struct places *p,
                                 double *dot, double *all) {
    HC_TRY(hc_row_dot(&(const struct hc_row_dot){.name = call->name,
                                                 .a = hc_arg(call, 4),
                                                 .b = hc_arg(call, 0),
                                                 .a_row = p->row,
                                                 .b_row = p->token,
                                                 .n = p->n,
                                                 .dot = dot}));
    for (int64_t i = 0; i < a->tokens * a->experts; i++) all[i] = 0;
    for (size_t i = 0; i < p->n; i++) {
        if (p->cell[i] >= 0) all[p->cell[i]] += dot[i];
    }
    return hc_moe_write_reals(hc_arg(call, 7), all);
}

/* Operands unpermutedTokensGrad, outIndex, permuteTokenId, routingMapOptional, permutedTokensOptional,
 * probsOptional, permutedTokensGradOut, probsGradOutOptional. */
static aclnnStatus unpermute_grad(const struct hc_call *call, const uint8_t *map, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *index = hc_arg(call, 1), *probs = hc_arg(call, 5), *out = hc_arg(call, 6);
    const size_t n = hc_numel(index);
    const struct places p = {n, memory, memory + n, memory + 2 * n};
    int64_t *order = p.cell + n, *first = order + n;
    double *weight = (double *)(void *)(first + n + 2), *own = weight + n, *all = own + n;
    if (a->pad) HC_TRY(undo_order(call, a, &p, order));
    else HC_TRY(find_places(call->name, "outIndex", index, map, a, &p));
    if (probs != NULL) {
        HC_TRY(read_weights(probs, &p, all, own));
        if (hc_arg(call, 7) != NULL) HC_TRY(grad_of_probs(call, a, &p, weight, all));
    }
    hc_positions_by_row(p.row, n, (int64_t)n, -1, first, order);
    const size_t kept = (size_t)first[n];
    for (size_t e = 0; e < kept && probs != NULL; e++) weight[e] = own[order[e]];
    for (size_t e = 0; e < kept; e++) order[e] = p.token[order[e]];
    return hc_row_sum(&(const struct hc_row_sum){.name = call->name,
                                                 .out = out,
                                                 .src = hc_arg(call, 0),
                                                 .first = first,
                                                 .source = order,
                                                 .scale = probs != NULL ? weight : NULL});
}

static aclnnStatus run_grad(const struct hc_call *call) {
    const struct args *a = call->args;
    return with_memory(call, 3, 7 * hc_numel(hc_arg(call, 1)) + 2 + (size_t)(a->tokens * a->experts),
                       unpermute_grad);
}

HC_API aclnnStatus aclnnMoeTokenUnpermuteWithRoutingMapGradGetWorkspaceSize(
    const aclTensor *unpermutedTokensGrad, const aclTensor *outIndex, const aclTensor *permuteTokenId,
    const aclTensor *routingMapOptional, const aclTensor *permutedTokensOptional,
    const aclTensor *probsOptional, bool dropAndPad, const aclIntArray *restoreShapeOptional,
    const aclTensor *permutedTokensGradOut, const aclTensor *probsGradOutOptional, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeTokenUnpermuteWithRoutingMapGrad";
    struct args args;
    HC_TRY(check(NAME, permutedTokensGradOut, "permutedTokensGradOut", outIndex, "outIndex",
                 unpermutedTokensGrad, "unpermutedTokensGrad", routingMapOptional, probsOptional, dropAndPad,
                 restoreShapeOptional, &args));
    const int64_t rows = permutedTokensGradOut->shape[0];
    HC_TRY(hc_moe_check_numbers(NAME, "permuteTokenId", permuteTokenId, rows));
    if (probsOptional == NULL) probsGradOutOptional = NULL;
    if (probsGradOutOptional != NULL) {
        HC_TRY(hc_moe_check_floats(NAME, "probsGradOutOptional", probsGradOutOptional, args.tokens,
                                   args.experts));
        HC_TRY(hc_moe_check_floats(NAME, "permutedTokensOptional", permutedTokensOptional, rows,
                                   permutedTokensGradOut->shape[1]));
    }
    const aclTensor *map = probsOptional != NULL && !dropAndPad ? routingMapOptional : NULL,
                    *permuted = probsGradOutOptional != NULL ? permutedTokensOptional : NULL;
    return HC_PLAN(NAME, run_grad, &args, HC_IN(unpermutedTokensGrad), HC_IN(outIndex), HC_IN(permuteTokenId),
                   HC_IN_OPT(map), HC_IN_OPT(permuted), HC_IN_OPT(probsOptional),
                   HC_OUT(permutedTokensGradOut), HC_OUT_OPT(probsGradOutOptional));
}
HC_OP_LAUNCH(aclnnMoeTokenUnpermuteWithRoutingMapGrad)
