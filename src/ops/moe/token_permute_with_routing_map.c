// SPDX-License-Identifier: Apache-2.0
/* Tokens in the order of experts, by a map of which token goes to which expert: rows are the pairs (token,
 * expert) of the map, by expert and then by token. sortedIndices[i] is the row of pair i counted by token and
 * then by expert.
 *
 * With dropAndPad every expert has as many rows: its first tokens, and where it has too few the first tokens
 * that are not its own. sortedIndices is then the token of each row. */
#include "moe.h"

struct args {
    int64_t tokens, experts;
    bool pad;
};

/* The pairs of a map. With dropAndPad all are there, token and expert by row. */
struct pairs {
    int64_t *token, *expert, *place; /* by row; by token */
};

/* Rows by expert, or an error where they are not as many as there is room for. One walk over the map, whose
 * rows are tokens, counts; a second gives every pair the next row of its expert. */
static aclnnStatus find_pairs(const char *name, const uint8_t *map, const struct args *a, int64_t rows,
                              int64_t *next, const struct pairs *p) {
    const int64_t cells = a->tokens * a->experts;
    int64_t count = 0, place = 0;
    for (int64_t e = 0; e < a->experts; e++) next[e] = 0;
    for (int64_t t = 0, i = 0; t < a->tokens; t++) {
        for (int64_t e = 0; e < a->experts; e++) next[e] += map[i++];
    }
    for (int64_t e = 0; e < a->experts; e++) {
        const int64_t own = next[e];
        next[e] = count;
        count += own;
    }
    HC_CHECK(count == rows, ACLNN_ERR_PARAM_INVALID,
             "%s: routingMap has %lld ones, wanted %lld: as many for each token, numOutTokens in all", name,
             (long long)count, (long long)rows);
    for (int64_t i = 0, t = 0, e = 0; i < cells; i++) {
        if (map[i]) {
            const int64_t row = next[e]++;
            p->token[row] = t;
            p->expert[row] = e;
            p->place[place++] = row;
        }
        if (++e < a->experts) continue;
        e = 0, t++;
        /* The way back counts places, not ones: it would give a token the rows of its neighbour. */
        HC_CHECK(place == t * (rows / a->tokens), ACLNN_ERR_PARAM_INVALID,
                 "%s: row %lld of routingMap has not %lld ones: as many for each token, numOutTokens in all",
                 name, (long long)(t - 1), (long long)(rows / a->tokens));
    }
    return 0;
}

/* The first `capacity` tokens of every expert, then those that are not its own. */
static void fill_capacity(const uint8_t *map, const struct args *a, int64_t rows, const struct pairs *p) {
    const int64_t capacity = a->experts > 0 ? rows / a->experts : 0;
    for (int64_t e = 0; e < a->experts; e++) {
        int64_t row = e * capacity;
        for (int own = 1; own >= 0; own--) {
            for (int64_t t = 0; t < a->tokens && row < (e + 1) * capacity; t++) {
                if (map[t * a->experts + e] != own) continue;
                p->token[row] = t;
                p->expert[row++] = e;
            }
        }
    }
}

/* Operands tokens, routingMap, probsOptional, permuteTokensOut, permuteProbsOutOptional, sortedIndicesOut. */
static aclnnStatus permute(const struct hc_call *call, const uint8_t *map, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *tokens = hc_arg(call, 0), *probs = hc_arg(call, 2), *out = hc_arg(call, 3),
                    *probs_out = hc_arg(call, 4);
    const int64_t rows = out->shape[0];
    const struct pairs p = {memory, memory + rows, memory + 2 * rows};
    double *weight = (double *)(void *)(memory + 3 * rows);
    double *all = weight + rows + a->experts;
    if (probs != NULL) HC_TRY(hc_moe_read_reals(probs, all));
    if (a->pad) fill_capacity(map, a, rows, &p);
    else HC_TRY(find_pairs(call->name, map, a, rows, (int64_t *)(void *)weight + rows, &p));
    HC_TRY(hc_row_take(out, tokens, p.token));
    for (int64_t r = 0; r < rows && probs_out != NULL; r++)
        weight[r] = all[p.token[r] * a->experts + p.expert[r]];
    if (probs_out != NULL) HC_TRY(hc_moe_write_reals(probs_out, weight));
    return hc_moe_write_numbers(hc_arg(call, 5), a->pad ? p.token : p.place);
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *probs = hc_arg(call, 2);
    uint8_t *map = hc_moe_read_map(call->name, hc_arg(call, 1));
    if (map == NULL) return ACLNN_ERR_INNER;
    const int64_t rows = hc_arg(call, 3)->shape[0];
    int64_t *memory =
        hc_moe_take(call->name, (size_t)(4 * rows + a->experts + (probs != NULL ? probs->numel : 0)));
    const aclnnStatus status = memory != NULL ? permute(call, map, memory) : ACLNN_ERR_INNER;
    hc_block_give(memory);
    hc_block_give(map);
    return status;
}

