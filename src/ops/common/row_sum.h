// SPDX-License-Identifier: Apache-2.0
/* Sums of chosen rows: out[r] is the sum of scale[e] * src[source[e]] over the entries e of row r, in their
 * order. Gradients of look-ups, and experts' results on their way back to the tokens, are such sums.
 *
 * Each row of out is summed in one go, in float for the 16-bit types, and written once: the same bits for any
 * thread count. Threads share rows, and parts of wide ones. */
#pragma once
#include "elementwise.h"

struct hc_row_sum {
    const char *name;
    const aclTensor *out, *src; /* [rows, H] and [n, H], floating point, any strides; they may overlap */
    const int64_t *first;       /* entries of row r: first[r] to first[r + 1]. NULL: `each` for every row */
    size_t each;
    const int64_t *source; /* checked; below 0: nothing. NULL: entry e is row e */
    const double *scale;   /* NULL: 1 */
};
aclnnStatus hc_row_sum(const struct hc_row_sum *s);

/* out[r] = src[source[r]], elements of any dtype, which both have; out and src may overlap. */
aclnnStatus hc_row_take(const aclTensor *out, const aclTensor *src, const int64_t *source);

/* dot[e] = the scalar product of a[a_row[e]] and b[b_row[e]], in float with blocks added up in double; 0
 * where either row is below 0. */
struct hc_row_dot {
    const char *name;
    const aclTensor *a, *b; /* [n, H], floating point */
    const int64_t *a_row, *b_row;
    size_t n;
    double *dot;
};
aclnnStatus hc_row_dot(const struct hc_row_dot *d);

/* Positions by row, stable: those of row v are order[first[v]] to order[first[v + 1] - 1]. Every row[i] is in
 * [0, rows), below 0 or equal to `skip`; the latter are left out. `first` has room for rows + 2. */
void hc_positions_by_row(const int64_t *row, size_t n, int64_t rows, int64_t skip, int64_t *first,
                         int64_t *order);
