// SPDX-License-Identifier: Apache-2.0
/* Softmax of a row of floats. */
#pragma once
#include "simd_math.h"
#include "simd_rows.h"

/* y[at] = e^(x[at] - m), also returned. */
static inline vf vf_exp_store(float *y, const float *x, vf m) {
    const vf e = vf_exp(vf_load(x) - m);
    vf_store(y, e);
    return e;
}
/* Lanes behind the end count nothing: e^-inf is 0, and loaded back as 0. */
static inline vf vf_exp_store_part(float *y, const float *x, vf m, size_t n) {
    const vf e = vf_exp(vf_load_fill(x, n, -__builtin_inff()) - m);
    vf_store_part(y, e, n);
    return vf_load_part(y, n);
}

/* Exponentials are stored in y by the pass that sums them; the third pass only scales. A NaN in the row makes
 * all of it NaN, by way of the sum. y may be x. */
static inline void vf_row_softmax(float *y, const float *x, size_t n) {
    float max;
    HC_ROW_MAX(max, n, vf_max_number, vf_load(x + at), vf_load_fill(x + at, rest, -__builtin_inff()));
    const vf m = vf_set(max);
    double sum = 0;
    HC_ROW_SUM(sum, n, vf_exp_store(y + at, x + at, m), vf_exp_store_part(y + at, x + at, m, rest));
    const float scale = (float)(1 / sum);
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) vf_store(y + i, vf_load(y + i) * scale);
    for (; i < n; i++) y[i] *= scale;
}
