// SPDX-License-Identifier: Apache-2.0
/* Category indices drawn by weight, a row at a time.
 *
 * With replacement: a uniform number is looked up in the cumulative weights, O(categories + samples log
 * categories). Without: every category gets the key log(u) / weight and the largest keys win, which draws
 * in the right distribution (Efraimidis and Spirakis, 2006), O(categories log categories). One thread:
 * rows are a batch of sampled tokens, the sort of one row is milliseconds for a large vocabulary. */
#include <math.h>
#include <stdlib.h>

#include "elementwise.h"
#include "philox.h"
#include "temporary.h"

struct multinomial {
    struct hc_philox philox;
    int64_t samples;
    bool replacement;
};

/* The index breaks ties, so that the order does not depend on the sort. */
struct key {
    double value;
    int64_t index;
};

/* Word `index` of the stream. Makes the whole group of 64 for one of them; groups are shared by
 * neighbours, which are few. */
static double unit_at(const struct hc_philox *philox, uint64_t index) {
    uint32_t group[HC_PHILOX_GROUP];
    HC_DISPATCH(hc_philox_words)(philox, index / 32, 1, group);
    return hc_philox_unit_f64(hc_philox_u64(group, index % 32));
}

/* Weights are device memory: checked in the run, row by row, before the row is drawn. */
static aclnnStatus check_row(const double *weight, int64_t categories, int64_t row,
                             const struct multinomial *a) {
    double sum = 0;
    int64_t positive = 0;
    for (int64_t i = 0; i < categories; i++) {
        HC_CHECK(weight[i] >= 0 && isfinite(weight[i]), ACLNN_ERR_PARAM_INVALID,
                 "aclnnMultinomial: weight %g of category %lld in row %lld is not a finite number >= 0",
                 weight[i], (long long)i, (long long)row);
        sum += weight[i];
        positive += weight[i] > 0;
    }
    HC_CHECK(sum > 0, ACLNN_ERR_PARAM_INVALID, "aclnnMultinomial: the weights of row %lld sum to 0",
             (long long)row);
    HC_CHECK(a->replacement || positive >= a->samples, ACLNN_ERR_PARAM_INVALID,
             "aclnnMultinomial: %lld samples without replacement from %lld categories of positive weight in "
             "row %lld",
             (long long)a->samples, (long long)positive, (long long)row);
    return 0;
}

/* The first category whose cumulative weight exceeds `at`; at < the sum, and zero weights are never chosen.
 */
static int64_t look_up(const double *cumulative, int64_t categories, double at) {
    int64_t low = 0, high = categories - 1;
    while (low < high) {
        const int64_t middle = (low + high) / 2;
        if (cumulative[middle] > at) high = middle;
        else low = middle + 1;
    }
    return low;
}

/* `weight` becomes cumulative. */
static void with_replacement(const struct multinomial *a, double *weight, int64_t categories, int64_t row,
                             int64_t *out) {
    for (int64_t i = 1; i < categories; i++) weight[i] += weight[i - 1];
    for (int64_t s = 0; s < a->samples; s++) {
        const double unit = unit_at(&a->philox, (uint64_t)(row * a->samples + s));
        out[s] = look_up(weight, categories, unit * weight[categories - 1]);
    }
}

/* For qsort; equal keys keep the order of their indices. */
static int descending(const void *x, const void *y) {
    const struct key *a = x, *b = y;
    if (a->value != b->value) return a->value > b->value ? -1 : 1;
    return a->index < b->index ? -1 : 1;
}

/* A weight of 0 gets a key below all others: it is drawn only if nothing else is left, which check_row
 * excludes. */
static void without_replacement(const struct multinomial *a, const double *weight, int64_t categories,
                                int64_t row, struct key *keys, int64_t *out) {
    for (int64_t i = 0; i < categories; i++) {
        const double unit = unit_at(&a->philox, (uint64_t)(row * categories + i)) + 0x1p-54; /* never 0 */
        keys[i] = (struct key){weight[i] > 0 ? log(unit) / weight[i] : -INFINITY, i};
    }
    qsort(keys, (size_t)categories, sizeof *keys, descending);
    for (int64_t s = 0; s < a->samples; s++) out[s] = keys[s].index;
}

