// SPDX-License-Identifier: Apache-2.0
/* Logical experts to the places of their copies, and tokens' weak choices left out.
 *
 * eplbTable [E, F] has for each logical expert how many copies there are, then where each is. balanceMode 0
 * spreads the copies over ranks (rank / ceil(worldSize / copies)), 1 over tokens (token % copies). A choice
 * is active where its token is, and where its scale is at least the threshold's part of the token's sum. */
#include "moe.h"

static const char NAME[] = "aclnnMoeUpdateExpert";

/* Tokens with so many choices each; this rank, of so many. */
struct args {
    int64_t tokens, choices, rank, world, mode;
};

/* Numbers that were read once: ids of experts, and the table row by row. */
struct balance {
    const struct args *a;
    const aclTensor *table;
    const int64_t *ids, *entries;
    int64_t *out;
};

/* The table is the caller's: the number of copies is checked where it is used. */
static aclnnStatus balance(const struct balance *b) {
    const struct args *a = b->a;
    const int64_t width = b->table->shape[1];
    for (int64_t i = 0; i < a->tokens * a->choices; i++) {
        const int64_t *row = b->entries + b->ids[i] * width, copies = row[0];
        HC_CHECK(copies >= 1 && copies < width, ACLNN_ERR_PARAM_INVALID,
                 "%s: eplbTable has %lld copies of expert %lld, wanted 1 to %lld", NAME, (long long)copies,
                 (long long)b->ids[i], (long long)width - 1);
        const int64_t share = copies > 1 && a->mode == 0 ? (a->world + copies - 1) / copies : 1;
        const int64_t copy = copies == 1 ? 0 : a->mode == 0 ? a->rank / share : i / a->choices % copies;
        b->out[i] = row[1 + copy];
    }
    return 0;
}

/* Sums in float, as the scales are. */
static void activate(const struct args *a, const double *scale, const double *threshold,
                     const int64_t *active, int64_t *out) {
    for (int64_t i = 0; i < a->tokens; i++) {
        float sum = 0;
        for (int64_t k = 0; k < a->choices && scale != NULL; k++) sum += (float)scale[i * a->choices + k];
        for (int64_t k = 0; k < a->choices; k++) {
            const int64_t at = i * a->choices + k;
            const bool weak = scale != NULL && (float)scale[at] < sum * (float)threshold[k];
            out[at] = (active == NULL || active[i] != 0) && !weak;
        }
    }
}

/* Operands ids, table, scales, threshold, active, out, mask; all small. */
static aclnnStatus fill(const struct hc_call *call, int64_t *memory) {
    const struct args *a = call->args;
    const aclTensor *table = hc_arg(call, 1), *scales = hc_arg(call, 2), *active = hc_arg(call, 4);
    const int64_t n = a->tokens * a->choices;
    int64_t *ids = memory, *out = ids + n, *entries = out + n, *tokens = entries + table->numel;
    double *scale = (double *)(void *)(tokens + a->tokens), *threshold = scale + n;
    HC_TRY(hc_moe_read(NAME, "expertIds", hc_arg(call, 0), 0, table->shape[0], ids));
    HC_TRY(hc_moe_read(NAME, "eplbTable", table, INT64_MIN, INT64_MAX, entries));
    HC_TRY(balance(&(const struct balance){a, table, ids, entries, out}));
    HC_TRY(hc_moe_write_numbers(hc_arg(call, 5), out));
    if (hc_arg(call, 6) == NULL) return 0;
    if (active != NULL) HC_TRY(hc_moe_read(NAME, "activeMaskOptional", active, INT64_MIN, INT64_MAX, tokens));
    if (scales != NULL) HC_TRY(hc_moe_read_reals(scales, scale));
    if (scales != NULL) HC_TRY(hc_moe_read_reals(hc_arg(call, 3), threshold));
    activate(a, scales != NULL ? scale : NULL, threshold, active != NULL ? tokens : NULL, out);
    return hc_moe_write_numbers(hc_arg(call, 6), out);
}

