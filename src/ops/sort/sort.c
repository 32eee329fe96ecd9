// SPDX-License-Identifier: Apache-2.0
/* Sort and Topk along a dimension: values and where they were.
 *
 * Always stable (what Topk and an unstable Sort leave open is settled by position), one row per thread. A
 * full row is sorted by sort_rows.c; Topk of a row of n costs O(n) comparisons and sorts k pairs. Cost of
 * a pair: 16 bytes in the thread's scratch, so a vocabulary of 128 Ki stays in the second-level cache or
 * near it. */
#include <stdatomic.h>

#include "messages.h"
#include "sort_rows.h"

/* The k smallest of n words, in order; each is taken away by UINT64_MAX. The lower half is its position. */
HC_KERNEL(sort_extract, (size_t n, size_t k, uint64_t *words, uint64_t *smallest))

#ifdef HC_ISA
void HC_FN(sort_extract)(size_t n, size_t k, uint64_t *words, uint64_t *smallest) {
    for (size_t r = 0; r < k; r++) {
        uint64_t least = UINT64_MAX;
        for (size_t i = 0; i < n; i++) least = words[i] < least ? words[i] : least;
        smallest[r] = least;
        words[(uint32_t)least] = UINT64_MAX;
    }
}

#else
/* SHORT, EXTRACTED: rows, and rows times k, of which minima are looked for. FIRST, STEP: elements looked at
 * before the limit is renewed, at first and later. */
enum { GRAIN = 8192, FEW = 24, FIRST = 32, STEP = 512, SHORT = 512, EXTRACTED = 4096 };

/* k: all of a row for Sort. */
struct args {
    int64_t dim;
    bool descending, sorted;
    size_t k; /* values wanted of each row */
};

/* One call: read-only but for `failed`. rows: of the other dimensions together. */
struct loop {
    aclTensor self, values, indices; /* dimension `dim` last */
    size_t n, rows;
    const struct args *args;
    hc_make_pairs_fn *make;
    hc_store_fn *store_at;
    atomic_bool failed;
};

/* First element of a row of any view whose last dimension is the row. */
static const char *row_address(const aclTensor *t, size_t row) {
    const char *p = hc_data(t);
    for (int32_t d = t->rank - 2; d >= 0; d--) {
        p += (int64_t)(row % (size_t)t->shape[d]) * t->stride[d] * t->item_size;
        row /= (size_t)t->shape[d];
    }
    return p;
}

/* Indices leave through the converter: they may be int32. */
static void store_positions(const struct loop *l, size_t k, const struct hc_pair *pairs, size_t row) {
    const int64_t stride = l->indices.stride[l->indices.rank - 1];
    char *to = (char *)row_address(&l->indices, row);
    int64_t block[256];
    for (size_t i = 0; i < k; i += HC_ARRAY_SIZE(block)) {
        const size_t n = hc_min_size(HC_ARRAY_SIZE(block), k - i);
        for (size_t j = 0; j < n; j++) block[j] = (int64_t)pairs[i + j].at;
        l->store_at(n, to + (int64_t)i * stride * l->indices.item_size, stride, block);
    }
}

/* The k smallest pairs of a row in no order, k < n: once there are k, only keys that may be among them are
 * kept, so most elements cost one comparison. Uses 2 (k + STEP) pairs. */
static void select_row(const struct loop *l, const char *from, int64_t stride, struct hc_pair *pairs) {
    const size_t k = l->args->k, room = 2 * k + STEP;
    uint64_t limit = UINT64_MAX;
    size_t count = 0;
    for (size_t i = 0; i < l->n; i += STEP) {
        if (count + STEP > room) {
            hc_select_pairs(count, pairs, k);
            count = k;
            limit = 0;
            for (size_t j = 0; j < k; j++) limit = pairs[j].key > limit ? pairs[j].key : limit;
        }
        count +=
            l->make(i, hc_min_size(i + STEP, l->n), pairs + count, from, stride, l->args->descending, limit);
    }
    hc_select_pairs(count, pairs, k);
}

/* The same for few of a short row, without a branch that depends on values: key and position in one word,
 * whose minimum is looked for k times. Keys of up to 4 bytes. */
static void select_short(const struct loop *l, const char *from, int64_t stride, struct hc_pair *pairs) {
    uint64_t words[SHORT], smallest[FEW];
    l->make(0, l->n, pairs, from, stride, l->args->descending, UINT64_MAX);
    for (size_t i = 0; i < l->n; i++) words[i] = pairs[i].key << 32 | i;
    HC_DISPATCH(sort_extract)(l->n, l->args->k, words, smallest);
    for (size_t r = 0; r < l->args->k; r++)
        pairs[r] = (struct hc_pair){smallest[r] >> 32, (uint32_t)smallest[r]};
}

