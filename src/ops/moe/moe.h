// SPDX-License-Identifier: Apache-2.0
/* What operators on tokens and their experts share: checks of shapes, and numbers read once and checked.
 * T tokens, K choices of each, E experts, H hidden, N permuted rows. */
#pragma once
#include "row_sum.h"
#include "temporary.h"

/* Phase one. A size of -1 is any. */
aclnnStatus hc_moe_check_matrix(const char *name, const char *arg, const aclTensor *t, int64_t rows,
                                int64_t cols);
/* The same of floating point, or of integers and n elements. */
aclnnStatus hc_moe_check_floats(const char *name, const char *arg, const aclTensor *t, int64_t rows,
                                int64_t cols);
aclnnStatus hc_moe_check_numbers(const char *name, const char *arg, const aclTensor *t, int64_t n);
/* A routing map: [T, E], 8-bit integers or bool. */
aclnnStatus hc_moe_check_map(const char *name, const char *arg, const aclTensor *t, int64_t rows,
                             int64_t cols);

/* Phase two: all elements of t into `own`, which has room; every one is in [lowest, bound) or an error. */
aclnnStatus hc_moe_read(const char *name, const char *arg, const aclTensor *t, int64_t lowest, int64_t bound,
                        int64_t *own);
/* All elements as double. */
aclnnStatus hc_moe_read_reals(const aclTensor *t, double *own);
/* The elements of t from n values that lie contiguously, rounded once. */
aclnnStatus hc_moe_write_reals(const aclTensor *t, const double *values);
aclnnStatus hc_moe_write_numbers(const aclTensor *t, const int64_t *values);
/* A routing map as truth values, to be given back with hc_block_give; NULL without memory (text set). */
uint8_t *hc_moe_read_map(const char *name, const aclTensor *t);

/* n items of 8 bytes (int64_t or double) that one call owns; a text names the operator if there is none. */
void *hc_moe_take(const char *name, size_t n);
