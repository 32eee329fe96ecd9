// SPDX-License-Identifier: Apache-2.0
/* The loop of strided.h. Pieces are about PIECE_BYTES so that many small runs share one hand-out and a
 * long run is shared by several threads; they depend on the shape only. Ordering and merging dimensions
 * costs O(rank^2) once; what is left is usually one or two dimensions. */
#include "strided.h"

#include <stdlib.h>
#include <string.h>

/* Half of a small second-level cache; some 10 us of copying. */
enum { PIECE_BYTES = 128 * 1024 };
/* Pieces of a run are of so many elements or a multiple, so that where it starts with a line they do too. */
enum { LINE_ELEMENTS = 64 };

/* Whether dimension a belongs inside dimension b: by the first view whose strides say so. A stride of 0
 * repeats and says nothing. */
static bool is_inner(const aclTensor *const *views, int num, int32_t a, int32_t b) {
    for (int k = 0; k < num; k++) {
        const int64_t x = llabs(views[k]->stride[a]), y = llabs(views[k]->stride[b]);
        if (x != y && x != 0 && y != 0) return x < y;
    }
    return a > b;
}

/* Insertion sort, innermost first; at most 16 dimensions. Returns how many are not of size 1. */
static int order_dimensions(const aclTensor *const *views, int num, int32_t *order) {
    int n = 0;
    for (int32_t d = views[0]->rank - 1; d >= 0; d--) {
        if (views[0]->shape[d] == 1) continue;
        int at = n++;
        for (; at > 0 && is_inner(views, num, d, order[at - 1]); at--) order[at] = order[at - 1];
        order[at] = d;
    }
    return n;
}

/* Whether dimension d continues the outermost one so far in every view. */
static bool can_merge(const struct hc_strided *s, const aclTensor *const *views, int32_t d) {
    const int last = s->rank - 1;
    for (int k = 0; k < s->num; k++) {
        if (views[k]->stride[d] * views[k]->item_size != s->stride[k][last] * s->shape[last]) return false;
    }
    return true;
}

/* A single element still has one dimension, so that loops need no special case. */
void hc_strided_init(struct hc_strided *s, const aclTensor *const *views, int num) {
    int32_t order[HC_MAX_RANK];
    const int count = order_dimensions(views, num, order);
    s->num = num;
    s->rank = 0;
    for (int k = 0; k < num; k++) s->data[k] = hc_data(views[k]);
    for (int i = 0; i < count; i++) {
        const int32_t d = order[i];
        if (s->rank > 0 && can_merge(s, views, d)) {
            s->shape[s->rank - 1] *= views[0]->shape[d];
            continue;
        }
        for (int k = 0; k < num; k++) s->stride[k][s->rank] = views[k]->stride[d] * views[k]->item_size;
        s->shape[s->rank++] = views[0]->shape[d];
    }
    if (s->rank > 0) return;
    s->rank = 1;
    s->shape[0] = 1;
    for (int k = 0; k < num; k++) s->stride[k][0] = views[k]->item_size;
}

/* One walk; units are pieces of runs, or whole runs. */
struct job {
    const struct hc_strided *s;
    hc_strided_fn *fn;
    const void *ctx;
    size_t chunk, chunks; /* elements of a piece of a run, and such pieces of one run */
    int64_t inner[HC_STRIDED_MAX];
};

/* Pieces of long runs. */
static void run_units(void *arg, size_t begin, size_t end) {
    const struct job *j = arg;
    const struct hc_strided *s = j->s;
    const size_t length = (size_t)s->shape[0];
    for (size_t unit = begin; unit < end; unit++) {
        const size_t row = unit / j->chunks, first = unit % j->chunks * j->chunk;
        char *data[HC_STRIDED_MAX];
        for (int k = 0; k < s->num; k++) {
            data[k] = s->data[k] + hc_strided_offset(s, k, 1, row) + (int64_t)first * j->inner[k];
        }
        j->fn(j->ctx, hc_min_size(j->chunk, length - first), data, j->inner);
    }
}

/* Whole rows: the position is advanced instead of computed by division for each. */
static void run_rows(void *arg, size_t begin, size_t end) {
    const struct job *j = arg;
    const struct hc_strided *s = j->s;
    int64_t index[HC_MAX_RANK] = {0};
    char *data[HC_STRIDED_MAX];
    size_t rest = begin;
    for (int d = 1; d < s->rank; d++) {
        index[d] = (int64_t)(rest % (size_t)s->shape[d]);
        rest /= (size_t)s->shape[d];
    }
    for (int k = 0; k < s->num; k++) data[k] = s->data[k] + hc_strided_offset(s, k, 1, begin);
    for (size_t row = begin; row < end; row++) {
        j->fn(j->ctx, (size_t)s->shape[0], data, j->inner);
        for (int d = 1; d < s->rank; d++) {
            for (int k = 0; k < s->num; k++) data[k] += s->stride[k][d];
            if (++index[d] < s->shape[d]) break;
            for (int k = 0; k < s->num; k++) data[k] -= s->stride[k][d] * s->shape[d];
            index[d] = 0;
        }
    }
}

/* Long rows are cut, short ones bundled: pieces of about PIECE_BYTES either way. */
void hc_strided_for(const struct hc_strided *s, size_t cost, hc_strided_fn *fn, const void *ctx) {
    struct job j = {.s = s, .fn = fn, .ctx = ctx};
    const size_t length = (size_t)s->shape[0], piece = hc_max_size(1, PIECE_BYTES / cost);
    size_t rows = 1;
    for (int d = 1; d < s->rank; d++) rows *= (size_t)s->shape[d];
    for (int k = 0; k < s->num; k++) j.inner[k] = s->stride[k][0];
    if (length >= 2 * piece) {
        j.chunk = hc_ceil_div(piece, LINE_ELEMENTS) * LINE_ELEMENTS;
        j.chunks = hc_ceil_div(length, j.chunk);
        hc_parallel_for(rows * j.chunks, 1, run_units, &j);
    } else {
        hc_parallel_for(rows, hc_max_size(1, piece / length), run_rows, &j);
    }
}
