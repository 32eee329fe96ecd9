// SPDX-License-Identifier: Apache-2.0
/* See rms_row.h. */
#include "rms_row.h"

HC_KERNEL(rms_row, (size_t n, float *x, const float *gamma, const float *beta, double epsilon, float *rstd))

#ifdef HC_ISA
#include "simd_rows.h"

/* beta NULL is 0. */
void HC_FN(rms_row)(size_t n, float *x, const float *gamma, const float *beta, double epsilon, float *rstd) {
    const float by = (float)(1 / sqrt(vf_row_dot(x, x, n) / (double)n + epsilon));
    *rstd = by;
    if (beta != NULL) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] = x[i] * by * gamma[i] + beta[i];
    } else {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) x[i] = x[i] * by * gamma[i];
    }
}

#else
void hc_rms_row(size_t n, float *x, const float *gamma, const float *beta, double epsilon, float *rstd) {
    HC_DISPATCH(rms_row)(n, x, gamma, beta, epsilon, rstd);
}
#endif
