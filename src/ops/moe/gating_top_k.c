// SPDX-License-Identifier: Apache-2.0
/* The gate that limits groups of experts: s = softmax or sigmoid of x; of s + bias the best groups, by their
 * largest score or their two largest, then the k best experts of those; y = s of the chosen, for the sigmoid
 * divided by their sum, times a factor. With a table (tid2eid) the experts of a token are looked up instead.
 * The gradient is that of y by x, the choice being constant. */
#include <math.h>

#include "gating.h"

enum { SOFTMAX, SIGMOID };

struct args {
    int64_t rows, experts, k, groups_kept, groups, pairs, norm;
    bool writes_scores;
    double factor, eps;
};

/* The score of a group: its largest, or the sum of its two largest. */
static float group_score(const float *score, int64_t n, bool pairs) {
    float first = -INFINITY, second = -INFINITY;
    for (int64_t i = 0; i < n; i++) {
        if (!hc_gate_before(first, score[i])) second = first, first = score[i];
        else if (!hc_gate_before(second, score[i])) second = score[i];
    }
    return pairs ? first + second : first;
}

/* Experts of groups that are not among the best count as -inf. `group` has room for the groups' scores, `at`
 * for their numbers. */
static void drop_groups(const struct args *a, float *score, float *group, int64_t *at) {
    const int64_t size = a->experts / a->groups;
    if (a->groups_kept >= a->groups) return;
    for (int64_t g = 0; g < a->groups; g++) group[g] = group_score(score + g * size, size, a->pairs != 0);
    hc_gate_top(group, a->groups, a->groups_kept, at);
    for (int64_t g = 0; g < a->groups; g++) {
        bool kept = false;
        for (int64_t i = 0; i < a->groups_kept; i++) kept |= at[i] == g;
        for (int64_t i = 0; i < size && !kept; i++) score[g * size + i] = -INFINITY;
    }
}

/* Numbers of one call. bias, token and table may be NULL. */
struct job {
    const struct args *a;
    float *x; /* becomes s */
    const float *bias;
    float *y, *biased, *group;
    const int64_t *token, *table;
    int64_t *expert, *place;
};

static void gate_rows(void *ctx, size_t begin, size_t end) {
    const struct job *j = ctx;
    const struct args *a = j->a;
    for (size_t r = begin; r < end; r++) {
        float *s = j->x + r * (size_t)a->experts, *score = j->biased + r * (size_t)a->experts,
              *y = j->y + r * (size_t)a->k;
        int64_t *at = j->expert + r * (size_t)a->k;
        if (a->norm == SOFTMAX) HC_DISPATCH(gate_softmax)((size_t)a->experts, s, s);
        else HC_DISPATCH(gate_sigmoid)((size_t)a->experts, s, s);
        if (j->table == NULL) {
            for (int64_t e = 0; e < a->experts; e++) score[e] = j->bias != NULL ? s[e] + j->bias[e] : s[e];
            drop_groups(a, score, j->group + r * (size_t)a->groups, j->place + r * (size_t)a->groups);
            hc_gate_top(score, a->experts, a->k, at);
        } else {
            for (int64_t i = 0; i < a->k; i++) at[i] = j->table[j->token[r] * a->k + i];
        }
        double sum = a->eps;
        for (int64_t i = 0; i < a->k; i++) sum += (double)s[at[i]];
        const double scale = a->norm == SIGMOID ? a->factor / sum : a->factor;
        for (int64_t i = 0; i < a->k; i++) y[i] = (float)((double)s[at[i]] * scale);
    }
}

static aclnnStatus move_floats(const aclTensor *t, float *own, bool write) {
    const aclTensor view = hc_tensor_view(ACL_FLOAT, t->shape, t->rank, own);
    return write ? hc_copy(t, &view) : hc_copy(&view, t);
}

