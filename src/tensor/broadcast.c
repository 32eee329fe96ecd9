// SPDX-License-Identifier: Apache-2.0
/* Broadcasting as in NumPy: shapes are aligned at the last dimension, size 1 repeats. Views only: a
 * repeated dimension gets stride 0, and no data moves. */
#include "hc_tensor.h"

/* Size of a dimension counted from the last one; dimensions that are not there count 1. */
static int64_t size_at(const aclTensor *t, int32_t from_last) {
    return from_last < t->rank ? t->shape[t->rank - 1 - from_last] : 1;
}

/* Aligned at the last dimension; 1 stretches, also to 0. */
bool hc_broadcast_shape(const aclTensor *a, const aclTensor *b, int64_t *shape, int32_t *rank) {
    const int32_t n = a->rank > b->rank ? a->rank : b->rank;
    for (int32_t i = 0; i < n; i++) {
        const int64_t size_a = size_at(a, i), size_b = size_at(b, i);
        if (size_a != size_b && size_a != 1 && size_b != 1) return false;
        shape[n - 1 - i] = size_a == 1 ? size_b : size_a;
    }
    *rank = n;
    int64_t numel;
    return hc_shape_numel(shape, n, &numel);
}

/* `view` may be `t` itself, and is written only on success. */
bool hc_broadcast_to(const aclTensor *t, const int64_t *shape, int32_t rank, aclTensor *view) {
    if (t->rank > rank) return false;
    aclTensor out = *t;
    out.rank = rank;
    if (!hc_shape_numel(shape, rank, &out.numel)) return false;
    for (int32_t i = 0; i < rank; i++) {
        const int32_t from = i - (rank - t->rank);
        const int64_t size = from >= 0 ? t->shape[from] : 1;
        if (size != shape[i] && size != 1) return false;
        out.shape[i] = shape[i];
        out.stride[i] = size == 1 ? 0 : t->stride[from];
    }
    *view = out;
    return true;
}
