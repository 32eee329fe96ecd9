// SPDX-License-Identifier: Apache-2.0
/* Pooling of two and three dimensions: what its operators share (private to this folder).
 *
 * Everything before the pooled dimensions is a plane on its own. All are seen in three dimensions, missing
 * ones being of size 1. A result is the maximum or the mean of a window, which is a box: one range of
 * elements, maybe with steps, in each dimension. Windows of adaptive pooling are ranges of other lengths and
 * otherwise the same.
 *
 * A box is reduced in two stages, rows of the input together with vectors first, then along what is left:
 * so a row of results costs each of its rows once, however its windows overlap. */
#pragma once
#include "temporary.h"

enum { POOL_DIMS = 3 };

/* One dimension: `out` windows over `in` elements. */
struct pool_axis {
    int64_t in, out, kernel, stride, pad, dilation;
    bool adaptive;
};
struct pool_shape {
    int64_t planes;
    struct pool_axis axis[POOL_DIMS];
    bool count_pad;  /* of means: elements of the padding count as well */
    int64_t divisor; /* of means: instead of the number of elements, unless 0 */
};
static inline int64_t pool_in(const struct pool_shape *s) {
    return s->axis[0].in * s->axis[1].in * s->axis[2].in;
}
static inline int64_t pool_out(const struct pool_shape *s) {
    return s->axis[0].out * s->axis[1].out * s->axis[2].out;
}

/* Elements first, first + step, ... below end, all inside; there may be none. `count` of them, or by what the
 * divisor grows. */
struct pool_window {
    int64_t first, end, step, count;
};
struct pool_window pool_window_at(const struct pool_shape *s, int dim, int64_t i);
/* All windows of a dimension; the caller gives them back with hc_block_give. NULL when out of memory. */
struct pool_window *pool_windows(const struct pool_shape *s, int dim);

/* An operator as it was called. */
struct pool_call {
    const char *name;
    int dims;                  /* that are pooled: 2 or 3 */
    const aclTensor *in, *out; /* what has the size of the input, and what has that of the output */
    const char *in_name, *out_name;
    const aclIntArray *kernel, *stride, *pad, *dilation; /* names as below; dilation NULL: 1 */
    const char *stride_name, *pad_name;                  /* the interface has them in two spellings */
    bool ceil_mode;
    bool adaptive;                  /* then windows follow from the sizes */
    const aclIntArray *output_size; /* of adaptive pooling; NULL: not an argument */
};
/* Check tensors and lists against each other, and derive the sizes and the type to compute in: float32,
 * float64 or int64. Touches no data. */
aclnnStatus pool_describe(const struct pool_call *call, struct pool_shape *shape, enum hc_block *block);
aclDataType pool_type(enum hc_block block);
/* t is as large as what `name` says is `like`. */
aclnnStatus pool_check_like(const struct pool_call *call, const aclTensor *t, const char *name,
                            const aclTensor *like, const char *like_name);
/* A gradient of pool_call.in: of its shape and type, which is one of floating point. */
aclnnStatus pool_check_gradient(const struct pool_call *call, const aclTensor *t, const char *name);
