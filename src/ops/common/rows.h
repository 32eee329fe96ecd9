// SPDX-License-Identifier: Apache-2.0
/* Skeleton of operators that work on whole rows: softmax, norms, losses, scans, sorts.
 *
 * A row is what one choice of the kept dimensions leaves of a tensor: any set of dimensions, any strides, any
 * dtype. The kernel sees contiguous rows in a block type; rows that are not are gathered and scattered around
 * it, several at a time where that reads memory in lines. Rows are cut into pieces by shape only. An operator
 * may add up values over all rows, column by column (gradients of weights): floats within 32 rows, then
 * double, in an order fixed by the shape. */
#pragma once
#include "elementwise.h"

enum { HC_ROWS_MAX_OPERANDS = 10, HC_ROWS_MAX_SUMS = 2, HC_ROWS_BF16_MAX = 4096 };

/* An output or input: one value per element of the row, one value per row, or one row that all rows share. */
enum hc_rows_kind { HC_ROWS_VECTOR, HC_ROWS_ONE, HC_ROWS_SHARED };

struct hc_rows_operand {
    const aclTensor *tensor; /* NULL: the kernel gets NULL */
    enum hc_rows_kind kind;
    enum hc_block block; /* what the kernel reads or writes */
};

/* in[] and out[] point to rows of n values (to one value for HC_ROWS_ONE); an output may be the memory of an
 * input. out[num_outs + k] is sum k: n values to add to, float for HC_F32 and double for HC_F64. */
typedef void hc_rows_kernel(size_t n, void *const *out, const void *const *in, size_t row, const void *args);

/* The same for `pitch` rows side by side, a multiple of the vectors' length: element i of row r is at
 * i * pitch + r of each vector, which are floats. The bits are those of the other kernel. */
typedef void hc_rows_columns(size_t n, size_t pitch, void *const *out, const void *const *in);

struct hc_rows {
    const char *name;
    const aclTensor *shape; /* the tensor whose dimensions are split into rows */
    uint32_t mask;          /* bit d: dimension d lies within a row */
    hc_rows_kernel *kernel;
    /* May be NULL: the same over bfloat16 memory, called instead where every operand is a vector of it, each
     * row a run, of at most bf16_max values if that is not 0. */
    hc_rows_kernel *bf16;
    size_t bf16_max;
    /* May be NULL: called where the rows of every operand are columns in memory. */
    hc_rows_columns *columns;
    const void *args;
    int num_outs, num_ins, num_sums;
    struct hc_rows_operand operand[HC_ROWS_MAX_OPERANDS]; /* outputs, then inputs */
    const aclTensor *sum[HC_ROWS_MAX_SUMS];               /* NULL: not wanted, but still computed */
    enum hc_block sum_block;                              /* HC_F32 or HC_F64 */
    size_t work; /* operations per element, about, to size the pieces; 0 is 1 */
};

/* Run at once. HC_ROWS_VECTOR operands have the shape's shape. HC_ROWS_ONE: the kept dimensions, with or
 * without 1 for the others, or as many elements as there are rows, contiguous. HC_ROWS_SHARED: n elements in
 * row order. */
aclnnStatus hc_rows_run(const struct hc_rows *rows);

/* The mask of one dimension, which may be negative; phase one's check with a message. */
aclnnStatus hc_rows_dim(const char *name, const aclTensor *self, int64_t dim, uint32_t *mask);
/* Elements of a row, and number of rows. */
size_t hc_rows_length(const aclTensor *shape, uint32_t mask);

#define HC_ROWS_COLUMNS(name)                                                                                \
    HC_KERNEL(name, (size_t n, size_t pitch, void *const *out, const void *const *in))
#define HC_ROWS_KERNEL(name)                                                                                 \
    HC_KERNEL(name, (size_t n, void *const *out, const void *const *in, size_t row, const void *args))
