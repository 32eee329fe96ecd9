// SPDX-License-Identifier: Apache-2.0
/* Logits outside the k largest, and outside the most likely that together have probability p, become -inf
 * (nucleus sampling, arXiv 1904.09751). All that equal the k-th largest stay; of the rest, in ascending
 * order, those go whose probabilities so far add up to 1 - p at most, but never the last. */
#include <math.h>
#include <stdatomic.h>

#include "top_k_top_p.h"

static const char NAME[] = "aclnnApplyTopKTopP";

/* p or k is NULL where that filter is not wanted. */
struct filter {
    const float *logits, *p;
    const int64_t *k;
    float *out;
    size_t n;
    atomic_bool failed;
};

/* Values leave for row->value before out is filled, as out may be the memory of the logits. */
static void filter_row(const struct filter *f, size_t r, struct hc_top_row *row) {
    const float *x = f->logits + r * f->n;
    float *out = f->out + r * f->n;
    size_t count;
    const struct hc_pair *kept =
        hc_top_row_select(row, x, f->n, f->k != NULL ? (size_t)f->k[r] : f->n, true, true, &count);
    size_t first = 0;
    for (size_t i = 0; i < count; i++) row->value[i] = x[kept[i].at];
    if (f->p != NULL) {
        const float limit = 1 - f->p[r];
        double sum = 0;
        HC_DISPATCH(top_row_softmax)(count, row->value);
        for (; first + 1 < count; first++) {
            sum += (double)row->value[first];
            if (!((float)sum <= limit)) break;
        }
        for (size_t i = first; i < count; i++) row->value[i] = x[kept[i].at];
    }
    for (size_t i = 0; i < f->n; i++) out[i] = -INFINITY;
    for (size_t i = first; i < count; i++) out[kept[i].at] = row->value[i];
}

/* Items are rows; memory of a thread serves all rows of a piece. */
static void filter_rows(void *ctx, size_t begin, size_t end) {
    struct filter *f = ctx;
    struct hc_top_row row;
    if (!hc_top_row_take(f->n, &row)) atomic_store(&f->failed, true);
    else
        for (size_t r = begin; r < end; r++) filter_row(f, r, &row);
}

/* Operands logits, p, k, out. */
/* A k outside of 1 to the row's length is an error of the caller's numbers, named with its place. */
static aclnnStatus run(const struct hc_call *call) {
    const aclTensor *logits = hc_arg(call, 0);
    struct hc_plain p = hc_plain_open(call->name);
    struct filter f = {.logits = hc_plain_in(&p, logits),
                       .p = hc_plain_in(&p, hc_arg(call, 1)),
                       .k = hc_plain_index(&p, "k", hc_arg(call, 2), 1, logits->shape[1] + 1),
                       .out = hc_plain_out(&p, hc_arg(call, 3)),
                       .n = (size_t)logits->shape[1]};
    if (p.status == 0 && f.n > 0) hc_parallel_for((size_t)logits->shape[0], 1, filter_rows, &f);
    const bool failed = atomic_load(&f.failed);
    return hc_plain_close(&p, failed ? hc_fail(ACLNN_ERR_INNER, "%s: out of host memory", NAME) : 0);
}

/* torch_npu.npu_top_k_top_p(logits, p, k). */
HC_API aclnnStatus aclnnApplyTopKTopPGetWorkspaceSize(const aclTensor *logits, const aclTensor *p,
                                                      const aclTensor *k, aclTensor *out,
                                                      uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_TRY(HC_PLAIN_CHECK(NAME, "logits", logits, -1, -1));
    HC_CHECK(logits->shape[1] <= UINT32_MAX, ACLNN_ERR_PARAM_INVALID,
             "%s: logits is %s, wanted rows below 2^32", NAME, HC_SHOW(logits));
    if (p != NULL) HC_TRY(HC_PLAIN_CHECK(NAME, "p", p, logits->shape[0]));
    if (k != NULL) HC_TRY(HC_PLAIN_CHECK_INDEX(NAME, "k", k, logits->shape[0]));
    HC_TRY(HC_PLAIN_CHECK(NAME, "out", out, logits->shape[0], logits->shape[1]));
    return HC_PLAN0(NAME, run, HC_IN(logits), HC_IN_OPT(p), HC_IN_OPT(k), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnApplyTopKTopP)
