// SPDX-License-Identifier: Apache-2.0
/* One token for each row of logits, from what is left of it by three filters, each of which a row may skip:
 *
 *   topK   1 to min(n, ksMax): the k largest logits
 *   topP   below 1: the most likely whose predecessors have less than p; the first alone for p <= 0
 *   minPs  above 0: those with at least that part of the largest probability; the first alone from 1 on
 *
 * Probabilities are a softmax over what topK left (the logits themselves where they are probabilities). The
 * token is the largest probability, divided by |q| + eps where q is given: an exponential variable in q makes
 * that a sample. q[i] belongs to the i-th candidate in order. With isNeedSampleResult the candidates and
 * their probabilities are the result instead, for a sampler of the caller's. */
#include <math.h>
#include <stdatomic.h>

#include "top_k_top_p.h"

/* ksMax is rounded up to a multiple of 8. */
enum { K_MAX = 1024, K_ALIGN = 8 };

struct args {
    double eps;
    int64_t k_max;
    bool is_logits, need_logits, need_sample;
};

struct sample {
    const struct args *a;
    const float *logits, *p, *q, *min_p;
    const int64_t *k;
    int64_t *token, *index; /* index, sorted: of a caller who samples */
    float *select, *sorted;
    size_t n;
    atomic_bool failed;
};

/* The candidates of one row: positions in pairs, probabilities in row->value. */
static struct hc_pair *candidates(const struct sample *s, size_t r, struct hc_top_row *row, size_t *count) {
    const struct args *a = s->a;
    const float *x = s->logits + r * s->n, p = s->p[r], min_p = s->min_p != NULL ? s->min_p[r] : -1;
    const bool by_k = s->k[r] >= 1 && s->k[r] <= hc_min_i64(a->k_max, (int64_t)s->n), by_p = p < 1;
    struct hc_pair *pairs = row->pairs;
    *count = by_k ? (size_t)s->k[r] : s->n;
    if (by_k || by_p || min_p >= 1) pairs = hc_top_row_select(row, x, s->n, *count, false, false, count);
    else
        for (size_t i = 0; i < s->n; i++) pairs[i].at = i; /* unfiltered: in the order of the logits */
    for (size_t i = 0; i < *count; i++) row->value[i] = x[pairs[i].at];
    if (a->is_logits) HC_DISPATCH(top_row_softmax)(*count, row->value);
    if (by_p) {
        double sum = 0;
        size_t kept = 0;
        for (; kept < *count && (kept == 0 || (float)sum < p); kept++) sum += (double)row->value[kept];
        *count = kept;
        if (p <= 0 && a->is_logits) row->value[0] = 1;
    }
    return pairs;
}

/* Those below min_p of the largest probability go. */
static void drop_unlikely(float min_p, struct hc_pair *pairs, float *value, size_t *count) {
    float top = -INFINITY;
    size_t kept = 0;
    for (size_t i = 0; i < *count; i++) top = value[i] > top ? value[i] : top;
    for (size_t i = 0; i < *count; i++) {
        if (min_p < 1 ? !(value[i] >= top * min_p) : i > 0) continue;
        pairs[kept] = pairs[i], value[kept++] = value[i];
    }
    *count = kept;
}

/* The place of the largest, a NaN before all. */
static size_t choose(const struct sample *s, size_t r, const float *value, size_t count) {
    const float *q = s->q != NULL ? s->q + r * s->n : NULL, eps = (float)s->a->eps;
    float best = -INFINITY;
    size_t at = 0;
    for (size_t i = 0; i < count && best == best; i++) {
        const float x = q != NULL ? value[i] / (fabsf(q[i]) + eps) : value[i];
        if (x > best || x != x) best = x, at = i;
    }
    return at;
}

/* The results of one row; what is not asked for has no memory. */
static void sample_row(const struct sample *s, size_t r, struct hc_top_row *row) {
    const struct args *a = s->a;
    const size_t n = s->n;
    size_t count;
    struct hc_pair *pairs = candidates(s, r, row, &count);
    if (s->min_p != NULL && s->min_p[r] > 0) drop_unlikely(s->min_p[r], pairs, row->value, &count);
    if (a->need_logits) {
        for (size_t i = 0; i < n; i++) s->select[r * n + i] = a->is_logits ? -INFINITY : 0.0f;
        for (size_t i = 0; i < count; i++) s->select[r * n + pairs[i].at] = s->logits[r * n + pairs[i].at];
    }
    if (!a->need_sample) {
        s->token[r] = count > 0 ? (int64_t)pairs[choose(s, r, row->value, count)].at : 0;
        return;
    }
    for (size_t i = 0; i < n; i++) {
        s->index[r * n + i] = i < count ? (int64_t)pairs[i].at : 0;
        s->sorted[r * n + i] = i < count ? row->value[i] : 0;
    }
}

static void sample_rows(void *ctx, size_t begin, size_t end) {
    struct sample *s = ctx;
    struct hc_top_row row;
    if (!hc_top_row_take(s->n, &row)) atomic_store(&s->failed, true);
    else
        for (size_t r = begin; r < end; r++) sample_row(s, r, &row);
}

