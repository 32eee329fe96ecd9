// SPDX-License-Identifier: Apache-2.0
/* Sums of products of int8 as floating point: what ends every quantised product. */
#pragma once
#include "op.h"

/* y[j] = (sums[j] + whole_bias[j]) * scale[j] * factor + bias[j] + offset[j], in float32 after the first sum,
 * which is that of int32. The biases and the offset may be NULL. */
struct hc_dequant {
    const float *scale;
    const int32_t *whole_bias;
    const float *bias, *offset;
    float factor;
    bool scale_each, offset_each; /* or one number for all */
};
HC_KERNEL(hc_dequant, (size_t n, float *y, const int32_t *sums, const struct hc_dequant *d))

/* The same from column `at` on, with the factor of a row. */
static inline struct hc_dequant hc_dequant_from(const struct hc_dequant *d, size_t at, float factor) {
    struct hc_dequant from = *d;
    if (d->scale_each) from.scale += at;
    if (d->offset_each && d->offset != NULL) from.offset += at;
    if (d->whole_bias != NULL) from.whole_bias += at;
    if (d->bias != NULL) from.bias += at;
    from.factor = factor;
    return from;
}