/* Row by row, so that a bad row is reported by its number; what was drawn before it is thrown away. */
static aclnnStatus draw_rows(const struct multinomial *a, double *weights, int64_t rows, int64_t categories,
                             struct key *keys, int64_t *out) {
    for (int64_t row = 0; row < rows; row++) {
        double *weight = weights + row * categories;
        HC_TRY(check_row(weight, categories, row, a));
        if (a->replacement) with_replacement(a, weight, categories, row, out + row * a->samples);
        else without_replacement(a, weight, categories, row, keys, out + row * a->samples);
    }
    return 0;
}

/* Weights in double, whatever their type: sums of a large vocabulary of halves would lose the small ones.
 */
static aclnnStatus multinomial_run(const struct hc_call *call) {
    const struct multinomial *a = call->args;
    const aclTensor *self = hc_arg(call, 0), *out = hc_arg(call, 1);
    const int64_t categories = self->shape[self->rank - 1], rows = self->rank == 2 ? self->shape[0] : 1;
    double *weights = hc_block_take_array((size_t)(rows * categories), sizeof *weights);
    struct key *keys = hc_block_take_array((size_t)categories, sizeof *keys);
    int64_t *drawn = hc_block_take_array(hc_numel(out), sizeof *drawn);
    aclnnStatus status = 0;
    if (weights == NULL || keys == NULL || drawn == NULL) {
        status = hc_fail(ACLNN_ERR_INNER, "aclnnMultinomial: out of host memory for %s", HC_SHOW(self));
    } else {
        const aclTensor to = hc_tensor_view(ACL_DOUBLE, self->shape, self->rank, weights);
        const aclTensor from = hc_tensor_view(ACL_INT64, out->shape, out->rank, drawn);
        status = hc_copy(&to, self);
        if (status == 0) status = draw_rows(a, weights, rows, categories, keys, drawn);
        if (status == 0) status = hc_copy(out, &from);
    }
    hc_block_give(weights);
    hc_block_give(keys);
    hc_block_give(drawn);
    return status;
}

/* torch.multinomial(self, numsamples, replacement). Weights need not sum to 1. */
aclnnStatus aclnnMultinomialGetWorkspaceSize(const aclTensor *self, int64_t numsamples, bool replacement,
                                             int64_t seed, int64_t offset, aclTensor *out,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(self != NULL && out != NULL, ACLNN_ERR_PARAM_NULLPTR, "aclnnMultinomial: %s is null",
             self ? "out" : "self");
    HC_CHECK((self->rank == 1 || self->rank == 2) && hc_dtype_is_float(self->dtype) && self->numel > 0,
             ACLNN_ERR_PARAM_INVALID,
             "aclnnMultinomial: self %s, a floating-point vector or matrix of weights is needed",
             HC_SHOW(self));
    HC_CHECK(numsamples > 0 && (replacement || numsamples <= self->shape[self->rank - 1]),
             ACLNN_ERR_PARAM_INVALID, "aclnnMultinomial: numsamples is %lld for self %s, wanted at least 1%s",
             (long long)numsamples, HC_SHOW(self),
             replacement ? "" : " and, without replacement, no more than a row has weights");
    HC_CHECK(out->rank == self->rank && out->shape[out->rank - 1] == numsamples &&
                 (self->rank == 1 || out->shape[0] == self->shape[0]) && out->dtype == ACL_INT64,
             ACLNN_ERR_PARAM_INVALID,
             "aclnnMultinomial: out is %s for %lld samples of %s, wanted int64 of as many a row",
             HC_SHOW(out), (long long)numsamples, HC_SHOW(self));
    const struct multinomial args = {{(uint64_t)seed, (uint64_t)offset}, numsamples, replacement};
    return HC_PLAN("aclnnMultinomial", multinomial_run, &args, HC_IN(self), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnMultinomial)