HC_API aclnnStatus aclnnMoeTokenPermuteWithRoutingMapGetWorkspaceSize(
    const aclTensor *tokens, const aclTensor *routingMap, const aclTensor *probsOptional,
    int64_t numOutTokens, bool dropAndPad, aclTensor *permuteTokensOut, aclTensor *permuteProbsOutOptional,
    aclTensor *sortedIndicesOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeTokenPermuteWithRoutingMap";
    HC_TRY(hc_moe_check_matrix(NAME, "tokens", tokens, -1, -1));
    HC_TRY(hc_moe_check_map(NAME, "routingMap", routingMap, tokens->shape[0], -1));
    const struct args args = {tokens->shape[0], routingMap->shape[1], dropAndPad};
    const int64_t parts = dropAndPad ? args.experts : args.tokens;
    const int64_t rows = parts > 0 ? numOutTokens / parts * parts : 0;
    HC_CHECK(numOutTokens >= 0 && rows <= args.tokens * args.experts, ACLNN_ERR_PARAM_INVALID,
             "%s: numOutTokens is %lld, wanted 0 to %lld: routingMap is %s", NAME, (long long)numOutTokens,
             (long long)(args.tokens * args.experts), HC_SHOW(routingMap));
    HC_TRY(hc_moe_check_matrix(NAME, "permuteTokensOut", permuteTokensOut, rows, tokens->shape[1]));
    HC_CHECK(permuteTokensOut->dtype == tokens->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: permuteTokensOut is %s, tokens are %s", NAME, HC_SHOW(permuteTokensOut), HC_SHOW(tokens));
    HC_TRY(hc_moe_check_numbers(NAME, "sortedIndicesOut", sortedIndicesOut, rows));
    if (probsOptional != NULL) {
        HC_TRY(hc_moe_check_floats(NAME, "probsOptional", probsOptional, args.tokens, args.experts));
        HC_CHECK(permuteProbsOutOptional != NULL && permuteProbsOutOptional->numel == rows &&
                     hc_dtype_is_float(permuteProbsOutOptional->dtype),
                 ACLNN_ERR_PARAM_INVALID, "%s: permuteProbsOutOptional is not %lld floating point values",
                 NAME, (long long)rows);
    } else {
        permuteProbsOutOptional = NULL;
    }
    return HC_PLAN(NAME, run, &args, HC_IN(tokens), HC_IN(routingMap), HC_IN_OPT(probsOptional),
                   HC_OUT(permuteTokensOut), HC_OUT_OPT(permuteProbsOutOptional), HC_OUT(sortedIndicesOut));
}
HC_OP_LAUNCH(aclnnMoeTokenPermuteWithRoutingMap)

/* Row of every pair by token, from the map's counts; and where in [T, E] the pair of each entry lies. */
static aclnnStatus entries_by_token(const char *name, const uint8_t *map, const struct args *a, int64_t rows,
                                    int64_t *first, int64_t *cell) {
    int64_t entry = 0;
    for (int64_t t = 0; t < a->tokens; t++) {
        first[t] = entry;
        for (int64_t e = 0; e < a->experts; e++) {
            if (!map[t * a->experts + e]) continue;
            HC_CHECK(entry < rows, ACLNN_ERR_PARAM_INVALID,
                     "%s: routingMapOptional has more than %lld ones, the length of sortedIndices", name,
                     (long long)rows);
            cell[entry++] = t * a->experts + e;
        }
    }
    first[a->tokens] = entry;
    HC_CHECK(entry == rows, ACLNN_ERR_PARAM_INVALID,
             "%s: routingMapOptional has %lld ones, wanted %lld, the length of sortedIndices", name,
             (long long)entry, (long long)rows);
    return 0;
}

/* Operands permutedTokenOutputGrad, permutedProbsOutputGradOptional, sortedIndices, routingMapOptional,
 * tokensGradOut, probsGradOutOptional. */
static aclnnStatus permute_grad(const struct hc_call *call, const uint8_t *map, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *grad = hc_arg(call, 0), *probs_grad = hc_arg(call, 1), *sorted = hc_arg(call, 2),
                    *out = hc_arg(call, 4), *probs_out = hc_arg(call, 5);
    const int64_t rows = sorted->numel, capacity = a->experts > 0 ? rows / a->experts : 0;
    int64_t *index = memory, *source = index + rows, *cell = source + rows, *first = cell + rows;
    double *given = (double *)(void *)(first + a->tokens + 2), *all = given + rows;
    if (a->pad) {
        HC_TRY(hc_moe_read(call->name, "sortedIndices", sorted, 0, a->tokens, index));
        hc_positions_by_row(index, (size_t)rows, a->tokens, -1, first, source);
        for (int64_t r = 0; r < rows; r++) cell[r] = index[r] * a->experts + r / capacity;
    } else {
        HC_TRY(hc_moe_read(call->name, "sortedIndices", sorted, 0, rows, source));
        if (map != NULL) HC_TRY(entries_by_token(call->name, map, a, rows, first, cell));
        for (int64_t t = 0; t <= a->tokens && map == NULL; t++)
            first[t] = a->tokens > 0 ? t * (rows / a->tokens) : 0;
    }
    HC_TRY(hc_row_sum(&(const struct hc_row_sum){
        .name = call->name, .out = out, .src = grad, .first = first, .source = source}));
    if (probs_out == NULL) return 0;
    HC_TRY(hc_moe_read_reals(probs_grad, given));
    for (int64_t i = 0; i < a->tokens * a->experts; i++) all[i] = 0;
    for (int64_t r = 0; r < rows; r++) all[cell[r]] += given[a->pad ? r : source[r]];
    return hc_moe_write_reals(probs_out, all);
}

static aclnnStatus run_grad(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *routing = hc_arg(call, 3);
    uint8_t *map = routing != NULL ? hc_moe_read_map(call->name, routing) : NULL;
    if (routing != NULL && map == NULL) return ACLNN_ERR_INNER;
    int64_t *memory = hc_moe_take(
        call->name, (size_t)(4 * hc_arg(call, 2)->numel + a->tokens + 2 + a->tokens * a->experts));
    const aclnnStatus status = memory != NULL ? permute_grad(call, map, memory) : ACLNN_ERR_INNER;
    hc_block_give(memory);
    hc_block_give(map);
    return status;
}

/* Without dropAndPad and without a map every token has as many rows, and there is no gradient of probs. */
HC_API aclnnStatus aclnnMoeTokenPermuteWithRoutingMapGradGetWorkspaceSize(
    const aclTensor *permutedTokenOutputGrad, const aclTensor *permutedProbsOutputGradOptional,
    const aclTensor *sortedIndices, const aclTensor *routingMapOptional, int64_t numExperts,
    int64_t tokensNum, bool dropAndPad, aclTensor *tokensGradOut, aclTensor *probsGradOutOptional,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeTokenPermuteWithRoutingMapGrad";
    HC_TRY(hc_moe_check_floats(NAME, "permutedTokenOutputGrad", permutedTokenOutputGrad, -1, -1));
    const int64_t rows = permutedTokenOutputGrad->shape[0];
    HC_TRY(hc_moe_check_numbers(NAME, "sortedIndices", sortedIndices, rows));
    HC_CHECK(tokensNum >= 0 && numExperts >= 0, ACLNN_ERR_PARAM_INVALID,
             "%s: tokensNum is %lld, numExperts %lld, wanted 0 or more", NAME, (long long)tokensNum,
             (long long)numExperts);
    HC_TRY(hc_moe_check_floats(NAME, "tokensGradOut", tokensGradOut, tokensNum,
                               permutedTokenOutputGrad->shape[1]));
    int64_t cells;
    HC_CHECK(hc_mul_i64_fits(tokensNum, numExperts, &cells) && cells <= HC_MAX_NUMEL, ACLNN_ERR_PARAM_INVALID,
             "%s: tokensNum %lld times numExperts %lld is too large", NAME, (long long)tokensNum,
             (long long)numExperts);
    const int64_t parts = dropAndPad ? numExperts : routingMapOptional == NULL ? tokensNum : 1;
    HC_CHECK(parts > 0 ? rows % parts == 0 : rows == 0, ACLNN_ERR_PARAM_INVALID,
             "%s: sortedIndices is %s, wanted a multiple of %lld", NAME, HC_SHOW(sortedIndices),
             (long long)parts);
    if (routingMapOptional != NULL)
        HC_TRY(hc_moe_check_map(NAME, "routingMapOptional", routingMapOptional, tokensNum, numExperts));
    if (permutedProbsOutputGradOptional != NULL && probsGradOutOptional != NULL) {
        HC_CHECK(permutedProbsOutputGradOptional->numel == rows &&
                     hc_dtype_is_float(permutedProbsOutputGradOptional->dtype),
                 ACLNN_ERR_PARAM_INVALID,
                 "%s: permutedProbsOutputGradOptional is %s, wanted %lld floating point values", NAME,
                 HC_SHOW(permutedProbsOutputGradOptional), (long long)rows);
        HC_TRY(
            hc_moe_check_floats(NAME, "probsGradOutOptional", probsGradOutOptional, tokensNum, numExperts));
        HC_CHECK(dropAndPad || routingMapOptional != NULL, ACLNN_ERR_PARAM_NULLPTR,
                 "%s: routingMapOptional is null, wanted for probsGradOutOptional", NAME);
    } else {
        permutedProbsOutputGradOptional = NULL;
        probsGradOutOptional = NULL;
    }
    const struct args args = {tokensNum, numExperts, dropAndPad};
    const aclTensor *map = dropAndPad ? NULL : routingMapOptional;
    return HC_PLAN(NAME, run_grad, &args, HC_IN(permutedTokenOutputGrad),
                   HC_IN_OPT(permutedProbsOutputGradOptional), HC_IN(sortedIndices), HC_IN_OPT(map),
                   HC_OUT(tokensGradOut), HC_OUT_OPT(probsGradOutOptional));
}
HC_OP_LAUNCH(aclnnMoeTokenPermuteWithRoutingMapGrad)