/* Operands x, biasOptional, inputIdsOptional, tid2eidOptional, yOut, expertIdxOut, outOut. */
static aclnnStatus gate(const struct hc_call *call, struct job *j, float *bias, int64_t *token,
                        int64_t *table) {
    const struct args *a = call->args;
    const aclTensor *lookup = hc_arg(call, 3);
    HC_TRY(move_floats(hc_arg(call, 0), j->x, false));
    if (hc_arg(call, 1) != NULL) HC_TRY(move_floats(hc_arg(call, 1), bias, false));
    j->bias = hc_arg(call, 1) != NULL ? bias : NULL;
    if (lookup != NULL) {
        HC_TRY(hc_moe_read(call->name, "inputIdsOptional", hc_arg(call, 2), 0, lookup->shape[0], token));
        HC_TRY(hc_moe_read(call->name, "tid2eidOptional", lookup, 0, a->experts, table));
        j->token = token;
        j->table = table;
    }
    hc_parallel_for((size_t)a->rows, hc_max_size(1, 4096 / (size_t)a->experts), gate_rows, j);
    HC_TRY(move_floats(hc_arg(call, 4), j->y, true));
    HC_TRY(hc_moe_write_numbers(hc_arg(call, 5), j->expert));
    return a->writes_scores ? move_floats(hc_arg(call, 6), j->x, true) : 0;
}

static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *lookup = hc_arg(call, 3);
    const size_t cells = (size_t)(a->rows * a->experts), chosen = (size_t)(a->rows * a->k),
                 groups = (size_t)(a->rows * a->groups), rows = (size_t)a->rows;
    if (rows == 0) return 0;
    const size_t numbers = chosen + groups + (lookup != NULL ? rows + hc_numel(lookup) : 0);
    const size_t floats = 2 * cells + chosen + groups + (size_t)a->experts;
    int64_t *memory = hc_moe_take(call->name, numbers + (floats + 1) / 2);
    if (memory == NULL) return ACLNN_ERR_INNER;
    float *x = (float *)(void *)(memory + numbers);
    struct job j = {.a = a,
                    .x = x,
                    .biased = x + cells,
                    .y = x + 2 * cells,
                    .group = x + 2 * cells + chosen,
                    .expert = memory,
                    .place = memory + chosen};
    const aclnnStatus status =
        gate(call, &j, j.group + groups, memory + chosen + groups, memory + chosen + groups + rows);
    hc_block_give(memory);
    return status;
}

/* Numbers of the interface that choose. */
static aclnnStatus check_choices(const char *name, const struct args *a, int64_t renorm) {
    HC_CHECK(renorm == 0, ACLNN_ERR_PARAM_INVALID, "%s: renorm is %lld, wanted 0", name, (long long)renorm);
    HC_CHECK(a->norm == SOFTMAX || a->norm == SIGMOID, ACLNN_ERR_PARAM_INVALID,
             "%s: normType is %lld, wanted 0 (softmax) or 1 (sigmoid)", name, (long long)a->norm);
    HC_CHECK(a->k >= 1 && a->k <= a->experts, ACLNN_ERR_PARAM_INVALID, "%s: k is %lld, wanted 1 to %lld",
             name, (long long)a->k, (long long)a->experts);
    HC_CHECK(a->pairs == 0 || a->pairs == 1, ACLNN_ERR_PARAM_INVALID,
             "%s: groupSelectMode is %lld, wanted 0 (largest) or 1 (two largest)", name, (long long)a->pairs);
    HC_CHECK(a->groups >= 1 && a->groups <= a->experts && a->experts % a->groups == 0,
             ACLNN_ERR_PARAM_INVALID, "%s: groupCount is %lld, wanted a divisor of %lld experts", name,
             (long long)a->groups, (long long)a->experts);
    HC_CHECK(a->groups_kept >= 1 && a->groups_kept <= a->groups &&
                 a->k <= a->groups_kept * (a->experts / a->groups),
             ACLNN_ERR_PARAM_INVALID, "%s: kGroup is %lld of %lld groups of %lld experts for k %lld", name,
             (long long)a->groups_kept, (long long)a->groups, (long long)(a->experts / a->groups),
             (long long)a->k);
    return 0;
}

