// SPDX-License-Identifier: Apache-2.0
/* Causal convolution of each channel by a few taps, float32: one row of the output at a time. */
#pragma once
#include "plain.h"

enum {
    HC_CAUSAL_TAPS = 16,  /* most taps of a kernel */
    HC_CAUSAL_PIECE = 64, /* channels of a piece of work: rows of a piece lie in one or two lines of memory */
};

/* y[i] = sum over taps of weight[tap][i] * row[tap][i], and x[i] where there is an x to add. A row that is
 * NULL is zero. y may be any of the rows, or x. */
HC_KERNEL(causal_conv_row, (size_t taps, size_t n, float *y, const float *const *row,
                            const float *const *weight, const float *x))
/* sum[i] += a[i] * b[i], exact products added up in double. */
HC_KERNEL(causal_conv_add, (size_t n, double *sum, const float *a, const float *b))
