// SPDX-License-Identifier: Apache-2.0
/* What the filters of logits share: the largest k of a row in order, and probabilities of a row. */
#pragma once
#include "plain.h"
#include "sort_rows.h"

/* Memory of a thread for one row of n logits. */
struct hc_top_row {
    struct hc_pair *pairs, *spare;
    float *value; /* n */
};
/* False without memory. */
bool hc_top_row_take(size_t n, struct hc_top_row *row);
/* The k largest of x[0..n) by value, then position, NaN before all, `more` those that equal the k-th, too: in
 * descending order, or in ascending order of both. k is 1 to n. Returns where they are, pairs or spare, and
 * how many in *count. */
struct hc_pair *hc_top_row_select(struct hc_top_row *row, const float *x, size_t n, size_t k, bool more,
                                  bool ascending, size_t *count);
/* value[i] = softmax(value)[i] for i < n. */
HC_KERNEL(top_row_softmax, (size_t n, float *value))
