// SPDX-License-Identifier: Apache-2.0
/* The loops over channels. Taps are added in their order, whatever the instruction set. */
#include "causal_conv.h"

#ifdef HC_ISA
#include "simd.h"

/* All rows of a vector are read before it is stored, so y may be one of them. */
void HC_FN(causal_conv_row)(size_t taps, size_t n, float *y, const float *const *row,
                            const float *const *weight, const float *x) {
    size_t i = 0;
    for (; i + HC_VL <= n; i += HC_VL) {
        vf sum = vf_zero();
        for (size_t k = 0; k < taps; k++)
            if (row[k] != NULL) sum += vf_load(row[k] + i) * vf_load(weight[k] + i);
        if (x != NULL) sum += vf_load(x + i);
        vf_store(y + i, sum);
    }
    for (; i < n; i++) {
        float sum = 0;
        for (size_t k = 0; k < taps; k++)
            if (row[k] != NULL) sum += row[k][i] * weight[k][i];
        y[i] = x != NULL ? sum + x[i] : sum;
    }
}

/* A product of two floats is exact in double. */
void HC_FN(causal_conv_add)(size_t n, double *sum, const float *a, const float *b) {
    for (size_t i = 0; i < n; i++) sum[i] += (double)a[i] * (double)b[i];
}
#endif
