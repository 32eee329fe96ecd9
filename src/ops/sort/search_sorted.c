// SPDX-License-Identifier: Apache-2.0
/* SearchSorted: for each value, where it would go in a sorted sequence, before (or, with right, after)
 * its equals. Sequences are the last dimension; there is one, or one per row of the values. NaN is the
 * largest. A bisection each, O(log n), in parallel over values; everything is converted to double or
 * int64 once, which keeps both exact for the types that meet there. */

#include "elementwise.h"

/* floats: compare as double, else as int64. */
struct args {
    bool right, floats;
};

/* One array holds values before and positions after. */
union number {
    double f;
    int64_t i;
};

/* Read-only but for `positions`, which each value writes at its own place. */
struct loop {
    const union number *sequence, *values;
    const int64_t *sorter;
    int64_t *positions;
    size_t n, row_values; /* length of a sequence; values per sequence */
    struct args args;
};

/* Whether a goes before b. */
static inline bool before(const struct loop *l, union number a, union number b) {
    if (!l->args.floats) return a.i < b.i;
    return a.f < b.f || (b.f != b.f && a.f == a.f);
}

/* Invariant: everything before `low` goes before the value, nothing from `high` on does. */
static void search(void *ctx, size_t begin, size_t end) {
    const struct loop *l = ctx;
    for (size_t i = begin; i < end; i++) {
        const size_t row = l->row_values > 0 ? i / l->row_values * l->n : 0;
        size_t low = 0, high = l->n;
        while (low < high) {
            const size_t middle = low + (high - low) / 2;
            const size_t at = row + (l->sorter != NULL ? (size_t)l->sorter[row + middle] : middle);
            const bool after = l->args.right ? !before(l, l->values[i], l->sequence[at])
                                             : before(l, l->sequence[at], l->values[i]);
            if (after) low = middle + 1;
            else high = middle;
        }
        l->positions[i] = (int64_t)low;
    }
}

/* t converted, contiguous, in memory that the caller frees; nothing for NULL. */
static aclnnStatus as_array(const char *name, const aclTensor *t, aclDataType dtype, void **array) {
    *array = NULL;
    if (t == NULL) return 0;
    *array = hc_block_take_array(hc_numel(t), sizeof(union number));
    HC_CHECK(*array != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %s", name, HC_SHOW(t));
    const aclTensor to = hc_tensor_view(dtype, t->shape, t->rank, *array);
    return hc_copy(&to, t);
}

/* Values of device memory, so checked in the run; a wrong one would read beyond the sequence. */
static aclnnStatus check_sorter(const struct hc_call *call, const int64_t *sorter, size_t count, size_t n) {
    for (size_t i = 0; sorter != NULL && i < count; i++) {
        HC_CHECK(sorter[i] >= 0 && (size_t)sorter[i] < n, ACLNN_ERR_PARAM_INVALID,
                 "%s: sorter has %lld at element %zu, sequences have %zu elements", call->name,
                 (long long)sorter[i], i, n);
    }
    return 0;
}

/* Three conversions, O(elements), against a search of O(values log n): for a few values in a long
 * sequence the conversion dominates, which is the price of one loop for all types. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *sequence = hc_arg(call, 0), *values = hc_arg(call, 1), *sorter = hc_arg(call, 2),
                    *out = hc_arg(call, 3);
    const aclDataType dtype = a->floats ? ACL_DOUBLE : ACL_INT64;
    void *arrays[3] = {0};
    struct loop l = {.args = *a, .n = (size_t)sequence->shape[sequence->rank - 1]};
    if (sequence->rank > 1) l.row_values = (size_t)values->shape[values->rank - 1];
    aclnnStatus status = as_array(call->name, sequence, dtype, &arrays[0]);
    if (status == 0) status = as_array(call->name, values, dtype, &arrays[1]);
    if (status == 0) status = as_array(call->name, sorter, ACL_INT64, &arrays[2]);
    if (status == 0 && sorter != NULL) status = check_sorter(call, arrays[2], hc_numel(sorter), l.n);
    if (status == 0) {
        l.sequence = arrays[0];
        l.values = arrays[1];
        l.sorter = arrays[2];
        l.positions = arrays[1]; /* a position replaces its value */
        hc_parallel_for(hc_numel(values), 1024, search, &l);
        const aclTensor from = hc_tensor_view(ACL_INT64, out->shape, out->rank, arrays[1]);
        status = hc_copy(out, &from);
    }
    for (int i = 0; i < 3; i++) hc_block_give(arrays[i]);
    return status;
}

/* The values' own shape is free where there is one sequence: out has it. */
static aclnnStatus check(const aclTensor *sequence, const aclTensor *self, const aclTensor *sorter,
                         const aclTensor *out, bool out_int32) {
    static const char *const NAME = "aclnnSearchSorted";
    HC_CHECK(sequence && self && out, ACLNN_ERR_PARAM_NULLPTR, "%s: sortedSequence, self or out is null",
             NAME);
    HC_CHECK(sequence->rank >= 1, ACLNN_ERR_PARAM_INVALID,
             "%s: sortedSequence is a scalar, wanted at least one dimension", NAME);
    HC_CHECK(!hc_dtype_is_complex(sequence->dtype) && !hc_dtype_is_complex(self->dtype),
             ACLNN_ERR_PARAM_INVALID,
             "%s: sortedSequence %s, self %s: complex numbers have no order, wanted real ones", NAME,
             HC_SHOW(sequence), HC_SHOW(self));
    bool rows = sequence->rank == 1 || sequence->rank == self->rank;
    for (int32_t d = 0; rows && sequence->rank > 1 && d + 1 < self->rank; d++)
        rows = sequence->shape[d] == self->shape[d];
    HC_CHECK(rows, ACLNN_ERR_PARAM_INVALID,
             "%s: sortedSequence %s and self %s differ before the last dimension, wanted the same sizes",
             NAME, HC_SHOW(sequence), HC_SHOW(self));
    HC_CHECK(sorter == NULL || (hc_same_shape(sorter, sequence) && sorter->dtype == ACL_INT64),
             ACLNN_ERR_PARAM_INVALID, "%s: sorter is %s, want int64 of the shape of sortedSequence %s", NAME,
             HC_SHOW(sorter), HC_SHOW(sequence));
    HC_CHECK(hc_same_shape(out, self) && out->dtype == (out_int32 ? ACL_INT32 : ACL_INT64),
             ACLNN_ERR_PARAM_INVALID, "%s: out is %s, want %s of the shape of self %s", NAME, HC_SHOW(out),
             out_int32 ? "int32" : "int64", HC_SHOW(self));
    return 0;
}

/* torch.searchsorted(sortedSequence, self, right=right, sorter=sorter). sorter is the permutation that
 * sorts a sequence which is not. */
HC_API aclnnStatus aclnnSearchSortedGetWorkspaceSize(const aclTensor *sortedSequence, const aclTensor *self,
                                                     bool outInt32, bool right, const aclTensor *sorter,
                                                     aclTensor *out, uint64_t *workspaceSize,
                                                     aclOpExecutor **executor) {
    HC_TRY(check(sortedSequence, self, sorter, out, outInt32));
    const struct args args = {right,
                              hc_dtype_is_float(sortedSequence->dtype) || hc_dtype_is_float(self->dtype)};
    return HC_PLAN("aclnnSearchSorted", run, &args, HC_IN(sortedSequence), HC_IN(self), HC_IN_OPT(sorter),
                   HC_OUT(out));
}
HC_OP_LAUNCH(aclnnSearchSorted)
