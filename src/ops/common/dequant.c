// SPDX-License-Identifier: Apache-2.0
/* The loop of dequant.h: over a run of a row in the first-level cache, a pass for each operand there is. */
#include "dequant.h"

#ifdef HC_ISA
void HC_FN(hc_dequant)(size_t n, float *y, const int32_t *sums, const struct hc_dequant *d) {
    const float scale = d->scale[0], factor = d->factor;
    if (d->whole_bias != NULL) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] =
            (float)(int32_t)((uint32_t)sums[i] + (uint32_t)d->whole_bias[i]);
    } else {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = (float)sums[i];
    }
    if (d->scale_each) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = y[i] * d->scale[i] * factor;
    } else {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] = y[i] * scale * factor;
    }
    if (d->bias != NULL) {
        _Pragma("GCC ivdep") for (size_t i = 0; i < n; i++) y[i] += d->bias[i];
    }
    if (d->offset != NULL) {
        const float offset = d->offset[0];
        for (size_t i = 0; i < n; i++) y[i] += d->offset_each ? d->offset[i] : offset;
    }
}
#endif