static aclnnStatus plan(const char *name, const aclTensor *x, const aclTensor *biasOptional,
                        const aclTensor *inputIdsOptional, const aclTensor *tid2eidOptional, int64_t renorm,
                        struct args *a, const aclTensor *yOut, const aclTensor *expertIdxOut,
                        const aclTensor *outOut, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(hc_moe_check_floats(name, "x", x, -1, -1));
    HC_CHECK(hc_compute_block(x->dtype) == HC_F32, ACLNN_ERR_PARAM_INVALID,
             "%s: x is %s, wanted float32, float16 or bfloat16", name, HC_SHOW(x));
    a->rows = x->shape[0];
    a->experts = x->shape[1];
    HC_TRY(check_choices(name, a, renorm));
    HC_CHECK(biasOptional == NULL ||
                 (biasOptional->numel == a->experts && hc_dtype_is_float(biasOptional->dtype)),
             ACLNN_ERR_PARAM_INVALID, "%s: biasOptional is %s, wanted %lld floating point values", name,
             HC_SHOW(biasOptional), (long long)a->experts);
    HC_CHECK((inputIdsOptional == NULL) == (tid2eidOptional == NULL), ACLNN_ERR_PARAM_NULLPTR,
             "%s: %s is null, wanted with the other", name,
             inputIdsOptional == NULL ? "inputIdsOptional" : "tid2eidOptional");
    if (tid2eidOptional != NULL) {
        HC_TRY(hc_moe_check_numbers(name, "inputIdsOptional", inputIdsOptional, a->rows));
        HC_TRY(hc_moe_check_matrix(name, "tid2eidOptional", tid2eidOptional, -1, a->k));
        HC_TRY(hc_moe_check_numbers(name, "tid2eidOptional", tid2eidOptional, tid2eidOptional->numel));
    }
    HC_TRY(hc_moe_check_floats(name, "yOut", yOut, a->rows, a->k));
    HC_TRY(hc_moe_check_matrix(name, "expertIdxOut", expertIdxOut, a->rows, a->k));
    HC_TRY(hc_moe_check_numbers(name, "expertIdxOut", expertIdxOut, a->rows * a->k));
    if (a->writes_scores) HC_TRY(hc_moe_check_floats(name, "outOut", outOut, a->rows, a->experts));
    else outOut = NULL;
    return HC_PLAN(name, run, a, HC_IN(x), HC_IN_OPT(biasOptional), HC_IN_OPT(inputIdsOptional),
                   HC_IN_OPT(tid2eidOptional), HC_OUT(yOut), HC_OUT(expertIdxOut), HC_OUT_OPT(outOut));
}

