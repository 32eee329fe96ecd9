// SPDX-License-Identifier: Apache-2.0
/* Index tensors made plain and checked: one pass that finds lowest and highest, and a second one only for
 * negative indices. An error costs a search for the first culprit, so that the message can name it. */
#include "index_load.h"

#include <stdatomic.h>
#include <stdio.h>

HC_KERNEL(hc_index_range, (size_t n, const int64_t *x, int64_t *lowest, int64_t *highest))
HC_KERNEL(hc_index_wrap, (size_t n, int64_t *x, int64_t bound))

#ifdef HC_ISA
/* Minimum and maximum vectorise; a comparison with the bounds and an early end would not. */
void HC_FN(hc_index_range)(size_t n, const int64_t *x, int64_t *lowest, int64_t *highest) {
    int64_t low = INT64_MAX, high = INT64_MIN;
    for (size_t i = 0; i < n; i++) {
        low = x[i] < low ? x[i] : low;
        high = x[i] > high ? x[i] : high;
    }
    *lowest = low;
    *highest = high;
}

void HC_FN(hc_index_wrap)(size_t n, int64_t *x, int64_t bound) {
    for (size_t i = 0; i < n; i++) x[i] += x[i] < 0 ? bound : 0;
}
#else
enum { GRAIN = 32 * 1024 }; /* 256 KiB of indices */

/* The flags only ever become true, so relaxed stores do. */
struct scan {
    int64_t *data;
    int64_t bound, lowest; /* legal: lowest <= x < bound */
    atomic_bool bad, negative;
};

static void scan_piece(void *ctx, size_t begin, size_t end) {
    struct scan *s = ctx;
    int64_t low, high;
    HC_DISPATCH(hc_index_range)(end - begin, s->data + begin, &low, &high);
    if (low < s->lowest || high >= s->bound) atomic_store_explicit(&s->bad, true, memory_order_relaxed);
    if (low < 0) atomic_store_explicit(&s->negative, true, memory_order_relaxed);
}

static void wrap_piece(void *ctx, size_t begin, size_t end) {
    const struct scan *s = ctx;
    HC_DISPATCH(hc_index_wrap)(end - begin, s->data + begin, s->bound);
}

/* `view` is contiguous: a linear position gives the index of each dimension. */
static aclnnStatus fail_at(const char *op, const char *arg, const aclTensor *view, const struct scan *s) {
    char position[128] = "";
    size_t bad = 0;
    while (s->data[bad] >= s->lowest && s->data[bad] < s->bound) bad++;
    size_t used = 0, below = hc_numel(view), rest = bad;
    for (int32_t d = 0; d < view->rank && used < sizeof position; d++) {
        below /= (size_t)view->shape[d];
        used += (size_t)snprintf(position + used, sizeof position - used, d ? ",%zu" : "%zu", rest / below);
        rest %= below;
    }
    return hc_fail(ACLNN_ERR_PARAM_INVALID,
                   "%s: index %lld at position [%s] of %s is out of range: wanted %lld to %lld", op,
                   (long long)s->data[bad], position, arg, (long long)s->lowest, (long long)s->bound - 1);
}

/* The caller's own memory is never written: negative indices in it are wrapped in a copy. */
aclnnStatus hc_index_load(const char *op, const char *arg, const aclTensor *t, int64_t bound, bool wraps,
                          struct hc_index *index) {
    HC_TRY(hc_contiguous(t, ACL_INT64, &index->view, &index->owned));
    struct scan s = {.data = (int64_t *)hc_data(&index->view), .bound = bound, .lowest = wraps ? -bound : 0};
    const size_t n = hc_numel(t);
    hc_parallel_for(n, GRAIN, scan_piece, &s);
    aclnnStatus status = s.bad ? fail_at(op, arg, &index->view, &s) : 0;
    if (status == 0 && s.negative && index->owned == NULL) {
        const aclTensor original = index->view;
        const size_t bytes = n * sizeof(int64_t);
        index->owned = hc_block_take(bytes);
        if (index->owned == NULL)
            return hc_fail(ACLNN_ERR_INNER, "%s: out of host memory: %zu bytes for %s", op, bytes, arg);
        index->view = hc_tensor_view(ACL_INT64, original.shape, original.rank, index->owned);
        status = hc_copy(&index->view, &original);
        s.data = index->owned;
    }
    if (status == 0 && s.negative) hc_parallel_for(n, GRAIN, wrap_piece, &s);
    if (status != 0) hc_block_give(index->owned);
    return status;
}

aclnnStatus hc_index_check_dtype(const char *op, const char *arg, const aclTensor *t) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op, arg);
    HC_CHECK(hc_dtype_class(t->dtype) == HC_CLASS_INT, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted int64 or int32", op, arg, HC_SHOW(t));
    return 0;
}
#endif
