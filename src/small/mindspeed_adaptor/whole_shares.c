// SPDX-License-Identifier: Apache-2.0
/* Which rank updates which parameter, where an update needs the whole of it: each goes to the rank that has
 * least to do so far, the dearest first. The busiest rank then has at most 4/3 of the least possible (Graham,
 * Bounds on Multiprocessing Timing Anomalies, 1969); the best plan is NP-hard. Equal costs keep their order,
 * so that all ranks find the same plan. n log n to sort, n * ranks to deal out. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#include "hc_util.h"

#define MOST_RANKS (1u << 20)

struct item {
    double cost;
    size_t index;
};

static int dearer(const void *a, const void *b) {
    const struct item *x = a, *y = b;
    if (x->cost != y->cost) return x->cost < y->cost ? 1 : -1;
    return x->index < y->index ? -1 : 1;
}

static size_t least(const double *load, size_t ranks) {
    size_t found = 0;
    for (size_t rank = 1; rank < ranks; rank++)
        if (load[rank] < load[found]) found = rank;
    return found;
}

/* Fills `owners` [count] with ranks. Returns 0; -1 for no ranks or more than 2^20, for a cost that is no
 * finite number of 0 or more, or if there is no memory. Thread safe, does not block. */
HC_API int32_t hc_whole_shares(const double *costs, size_t count, size_t ranks, int32_t *owners) {
    if (ranks == 0 || ranks > MOST_RANKS) return -1;
    for (size_t i = 0; i < count; i++)
        if (!isfinite(costs[i]) || costs[i] < 0) return -1;
    struct item *items =
        malloc((count + 1) * sizeof *items); /* + 1: nothing to deal out is no lack of memory */
    double *load = calloc(ranks, sizeof *load);
    if (items && load) {
        for (size_t i = 0; i < count; i++) items[i] = (struct item){costs[i], i};
        qsort(items, count, sizeof *items, dearer);
        for (size_t i = 0; i < count; i++) {
            const size_t rank = least(load, ranks);
            load[rank] += items[i].cost;
            owners[items[i].index] = (int32_t)rank;
        }
    }
    const int32_t result = items && load ? 0 : -1;
    free(items), free(load);
    return result;
}