HC_API aclnnStatus aclnnMoeGatingTopKGetWorkspaceSize(
    const aclTensor *x, const aclTensor *biasOptional, int64_t k, int64_t kGroup, int64_t groupCount,
    int64_t groupSelectMode, int64_t renorm, int64_t normType, bool outFlag, double routedScalingFactor,
    double eps, const aclTensor *yOut, const aclTensor *expertIdxOut, const aclTensor *outOut,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args a = {0,  0, k, kGroup, groupCount, groupSelectMode, normType, outFlag, routedScalingFactor,
                     eps};
    return plan("aclnnMoeGatingTopK", x, biasOptional, NULL, NULL, renorm, &a, yOut, expertIdxOut, outOut,
                workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeGatingTopK)

HC_API aclnnStatus aclnnMoeGatingTopKV2GetWorkspaceSize(
    const aclTensor *x, const aclTensor *biasOptional, const aclTensor *inputIdsOptional,
    const aclTensor *tid2eidOptional, int64_t k, int64_t kGroup, int64_t groupCount, int64_t groupSelectMode,
    int64_t renorm, int64_t normType, bool outFlag, double routedScalingFactor, double eps,
    const aclTensor *yOut, const aclTensor *expertIdxOut, const aclTensor *outOut, uint64_t *workspaceSize,
    aclOpExecutor **executor) {
    struct args a = {0,  0, k, kGroup, groupCount, groupSelectMode, normType, outFlag, routedScalingFactor,
                     eps};
    return plan("aclnnMoeGatingTopKV2", x, biasOptional, inputIdsOptional, tid2eidOptional, renorm, &a, yOut,
                expertIdxOut, outOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnMoeGatingTopKV2)

/* dx of one row, 0 where nothing was chosen: through the division by the sum (sigmoid), and the norm. */
static void grad_row(const struct args *a, const double *s, const double *g, const int64_t *at, double *dx) {
    double sum = a->eps, weighted = 0;
    for (int64_t i = 0; i < a->k; i++) {
        sum += s[at[i]];
        weighted += g[i] * s[at[i]];
    }
    if (a->norm == SOFTMAX) { /* y = factor * s: the softmax takes part of it back from every expert */
        for (int64_t e = 0; e < a->experts; e++) dx[e] = -a->factor * weighted * s[e];
        for (int64_t i = 0; i < a->k; i++) dx[at[i]] += a->factor * g[i] * s[at[i]];
        return;
    }
    for (int64_t e = 0; e < a->experts; e++) dx[e] = 0;
    for (int64_t i = 0; i < a->k; i++) {
        const double p = s[at[i]];
        dx[at[i]] += a->factor * (g[i] - weighted / sum) / sum * p * (1 - p);
    }
}

struct grad_job {
    const struct args *a;
    const double *s, *g;
    const int64_t *at;
    double *dx;
};

static void grad_rows(void *ctx, size_t begin, size_t end) {
    const struct grad_job *j = ctx;
    const size_t experts = (size_t)j->a->experts, k = (size_t)j->a->k;
    for (size_t r = begin; r < end; r++)
        grad_row(j->a, j->s + r * experts, j->g + r * k, j->at + r * k, j->dx + r * experts);
}

/* Operands xNorm, gradY, expertIdx, out. */
static aclnnStatus run_grad(const struct hc_call *call) {
    const struct args *a = call->args;
    const size_t cells = (size_t)(a->rows * a->experts), chosen = (size_t)(a->rows * a->k);
    if (cells == 0) return 0;
    int64_t *memory = hc_moe_take(call->name, 2 * cells + 2 * chosen);
    if (memory == NULL) return ACLNN_ERR_INNER;
    double *s = (double *)(void *)(memory + chosen), *g = s + cells, *dx = g + chosen;
    aclnnStatus status = hc_moe_read(call->name, "expertIdx", hc_arg(call, 2), 0, a->experts, memory);
    if (status == 0) status = hc_moe_read_reals(hc_arg(call, 0), s);
    if (status == 0) status = hc_moe_read_reals(hc_arg(call, 1), g);
    if (status == 0) {
        struct grad_job j = {a, s, g, memory, dx};
        hc_parallel_for((size_t)a->rows, hc_max_size(1, 4096 / (size_t)a->experts), grad_rows, &j);
        status = hc_moe_write_reals(hc_arg(call, 3), dx);
    }
    hc_block_give(memory);
    return status;
}

HC_API aclnnStatus aclnnMoeGatingTopKBackwardGetWorkspaceSize(const aclTensor *xNorm, const aclTensor *gradY,
                                                              const aclTensor *expertIdx, int64_t renorm,
                                                              int64_t normType, double routedScalingFactor,
                                                              double eps, const aclTensor *out,
                                                              uint64_t *workspaceSize,
                                                              aclOpExecutor **executor) {
    static const char *const NAME = "aclnnMoeGatingTopKBackward";
    HC_TRY(hc_moe_check_floats(NAME, "xNorm", xNorm, -1, -1));
    HC_TRY(hc_moe_check_floats(NAME, "gradY", gradY, xNorm->shape[0], -1));
    const struct args a = {.rows = xNorm->shape[0],
                           .experts = xNorm->shape[1],
                           .k = gradY->shape[1],
                           .groups_kept = 1,
                           .groups = 1,
                           .norm = normType,
                           .factor = routedScalingFactor,
                           .eps = eps};
    HC_TRY(check_choices(NAME, &a, renorm));
    HC_TRY(hc_moe_check_matrix(NAME, "expertIdx", expertIdx, a.rows, a.k));
    HC_TRY(hc_moe_check_numbers(NAME, "expertIdx", expertIdx, a.rows * a.k));
    HC_TRY(hc_moe_check_floats(NAME, "out", out, a.rows, a.experts));
    return HC_PLAN(NAME, run_grad, &a, HC_IN(xNorm), HC_IN(gradY), HC_IN(expertIdx), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnMoeGatingTopKBackward)
