// SPDX-License-Identifier: Apache-2.0
/* A loop over several views of one shape that hands out runs: the driver of operators that move elements
 * without computing (copy, gather, masked fill). Nothing is converted; strides are in bytes. */
#pragma once
#include "op.h"

enum { HC_STRIDED_MAX = 4 };

struct hc_strided {
    int num, rank;
    int64_t shape[HC_MAX_RANK]; /* [0] is the innermost */
    int64_t stride[HC_STRIDED_MAX][HC_MAX_RANK];
    char *data[HC_STRIDED_MAX];
};

/* Dimensions of size 1 dropped, the rest ordered by the stride of views[0] (then of the others) and merged
 * where every view allows. All views have the shape of views[0], which has elements. */
void hc_strided_init(struct hc_strided *s, const aclTensor *const *views, int num);

/* One run: element i of view k is at data[k] + i * stride[k], i < n. */
typedef void hc_strided_fn(const void *ctx, size_t n, char *const *data, const int64_t *stride);
/* Call fn for runs that together cover the shape once, on the pool. `cost` is the bytes an element moves. */
void hc_strided_for(const struct hc_strided *s, size_t cost, hc_strided_fn *fn, const void *ctx);

/* Offset in bytes of view k at the linear position over dimensions first, first + 1, ... (first is
 * innermost). */
static inline int64_t hc_strided_offset(const struct hc_strided *s, int k, int first, size_t linear) {
    int64_t offset = 0;
    for (int d = first; d < s->rank && linear > 0; d++) {
        offset += (int64_t)(linear % (size_t)s->shape[d]) * s->stride[k][d];
        linear /= (size_t)s->shape[d];
    }
    return offset;
}

/* Copy n elements of the size between strides in bytes; a source stride of 0 repeats one element. */
typedef void hc_move_fn(size_t n, void *dst, int64_t dst_stride, const void *src, int64_t src_stride);
hc_move_fn *hc_move_for(size_t item_size);

/* dst[c][r] = src[r][c]: r < rows, c < cols, elements of the size; row strides in bytes. */
typedef void hc_transpose_fn(size_t rows, size_t cols, void *dst, int64_t dst_stride, const void *src,
                             int64_t src_stride);
hc_transpose_fn *hc_transpose_for(size_t item_size);

/* Index of a size of 1, 2, 4, 8 or 16 bytes in a table of kernels. */
static inline int hc_size_index(size_t item_size) { return __builtin_ctzll(item_size); }