/* Memory for all numbers of one call: there are as many as choices and entries, a few thousand. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const size_t n = (size_t)(a->tokens * a->choices);
    int64_t *memory = hc_moe_take(NAME, 3 * n + hc_numel(hc_arg(call, 1)) + (size_t)(a->tokens + a->choices));
    if (memory == NULL) return ACLNN_ERR_INNER;
    const aclnnStatus status = fill(call, memory);
    hc_block_give(memory);
    return status;
}

/* Scales and threshold come together or not at all. */
static aclnnStatus check_pruning(const struct args *a, const aclTensor *scales, const aclTensor *threshold,
                                 const aclTensor *active) {
    HC_CHECK((scales == NULL) == (threshold == NULL), ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", NAME,
             scales == NULL ? "expertScalesOptional" : "pruningThresholdOptional");
    if (scales != NULL) {
        HC_TRY(hc_moe_check_floats(NAME, "expertScalesOptional", scales, a->tokens, a->choices));
        HC_CHECK(hc_dtype_is_float(threshold->dtype) && threshold->numel == a->choices,
                 ACLNN_ERR_PARAM_INVALID, "%s: pruningThresholdOptional is %s, wanted %lld floats", NAME,
                 HC_SHOW(threshold), (long long)a->choices);
    }
    HC_CHECK(active == NULL || (active->dtype == ACL_BOOL && active->numel == a->tokens),
             ACLNN_ERR_PARAM_INVALID, "%s: activeMaskOptional is %s, wanted %lld truth values", NAME,
             HC_SHOW(active), (long long)a->tokens);
    return 0;
}

/* torch_npu.npu_moe_update_expert. */
HC_API aclnnStatus aclnnMoeUpdateExpertGetWorkspaceSize(
    const aclTensor *expertIds, const aclTensor *eplbTable, const aclTensor *expertScalesOptional,
    const aclTensor *pruningThresholdOptional, const aclTensor *activeMaskOptional, int64_t localRankId,
    int64_t worldSize, int64_t balanceMode, aclTensor *balancedExpertIds, aclTensor *balancedActiveMask,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(hc_moe_check_matrix(NAME, "expertIds", expertIds, -1, -1));
    const struct args args = {expertIds->shape[0], expertIds->shape[1], localRankId, worldSize, balanceMode};
    HC_TRY(hc_moe_check_numbers(NAME, "expertIds", expertIds, -1));
    HC_TRY(hc_moe_check_matrix(NAME, "eplbTable", eplbTable, -1, -1));
    HC_TRY(hc_moe_check_numbers(NAME, "eplbTable", eplbTable, -1));
    HC_CHECK(balanceMode == 0 || balanceMode == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: balanceMode is %lld, wanted 0 or 1", NAME, (long long)balanceMode);
    HC_CHECK(balanceMode == 1 || (worldSize > 0 && localRankId >= 0 && localRankId < worldSize),
             ACLNN_ERR_PARAM_INVALID, "%s: localRankId is %lld of worldSize %lld, wanted a rank", NAME,
             (long long)localRankId, (long long)worldSize);
    HC_TRY(check_pruning(&args, expertScalesOptional, pruningThresholdOptional, activeMaskOptional));
    HC_TRY(hc_moe_check_matrix(NAME, "balancedExpertIds", balancedExpertIds, args.tokens, args.choices));
    HC_TRY(hc_moe_check_numbers(NAME, "balancedExpertIds", balancedExpertIds, -1));
    if (balancedActiveMask != NULL)
        HC_TRY(hc_moe_check_map(NAME, "balancedActiveMask", balancedActiveMask, args.tokens, args.choices));
    return HC_PLAN(NAME, run, &args, HC_IN(expertIds), HC_IN(eplbTable), HC_IN_OPT(expertScalesOptional),
                   HC_IN_OPT(pruningThresholdOptional), HC_IN_OPT(activeMaskOptional),
                   HC_OUT(balancedExpertIds), HC_OUT_OPT(balancedActiveMask));
}
HC_OP_LAUNCH(aclnnMoeUpdateExpert)
