// SPDX-License-Identifier: Apache-2.0
/* Indices in kernels: read once, checked, used.
 *
 * An index tensor is the caller's memory. Another thread may write it while an operator runs, and so may the
 * operator itself where an output overlaps it. A value that was checked and is then read again may be
 * anything, so a kernel reads each into a local, checks that, and uses that; the first bad one is kept for
 * the message. */
#pragma once
#include "hc_util.h"

/* Legal is 0 <= x < bound, and with `wraps` also -bound <= x < 0, counted from the end. */
struct hc_index_range {
    int64_t bound;
    bool wraps;
};
/* The first bad value that somebody met, and where it was read; `at` NULL: none. */
struct hc_index_bad {
    const char *at;
    int64_t value;
};

/* One load, whatever the compiler would like to do. */
static inline int64_t hc_index_once(const void *at) {
    return __atomic_load_n((const int64_t *)at, __ATOMIC_RELAXED);
}

/* A value that was read and is not in [0, bound): what it means, if it wraps. False where it is bad, which is
 * then noted. `range` NULL: the operator has made the index itself, and everything is legal. */
static inline bool hc_index_settle(const void *at, const struct hc_index_range *range, int64_t *x,
                                   struct hc_index_bad *bad) {
    if (range == NULL) return true;
    if (range->wraps && *x < 0 && *x >= -range->bound) {
        *x += range->bound;
        return true;
    }
    if (bad->at == NULL) *bad = (struct hc_index_bad){at, *x};
    return false;
}
static inline uint64_t hc_index_bound(const struct hc_index_range *range) {
    return range != NULL ? (uint64_t)range->bound : UINT64_MAX;
}

/* The value at `at`, read once: one comparison that is always predicted, next to a load that is not. `bound`
 * is hc_index_bound(range), kept by the caller's loop. */
static inline bool hc_index_take(const void *at, uint64_t bound, const struct hc_index_range *range,
                                 int64_t *x, struct hc_index_bad *bad) {
    *x = hc_index_once(at);
    return HC_LIKELY((uint64_t)*x < bound) || hc_index_settle(at, range, x, bad);
}
