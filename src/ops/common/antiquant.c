// SPDX-License-Identifier: Apache-2.0
/* The loop of antiquant.h. */
#include "antiquant.h"

#ifdef HC_ISA
/* A loop for each choice, so that all of them vectorise. */
void HC_FN(hc_antiquant)(size_t n, float *y, const int8_t *x, const float *scale, const float *offset,
                         bool scale_each, bool offset_each) {
    const float s = scale[0], o = offset[0];
    if (scale_each && offset_each) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = ((float)x[i] + offset[i]) * scale[i];
    } else if (scale_each) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = ((float)x[i] + o) * scale[i];
    } else if (offset_each) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = ((float)x[i] + offset[i]) * s;
    } else {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = ((float)x[i] + o) * s;
    }
}
#endif