/* The same for few of them, which are kept in order: an element is compared with the last of them, and moved
 * up from there if it comes before. Of equal keys the one that was there first stays in front. */
static void select_few(const struct loop *l, const char *from, int64_t stride, struct hc_pair *pairs) {
    const size_t k = l->args->k;
    struct hc_pair *const found = pairs + k;
    uint64_t limit = UINT64_MAX;
    size_t count = 0, step = FIRST;
    for (size_t i = 0, end; i < l->n; i = end, step = hc_min_size(2 * step, STEP)) {
        end = hc_min_size(i + step, l->n);
        const size_t m = l->make(i, end, found, from, stride, l->args->descending, limit);
        for (size_t f = 0; f < m; f++) {
            const struct hc_pair p = found[f];
            if (count == k && p.key >= limit) continue;
            size_t j = count < k ? count++ : k - 1;
            for (; j > 0 && pairs[j - 1].key > p.key; j--) pairs[j] = pairs[j - 1];
            pairs[j] = p;
            if (count == k) limit = pairs[k - 1].key;
        }
    }
}

/* Selection leaves no order: sort by position first, then, stably, by key. */
static struct hc_pair *sort_selected(const struct loop *l, struct hc_pair *pairs, struct hc_pair *spare) {
    const size_t k = l->args->k;
    for (size_t i = 0; i < k; i++) spare[i] = (struct hc_pair){pairs[i].at, pairs[i].key};
    struct hc_pair *const by_at = hc_sort_pairs(k, spare, pairs, sizeof(uint32_t));
    for (size_t i = 0; i < k; i++) by_at[i] = (struct hc_pair){by_at[i].at, by_at[i].key};
    return hc_sort_pairs(k, by_at, by_at == pairs ? spare : pairs, hc_key_bytes(l->self.dtype));
}

/* Rows [begin, end), each by one thread: pairs, order, values by position. */
static void run_rows(void *ctx, size_t begin, size_t end) {
    struct loop *l = ctx;
    const struct args *a = l->args;
    const int64_t stride = l->self.stride[l->self.rank - 1];
    const bool all = a->k == l->n;
    const size_t keys = hc_key_bytes(l->self.dtype);
    const size_t room = all ? l->n : 2 * (a->k + STEP);
    struct hc_pair *const memory = hc_scratch(HC_SCRATCH_C, 2 * room * sizeof *memory);
    if (memory == NULL) {
        atomic_store(&l->failed, true);
        return;
    }
    for (size_t row = begin; row < end; row++) {
        const char *from = row_address(&l->self, row);
        struct hc_pair *pairs = memory;
        if (all) {
            l->make(0, l->n, pairs, from, stride, a->descending, UINT64_MAX);
            if (a->sorted) pairs = hc_sort_pairs(l->n, pairs, memory + room, hc_key_bytes(l->self.dtype));
        } else if (a->k <= FEW && l->n <= SHORT && a->k * l->n <= EXTRACTED && keys <= sizeof(uint32_t)) {
            select_short(l, from, stride, pairs);
        } else if (a->k <= FEW) {
            select_few(l, from, stride, pairs);
        } else {
            select_row(l, from, stride, pairs);
            if (a->sorted) pairs = sort_selected(l, pairs, memory + room);
        }
        hc_fetch_pairs(a->k, pairs, (size_t)l->self.item_size, from, stride,
                       (char *)row_address(&l->values, row), l->values.stride[l->values.rank - 1]);
        store_positions(l, a->k, pairs, row);
    }
}

/* The tensor with `dim` last; a scalar becomes a row of one. */
static aclTensor with_last(const aclTensor *t, int64_t dim) {
    aclTensor view = *t;
    if (view.rank == 0) {
        view.rank = 1;
        view.shape[0] = view.stride[0] = 1;
        return view;
    }
    for (int32_t d = (int32_t)dim; d + 1 < view.rank; d++) view = hc_transpose_view(&view, d, d + 1);
    return view;
}

