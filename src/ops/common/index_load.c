// SPDX-License-Identifier: Apache-2.0
/* Index tensors made plain and checked. What is looked at beforehand is one pass over signs
 * of differences; negative indices, and an error, cost a copy in which all is looked at again: it is ours, so
 * what is found in it stays so. */
#include "index_load.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>

HC_KERNEL(hc_index_look, (size_t n, const int64_t *x, int64_t lowest, int64_t bound, uint64_t *signs))
HC_KERNEL(hc_index_wrap, (size_t n, int64_t *x, int64_t bound))

#ifdef HC_ISA
enum { LANES = 16, AHEAD = 2048 }; /* two cache lines; bytes, half of what the hardware sees of a page */
/* The sign of signs[0] is set if one is below `lowest` or not below `bound` (one of the differences is
 * negative then, even where they wrap), that of signs[1] if one is negative. Signs collected by "or"
 * vectorise, where comparisons with an early end would not, and keep up with memory. */
void HC_FN(hc_index_look)(size_t n, const int64_t *x, int64_t lowest, int64_t bound, uint64_t *signs) {
    uint64_t outside[LANES] = {0}, negative[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES) {
        for (size_t b = 0; b < sizeof outside; b += HC_CACHE_LINE)
            __builtin_prefetch((const char *)(x + i) + AHEAD + b);
        for (size_t j = 0; j < LANES; j++) {
            const uint64_t v = (uint64_t)x[i + j];
            outside[j] |= (v - (uint64_t)lowest) | ((uint64_t)bound - 1 - v);
            negative[j] |= v;
        }
    }
    for (; i < n; i++) {
        const uint64_t v = (uint64_t)x[i];
        outside[0] |= (v - (uint64_t)lowest) | ((uint64_t)bound - 1 - v);
        negative[0] |= v;
    }
    signs[0] = signs[1] = 0;
    for (size_t j = 0; j < LANES; j++) {
        signs[0] |= outside[j];
        signs[1] |= negative[j];
    }
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
    uint64_t signs[2];
    HC_DISPATCH(hc_index_look)(end - begin, s->data + begin, s->lowest, s->bound, signs);
    if (signs[0] >> 63) atomic_store_explicit(&s->bad, true, memory_order_relaxed);
    if (signs[1] >> 63) atomic_store_explicit(&s->negative, true, memory_order_relaxed);
}

static void wrap_piece(void *ctx, size_t begin, size_t end) {
    const struct scan *s = ctx;
    HC_DISPATCH(hc_index_wrap)(end - begin, s->data + begin, s->bound);
}

static void look_at_all(const struct hc_index *index, struct scan *s) {
    const int64_t bound = index->range.bound;
    *s = (struct scan){
        .data = (int64_t *)hc_data(&index->view), .bound = bound, .lowest = index->range.wraps ? -bound : 0};
    hc_parallel_for(hc_numel(&index->view), GRAIN, scan_piece, s);
}

/* `view` is contiguous: a linear position gives the index of each dimension. */
static aclnnStatus fail_at(const struct hc_index *index, size_t bad, int64_t value) {
    char position[128] = "";
    const aclTensor *view = &index->view;
    const int64_t bound = index->range.bound;
    size_t used = 0, below = hc_numel(view), rest = bad;
    for (int32_t d = 0; d < view->rank && used < sizeof position; d++) {
        below /= (size_t)view->shape[d];
        used += (size_t)snprintf(position + used, sizeof position - used, d ? ",%zu" : "%zu", rest / below);
        rest %= below;
    }
    return hc_fail(ACLNN_ERR_PARAM_INVALID,
                   "%s: index %lld at position [%s] of %s is out of range: wanted %lld to %lld", index->op,
                   (long long)value, position, index->arg, (long long)(index->range.wraps ? -bound : 0),
                   (long long)bound - 1);
}

static aclnnStatus fail_at_first(const struct hc_index *index, const struct scan *s) {
    size_t i = 0;
    while (s->data[i] >= s->lowest && s->data[i] < s->bound) i++;
    return fail_at(index, i, s->data[i]);
}

aclnnStatus hc_index_open(const char *op, const char *arg, const aclTensor *t, int64_t bound, bool wraps,
                          struct hc_index *index) {
    *index = (struct hc_index){.op = op, .range = {bound, wraps}};
    snprintf(index->arg, sizeof index->arg, "%s", arg);
    return hc_contiguous(t, ACL_INT64, &index->view, &index->owned);
}

/* From the caller's memory to ours. */
static aclnnStatus make_own(struct hc_index *index) {
    const aclTensor original = index->view;
    index->owned = hc_block_take_array(hc_numel(&original), sizeof(int64_t));
    HC_CHECK(index->owned != NULL, ACLNN_ERR_INNER, "%s: out of host memory for %s %s", index->op, index->arg,
             HC_SHOW(&original));
    index->view = hc_tensor_view(ACL_INT64, original.shape, original.rank, index->owned);
    return hc_copy(&index->view, &original);
}

/* The caller's own memory is never written: negative indices in it are wrapped in a copy. */
static aclnnStatus check_all(struct hc_index *index) {
    struct scan s;
    look_at_all(index, &s);
    if ((s.bad || s.negative) && index->owned == NULL) {
        HC_TRY(make_own(index));
        look_at_all(index, &s);
    }
    if (s.bad) return fail_at_first(index, &s);
    if (s.negative) hc_parallel_for(hc_numel(&index->view), GRAIN, wrap_piece, &s);
    index->range.wraps = false; /* a negative value that is met now was not there */
    return 0;
}

static aclnnStatus give_up(struct hc_index *index, aclnnStatus status) {
    hc_block_give(index->owned);
    index->owned = NULL;
    return status;
}

aclnnStatus hc_index_load(const char *op, const char *arg, const aclTensor *t, int64_t bound, bool wraps,
                          struct hc_index *index) {
    HC_TRY(hc_index_open(op, arg, t, bound, wraps, index));
    const aclnnStatus status = check_all(index);
    return status == 0 ? 0 : give_up(index, status);
}

aclnnStatus hc_index_copy(const char *op, const char *arg, const aclTensor *t, int64_t bound, bool wraps,
                          struct hc_index *index) {
    HC_TRY(hc_index_open(op, arg, t, bound, wraps, index));
    aclnnStatus status = index->owned == NULL ? make_own(index) : 0;
    if (status == 0) status = check_all(index);
    return status == 0 ? 0 : give_up(index, status);
}

/* The view is contiguous, so an address is a position. */
void hc_index_report(struct hc_index *index, const struct hc_index_bad *bad) {
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&lock);
    if (index->bad.at == NULL || bad->at < index->bad.at) index->bad = *bad;
    pthread_mutex_unlock(&lock);
}

aclnnStatus hc_index_status(const struct hc_index *index) {
    if (HC_LIKELY(index->bad.at == NULL)) return 0;
    const size_t position = (size_t)(index->bad.at - hc_data(&index->view)) / sizeof(int64_t);
    return fail_at(index, position, index->bad.value);
}

aclnnStatus hc_index_check_dtype(const char *op, const char *arg, const aclTensor *t) {
    HC_CHECK(t != NULL, ACLNN_ERR_PARAM_NULLPTR, "%s: %s is null", op, arg);
    HC_CHECK(hc_dtype_class(t->dtype) == HC_CLASS_INT, ACLNN_ERR_PARAM_INVALID,
             "%s: %s is %s, wanted int64 or int32", op, arg, HC_SHOW(t));
    return 0;
}
#endif
