// SPDX-License-Identifier: Apache-2.0
/* Counts: Histc (bins of equal width; values outside [min, max] and NaN are left out) and Bincount
 * (occurrences of each integer, or the sum of their weights).
 *
 * Elements are visited in order by one thread: counting is exact in any order, but weights are floats. */
#include <math.h>
#include <string.h>

#include "elementwise.h"

/* min == max: the range is that of the data. */
struct histc_args {
    int64_t bins;
    double min, max;
};

/* The tensor's elements, contiguous in the block type; hc_block_give() it. */
static aclnnStatus as_array(const char *name, const aclTensor *t, aclDataType dtype, void **array) {
    *array = hc_block_take_array(hc_numel(t), hc_dtype_size(dtype));
    HC_CHECK(*array != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %s", name, HC_SHOW(t));
    const aclTensor to = hc_tensor_view(dtype, t->shape, t->rank, *array);
    const aclnnStatus status = hc_copy(&to, t);
    if (status != 0) hc_block_give(*array);
    return status;
}

/* Counts, converted to out's type. */
static aclnnStatus store_counts(const aclTensor *out, aclDataType dtype, void *counts) {
    const aclTensor from = hc_tensor_view(dtype, out->shape, out->rank, counts);
    return hc_copy(out, &from);
}

/* The range of the data if none was given, widened by one where it is a point. */
static void find_range(const double *x, size_t n, double *min, double *max) {
    if (*min == *max && n > 0) {
        *min = *max = x[0];
        for (size_t i = 1; i < n; i++) {
            if (x[i] < *min || x[i] != x[i]) *min = x[i]; /* a NaN stays: nothing is below it */
            if (x[i] > *max || x[i] != x[i]) *max = x[i];
        }
    }
    if (*min == *max) {
        *min -= 1;
        *max += 1;
    }
}

/* O(elements); the last bin includes its upper end, as in PyTorch. */
static aclnnStatus run_histc(const struct hc_call *call) {
    const struct histc_args *a = call->args;
    const aclTensor *self = hc_arg(call, 0), *out = hc_arg(call, 1);
    const size_t n = hc_numel(self);
    double min = a->min, max = a->max, *x;
    HC_TRY(as_array(call->name, self, ACL_DOUBLE, (void **)&x));
    find_range(x, n, &min, &max);
    int64_t *counts = hc_block_take_zeroed((size_t)a->bins, sizeof *counts);
    aclnnStatus status = 0;
    if (counts == NULL)
        status =
            hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %lld bins", call->name, (long long)a->bins);
    else if (!(max - min < (double)__builtin_inf())) {
        status =
            hc_fail(ACLNN_ERR_PARAM_INVALID, "%s: range of [%g, %g] is not finite", call->name, min, max);
    }
    for (size_t i = 0; i < n && status == 0; i++) {
        if (!(x[i] >= min && x[i] <= max)) continue;
        double bin = (x[i] - min) * (double)a->bins / (max - min);
        if (!isfinite(bin))
            bin = (x[i] - min) / (max - min) * (double)a->bins; /* huge numbers: as well as they allow */
        counts[hc_min_i64((int64_t)bin, a->bins - 1)]++;
    }
    if (status == 0) status = store_counts(out, ACL_INT64, counts);
    hc_block_give(counts);
    hc_block_give(x);
    return status;
}

/* torch.histc(self, bins, min, max) for real numbers; bins are computed in double for all of them. */
HC_API aclnnStatus aclnnHistcGetWorkspaceSize(const aclTensor *self, int64_t bins, const aclScalar *min,
                                              const aclScalar *max, aclTensor *out, uint64_t *workspaceSize,
                                              aclOpExecutor **executor) {
    HC_CHECK(self && min && max && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnHistc: self, min, max or out is null");
    HC_CHECK(bins > 0, ACLNN_ERR_PARAM_INVALID, "aclnnHistc: bins is %lld, want at least 1", (long long)bins);
    HC_CHECK(out->rank == 1 && out->shape[0] == bins, ACLNN_ERR_PARAM_INVALID,
             "aclnnHistc: out is %s, want %lld elements", HC_SHOW(out), (long long)bins);
    HC_CHECK(!hc_dtype_is_complex(self->dtype), ACLNN_ERR_PARAM_INVALID, "aclnnHistc: self is %s",
             HC_SHOW(self));
    const struct histc_args args = {bins, hc_scalar_f64(min), hc_scalar_f64(max)};
    HC_CHECK(args.min <= args.max, ACLNN_ERR_PARAM_INVALID, "aclnnHistc: min %g is larger than max %g",
             args.min, args.max);
    return HC_PLAN("aclnnHistc", run_histc, &args, HC_IN(self), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnHistc)

/* Exactly one of sums and counts is used; both have `bins` places. Stops at the first value that has
 * none. */
static aclnnStatus count(const struct hc_call *call, const int64_t *x, const double *weights, size_t n,
                         double *sums, int64_t *counts, size_t bins) {
    for (size_t i = 0; i < n; i++) {
        HC_CHECK(x[i] >= 0 && (size_t)x[i] < bins, ACLNN_ERR_PARAM_INVALID,
                 "%s: self[%zu] is %lld, out has room for 0 to %lld", call->name, i, (long long)x[i],
                 (long long)bins - 1);
        if (weights != NULL) sums[x[i]] += weights[i];
        else counts[x[i]]++;
    }
    return 0;
}

/* totals are int64 counts or double sums: one memory for either, as both have 8 bytes. */
static aclnnStatus run_bincount(const struct hc_call *call) {
    const aclTensor *self = hc_arg(call, 0), *weights = hc_arg(call, 1), *out = hc_arg(call, 2);
    const size_t bins = hc_numel(out);
    int64_t *x;
    double *w = NULL;
    HC_TRY(as_array(call->name, self, ACL_INT64, (void **)&x));
    aclnnStatus status = weights != NULL ? as_array(call->name, weights, ACL_DOUBLE, (void **)&w) : 0;
    void *totals = hc_block_take_zeroed(bins, sizeof(int64_t)); /* zero bits are 0 and 0.0 */
    if (status == 0 && totals == NULL)
        status = hc_fail(ACLNN_ERR_INNER, "%s: out of host memory for %zu bins", call->name, bins);
    if (status == 0) status = count(call, x, w, hc_numel(self), totals, totals, bins);
    if (status == 0) status = store_counts(out, weights != NULL ? ACL_DOUBLE : ACL_INT64, totals);
    hc_block_give(totals);
    if (weights != NULL) hc_block_give(w);
    hc_block_give(x);
    return status;
}

/* torch.bincount(self, weights, minlength). The client has made out long enough for the largest value, so
 * a value beyond it, or a negative one, is an error. */
HC_API aclnnStatus aclnnBincountGetWorkspaceSize(const aclTensor *self, const aclTensor *weights,
                                                 int64_t minlength, aclTensor *out, uint64_t *workspaceSize,
                                                 aclOpExecutor **executor) {
    HC_CHECK(self && out, ACLNN_ERR_PARAM_NULLPTR, "aclnnBincount: %s is null", self ? "out" : "self");
    HC_CHECK(self->rank == 1 && hc_dtype_is_integral(self->dtype), ACLNN_ERR_PARAM_INVALID,
             "aclnnBincount: self is %s, want one dimension of integers", HC_SHOW(self));
    HC_CHECK(weights == NULL || hc_same_shape(self, weights), ACLNN_ERR_PARAM_INVALID,
             "aclnnBincount: weights is %s, self is %s, want the same shape", HC_SHOW(weights),
             HC_SHOW(self));
    HC_CHECK(out->rank == 1 && out->shape[0] >= minlength, ACLNN_ERR_PARAM_INVALID,
             "aclnnBincount: out is %s, want at least minlength %lld elements", HC_SHOW(out),
             (long long)minlength);
    return HC_PLAN0("aclnnBincount", run_bincount, HC_IN(self), HC_IN_OPT(weights), HC_OUT(out));
}
HC_OP_LAUNCH(aclnnBincount)