/* The row goes last in all three tensors; strides do the rest, nothing is transposed in memory. */
static aclnnStatus run(const struct hc_call *call) {
    const struct args *a = call->args;
    const aclTensor *self = hc_arg(call, 0);
    struct loop l = {.args = a,
                     .self = with_last(self, a->dim),
                     .values = with_last(hc_arg(call, 1), a->dim),
                     .indices = with_last(hc_arg(call, 2), a->dim),
                     .make = hc_make_pairs_for(self->dtype)};
    l.n = (size_t)l.self.shape[l.self.rank - 1];
    l.store_at = hc_store_for(l.indices.dtype, HC_I64);
    if (l.n == 0 || self->numel == 0 || a->k == 0) return 0;
    l.rows = (size_t)self->numel / l.n;
    hc_parallel_for(l.rows, hc_max_size(GRAIN / l.n, 1), run_rows, &l);
    HC_CHECK(!atomic_load(&l.failed), ACLNN_ERR_INNER, "%s: out of host memory for rows of %zu elements",
             call->name, l.n);
    return 0;
}

static aclnnStatus plan(const char *name, const aclTensor *self, struct args *args, const aclTensor *values,
                        const aclTensor *indices, uint64_t *workspaceSize, aclOpExecutor **executor) {
    HC_CHECK(values && indices, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", name,
             values ? "indices" : "values");
    HC_CHECK(hc_make_pairs_for(self->dtype) != NULL, ACLNN_ERR_PARAM_INVALID,
             "%s: self is %s, which has no order: wanted real numbers", name, HC_SHOW(self));
    HC_CHECK(values->dtype == self->dtype, ACLNN_ERR_PARAM_INVALID,
             "%s: values is %s, want the type of self %s", name, HC_SHOW(values), HC_SHOW(self));
    HC_CHECK(indices->dtype == ACL_INT64 || indices->dtype == ACL_INT32, ACLNN_ERR_PARAM_INVALID,
             "%s: indices is %s, want int64 or int32", name, HC_SHOW(indices));
    aclTensor want = *self;
    if (want.rank > 0) want.shape[args->dim] = (int64_t)args->k;
    HC_CHECK(hc_same_shape(values, &want) && hc_same_shape(indices, &want), ACLNN_ERR_PARAM_INVALID,
             "%s: values %s, indices %s, want the shape of %s", name, HC_SHOW(values), HC_SHOW(indices),
             HC_SHOW(&want));
    /* Positions are sorted as 32 bits. */
    HC_CHECK(hc_numel(self) < UINT32_MAX, ACLNN_ERR_PARAM_INVALID, "%s: self %s is too long", name,
             HC_SHOW(self));
    return HC_PLAN(name, run, args, HC_IN(self), HC_OUT(values), HC_OUT(indices));
}

/* Sets dim and, for now, k to the whole row. */
static aclnnStatus check_dim(const char *name, const aclTensor *self, int64_t dim, struct args *args) {
    HC_CHECK(self != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: self is null", name);
    args->dim = hc_wrap_dim(dim, self->rank);
    if (args->dim < 0) return hc_fail_dim(name, "dim", dim, "self", self);
    args->k = self->rank > 0 ? (size_t)self->shape[args->dim] : 1;
    return 0;
}

/* torch.sort(self, stable=stable, dim=dim, descending=descending). NaN goes last, or first if descending.
 */
HC_API aclnnStatus aclnnSortGetWorkspaceSize(const aclTensor *self, bool stable, int64_t dim, bool descending,
                                             aclTensor *valuesOut, aclTensor *indicesOut,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.descending = descending, .sorted = true};
    (void)stable; /* it always is */
    HC_TRY(check_dim("aclnnSort", self, dim, &args));
    return plan("aclnnSort", self, &args, valuesOut, indicesOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnSort)

/* torch.topk(self, k, dim, largest, sorted). Not sorted means in no order, and saves the sort of k pairs.
 */
HC_API aclnnStatus aclnnTopkGetWorkspaceSize(const aclTensor *self, int64_t k, int64_t dim, bool largest,
                                             bool sorted, aclTensor *valuesOut, aclTensor *indicesOut,
                                             uint64_t *workspaceSize, aclOpExecutor **executor) {
    struct args args = {.descending = largest, .sorted = sorted};
    HC_TRY(check_dim("aclnnTopk", self, dim, &args));
    HC_CHECK(k >= 0 && (size_t)k <= args.k, ACLNN_ERR_PARAM_INVALID,
             "aclnnTopk: k is %lld, dimension %lld of self %s allows "
             "0 to %zu",
             (long long)k, (long long)dim, HC_SHOW(self), args.k);
    args.k = (size_t)k;
    return plan("aclnnTopk", self, &args, valuesOut, indicesOut, workspaceSize, executor);
}
HC_OP_LAUNCH(aclnnTopk)
#endif