/* Operands logits, topK, topP, q, minPs, token, select, index, sorted. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *logits = hc_arg(call, 0);
    struct hc_plain p = hc_plain_open(call->name);
    struct sample s = {.a = a,
                       .logits = hc_plain_in(&p, logits),
                       .p = hc_plain_in(&p, hc_arg(call, 2)),
                       .q = hc_plain_in(&p, hc_arg(call, 3)),
                       .min_p = hc_plain_in(&p, hc_arg(call, 4)),
                       .k = hc_plain_index(&p, "topK", hc_arg(call, 1), INT64_MIN, INT64_MAX),
                       .token = a->need_sample ? NULL : hc_plain_out_index(&p, hc_arg(call, 5)),
                       .select = a->need_logits ? hc_plain_out(&p, hc_arg(call, 6)) : NULL,
                       .index = a->need_sample ? hc_plain_out_index(&p, hc_arg(call, 7)) : NULL,
                       .sorted = a->need_sample ? hc_plain_out(&p, hc_arg(call, 8)) : NULL,
                       .n = (size_t)logits->shape[1]};
    if (p.status == 0 && s.n > 0) hc_parallel_for((size_t)logits->shape[0], 1, sample_rows, &s);
    const bool failed = atomic_load(&s.failed);
    return hc_plain_close(&p, failed ? hc_fail(ACLNN_ERR_INNER, "%s: out of host memory", call->name) : 0);
}

/* The arguments of both versions; the first lacks minPs and what a sampler of the caller's gets. */
struct inputs {
    const char *name;
    const aclTensor *logits, *k, *p, *q, *min_p, *token, *select, *index, *sorted;
    struct args args;
};

/* Outputs that this call does not write are not looked at: torch_npu passes all of them. */
static aclnnStatus plan(struct inputs *in, uint64_t *workspaceSize, aclOpExecutor **executor) {
    const char *name = in->name;
    HC_TRY(HC_PLAIN_CHECK(name, "logits", in->logits, -1, -1));
    const int64_t rows = in->logits->shape[0], n = in->logits->shape[1];
    HC_CHECK(n > 0 && n <= UINT32_MAX, ACLNN_ERR_PARAM_INVALID,
             "%s: logits is %s, wanted rows of 1 to 2^32 - 1", name, HC_SHOW(in->logits));
    HC_TRY(HC_PLAIN_CHECK_INDEX(name, "topK", in->k, rows));
    HC_TRY(HC_PLAIN_CHECK(name, "topP", in->p, rows));
    if (in->q != NULL) HC_TRY(HC_PLAIN_CHECK(name, "q", in->q, rows, n));
    if (in->min_p != NULL) HC_TRY(HC_PLAIN_CHECK(name, "minPs", in->min_p, rows));
    HC_CHECK(in->args.k_max >= 1 && in->args.k_max <= K_MAX, ACLNN_ERR_PARAM_INVALID,
             "%s: ksMax is %lld, wanted 1 to %d", name, (long long)in->args.k_max, K_MAX);
    in->args.k_max = (in->args.k_max + K_ALIGN - 1) / K_ALIGN * K_ALIGN;
    if (in->args.need_sample) {
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "logitsIdx", in->index, rows, n));
        HC_TRY(HC_PLAIN_CHECK(name, "logitsSortMasked", in->sorted, rows, n));
        in->token = NULL;
    } else {
        HC_TRY(HC_PLAIN_CHECK_INDEX(name, "logitsSelectIdx", in->token, rows));
        in->index = in->sorted = NULL;
    }
    if (in->args.need_logits) HC_TRY(HC_PLAIN_CHECK(name, "logitsTopKPSelect", in->select, rows, n));
    else in->select = NULL;
    return HC_PLAN(name, run, &in->args, HC_IN(in->logits), HC_IN(in->k), HC_IN(in->p), HC_IN_OPT(in->q),
                   HC_IN_OPT(in->min_p), HC_OUT_OPT(in->token), HC_OUT_OPT(in->select), HC_OUT_OPT(in->index),
                   HC_OUT_OPT(in->sorted));
}

/* For clients that do not find V2. */
HC_API aclnnStatus aclnnTopKTopPSampleGetWorkspaceSize(const aclTensor *logits, const aclTensor *topK,
                                                       const aclTensor *topP, const aclTensor *q, double eps,
                                                       bool isNeedLogits, int64_t topKGuess,
                                                       const aclTensor *logitsSelectIdx,
                                                       const aclTensor *logitsTopKPSelect,
                                                       uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)topKGuess; /* how much an accelerator sorts first */
    struct inputs in = {"aclnnTopKTopPSample",
                        logits,
                        topK,
                        topP,
                        q,
                        NULL,
                        logitsSelectIdx,
                        logitsTopKPSelect,
                        NULL,
                        NULL,
                        {eps, K_MAX, true, isNeedLogits, false}};
    return plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnTopKTopPSample)

/* torch_npu.npu_top_k_top_p_sample. */
HC_API aclnnStatus aclnnTopKTopPSampleV2GetWorkspaceSize(
    const aclTensor *logits, const aclTensor *topK, const aclTensor *topP, const aclTensor *q,
    const aclTensor *minPs, double eps, bool isNeedLogits, int64_t topKGuess, int64_t ksMax,
    bool inputIsLogits, bool isNeedSampleResult, const aclTensor *logitsSelectIdx,
    const aclTensor *logitsTopKPSelect, const aclTensor *logitsIdx, const aclTensor *logitsSortMasked,
    uint64_t *workspaceSize, aclOpExecutor **executor) {
    (void)topKGuess;
    struct inputs in = {"aclnnTopKTopPSampleV2",
                        logits,
                        topK,
                        topP,
                        q,
                        minPs,
                        logitsSelectIdx,
                        logitsTopKPSelect,
                        logitsIdx,
                        logitsSortMasked,
                        {eps, ksMax, inputIsLogits, isNeedLogits, isNeedSampleResult}};
    return plan(&in, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnTopKTopPSampleV2)
