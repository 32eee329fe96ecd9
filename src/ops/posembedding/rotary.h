// SPDX-License-Identifier: Apache-2.0
/* Rotary position embedding: y = x * cos + turn(x) * sin along the last dimension, and its gradients. */
#pragma once
#include "convert.h"

/* How turn() pairs elements; numbers as clients pass them. */
enum rotary_mode {
    ROTARY_HALF,           /* turn = cat(-x2, x1), x1 and x2 the halves */
    ROTARY_INTERLEAVE,     /* pairs are neighbours: (-x[1], x[0], -x[3], x[2], ...) */
    ROTARY_QUARTER,        /* half within each half */
    ROTARY_INTERLEAVE_HALF /* neighbours are first gathered into halves, then as half */
};

/* Null, float dtypes, same rank, tables broadcast to x in all dimensions but the last, which may be shorter
 * with `partial` (the rest of each row is then copied); sizes divisible by what the mode needs. */
aclnnStatus rotary_check(const char *name, const aclTensor *x, const aclTensor *cos, const aclTensor *sin,
                         const aclTensor *out, int64_t mode, bool partial);
/* out may be x. */
aclnnStatus rotary_forward(const aclTensor *x, const aclTensor *cos, const aclTensor *sin,
                           const aclTensor *out, int mode);
aclnnStatus rotary_backward(const aclTensor *dy, const aclTensor *cos, const aclTensor *sin,
                            const aclTensor *dx, int mode);
/* dcos = sum of dy * x, dsin = sum of dy * turn(x) over the dimensions in which the tables are repeated. */
aclnnStatus rotary_table_backward(const aclTensor *dy, const aclTensor *x, const aclTensor *dcos,
                                  const aclTensor *dsin, int mode);

/* Rows (last dimensions) of several tensors in step: strides in bytes, 0 where a tensor repeats. */
enum { ROTARY_MAX_ROWS = 4 };
struct rotary_rows {
    int rank, num;
    int64_t shape[HC_MAX_RANK];
    int64_t stride[ROTARY_MAX_ROWS][HC_MAX_RANK];
    char *data[ROTARY_MAX_ROWS];
    size_t count;
};
/* Over the first `rank - 1` dimensions of the first tensor; the others broadcast to it. */
void rotary_rows_init(struct rotary_rows *rows, const aclTensor *const *tensors, int num);
/* Addresses of row number `index`. */
void rotary_rows_at(const struct rotary_rows *rows, size_t index, char **at);
