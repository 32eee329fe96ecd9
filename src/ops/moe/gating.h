// SPDX-License-Identifier: Apache-2.0
/* The k largest scores of a row, for gates. Few of many, or few of few: an ordered list into which a larger
 * score is inserted. NaN counts as the largest; of equal scores the first comes first. */
#pragma once
#include "moe.h"

/* Scores are compared like this: a before b, which stands behind it in the row. */
static inline bool hc_gate_before(float a, float b) { return !(b > a) && !(b != b && a == a); }

/* at[0..k): positions of the k largest of n scores; those that are -inf come too where there are no others.
 */
static inline void hc_gate_top(const float *score, int64_t n, int64_t k, int64_t *at) {
    int64_t count = 0;
    for (int64_t i = 0; i < n; i++) {
        if (count == k && (k == 0 || hc_gate_before(score[at[k - 1]], score[i]))) continue;
        int64_t j = count < k ? count++ : k - 1;
        for (; j > 0 && !hc_gate_before(score[at[j - 1]], score[i]); j--) at[j] = at[j - 1];
        at[j] = i;
    }
}

/* y = softmax of x, in float; y may be x. */
HC_KERNEL(gate_softmax, (size_t n, float *y, const float *x))
/* y = 1 / (1 + e^-x). */
HC_KERNEL(gate_sigmoid, (size_t n, float *y, const float *x))
